import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { type PlanItem, type PlannedLayer, plan } from './plan.ts';
import { changeProbability, hazardOf } from './planner/chance.ts';

const SEED = 20261121;

function item(id: string, size: number, rate: number): PlanItem {
  return { id, size, tarSize: size * 3, rate };
}

const items = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 5_000_000 }), fc.integer({ min: 0, max: 1_000_000 })), {
    minLength: 1,
    maxLength: 9,
  })
  .map((pairs) => pairs.map(([size, rate], i) => item(`c${i}`, size, rate)));

const LAYER_COST = 2048;

/** The chance that none of `group` changes, in the plainest way. */
function survival(group: readonly PlanItem[]): number {
  return group.reduce((product, { rate }) => product * (1 - Math.min(rate / 1e6, 0.98)), 1);
}

function cost(groups: readonly (readonly PlanItem[])[]): number {
  return groups.reduce((sum, group) => {
    const size = group.reduce((total, { size }) => total + size, 0);
    return sum + size * (1 - survival(group)) + LAYER_COST;
  }, 0);
}

/** The least that any partition into at most `most` groups costs. */
function leastCost(
  all: readonly PlanItem[],
  most: number,
  cost: (groups: readonly PlanItem[][]) => number,
): number {
  let best = Number.POSITIVE_INFINITY;
  const place = (i: number, groups: PlanItem[][]): void => {
    const next = all[i];
    if (!next) {
      best = Math.min(best, cost(groups));
      return;
    }
    for (const group of groups) {
      group.push(next);
      place(i + 1, groups);
      group.pop();
    }
    if (groups.length < most) {
      groups.push([next]);
      place(i + 1, groups);
      groups.pop();
    }
  };
  place(0, []);
  return best;
}

function groupsOf(layers: readonly PlannedLayer[], all: readonly PlanItem[]): PlanItem[][] {
  return layers.map((layer) =>
    layer.components.map((id) => all.find((one) => one.id === id) as PlanItem),
  );
}

test('1 - exp(-x) is exact to twelve digits', () => {
  for (const x of [1e-9, 1e-6, 0.001, 0.05, 0.0625, 0.5, 1, 3, 12, 39]) {
    const want = -Math.expm1(-x);
    assert.ok(Math.abs(changeProbability(x) - want) <= 1e-12 * want, `x = ${x}`);
  }
  assert.equal(changeProbability(0), 0);
  assert.equal(changeProbability(1000), 1);
});

test('-ln(1 - p) is exact to twelve digits, up to a limit', () => {
  for (const p of [1e-6, 0.001, 0.05, 0.29, 0.3, 0.5, 0.7, 0.95, 0.98]) {
    const want = -Math.log1p(-p);
    assert.ok(Math.abs(hazardOf(p) - want) <= 1e-12 * Math.max(want, 1e-3), `p = ${p}`);
  }
  assert.equal(hazardOf(0), 0);
  assert.equal(hazardOf(1), hazardOf(0.98));
});

test('every component is in exactly one layer, and there are no more layers than allowed', () => {
  fc.assert(
    fc.property(items, fc.integer({ min: 1, max: 12 }), (all, maxLayers) => {
      const { layers } = plan(all, { maxLayers });
      assert.ok(layers.length <= maxLayers);
      assert.ok(layers.every((layer) => layer.components.length > 0));
      const placed = layers.flatMap((layer) => layer.components).sort();
      assert.deepEqual(placed, all.map(({ id }) => id).sort());
    }),
    { seed: SEED },
  );
});

test('the plan does not depend on the order of the components', () => {
  fc.assert(
    fc.property(items, fc.integer(), (all, salt) => {
      const shuffled = [...all].sort(
        (a, b) => ((a.size * 31 + salt) % 97) - ((b.size * 31 + salt) % 97),
      );
      assert.deepEqual(plan(shuffled, { maxLayers: 4 }), plan(all, { maxLayers: 4 }));
    }),
    { seed: SEED },
  );
});

test('small plans cost at most five per cent more than the best of all partitions', () => {
  fc.assert(
    fc.property(items, fc.integer({ min: 1, max: 5 }), (all, maxLayers) => {
      const found = cost(groupsOf(plan(all, { maxLayers }).layers, all));
      const best = leastCost(all, maxLayers, cost);
      assert.ok(found <= best * 1.05 + 1, `found ${found}, best ${best}`);
    }),
    { seed: SEED, numRuns: 200 },
  );
});

/** All orders of `values`. */
function ordersOf<T>(values: readonly T[]): T[][] {
  if (values.length < 2) return [[...values]];
  return values.flatMap((first, i) =>
    ordersOf(values.filter((_, j) => j !== i)).map((rest) => [first, ...rest]),
  );
}

/** Bytes that an update is expected to pull where every layer above a changed one is pulled again. */
function chainCost(layers: readonly PlannedLayer[]): number {
  let unchanged = 1;
  return layers.reduce((sum, { size, changes }) => {
    unchanged *= 1 - changes / 1e6;
    return sum + size * (1 - unchanged);
  }, 0);
}

test('layers lie in the order in which chains pull least', () => {
  fc.assert(
    fc.property(items, fc.integer({ min: 1, max: 6 }), (all, maxLayers) => {
      const { layers } = plan(all, { maxLayers });
      const best = Math.min(...ordersOf(layers).map(chainCost));
      assert.ok(chainCost(layers) <= best * (1 + 1e-4) + 1);
    }),
    { seed: SEED, numRuns: 60 },
  );
});

test('of layers of one size the most stable lie lowest', () => {
  const all = Array.from({ length: 60 }, (_, i) => item(`c${i}`, 1_000_000, (i * 7919) % 900_000));
  const { layers } = plan(all, { maxLayers: 60 });
  assert.deepEqual(
    layers,
    [...layers].sort((a, b) => a.changes - b.changes),
  );
});

test('layers below the first that changes keep their order, whatever was learnt', () => {
  const first = plan(many, { maxLayers: 40 });
  const changed = first.layers[20]?.components[0] as string;
  const { items: next, previousLayers } = remember(many, first.layers, new Set([changed]));
  const learnt = next.map((one, i) => ({ ...one, rate: one.rate + (i % 7) * 5000 }));
  const { layers } = plan(learnt, { maxLayers: 40, observed: 2, previousLayers });
  const lowest = layers.slice(0, 20).map(({ kept }) => kept);
  assert.deepEqual(
    lowest,
    Array.from({ length: 20 }, (_, i) => i),
  );
});

test('a layer size limit is kept wherever components are small enough', () => {
  const all = Array.from({ length: 40 }, (_, i) => item(`c${i}`, 1_000_000, 10_000));
  const { layers } = plan(all, { maxLayers: 20, maxLayerSize: 7_000_000 });
  assert.ok(layers.every((layer) => layer.tarSize <= 7_000_000));
});

test('five thousand components are planned within a few seconds', () => {
  const all = Array.from({ length: 5000 }, (_, i) =>
    item(`c${i}`, 1000 + ((i * 7907) % 900_000), (i * 104_729) % 1_000_000),
  );
  const { layers } = plan(all, { maxLayers: 120 });
  assert.equal(layers.length, 120);
});

test('an empty image has an empty plan', () => {
  assert.deepEqual(plan([]), { layers: [], updateBytes: 0, pullBytes: 0 });
});

/** Items that were observed over `updates` updates. */
const observedItems = fc
  .array(
    fc.record({
      size: fc.integer({ min: 1, max: 5_000_000 }),
      rate: fc.integer({ min: 0, max: 1_000_000 }),
      events: fc.uniqueArray(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
    }),
    { minLength: 1, maxLength: 8 },
  )
  .map((all) =>
    all.map(({ size, rate, events }, i) => ({
      ...item(`c${i}`, size, rate),
      events: events.sort((a, b) => a - b),
    })),
  );

/** What groups cost over the horizon, computed in the plainest way. */
function observedCost(
  groups: readonly (readonly PlanItem[])[],
  observed: number,
  kept: (group: readonly PlanItem[]) => boolean,
): number {
  const [horizon, priorUpdates] = [5, 3];
  const total = observed + priorUpdates;
  return groups.reduce((sum, group) => {
    const size = group.reduce((total, { size }) => total + size, 0);
    const seen = new Set(group.flatMap(({ events }) => events ?? [])).size;
    const probability = 1 - survival(group) ** (priorUpdates / total) * (1 - seen / total);
    return sum + horizon * (size * probability + LAYER_COST) + (kept(group) ? 0 : size);
  }, 0);
}

test('with observed updates, plans cost at most eight per cent more than the best of all partitions', () => {
  fc.assert(
    fc.property(observedItems, fc.integer({ min: 1, max: 4 }), (all, maxLayers) => {
      const cost = (groups: readonly PlanItem[][]): number => observedCost(groups, 6, () => false);
      const found = cost(groupsOf(plan(all, { maxLayers, observed: 6 }).layers, all));
      const best = leastCost(all, maxLayers, cost);
      assert.ok(found <= best * 1.08 + 1, `found ${found}, best ${best}`);
    }),
    { seed: SEED, numRuns: 150, endOnFailure: true },
  );
});

/** The items of `layers` as the next build sees them: where each was, and which changed. */
function remember(
  all: readonly PlanItem[],
  layers: readonly PlannedLayer[],
  changed: ReadonlySet<string> = new Set(),
): { items: PlanItem[]; previousLayers: number[] } {
  const home = new Map(
    layers.flatMap(({ components }, i) => components.map((id) => [id, i] as const)),
  );
  const items = all.map((one) => ({
    ...one,
    previous: home.get(one.id),
    changed: changed.has(one.id),
  }));
  return { items, previousLayers: layers.map(({ components }) => components.length) };
}

const members = (layers: readonly PlannedLayer[]): string[] =>
  layers.map(({ components }) => components.join(' ')).sort();

test('planning again with the own result as previous image changes nothing, whatever was observed since', () => {
  fc.assert(
    fc.property(
      observedItems,
      observedItems,
      fc.integer({ min: 1, max: 6 }),
      (all, others, maxLayers) => {
        const first = plan(all, { maxLayers });
        const { items, previousLayers } = remember(all, first.layers);
        const seen = items.map((one, i) => ({
          ...one,
          rate: others[i]?.rate ?? one.rate,
          events: others[i]?.events,
        }));
        const again = plan(seen, { maxLayers, observed: 6, previousLayers });
        assert.deepEqual(members(again.layers), members(first.layers));
        assert.equal(again.pullBytes, 0);
      },
    ),
    { seed: SEED },
  );
});

test('layers without components among the previous image’s change nothing of the order', () => {
  const all = Array.from({ length: 6 }, (_, i) => item(`c${i}`, 50_000 * (i + 1), 100_000));
  const first = plan(all, { maxLayers: 3 }).layers;
  // As they lie, not as they would be sorted.
  const lain = [...first].reverse();
  const { items, previousLayers } = remember(all, lain);
  const shifted = items.map((one) => ({ ...one, previous: (one.previous ?? 0) + 2 }));
  const again = plan(shifted, { maxLayers: 3, previousLayers: [0, 0, ...previousLayers, 0] });
  assert.deepEqual(
    again.layers.map(({ components }) => components),
    lain.map(({ components }) => components),
  );
});

const many = Array.from({ length: 480 }, (_, i) =>
  item(`c${i}`, 20_000 + ((i * 7907) % 900_000), 20_000 + ((i * 104_729) % 200_000)),
);

test('one changed component pulls its own layer and no other', () => {
  const first = plan(many, { maxLayers: 100 });
  const { items, previousLayers } = remember(many, first.layers, new Set(['c77']));
  const again = plan(items, { maxLayers: 100, previousLayers });
  const own = first.layers.find(({ components }) => components.includes('c77'));
  const pulled = again.layers.filter(({ kept }) => kept === undefined);
  assert.deepEqual(pulled.flatMap(({ components }) => components).sort(), own?.components);
  assert.equal(again.pullBytes, own?.size);
});

test('an added component moves nothing else, and a removed one only its own layer', () => {
  const first = plan(many, { maxLayers: 100 });
  const { items, previousLayers } = remember(many, first.layers);
  const added = plan([...items, item('new', 50_000, 40_000)], { maxLayers: 100, previousLayers });
  const pulled = added.layers.filter(({ kept }) => kept === undefined);
  assert.equal(pulled.length, 1);
  assert.ok(pulled[0]?.components.includes('new'));
  const home = new Map(items.map(({ id, previous }) => [id, previous]));
  const rest = pulled[0]?.components.filter((id) => id !== 'new') ?? [];
  assert.ok(new Set(rest.map((id) => home.get(id))).size <= 1);
  const removed = plan(
    items.filter(({ id }) => id !== 'c77'),
    { maxLayers: 100, previousLayers },
  );
  assert.ok(removed.layers.filter(({ kept }) => kept === undefined).length <= 1);
});

test('a layer that few of the clients have is arranged anew where one that all have is not', () => {
  const all = [
    { ...item('cold', 1_000_000, 0), previous: 0, changed: false },
    { ...item('warm', 100_000, 100_000), previous: 0, changed: false },
    { ...item('other', 500_000, 100_000), previous: 1, changed: true },
  ];
  const planned = (share: number): string[] => {
    const options = { maxLayers: 3, previousLayers: [2, 1], previousShares: [share, 1] };
    return members(plan(all, options).layers);
  };
  assert.deepEqual(planned(1), ['cold warm', 'other']);
  assert.deepEqual(planned(0.25), ['cold', 'other', 'warm']);
});

test('ten layers more or less move at most fifteen per cent of the bytes', () => {
  const first = plan(many, { maxLayers: 100 });
  const { items, previousLayers } = remember(many, first.layers);
  const total = many.reduce((sum, { size }) => sum + size, 0);
  for (const maxLayers of [90, 110]) {
    const { layers, pullBytes } = plan(items, { maxLayers, previousLayers });
    assert.ok(layers.length <= maxLayers);
    const had = new Set(members(first.layers));
    const pulled = layers.filter(({ components }) => !had.has(components.join(' ')));
    assert.equal(
      pullBytes,
      pulled.reduce((sum, { size }) => sum + size, 0),
    );
    assert.ok(
      pullBytes <= total * 0.15,
      `${maxLayers}: ${((100 * pullBytes) / total).toFixed(1)} %`,
    );
  }
});

test('a family ends together where nothing else tells its members from others', () => {
  const all = Array.from({ length: 40 }, (_, i) => ({
    ...item(`c${String(i).padStart(2, '0')}`, 100_000, 50_000),
    family: `f${i % 10}`,
  }));
  const { layers } = plan(all, { maxLayers: 10 });
  assert.deepEqual(
    layers.map(({ components }) => new Set(components.map((id) => Number(id.slice(1)) % 10)).size),
    Array(10).fill(1),
  );
});

test('a rate that counts for more updates stands firmer against what was observed', () => {
  const [light, heavy] = [3, 60].map((weight) => {
    const one = { ...item('c', 1_000_000, 100_000), weight, events: [0, 1, 2, 3, 4, 5] };
    return plan([one], { observed: 6 }).layers[0]?.changes ?? 0;
  }) as [number, number];
  assert.ok(light > 600_000 && heavy > 100_000 && heavy < 250_000, `${light}, ${heavy}`);
});

test('what stays apart shares no layer with others, however few layers there are', () => {
  fc.assert(
    fc.property(items, fc.integer({ min: 2, max: 5 }), (all, maxLayers) => {
      const marked = all.map((one, i) => ({ ...one, apart: i % 4 === 1 }));
      const isApart = new Map(marked.map(({ id, apart }) => [id, apart]));
      const first = plan(marked, { maxLayers }).layers;
      const { items: next, previousLayers } = remember(marked, first, new Set(['c1', 'c2']));
      const more = [...next, { ...item('new', 50_000, 40_000), apart: true }];
      const second = plan(more, { maxLayers, previousLayers }).layers;
      isApart.set('new', true);
      for (const { components } of [...first, ...second]) {
        assert.equal(new Set(components.map((id) => isApart.get(id))).size, 1);
      }
    }),
    { seed: SEED },
  );
});

test('components that were seen to change together end together', () => {
  const pairs = Array.from({ length: 40 }, (_, i) => ({
    ...item(`c${String(i).padStart(2, '0')}`, 100_000, 50_000),
    events: [i >> 2, 10 + (i >> 2)],
  }));
  const { layers } = plan(pairs, { maxLayers: 10, observed: 20 });
  assert.deepEqual(
    layers
      .map(({ components }) => components.map((id) => Number(id.slice(1)) >> 2))
      .map((group) => new Set(group).size),
    Array(10).fill(1),
  );
});

test.run();
