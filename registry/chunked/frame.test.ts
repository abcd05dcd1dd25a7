import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import { encodeFrame, encodeFrameLater, SHARED_LIMIT } from './frame.ts';

/** As a context that was used for others before could go wrong: programs, text, noise and holes in turn, in many sizes. */
function* contents(): Generator<Buffer> {
  const program = readFileSync(process.execPath).subarray(0, 8 << 20);
  const text = Buffer.from(
    Array.from(
      { length: 50_000 },
      (_, i) => `${i} ${createHash('md5').update(`${i}`).digest('hex')}`,
    ).join('\n'),
  );
  for (let i = 0, at = 0; at < program.length; i++) {
    const size = [1, 65, 1000, 5600, 20_000, 131_072, 131_073, 200_000, SHARED_LIMIT][i % 9] ?? 1;
    yield program.subarray(at, at + size);
    yield text.subarray(at % 100_000, (at % 100_000) + size);
    if (i % 5 === 0) yield randomBytes(size);
    if (i % 7 === 0) yield Buffer.alloc(size, i);
    at += size;
  }
}

test('a frame is the same bytes from a shared context, and from one of its own on the thread pool', async () => {
  let level = 0;
  for (const bytes of contents()) {
    level = (level % 4) + 1;
    const shared = Buffer.from(encodeFrame(bytes, level));
    const own = await encodeFrameLater(bytes, level);
    assert.ok(shared.equals(own), `${bytes.length} bytes at level ${level}`);
  }
});

test('frames stay as they are while others are made', () => {
  const inputs = Array.from({ length: 200 }, (_, i) => randomBytes(i * 100));
  const frames = inputs.map((bytes) => encodeFrame(bytes, 3));
  const copies = frames.map((frame) => Buffer.from(frame));
  for (const bytes of contents()) encodeFrame(bytes, 3);
  assert.ok(frames.every((frame, i) => frame.equals(copies[i] as Buffer)));
});

test.run();
