/**
 * The table of contents of a zstd:chunked layer: metadata of every entry, and where in the blob its chunks lie (c/storage 1.57
 * `pkg/chunked/internal/minimal/compression.go`).
 */
import * as v from 'valibot';
import { RechunkError } from '../errors.ts';
import type { Digest } from '../oci.ts';
import type { HeaderType, LayerHeader } from './header.ts';
import { ambiguousKey, hasDuplicateKeys } from './keys.ts';

/** One entry; zeros and what is empty are left out. `chunk` continues the `reg` before it. */
export interface TocEntry {
  readonly type: HeaderType | 'chunk';
  readonly name: string;
  readonly linkName?: string | undefined;
  readonly mode?: number | undefined;
  /** Bytes of content. */
  readonly size?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** RFC 3339, with the whole fraction. */
  readonly modtime?: string | undefined;
  readonly accesstime?: string | undefined;
  readonly changetime?: string | undefined;
  readonly devMajor?: number | undefined;
  readonly devMinor?: number | undefined;
  /** Values in base64. */
  readonly xattrs?: Readonly<Record<string, string>> | undefined;
  /** Of the whole content. */
  readonly digest?: Digest | undefined;
  /** Where in the blob the frames of the (first) chunk begin, and those of the last end. */
  readonly offset?: number | undefined;
  readonly endOffset?: number | undefined;
  /** Of files with more than one chunk; the offset is that in the file. */
  readonly chunkSize?: number | undefined;
  readonly chunkOffset?: number | undefined;
  readonly chunkDigest?: Digest | undefined;
  readonly chunkType?: string | undefined;
}

/** An entry of eStargz's table, of which zstd:chunked's came (stargz-snapshotter v0.16 docs/estargz.md): names and meanings are the same. */
export interface EstargzEntry extends TocEntry {
  /** Several files can lie in one compressed stretch: bytes of what it decompresses to that are before this one. */
  readonly innerOffset?: number | undefined;
}

/** What a layer holds. */
export interface Toc {
  readonly version: 1;
  /** In the blob's order. */
  readonly entries: readonly TocEntry[];
  /** Of the compressed tar-split section. */
  readonly tarSplitDigest?: Digest | undefined;
}

/** A chunk of a file as it lies in the blob. */
export interface StoredChunk {
  /** In the blob. */
  readonly offset: number;
  readonly chunkOffset: number;
  readonly size: number;
  readonly type: 'data' | 'zeros';
  /** Of its content. */
  readonly digest: Digest;
}

/** The content of a file as it lies in the blob. */
export interface StoredFile {
  readonly digest: Digest;
  readonly endOffset: number;
  readonly chunks: readonly StoredChunk[];
}

/** Largest table of contents that consumers read, compressed or not, bytes (c/storage before 1.58: 50 MiB, then 150). */
export const TOC_LIMIT: number = 50 << 20;

const VERSION = 1;
const NS_PER_SECOND = 1_000_000_000n;
const MS_PER_SECOND = 1000;
const NS_DIGITS = 9;
/** `YYYY-MM-DDTHH:MM:SS`. */
const DATE_LENGTH = 19;

/** RFC 3339 with as many digits as needed. */
function formatTime(ns: bigint): string {
  const fraction = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  const date = new Date(Number((ns - fraction) / NS_PER_SECOND) * MS_PER_SECOND).toISOString();
  const digits = fraction.toString().padStart(NS_DIGITS, '0').replace(/0+$/, '');
  return `${date.slice(0, DATE_LENGTH)}${digits && '.'}${digits}Z`;
}

const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;
const NS_PER_MS = 1_000_000n;

/** Nanoseconds since the epoch of a time in RFC 3339 of any zone (Go writes local ones); undefined for anything else. */
export function parseTocTime(text: string): bigint | undefined {
  const [, date, fraction = '', zone] = TIME.exec(text) ?? [];
  const ms = Date.parse(`${date}${zone}`);
  if (date === undefined || Number.isNaN(ms)) return undefined;
  return BigInt(ms) * NS_PER_MS + BigInt(fraction.padEnd(NS_DIGITS, '0'));
}

function textOf(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString();
}

function xattrsOf({ xattrs }: LayerHeader): Record<string, string> | undefined {
  if (xattrs.size === 0) return undefined;
  const values = [...xattrs].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    values.map(([name, value]) => [textOf(name), Buffer.from(value).toString('base64')]),
  );
}

function chunkFields({ size, chunkOffset, digest, type }: StoredChunk): Partial<TocEntry> {
  return {
    chunkSize: size,
    chunkOffset: chunkOffset || undefined,
    chunkDigest: digest,
    chunkType: type === 'zeros' ? type : undefined,
  };
}

/** The entries of a file or another path: itself, then its further chunks. Names must be UTF-8. */
export function tocEntries(header: LayerHeader, stored?: StoredFile): TocEntry[] {
  const { type, atime, ctime } = header;
  const name = textOf(header.name);
  const [first, ...more] = stored?.chunks ?? [];
  const entry: TocEntry = {
    type,
    name,
    linkName: textOf(header.link) || undefined,
    mode: header.mode || undefined,
    size: header.size || undefined,
    uid: header.uid || undefined,
    gid: header.gid || undefined,
    modtime: formatTime(header.mtime),
    accesstime: atime === undefined ? undefined : formatTime(atime),
    changetime: ctime === undefined ? undefined : formatTime(ctime),
    devMajor: header.devMajor || undefined,
    devMinor: header.devMinor || undefined,
    xattrs: xattrsOf(header),
    digest: stored?.digest,
    offset: first?.offset,
    endOffset: stored?.endOffset,
    ...(first && more.length > 0 && chunkFields(first)),
  };
  const rest = more.map((chunk): TocEntry => {
    return { type: 'chunk', name, offset: chunk.offset, ...chunkFields(chunk) };
  });
  return [entry, ...rest];
}

/** What stands before and after the entries in the text of a table of contents, JSON; they are separated by commas. */
export function tocFrame(tarSplitDigest: Digest): readonly [string, string] {
  return [`{"version":${VERSION},"entries":[`, `],"tarSplitDigest":"${tarSplitDigest}"}`];
}

const count: v.GenericSchema<unknown, number | undefined> = v.optional(
  v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
);
const text: v.GenericSchema<unknown, string | undefined> = v.optional(v.string());
const digest: v.GenericSchema<unknown, Digest | undefined> = v.optional(
  v.custom<Digest>((value) => typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value)),
);
const TYPES = ['reg', 'hardlink', 'symlink', 'dir', 'char', 'block', 'fifo', 'chunk'] as const;
const entryFields = {
  type: v.picklist(TYPES),
  name: v.string(),
  linkName: text,
  mode: v.optional(v.pipe(v.number(), v.safeInteger())),
  size: count,
  uid: count,
  gid: count,
  modtime: text,
  accesstime: text,
  changetime: text,
  devMajor: count,
  devMinor: count,
  xattrs: v.optional(
    v.custom<Readonly<Record<string, string>>>(
      (value) =>
        typeof value === 'object' &&
        value !== null &&
        !Array.isArray(value) &&
        Object.values(value).every((one) => typeof one === 'string'),
    ),
  ),
  digest,
  offset: count,
  endOffset: count,
  chunkSize: count,
  chunkOffset: count,
  chunkDigest: digest,
  chunkType: text,
};
const tocFields = {
  version: v.literal(VERSION),
  entries: v.array(v.object(entryFields)),
  tarSplitDigest: digest,
};
const tocSchema: v.GenericSchema<unknown, Toc> = v.object(tocFields);
const estargzSchema: v.GenericSchema<unknown, { readonly entries: readonly EstargzEntry[] }> =
  v.object({ entries: v.array(v.object({ ...entryFields, innerOffset: count })) });
const ENTRY_KEYS: ReadonlySet<string> = new Set(Object.keys(entryFields));
const TOC_KEYS: ReadonlySet<string> = new Set(Object.keys(tocFields));

function refuse(found: string): never {
  throw new RechunkError('manifest', `reading a layer's table of contents: ${found}`);
}

function checkOrder(entries: readonly TocEntry[]): void {
  let file: TocEntry | undefined;
  let last = 0;
  for (const { type, name, offset = last, ...entry } of entries) {
    if (offset < last) refuse(`"${name}" lies at byte ${offset}, before what it follows`);
    last = offset;
    if (type !== 'chunk') {
      file = { type, name, ...entry };
      continue;
    }
    const { chunkOffset = 0, chunkSize = 0, chunkDigest } = entry;
    if (file?.type !== 'reg' || file.name !== name) refuse(`a chunk of "${name}" follows no file`);
    const isWithin = chunkOffset + chunkSize <= (file?.size ?? 0);
    if (!isWithin || chunkSize === 0) refuse(`a chunk of "${name}" is not within it`);
    if (!chunkDigest) refuse(`a chunk of "${name}" has no digest`);
  }
}

/** Throws where others could read something else. */
function checkKeys(json: Uint8Array, value: { readonly entries: readonly object[] }): void {
  if (hasDuplicateKeys(json, value)) refuse('it has a key twice');
  const check = (object: object, known: ReadonlySet<string>): void => {
    const key = ambiguousKey(object, known);
    if (key !== undefined) refuse(`it has the key ${JSON.stringify(key)}`);
  };
  check(value, TOC_KEYS);
  for (const entry of value.entries) {
    check(entry, ENTRY_KEYS);
    if ('xattrs' in entry && Object.hasOwn(entry.xattrs as object, ''))
      refuse('it has an xattr without a name');
  }
}

/**
 * The table of contents in `json`, decompressed bytes that were checked against their digest. Fields that are not known are
 * dropped; throws `manifest` for anything that is none, or that others could read otherwise (`keys.ts`), chunks that are not
 * within a file before them, and offsets that descend; `limit` for more than {@link TOC_LIMIT} bytes.
 */
export function parseToc(json: Uint8Array): Toc {
  if (json.length > TOC_LIMIT) {
    const found = `a table of contents has ${json.length} bytes`;
    throw new RechunkError('limit', `${found}, at most ${TOC_LIMIT} are read`);
  }
  const [value, toc] = parse(tocSchema, json);
  checkKeys(json, value as Toc);
  checkOrder(toc.entries);
  return toc;
}

/** The entries of eStargz's table in `json`; fields that are not known are dropped. Throws `manifest` for anything that is none. */
export function parseEstargz(json: Uint8Array): readonly EstargzEntry[] {
  const [, { entries }] = parse(estargzSchema, json);
  return entries;
}

/** What `json` holds, as it is and as the schema gives it. */
function parse<T>(schema: v.GenericSchema<unknown, T>, json: Uint8Array): [unknown, T] {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch (error) {
    refuse(`it is not JSON: ${(error as Error).message}`);
  }
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return [value, result.output];
  const [issue] = result.issues;
  return refuse(`${v.getDotPath(issue) ?? 'the document'}: ${issue.message}`);
}
