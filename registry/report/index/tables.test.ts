/** Tables of contents: what they tell of a layer is what its tar tells, and only stretches of the blob are read. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { test } from 'uvu';
import { createChunkedCompressor } from '../../chunked/writer.ts';
import type { Blob, ByteRange } from '../../image.ts';
import { digestOf, MEDIA } from '../../oci.ts';
import { pathFromText } from '../../path.ts';
import { NO_XATTRS, type TarFields } from '../../tar.ts';
import { END_OF_ARCHIVE, encodeEntry, paddingOf } from '../../tarwriter.ts';
import { type LayerSource, type ReadLayer, readLayer } from './read.ts';

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

/** A blob that says which stretches of it were read. */
function blobOf(bytes: Buffer): Blob & { readonly parts: ByteRange[]; whole: number } {
  const made = {
    parts: [] as ByteRange[],
    whole: 0,
    stream: async function* () {
      made.whole++;
      yield bytes;
    },
    part: (range: ByteRange) => {
      made.parts.push(range);
      return Promise.resolve(bytes.subarray(range.offset, range.offset + range.size));
    },
  };
  return made;
}

function sourceOf(
  tar: Buffer,
  blob: Buffer,
  annotations: Record<string, string> = {},
): LayerSource & { readonly blob: ReturnType<typeof blobOf> } {
  const made = blobOf(blob);
  return {
    blob: made,
    diffId: digestOf(tar),
    descriptor: { mediaType: MEDIA.layer, digest: digestOf(blob), size: blob.length, annotations },
    name: 'a layer',
    open: () => Promise.resolve(made),
  };
}

/** All that the index keeps of a layer, row by row. */
function told({ rows }: ReadLayer): object {
  const n = rows.length;
  const digests = [rows.files, rows.paths, rows.links, rows.xattrs];
  const hashes = digests.map((all) =>
    createHash('sha256')
      .update(all.subarray(0, n * 32))
      .digest('hex'),
  );
  const numbers = [rows.kind, rows.mode, rows.size, rows.uid, rows.gid, rows.seconds];
  const columns = [...numbers, rows.nanoseconds, rows.device].map((all) => [...all.subarray(0, n)]);
  const trees = [rows.treeDigest, rows.metadataDigest].map((digest) => digest.toString('hex'));
  return { paths: rows.pathText, links: rows.linkText, columns, hashes, trees };
}

const tar = tarOf(ENTRIES);
const whole = await readLayer(sourceOf(tar, gzipSync(tar)));

test('a zstd:chunked layer is indexed by its table of contents', async () => {
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
  assert.ok('annotations' in result);
  const source = sourceOf(tar, Buffer.concat(parts), result.annotations);
  const read = await readLayer(source);
  assert.equal(read.origin, 'toc');
  assert.equal(source.blob.whole, 0);
  assert.deepEqual(told(read), told(whole));
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
  const source = sourceOf(tar, blob, { [KEY]: digest });
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
    const source = sourceOf(gunzipSync(blob), damage(blob), named);
    const read = readLayer(source);
    if (what.startsWith('without')) await assert.rejects(read, { name: 'RechunkError' });
    else assert.equal((await read).origin, 'tar');
    assert.equal(source.blob.whole, 1);
  });
}

test('a layer whose diffID is not what the image says is refused', async () => {
  const source = { ...sourceOf(tar, gzipSync(tar)), diffId: digestOf('other') };
  await assert.rejects(readLayer(source), { code: 'digest-mismatch' });
});

test.run();
