import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { type Chunk, Chunker, chunksOf, HOLE_MINIMUM } from './chunker.ts';

/** The definition, byte by byte (formats of the reference: `rollsum.go`, `compressor.go`). */
function plainChunks(bytes: Uint8Array): Chunk[] {
  const chunks: Chunk[] = [];
  let start = 0;
  const end = (at: number, type: Chunk['type']): void => {
    if (at > start) chunks.push({ offset: start, size: at - start, type });
    start = at;
  };
  let s1 = 64 * 31;
  let s2 = 64 * 63 * 31;
  let held: number[] = [];
  let zeros = 0;
  for (let i = 0; i <= bytes.length; i++) {
    if (i === bytes.length || bytes[i] !== 0) {
      if (zeros >= HOLE_MINIMUM) {
        end(i - zeros, 'data');
        end(i, 'zeros');
      } else for (const at of held) end(at, 'data');
      held = [];
      zeros = 0;
    } else zeros++;
    if (i === bytes.length) break;
    const d = i < 64 ? 0 : (bytes[i - 64] as number);
    s1 = (s1 + (bytes[i] as number) - d) >>> 0;
    s2 = (s2 + s1 - 64 * (d + 31)) >>> 0;
    if ((s2 & 0xffff) !== 0xffff) continue;
    if (zeros > 0) held.push(i + 1);
    else end(i + 1, 'data');
  }
  end(bytes.length, 'data');
  return chunks;
}

function chunksInPieces(bytes: Uint8Array, sizes: readonly number[]): Chunk[] {
  const chunker = new Chunker();
  const chunks: Chunk[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    chunks.push(...chunker.push(bytes.slice(at, at + size)));
    at += size;
  }
  return [...chunks, ...chunker.finish()];
}

/** Noise without zeros, of an integer generator. */
function noise(size: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0, x = seed; i < size; i++) {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    bytes[i] = (x >>> 16) & 0xff;
  }
  return bytes;
}

test('gives the chunks that skopeo gave for the vector', () => {
  const bytes = noise(400_000);
  for (const [from, end] of [
    [100_000, 101_023],
    [150_000, 151_024],
    [399_000, 400_000],
  ]) {
    bytes.fill(0, from, end);
  }
  const sizes = [49253, 65256, 35491, 1024, 4616, 11963, 77785, 18138, 75174, 35905, 25395];
  const chunks = chunksOf(bytes);
  assert.deepEqual(
    chunks.map(({ size }) => size),
    sizes,
  );
  assert.deepEqual(
    chunks.filter(({ type }) => type === 'zeros'),
    [{ offset: 150_000, size: 1024, type: 'zeros' }],
  );
});

test('gives no chunk for an empty file, and one for a byte', () => {
  assert.deepEqual(chunksOf(Buffer.alloc(0)), []);
  assert.deepEqual(chunksOf(Buffer.alloc(1)), [{ offset: 0, size: 1, type: 'data' }]);
});

test('keeps repeated bytes in one chunk of any size', () => {
  const bytes = Buffer.alloc(900_000, 'abc');
  assert.deepEqual(chunksOf(bytes), plainChunks(bytes));
});

test('takes zeros as a hole from the 1024th on, wherever they are', () => {
  for (const count of [1, 63, 64, 65, 1022, 1023, 1024, 1025, 2047, 70_000, 300_000]) {
    const zeros = Buffer.alloc(count);
    for (const parts of [
      [zeros],
      [noise(1000), zeros],
      [zeros, noise(1000)],
      [noise(5), zeros, noise(70_000), zeros, noise(1), zeros, noise(3)],
    ]) {
      const bytes = Buffer.concat(parts);
      const wanted = plainChunks(bytes);
      assert.deepEqual(chunksOf(bytes), wanted, `${count} zeros`);
      for (const sizes of [[1], [7, 1000], [1023], [1024], [4096]]) {
        assert.deepEqual(chunksInPieces(bytes, sizes), wanted, `${count} zeros by ${sizes}`);
      }
    }
  }
});

test('ends chunks within short runs of zeros, never within a hole', () => {
  const short = HOLE_MINIMUM - 1;
  let found = 0;
  for (let seed = 1; seed < 20_000; seed++) {
    const before = noise(64, seed);
    const [first] = plainChunks(Buffer.concat([before, Buffer.alloc(100)]));
    // Only some noise has sums that end a chunk while zeros come after it.
    if (!first || first.size <= 64 || first.size >= 164) continue;
    found++;
    const ends = (zeros: number): number[] => {
      const bytes = Buffer.concat([before, Buffer.alloc(zeros), noise(64, seed + 1)]);
      const chunks = chunksOf(bytes);
      assert.deepEqual(chunks, plainChunks(bytes), `seed ${seed}`);
      return chunks.map(({ offset, size }) => offset + size);
    };
    assert.ok(ends(short).includes(first.size), `seed ${seed}`);
    assert.ok(!ends(HOLE_MINIMUM).includes(first.size), `seed ${seed}`);
  }
  assert.ok(found > 5, `${found} cases`);
});

test('begins anew after a hole', () => {
  let found = 0;
  for (let seed = 1; seed < 20_000; seed++) {
    const after = noise(64, seed);
    const [first] = plainChunks(after);
    if (!first || first.size === 64) continue;
    found++;
    const bytes = Buffer.concat([noise(64, seed + 1), Buffer.alloc(HOLE_MINIMUM), after]);
    const ends = chunksOf(bytes).map(({ offset, size }) => offset + size);
    assert.ok(ends.includes(64 + HOLE_MINIMUM + first.size), `seed ${seed}`);
    assert.deepEqual(chunksOf(bytes), plainChunks(bytes), `seed ${seed}`);
  }
  assert.ok(found > 5, `${found} cases`);
});

test('gives the chunks of the definition for any bytes in any pieces', () => {
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.tuple(fc.nat(100_000), fc.nat()).map(([size, seed]) => noise(size, seed)),
    fc.nat(3000).map((size) => Buffer.alloc(size)),
    fc.tuple(fc.nat(3000), fc.nat(255)).map(([size, byte]) => Buffer.alloc(size, byte)),
  );
  const sizes = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), sizes, (parts, pieces) => {
      const bytes = Buffer.concat(parts);
      const wanted = plainChunks(bytes);
      assert.deepEqual(chunksOf(bytes), wanted);
      assert.deepEqual(chunksInPieces(bytes, pieces), wanted);
    }),
    { numRuns: 150 },
  );
});

test.run();
