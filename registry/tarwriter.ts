/**
 * Writes tar: the same entry gives the same bytes, for ever. The rules of format 1, frozen, as a change would make every
 * user download every layer again:
 *  1. ustar headers; a PAX header (`x`) before one only where a field does not fit; no GNU extensions, no global headers.
 *  2. Names are relative, without `./`; directories end in a slash; the root is `./`. The prefix field stays empty.
 *  3. Mode is 07777 bits; owner names are empty; device numbers are zero bytes but for devices; only files have a size.
 *  4. Numbers are octal, zero-filled, ended by NUL (size and mtime: 11 digits; others: 7); checksum 6 digits, NUL, space.
 *  5. PAX `path`, `linkpath`: over 100 bytes or any byte above 0x7f (raw; the field holds the first 100 bytes), and
 *     `hdrcharset=BINARY` where one of them is no UTF-8. `uid`, `gid`, `size` that do not fit (the field holds 0).
 *     `mtime` negative, over 11 digits or with a fraction (exact decimal; the field holds whole seconds if they fit, else 0).
 *  6. Every xattr is `SCHILY.xattr.NAME`, raw. Records are sorted by key, bytewise.
 *  7. The PAX header's own entry is named `PaxHeader`, mode 0644, owner and time 0.
 *  8. Content is filled up with zeros to 512 bytes; the archive ends in 1024 zero bytes, without record padding.
 * What does not fit is an error, never cut short.
 */
import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import { type ErrorCode, RechunkError } from './errors.ts';
import { type Path, showPath } from './path.ts';
import { encodePax, type PaxRecord } from './pax.ts';
import {
  BLOCK_SIZE,
  type EntryType,
  EXTENSION_LIMIT,
  FIELD,
  type Field,
  ID_LIMIT,
  NO_XATTRS,
  paddingOf,
  type TarFields,
  XATTR_KEY,
} from './tar.ts';

export { paddingOf } from './tar.ts';

/** The number of the rules above; part of a layer's fingerprint. */
export const TAR_FORMAT = 1;
/** What ends an archive. */
export const END_OF_ARCHIVE: Buffer = Buffer.alloc(2 * BLOCK_SIZE);

const MODE_MAX = 0o7777;
const OCTAL_7_MAX = 0o7777777;
const OCTAL_11_MAX = 0o77777777777;
const NS_PER_SECOND = 1_000_000_000n;
/** Times are read up to 2^53 seconds from the epoch. */
const TIME_MAX = 2n ** 53n * NS_PER_SECOND;
const SPACE = 0x20;
const ZERO = 0x30;
const ASCII_MAX = 0x7f;
const LATIN1_MAX = 0xff;
const TYPE_FLAG: Readonly<Record<EntryType, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  char: '3',
  block: '4',
  dir: '5',
  fifo: '6',
};

function fail(entry: TarFields, code: ErrorCode, found: string): never {
  throw new RechunkError(code, `writing the tar entry "${showPath(entry.path)}": ${found}`);
}

/** A block of zeros but for what every header has: the magic, and spaces for the checksum to be summed with. */
const TEMPLATE: Buffer = Buffer.alloc(BLOCK_SIZE);
TEMPLATE.write('ustar\x0000', FIELD.magic[0], 'latin1');
TEMPLATE.fill(SPACE, FIELD.checksum[0], FIELD.checksum[0] + FIELD.checksum[1]);

function putOctal(block: Buffer, at: number, digits: number, value: number): void {
  for (let i = at + digits - 1; i >= at; i--) {
    block[i] = ZERO + (value % 8);
    value = Math.floor(value / 8);
  }
}

/** Writes a number with as many digits as leave the field's last byte NUL. */
function putNumber(block: Buffer, at: number, [field, size]: Field, value: number): void {
  putOctal(block, at + field, size - 1, value);
}

/** What the bytes of {@link TEMPLATE} add up to. */
const TEMPLATE_SUM: number = TEMPLATE.reduce((sum, byte) => sum + byte, 0);

/** The sum of a text's bytes, which end with the field or before a NUL. */
function sumText(block: Buffer, at: number, [field, size]: Field): number {
  let sum = 0;
  for (let i = at + field; i < at + field + size && block[i] !== 0; i++) sum += block[i] as number;
  return sum;
}

function sumBytes(block: Buffer, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += block[i] as number;
  return sum;
}

/** Adds up what was put on the template, field by field: most of a header is zero. */
function putChecksum(block: Buffer, at: number): void {
  const sum =
    TEMPLATE_SUM +
    sumText(block, at, FIELD.name) +
    sumBytes(block, at + FIELD.mode[0], at + FIELD.checksum[0]) +
    (block[at + FIELD.type[0]] as number) +
    sumText(block, at, FIELD.link) +
    sumBytes(block, at + FIELD.devMajor[0], at + FIELD.prefix[0]);
  const [field, size] = FIELD.checksum;
  putOctal(block, at + field, size - 2, sum);
  block[at + field + size - 2] = 0;
}

/** Whether `text` goes into a field of 100 bytes as it is: short and ASCII. */
function isPlain(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > ASCII_MAX) {
      assert(code <= LATIN1_MAX, `a path has one char a byte, got ${JSON.stringify(text)}`);
      return false;
    }
  }
  return text.length <= FIELD.name[1];
}

/** The name as the archive holds it. */
function nameOf(entry: TarFields): string {
  if (entry.type !== 'dir') return entry.path;
  return entry.path === '' ? './' : `${entry.path}/`;
}

function checkNumber(entry: TarFields, what: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= max) return;
  fail(entry, 'tar', `got ${value} as ${what}, want a number from 0 to ${max}`);
}

function checkEntry(entry: TarFields): void {
  const { type, path, link } = entry;
  checkNumber(entry, 'mode', entry.mode, MODE_MAX);
  checkNumber(entry, 'uid', entry.uid, ID_LIMIT);
  checkNumber(entry, 'gid', entry.gid, ID_LIMIT);
  checkNumber(entry, 'size', entry.size, type === 'file' ? Number.MAX_SAFE_INTEGER : 0);
  const isDevice = type === 'char' || type === 'block';
  checkNumber(entry, 'devMajor', entry.devMajor, isDevice ? OCTAL_7_MAX : 0);
  checkNumber(entry, 'devMinor', entry.devMinor, isDevice ? OCTAL_7_MAX : 0);
  if (path === '' && type !== 'dir') fail(entry, 'path', `the root is a ${type}, want a directory`);
  if (entry.mtime >= TIME_MAX || entry.mtime <= -TIME_MAX) {
    fail(entry, 'tar', `got the time ${entry.mtime} ns, want less than 2^53 s from the epoch`);
  }
  const isLink = type === 'link' || type === 'symlink';
  if (isLink !== (link !== '')) fail(entry, 'path', `got the target "${showPath(link)}"`);
  if (path.includes('\0') || link.includes('\0')) fail(entry, 'path', 'it holds a NUL byte');
}

/** Seconds with the exact fraction, without zeros at the end. */
function formatTime(ns: bigint): string {
  const size = ns < 0n ? -ns : ns;
  const fraction = (size % NS_PER_SECOND).toString().padStart(9, '0').replace(/0+$/, '');
  const seconds = `${ns < 0n ? '-' : ''}${size / NS_PER_SECOND}`;
  return fraction === '' ? seconds : `${seconds}.${fraction}`;
}

/** Whole seconds for the header's field; 0 where they do not fit. */
function secondsOf(ns: bigint): number {
  const seconds = Number(ns / NS_PER_SECOND);
  return ns >= 0n && seconds <= OCTAL_11_MAX ? seconds : 0;
}

function isTimeExact(ns: bigint, seconds: number): boolean {
  return ns === BigInt(seconds) * NS_PER_SECOND;
}

/** Adds the xattrs' records; a key with `=` or NUL would be read as another one. */
function addXattrs(entry: TarFields, records: PaxRecord[]): void {
  for (const [name, value] of entry.xattrs) {
    if (name === '' || /[=\0]/.test(name)) {
      fail(entry, 'unsupported', `tar cannot hold an xattr named "${showPath(name)}"; drop it`);
    }
    assert(!/[^\0-\xff]/.test(name), 'an xattr name has one char a byte');
    records.push([XATTR_KEY + name, value]);
  }
}

function addText(records: PaxRecord[], key: string, text: string): void {
  records.push([key, Buffer.from(text, 'latin1')]);
}

/** The records that the entry needs besides its header, sorted; mostly none. */
function recordsOf(entry: TarFields, name: string, seconds: number): PaxRecord[] {
  const records: PaxRecord[] = [];
  const { link } = entry;
  if (!isPlain(name)) addText(records, 'path', name);
  if (!isPlain(link)) addText(records, 'linkpath', link);
  if (records.some(([, value]) => !isUtf8(value))) addText(records, 'hdrcharset', 'BINARY');
  if (entry.uid > OCTAL_7_MAX) addText(records, 'uid', String(entry.uid));
  if (entry.gid > OCTAL_7_MAX) addText(records, 'gid', String(entry.gid));
  if (entry.size > OCTAL_11_MAX) addText(records, 'size', String(entry.size));
  if (!isTimeExact(entry.mtime, seconds)) addText(records, 'mtime', formatTime(entry.mtime));
  if (entry.xattrs.size > 0) addXattrs(entry, records);
  return records.sort(([a], [b]) => (a < b ? -1 : 1));
}

function putHeader(
  block: Buffer,
  at: number,
  entry: TarFields,
  name: string,
  seconds: number,
): void {
  TEMPLATE.copy(block, at);
  block.write(name, at, FIELD.name[1], 'latin1');
  putNumber(block, at, FIELD.mode, entry.mode);
  putNumber(block, at, FIELD.uid, entry.uid > OCTAL_7_MAX ? 0 : entry.uid);
  putNumber(block, at, FIELD.gid, entry.gid > OCTAL_7_MAX ? 0 : entry.gid);
  putNumber(block, at, FIELD.size, entry.size > OCTAL_11_MAX ? 0 : entry.size);
  putNumber(block, at, FIELD.mtime, seconds);
  block[at + FIELD.type[0]] = TYPE_FLAG[entry.type].charCodeAt(0);
  if (entry.link !== '') block.write(entry.link, at + FIELD.link[0], FIELD.link[1], 'latin1');
  if (entry.type === 'char' || entry.type === 'block') {
    putNumber(block, at, FIELD.devMajor, entry.devMajor);
    putNumber(block, at, FIELD.devMinor, entry.devMinor);
  }
  putChecksum(block, at);
}

/** The header of PAX headers, without size and checksum. */
const PAX_TEMPLATE: Buffer = Buffer.from(TEMPLATE);
PAX_TEMPLATE.write('PaxHeader', FIELD.name[0], 'latin1');
putNumber(PAX_TEMPLATE, 0, FIELD.mode, 0o644);
putNumber(PAX_TEMPLATE, 0, FIELD.uid, 0);
putNumber(PAX_TEMPLATE, 0, FIELD.gid, 0);
putNumber(PAX_TEMPLATE, 0, FIELD.mtime, 0);
PAX_TEMPLATE.write('x', FIELD.type[0], 'latin1');

/** A PAX header with its body, and room for the entry's own header after it. */
function putPax(entry: TarFields, records: readonly PaxRecord[]): Buffer {
  const body = encodePax(records);
  if (body.length > EXTENSION_LIMIT) {
    const found = `its names and xattrs take ${body.length} bytes`;
    fail(entry, 'unsupported', `${found}, but runtimes read ${EXTENSION_LIMIT} at most`);
  }
  const bodyEnd = BLOCK_SIZE + body.length + paddingOf(body.length);
  const blocks = Buffer.allocUnsafe(bodyEnd + BLOCK_SIZE);
  PAX_TEMPLATE.copy(blocks);
  putNumber(blocks, 0, FIELD.size, body.length);
  putChecksum(blocks, 0);
  body.copy(blocks, BLOCK_SIZE);
  blocks.fill(0, BLOCK_SIZE + body.length, bodyEnd);
  return blocks;
}

/**
 * The header blocks of an entry: a PAX header where needed, then the ustar header; content, padded, follows. Throws `tar`,
 * `path` or `unsupported` for what tar cannot hold. The buffer may share its memory with others: do not transfer it.
 */
export function encodeEntry(entry: TarFields): Buffer {
  checkEntry(entry);
  const name = nameOf(entry);
  const seconds = secondsOf(entry.mtime);
  const records = recordsOf(entry, name, seconds);
  const blocks = records.length > 0 ? putPax(entry, records) : Buffer.allocUnsafe(BLOCK_SIZE);
  putHeader(blocks, blocks.length - BLOCK_SIZE, entry, name, seconds);
  return blocks;
}

/** An entry for {@link packTar}: what is left out has the default of its comment. */
export interface TarItem {
  /** One char a byte; a slash at the end makes it a directory, './' the root. */
  readonly path: string;
  /** Default: `dir` for a path that ends in a slash, else `file`. */
  readonly type?: EntryType;
  /** Default: 0755 for a directory, 0777 for a symlink, else 0644. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: bigint;
  readonly link?: string;
  readonly devMajor?: number;
  readonly devMinor?: number;
  readonly xattrs?: TarFields['xattrs'];
  /** Text is encoded as UTF-8. */
  readonly content?: string | Uint8Array;
}

function fieldsOf(item: TarItem, size: number): TarFields {
  const isDirectory = item.path.endsWith('/');
  const type = item.type ?? (isDirectory ? 'dir' : 'file');
  return {
    type,
    path: item.path.replace(/^\.\/|\/$/g, '') as Path,
    mode: item.mode ?? (type === 'dir' ? 0o755 : type === 'symlink' ? 0o777 : 0o644),
    uid: item.uid ?? 0,
    gid: item.gid ?? 0,
    mtime: item.mtime ?? 0n,
    size,
    link: item.link ?? '',
    devMajor: item.devMajor ?? 0,
    devMinor: item.devMinor ?? 0,
    xattrs: item.xattrs ?? NO_XATTRS,
  };
}

/** A whole archive in memory, for small archives and tests. */
export function packTar(items: Iterable<TarItem>): Buffer {
  const parts: Uint8Array[] = [];
  for (const item of items) {
    const content = Buffer.from(item.content ?? '');
    parts.push(encodeEntry(fieldsOf(item, content.length)), content);
    parts.push(END_OF_ARCHIVE.subarray(0, paddingOf(content.length)));
  }
  return Buffer.concat([...parts, END_OF_ARCHIVE]);
}
