import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import type { PlanItem } from './plan.ts';
import type { PlanRecord } from './record.ts';
import {
  type Digests,
  findHomes,
  observe,
  observeHistory,
  recordDigests,
  rememberItems,
  withObserved,
} from './remember.ts';

const SEED = 20261121;

/** A record of layers; components as `id` with digests, `id~mask` with changes. */
function recordOf(observed: number, ...layers: Record<string, [string, number]>[]): PlanRecord {
  return {
    observed,
    layers: layers.map((layer) => ({
      fingerprint: '',
      components: new Map(
        Object.entries(layer).map(([id, [digest, changes]]) => [id, { digest, changes }]),
      ),
    })),
  };
}

const digests = (of: Record<string, string>): Digests => new Map(Object.entries(of));
const itemsOf = (ids: Digests): PlanItem[] =>
  [...ids.keys()].map((id) => ({ id, size: 1, tarSize: 1, rate: 1 }));

test('an update shifts what was observed and notes what changed, new components too', () => {
  const record = recordOf(2, { a: ['aaaa', 0b01] }, { b: ['bbbb', 0b10] });
  const now = digests({ a: 'aaaa', b: 'other', c: 'cccc' });
  const observed = observe(findHomes(record, now), now);
  assert.equal(observed.updates, 3);
  assert.deepEqual(Object.fromEntries(observed.changes), { a: 0b010, b: 0b101, c: 0b001 });
});

test('no more than thirty updates are remembered', () => {
  const record = recordOf(30, { a: ['aaaa', 2 ** 29], b: ['bbbb', 2 ** 30 - 1] });
  const now = digests({ a: 'aaaa', b: 'x' });
  const observed = observe(findHomes(record, now), now);
  assert.equal(observed.updates, 30);
  assert.deepEqual(Object.fromEntries(observed.changes), { a: 0, b: 2 ** 30 - 1 });
});

test('where nothing changed nothing is observed, and everything is as it was', () => {
  const record = recordOf(3, { a: ['aaaa', 0b101], b: ['bbbb', 0] });
  const now = digests({ b: 'bbbb', a: 'aaaa' });
  const past = findHomes(record, now);
  const observed = observe(past, now);
  assert.deepEqual([observed.updates, observed.changes.get('a')], [3, 0b101]);
  const items = rememberItems(itemsOf(now), now, past, observed);
  assert.deepEqual(
    items.map(({ previous, changed }) => [previous, changed]),
    [
      [0, false],
      [0, false],
    ],
  );
});

test('a removed component makes an update', () => {
  const record = recordOf(0, { a: ['aaaa', 0], b: ['bbbb', 0] });
  const now = digests({ a: 'aaaa' });
  assert.equal(observe(findHomes(record, now), now).updates, 1);
});

test('a component under a new name is found by what it holds; a part is where the whole was', () => {
  const record = recordOf(0, { old: ['aaaa', 0] }, { large: ['llll', 0], other: ['oooo', 0] });
  const now = digests({ new: 'aaaa', 'large#1': 'l1', 'large#2': 'l2', other: 'oooo' });
  const past = findHomes(record, now);
  const items = rememberItems(itemsOf(now), now, past, observe(past, now));
  const byId = new Map(items.map((item) => [item.id, [item.previous, item.changed]]));
  assert.deepEqual(Object.fromEntries(byId), {
    new: [0, false],
    'large#1': [1, true],
    'large#2': [1, true],
    other: [1, false],
  });
});

test('a component whose name stays is not taken for another of the same content', () => {
  const record = recordOf(0, { a: ['same', 0] }, { b: ['same', 0] });
  const now = digests({ b: 'same', c: 'same' });
  const { homes } = findHomes(record, now);
  assert.deepEqual([homes.get('b')?.layer, homes.get('c')?.layer], [1, 0]);
});

test('events count from the oldest update', () => {
  const record = recordOf(4, { a: ['aaaa', 0b1001] });
  const now = digests({ a: 'aaaa' });
  const past = findHomes(record, now);
  const [item] = rememberItems(itemsOf(now), now, past, observe(past, now));
  assert.deepEqual(item?.events, [0, 3]);
});

test('a digest of content alone is compared by content alone', () => {
  const record = recordOf(0, { a: ['contenttimes1', 0], b: ['conten', 0], c: ['', 0] });
  const now = digests({ a: 'conten', b: 'contentimes2', c: 'anything' });
  assert.equal(observe(findHomes(record, now), now).updates, 0);
});

test('history from digests alone equals what builds would have recorded one by one', () => {
  const state = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('x', 'y'), {
    minKeys: 1,
  });
  fc.assert(
    fc.property(fc.array(state, { minLength: 2, maxLength: 12 }), (states) => {
      const images = states.map(digests);
      const [first, ...later] = images as [Digests, ...Digests[]];
      let record = recordDigests(first, { updates: 0, changes: new Map() });
      for (const now of later) record = recordDigests(now, observe(findHomes(record, now), now));
      const all = observeHistory(images.map((one) => ({ digests: one, record: undefined })));
      assert.equal(all.updates, record.observed);
      const last = images.at(-1) as Digests;
      assert.deepEqual(
        recordDigests(last, all),
        recordDigests(last, { updates: record.observed, changes: changesOf(record) }),
      );
    }),
    { seed: SEED },
  );
});

const changesOf = (record: PlanRecord): Map<string, number> =>
  new Map([...(record.layers[0]?.components ?? [])].map(([id, { changes }]) => [id, changes]));

test('history that looks back no further than the record changes nothing', () => {
  const record = recordOf(5, { a: ['aaaa', 0b10101] });
  const shorter = { updates: 5, changes: new Map([['a', 0]]) };
  assert.equal(withObserved(record, shorter), record);
  const longer = withObserved(record, { updates: 6, changes: new Map([['a', 0b110101]]) });
  assert.deepEqual(longer, recordOf(6, { a: ['aaaa', 0b110101] }));
});

test.run();
