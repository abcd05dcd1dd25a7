/**
 * Byte-exact tar. Types here; see `readTar` and `writeTar`.
 */
import type { Path } from './path.ts';

/** What an archive entry is; `link` is a hard link to an earlier path of the same archive. */
export type EntryType = 'file' | 'link' | 'symlink' | 'dir' | 'char' | 'block' | 'fifo';

/** Extended attributes: name (one char a byte) to raw value, in byte order of the names. */
export type Xattrs = ReadonlyMap<string, Uint8Array>;

/** The empty set of xattrs, shared. */
export const NO_XATTRS: Xattrs = new Map();

/** A stretch of a sparse file that has data: `at` in the file, `offset` in the tar stream, `size` bytes. */
export interface Extent {
  readonly at: number;
  readonly offset: number;
  readonly size: number;
}

/** One archive entry: metadata as the archive states it, the path normalised. */
export interface TarEntry {
  readonly type: EntryType;
  readonly path: Path;
  /** Permission, set-id and sticky bits only. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  /** Bytes of content, holes included; 0 unless `file`. */
  readonly size: number;
  /** For `link` a normalised path of the archive; for `symlink` the target, verbatim, one char a byte; else ''. */
  readonly link: string;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: Xattrs;
  /** Where the content begins in the uncompressed tar stream, bytes; of a sparse file see `extents`. */
  readonly offset: number;
  /** The data of a sparse file, ascending; absent for a dense one. */
  readonly extents?: readonly Extent[];
}
