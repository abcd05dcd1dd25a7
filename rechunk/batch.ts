/**
 * Archive entries packed into a few arrays: how they travel between threads and wait until they are flattened. As objects,
 * a layer of 200,000 entries would take several times the memory.
 */
import type { Path } from '../registry/path.ts';
import {
  type EntryType,
  type Extent,
  NO_XATTRS,
  type TarEntry,
  type Xattrs,
} from '../registry/tar.ts';

/** An archive entry with what was learnt from its content. */
export interface IndexedEntry extends TarEntry {
  /** sha256 of the content, lower-case hex; '' unless a regular file. */
  readonly sha256: string;
}

/** Form of a {@link Batch}, and what entries hold: another number for every change, since batches are kept from run to run. */
export const BATCH_FORMAT = 2;

/** Some entries in archive order, packed; plain data that can be cloned. */
export interface Batch {
  readonly count: number;
  /** {@link SMALL} numbers of 32 bits an entry. */
  readonly small: Uint32Array;
  /** {@link LARGE} numbers an entry. */
  readonly large: Float64Array;
  /** Path and link of each entry, one after the other, one byte a char. */
  readonly text: Uint8Array;
  /** 32 bytes an entry; zeros for what has no content. */
  readonly sha256: Uint8Array;
  /** What few entries have, by position. */
  readonly rare: ReadonlyMap<number, Rare>;
}

interface Rare {
  readonly xattrs: Xattrs;
  readonly extents: readonly Extent[] | undefined;
  readonly devMajor: number;
  readonly devMinor: number;
}

const NOTHING_RARE: Rare = { xattrs: NO_XATTRS, extents: undefined, devMajor: 0, devMinor: 0 };

const TYPES: readonly EntryType[] = ['file', 'link', 'symlink', 'dir', 'char', 'block', 'fifo'];
/** Type and mode, owner, group, nanoseconds of the time, lengths of path and link. */
const SMALL = 6;
/** Seconds of the time, size, offset. */
const LARGE = 3;
/** Bits of the mode; the type stands above. */
const MODE_BITS = 12;
const SHA256_BYTES = 32;
const NS_PER_SECOND = 1_000_000_000n;

/** Packs `entries`. */
export function packBatch(entries: readonly IndexedEntry[]): Batch {
  const small = new Uint32Array(entries.length * SMALL);
  const large = new Float64Array(entries.length * LARGE);
  const sha256 = Buffer.alloc(entries.length * SHA256_BYTES);
  const rare = new Map<number, Rare>();
  const text = Buffer.from(entries.map(({ path, link }) => path + link).join(''), 'latin1');
  entries.forEach((entry, i) => {
    const { mode, uid, gid, size, offset, path, link } = entry;
    const type = (TYPES.indexOf(entry.type) << MODE_BITS) | mode;
    const [seconds, ns] = splitTime(entry.mtime);
    small.set([type, uid, gid, ns, path.length, link.length], i * SMALL);
    large.set([seconds, size, offset], i * LARGE);
    if (entry.sha256 !== '') sha256.write(entry.sha256, i * SHA256_BYTES, 'hex');
    const { xattrs, extents, devMajor, devMinor } = entry;
    if (xattrs.size > 0 || extents || devMajor > 0 || devMinor > 0)
      rare.set(i, { xattrs, extents, devMajor, devMinor });
  });
  return { count: entries.length, small, large, text, sha256, rare };
}

/** Entries in one batch. */
const BATCH_ENTRIES = 2000;

/** Gathers entries and passes them on in batches. */
export class Batcher {
  readonly #send: (batch: Batch) => void;
  #entries: IndexedEntry[] = [];

  constructor(send: (batch: Batch) => void) {
    this.#send = send;
  }

  add(entry: IndexedEntry): void {
    this.#entries.push(entry);
    if (this.#entries.length >= BATCH_ENTRIES) this.finish();
  }

  /** Passes on what is left. */
  finish(): void {
    if (this.#entries.length > 0) this.#send(packBatch(this.#entries));
    this.#entries = [];
  }
}

/** Whole seconds, rounded down, and the nanoseconds that are left. */
function splitTime(time: bigint): readonly [seconds: number, ns: number] {
  const seconds = time / NS_PER_SECOND;
  const ns = Number(time - seconds * NS_PER_SECOND);
  return ns < 0 ? [Number(seconds) - 1, ns + Number(NS_PER_SECOND)] : [Number(seconds), ns];
}

/** The same number in the form that takes no memory of its own, where it is small: what a Float64Array gives does. */
function compact(number: number): number {
  return number <= 0x7fffffff && number >= -0x80000000 ? number | 0 : number;
}

/** The entries of `batch`, one at a time, in order. */
export function* unpackBatch(batch: Batch): Generator<IndexedEntry> {
  const { rare } = batch;
  const text = Buffer.from(batch.text.buffer, batch.text.byteOffset, batch.text.length);
  const sha256 = Buffer.from(batch.sha256.buffer, batch.sha256.byteOffset, batch.sha256.length);
  let at = 0;
  let mtime = 0n;
  let time: readonly [number, number] = [0, 0];
  for (let i = 0; i < batch.count; i++) {
    const small = (column: number): number => batch.small[i * SMALL + column] as number;
    const large = (column: number): number => compact(batch.large[i * LARGE + column] as number);
    const type = TYPES[small(0) >> MODE_BITS] as EntryType;
    // Neighbours mostly have one time, and then share one BigInt.
    if (time[0] !== large(0) || time[1] !== small(3)) {
      time = [large(0), small(3)];
      mtime = BigInt(time[0]) * NS_PER_SECOND + BigInt(time[1]);
    }
    const linkAt = at + small(4);
    const end = linkAt + small(5);
    const { xattrs, extents, devMajor, devMinor } = rare.get(i) ?? NOTHING_RARE;
    const entry: IndexedEntry = {
      type,
      path: text.toString('latin1', at, linkAt) as Path,
      mode: small(0) & ((1 << MODE_BITS) - 1),
      uid: small(1),
      gid: small(2),
      mtime,
      size: large(1),
      link: linkAt === end ? '' : text.toString('latin1', linkAt, end),
      devMajor,
      devMinor,
      xattrs: xattrs.size > 0 ? xattrs : NO_XATTRS,
      offset: large(2),
      sha256:
        type === 'file' ? sha256.toString('hex', i * SHA256_BYTES, (i + 1) * SHA256_BYTES) : '',
    };
    yield extents ? { ...entry, extents } : entry;
    at = end;
  }
}
