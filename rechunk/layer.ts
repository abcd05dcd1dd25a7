/**
 * A planned layer as segments for `assemble.ts`: which entries it has, in which order, and their tar headers.
 *
 * Layers are in canonical order, parents before children, every path once. A hard-link group is whole: its first path
 * carries the content, the others name it. With the parents policy `full` every ancestor is there with the metadata that it
 * has in the final tree, the root too where the image defines it.
 */
import { ancestorsOf, type Path } from '../registry/path.ts';
import { END_OF_ARCHIVE, encodeEntry, paddingOf } from '../registry/tarwriter.ts';
import type { Segment, Step } from './assemble.ts';
import type { Body, Entry, Inode, Tree } from './tree.ts';

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

/** Literal bytes (headers and padding) in a segment, about. */
const SEGMENT_BYTES = 1 << 20;

/** Gathers literal bytes and bodies into segments. */
class SegmentMaker {
  #pieces: Buffer[] = [];
  #steps: Step[] = [];
  #bytes = 0;
  #literal = 0;

  literal(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    this.#literal += piece.length;
  }

  body(body: Body, size: number): void {
    this.#steps.push({ literal: this.#literal, body, size });
    this.#literal = 0;
  }

  get isFull(): boolean {
    return this.#bytes >= SEGMENT_BYTES;
  }

  take(): Segment {
    const segment = { literals: Buffer.concat(this.#pieces), steps: this.#steps };
    this.#pieces = [];
    this.#steps = [];
    this.#bytes = 0;
    this.#literal = 0;
    return segment;
  }
}

/** The segments of a layer that holds exactly `entries`, which are in canonical order; made as they are asked for. */
export function* compileLayer(entries: Iterable<Entry>): Generator<Segment> {
  const maker = new SegmentMaker();
  const first = new Map<Inode, Path>();
  for (const { path, inode } of entries) {
    const target = inode.type === 'dir' ? undefined : first.get(inode);
    maker.literal(header(path, inode, target));
    if (target === undefined) {
      if (inode.type !== 'dir') first.set(inode, path);
      if (inode.body) {
        maker.body(inode.body, inode.size);
        const padding = paddingOf(inode.size);
        if (padding > 0) maker.literal(PADDING.subarray(0, padding));
      }
    }
    if (maker.isFull) yield maker.take();
  }
  maker.literal(END_OF_ARCHIVE);
  yield maker.take();
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
