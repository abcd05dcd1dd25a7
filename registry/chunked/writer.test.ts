import assert from 'node:assert/strict';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { ZSTD_FRAME_SIZE } from '../compress.ts';
import { digestOf } from '../oci.ts';
import { packTar, type TarItem } from '../tarwriter.ts';
import { FrameWalker } from '../zstd.ts';
import { parseChunkedAnnotations, type Section, type Sections } from './footer.ts';
import { parseToc, type Toc } from './toc.ts';
import { CHUNKED_FORMAT, type ChunkedResult, createChunkedCompressor } from './writer.ts';

interface Written {
  readonly blob: Buffer;
  readonly result: ChunkedResult;
}

async function write(tar: Uint8Array, piece = 100_000, inFlight = 2): Promise<Written> {
  const output: Buffer[] = [];
  const compressor = createChunkedCompressor(undefined, {
    inFlight,
    write: (bytes) => {
      output.push(Buffer.from(bytes));
      bytes.fill(0xff); // it is used again
    },
  });
  for (let at = 0; at < tar.length; at += piece) {
    const bytes = Buffer.from(tar.subarray(at, at + piece));
    await compressor.push(bytes);
    bytes.fill(0xff); // it was copied
  }
  await compressor.finish();
  return { blob: Buffer.concat(output), result: compressor.result() };
}

/** The frames with data, each decompressed. */
function framesOf(blob: Uint8Array): Buffer[] {
  const walker = new FrameWalker();
  const frames = walker.split(blob).map((frame) => zlib.zstdDecompressSync(frame));
  walker.finish();
  return frames;
}

function sectionsOf({ blob, result }: Written): Sections {
  assert.ok('annotations' in result, JSON.stringify(result));
  return parseChunkedAnnotations(result.annotations, blob.length) as Sections;
}

function read(blob: Buffer, { offset, compressedSize, size }: Section): Buffer {
  const text = Buffer.concat(framesOf(blob.subarray(offset, offset + compressedSize)));
  assert.equal(text.length, size);
  return text;
}

function tocOf(written: Written): Toc {
  return parseToc(read(written.blob, sectionsOf(written).toc));
}

/** Puts the tar together again as a consumer does, from the contents of files and the tar-split section. */
function assembled(written: Written): Buffer {
  const { blob } = written;
  const { toc, tarSplit } = sectionsOf(written);
  const files = new Map<string, Buffer[]>();
  const stored = parseToc(read(blob, toc)).entries.filter(({ offset }) => offset !== undefined);
  const ends = new Map(stored.map(({ name, endOffset }) => [name, endOffset] as const).reverse());
  stored.forEach(({ name, offset, chunkDigest, digest }, i) => {
    const next = stored[i + 1];
    const end = next?.type === 'chunk' ? next.offset : ends.get(name);
    const bytes = Buffer.concat(framesOf(blob.subarray(offset, end)));
    assert.equal(digestOf(bytes), chunkDigest ?? digest, name);
    files.set(name, [...(files.get(name) ?? []), bytes]);
  });
  const lines = read(blob, tarSplit).toString().trimEnd().split('\n');
  return Buffer.concat(
    lines.flatMap((line) => {
      const { type, name, size, payload } = JSON.parse(line);
      if (type === 2) return [Buffer.from(payload, 'base64')];
      return size ? (files.get(name) ?? []) : [];
    }),
  );
}

/** Bytes of an integer generator, which chunks end in. */
function noise(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0, x = 1; i < size; i++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    bytes[i] = (x >>> 16) & 0xff;
  }
  return bytes;
}

const ITEMS: readonly TarItem[] = [
  { path: './' },
  { path: 'd/', mtime: 1_600_000_000_123_456_789n },
  { path: 'd/empty' },
  { path: 'd/small', content: 'some text', uid: 3_000_000 },
  { path: 'd/large', content: Buffer.concat([noise(300_000), Buffer.alloc(5000), noise(70_000)]) },
  { path: 'd/link', type: 'link', link: 'd/small' },
  { path: 'd/symlink', type: 'symlink', link: 'nowhere' },
  { path: 'd/zeros', content: Buffer.alloc(9_000_000) },
  { path: 'last', content: 'x' },
];
const TAR = packTar(ITEMS);

test('writes a tar that plain decompressors read, and that consumers put together', async () => {
  const written = await write(TAR);
  assert.ok(Buffer.concat(framesOf(written.blob)).equals(TAR));
  assert.ok(assembled(written).equals(TAR));
});

test('begins and ends frames where content and chunks do, and after 8 MiB', async () => {
  const { blob } = await write(TAR);
  const sizes = framesOf(blob).map(({ length }) => length);
  const { entries } = tocOf(await write(TAR));
  const large = entries
    .filter(({ name }) => name === 'd/large')
    .map(({ chunkSize }) => chunkSize ?? 0);
  assert.ok(large.includes(5000) && large.length > 5);
  const zeros = [ZSTD_FRAME_SIZE, 9_000_000 - ZSTD_FRAME_SIZE];
  // Headers with their PAX records and the padding before them.
  const headers = { small: 512 + 1024 + 512 + 512 + 1536, large: 503 + 512, zeros: 3 * 512 + 40 };
  assert.deepEqual(sizes.slice(0, 2), [headers.small, 9]);
  assert.deepEqual(sizes.slice(2, 4 + large.length), [
    headers.large,
    ...large,
    sizes[3 + large.length],
  ]);
  assert.deepEqual(sizes.slice(4 + large.length, 6 + large.length), zeros);
  assert.equal(sizes.at(-2), 1);
  assert.equal(sizes.at(-1), 511 + 1024);
});

test('gives the bytes of format 2', async () => {
  const { blob, result } = await write(TAR);
  // Another number here costs users every blob: it takes a new CHUNKED_FORMAT.
  assert.equal(CHUNKED_FORMAT, 2);
  assert.equal(
    digestOf(blob),
    'sha256:f648858e85dc83ada9fdce8f19a3522e7ff4e5bebe222281048f50d4625dbc8f',
  );
  assert.ok('annotations' in result);
});

test('gives the same bytes for any chunking and any number in flight', async () => {
  const wanted = await write(TAR);
  for (const [piece, inFlight] of [
    [TAR.length, 1],
    [1 << 20, 8],
    [513, 3],
  ] as const) {
    const found = await write(TAR, piece, inFlight);
    assert.equal(digestOf(found.blob), digestOf(wanted.blob), `${piece} bytes, ${inFlight}`);
    assert.deepEqual(found.result, wanted.result);
  }
});

test('ends the blob with a footer that says what the annotations say', async () => {
  const written = await write(TAR);
  const { toc, tarSplit } = sectionsOf(written);
  const footer = written.blob.subarray(-72);
  assert.equal(footer.toString('hex', 0, 8), '502a4d1840000000');
  const numbers = Array.from({ length: 7 }, (_, i) => Number(footer.readBigUInt64LE(8 + 8 * i)));
  assert.deepEqual(numbers, [
    ...[toc.offset, toc.compressedSize, toc.size, 1],
    ...[tarSplit.offset, tarSplit.compressedSize, tarSplit.size],
  ]);
  assert.equal(footer.toString('latin1', 64), 'GNUlInUx');
});

test('tells metadata word for word', async () => {
  const { entries } = tocOf(await write(TAR));
  assert.deepEqual(entries.slice(0, 3), [
    { type: 'dir', name: './', mode: 0o755, modtime: '1970-01-01T00:00:00Z' },
    { type: 'dir', name: 'd/', mode: 0o755, modtime: '2020-09-13T12:26:40.123456789Z' },
    { type: 'reg', name: 'd/empty', mode: 0o644, modtime: '1970-01-01T00:00:00Z' },
  ]);
});

const OBSTACLES: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['a name that is no UTF-8', packTar([{ path: 'a\xe9' }]), /"a\\xe9": its name .* is no UTF-8/],
  ['a target that is none', packTar([{ path: 'a', type: 'symlink', link: '\xff' }]), /its target/],
  ['a device', packTar([{ path: 'a', type: 'char', devMajor: 1, devMinor: 3 }]), /it is a char/],
  ['a fifo', packTar([{ path: 'a', type: 'fifo' }]), /it is a fifo/],
  ['a name twice', packTar([{ path: 'a' }, { path: 'a/' }]), /has it twice/],
  ['a directory that is missing', packTar([{ path: 'a/b' }]), /its directory is not in the layer/],
  ['a directory after its files', packTar([{ path: 'a/b' }, { path: 'a/' }]), /its directory/],
  [
    'a file in the place of a directory',
    packTar([{ path: 'a' }, { path: 'a/b' }]),
    /its directory/,
  ],
  [
    'a trusted xattr',
    packTar([{ path: 'a', xattrs: new Map([['trusted.overlay.opaque', Buffer.from('y')]]) }]),
    /rootless partial pulls cannot set/,
  ],
  [
    'a time after year 9999',
    packTar([{ path: 'a', mtime: 253_402_300_800_000_000_000n }]),
    /no year/,
  ],
  ['a cut archive', packTar([{ path: 'a' }]).subarray(0, -512), /two blocks of zeros/],
  ['no archive', Buffer.alloc(600, 'text'), /checksum is wrong/],
  ['nothing', Buffer.alloc(0), /two blocks of zeros/],
  ['bytes after the end', Buffer.concat([packTar([]), Buffer.from('x')]), /follow the end/],
];

for (const [name, tar, wanted] of OBSTACLES) {
  test(`writes plain zstd, and says why, for ${name}`, async () => {
    for (const piece of [100_000, 7]) {
      const { blob, result } = await write(tar, piece);
      assert.match('obstacle' in result ? result.obstacle.text : '', wanted);
      assert.ok(Buffer.concat(framesOf(blob)).equals(tar));
      assert.ok(!blob.includes('GNUlInUx'));
    }
  });
}

test('writes plain zstd where a file is the first chunk of another one', async () => {
  const holed = Buffer.concat([Buffer.from('x'), Buffer.alloc(5000)]);
  const files = [
    { path: 'a', content: 'x' },
    { path: 'b', content: holed },
  ];
  const { blob, result } = await write(packTar(files));
  assert.match('obstacle' in result ? result.obstacle.text : '', /first chunk of another one/);
  assert.ok(Buffer.concat(framesOf(blob)).equals(packTar(files)));
  assert.ok('annotations' in (await write(packTar(files.slice(1)))).result);
});

test('cuts no more frames after an obstacle', async () => {
  const files = Array.from({ length: 50 }, (_, i): TarItem => ({ path: `f${i}`, content: 'text' }));
  const { blob } = await write(packTar([{ path: 'a', type: 'fifo' }, ...files]));
  assert.equal(framesOf(blob).length, 1);
});

test('keeps any archive as it is', async () => {
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 2000 }),
    fc.nat(80_000).map(noise),
    fc.nat(5000).map((size) => Buffer.alloc(size)),
  );
  const contents = fc.array(fc.array(content, { maxLength: 4 }), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(contents, fc.integer({ min: 1, max: 10_000 }), async (files, piece) => {
      const items = files.map((parts, i) => ({ path: `f${i}`, content: Buffer.concat(parts) }));
      const tar = packTar(items);
      const written = await write(tar, piece);
      assert.ok(Buffer.concat(framesOf(written.blob)).equals(tar));
      // Contents may begin alike: a file that is the first chunk of another one has no annotations.
      const { result } = written;
      if ('obstacle' in result) assert.equal(result.obstacle.kind, 'chunk');
      else assert.ok(assembled(written).equals(tar));
    }),
    { numRuns: 30 },
  );
});

test('the bytes are the same where writing takes its time, and memory is used again only when it is done', async () => {
  const items = Array.from({ length: 40 }, (_, i) => ({ path: `f${i}`, content: noise(60_000) }));
  const tar = packTar(items);
  const output: Buffer[] = [];
  const compressor = createChunkedCompressor(undefined, {
    inFlight: 1,
    write: async (bytes) => {
      await new Promise((resolve) => setTimeout(resolve, 2));
      output.push(Buffer.from(bytes));
      bytes.fill(0xff);
    },
  });
  for (let at = 0; at < tar.length; at += 1e6) await compressor.push(tar.subarray(at, at + 1e6));
  await compressor.finish();
  assert.ok(output.length > 4);
  assert.ok(Buffer.concat(output).equals((await write(tar)).blob));
});

test('throws what writing threw', async () => {
  const compressor = createChunkedCompressor(undefined, {
    inFlight: 1,
    write: () => Promise.reject(new Error('disk full')),
  });
  const work = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await compressor.push(TAR);
    await compressor.finish();
  };
  await assert.rejects(work, /disk full/);
});

test.run();
