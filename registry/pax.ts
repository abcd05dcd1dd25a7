/**
 * PAX extended headers: records `LENGTH KEY=VALUE\n`, where LENGTH counts the record's bytes, itself included
 * (POSIX.1-2017, pax, "pax Header Block"). Keys and values are bytes, one char each; only xattr values become arrays.
 */
import { RechunkError } from './errors.ts';
import { showPath } from './path.ts';
import { XATTR_KEY } from './tar.ts';

/** The records of one extended header; a later record of the same key has replaced the earlier one. */
export interface PaxRecords {
  /** Every record but xattrs. Sparse maps of form 0.0 are given as `GNU.sparse.map` of form 0.1. */
  readonly fields: Map<string, string>;
  /** `SCHILY.xattr.*`: name to raw value. */
  readonly xattrs: Map<string, Uint8Array>;
}

const SPACE = 0x20;
const NEWLINE = 0x0a;
const EQUALS = 0x3d;
const ZERO = 0x30;
/** Digits of the longest record length that is read. */
const LENGTH_DIGITS = 8;

function fail(at: number, found: string): never {
  throw new RechunkError('tar', `reading an extended header, record at byte ${at}: ${found}`);
}

/** The length that a record states, and where its key begins. */
function parseLength(body: Buffer, at: number): { readonly length: number; readonly key: number } {
  let length = 0;
  let i = at;
  for (; i < body.length && body[i] !== SPACE; i++) {
    const digit = (body[i] as number) - ZERO;
    if (digit < 0 || digit > 9 || i - at >= LENGTH_DIGITS) fail(at, 'its length is no number');
    length = length * 10 + digit;
  }
  return { length, key: i + 1 };
}

/** The value as an array of its own, so that it neither changes with the input nor keeps it in memory. */
function copyBytes(body: Buffer, start: number, end: number): Uint8Array {
  const copy = new Uint8Array(end - start);
  copy.set(body.subarray(start, end));
  return copy;
}

/** Collects the numbers of a sparse map of form 0.0, whose keys repeat and must take turns. */
class SparsePairs {
  readonly #numbers: string[] = [];

  /** Takes the record if it is part of a map. */
  take(key: string, value: string, at: number): boolean {
    const isOffset = key === 'GNU.sparse.offset';
    if (!isOffset && key !== 'GNU.sparse.numbytes') return false;
    if (isOffset !== (this.#numbers.length % 2 === 0)) fail(at, `"${key}" out of turn`);
    this.#numbers.push(value);
    return true;
  }

  /** Gives the map in form 0.1. */
  addTo(fields: Map<string, string>): void {
    if (this.#numbers.length > 0) fields.set('GNU.sparse.map', this.#numbers.join(','));
  }
}

/** Parses the body of an extended header; throws `tar` for anything that is not a row of whole records. */
export function parsePax(body: Buffer): PaxRecords {
  const fields = new Map<string, string>();
  const xattrs = new Map<string, Uint8Array>();
  const pairs = new SparsePairs();
  for (let at = 0; at < body.length; ) {
    const { length, key: keyAt } = parseLength(body, at);
    const end = at + length - 1;
    if (end < keyAt || end >= body.length) {
      fail(at, `got a length of ${length} where ${body.length - at} bytes are left`);
    }
    if (body[end] !== NEWLINE) fail(at, 'it does not end in a newline');
    const equals = body.indexOf(EQUALS, keyAt);
    if (equals < 0 || equals > end) fail(at, 'it has no "="');
    if (equals === keyAt) fail(at, 'its key is empty');
    const key = body.toString('latin1', keyAt, equals);
    if (key.includes('\0')) fail(at, `its key "${showPath(key)}" holds a NUL byte`);
    if (key.startsWith(XATTR_KEY)) {
      xattrs.set(key.slice(XATTR_KEY.length), copyBytes(body, equals + 1, end));
    } else {
      const value = body.toString('latin1', equals + 1, end);
      if (!pairs.take(key, value, at)) fields.set(key, value);
    }
    at = end + 1;
  }
  pairs.addTo(fields);
  return { fields, xattrs };
}

/** Bytes of a record whose space, key, `=`, value and newline take `rest` bytes: the length counts its own digits. */
function recordLength(rest: number): number {
  let digits = 1;
  for (let limit = 10; rest + digits >= limit; limit *= 10) digits++;
  return rest + digits;
}

/** One record: a key of one char a byte, without `=`, and its value. */
export type PaxRecord = readonly [key: string, value: Uint8Array];

/** Encodes records in the order given. */
export function encodePax(records: readonly PaxRecord[]): Buffer {
  const lengths = records.map(([key, value]) => recordLength(key.length + value.length + 3));
  const body = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  records.forEach(([key, value], i) => {
    at += body.write(`${lengths[i]} ${key}=`, at, 'latin1');
    body.set(value, at);
    at += value.length;
    body[at++] = NEWLINE;
  });
  return body;
}
