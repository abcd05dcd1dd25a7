/**
 * Series whose components are cut finer than a package, by a rule that is a function of the file alone, to see what that would
 * gain. A part weighs as much of its component's compressed bytes as its files have of the sum of all files.
 */
import { type ComponentFacts, type FileFacts, isSameFile, type Release } from '../series/series.ts';

/** The id of the component that a file of component `id` should be in. */
export type CutRule = (id: string, file: FileFacts, release: Release) => string;

const HEADER_BYTES = 48;
const weightOf = (files: readonly FileFacts[]): number =>
  files.reduce((sum, { compressedSize }) => sum + compressedSize + HEADER_BYTES, 0);

/** Whether two states have the same files. */
function isSame(a: ComponentFacts | undefined, files: readonly FileFacts[]): boolean {
  return (
    a !== undefined &&
    a.files.length === files.length &&
    a.files.every((file, i) => isSameFile(file, files[i] as FileFacts))
  );
}

/** The releases with components cut by `rule`; states that did not change stay the same objects. */
export function cutSeries(releases: readonly Release[], rule: CutRule): Release[] {
  let before = new Map<string, ComponentFacts>();
  return releases.map((release) => {
    const parts = new Map<string, { files: FileFacts[]; weight: number; of: ComponentFacts }>();
    for (const [id, state] of release.components) {
      const scale = state.compressedSize / Math.max(1, weightOf(state.files));
      for (const file of state.files) {
        const name = rule(id, file, release);
        const of = release.components.get(name) ?? state;
        const part = parts.get(name) ?? { files: [], weight: 0, of };
        part.files.push(file);
        part.weight += (file.compressedSize + HEADER_BYTES) * scale;
        parts.set(name, part);
      }
    }
    const cut = [...parts].map(([id, { files, weight, of }]): [string, ComponentFacts] => {
      const known = before.get(id);
      if (known && isSame(known, files)) return [id, known];
      const size = files.reduce((sum, file) => sum + file.size, 0);
      const compressedSize = Math.round(weight);
      return [id, { ...of, id, files, size, compressedSize, changedSize: compressedSize }];
    });
    before = new Map(cut);
    return { ...release, components: before };
  });
}

const owners = new WeakMap<Release, ReadonlyMap<string, string>>();

/** The components of Debian packages by their names. */
function ownersOf(release: Release): ReadonlyMap<string, string> {
  const known = owners.get(release);
  if (known) return known;
  const made = new Map<string, string>();
  for (const [id, { packages = [] }] of release.components) {
    for (const text of packages) made.set(text.split(' ')[0] ?? '', id);
  }
  owners.set(release, made);
  return made;
}

/** What dpkg notes of a package (`info/NAME.list`, …) goes with the package; `status` stays. */
export const dpkgInfo: CutRule = (id, { path }, release) => {
  if (id !== 'database:dpkg') return id;
  const [, name] = /^var\/lib\/dpkg\/info\/([^:/]+?)(?::[a-z0-9]+)?\.[a-z0-9]+$/.exec(path) ?? [];
  return (name && ownersOf(release).get(name)) || id;
};

/** The `package.json` of npm packages of `bytes` and more apart from what they ship. */
export function manifestApart(bytes: number): CutRule {
  return (id, { path }, release) => {
    if (!id.startsWith('node:') || !path.endsWith('/package.json')) return id;
    const state = release.components.get(id);
    return state && state.compressedSize >= bytes ? `${id}#manifest` : id;
  };
}
