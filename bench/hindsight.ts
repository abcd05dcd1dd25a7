/**
 * The plan that hindsight gives: one partition of all components of a series into at most N layers, found by the planner's own
 * search (more rounds, more starts) when it is shown what every update will change; and a bound that no such partition beats
 * (`hindsightbound.ts`).
 *
 * A layer changes in an update when one of its components does: other content, new, or gone. It is then pulled with all bytes
 * that its components have in that release. A component that comes and goes stays in its layer. The first release is not counted.
 */
import { mergeDown, type Place, Search } from '../rechunk/planner/search.ts';
import { boundBelow } from './hindsightbound.ts';
import type { ComponentFacts, Release } from './series/series.ts';

/** What hindsight knows of a component. */
export interface Past {
  readonly id: string;
  /** Compressed bytes in each update's new release; 0 where it is not there. */
  readonly sizes: Float64Array;
  /** The updates that changed it, by number from 0, ascending. */
  readonly events: readonly number[];
}

/** One plan for a whole series. */
export interface Hindsight {
  /** Component ids, sorted, of each layer. */
  readonly layers: readonly (readonly string[])[];
  /** Compressed bytes that each update pulls. */
  readonly updates: readonly number[];
  /** Mean bytes an update that no partition of whole components into so many layers goes below. */
  readonly bound: number;
}

/** What changed when, of every component that ever occurs; sorted by id. */
export function pastOf(releases: readonly Release[]): Past[] {
  const ids = [...new Set(releases.flatMap(({ components }) => [...components.keys()]))].sort();
  return ids.map((id) => {
    const states = releases.map(({ components }) => components.get(id));
    const sizes = Float64Array.from(states.slice(1), (state) => state?.compressedSize ?? 0);
    return { id, sizes, events: eventsOf(states) };
  });
}

function eventsOf(states: readonly (ComponentFacts | undefined)[]): number[] {
  return states.slice(1).flatMap((state, i) => (state === states[i] ? [] : [i]));
}

/** A layer of the hindsight plan while it is searched for: bytes that all updates pull for it. */
class PastGroup implements Place<Past, PastGroup> {
  readonly items: Set<Past> = new Set();
  readonly origin: undefined = undefined;
  readonly #sizes: Float64Array;
  /** How many members change in each update. */
  readonly #changes: Int32Array;
  cost = 0;
  size = 0;

  constructor(updates: number, items: Iterable<Past> = []) {
    this.#sizes = new Float64Array(updates);
    this.#changes = new Int32Array(updates);
    for (const item of items) this.add(item);
  }

  costOfAdding({ sizes, events }: Past): number {
    const changes = this.#changes;
    let cost = 0;
    for (let t = 0; t < sizes.length; t++) if (changes[t] !== 0) cost += sizes[t] as number;
    for (const t of events) {
      if (changes[t] === 0) cost += (this.#sizes[t] as number) + (sizes[t] as number);
    }
    return cost;
  }

  savingOfRemoving({ sizes, events }: Past): number {
    const changes = this.#changes;
    let saving = 0;
    for (let t = 0; t < sizes.length; t++) if (changes[t] !== 0) saving += sizes[t] as number;
    for (const t of events) {
      if (changes[t] === 1) saving += (this.#sizes[t] as number) - (sizes[t] as number);
    }
    return saving;
  }

  costOfMerging(other: PastGroup): number {
    let cost = 0;
    for (let t = 0; t < this.#changes.length; t++) {
      const [here, there] = [this.#changes[t] !== 0, other.#changes[t] !== 0];
      if (there && !here) cost += this.#sizes[t] as number;
      if (here && !there) cost += other.#sizes[t] as number;
    }
    return cost;
  }

  add(item: Past): void {
    this.cost += this.costOfAdding(item);
    this.items.add(item);
    this.#count(item, 1);
  }

  remove(item: Past): void {
    this.cost -= this.savingOfRemoving(item);
    this.items.delete(item);
    this.#count(item, -1);
  }

  #count({ sizes, events }: Past, sign: 1 | -1): void {
    sizes.forEach((size, t) => {
      this.#sizes[t] = (this.#sizes[t] as number) + sign * size;
      this.size += sign * size;
    });
    for (const t of events) this.#changes[t] = (this.#changes[t] as number) + sign;
  }

  /** Bytes that each update pulls for it. */
  pulls(): number[] {
    return Array.from(this.#sizes, (size, t) => (this.#changes[t] === 0 ? 0 : size));
  }
}

const meanSize = ({ sizes }: Past): number =>
  sizes.reduce((sum, size) => sum + size, 0) / Math.max(1, sizes.length);
const byId = (a: Past, b: Past): number => (a.id < b.id ? -1 : 1);
const byCount = (a: Past, b: Past): number => a.events.length - b.events.length || byId(a, b);
const byDensity = (a: Past, b: Past): number =>
  a.events.length * meanSize(b) - b.events.length * meanSize(a) || byId(a, b);
const byFirst = (a: Past, b: Past): number =>
  (a.events[0] ?? -1) - (b.events[0] ?? -1) || byCount(a, b);

/** Nothing but a gain ends this search. */
const SEARCH = {
  rounds: 1000,
  trades: 2000,
  comparisons: Number.POSITIVE_INFINITY,
  orders: [byDensity, byCount, byFirst],
};

/** Components that change in exactly the same updates, together. */
function bundles(past: readonly Past[]): Past[][] {
  return [...Map.groupBy(past, ({ events }) => events.join(' ')).values()];
}

/** Runs of equal length of a sorted row. */
function runs(past: readonly Past[], count: number, order: (a: Past, b: Past) => number): Past[][] {
  const row = [...past].sort(order);
  return Array.from({ length: count }, (_, i) =>
    row.slice(Math.floor((i * row.length) / count), Math.floor(((i + 1) * row.length) / count)),
  );
}

/** The largest alone, the rest together. */
function largestAlone(past: readonly Past[], count: number): Past[][] {
  const row = [...past].sort(
    (a, b) => b.events.length * meanSize(b) - a.events.length * meanSize(a) || byId(a, b),
  );
  return [...row.slice(0, count - 1).map((one) => [one]), row.slice(count - 1)];
}

function search(past: readonly Past[], layers: number, updates: number): PastGroup[] {
  const grouped = (groups: readonly Past[][]): PastGroup[] =>
    groups.map((group) => new PastGroup(updates, group));
  const starts = [
    mergeDown<Past, PastGroup>(grouped(bundles(past)), layers),
    grouped(largestAlone(past, layers)),
    grouped(runs(past, layers, byDensity)),
    grouped(runs(past, layers, byCount)),
  ];
  const found = starts.map((groups) => {
    while (groups.length < layers) groups.push(new PastGroup(updates));
    new Search(groups, past, SEARCH, () => new PastGroup(updates)).run();
    return groups.filter(({ items }) => items.size > 0);
  });
  const total = (groups: readonly PastGroup[]): number =>
    groups.reduce((sum, { cost }) => sum + cost, 0);
  return found.reduce((best, groups) => (total(groups) < total(best) ? groups : best));
}

/** The best partition of all components of `releases` into at most `layers` layers that the search finds. */
export function hindsight(releases: readonly Release[], layers: number): Hindsight {
  const past = pastOf(releases);
  const updates = Math.max(0, releases.length - 1);
  const groups = search(past, layers, updates);
  const pulls = groups.map((group) => group.pulls());
  return {
    layers: groups.map(({ items }) => [...items].map(({ id }) => id).sort()),
    updates: Array.from({ length: updates }, (_, t) =>
      pulls.reduce((sum, pull) => sum + (pull[t] as number), 0),
    ),
    bound: boundBelow(past, layers) / Math.max(1, updates),
  };
}
