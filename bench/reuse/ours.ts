/** Our planner on a series of releases, with as much memory as `build` has: the only place where the bench calls `plan()`. */
import { type PlanItem, plan } from '../../rechunk/plan.ts';
import { changeRate } from '../../rechunk/rate.ts';
import type { Release } from '../series/series.ts';
import { layersOf, type PackerMaker, type Packing } from './layers.ts';

/** Updates that a plan looks back on. */
const OBSERVED_UPDATES = 30;

/** What is remembered: nothing, the last plan, or also which components changed in each of the last updates. */
export type Memory = 'nothing' | 'plan' | 'history';

/** The release that was packed last, and how. */
interface Last {
  readonly release: Release;
  readonly packing: Packing;
}

function itemsOf(release: Release): PlanItem[] {
  return [...release.components].map(([id, facts]) => ({
    id,
    size: facts.compressedSize,
    tarSize: facts.size,
    rate: changeRate(facts, release.date),
  }));
}

/** In which of the last updates each component changed, counted from the first that is remembered. */
class History {
  readonly #updates: ReadonlySet<string>[] = [];

  add(before: Release, after: Release): void {
    const changed = [...after.components.values()].filter(
      (state) => before.components.get(state.id) !== state,
    );
    this.#updates.push(new Set(changed.map(({ id }) => id)));
    if (this.#updates.length > OBSERVED_UPDATES) this.#updates.shift();
  }

  get observed(): number {
    return this.#updates.length;
  }

  eventsOf(id: string): number[] {
    return this.#updates.flatMap((update, i) => (update.has(id) ? [i] : []));
  }
}

function packContinuing(
  release: Release,
  maxLayers: number,
  last: Last,
  history: History,
): Packing {
  const home = new Map(last.packing.flatMap((layer, i) => layer.map(({ id }) => [id, i] as const)));
  const items = itemsOf(release).map((item) => ({
    ...item,
    events: history.eventsOf(item.id),
    previous: home.get(item.id),
    changed: last.release.components.get(item.id) !== release.components.get(item.id),
  }));
  const { layers } = plan(items, {
    maxLayers,
    observed: history.observed,
    previousLayers: last.packing.map((layer) => layer.length),
  });
  return layersOf(
    release,
    layers.map(({ components }) => components),
  );
}

function packFresh(release: Release, maxLayers: number): Packing {
  const { layers } = plan(itemsOf(release), { maxLayers });
  return layersOf(
    release,
    layers.map(({ components }) => components),
  );
}

/** Packs as `build` does with this much memory. */
export function packOurs(memory: Memory): PackerMaker {
  return (maxLayers) => {
    let last: Last | undefined;
    const history = new History();
    return (release) => {
      if (last && memory === 'history') history.add(last.release, release);
      const packing = last
        ? packContinuing(release, maxLayers, last, history)
        : packFresh(release, maxLayers);
      if (memory !== 'nothing') last = { release, packing };
      return packing;
    };
  };
}
