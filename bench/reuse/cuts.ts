/**
 * Series whose components are cut otherwise, by a rule that is a function of the file alone. What is cut out of a component weighs
 * as much of its compressed bytes as its files have of the sum of all files; what stays whole weighs what it weighed.
 */
import { type ComponentFacts, type FileFacts, isSameFile, type Release } from '../series/series.ts';

/** The id of the component that a file of component `id` should be in. */
export type CutRule = (id: string, file: FileFacts, release: Release) => string;

const HEADER_BYTES = 48;
const weightOf = (files: readonly FileFacts[]): number =>
  files.reduce((sum, { compressedSize }) => sum + compressedSize + HEADER_BYTES, 0);

/** Files of one old component that go into one new one. */
interface Piece {
  readonly state: ComponentFacts;
  readonly files: FileFacts[];
}

/** A new component, and the pieces that it was made of. */
interface Cut {
  readonly state: ComponentFacts;
  readonly pieces: readonly Piece[];
}

function piecesOf(release: Release, rule: CutRule): Map<string, Piece[]> {
  const pieces = new Map<string, Piece[]>();
  for (const [id, state] of release.components) {
    for (const file of state.files) {
      const name = rule(id, file, release);
      const list = pieces.get(name) ?? [];
      pieces.set(name, list);
      const last = list.at(-1);
      if (last?.state === state) last.files.push(file);
      else list.push({ state, files: [file] });
    }
  }
  return pieces;
}

const isWhole = ({ state, files }: Piece): boolean => files.length === state.files.length;
/** Compressed bytes of some of a component's files. */
const share = (state: ComponentFacts, files: readonly FileFacts[]): number =>
  (state.compressedSize * weightOf(files)) / Math.max(1, weightOf(state.files));

function isSame(before: Cut | undefined, pieces: readonly Piece[]): before is Cut {
  const files = pieces.flatMap((piece) => piece.files);
  const old = before?.pieces.flatMap((piece) => piece.files) ?? [];
  return (
    before !== undefined &&
    old.length === files.length &&
    old.every((file, i) => isSameFile(file, files[i] as FileFacts))
  );
}

/** Compressed bytes of what `before` did not have. */
function changedSizeOf(pieces: readonly Piece[], before: Cut | undefined): number {
  const old = new Map(
    before?.pieces.flatMap(({ files }) => files).map((file) => [file.path, file]),
  );
  const states = new Set(before?.pieces.map(({ state }) => state));
  return pieces.reduce((sum, piece) => {
    if (states.has(piece.state) && isWhole(piece)) return sum;
    if (before && isWhole(piece)) return sum + piece.state.changedSize;
    const changed = piece.files.filter((file) => {
      const known = old.get(file.path);
      return !known || !isSameFile(known, file);
    });
    return sum + share(piece.state, changed);
  }, 0);
}

function join(
  id: string,
  pieces: readonly Piece[],
  release: Release,
  before: Cut | undefined,
): Cut {
  const [first] = pieces as [Piece];
  if (pieces.length === 1 && isWhole(first) && first.state.id === id)
    return { state: first.state, pieces };
  if (isSame(before, pieces)) return before;
  const files = pieces.flatMap((piece) => piece.files).sort((a, b) => (a.path < b.path ? -1 : 1));
  const compressed = pieces.reduce(
    (sum, piece) =>
      sum + (isWhole(piece) ? piece.state.compressedSize : share(piece.state, piece.files)),
    0,
  );
  const state = {
    ...(release.components.get(id) ?? first.state),
    id,
    files,
    size: files.reduce((sum, file) => sum + file.size, 0),
    compressedSize: Math.round(compressed),
    changedSize: Math.round(changedSizeOf(pieces, before)),
  };
  return { state, pieces };
}

/** The releases with components cut by `rule`; states that did not change stay the same objects. */
export function cutSeries(releases: readonly Release[], rule: CutRule): Release[] {
  let before: ReadonlyMap<string, Cut> = new Map();
  return releases.map((release) => {
    const cuts = new Map<string, Cut>();
    const pieces = [...piecesOf(release, rule)].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [id, list] of pieces) cuts.set(id, join(id, list, release, before.get(id)));
    before = cuts;
    const components = new Map([...cuts].map(([id, { state }]) => [id, state]));
    return { ...release, components };
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

/** What dpkg notes of a package (`info/NAME.list`, …) goes with the package, as in `rechunk/repos/dpkg.ts`; `status` stays. */
export const dpkgInfo: CutRule = (id, { path }, release) => {
  if (id !== 'database:dpkg') return id;
  const [, name] = /^var\/lib\/dpkg\/info\/([^:/]+?)(?::[a-z0-9]+)?\.[a-z0-9]+$/.exec(path) ?? [];
  return (name && ownersOf(release).get(name)) || id;
};

/** The `package.json` of npm packages of `bytes` (compressed) and more apart from what they ship. */
export function manifestApart(bytes: number): CutRule {
  return (id, { path }, release) => {
    if (!id.startsWith('node:') || !path.endsWith('/package.json')) return id;
    return isLarge(id, bytes, release) ? `${id}#manifest` : id;
  };
}

/** Components of `bytes` (compressed) and more by directory: npm packages by their own first, others by the first three. */
export function byDirectory(bytes: number): CutRule {
  return (id, { path }, release) => {
    if (!isLarge(id, bytes, release)) return id;
    const own = id.startsWith('node:/') ? `${id.slice('node:/'.length)}/` : '';
    const parts =
      own && path.startsWith(own)
        ? path.slice(own.length).split('/').slice(0, -1)
        : path.split('/');
    return `${id}#${parts.slice(0, own ? 1 : 3).join('/')}`;
  };
}

/** Components of `bytes` (compressed) and more in `count` parts by a hash of the path. */
export function byHash(bytes: number, count: number): CutRule {
  return (id, { path }, release) => {
    if (!isLarge(id, bytes, release)) return id;
    let hash = 7;
    for (let i = 0; i < path.length; i++) hash = (hash * 31 + path.charCodeAt(i)) >>> 0;
    return `${id}#${(hash >>> 5) % count}`;
  };
}

function isLarge(id: string, bytes: number, release: Release): boolean {
  const state = release.components.get(id);
  return state !== undefined && state.kind !== 'database' && state.compressedSize >= bytes;
}
