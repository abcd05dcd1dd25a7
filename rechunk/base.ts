/**
 * An image laid over a base whose layers stay as they are: what lies above the base, always computed from the flattened base and
 * the tree that is meant, never from the layers that the image had above it.
 *
 * The result, lowest first: the base's layers, a layer of whiteouts, the layers of the plan and its skeletons. Whiteouts have a
 * layer of their own, below all others, since runtimes disagree about a layer that deletes a name and makes it anew. Pure.
 */
import { RechunkError } from '../registry/errors.ts';
import {
  ancestorsOf,
  comparePaths,
  joinPath,
  NAME_LIMIT,
  nameOf,
  type Path,
  parentOf,
  showPath,
} from '../registry/path.ts';
import { DIRECTORIES } from './assign.ts';
import type { Component } from './components.ts';
import {
  BLANK,
  contentSize,
  type Entry,
  type Inode,
  isAlike,
  isDefined,
  type Tree,
} from './tree.ts';

/** What is meant, and how a base is to be changed into it. */
export interface Overlay {
  /** What is meant, the base's part of it too. Its root counts as defined where layers above the base must say what it is. */
  readonly tree: Tree;
  /** The inodes of `tree` that the base has as they are, under all names that they have there, and what they are in the base. */
  readonly kept: ReadonlyMap<Inode, Inode>;
  /** Names of the base that are to be hidden, in canonical order; none of them lies below another. */
  readonly hidden: readonly Path[];
}

/** How whiteouts are named (image-spec v1.1.1, layer.md "Whiteouts"). */
const WHITEOUT = '.wh.';

/** Finds how `base` is changed into `tree`. Throws `limit` for a name of the base that is too long to be deleted. */
export function layOver(base: Tree, tree: Tree): Overlay {
  const kept = findKept(base, tree);
  return { tree: defineRoot(tree, kept), kept, hidden: findHidden(base, tree) };
}

/**
 * The inodes of `tree` that `base` has in every field, and what they are there. A hard-link group counts as a whole: all its names
 * must be names of one inode of the base, of which the group may be what is left.
 */
export function findKept(base: Tree, tree: Tree): ReadonlyMap<Inode, Inode> {
  const kept = new Map<Inode, Inode>();
  const taken = new Set<Inode>();
  for (const { path, inode } of tree.entries) {
    const before = kept.has(inode) ? undefined : base.get(path);
    if (!before || taken.has(before) || !isSame(inode, before)) continue;
    const names = tree.links.get(inode) ?? [path];
    if (!names.every((name) => base.get(name) === before)) continue;
    kept.set(inode, before);
    // Of several files that were one in the base, the first is still that one.
    taken.add(before);
  }
  return kept;
}

/**
 * A directory that no layer of the base defines looks as each runtime likes, and so does one that the base defines and then implies: it is
 * not what a layer of the image defines.
 */
function isSame(inode: Inode, before: Inode): boolean {
  return (
    isAlike(inode, before) &&
    inode.mtime === before.mtime &&
    inode.sha256 === before.sha256 &&
    (inode.layer < 0 || (before.layer >= 0 && !before.isShadowed))
  );
}

/** Whether an image has an entry for its root is its choice, unless the base has another one. */
function defineRoot(tree: Tree, kept: ReadonlyMap<Inode, Inode>): Tree {
  const root = tree.get('' as Path);
  if (!root || root.layer >= 0 || kept.has(root)) return tree;
  const entries = tree.entries.map((entry) =>
    entry.path === '' ? { path: entry.path, inode: { ...root, layer: 0 } } : entry,
  );
  return tree.with(entries);
}

/** What `tree` lacks of `base`, and what is a directory on one side only: no runtime lays the one over the other in the same way. */
function findHidden(base: Tree, tree: Tree): Path[] {
  const hidden: Path[] = [];
  for (const { path, inode } of base.entries) {
    const above = hidden.at(-1);
    if (above !== undefined && path.startsWith(`${above}/`)) continue;
    const now = tree.get(path);
    if (path === '' || (now && (now.type === 'dir') === (inode.type === 'dir'))) continue;
    checkName(path);
    hidden.push(path);
  }
  return hidden;
}

function checkName(path: Path): void {
  const most = NAME_LIMIT - WHITEOUT.length;
  const { length } = nameOf(path);
  if (length <= most) return;
  throw new RechunkError(
    'limit',
    `deleting /${showPath(path)} of the base: its name has ${length} bytes, a whiteout can name at most ${most}; build without --base`,
  );
}

/** The entries of the layer of whiteouts, without directories, in canonical order; none where nothing is hidden. */
export function whiteoutsOf({ hidden }: Overlay): Entry[] {
  const inode: Inode = { ...BLANK, type: 'file', mode: 0, layer: 0 };
  return hidden
    .map((path) => ({ path: joinPath(parentOf(path), `${WHITEOUT}${nameOf(path)}`), inode }))
    .sort((a, b) => comparePaths(a.path, b.path));
}

/**
 * The components with what lies above the base only, those of which nothing does left out. Directories that differ from the
 * base's and have nothing above the base below them are in the component of directories. Sorted by id, as they came.
 */
export function componentsAbove(
  overlay: Overlay,
  components: readonly Component[],
): readonly Component[] {
  const { kept } = overlay;
  const above = components.flatMap((component) => {
    const entries = component.entries.filter(({ inode }) => !kept.has(inode));
    if (entries.length === component.entries.length) return [component];
    return entries.length > 0 ? [withEntries(component, entries)] : [];
  });
  const left = lonelyDirectories(
    overlay,
    above.flatMap(({ entries }) => entries),
  );
  return left.length > 0 ? addDirectories(above, left) : above;
}

function withEntries(component: Component, entries: readonly Entry[]): Component {
  return { ...component, entries, size: contentSize(entries) };
}

/** The lowest of the directories that differ from the base's and that no layer would hold for the sake of something in them. */
function lonelyDirectories(overlay: Overlay, own: readonly Entry[]): Entry[] {
  const { tree, kept, hidden } = overlay;
  const held = new Set(own.map(({ path }) => path));
  for (const path of [...held, ...hidden]) addAncestors(path, held);
  const lonely: Entry[] = [];
  for (const { path, inode } of tree.entries.toReversed()) {
    if (inode.type !== 'dir' || kept.has(inode) || held.has(path) || !isDefined(path, inode))
      continue;
    lonely.push({ path, inode });
    addAncestors(path, held);
  }
  return lonely.reverse();
}

/** Adds the ancestors of `path` to `paths`, which has all ancestors of what is in it; the root is one here. */
function addAncestors(path: Path, paths: Set<Path>): void {
  for (let at = path; at !== ''; ) {
    at = parentOf(at);
    paths.add(at);
  }
}

function addDirectories(components: readonly Component[], left: readonly Entry[]): Component[] {
  const known = components.find(({ id }) => id === DIRECTORIES.id);
  const entries = [...(known?.entries ?? []), ...left].sort((a, b) => comparePaths(a.path, b.path));
  const made = withEntries(known ?? { ...DIRECTORIES, entries, size: 0 }, entries);
  return [...components.filter((one) => one !== known), made].sort((a, b) =>
    a.id < b.id ? -1 : 1,
  );
}

/** Directories for skeletons, in canonical order, the root where it is defined. */
export interface DirectoriesAbove {
  /** Those that the base does not define as they are meant. */
  readonly changed: readonly Entry[];
  /** Those, and all ancestors of what layers above the base hold. */
  readonly needed: readonly Entry[];
}

/** The directories that layers above the base leave to skeletons. */
export function directoriesAbove({ tree, kept, hidden }: Overlay): DirectoriesAbove {
  const paths = new Set<Path>();
  const own = tree.entries.filter(({ path, inode }) => !kept.has(inode) && isDefined(path, inode));
  for (const { path } of own) for (const ancestor of ancestorsOf(path)) paths.add(ancestor);
  for (const path of hidden) for (const ancestor of ancestorsOf(path)) paths.add(ancestor);
  const changed = own.filter(({ inode }) => inode.type === 'dir');
  for (const { path } of changed) paths.add(path);
  if (own.length > 0 || hidden.length > 0) paths.add('' as Path);
  const needed = tree.entries.filter(
    ({ path, inode }) => paths.has(path) && isDefined(path, inode),
  );
  return { changed, needed };
}

/** Files of the base that nothing shows any more: deleted, replaced, or hidden with what they lie in; whole hard-link groups, in canonical order. */
export function lostFiles(base: Tree, { kept }: Overlay): Entry[] {
  const shown = new Set(kept.values());
  return base.entries.filter(({ inode }) => inode.type === 'file' && !shown.has(inode));
}
