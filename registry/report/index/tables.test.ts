/** Tables of contents: what they tell of a layer is what its tar tells, and only stretches of the blob are read. */
import assert from 'node:assert/strict';
import { gunzipSync, gzipSync } from 'node:zlib';
import { test } from 'uvu';
import { createChunkedCompressor } from '../../chunked/writer.ts';
import { digestOf } from '../../oci.ts';
import { pathFromText } from '../../path.ts';
import { NO_XATTRS, type TarFields } from '../../tar.ts';
import { END_OF_ARCHIVE, encodeEntry, paddingOf } from '../../tarwriter.ts';
import { readLayer } from './read.ts';
import { partialSource, told } from './samples.conformance.ts';

const BASE: Omit<TarFields, 'type' | 'path'> = {
  ...{ mode: 0o644, uid: 1, gid: 2, mtime: 1_600_000_000_123_456_789n, size: 0, link: '' },
  ...{ devMajor: 0, devMinor: 0, xattrs: NO_XATTRS },
};
const content = Buffer.from('content '.repeat(5000));
const ENTRIES: readonly (readonly [TarFields, Buffer?])[] = [
  [{ ...BASE, type: 'dir', path: pathFromText('d'), mode: 0o755 }],
  [{ ...BASE, type: 'file', path: pathFromText('d/file'), size: content.length }, content],
  [{ ...BASE, type: 'file', path: pathFromText('d/caf\u00e9') }],
  [{ ...BASE, type: 'link', path: pathFromText('d/link'), link: 'd/file' }],
  [{ ...BASE, type: 'symlink', path: pathFromText('d/symlink'), link: '../x', mode: 0o777 }],
  [{ ...BASE, type: 'file', path: pathFromText('d/.wh.gone') }],
  [
    {
      ...{ ...BASE, type: 'file', path: pathFromText('d/x') },
      xattrs: new Map([['user.a', Buffer.from([0, 255])]]),
    },
  ],
];

function tarOf(entries: typeof ENTRIES): Buffer {
  const parts = entries.flatMap(([fields, bytes = Buffer.alloc(0)]) => [
    encodeEntry(fields),
    bytes,
    Buffer.alloc(paddingOf(bytes.length)),
  ]);
  return Buffer.concat([...parts, END_OF_ARCHIVE]);
}

const tar = tarOf(ENTRIES);
const whole = await readLayer(partialSource(tar, gzipSync(tar)));

/** The tar as a zstd:chunked layer. */
async function chunkedSource(tar: Buffer): Promise<ReturnType<typeof partialSource>> {
  const parts: Buffer[] = [];
  const compressor = createChunkedCompressor(undefined, {
    inFlight: 2,
    write: (bytes) => {
      parts.push(Buffer.from(bytes));
    },
  });
  await compressor.push(tar);
  await compressor.finish();
  const result = compressor.result();
  assert.ok('annotations' in result, JSON.stringify(result));
  return partialSource(tar, Buffer.concat(parts), result.annotations);
}

test('a zstd:chunked layer is indexed by its table of contents', async () => {
  const source = await chunkedSource(tar);
  const read = await readLayer(source);
  assert.equal(read.origin, 'toc');
  assert.equal(source.blob.whole, 0);
  assert.deepEqual(told(read), told(whole));
});

test('documents of a zstd:chunked layer are read from its stretches, with their zeros and by their links', async () => {
  const fields = { ...BASE, type: 'file' } as const;
  const noise = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * i * 31 + i) >> 5));
  const holes = [noise, Buffer.alloc(9000), noise.subarray(0, 70_000), Buffer.alloc(5000)];
  const database = Buffer.concat([Buffer.alloc(3000), ...holes]);
  const files: typeof ENTRIES = [
    [{ ...fields, path: pathFromText('large'), size: noise.length }, noise],
    [{ ...fields, path: pathFromText('db'), size: database.length }, database],
    [{ ...fields, path: pathFromText('stored'), size: 7 }, Buffer.from('linked\n')],
    [{ ...BASE, type: 'link', path: pathFromText('the-doc'), link: 'stored' }],
    [{ ...fields, path: pathFromText('z'), size: noise.length }, noise],
  ];
  const source = await chunkedSource(tarOf(files));
  const keep = {
    isDocument: (path: string): boolean => path === 'db' || path === 'the-doc',
    isDigested: () => false,
  };
  const read = await readLayer(source, { keep });
  assert.deepEqual([read.origin, source.blob.whole], ['toc', 0]);
  const kept = read.kept?.documents.map(({ content }) => content.length);
  assert.deepEqual(kept, [database.length, 7]);
  assert.ok(read.kept?.documents[0]?.content.equals(database));
  const { kept: whole } = await readLayer(
    { ...source, descriptor: { ...source.descriptor, annotations: {} } },
    { keep },
  );
  assert.deepEqual(whole?.documents, read.kept?.documents);
  assert.equal(source.blob.whole, 2);
});

/** As stargz-snapshotter writes it: files, then a gzip member with the table, then the footer. */
function estargz(entries: object[]): { blob: Buffer; digest: string } {
  const json = Buffer.from(JSON.stringify({ version: 1, entries }));
  const files = gzipSync(tar.subarray(0, -1024));
  const fields = { ...BASE, type: 'file', path: pathFromText('stargz.index.json') } as const;
  const table = gzipSync(tarOf([[{ ...fields, size: json.length }, json]]));
  const footer = Buffer.alloc(51);
  footer.set([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, 0x53, 0x47, 22, 0]);
  footer.write(`${files.length.toString(16).padStart(16, '0')}STARGZ`, 16, 'latin1');
  footer.set([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], 38);
  return { blob: Buffer.concat([files, table, footer]), digest: digestOf(json) };
}

const sha256 = digestOf(content);
const common = { modtime: '2020-09-13T12:26:40.123456789Z', uid: 1, gid: 2, mode: 0o644 };
const TOC = [
  { ...common, name: 'd/', type: 'dir', mode: 0o755 },
  { ...common, name: 'd/file', type: 'reg', size: content.length, digest: sha256 },
  { ...common, name: 'd/caf\u00e9', type: 'reg' },
  { ...common, name: 'd/link', type: 'hardlink', linkName: 'd/file' },
  { ...common, name: 'd/symlink', type: 'symlink', linkName: '../x', mode: 0o777 },
  { ...common, name: 'd/.wh.gone', type: 'reg' },
  { ...common, name: 'd/x', type: 'reg', xattrs: { 'user.a': 'AP8=' } },
  { ...common, name: '.no.prefetch.landmark', type: 'reg', size: 1, digest: sha256 },
];
const KEY = 'containerd.io/snapshot/stargz/toc.digest';

test('an eStargz layer is indexed by its table of contents', async () => {
  const { blob, digest } = estargz(TOC);
  assert.equal(gunzipSync(blob).subarray(0, 512).equals(tar.subarray(0, 512)), true);
  const source = partialSource(tar, blob, { [KEY]: digest });
  const read = await readLayer(source);
  assert.equal(read.origin, 'toc');
  assert.equal(source.blob.whole, 0);
  assert.deepEqual(told(read), told(whole));
  assert.ok(source.blob.parts.every(({ offset }) => offset > 0));
});

for (const [what, annotations, damage] of [
  ['that the manifest does not name', {}, (blob: Buffer) => blob],
  ['with another digest', { [KEY]: digestOf('x') }, (blob: Buffer) => blob],
  ['without its footer', { [KEY]: 'right' }, (blob: Buffer) => blob.subarray(0, -1)],
] as const) {
  test(`a layer with a table ${what} is read whole`, async () => {
    const { blob, digest } = estargz(TOC);
    const named =
      KEY in annotations && annotations[KEY] === 'right' ? { [KEY]: digest } : annotations;
    const source = partialSource(gunzipSync(blob), damage(blob), named);
    const read = readLayer(source);
    if (what.startsWith('without')) await assert.rejects(read, { name: 'RechunkError' });
    else assert.equal((await read).origin, 'tar');
    assert.equal(source.blob.whole, 1);
  });
}

test('a layer whose diffID is not what the image says is refused', async () => {
  const source = { ...partialSource(tar, gzipSync(tar)), diffId: digestOf('other') };
  await assert.rejects(readLayer(source), { code: 'digest-mismatch' });
});

test.run();
