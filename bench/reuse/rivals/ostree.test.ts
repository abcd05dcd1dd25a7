/** The model against what is known of rpm-ostree's packing of a real image, and its memory. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import { continueOstree, type OstreeItem, ostreeFrequency, packOstree } from './ostree.ts';

const FIXTURE = new URL('../../series/fedora-coreos-contentmeta.json.gz', import.meta.url);
const ALWAYS = 0xffffffff;

interface Meta {
  readonly name: string;
  readonly size: number;
  readonly change_frequency: number;
}

function readFedora(): OstreeItem[] {
  const metas = JSON.parse(gunzipSync(readFileSync(FIXTURE)).toString()) as Meta[];
  return metas.map(({ name, size, change_frequency: frequency }) => ({
    name,
    size,
    frequency: frequency === ALWAYS ? Number.POSITIVE_INFINITY : frequency,
  }));
}

test('packs a Fedora CoreOS as rpm-ostree does: what is alone, what is small, what always changes', () => {
  const items = readFedora();
  const size = new Map(items.map((item) => [item.name, item.size]));
  const bytes = (bin: readonly string[]): number =>
    bin.reduce((sum, name) => sum + (size.get(name) ?? 0), 0);
  const bins = packOstree(items, 64);
  assert.equal(bins.flat().length, items.length);
  assert.ok(bins.length <= 64);
  const [small = [], ...others] = bins;
  assert.equal(small.length, 128);
  assert.equal((bytes(small) / 1e6).toFixed(1), '5.8');
  const alone = others.slice(0, 36);
  assert.ok(alone.every((bin) => bin.length === 1));
  const share = alone.reduce((sum, bin) => sum + bytes(bin), 0) / bytes(bins.flat());
  assert.equal(share.toFixed(3), '0.736');
  const [hot = [], reserved] = bins.slice(-2);
  assert.equal((bytes(hot) / bytes(bins.flat())).toFixed(3), '0.104');
  assert.deepEqual(reserved, []);
});

test('few components have a layer each, and one is kept free', () => {
  const items = [3, 1, 2].map((size) => ({ name: `${size}`, size, frequency: 1 }));
  assert.deepEqual(packOstree(items, 5), [['3'], ['2'], ['1'], []]);
});

test('a previous image keeps its bins; what is new goes into the last, what is gone leaves', () => {
  const previous = [['a', 'b'], ['c'], []];
  assert.deepEqual(continueOstree(previous, ['z', 'a', 'c', 'x']), [['a'], ['c'], ['x', 'z']]);
});

test('the frequency is the number of changelog entries of the last year', () => {
  const year = 365 * 86_400;
  assert.equal(ostreeFrequency([1, year, year + 5], year + 5), 2);
});

test.run();
