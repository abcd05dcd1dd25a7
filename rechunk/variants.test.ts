import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import type { Plan, PlanItem } from './plan.ts';
import type { PlanRecord } from './record.ts';
import { findHomes, NOTHING_OBSERVED, observe, recordDigests, rememberItems } from './remember.ts';
import { allot, planTogether, type Variant } from './variants.ts';

const SEED = 20261121;

/** A variant that has components of these states: `name` to size and digest. */
function variantOf(
  states: Readonly<Record<string, readonly [number, string]>>,
  previous?: PlanRecord,
): Variant {
  const digests = new Map(Object.entries(states).map(([id, [, digest]]) => [id, digest]));
  const items = Object.entries(states).map(
    ([id, [size]]): PlanItem => ({ id, size, tarSize: size * 2, rate: 50_000 }),
  );
  const past = previous && findHomes(previous, digests);
  const observed = past ? observe(past, digests) : NOTHING_OBSERVED;
  return {
    items: rememberItems(items, digests, past, observed),
    recollection: { digests, past, shares: [], observed },
  };
}

/** The record of a variant that was built by `plan`. */
function recordOf(plan: Plan, { recollection: { digests, observed } }: Variant): PlanRecord {
  const [all] = recordDigests(digests, observed).layers;
  const layers = plan.layers.map(({ components }) => ({
    fingerprint: '',
    components: new Map(
      components.map((id) => [id, all?.components.get(id) ?? { digest: '', changes: 0 }] as const),
    ),
  }));
  return { observed: observed.updates, layers };
}

const MB = 1_000_000;
const groups = (plan: Plan | undefined): string[] =>
  (plan?.layers ?? []).map(({ components }) => components.join(' ')).sort();

test('what variants share lies in layers of its own, what is of one alone in others', () => {
  const shared = { base1: [5 * MB, 'x'], base2: [3 * MB, 'x'] } as const;
  const [a, b] = planTogether(
    [
      variantOf({ ...shared, tools: [MB, 'x'] }),
      variantOf({ ...shared, drivers: [MB, 'x'], base2: [3 * MB, 'other'] }),
    ],
    { maxLayers: 2 },
  );
  assert.deepEqual(groups(a), ['base1', 'base2 tools']);
  assert.deepEqual(groups(b), ['base1', 'base2 drivers']);
});

test('what is hardly worth sharing is not shared', () => {
  const [a, b] = planTogether(
    [
      variantOf({ big: [MB, 'a'], small: [100, 'x'] }),
      variantOf({ big: [MB, 'b'], small: [100, 'x'] }),
    ],
    { maxLayers: 1 },
  );
  assert.deepEqual([groups(a), groups(b)], [['big small'], ['big small']]);
});

/** Up to four variants over the same names, each in one of three states or absent. */
const variants = fc
  .array(
    fc.dictionary(
      fc.constantFrom(...'abcdefghijkl'),
      fc.tuple(fc.integer({ min: 100, max: 3 * MB }), fc.constantFrom('x', 'y', 'z')),
      { minKeys: 1 },
    ),
    { minLength: 1, maxLength: 4 },
  )
  // The size is a function of the state, as content decides both.
  .map((all) =>
    all.map((states) =>
      Object.fromEntries(
        Object.entries(states).map(([id, [, digest]]) => [
          id,
          [100_000 * (id.charCodeAt(0) - 96) + digest.charCodeAt(0), digest] as const,
        ]),
      ),
    ),
  );

test('every variant has each of its components once, and no more layers than it may', () => {
  fc.assert(
    fc.property(variants, fc.integer({ min: 1, max: 9 }), (states, maxLayers) => {
      const plans = planTogether(
        states.map((one) => variantOf(one)),
        { maxLayers },
      );
      states.forEach((one, i) => {
        const layers = plans[i]?.layers ?? [];
        assert.ok(layers.length <= maxLayers, `${layers.length} layers, want ${maxLayers}`);
        assert.deepEqual(
          layers.flatMap(({ components }) => [...components]).sort(),
          Object.keys(one).sort(),
        );
      });
    }),
    { seed: SEED, numRuns: 200 },
  );
});

test('planning the same variants again with what they recorded changes nothing', () => {
  fc.assert(
    fc.property(variants, fc.integer({ min: 1, max: 9 }), (states, maxLayers) => {
      const first = states.map((one) => variantOf(one));
      const plans = planTogether(first, { maxLayers });
      const records = plans.map((one, i) => recordOf(one, first[i] as Variant));
      const again = planTogether(
        states.map((one, i) => variantOf(one, records[i])),
        { maxLayers },
      );
      assert.deepEqual(
        again.map(({ layers }) => layers.map(({ components }) => components)),
        plans.map(({ layers }) => layers.map(({ components }) => components)),
      );
    }),
    { seed: SEED, numRuns: 200 },
  );
});

test('a variant that is new, named first, does not make the others forget their plan', () => {
  const states = { a: [5 * MB, 'x'], b: [3 * MB, 'x'], c: [MB, 'x'] } as const;
  const component = { digest: 'x', changes: 0 };
  const previous: PlanRecord = {
    observed: 0,
    layers: [['a', 'c'], ['b']].map((ids) => ({
      fingerprint: '',
      components: new Map(ids.map((id) => [id, component] as const)),
    })),
  };
  const plans = planTogether([variantOf(states), variantOf(states, previous)], { maxLayers: 3 });
  for (const one of plans) assert.deepEqual(groups(one), ['a c', 'b']);
});

test('layers are taken where merging costs least, and only from classes of crowded variants', () => {
  const layer = (size: number, changes: number): { size: number; changes: number } => ({
    size,
    changes,
  });
  const cold = Array.from({ length: 4 }, () => layer(1000, 10));
  const hot = Array.from({ length: 4 }, () => layer(1_000_000, 500_000));
  const counts = allot(
    [
      { variants: [0, 1], layers: cold },
      { variants: [0], layers: hot },
      { variants: [1], layers: cold },
    ],
    2,
    6,
  );
  assert.deepEqual(counts[1], 4);
  assert.ok((counts[0] as number) + 4 <= 6 && (counts[0] as number) + (counts[2] as number) <= 6);
});

test.run();
