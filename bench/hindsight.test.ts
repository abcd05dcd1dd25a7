import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { hindsight, pastOf } from './hindsight.ts';
import { boundBelow, componentFloor } from './hindsightbound.ts';
import { type ComponentFacts, loadSeries, type Release } from './series/series.ts';

const SEED = 20261121;

function stateOf(id: string, compressedSize: number): ComponentFacts {
  return { id, kind: 'package', files: [], size: compressedSize, compressedSize, changedSize: 0 };
}

/** Releases of components with the sizes given for each release; a repeated size is an unchanged component, 0 is absence. */
function releasesOf(rows: readonly (readonly number[])[]): Release[] {
  const states = rows.map((sizes, i) => {
    let last: ComponentFacts | undefined;
    return sizes.map((size) => {
      if (size === 0) last = undefined;
      else if (last?.compressedSize !== size) last = stateOf(`c${i}`, size);
      return last;
    });
  });
  return (rows[0] ?? []).map((_, t) => ({
    name: `${t}`,
    date: t * 86_400,
    components: new Map(
      states.flatMap((row) => {
        const state = row[t];
        return state ? [[state.id, state] as const] : [];
      }),
    ),
  }));
}

/** Bytes that each update pulls of a partition, by comparing releases. */
function pulledBy(releases: readonly Release[], layers: readonly (readonly string[])[]): number[] {
  return releases.slice(1).map((release, t) => {
    const before = releases[t]?.components;
    return layers
      .filter((ids) => ids.some((id) => before?.get(id) !== release.components.get(id)))
      .flat()
      .reduce((sum, id) => sum + (release.components.get(id)?.compressedSize ?? 0), 0);
  });
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** The least that any partition into at most `most` layers pulls. */
function leastPulled(releases: readonly Release[], most: number): number {
  const ids = pastOf(releases).map(({ id }) => id);
  let best = Number.POSITIVE_INFINITY;
  const put = (i: number, layers: string[][]): void => {
    const id = ids[i];
    if (id === undefined) {
      best = Math.min(best, sum(pulledBy(releases, layers)));
      return;
    }
    for (const layer of layers) {
      layer.push(id);
      put(i + 1, layers);
      layer.pop();
    }
    if (layers.length < most) put(i + 1, [...layers, [id]]);
  };
  put(0, []);
  return best;
}

const rows = fc
  .tuple(fc.integer({ min: 2, max: 7 }), fc.integer({ min: 2, max: 6 }))
  .chain(([components, releases]) =>
    fc.array(
      fc.array(fc.constantFrom(0, 100, 100, 100, 130, 130, 900, 901), {
        minLength: releases,
        maxLength: releases,
      }),
      { minLength: components, maxLength: components },
    ),
  );

test('on small series hindsight finds a best partition, and the bound is not above it', () => {
  let exact = 0;
  let runs = 0;
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 4 }), (sizes, most) => {
      const releases = releasesOf(sizes);
      const { layers, updates, bound } = hindsight(releases, most);
      assert.ok(layers.length <= most);
      assert.deepEqual(updates, pulledBy(releases, layers));
      const best = leastPulled(releases, most);
      assert.ok(sum(updates) <= best * 1.06, `found ${sum(updates)}, best ${best}`);
      assert.ok(bound * updates.length <= best + 1e-6, `bound ${bound}, best ${best}`);
      exact += Number(sum(updates) === best);
      runs++;
    }),
    { seed: SEED, numRuns: 150 },
  );
  assert.ok(exact >= runs * 0.95, `${exact} of ${runs} are a best partition`);
});

test('every component that ever occurs is in one layer', () => {
  const releases = releasesOf([
    [5, 5, 0],
    [0, 7, 7],
    [9, 9, 9],
  ]);
  const { layers } = hindsight(releases, 2);
  assert.deepEqual(layers.flat().sort(), ['c0', 'c1', 'c2']);
});

test('what changes together costs nothing more than each changed component once', () => {
  const releases = releasesOf([
    [10, 11, 11],
    [20, 21, 21],
    [30, 30, 31],
    [40, 40, 40],
  ]);
  const { layers, updates, bound } = hindsight(releases, 3);
  assert.deepEqual(layers.map((ids) => ids.join(' ')).sort(), ['c0 c1', 'c2', 'c3']);
  assert.deepEqual(updates, [32, 31]);
  assert.equal(bound, 31.5);
});

test('the bound is above each changed component once where layers are too few', () => {
  // Eight components of 100 that change in one update each: of three layers, two hold three and one holds two.
  const releases = releasesOf(
    Array.from({ length: 8 }, (_, i) => Array.from({ length: 9 }, (_, t) => (t > i ? 101 : 100))),
  );
  const past = pastOf(releases);
  const best = 3 * 3 * 3 * 100 - 5 * 100;
  assert.equal(componentFloor(past), 808);
  const bound = boundBelow(past, 3);
  assert.ok(bound > 2000 && bound <= best + 100, `${bound}`);
});

test('on a year of a real series hindsight is within three per cent of the bound at 64 layers', async () => {
  const releases = await loadSeries('debian');
  const { updates, bound, layers } = hindsight(releases, 64);
  assert.ok(layers.length <= 64);
  const mean = sum(updates) / updates.length;
  assert.ok(mean >= bound && mean <= bound * 1.03, `${mean}, bound ${bound}`);
});

test.run();
