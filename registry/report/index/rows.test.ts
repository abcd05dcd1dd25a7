/** Rows of a layer: ids of trees, which indexes keep, and what is found by path however many there are. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'uvu';
import type { Path } from '../../path.ts';
import { KINDS, LayerRows, type RowEntry } from './rows.ts';

function entry(type: RowEntry['type'], path: string, more: Partial<RowEntry> = {}): RowEntry {
  return {
    ...{ type, path: path as Path, mode: 0o644, uid: 1, gid: 2, seconds: -3, nanoseconds: 4 },
    ...{ size: 5, link: '', devMajor: 0, devMinor: 0, xattrs: new Map(), ...more },
  };
}

function rowsOf(entries: readonly (readonly [RowEntry, string?])[]): LayerRows {
  const rows = new LayerRows();
  for (const [one, content] of entries)
    rows.add(one, content === undefined ? undefined : hash('sha256', content, 'buffer'));
  rows.finish();
  return rows;
}

const ENTRIES: readonly (readonly [RowEntry, string?])[] = [
  [entry('dir', 'usr')],
  [entry('file', 'usr/a', { xattrs: new Map([['user.x', Buffer.from([0, 255])]]) }), 'a'],
  [entry('link', 'usr/b', { link: 'usr/a' })],
  [entry('symlink', 'lib', { link: 'usr' })],
  [entry('char', 'dev/null', { devMajor: 1, devMinor: 3 })],
  [entry('file', 'etc/.wh.gone')],
  [entry('dir', 'etc/gone')],
];

test('ids of trees are what indexes have kept', () => {
  const { treeDigest, metadataDigest } = rowsOf(ENTRIES);
  assert.deepEqual(
    [treeDigest, metadataDigest].map((digest) => digest.toString('hex')),
    [
      '7aa9a9b9dff53dfd03e6a29fa59854a0342eeaf25093c6d9faf31b85f867eb41',
      '04abd2e90e1bd7b72e7ada17573be5a01a05ebce5bb483d8b436ea5c3cb7a223',
    ],
  );
});

test('ids of trees are the same in any order of the archive', () => {
  const [link, ...rest] = ENTRIES.toSpliced(2, 1).toReversed();
  const turned = [...rest, link, ENTRIES[2]] as typeof ENTRIES;
  assert.deepEqual(rowsOf(turned).treeDigest, rowsOf(ENTRIES).treeDigest);
  assert.deepEqual(rowsOf(turned).metadataDigest, rowsOf(ENTRIES).metadataDigest);
});

test('among thousands of paths each is found: replaced rows are marked, links have their content', () => {
  const count = 5000;
  const files = Array.from(
    { length: count },
    (_, i) => [entry('file', `d/f${i}`), `${i}`] as const,
  );
  const links = files.map(([{ path }], i) => [entry('link', `d/l${i}`, { link: path })] as const);
  const again = files.slice(0, 10).map(([one]) => [one, 'new'] as const);
  const rows = rowsOf([...files, ...links, ...again]);
  assert.equal(rows.length, 2 * count + 10 + 1);
  assert.equal(KINDS[rows.kind[rows.length - 1] as number], 'implied');
  const replaced = [...rows.superseded.subarray(0, rows.length)].flatMap((one, row) =>
    one ? row : [],
  );
  assert.deepEqual(
    replaced,
    Array.from({ length: 10 }, (_, i) => i),
  );
  assert.deepEqual(
    rows.files.subarray(count * 32, 2 * count * 32),
    rows.files.subarray(0, count * 32),
  );
});

test('a directory that something replaced is implied again by what lies below it', () => {
  const rows = rowsOf([
    [entry('dir', 'a')],
    [entry('file', 'a/b'), 'b'],
    [entry('file', 'a'), 'a'],
  ]);
  const found = Array.from({ length: rows.length }, (_, row) => [
    KINDS[rows.kind[row] as number],
    rows.pathText[row],
    rows.superseded[row],
  ]);
  assert.deepEqual(found, [
    ['dir', 'a', 1],
    ['file', 'a/b', 0],
    ['file', 'a', 0],
    ['implied', 'a', 0],
  ]);
});

test.run();
