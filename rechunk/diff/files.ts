/**
 * Which files differ between two images, how, and in which component and layer each of them lies. A file is what a component
 * holds: a name of anything but a directory with something in it; those directories stand apart.
 */
import type { Path } from '../../registry/path.ts';
import type { Component } from '../components.ts';
import type { Inode, Tree } from '../tree.ts';

/** How a file differs, the most telling first; `times`: nothing but the time of its last change. */
export type FileChangeKind = 'added' | 'removed' | 'content' | 'metadata' | 'times';

/** How many files differ in each way. */
export type FileCounts = Readonly<Record<FileChangeKind, number>>;

/** Where a file lies on one side. */
export interface Place {
  readonly inode: Inode;
  /** The component's id. */
  readonly component: string;
  /** Its layer, 1 the lowest; 0 where no layer defines it. */
  readonly layer: number;
  /** Bytes of content; 0 for the further names of a hard-link group. */
  readonly size: number;
}

/** One side of a comparison: a file system, and where each of its files lies. */
export interface Side {
  readonly tree: Tree;
  readonly components: readonly Component[];
  /** In the order of the components' ids, then canonical. */
  readonly files: ReadonlyMap<Path, Place>;
}

/** A file that both sides have, equal or not, or that one side has. */
export interface FilePair {
  readonly path: Path;
  readonly old: Place | undefined;
  readonly new: Place | undefined;
  /** Absent where nothing differs (it may still lie elsewhere). */
  readonly change: FileChangeKind | undefined;
}

/** No file, in any way. */
export const NO_FILES: FileCounts = { added: 0, removed: 0, content: 0, metadata: 0, times: 0 };

/** A side of `tree` and its `components`. */
export function sideOf(tree: Tree, components: readonly Component[]): Side {
  const files = new Map<Path, Place>();
  for (const { id, entries } of components) {
    for (const { path, inode } of entries) {
      const isFirst = (tree.links.get(inode)?.[0] ?? path) === path;
      const size = isFirst ? inode.size : 0;
      files.set(path, { inode, component: id, layer: inode.layer + 1, size });
    }
  }
  return { tree, components, files };
}

/**
 * Every file of either side, those of the new one first. An empty directory that has something in it on the other side is
 * neither added nor removed.
 */
export function pairFiles(old: Side, next: Side): FilePair[] {
  const pairs: FilePair[] = [];
  for (const [path, place] of next.files) {
    const change = compareFiles(old, next, path, place);
    pairs.push({ path, old: old.files.get(path), new: place, change });
  }
  for (const [path, place] of old.files) {
    if (next.files.has(path)) continue;
    if (place.inode.type === 'dir' && next.tree.get(path)?.type === 'dir') continue;
    pairs.push({ path, old: place, new: undefined, change: 'removed' });
  }
  return pairs;
}

/** Directories with something in them (which are in no component) that both sides have and that differ. */
export function changedDirectories(old: Side, next: Side): ReadonlyMap<Path, FileChangeKind> {
  const changed = new Map<Path, FileChangeKind>();
  for (const { path, inode } of next.tree.entries) {
    if (inode.type !== 'dir' || next.files.has(path)) continue;
    const before = old.tree.get(path);
    const change = before && compareInodes(before, inode);
    if (change) changed.set(path, change);
  }
  return changed;
}

/** How the directories of two trees differ, those with nothing in them too. */
export function compareDirectories(old: Tree, next: Tree): FileChangeKind[] {
  const directoryAt = (tree: Tree, path: Path): Inode | undefined => {
    const inode = tree.get(path);
    return inode?.type === 'dir' ? inode : undefined;
  };
  const compare = (path: Path): FileChangeKind | undefined => {
    const [before, now] = [directoryAt(old, path), directoryAt(next, path)];
    if (before && now) return compareInodes(before, now);
    if (before || now) return before ? 'removed' : 'added';
    return undefined;
  };
  const paths = new Set([...next.entries, ...old.entries].map(({ path }) => path));
  return [...paths].map(compare).filter((change) => change !== undefined);
}

/** Adds up what differs in `changes`. */
export function countFiles(changes: Iterable<FileChangeKind | undefined>): FileCounts {
  const counts = { ...NO_FILES };
  for (const change of changes) if (change) counts[change]++;
  return counts;
}

function compareFiles(
  old: Side,
  next: Side,
  path: Path,
  { inode }: Place,
): FileChangeKind | undefined {
  const before = old.tree.get(path);
  if (!before || (before.type === 'dir') !== (inode.type === 'dir')) return 'added';
  const change = compareInodes(before, inode);
  if (change !== undefined && change !== 'times') return change;
  return namesOf(old.tree, before) === namesOf(next.tree, inode) ? change : 'metadata';
}

/** All names of a hard-link group, as one text; '' for a file with one name. */
function namesOf(tree: Tree, inode: Inode): string {
  return tree.links.get(inode)?.join('\0') ?? '';
}

function compareInodes(a: Inode, b: Inode): FileChangeKind | undefined {
  if (a.type !== b.type || a.sha256 !== b.sha256 || a.target !== b.target) return 'content';
  if (a.devMajor !== b.devMajor || a.devMinor !== b.devMinor) return 'content';
  if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid) return 'metadata';
  if (!sameXattrs(a, b)) return 'metadata';
  return a.mtime === b.mtime ? undefined : 'times';
}

function sameXattrs({ xattrs: a }: Inode, { xattrs: b }: Inode): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  return [...a].every(([name, value]) => {
    const other = b.get(name);
    return other !== undefined && Buffer.compare(value, other) === 0;
  });
}
