import assert from 'node:assert/strict';
import { test } from 'uvu';
import { encodePax } from './pax.ts';
import { extentsOf, GnuSparseMap, PaxSparseMap, parseSparseForm } from './sparse.ts';
import { paddingOf, type TarEntry } from './tar.ts';
import { type TarFile, unpackTar } from './tarreader.ts';
import { END_OF_ARCHIVE, packTar } from './tarwriter.ts';

/** A file of 3,000 bytes with data at 512 and at 2000, as GNU tar stores it: the data, one stretch after the other. */
const SIZE = 3000;
const DATA = Buffer.concat([Buffer.alloc(100, 'a'), Buffer.alloc(200, 'b')]);
const MAP = [512, 100, 2000, 200, 3000, 0];
const EXPANDED = Buffer.alloc(SIZE);
DATA.copy(EXPANDED, 512, 0, 100);
DATA.copy(EXPANDED, 2000, 100, 300);

const padded = (body: Uint8Array): Buffer =>
  Buffer.concat([body, Buffer.alloc(paddingOf(body.length))]);

function paxFile(
  records: [string, string][],
  stored: Uint8Array,
  repeated: [string, number][] = [],
): Buffer {
  const all = [...records, ...repeated.map(([key, value]) => [key, String(value)] as const)];
  const body = encodePax(all.map(([key, value]) => [key, Buffer.from(value)]));
  const file = packTar([{ path: 'GNUSparseFile.1/f', content: stored }]);
  const header = packTar([{ path: 'x', content: body }]).subarray(0, 512 + padded(body).length);
  header[156] = 0x78;
  header.write(
    (Number.parseInt(header.toString('latin1', 148, 154), 8) + 0x48).toString(8).padStart(6, '0'),
    148,
  );
  return Buffer.concat([header, file]);
}

/** An old GNU sparse file; `pairs` in the header, then in blocks of 21. */
function gnuFile(map: readonly number[], size: number, data: Uint8Array): Buffer {
  const header = Buffer.from(packTar([{ path: 'f', content: data }]).subarray(0, 512));
  header.write('S', 156);
  header.write('ustar  \0', 257, 'latin1');
  const octal = (value: number): string => `${value.toString(8).padStart(11, '0')}\0`;
  const pairs = Array.from(
    { length: map.length / 2 },
    (_, i) => octal(map[2 * i] as number) + octal(map[2 * i + 1] as number),
  );
  header.write(pairs.slice(0, 4).join(''), 386, 'latin1');
  header[482] = pairs.length > 4 ? 1 : 0;
  header.write(octal(size), 483, 'latin1');
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  const blocks: Buffer[] = [];
  for (let i = 4; i < pairs.length; i += 21) {
    const block = Buffer.alloc(512);
    block.write(pairs.slice(i, i + 21).join(''), 'latin1');
    block[504] = i + 21 < pairs.length ? 1 : 0;
    blocks.push(block);
  }
  return Buffer.concat([header, ...blocks, padded(data), END_OF_ARCHIVE]);
}

const name: [string, string] = ['GNU.sparse.name', 'f'];
const map1 = padded(Buffer.from(`3\n${MAP.join('\n')}\n`));
const FORMS: [form: string, archive: Buffer][] = [
  ['old GNU', gnuFile(MAP, SIZE, DATA)],
  [
    '0.0',
    paxFile(
      [
        ['path', 'f'],
        ['GNU.sparse.size', '3000'],
        ['GNU.sparse.numblocks', '3'],
      ],
      DATA,
      MAP.map((value, i) => [`GNU.sparse.${i % 2 ? 'numbytes' : 'offset'}`, value]),
    ),
  ],
  ['0.1', paxFile([name, ['GNU.sparse.size', '3000'], ['GNU.sparse.map', MAP.join(',')]], DATA)],
  [
    '1.0',
    paxFile(
      [['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], name, ['GNU.sparse.realsize', '3000']],
      Buffer.concat([map1, DATA]),
    ),
  ],
];

function only(archive: Buffer): TarFile {
  const files = unpackTar(archive);
  assert.equal(files.length, 1);
  return files[0] as TarFile;
}

/** The content of a file, put together from its extents. */
function contentOf(archive: Buffer, entry: TarEntry): Buffer {
  const content = Buffer.alloc(entry.size);
  for (const { at, offset, size } of entry.extents ?? []) {
    archive.copy(content, at, offset, offset + size);
  }
  return content;
}

test('expands all four forms, and tells where the data stands', () => {
  for (const [form, archive] of FORMS) {
    const { entry, content } = only(archive);
    assert.equal(entry.path, 'f', form);
    assert.equal(entry.size, SIZE, form);
    assert.deepEqual(content, EXPANDED, form);
    assert.deepEqual(contentOf(archive, entry), EXPANDED, form);
    assert.deepEqual(
      entry.extents?.map(({ at, size }) => [at, size]),
      [
        [512, 100],
        [2000, 200],
      ],
      form,
    );
  }
});

test('follows an old GNU map over many blocks', () => {
  for (const count of [1, 4, 5, 25, 26, 60]) {
    const map = Array.from({ length: count }, (_, i) => [i * 1000 + 10, 10]).flat();
    const data = Buffer.from(Array.from({ length: count * 10 }, (_, i) => i % 251));
    const archive = gnuFile(map, count * 1000, data);
    const { entry, content } = only(archive);
    assert.equal(content.length, count * 1000);
    assert.deepEqual(contentOf(archive, entry), content);
    assert.equal(content[(count - 1) * 1000 + 19], (count * 10 - 1) % 251);
  }
});

test('a file that is all hole, and one without any', () => {
  const hole = only(gnuFile([5000, 0], 5000, Buffer.alloc(0)));
  assert.deepEqual([hole.entry.extents, hole.content], [[], Buffer.alloc(5000)]);
  const dense = only(gnuFile([0, 100, 100, 200], 300, DATA));
  assert.equal(dense.entry.extents, undefined);
  assert.deepEqual(dense.content, DATA);
});

test('refuses maps that do not fit their file', () => {
  const cases: [map: number[], size: number][] = [
    [[0, 100], SIZE],
    [[0, 400], SIZE],
    [[512, 100, 500, 200], SIZE],
    [[512, 100, 611, 200], SIZE],
    [[0, 100, 2900, 200], SIZE],
    [[2000, 200, 512, 100], SIZE],
    [[0, 300], 299],
  ];
  for (const [map, size] of cases) {
    assert.throws(() => unpackTar(gnuFile(map, size, DATA)), { code: 'tar' }, JSON.stringify(map));
  }
  assert.deepEqual(extentsOf([0, 100, 100, 0, 100, 200], 300, 300, 512), [
    { at: 0, offset: 512, size: 300 },
  ]);
});

test('refuses forms and maps that make no sense', () => {
  const fields = (record: Record<string, string>): Map<string, string> =>
    new Map(Object.entries(record));
  const size = { 'GNU.sparse.size': '10' };
  const cases: [record: Record<string, string>, code: string][] = [
    [{ 'GNU.sparse.map': '0,1' }, 'tar'],
    [{ 'GNU.sparse.map': '0,1,2', ...size }, 'tar'],
    [{ 'GNU.sparse.map': '0,x', ...size }, 'tar'],
    [{ 'GNU.sparse.map': '0,99999999999999999', ...size }, 'tar'],
    [{ 'GNU.sparse.map': '', 'GNU.sparse.size': '-1' }, 'tar'],
    [{ 'GNU.sparse.major': '2', 'GNU.sparse.minor': '0', ...size }, 'unsupported'],
    [{ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '1', ...size }, 'unsupported'],
  ];
  for (const [record, code] of cases) {
    assert.throws(() => parseSparseForm(fields(record)), { code }, JSON.stringify(record));
  }
  assert.equal(parseSparseForm(fields({ path: 'f' })), undefined);
  for (const text of ['x\n', '\n', '1\n\n5\n', '99999999999999999\n']) {
    const block = padded(Buffer.from(text));
    assert.throws(() => new PaxSparseMap().takeBlock(block, 0), { code: 'tar' }, text);
  }
});

test('bounds the map and the holes', () => {
  const map = new PaxSparseMap();
  const block = Buffer.alloc(512, '1\n');
  block.write('9999999\n');
  assert.throws(
    () => {
      for (;;) map.takeBlock(block, 0);
    },
    { code: 'limit' },
  );
  const gnu = new GnuSparseMap();
  const more = Buffer.alloc(512, 1);
  more.fill(0, 0, 504);
  assert.throws(
    () => {
      for (;;) gnu.takeBlock(more, 0);
    },
    { code: 'limit' },
  );
  const bomb = gnuFile([0, 300], 2 ** 33 - 1, DATA);
  assert.throws(() => unpackTar(bomb, { holes: 2 ** 30 }), {
    code: 'limit',
    message: /"f" at byte 0/,
  });
  const small = gnuFile([0, 300], 1300, DATA).subarray(0, 1024);
  const twice = Buffer.concat([small, small, END_OF_ARCHIVE]);
  assert.equal(unpackTar(twice, { holes: 2000 }).length, 2);
  assert.throws(() => unpackTar(twice, { holes: 1999 }), { code: 'limit' });
});

test('an archive that stops within a sparse file is an error, wherever it stops', () => {
  for (const [form, archive] of FORMS) {
    const end = archive.length - END_OF_ARCHIVE.length;
    const dataEnd = end - paddingOf(DATA.length);
    for (let size = 1; size < end; size++) {
      if (size === dataEnd) continue;
      assert.throws(() => unpackTar(archive.subarray(0, size)), { code: 'tar' }, `${form} ${size}`);
    }
    assert.deepEqual(only(archive.subarray(0, end)).content, EXPANDED);
  }
});

test.run();
