/**
 * Reads tables of an SQLite database that lies in memory, write-ahead log included: no temporary file, no lock, no
 * `-shm`, and nothing is written.
 *
 * A {@link Pager} answers page numbers with bytes (of the log where a committed frame has the page, else of the file)
 * and hands out every page once, since in a sound database each page has one use: cycles and shared overflow chains end
 * there, so the work is linear in the size of the input. Above it a walk over a table b-tree and a record decoder.
 * Source: sqlite.org/fileformat2.html (format 4, SQLite 3.45), sections 1.3, 1.6, 2.1 and 4.
 */
import { RechunkError } from '../../registry/errors.ts';

/** What a column holds; integers are numbers where they are safe, else bigints. */
export type SqliteValue = null | number | bigint | string | Buffer;

/** One row of a table. */
export interface SqliteRow {
  readonly rowid: number;
  /** In the order of the columns; an `INTEGER PRIMARY KEY` is null here and stands in `rowid`. */
  readonly values: readonly SqliteValue[];
}

/** A database file and its write-ahead log, where there is one. */
export interface SqliteFiles {
  readonly database: Buffer;
  /** Content of `NAME-wal`; frames up to the last commit are applied, the rest is ignored. */
  readonly wal?: Buffer | undefined;
}

const MAGIC = 'SQLite format 3\0';
const HEADER_SIZE = 100;
const UTF8 = 1;
const MIN_PAGE_SIZE = 512;
const MAX_PAGE_SIZE = 65536;
/** Smallest usable size of a page (fileformat2, 1.3.4). */
const MIN_USABLE = 480;
const INTERIOR = 5;
const LEAF = 13;
/** Deepest b-tree that SQLite itself walks (BTCURSOR_MAX_DEPTH). */
const MAX_DEPTH = 20;
const WAL_HEADER_SIZE = 32;
const WAL_FRAME_HEADER_SIZE = 24;
const WAL_MAGIC = 0x377f0682;
const WAL_VERSION = 3007000;
/** Columns that SQLite allows in a table (SQLITE_MAX_COLUMN, its upper bound). */
const MAX_COLUMNS = 32767;

function damaged(what: string): RechunkError {
  return new RechunkError('database', `the SQLite database is damaged: ${what}`);
}

/** The bytes `start..start+size`, or an error that says what was wanted. */
function slice(bytes: Buffer, start: number, size: number, what: string): Buffer {
  if (size < 0 || start + size > bytes.length) {
    throw damaged(`${what} wants ${size} bytes at ${start} of a stretch of ${bytes.length} bytes`);
  }
  return bytes.subarray(start, start + size);
}

/** Pages of a database by number, each handed out once. */
interface Pager {
  readonly usable: number;
  readonly count: number;
  /** The usable part of page `number`; `use` says for what it is wanted. */
  take(number: number, use: string): Buffer;
}

/** The running checksum of a write-ahead log (fileformat2, 4.2), over whole pairs of words. */
function walChecksum(
  bytes: Buffer,
  seed: readonly [number, number],
  bigEndian: boolean,
): [number, number] {
  let [s0, s1] = seed;
  for (let at = 0; at < bytes.length; at += 8) {
    const x0 = bigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
    const x1 = bigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    s0 = (s0 + x0 + s1) >>> 0;
    s1 = (s1 + x1 + s0) >>> 0;
  }
  return [s0, s1];
}

interface Log {
  /** Page number to the offset of its newest committed image in the log. */
  readonly offsets: ReadonlyMap<number, number>;
  /** Pages in the database after the last commit. */
  readonly count: number;
}

/** The committed pages of a write-ahead log; undefined where it has none (a log with a bad header has none either). */
function readLog(wal: Buffer, pageSize: number): Log | undefined {
  if (wal.length <= WAL_HEADER_SIZE) return undefined;
  const magic = wal.readUInt32BE(0);
  if ((magic & ~1) !== WAL_MAGIC) return undefined;
  const bigEndian = (magic & 1) === 1;
  let sum = walChecksum(wal.subarray(0, 24), [0, 0], bigEndian);
  if (sum[0] !== wal.readUInt32BE(24) || sum[1] !== wal.readUInt32BE(28)) return undefined;
  if (wal.readUInt32BE(4) !== WAL_VERSION) {
    throw damaged(`the write-ahead log has version ${wal.readUInt32BE(4)}, ${WAL_VERSION} is read`);
  }
  if (wal.readUInt32BE(8) !== pageSize) {
    throw damaged(
      `the write-ahead log has pages of ${wal.readUInt32BE(8)} bytes, the database of ${pageSize}`,
    );
  }
  const salts = wal.subarray(16, 24);
  const offsets = new Map<number, number>();
  let pending: [number, number][] = [];
  let count = 0;
  const frameSize = WAL_FRAME_HEADER_SIZE + pageSize;
  for (let at = WAL_HEADER_SIZE; at + frameSize <= wal.length; at += frameSize) {
    const page = at + WAL_FRAME_HEADER_SIZE;
    if (!wal.subarray(at + 8, at + 16).equals(salts)) break;
    sum = walChecksum(wal.subarray(at, at + 8), sum, bigEndian);
    sum = walChecksum(wal.subarray(page, page + pageSize), sum, bigEndian);
    if (sum[0] !== wal.readUInt32BE(at + 16) || sum[1] !== wal.readUInt32BE(at + 20)) break;
    pending.push([wal.readUInt32BE(at), page]);
    const size = wal.readUInt32BE(at + 4);
    if (size === 0) continue;
    for (const [number, offset] of pending) offsets.set(number, offset);
    pending = [];
    count = size;
  }
  return count === 0 ? undefined : { offsets, count };
}

function readPageSize(database: Buffer): number {
  if (database.length < HEADER_SIZE || database.toString('latin1', 0, MAGIC.length) !== MAGIC) {
    throw damaged(
      `it does not begin with the header of a database (it has ${database.length} bytes)`,
    );
  }
  const stored = database.readUInt16BE(16);
  const size = stored === 1 ? MAX_PAGE_SIZE : stored;
  if (size < MIN_PAGE_SIZE || (size & (size - 1)) !== 0) {
    throw damaged(`its page size is ${size}, a power of two from ${MIN_PAGE_SIZE} on is wanted`);
  }
  return size;
}

function openPager(files: SqliteFiles): Pager {
  const { database, wal } = files;
  const pageSize = readPageSize(database);
  const log = wal && readLog(wal, pageSize);
  const usable = pageSize - database.readUInt8(20);
  if (usable < MIN_USABLE) throw damaged(`only ${usable} bytes of each page are used`);
  const stored = Math.ceil(database.length / pageSize);
  const count = Math.min(log?.count ?? stored, stored + (log?.offsets.size ?? 0));
  const taken = new Uint8Array(count + 1);
  const take = (number: number, use: string): Buffer => {
    if (number < 1 || number > count) throw damaged(`${use} is page ${number} of ${count}`);
    if (taken[number]) throw damaged(`page ${number} is used twice, the second time as ${use}`);
    taken[number] = 1;
    const offset = log?.offsets.get(number);
    const found = offset === undefined ? database : (wal as Buffer);
    const at = offset ?? (number - 1) * pageSize;
    return slice(found, at, pageSize, `${use}, page ${number},`).subarray(0, usable);
  };
  return { usable, count, take };
}

/** Reads a varint (fileformat2, 1.6): the value as an unsigned 64-bit number, and where it ends. */
function readVarint(bytes: Buffer, at: number): { readonly value: bigint; readonly end: number } {
  let value = 0n;
  for (let i = 0; i < 8; i++) {
    const byte = slice(bytes, at + i, 1, 'a number').readUInt8(0);
    value = (value << 7n) | BigInt(byte & 0x7f);
    if (byte < 0x80) return { value, end: at + i + 1 };
  }
  const last = slice(bytes, at + 8, 1, 'a number').readUInt8(0);
  return { value: (value << 8n) | BigInt(last), end: at + 9 };
}

/** Like {@link readVarint}, for lengths: an error where it is larger than `limit`. */
function readLength(
  bytes: Buffer,
  at: number,
  limit: number,
  what: string,
): { readonly value: number; readonly end: number } {
  const { value, end } = readVarint(bytes, at);
  if (value > BigInt(limit)) throw damaged(`${what} is ${value}, at most ${limit} is possible`);
  return { value: Number(value), end };
}

/** How many bytes of a payload of `size` lie in the leaf itself (fileformat2, 1.6 "K"). */
function localSize(size: number, usable: number): number {
  const most = usable - 35;
  if (size <= most) return size;
  const least = Math.floor(((usable - 12) * 32) / 255) - 23;
  const fitting = least + ((size - least) % (usable - 4));
  return fitting <= most ? fitting : least;
}

/** The rest of a payload, from its chain of overflow pages. */
function readOverflow(pager: Pager, first: number, size: number): Buffer[] {
  const parts: Buffer[] = [];
  let next = first;
  for (let left = size; left > 0; ) {
    const page = pager.take(next, 'a page of an overflow chain');
    const part = page.subarray(4, 4 + Math.min(left, pager.usable - 4));
    parts.push(part);
    left -= part.length;
    next = page.readUInt32BE(0);
  }
  return parts;
}

interface Cell {
  readonly rowid: number;
  readonly payload: Buffer;
  /** Bytes of the cell in its own page. */
  readonly size: number;
}

function readLeafCell(pager: Pager, page: Buffer, start: number): Cell {
  const size = readLength(page, start, pager.count * pager.usable, 'the size of a record');
  const rowid = readVarint(page, size.end);
  const local = slice(page, rowid.end, localSize(size.value, pager.usable), 'a record');
  const end = rowid.end + local.length;
  const id = Number(BigInt.asIntN(64, rowid.value));
  if (local.length === size.value) return { rowid: id, payload: local, size: end - start };
  const first = slice(page, end, 4, 'an overflow page number').readUInt32BE(0);
  const rest = readOverflow(pager, first, size.value - local.length);
  return { rowid: id, payload: Buffer.concat([local, ...rest]), size: end + 4 - start };
}

/** Where the cells of a b-tree page begin. */
function cellOffsets(page: Buffer, at: number, headerSize: number): number[] {
  const count = page.readUInt16BE(at + 3);
  const pointers = slice(page, at + headerSize, count * 2, 'a list of cells');
  return Array.from({ length: count }, (_, i) => pointers.readUInt16BE(i * 2));
}

function* readLeaf(pager: Pager, page: Buffer, at: number): Generator<Cell> {
  let used = 0;
  for (const start of cellOffsets(page, at, 8)) {
    const cell = readLeafCell(pager, page, start);
    used += cell.size;
    if (used > pager.usable) throw damaged('the cells of a page overlap');
    yield cell;
  }
}

/** The pages below an interior page, left to right. */
function childrenOf(page: Buffer, at: number): number[] {
  const children = cellOffsets(page, at, 12).map((start) =>
    slice(page, start, 4, 'a page number').readUInt32BE(0),
  );
  return [...children, page.readUInt32BE(at + 8)];
}

/** The cells of a table in the order of their rowids. */
function* walk(pager: Pager, root: number): Generator<Cell> {
  const pending = [{ number: root, depth: 0 }];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { number, depth } = next;
    if (depth > MAX_DEPTH) throw damaged(`a table is more than ${MAX_DEPTH} pages deep`);
    const page = pager.take(number, 'a page of a table');
    const at = number === 1 ? HEADER_SIZE : 0;
    const type = page.readUInt8(at);
    if (type === LEAF) yield* readLeaf(pager, page, at);
    else if (type === INTERIOR) {
      const below = childrenOf(page, at).map((child) => ({ number: child, depth: depth + 1 }));
      pending.push(...below.reverse());
    } else throw damaged(`page ${number} of a table has type ${type}, want 5 or 13`);
  }
}

/** Sizes of the integers of serial types 1 to 6, bytes. */
const INTEGER_SIZES = [0, 1, 2, 3, 4, 6, 8];

function readInteger(bytes: Buffer): number | bigint {
  if (bytes.length <= 6) return bytes.readIntBE(0, bytes.length);
  const value = bytes.readBigInt64BE(0);
  return BigInt(Number(value)) === value && Number.isSafeInteger(Number(value))
    ? Number(value)
    : value;
}

/** The value of serial type `type` at `at`, and where it ends (fileformat2, 2.1). */
function readValue(
  record: Buffer,
  type: number,
  at: number,
): { readonly value: SqliteValue; readonly end: number } {
  if (type === 0) return { value: null, end: at };
  if (type === 8 || type === 9) return { value: type - 8, end: at };
  if (type === 10 || type === 11) throw damaged(`a column has the reserved type ${type}`);
  const size = type >= 12 ? (type - 12) >> 1 : type === 7 ? 8 : (INTEGER_SIZES[type] ?? 0);
  const bytes = slice(record, at, size, 'a column');
  const end = at + size;
  if (type < 7) return { value: readInteger(bytes), end };
  if (type === 7) return { value: bytes.readDoubleBE(0), end };
  return { value: type % 2 === 0 ? bytes : bytes.toString('utf8'), end };
}

function readRecord(record: Buffer): SqliteValue[] {
  const header = readLength(record, 0, record.length, 'the header of a record');
  const types: number[] = [];
  for (let at = header.end; at < header.value; ) {
    const type = readLength(record, at, record.length * 2 + 13, 'the type of a column');
    types.push(type.value);
    at = type.end;
    if (types.length > MAX_COLUMNS) {
      throw damaged(`a record has more than ${MAX_COLUMNS} columns`);
    }
  }
  let at = header.value;
  return types.map((type) => {
    const { value, end } = readValue(record, type, at);
    at = end;
    return value;
  });
}

/** The page on which table `name` begins, from the schema on page 1. */
function rootOf(pager: Pager, name: string): number | undefined {
  for (const { payload } of walk(pager, 1)) {
    const [type, table, , root] = readRecord(payload);
    if (type === 'table' && table === name && typeof root === 'number') return root;
  }
  return undefined;
}

/**
 * The rows of table `name` in the order of their rowids, as SQLite would show them after recovery: committed frames of
 * the write-ahead log count, a rollback journal is not looked at. Throws `database` where the file is damaged or has no
 * such table; lazily, so rows before the damage come first.
 */
export function* readTable(files: SqliteFiles, name: string): Generator<SqliteRow> {
  const pager = openPager(files);
  const encoding = files.database.readUInt32BE(56);
  if (encoding > UTF8) throw damaged(`its text encoding is ${encoding}, only UTF-8 (1) is read`);
  const root = rootOf(pager, name);
  if (root === undefined) throw damaged(`it has no table ${name}`);
  for (const { rowid, payload } of walk(pager, root)) yield { rowid, values: readRecord(payload) };
}

/** Whether `journal`, the content of `NAME-journal`, is hot: a writer was interrupted and its changes are half done. */
export function isHotJournal(journal: Buffer): boolean {
  return journal.toString('hex', 0, 8) === 'd9d505f920a163d7';
}
