/** The model against what chunkah itself made, and its rules one by one. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import { type ChunkahItem, chunkahStability, hashName, packChunkah, shareBins } from './chunkah.ts';

interface Golden {
  readonly components: readonly (readonly [name: string, size: number, stability: number])[];
  readonly layers: Readonly<Record<string, readonly (readonly number[])[]>>;
}

const GOLDEN = new URL('chunkah.golden.json', import.meta.url);
const DAY = 86_400;
const NOW = 1000 * DAY;

test('packs the components of a real image as chunkah itself does', () => {
  const { components, layers } = JSON.parse(readFileSync(GOLDEN, 'utf8')) as Golden;
  const items = components.map(
    ([name, size, stability]): ChunkahItem => ({ name, size, stability }),
  );
  for (const [count, wanted] of Object.entries(layers)) {
    const packed = packChunkah(items, Number(count));
    assert.deepEqual(
      packed.map((group) => group.sort((a, b) => a - b)),
      wanted,
      `${count} layers`,
    );
  }
});

test('a component has a layer of its own where there are enough', () => {
  const items = [0.2, 0.9, 0.5].map((stability, i) => ({ name: `${i}`, size: 1, stability }));
  assert.deepEqual(packChunkah(items, 3), [[1], [2], [0]]);
});

test('bins go to tiers by counts, so that one component more shifts a bin between tiers', () => {
  assert.deepEqual(shareBins([31, 323, 78], 14), [1, 10, 3]);
  assert.deepEqual(shareBins([31, 325, 76], 14), [1, 11, 2]);
  assert.deepEqual(shareBins([1, 1000, 1], 3), [1, 1, 1]);
});

test('stability is that of a Poisson process since the oldest entry of a year', () => {
  const at = (...days: number[]): number =>
    chunkahStability(
      days.map((d) => NOW - d * DAY),
      NOW,
    );
  assert.ok(Math.abs(at(100, 75, 50, 25) - Math.exp((-4 / 100) * 7)) < 1e-12);
  assert.equal(at(100.1, 100.2, 100.3), chunkahStability([NOW - 100.3 * DAY], NOW));
  assert.equal(at(400), 0.99);
  assert.equal(at(0.5), 0);
});

test('names are hashed as Rust hashes strings', () => {
  // FNV-1a of the byte 0xff alone: the offset basis, one step.
  assert.equal(hashName(''), ((0xcbf29ce484222325n ^ 0xffn) * 0x100000001b3n) & ((1n << 64n) - 1n));
});

test.run();
