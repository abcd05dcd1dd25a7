/**
 * A planned layer as segments for `assemble.ts`: its entries' tar headers, and where bodies lie.
 *
 * Layers are in canonical order, parents before children, every path once. A hard-link group is whole: its first path
 * carries the content, the others name it. Which directories are there is the parents policy's matter (`parents.ts`).
 */
import type { Path } from '../registry/path.ts';
import { END_OF_ARCHIVE, encodeEntry, paddingOf } from '../registry/tarwriter.ts';
import type { Segment, Step } from './assemble.ts';
import type { Body, Entry, Inode, Tree } from './tree.ts';

/** Which bytes a layer of given entries has; another number for every change of it, apart from the program's version. */
export const LAYER_FORMAT = 1;

/** Literal bytes (headers and padding) in a segment, about. */
const SEGMENT_BYTES = 256 << 10;

/** What {@link compileLayer} may be told, and tells. */
export interface CompileOptions {
  /** Where an inode's content lies; default: its own body. */
  readonly locate?: ((inode: Inode) => Body | undefined) | undefined;
  /** Told of each entry, the first name of its hard-link group, and where its content begins in the tar. */
  readonly onEntry?: ((entry: Entry, first: Path, offset: number) => void) | undefined;
}

/** Gathers literal bytes and bodies into segments. */
class SegmentMaker {
  /** Bytes of the tar so far. */
  position = 0;
  #pieces: Buffer[] = [];
  #steps: Step[] = [];
  #bytes = 0;
  #literal = 0;

  literal(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    this.#literal += piece.length;
    this.position += piece.length;
  }

  body(body: Body, size: number): void {
    this.#steps.push({ literal: this.#literal, body, size });
    this.#literal = 0;
    this.position += size;
  }

  get isFull(): boolean {
    return this.#bytes >= SEGMENT_BYTES;
  }

  take(): Segment {
    // In memory of its own, which can be handed to another thread.
    const literals = Buffer.allocUnsafeSlow(this.#bytes);
    let at = 0;
    for (const piece of this.#pieces) at += piece.copy(literals, at);
    const segment = { literals, steps: this.#steps };
    this.#pieces = [];
    this.#steps = [];
    this.#bytes = 0;
    this.#literal = 0;
    return segment;
  }
}

/**
 * The segments of a layer that holds exactly `entries` of `tree`, which are in canonical order and have hard-link groups
 * whole; made as they are asked for.
 */
export function* compileLayer(
  tree: Tree,
  entries: Iterable<Entry>,
  { locate, onEntry }: CompileOptions = {},
): Generator<Segment> {
  const maker = new SegmentMaker();
  for (const entry of entries) {
    const { path, inode } = entry;
    const first = tree.links.get(inode)?.[0] ?? path;
    maker.literal(header(path, inode, first));
    onEntry?.(entry, first, maker.position);
    const body = inode.body && first === path ? (locate?.(inode) ?? inode.body) : undefined;
    if (body) {
      maker.body(body, inode.size);
      const padding = paddingOf(inode.size);
      if (padding > 0) maker.literal(PADDING.subarray(0, padding));
    }
    if (maker.isFull) yield maker.take();
  }
  maker.literal(END_OF_ARCHIVE);
  yield maker.take();
}

/** Bytes of the tar that {@link compileLayer} describes. */
export function tarSizeOf(tree: Tree, entries: Iterable<Entry>): number {
  let size = 0;
  for (const { literals, steps } of compileLayer(tree, entries)) {
    size += steps.reduce((sum, step) => sum + step.size, literals.length);
  }
  return size;
}

const PADDING = Buffer.alloc(512);

/**
 * A name's tar header; `first` is the first name of its hard-link group. A hard link states the whole metadata again, xattrs too: unpackers apply it to the shared inode, and
 * changing the owner, as they do for every entry, makes the kernel drop a capability that is not set once more.
 */
function header(path: Path, inode: Inode, first: Path): Buffer {
  const { mode, uid, gid, mtime, devMajor, devMinor, xattrs } = inode;
  const shared = { path, mode, uid, gid, mtime, xattrs };
  if (first !== path) {
    return encodeEntry({
      ...shared,
      type: 'link',
      size: 0,
      link: first,
      devMajor: 0,
      devMinor: 0,
    });
  }
  const { type, size, target: link } = inode;
  return encodeEntry({ ...shared, type, size, link, devMajor, devMinor });
}
