import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { decompress } from './blob.ts';
import {
  COMPRESSION_FORMAT,
  createCompressor,
  GZIP_BLOCK_SIZE,
  layerMediaType,
  ZSTD_FRAME_SIZE,
} from './compress.ts';
import type { Compression } from './image.ts';
import { digestOf } from './oci.ts';

/** Bytes of an integer generator, cells of noise, of digits and of repeats: the same everywhere. */
function sample(size: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(size);
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 8;
  };
  for (let cell = 0; cell < size; cell += CELL) {
    const kind = next() & 7;
    const from = cell - 1 - (next() % MAX_DISTANCE);
    for (let at = cell; at < Math.min(size, cell + CELL); at++) {
      if (kind < 5 && from > 0) bytes[at] = bytes[from + at - cell] as number;
      else bytes[at] = kind === 5 ? next() : 48 + (next() % 10);
    }
  }
  return bytes;
}

const CELL = 200;
const MAX_DISTANCE = 300_000;

async function compress(
  input: Buffer,
  compression: Compression,
  options: { level?: number; inFlight?: number; sizes?: number[]; slow?: boolean } = {},
): Promise<Buffer> {
  const output: Buffer[] = [];
  const compressor = createCompressor(compression, options.level, {
    inFlight: options.inFlight ?? 2,
    write: async (chunk) => {
      if (options.slow) await new Promise((resolve) => setTimeout(resolve, 2));
      output.push(Buffer.from(chunk));
    },
  });
  const sizes = options.sizes ?? [100_000];
  for (let at = 0, i = 0; at < input.length; i++) {
    const chunk = Buffer.from(input.subarray(at, at + (sizes[i % sizes.length] as number)));
    at += chunk.length;
    await compressor.push(chunk);
    chunk.fill(0); // it was copied
  }
  await compressor.finish();
  return Buffer.concat(output);
}

const inputs: [string, Buffer][] = [
  ['empty', Buffer.alloc(0)],
  ['one byte', Buffer.of(7)],
  ['one gzip block', sample(GZIP_BLOCK_SIZE)],
  ['one gzip block and a byte', sample(GZIP_BLOCK_SIZE + 1)],
  ['one zstd frame', sample(ZSTD_FRAME_SIZE)],
  ['two zstd frames and a bit', sample(2 * ZSTD_FRAME_SIZE + 12_345)],
];

/**
 * Sizes and digests of format 2, for ever: a change costs every user every blob. `UPDATE_GOLDEN=1` rewrites them, for a
 * new format only.
 */
const GOLDEN = new URL('compress.golden.json', import.meta.url);

test('writes the frozen bytes of format 2', async () => {
  assert.equal(COMPRESSION_FORMAT, 2);
  const got: Record<string, string> = { 'input of 100 kB': digestOf(sample(100_000)).slice(7, 39) };
  for (const [name, input] of inputs) {
    for (const compression of ['zstd', 'gzip'] as const) {
      const output = await compress(input, compression);
      got[`${name}, ${compression}`] = `${output.length} ${digestOf(output).slice(7, 39)}`;
    }
  }
  const middle = sample(3_000_000, 9);
  for (const [compression, level] of [
    ['zstd', 1],
    ['zstd', 9],
    ['gzip', 1],
    ['gzip', 9],
  ] as const) {
    const output = await compress(middle, compression, { level });
    got[`3 MB, ${compression} ${level}`] = `${output.length} ${digestOf(output).slice(7, 39)}`;
  }
  if (process.env['UPDATE_GOLDEN']) writeFileSync(GOLDEN, `${JSON.stringify(got, null, 2)}\n`);
  assert.deepEqual(got, JSON.parse(readFileSync(GOLDEN, 'utf8')));
});

test('is read by the system gzip and zstd, and by our decoder', async () => {
  for (const [name, input] of inputs) {
    for (const [compression, command] of [
      ['zstd', 'zstd'],
      ['gzip', 'gzip'],
    ] as const) {
      const output = await compress(input, compression);
      const run = spawnSync(command, ['-dcq'], { input: output, maxBuffer: 1 << 30 });
      assert.equal(run.status, 0, `${name}, ${compression}: ${run.stderr}`);
      assert.ok(run.stdout.equals(input), `${name}, ${compression}`);
      const decoded: Buffer[] = [];
      for await (const chunk of decompress(single(output))) decoded.push(chunk);
      assert.ok(Buffer.concat(decoded).equals(input), `${name}, ${compression}`);
    }
  }
});

async function* single(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

test('gives the same bytes for any chunking, number in flight and speed of the writer', async () => {
  const input = sample(ZSTD_FRAME_SIZE * 2 + 777_777, 3);
  for (const compression of ['zstd', 'gzip'] as const) {
    const want = digestOf(await compress(input, compression));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 9_000_000 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 5 }),
        fc.boolean(),
        async (sizes, inFlight, slow) => {
          const step = sizes.map((size) => Math.max(size, 2000));
          assert.equal(
            digestOf(await compress(input, compression, { sizes: step, inFlight, slow })),
            want,
          );
        },
      ),
      { seed: 7, numRuns: 4 },
    );
  }
});

test('zstd frames hold 8 MiB each, state their size and have no checksum', async () => {
  const output = await compress(sample(ZSTD_FRAME_SIZE + 5), 'zstd');
  const first = zlib.zstdDecompressSync(output.subarray(0)); // Node 22 and 24 stop after one frame
  assert.ok(first.length >= ZSTD_FRAME_SIZE);
  assert.equal((output[4] as number) & 0x04, 0);
  assert.ok((output[4] as number) & 0xe0);
});

test('zstd frames are those of ZSTD_compress2, whatever their size', async () => {
  for (const size of [1, 1000, 127_000, 128 << 10, 3_000_000, ZSTD_FRAME_SIZE]) {
    const input = sample(size, size);
    const params = { [zlib.constants.ZSTD_c_compressionLevel]: 3 };
    // Room for all output is what makes the synchronous form call it.
    const want = zlib.zstdCompressSync(input, { params, chunkSize: size + 100_000 });
    assert.ok((await compress(input, 'zstd')).equals(want), `${size} bytes`);
  }
});

test('gzip has a header without time or system', async () => {
  const output = await compress(Buffer.from('x'), 'gzip');
  assert.equal(output.subarray(0, 10).toString('hex'), '1f8b08000000000000ff');
});

test('holds no more blocks than it was allowed to', async () => {
  let writing = 0;
  let most = 0;
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const compressor = createCompressor('gzip', 1, {
    inFlight: 2,
    write: async () => {
      most = Math.max(most, ++writing);
      await held;
      writing--;
    },
  });
  let pushed = 0;
  const pushing = (async () => {
    for (; pushed < 8; pushed++) await compressor.push(sample(GZIP_BLOCK_SIZE));
    await compressor.finish();
  })();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(pushed, 3); // two in flight, one filling; the fourth waits
  release();
  await pushing;
  assert.equal(most, 1); // writes never overlap
});

test('passes on what the writer throws, and does not hang', async () => {
  for (const compression of ['zstd', 'gzip', 'none'] as const) {
    const compressor = createCompressor(compression, undefined, {
      inFlight: 2,
      write: () => Promise.reject(new Error('disk full')),
    });
    await assert.rejects(
      async () => {
        for (let i = 0; i < 30; i++) await compressor.push(sample(GZIP_BLOCK_SIZE));
        await compressor.finish();
      },
      { message: 'disk full' },
    );
  }
});

test('does not compress for `none`, and names media types', async () => {
  const input = sample(10_000);
  assert.ok((await compress(input, 'none')).equals(input));
  assert.deepEqual((['zstd', 'gzip', 'none'] as const).map(layerMediaType), [
    'application/vnd.oci.image.layer.v1.tar+zstd',
    'application/vnd.oci.image.layer.v1.tar+gzip',
    'application/vnd.oci.image.layer.v1.tar',
  ]);
});

test.run();
