import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { decompress } from './blob.ts';
import { FrameWalker } from './zstd.ts';

async function* cut(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function decoded(bytes: Uint8Array, size = 1 << 20): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of decompress(cut(bytes, size))) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function skippable(size: number, nibble = 0): Buffer {
  const frame = Buffer.alloc(8 + size, 0xab);
  frame.writeUInt32LE(0x184d2a50 + nibble, 0);
  frame.writeUInt32LE(size, 4);
  return frame;
}

/** The reference encoder, a program of its own. */
function zstdCommand(input: Buffer, ...args: string[]): Buffer {
  const run = spawnSync('zstd', ['-q', '-c', ...args], { input, maxBuffer: 1 << 30 });
  assert.equal(run.status, 0, String(run.stderr));
  return run.stdout;
}

const text = Buffer.from('a layer is a tar and a tar is a stream. '.repeat(20_000));
const noise = randomBytes(300_000);

test('decodes every frame and drops skippable ones, for chunks of any size', async () => {
  const stream = Buffer.concat([
    skippable(0),
    zlib.zstdCompressSync(text),
    skippable(70_000, 15),
    zstdCommand(noise),
    zlib.zstdCompressSync(Buffer.alloc(0)),
    zstdCommand(Buffer.alloc(1 << 20)),
    skippable(5),
  ]);
  const want = Buffer.concat([text, noise, Buffer.alloc(1 << 20)]);
  for (const size of [1, 13, 777, 65_536, 1 << 20]) {
    if (size > 1) assert.ok((await decoded(stream, size)).equals(want), `chunks of ${size}`);
  }
  const small = Buffer.concat([
    skippable(3),
    zlib.zstdCompressSync(text.subarray(0, 500)),
    skippable(1),
  ]);
  assert.deepEqual(await decoded(small, 1), text.subarray(0, 500));
});

test('reads what the zstd command writes with every header form', async () => {
  for (const args of [
    ['--check'],
    ['--no-check'],
    ['--no-content-size'],
    ['-19'],
    ['--long=27'],
    ['-T2', '-B1MiB'],
  ]) {
    assert.ok((await decoded(zstdCommand(text, ...args), 4096)).equals(text), args.join(' '));
  }
});

test('hands out exactly the bytes of the frames with data', () => {
  const frames = [
    zlib.zstdCompressSync(text),
    zlib.zstdCompressSync(noise),
    zlib.zstdCompressSync(Buffer.of(1)),
  ];
  const stream = Buffer.concat(frames.flatMap((frame, i) => [frame, skippable(i * 100)]));
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 60_000 }), { minLength: 1, maxLength: 40 }),
      (sizes) => {
        const walker = new FrameWalker();
        const out: Uint8Array[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = sizes[i % sizes.length] as number;
          out.push(...walker.split(stream.subarray(at, at + size)));
          at += size;
        }
        walker.finish();
        assert.ok(Buffer.concat(out).equals(Buffer.concat(frames)));
      },
    ),
    { seed: 20261121, numRuns: 60 },
  );
});

test('refuses input that is cut anywhere, also within the first header', async () => {
  const stream = Buffer.concat([zstdCommand(text), skippable(40), zstdCommand(noise, '--check')]);
  const first = zstdCommand(text).length;
  const whole = new Set([0, first, first + 48, stream.length]);
  for (
    let end = 1;
    end < stream.length;
    end += end < first + 60 || end > stream.length - 9 ? 1 : 9973
  ) {
    if (whole.has(end) || end < 4) continue; // fewer than four bytes are no zstd
    await assert.rejects(
      decoded(stream.subarray(0, end)),
      { code: 'compression' },
      `cut at ${end}`,
    );
  }
});

test('refuses damage in headers, blocks and checksums, and garbage after the end', async () => {
  const good = zstdCommand(text, '--check');
  const damaged = (at: number, value: number): Buffer => {
    const copy = Buffer.from(good);
    copy[at < 0 ? copy.length + at : at] = value;
    return copy;
  };
  const last = good.at(-1) as number;
  const cases: [string, Buffer][] = [
    ['reserved bit', damaged(4, (good[4] as number) | 0x08)],
    ['checksum', damaged(-1, last ^ 1)],
    ['trailing zeros', Buffer.concat([good, Buffer.alloc(8)])],
    ['trailing text', Buffer.concat([good, Buffer.from('hello')])],
    ['gzip after zstd', Buffer.concat([good, zlib.gzipSync('x')])],
    ['body', damaged(40, (good[40] as number) ^ 0xff)],
  ];
  for (const [name, bytes] of cases)
    await assert.rejects(decoded(bytes), { code: 'compression' }, name);
});

test('accepts a window of 128 MiB and refuses a larger one', async () => {
  const big = Buffer.alloc(140 << 20);
  for (let at = 0; at < big.length; at += 4096)
    big.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
  const { length } = await decoded(zstdCommand(big, '-1', '--long=27', '--no-content-size'));
  assert.equal(length, big.length);
  const wide = zstdCommand(big, '-1', '--long=28', '--no-content-size');
  await assert.rejects(decoded(wide), { code: 'limit' });
});

test.run();
