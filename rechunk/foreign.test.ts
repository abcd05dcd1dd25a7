import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { Image } from '../registry/image.ts';
import { readForeignPlan } from './foreign.ts';

/** An image whose config has the label of hhd-dev/rechunk, `text`. */
const labelled = (text: string): Image =>
  ({ config: { config: { Labels: { 'dev.hhd.rechunk.info': text } } }, layers: [] }) as never;

const layersOf = (count: number): string =>
  JSON.stringify({ version: '2', layers: Array.from({ length: count }, (_, i) => [`meta:p${i}`]) });

test('a label names the packages of each layer, without what stands before some', () => {
  assert.deepEqual(readForeignPlan(labelled(layersOf(2))), {
    key: 'dev.hhd.rechunk.info',
    layers: [['p0'], ['p1']],
  });
});

test('labels that are no plan, or have more layers than any image, give none', () => {
  assert.equal(readForeignPlan(labelled(layersOf(999)))?.layers.length, 999);
  for (const text of ['', 'null', '{}', '{"layers":[1]}', '{"layers":[[1]]}', layersOf(1000)])
    assert.equal(readForeignPlan(labelled(text)), undefined, text.slice(0, 40));
});

test.run();
