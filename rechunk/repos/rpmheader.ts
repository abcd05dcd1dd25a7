/**
 * The header of an RPM package as the package database stores it: an index of tags over one stretch of data.
 *
 * {@link parseHeader} checks the index and gives typed access by tag, decoding only what is asked for;
 * {@link parsePackage} reads from it what this program needs. Both take bytes that anybody may have written: every
 * offset and count is checked against the data, under rpm's own limits.
 * Source: rpm 4.18, lib/header.c (hdrblobInit, hdrblobVerifyInfo) and docs/manual/{format,hregions,tags}.md.
 */
import { RechunkError } from '../../registry/errors.ts';
import type { FileDigest } from '../tree.ts';

/** Tags that are read, by rpm's name (rpm 4.18, docs/manual/tags.md). */
export const TAG = {
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  buildTime: 1006,
  installTime: 1008,
  size: 1009,
  arch: 1022,
  oldFileNames: 1027,
  fileSizes: 1028,
  fileStates: 1029,
  fileModes: 1030,
  fileMtimes: 1034,
  fileDigests: 1035,
  fileLinkTos: 1036,
  fileFlags: 1037,
  fileUserName: 1039,
  fileGroupName: 1040,
  sourceRpm: 1044,
  changelogTime: 1080,
  fileInodes: 1096,
  sourcePackage: 1106,
  dirIndexes: 1116,
  baseNames: 1117,
  dirNames: 1118,
  longFileSizes: 5008,
  longSize: 5009,
  fileDigestAlgo: 5011,
} as const;

/** Most entries of an index (rpm: HEADER_TAGS_MAX). */
const MAX_ENTRIES = 0xffff;
/** Most bytes of data (rpm: HEADER_DATA_MAX). */
const MAX_DATA = 0x0fffffff;
/** Longest path that is believed, bytes (Linux: PATH_MAX). */
const MAX_PATH = 4096;
const INTRO_SIZE = 8;
const ENTRY_SIZE = 16;
/** Markers of signed regions, 61 to 63: not content. */
const REGION_TAGS: ReadonlySet<number> = new Set([61, 62, 63]);
/** Bytes of one value by type number: CHAR, INT8, INT16, INT32, INT64. */
const NUMBER_SIZES: ReadonlyMap<number, number> = new Map([
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 4],
  [5, 8],
]);
const STRING = 6;
const STRING_TYPES: ReadonlySet<number> = new Set([STRING, 8, 9]);

/** A file that was not installed has another state; so do files of the wrong colour (rpm: RPMFILE_STATE_NORMAL). */
const STATE_NORMAL = 0;
/** The package lists the file without shipping it (rpm: RPMFILE_GHOST). */
const FLAG_GHOST = 64;
/** File type bits of a mode, and their values (inode(7)). */
const S_IFMT = 0o170000;
const FILE_TYPES: ReadonlyMap<number, 'file' | 'dir' | 'symlink'> = new Map([
  [0o100000, 'file'],
  [0o040000, 'dir'],
  [0o120000, 'symlink'],
]);

/** Digest algorithms by FILEDIGESTALGO (RFC 4880, 9.4), and the hex digits of each. */
const ALGORITHMS: ReadonlyMap<number, { name: FileDigest | 'sha256'; digits: number }> = new Map([
  [1, { name: 'md5', digits: 32 }],
  [2, { name: 'sha1', digits: 40 }],
  [8, { name: 'sha256', digits: 64 }],
  [9, { name: 'sha384', digits: 96 }],
  [10, { name: 'sha512', digits: 128 }],
]);
/** The algorithm of headers that name none. */
const MD5 = 1;

function damaged(what: string): RechunkError {
  return new RechunkError('database', `the RPM header is damaged: ${what}`);
}

interface IndexEntry {
  readonly type: number;
  readonly offset: number;
  readonly count: number;
}

/** Typed access to a header by tag; where a tag stands twice the last one counts, as in rpm. */
export interface Header {
  /** The tags that it has, without region markers. */
  readonly tags: ReadonlySet<number>;
  /** The unsigned integers of `tag`; undefined where it is absent. INT64 past 2^53 is an error. */
  numbers(tag: number): number[] | undefined;
  /** The strings of `tag`, one char a byte; undefined where it is absent. */
  strings(tag: number): string[] | undefined;
}

function readNumbers(data: Buffer, tag: number, entry: IndexEntry): number[] {
  const size = NUMBER_SIZES.get(entry.type);
  if (!size) throw damaged(`tag ${tag} has type ${entry.type}, numbers are wanted`);
  const { offset, count } = entry;
  if (offset + count * size > data.length) {
    throw damaged(
      `tag ${tag} has ${count} numbers of ${size} bytes at ${offset} of ${data.length} bytes`,
    );
  }
  return Array.from({ length: count }, (_, i) => {
    if (size < 8) return data.readUIntBE(offset + i * size, size);
    const value = Number(data.readBigUInt64BE(offset + i * size));
    if (!Number.isSafeInteger(value)) throw damaged(`tag ${tag} holds ${value}, too large`);
    return value;
  });
}

function readStrings(data: Buffer, tag: number, entry: IndexEntry): string[] {
  if (!STRING_TYPES.has(entry.type)) {
    throw damaged(`tag ${tag} has type ${entry.type}, strings are wanted`);
  }
  const count = entry.type === STRING ? 1 : entry.count;
  const strings: string[] = [];
  for (let i = 0, at = entry.offset; i < count; i++) {
    const end = data.indexOf(0, at);
    if (end < 0) throw damaged(`string ${i + 1} of ${count} of tag ${tag} does not end`);
    strings.push(data.toString('latin1', at, end));
    at = end + 1;
  }
  return strings;
}

function readIndex(blob: Buffer, entries: number, dataSize: number): Map<number, IndexEntry> {
  const index = new Map<number, IndexEntry>();
  for (let i = 0; i < entries; i++) {
    const at = INTRO_SIZE + i * ENTRY_SIZE;
    const tag = blob.readUInt32BE(at);
    if (REGION_TAGS.has(tag)) continue;
    const type = blob.readUInt32BE(at + 4);
    const offset = blob.readInt32BE(at + 8);
    const count = blob.readUInt32BE(at + 12);
    if (offset < 0 || offset > dataSize || count > dataSize) {
      throw damaged(`tag ${tag} has ${count} values at ${offset} of ${dataSize} bytes`);
    }
    index.set(tag, { type, offset, count });
  }
  return index;
}

/** Parses a header blob (without the magic that package files put before it); throws `database` where it is damaged. */
export function parseHeader(blob: Buffer): Header {
  if (blob.length < INTRO_SIZE) throw damaged(`it has ${blob.length} bytes`);
  const entries = blob.readUInt32BE(0);
  const dataSize = blob.readUInt32BE(4);
  const start = INTRO_SIZE + entries * ENTRY_SIZE;
  if (entries > MAX_ENTRIES || dataSize > MAX_DATA || start + dataSize > blob.length) {
    throw damaged(
      `${entries} tags and ${dataSize} bytes of data do not fit into its ${blob.length} bytes`,
    );
  }
  const data = blob.subarray(start, start + dataSize);
  const index = readIndex(blob, entries, dataSize);
  const read = <T>(tag: number, reader: (data: Buffer, tag: number, entry: IndexEntry) => T) => {
    const entry = index.get(tag);
    return entry && reader(data, tag, entry);
  };
  return {
    tags: new Set(index.keys()),
    numbers: (tag) => read(tag, readNumbers),
    strings: (tag) => read(tag, readStrings),
  };
}

/** A file that a package lists. */
export interface RpmFile {
  /** Absolute, one char a byte. */
  readonly path: string;
  /** Absent for devices and the like. */
  readonly type?: 'file' | 'dir' | 'symlink';
  /** Bytes. */
  readonly size?: number;
  readonly digest?: { readonly algorithm: FileDigest | 'sha256'; readonly hex: string };
  /** A symlink's target. */
  readonly target?: string;
  /** Listed without content: made on the machine. */
  readonly ghost: boolean;
  /** False for what was left out: documentation, languages, the wrong colour, replaced files. */
  readonly installed: boolean;
}

/** An installed package. */
export interface RpmPackage {
  readonly name: string;
  /** `[epoch:]version-release`. */
  readonly version: string;
  /** Absent for public keys, which rpm stores as packages. */
  readonly arch?: string;
  /** Name of the source package, the package's own where the header has none: what is built and updated together. */
  readonly source: string;
  /** Seconds since the epoch. */
  readonly buildTime?: number;
  /** Changelog times, seconds since the epoch, as listed (usually newest first). */
  readonly changelogTimes: readonly number[];
  /** In the header's order. */
  readonly files: readonly RpmFile[];
}

/** A text of the header as text for people: UTF-8. */
function textOf(header: Header, tag: number): string | undefined {
  const first = header.strings(tag)?.[0];
  return first === undefined ? undefined : Buffer.from(first, 'latin1').toString('utf8');
}

/** Name of the source package `NAME-VERSION-RELEASE.src.rpm`; undefined where it has another form. */
function sourceName(sourceRpm: string | undefined): string | undefined {
  return sourceRpm && /^(.+)-[^-]+-[^-]+\.(?:no)?src\.rpm$/.exec(sourceRpm)?.[1];
}

function checkPath(path: string): string {
  if (path.length > MAX_PATH || !path.startsWith('/') || /\/\.\.?(?:\/|$)/.test(path)) {
    throw damaged(
      `it lists a file '${path.slice(0, 80)}', want an absolute path without '..' of at most ${MAX_PATH} bytes`,
    );
  }
  return path;
}

function readPaths(header: Header): string[] {
  const names = header.strings(TAG.baseNames);
  if (!names) return (header.strings(TAG.oldFileNames) ?? []).map(checkPath);
  const directories = header.strings(TAG.dirNames) ?? [];
  const indexes = header.numbers(TAG.dirIndexes) ?? [];
  return names.map((name, i) => {
    const directory = directories[indexes[i] ?? -1];
    if (directory === undefined || directory.length + name.length > MAX_PATH) {
      throw damaged(`file ${i + 1} of ${names.length} has no usable directory`);
    }
    return checkPath(directory + name);
  });
}

/** A column with one value for each file; undefined where it is absent. */
function column<T>(values: readonly T[] | undefined, tag: number, count: number) {
  if (values && values.length !== count) {
    throw damaged(`tag ${tag} has ${values.length} values for ${count} files`);
  }
  return values;
}

function readDigest(
  hex: string | undefined,
  algorithm: { name: FileDigest | 'sha256'; digits: number } | undefined,
): Pick<RpmFile, 'digest'> {
  if (!hex || !algorithm || hex.length !== algorithm.digits) return {};
  return { digest: { algorithm: algorithm.name, hex: hex.toLowerCase() } };
}

function readFiles(header: Header): RpmFile[] {
  const paths = readPaths(header);
  const numbers = (tag: number) => column(header.numbers(tag), tag, paths.length);
  const strings = (tag: number) => column(header.strings(tag), tag, paths.length);
  const sizes = numbers(TAG.longFileSizes) ?? numbers(TAG.fileSizes);
  const states = numbers(TAG.fileStates);
  const modes = numbers(TAG.fileModes);
  const flags = numbers(TAG.fileFlags);
  const digests = strings(TAG.fileDigests);
  const targets = strings(TAG.fileLinkTos);
  const algorithm = ALGORITHMS.get(header.numbers(TAG.fileDigestAlgo)?.[0] ?? MD5);
  return paths.map((path, i) => {
    const type = FILE_TYPES.get((modes?.[i] ?? 0) & S_IFMT);
    const size = sizes?.[i];
    const target = targets?.[i];
    return {
      path,
      ...(type && { type }),
      ...(size !== undefined && { size }),
      ...(type === 'file' && readDigest(digests?.[i], algorithm)),
      ...(type === 'symlink' && target && { target }),
      ghost: ((flags?.[i] ?? 0) & FLAG_GHOST) !== 0,
      installed: (states?.[i] ?? STATE_NORMAL) === STATE_NORMAL,
    };
  });
}

/** Parses a header blob as an installed package; throws `database` where it is damaged or names no package. */
export function parsePackage(blob: Buffer): RpmPackage {
  const header = parseHeader(blob);
  const name = textOf(header, TAG.name);
  if (!name) throw damaged('it names no package');
  const arch = textOf(header, TAG.arch);
  const epoch = header.numbers(TAG.epoch)?.[0];
  const buildTime = header.numbers(TAG.buildTime)?.[0];
  const version = `${textOf(header, TAG.version) ?? ''}-${textOf(header, TAG.release) ?? ''}`;
  return {
    name,
    version: epoch === undefined ? version : `${epoch}:${version}`,
    ...(arch && { arch }),
    source: sourceName(textOf(header, TAG.sourceRpm)) ?? name,
    ...(buildTime !== undefined && { buildTime }),
    changelogTimes: header.numbers(TAG.changelogTime) ?? [],
    files: header.tags.has(TAG.sourcePackage) ? [] : readFiles(header),
  };
}
