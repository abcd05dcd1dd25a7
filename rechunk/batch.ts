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

/** Some entries in archive order, packed; plain data that can be cloned. */
export interface Batch {
  readonly count: number;
  /** {@link COLUMNS} numbers an entry. */
  readonly numbers: Float64Array;
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
}

const TYPES: readonly EntryType[] = ['file', 'link', 'symlink', 'dir', 'char', 'block', 'fifo'];
const COLUMNS = 12;
const SHA256_BYTES = 32;
const NS_PER_SECOND = 1_000_000_000n;

/** Packs `entries`. */
export function packBatch(entries: readonly IndexedEntry[]): Batch {
  const numbers = new Float64Array(entries.length * COLUMNS);
  const sha256 = Buffer.alloc(entries.length * SHA256_BYTES);
  const rare = new Map<number, Rare>();
  const text = Buffer.from(entries.map(({ path, link }) => path + link).join(''), 'latin1');
  entries.forEach((entry, i) => {
    const seconds = entry.mtime / NS_PER_SECOND;
    const { mode, uid, gid, size, devMajor, devMinor, offset, path, link, xattrs, extents } = entry;
    const row = [
      TYPES.indexOf(entry.type),
      mode,
      uid,
      gid,
      Number(seconds),
      Number(entry.mtime - seconds * NS_PER_SECOND),
      size,
      devMajor,
      devMinor,
      offset,
      path.length,
      link.length,
    ];
    numbers.set(row, i * COLUMNS);
    if (entry.sha256 !== '') sha256.write(entry.sha256, i * SHA256_BYTES, 'hex');
    if (xattrs.size > 0 || extents) rare.set(i, { xattrs, extents });
  });
  return { count: entries.length, numbers, text, sha256, rare };
}

/** The same number in the form that takes no memory of its own, where it is small: what a Float64Array gives does. */
function compact(number: number): number {
  return number <= 0x7fffffff && number >= -0x80000000 ? number | 0 : number;
}

/** The entries of `batch`, one at a time, in order. */
export function* unpackBatch(batch: Batch): Generator<IndexedEntry> {
  const { numbers, rare } = batch;
  const text = Buffer.from(batch.text.buffer, batch.text.byteOffset, batch.text.length);
  const sha256 = Buffer.from(batch.sha256.buffer, batch.sha256.byteOffset, batch.sha256.length);
  let at = 0;
  let mtime = 0n;
  let time: readonly [number, number] = [0, 0];
  for (let i = 0; i < batch.count; i++) {
    const number = (column: number): number => compact(numbers[i * COLUMNS + column] as number);
    const type = TYPES[number(0)] as EntryType;
    // Neighbours mostly have one time, and then share one BigInt.
    if (time[0] !== number(4) || time[1] !== number(5)) {
      time = [number(4), number(5)];
      mtime = BigInt(time[0]) * NS_PER_SECOND + BigInt(time[1]);
    }
    const linkAt = at + number(10);
    const end = linkAt + number(11);
    const { xattrs = NO_XATTRS, extents } = rare.get(i) ?? {};
    const entry: IndexedEntry = {
      type,
      path: text.toString('latin1', at, linkAt) as Path,
      mode: number(1),
      uid: number(2),
      gid: number(3),
      mtime,
      size: number(6),
      link: linkAt === end ? '' : text.toString('latin1', linkAt, end),
      devMajor: number(7),
      devMinor: number(8),
      xattrs: xattrs.size > 0 ? xattrs : NO_XATTRS,
      offset: number(9),
      sha256:
        type === 'file' ? sha256.toString('hex', i * SHA256_BYTES, (i + 1) * SHA256_BYTES) : '',
    };
    yield extents ? { ...entry, extents } : entry;
    at = end;
  }
}
