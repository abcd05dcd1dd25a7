/**
 * A tar header as zstd:chunked repeats it: names, mode and times word for word, not normalised, read as Go's archive/tar reads
 * them, since consumers compare what they read in the archive with what the table of contents says.
 */
import { RechunkError } from '../errors.ts';
import { showPath } from '../path.ts';
import { FIELD, type Field, NO_XATTRS, type Xattrs } from '../tar.ts';
import { type Extensions, parseSize, rawNameOf } from '../tarentry.ts';
import { parseNumber, parseText, readNumber } from '../tarheader.ts';

/** What an entry is, in the words of the table of contents. */
export type HeaderType = 'reg' | 'hardlink' | 'symlink' | 'dir' | 'char' | 'block' | 'fifo';

/** An entry's metadata as the archive has it. Text has one char a byte; times are nanoseconds. */
export interface LayerHeader {
  readonly type: HeaderType;
  readonly name: string;
  readonly link: string;
  /** The whole field, file type bits too where the archive has them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow the header; 0 unless `reg`. */
  readonly size: number;
  readonly mtime: bigint;
  readonly atime: bigint | undefined;
  readonly ctime: bigint | undefined;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: Xattrs;
}

const TYPES: Readonly<Record<string, HeaderType>> = {
  '0': 'reg',
  '\0': 'reg',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  '6': 'fifo',
};
const NS_PER_SECOND = 1_000_000_000n;
const NS_DIGITS = 9;
const SPARSE_KEY = 'GNU.sparse.';

function refuse(found: string): never {
  throw new RechunkError('unsupported', found);
}

/** Nanoseconds of a record `SECONDS[.FRACTION]`. */
function nanoseconds(record: string): bigint {
  const [, sign, seconds, fraction = ''] = /^(-?)(\d{1,16})(?:\.(\d*))?$/.exec(record) ?? [];
  if (seconds === undefined) refuse(`it has the time "${showPath(record)}"`);
  const rest = BigInt(fraction.slice(0, NS_DIGITS).padEnd(NS_DIGITS, '0'));
  const ns = BigInt(seconds) * NS_PER_SECOND + rest;
  return sign ? -ns : ns;
}

function timeField(block: Buffer, [at, size]: Field): bigint {
  const seconds = readNumber(block, at, size);
  if (!Number.isSafeInteger(seconds)) refuse('its time is no number');
  return BigInt(seconds) * NS_PER_SECOND;
}

/** Times of access and change, which GNU's headers have in the place of the prefix. */
function gnuTime(block: Buffer, field: Field): bigint | undefined {
  const [at] = FIELD.magic;
  const isGnu = block.toString('latin1', at, at + 8) === 'ustar  \0';
  return isGnu && block[field[0]] !== 0 ? timeField(block, field) : undefined;
}

function numberOf(block: Buffer, [at, size]: Field, record: string | undefined): number {
  const value = record ? Number(record) : parseNumber(block, at, size, 'a number');
  if (!Number.isSafeInteger(value) || value < 0) refuse(`it has the number "${record}"`);
  return value;
}

function typeOf(block: Buffer, name: string): HeaderType {
  const flag = String.fromCharCode(block[FIELD.type[0]] as number);
  const type = TYPES[flag];
  if (type === undefined) refuse(`it has the type "${showPath(flag)}"`);
  return flag === '\0' && name.endsWith('/') ? 'dir' : type;
}

function sizeOf(block: Buffer, { pax }: Extensions, type: HeaderType): number {
  const size = parseSize(block, 0, pax);
  if (size > 0 && type !== 'reg') refuse(`it is no file, but has ${size} bytes`);
  return size;
}

/**
 * The header in `block`, with what the extensions before it say. Throws `unsupported` or `tar` for what no table of contents
 * can hold: sparse files, types without a word, numbers and times out of range.
 */
export function parseHeader(block: Buffer, extensions: Extensions): LayerHeader {
  const fields: ReadonlyMap<string, string> = extensions.pax?.fields ?? new Map();
  const name = rawNameOf(block, 0, extensions);
  if ([...fields.keys()].some((key) => key.startsWith(SPARSE_KEY))) refuse('it is a sparse file');
  const type = typeOf(block, name);
  const time = (key: string): bigint | undefined => {
    const record = fields.get(key);
    return record ? nanoseconds(record) : undefined;
  };
  const link =
    extensions.longLink || fields.get('linkpath') || parseText(block, FIELD.link[0], FIELD.link[1]);
  return {
    type,
    name,
    link,
    mode: numberOf(block, FIELD.mode, undefined),
    uid: numberOf(block, FIELD.uid, fields.get('uid')),
    gid: numberOf(block, FIELD.gid, fields.get('gid')),
    size: sizeOf(block, extensions, type),
    mtime: time('mtime') ?? timeField(block, FIELD.mtime),
    atime: time('atime') ?? gnuTime(block, FIELD.gnuAtime),
    ctime: time('ctime') ?? gnuTime(block, FIELD.gnuCtime),
    devMajor: numberOf(block, FIELD.devMajor, undefined),
    devMinor: numberOf(block, FIELD.devMinor, undefined),
    xattrs: extensions.pax?.xattrs ?? NO_XATTRS,
  };
}
