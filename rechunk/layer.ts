/**
 * A planned layer as a program for `assemble.ts`: which entries it has, in which order, and their tar headers.
 *
 * Layers are in canonical order, parents before children, every path once. A hard-link group is whole: its first path
 * carries the content, the others name it. With the parents policy `full` every ancestor is there with the metadata that it
 * has in the final tree, the root too where the image defines it.
 */
import { ancestorsOf, type Path } from '../registry/path.ts';
import { END_OF_ARCHIVE, encodeEntry, paddingOf } from '../registry/tarwriter.ts';
import type { LayerProgram, Step } from './assemble.ts';
import type { Entry, Inode, Tree } from './tree.ts';

/** Adds every ancestor that `entries` (in canonical order) need; the result is in canonical order. */
export function withParents(tree: Tree, entries: readonly Entry[]): Entry[] {
  const result: Entry[] = [];
  const seen = new Set<Path>();
  const add = (path: Path): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const inode = tree.get(path);
    if (!inode) throw new Error(`the tree has no ${path}`);
    result.push({ path, inode });
  };
  const root = tree.get('' as Path);
  if (root && root.layer >= 0) add('' as Path);
  for (const { path } of entries) {
    for (const ancestor of ancestorsOf(path)) add(ancestor);
    add(path);
  }
  return result;
}

/** Makes the program of a layer that holds exactly `entries`, which are in canonical order. */
export function compileLayer(entries: readonly Entry[]): LayerProgram {
  const literals: Buffer[] = [];
  const steps: Step[] = [];
  const first = new Map<Inode, Path>();
  let literal = 0;
  const emit = (bytes: Buffer): void => {
    literals.push(bytes);
    literal += bytes.length;
  };
  for (const { path, inode } of entries) {
    const target = inode.type === 'dir' ? undefined : first.get(inode);
    emit(header(path, inode, target));
    if (target !== undefined) continue;
    if (inode.type !== 'dir') first.set(inode, path);
    if (!inode.body) continue;
    steps.push({ literal, body: inode.body, size: inode.size });
    literal = 0;
    const padding = paddingOf(inode.size);
    if (padding > 0) emit(PADDING.subarray(0, padding));
  }
  emit(END_OF_ARCHIVE);
  return { literals: Buffer.concat(literals), steps };
}

const PADDING = Buffer.alloc(512);

/**
 * A name's tar header. A hard link states the whole metadata again, xattrs too: unpackers apply it to the shared inode, and
 * changing the owner, as they do for every entry, makes the kernel drop a capability that is not set once more.
 */
function header(path: Path, inode: Inode, target: Path | undefined): Buffer {
  const { mode, uid, gid, mtime, devMajor, devMinor, xattrs } = inode;
  const shared = { path, mode, uid, gid, mtime, xattrs };
  if (target !== undefined) {
    return encodeEntry({
      ...shared,
      type: 'link',
      size: 0,
      link: target,
      devMajor: 0,
      devMinor: 0,
    });
  }
  const { type, size, target: link } = inode;
  return encodeEntry({ ...shared, type, size, link, devMajor, devMinor });
}
