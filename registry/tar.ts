/**
 * What an archive holds, and the parts of the format that reading and writing share. `TarReader` (tarreader.ts) turns
 * bytes into entries, `encodeEntry` (tarwriter.ts) turns entries into bytes; both are exact to the byte.
 */
import type { Path } from './path.ts';

/** Headers and content come in blocks of this many bytes (POSIX.1-2017, pax, "ustar Interchange Format"). */
export const BLOCK_SIZE = 512;
/** Largest body of an extended header or sparse map, bytes; Go's archive/tar, so Docker and podman, read no more. */
export const EXTENSION_LIMIT: number = 1 << 20;
/** Largest user or group id: 2^32 - 1 means "nobody, leave it" to the kernel. */
export const ID_LIMIT = 0xfffffffe;

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

/** What a header says of an entry: everything but where the content lies. */
export type TarFields = Omit<TarEntry, 'offset' | 'extents'>;

/** How many zero bytes follow `size` bytes of content to fill the last block. */
export function paddingOf(size: number): number {
  const rest = size % BLOCK_SIZE;
  return rest === 0 ? 0 : BLOCK_SIZE - rest;
}

/** Places of the ustar header's fields: first byte and length (POSIX.1-2017, pax; GNU's from tar.h). */
export const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  link: [157, 100],
  magic: [257, 8],
  devMajor: [329, 8],
  devMinor: [337, 8],
  prefix: [345, 155],
  gnuAtime: [345, 12],
  gnuCtime: [357, 12],
  gnuSparse: [386, 96],
  gnuIsExtended: [482, 1],
  gnuRealSize: [483, 12],
} as const;

/** First byte and length of a header field. */
export type Field = readonly [at: number, size: number];

/** What the key of an extended attribute starts with in a PAX header; the value is raw bytes. */
export const XATTR_KEY = 'SCHILY.xattr.';
