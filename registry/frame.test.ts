import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as zlib from 'node:zlib';
import { test } from 'uvu';
import {
  boundOf,
  compressFrame,
  encodeFrame,
  FrameContext,
  type Internals,
  openContext,
  SHARED_LIMIT,
} from './frame.ts';

const SIZES = [1, 65, 1000, 5600, 20_000, 131_072, 131_073, 200_000, 1 << 20, 3_000_000, 70_000];

/** As a context that was used for others before could go wrong: programs, text, noise and holes in turn, in many sizes. */
function* contents(): Generator<Buffer> {
  const program = readFileSync(process.execPath).subarray(0, 24 << 20);
  const text = Buffer.from(
    Array.from(
      { length: 50_000 },
      (_, i) => `${i} ${createHash('md5').update(`${i}`).digest('hex')}`,
    ).join('\n'),
  );
  for (let i = 0, at = 0; at < program.length; i++) {
    const size = SIZES[i % SIZES.length] ?? 1;
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
    const own = await compressFrame(bytes, level);
    assert.ok(shared.equals(own), `${bytes.length} bytes at level ${level}`);
  }
});

/** A context whose frames are made by `encode`. */
function contextBy(
  kind: Kind,
  encode: (bytes: Buffer, level: number) => Buffer,
): FrameContext | undefined {
  const state = new Uint32Array(2);
  const handle: Internals['_handle'] = {
    writeSync(_, bytes, from, size, output, to, room) {
      const frame = encode(Buffer.from(bytes).subarray(from, from + size), LEVEL);
      output.set(frame, to);
      state.set([room - frame.length, 0]);
    },
  };
  return openContext(LEVEL, kind, { _handle: handle, _writeState: state });
}

const LEVEL = 3;
const KINDS = ['small', 'large'] as const;
type Kind = (typeof KINDS)[number];

test('a context is shared only where nothing shows of what it made before', () => {
  for (const kind of KINDS) {
    assert.ok([1, 2, 3].every((level) => openContext(level, kind)));
    assert.ok(contextBy(kind, encodeFrame));
    let before: Buffer = Buffer.alloc(0);
    // What a table that is not cleared does: frames that hardly use it are none the worse.
    const remembering = contextBy(kind, (bytes, level) => {
      if (bytes.length < 1000) return encodeFrame(bytes, level);
      const dictionary = before;
      before = bytes;
      const params = { [zlib.constants.ZSTD_c_compressionLevel]: level };
      return dictionary.length === 0
        ? encodeFrame(bytes, level)
        : zlib.zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length, dictionary });
    });
    assert.equal(remembering, undefined);
  }
});

test('a context that fails, or leaves something undone, says so', () => {
  const [bytes, state] = [Buffer.from('text'), new Uint32Array([7, 0])];
  const output = Buffer.alloc(boundOf(bytes.length));
  const fail = (): never => {
    throw new Error('failed');
  };
  for (const writeSync of [fail, () => {}]) {
    const context = new FrameContext({ _handle: { writeSync }, _writeState: state });
    assert.equal(context.encode(bytes, output, 0), undefined);
  }
  for (const kind of KINDS) {
    assert.equal(contextBy(kind, fail), undefined);
    assert.equal(openContext(LEVEL, kind, {}), undefined);
  }
});

test('the largest frame has the same bytes either way', async () => {
  const bytes = readFileSync(process.execPath).subarray(-SHARED_LIMIT);
  const shared = Buffer.from(encodeFrame(bytes, LEVEL));
  assert.ok(shared.equals(await compressFrame(bytes, LEVEL)));
});

test('frames stay as they are while others are made', () => {
  const inputs = Array.from({ length: 200 }, (_, i) => randomBytes(i * 100));
  const frames = inputs.map((bytes) => encodeFrame(bytes, 3));
  const copies = frames.map((frame) => Buffer.from(frame));
  for (const bytes of contents()) encodeFrame(bytes, 3);
  assert.ok(frames.every((frame, i) => frame.equals(copies[i] as Buffer)));
});

test.run();
