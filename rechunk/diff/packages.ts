/** Which packages and which components differ between two images, from what package databases say and from files. */
import type { Component, ComponentInfo, ComponentKind, Detection } from '../components.ts';
import { countFiles, type FileCounts, type FilePair } from './files.ts';
import { compareVersions, parseTitle, repoOf } from './versions.ts';

/** What became of a package; `rebuilt`: the same version with other content. */
export type PackageChangeKind = 'upgraded' | 'downgraded' | 'added' | 'removed' | 'rebuilt';

/** One package that differs. */
export interface PackageChange {
  readonly change: PackageChangeKind;
  /** The source that names it: `dpkg`, `node`, … */
  readonly repo: string;
  readonly name: string;
  /** The id of the component that has it (on the new side, if it is there). */
  readonly component: string;
  /** The old version; several, where one name is installed in several, are separated by `, `. Absent where it was added. */
  readonly from?: string;
  /** The new version; absent where it was removed. */
  readonly to?: string;
}

/** What became of a component: of its files, if not of its packages, the most telling. */
export type ComponentChangeKind = PackageChangeKind | 'content' | 'metadata' | 'times';

/** One component that differs. */
export interface ComponentChange {
  readonly id: string;
  readonly kind: ComponentKind;
  readonly change: ComponentChangeKind;
  readonly files: FileCounts;
  /** Uncompressed bytes of files that were added or have other content. */
  readonly bytes: number;
}

interface Installed {
  readonly repo: string;
  readonly name: string;
  readonly component: string;
  readonly versions: Set<string>;
}

/** Managers whose package names are unique in a whole system; elsewhere a name is of one place in the tree. */
const SYSTEM_WIDE: ReadonlySet<string> = new Set(['dpkg', 'rpm', 'apk', 'alpm']);

/** The packages that databases name, by what makes a package the same on both sides. */
function listPackages(infos: Iterable<ComponentInfo>): Map<string, Installed> {
  const packages = new Map<string, Installed>();
  for (const { id: component, packages: titles = [] } of infos) {
    const repo = repoOf(component);
    for (const title of titles) {
      const { name, version } = parseTitle(repo, title);
      const key = JSON.stringify([SYSTEM_WIDE.has(repo) ? repo : component, name]);
      const known = packages.get(key) ?? { repo, name, component, versions: new Set() };
      packages.set(key, known);
      known.versions.add(version);
    }
  }
  return packages;
}

/** All that repos and naming rules know of components, those without files too. */
function infosOf(
  detections: readonly Detection[],
  components: readonly Component[],
): ComponentInfo[] {
  return [...detections.flatMap((detection) => detection.components), ...components];
}

function describeVersions({ repo, versions }: Installed): string {
  return [...versions].sort((a, b) => compareVersions(repo, a, b) || (a < b ? -1 : 1)).join(', ');
}

function comparePackage(old: Installed | undefined, next: Installed | undefined): PackageChange[] {
  const either = next ?? old;
  if (!either) return [];
  const { repo, name, component } = either;
  const from = old && describeVersions(old);
  const to = next && describeVersions(next);
  if (from === to) return [];
  const shared = { repo, name, component };
  if (from === undefined || to === undefined) {
    return [
      to === undefined
        ? { change: 'removed', ...shared, from: from ?? '' }
        : { change: 'added', ...shared, to },
    ];
  }
  const newest = (versions: string): string => versions.split(', ').at(-1) ?? '';
  const order = compareVersions(repo, newest(from), newest(to));
  return [{ change: order > 0 ? 'downgraded' : 'upgraded', ...shared, from, to }];
}

/** What one side knows of its components. */
export interface Known {
  readonly detections: readonly Detection[];
  readonly components: readonly Component[];
}

const CHANGES: readonly ComponentChangeKind[] = [
  'upgraded',
  'downgraded',
  'added',
  'removed',
  'rebuilt',
  'content',
  'metadata',
  'times',
];

/** Packages whose versions differ, sorted by what became of them, then by name and component. */
function compareVersionsOf(old: Known, next: Known): PackageChange[] {
  const [before, after] = [old, next].map(({ detections, components }) =>
    listPackages(infosOf(detections, components)),
  ) as [Map<string, Installed>, Map<string, Installed>];
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((key) =>
    comparePackage(before.get(key), after.get(key)),
  );
}

/** What differs of packages and components, given every file of both sides. */
export function compareKnown(
  old: Known,
  next: Known,
  pairs: readonly FilePair[],
): { packages: PackageChange[]; components: ComponentChange[] } {
  const versions = compareVersionsOf(old, next);
  const components = compareComponents(old, next, pairs, versions);
  const infos = new Map(next.components.map((component) => [component.id, component]));
  const rebuilt = components.flatMap(({ id, change }) =>
    change === 'rebuilt' ? describeRebuilt(infos.get(id) as Component) : [],
  );
  const packages = [...versions, ...rebuilt].sort(
    (a, b) =>
      CHANGES.indexOf(a.change) - CHANGES.indexOf(b.change) ||
      compare(a.name, b.name) ||
      compare(a.component, b.component),
  );
  return { packages, components };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** A component of several packages cannot say which of them was rebuilt: it is named whole. */
function describeRebuilt({ id, packages = [] }: Component): PackageChange {
  const repo = repoOf(id);
  const titles = packages.map((title) => parseTitle(repo, title));
  const [only] = titles;
  const name = titles.length === 1 && only ? only.name : id.slice(repo.length + 1);
  const version = [...new Set(titles.map((title) => title.version))].sort().join(', ');
  return { change: 'rebuilt', repo, name, component: id, from: version, to: version };
}

/** Components that differ, sorted by bytes, the most first, then by id. */
function compareComponents(
  old: Known,
  next: Known,
  pairs: readonly FilePair[],
  versions: readonly PackageChange[],
): ComponentChange[] {
  const [before, after] = [old, next].map(
    ({ components }) => new Map(components.map((component) => [component.id, component])),
  ) as [Map<string, Component>, Map<string, Component>];
  const changes = Map.groupBy(versions, ({ component }) => component);
  return [...groupChanges(pairs)]
    .map(([id, changed]): ComponentChange => {
      const component = (after.get(id) ?? before.get(id)) as Component;
      const files = countFiles(changed.map(({ change }) => change));
      const kinds = changes.get(id)?.map(({ change }) => change) ?? [];
      const change = kindOf(before.get(id), after.get(id), files, kinds);
      const bytes = changed.reduce((sum, pair) => sum + newBytes(pair), 0);
      return { id, kind: component.kind, change, files, bytes };
    })
    .sort((a, b) => b.bytes - a.bytes || compare(a.id, b.id));
}

/** Bytes of content that the old side does not have at this place. */
function newBytes({ change, new: place }: FilePair): number {
  return change === 'added' || change === 'content' ? (place?.size ?? 0) : 0;
}

/** What differs, by component; a file that went from one component to another was removed there and added here. */
function groupChanges(pairs: readonly FilePair[]): Map<string, FilePair[]> {
  const groups = new Map<string, FilePair[]>();
  const add = (id: string, pair: FilePair): void => {
    const group = groups.get(id);
    if (group) group.push(pair);
    else groups.set(id, [pair]);
  };
  for (const pair of pairs) {
    const { old, new: next, change } = pair;
    if (old && next && old.component !== next.component) {
      add(old.component, { ...pair, new: undefined, change: 'removed' });
      add(next.component, { ...pair, old: undefined, change: 'added' });
    } else if (change) add((next ?? old)?.component ?? '', pair);
  }
  return groups;
}

function kindOf(
  old: Component | undefined,
  next: Component | undefined,
  files: FileCounts,
  versions: readonly PackageChangeKind[],
): ComponentChangeKind {
  if (!old) return 'added';
  if (!next) return 'removed';
  const telling = CHANGES.find((kind) => versions.some((found) => found === kind));
  // Of a component that stays, a package more or fewer is an upgrade of the whole.
  if (telling) return telling === 'downgraded' ? 'downgraded' : 'upgraded';
  if (files.content + files.added + files.removed > 0)
    return next.packages && next.packages.length > 0 ? 'rebuilt' : 'content';
  return files.metadata > 0 ? 'metadata' : 'times';
}
