import * as assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import { sqliteDatabase } from '../../test-images/packages/rpm/header.ts';
import { isHotJournal, readTable, type SqliteRow, type SqliteValue } from './sqlite.ts';

const SEED = 20261121;
const mariner = gunzipSync(
  readFileSync(
    new URL('../../test-images/packages/rpm/mariner2-sqlite/rpmdb.sqlite.gz', import.meta.url),
  ),
);
const directory = mkdtempSync(join(tmpdir(), 'rechunk-sqlite-'));
test.after(() => rmSync(directory, { recursive: true }));
let files = 0;
const newPath = (): string => join(directory, `${files++}.db`);

/** The rows of table t as SQLite itself reads them. */
function oracle(database: DatabaseSync, columns: readonly string[]): SqliteRow[] {
  const query = database.prepare(
    `SELECT rowid AS "rowid", ${columns.join(', ')} FROM t ORDER BY rowid`,
  );
  query.setReadBigInts(true);
  return query.all().map((row) => ({
    rowid: Number(row['rowid']),
    values: columns.map((name): SqliteValue => {
      const value = row[name] as null | bigint | number | string | Uint8Array;
      if (value instanceof Uint8Array) return Buffer.from(value);
      if (typeof value !== 'bigint') return value;
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }),
  }));
}

const fill = (size: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 31 + seed * 7) & 0xff));

/** Rows, or the error's message; any other error fails the test. */
function outcome(database: Buffer, wal?: Buffer): SqliteRow[] | string {
  try {
    return [...readTable({ database, wal }, 'Packages')];
  } catch (error) {
    if (error instanceof RechunkError && error.code === 'database') return error.message;
    throw error;
  }
}

test('reads every row of a real database as SQLite does', () => {
  const path = newPath();
  const database = new DatabaseSync(path);
  database.exec('CREATE TABLE copy (hnum INTEGER, blob BLOB)');
  const insert = database.prepare('INSERT INTO copy VALUES (?, ?)');
  const rows = [...readTable({ database: mariner }, 'Packages')];
  for (const { rowid, values } of rows) insert.run(rowid, values[1] as Buffer);
  const real = join(directory, 'mariner.db');
  const plain = Buffer.from(mariner);
  plain.writeUInt8(1, 18);
  plain.writeUInt8(1, 19);
  writeFileSync(real, plain);
  database.exec(`ATTACH '${real}' AS real`);
  const differ = database
    .prepare(
      'SELECT count(*) AS n FROM real.Packages p FULL JOIN copy c ON p.hnum = c.hnum WHERE p.blob IS NOT c.blob',
    )
    .get();
  assert.equal(rows.length, 129);
  assert.equal(differ?.['n'], 0);
  database.close();
});

test('agrees with SQLite on all value types, sizes and page sizes', () => {
  const value = fc.oneof(
    fc.constant(null),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constantFrom(
      0n,
      1n,
      -1n,
      127n,
      -128n,
      32768n,
      2n ** 31n,
      2n ** 47n,
      2n ** 53n,
      -(2n ** 63n),
    ),
    fc.double({ noNaN: true }).map((number) => number + 0.5),
    fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !text.includes('\0')),
    fc.integer({ min: 0, max: 5000 }).map((size) => fill(size, size)),
  );
  const property = fc.property(
    fc.constantFrom(512, 1024, 4096, 65536),
    fc.array(fc.tuple(fc.bigInt({ min: -(2n ** 50n), max: 2n ** 50n }), value, value), {
      maxLength: 60,
    }),
    (pageSize, rows) => {
      const path = newPath();
      const database = new DatabaseSync(path);
      database.exec(`PRAGMA page_size = ${pageSize}; CREATE TABLE t (a, b)`);
      const insert = database.prepare('INSERT OR IGNORE INTO t (rowid, a, b) VALUES (?, ?, ?)');
      for (const row of rows) insert.run(...row);
      const wanted = oracle(database, ['a', 'b']);
      database.close();
      assert.deepEqual([...readTable({ database: readFileSync(path) }, 't')], wanted);
    },
  );
  fc.assert(property, { seed: SEED, numRuns: 60 });
});

test('reads payloads of every size about the overflow thresholds', () => {
  const path = newPath();
  const database = new DatabaseSync(path);
  database.exec('PRAGMA page_size = 512; CREATE TABLE t (a)');
  const insert = database.prepare('INSERT INTO t (a) VALUES (?)');
  for (let size = 0; size < 2200; size++) insert.run(fill(size, size));
  const wanted = oracle(database, ['a']);
  database.close();
  assert.deepEqual([...readTable({ database: readFileSync(path) }, 't')], wanted);
});

test('applies committed frames of a write-ahead log, and only those', () => {
  const path = newPath();
  const database = new DatabaseSync(path);
  database.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 5');
  database.exec('CREATE TABLE t (a)');
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  const insert = database.prepare('INSERT INTO t (a) VALUES (?)');
  for (let size = 0; size < 40; size++) insert.run(fill(size * 300, size));
  database.exec('DELETE FROM t WHERE rowid % 3 = 0');
  const wanted = oracle(database, ['a']);
  const committed = readFileSync(`${path}-wal`).length;
  database.exec('BEGIN');
  for (let size = 0; size < 60; size++) insert.run(fill(5000, size));
  const wal = readFileSync(`${path}-wal`);
  const file = readFileSync(path);
  database.exec('ROLLBACK');
  assert.ok(wal.length > committed + 50 * 4096, 'no uncommitted frames to ignore');
  assert.deepEqual([...readTable({ database: file, wal }, 't')], wanted);
  assert.deepEqual([...readTable({ database: file }, 't')], []);
  assert.deepEqual([...readTable({ database: file, wal: Buffer.alloc(0) }, 't')], []);
  const torn = Buffer.from(wal.subarray(0, committed));
  torn[committed - 100] = (torn[committed - 100] ?? 0) ^ 1;
  const shorter = [...readTable({ database: file, wal: torn }, 't')];
  assert.notDeepEqual(shorter, wanted);
  database.close();
});

test('ignores frames of an earlier round of the log', () => {
  const path = newPath();
  const database = new DatabaseSync(path);
  database.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)');
  const insert = database.prepare('INSERT INTO t (a) VALUES (?)');
  for (let size = 0; size < 30; size++) insert.run(fill(900, size));
  database.exec('PRAGMA wal_checkpoint(RESTART)');
  const long = readFileSync(`${path}-wal`).length;
  insert.run('after the restart');
  const wal = readFileSync(`${path}-wal`);
  assert.equal(wal.length, long, 'the old frames are gone: nothing is tested');
  assert.deepEqual(
    [...readTable({ database: readFileSync(path), wal }, 't')],
    oracle(database, ['a']),
  );
  database.close();
});

test('says what is wrong with a file that is no database or lacks the table', () => {
  const small = sqliteDatabase([Buffer.from('blob')]);
  assert.throws(() => [...readTable({ database: small }, 'Nothing')], {
    code: 'database',
    message: 'the SQLite database is damaged: it has no table Nothing',
  });
  assert.throws(() => [...readTable({ database: Buffer.from('text') }, 'Packages')], {
    code: 'database',
    message:
      'the SQLite database is damaged: it does not begin with the header of a database (it has 4 bytes)',
  });
});

test('refuses texts in UTF-16', () => {
  const path = newPath();
  const database = new DatabaseSync(path);
  database.exec("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (a)");
  database.close();
  assert.throws(() => [...readTable({ database: readFileSync(path) }, 't')], {
    code: 'database',
    message: 'the SQLite database is damaged: its text encoding is 2, only UTF-8 (1) is read',
  });
});

test('ends at page cycles, shared chains and overlapping cells', () => {
  const pageSize = 4096;
  const database = sqliteDatabase(Array.from({ length: 40 }, (_, i) => fill(9000, i)));
  const root = Array.from({ length: database.length / pageSize }, (_, i) => i * pageSize).find(
    (at) => at > 0 && database[at] === 5,
  ) as number;
  const cycle = Buffer.from(database);
  cycle.writeUInt32BE(root / pageSize + 1, root + 8);
  assert.match(String(outcome(cycle)), /used twice, the second time as a page of a table/);

  const child = database.readUInt32BE(root + database.readUInt16BE(root + 12));
  const leaf = (child - 1) * pageSize;
  const shared = Buffer.from(database);
  shared.writeUInt16BE(shared.readUInt16BE(leaf + 8), leaf + 10);
  assert.match(String(outcome(shared)), /used twice, the second time as a page of an overflow/);

  const overlapping = sqliteDatabase(Array.from({ length: 4 }, () => fill(900, 1)));
  const page = Math.floor(overlapping.lastIndexOf(fill(900, 1)) / pageSize) * pageSize;
  overlapping.writeUInt16BE(200, page + 3);
  const first = overlapping.readUInt16BE(page + 8);
  for (let i = 1; i < 200; i++) overlapping.writeUInt16BE(first, page + 8 + 2 * i);
  assert.match(String(outcome(overlapping)), /the cells of a page overlap/);
});

test('damage gives a database error or rows, and never hangs', () => {
  const path = newPath();
  const database = new DatabaseSync(path);
  database.exec('PRAGMA page_size = 512; PRAGMA journal_mode = WAL');
  database.exec('CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB)');
  const insert = database.prepare('INSERT INTO Packages (blob) VALUES (?)');
  for (let size = 0; size < 60; size++) insert.run(fill(size * 40, size));
  const sound = { file: readFileSync(path), wal: readFileSync(`${path}-wal`) };
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  const merged = readFileSync(path);
  database.close();
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), {
    minLength: 1,
    maxLength: 12,
  });
  const hurt = (bytes: Buffer, changes: [number, number][], size: number): Buffer => {
    const copy = Buffer.from(bytes.subarray(0, size));
    for (const [at, value] of changes) if (copy.length > 0) copy[at % copy.length] = value;
    return copy;
  };
  let errors = 0;
  const property = fc.property(damage, fc.nat({ max: 4 }), fc.nat(), (changes, cut, size) => {
    const end = (bytes: Buffer): number => (cut === 0 ? size % bytes.length : bytes.length);
    const heads = changes.map(([at, value]): [number, number] => [
      Math.floor(at / 16) * 512 + (at % 16),
      value,
    ]);
    for (const hits of [changes, heads]) {
      if (typeof outcome(hurt(merged, hits, end(merged))) === 'string') errors++;
      outcome(sound.file, hurt(sound.wal, hits, end(sound.wal)));
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 1500 });
  assert.ok(errors > 100, `only ${errors} of the damaged files were noticed`);
});

test('knows a hot rollback journal', () => {
  assert.equal(isHotJournal(Buffer.from('d9d505f920a163d700000001', 'hex')), true);
  assert.equal(isHotJournal(Buffer.alloc(512)), false);
  assert.equal(isHotJournal(Buffer.alloc(0)), false);
});

test.run();
