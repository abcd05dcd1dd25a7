/**
 * The planner: components into at most N layers so that an update pulls few bytes.
 *
 * The expected bytes of an update are `Σ bytes(L) × P(L changes)` over the layers, plus a fixed cost for each layer. Where
 * components change independently with rates λ, a layer changes with `P = 1 − exp(−Σλ)`. For small rates that is a sum of
 * products of sums, and good groups lie next to each other when components are sorted by rate for each byte (large and cold
 * at one end, small and hot at the other); where rates are high, sorting by rate alone is better. So both rows are cut by
 * dynamic programming, the better result is taken, and single components are moved while that saves anything.
 *
 * Pure and deterministic: no I/O, no clock, no randomness, integer rates and sizes, and only IEEE-exact arithmetic (+ − × ÷),
 * so that every machine gives the same plan.
 */
import type { ComponentKind } from './components.ts';

/** What the planner knows of a component. */
export interface PlanItem {
  readonly id: string;
  /** Estimated compressed bytes. */
  readonly size: number;
  /** Bytes of uncompressed tar: never less than the blob, so that a bound on it holds for the blob. */
  readonly tarSize: number;
  /** Expected changes in a million updates. */
  readonly rate: number;
}

/** One planned layer: the components in it, and what the planner expects of it. */
export interface PlannedLayer {
  /** Component ids, sorted. */
  readonly components: readonly string[];
  /** Estimated compressed bytes. */
  readonly size: number;
  /** Bytes of uncompressed tar, without parent directories. */
  readonly tarSize: number;
  /** Probability that an update changes it, in millionths. */
  readonly changes: number;
}

/** Layers from most to least stable. */
export interface Plan {
  readonly layers: readonly PlannedLayer[];
  /** Expected compressed bytes that one update pulls. */
  readonly updateBytes: number;
}

/** Bounds of a plan. */
export interface PlanOptions {
  /** Most layers; default {@link DEFAULT_MAX_LAYERS}. */
  readonly maxLayers?: number | undefined;
  /** Most bytes of uncompressed tar in a layer; a component that is larger alone gets a layer of its own. Default: no bound. */
  readonly maxLayerSize?: number | undefined;
}

/** Leaves room for layers that others put on top: Docker's overlay2 stops at 127. */
export const DEFAULT_MAX_LAYERS = 100;
/** What a layer costs by being there (a request, manifest and config entries, a mount), in bytes pulled per update. */
const LAYER_COST = 2048;
/** What a byte above the layer size limit costs: more than it can ever save, but finite, so that the search has a slope. */
const EXCESS_COST = 1024;
/** Rates and probabilities are in millionths. */
const MILLION = 1_000_000;

/** `1 − exp(−x)` by IEEE-exact arithmetic only: the series on `x / 2^k`, then squared k times. Relative error < 1e-12. */
export function changeProbability(x: number): number {
  if (x <= 0) return 0;
  if (x > 40) return 1;
  let halvings = 0;
  let small = x;
  while (small > 1 / 16) {
    small /= 2;
    halvings++;
  }
  // y = exp(-small) - 1, by Horner's scheme on ten terms.
  let y = 0;
  for (let n = 10; n >= 1; n--) y = (-small / n) * (1 + y);
  // exp(2a) - 1 = (exp(a) - 1) × (exp(a) - 1 + 2) keeps the precision for small values.
  for (let i = 0; i < halvings; i++) y = y * (y + 2);
  return -y;
}

/** Sums over the sorted row, so that any stretch costs one subtraction. */
interface Row {
  readonly items: readonly PlanItem[];
  readonly sizes: Float64Array;
  readonly tarSizes: Float64Array;
  readonly rates: Float64Array;
  readonly maxLayerSize: number;
}

type Order = (a: PlanItem, b: PlanItem) => number;

const byId: Order = (a, b) => (a.id < b.id ? -1 : 1);
const byRate: Order = (a, b) => a.rate - b.rate || b.size - a.size || byId(a, b);
/** By rate for each byte, compared without division. */
const byDensity: Order = (a, b) =>
  a.rate * b.size - b.rate * a.size || b.size - a.size || byId(a, b);

function sortRow(items: readonly PlanItem[], order: Order, maxLayerSize: number): Row {
  const sorted = [...items].sort(order);
  const sizes = new Float64Array(sorted.length + 1);
  const tarSizes = new Float64Array(sorted.length + 1);
  const rates = new Float64Array(sorted.length + 1);
  sorted.forEach((item, i) => {
    tarSizes[i + 1] = (tarSizes[i] as number) + item.tarSize;
    sizes[i + 1] = (sizes[i] as number) + item.size;
    rates[i + 1] = (rates[i] as number) + item.rate;
  });
  return { items: sorted, sizes, tarSizes, rates, maxLayerSize };
}

/** Expected bytes per update of one layer that holds items `from` to `to` (exclusive). */
function stretchCost(row: Row, from: number, to: number): number {
  const size = (row.sizes[to] as number) - (row.sizes[from] as number);
  const rate = (row.rates[to] as number) - (row.rates[from] as number);
  const tarSize = (row.tarSizes[to] as number) - (row.tarSizes[from] as number);
  return layerCost(size, rate, to - from > 1 ? tarSize - row.maxLayerSize : 0);
}

/** Expected bytes per update of a layer of `size` compressed bytes, with `excess` tar bytes above the limit. */
function layerCost(size: number, rate: number, excess: number): number {
  return size * changeProbability(rate / MILLION) + LAYER_COST + Math.max(0, excess) * EXCESS_COST;
}

/**
 * Best cuts of the row into 1 … `most` stretches: `cuts[k][i]` is where the last of k stretches over the first i items
 * begins. Each round uses that the best cut moves right with i (divide and conquer: O(n log n) a round).
 */
function cutRow(row: Row, most: number): { cuts: Int32Array[]; costs: number[] } {
  const n = row.items.length;
  const cuts: Int32Array[] = [];
  const costs: number[] = [];
  let best: Float64Array = Float64Array.from({ length: n + 1 }, (_, i) =>
    i === 0 ? 0 : stretchCost(row, 0, i),
  );
  cuts.push(new Int32Array(n + 1));
  costs.push(best[n] as number);
  for (let k = 2; k <= most; k++) {
    const next = new Float64Array(n + 1).fill(Number.POSITIVE_INFINITY);
    const cut = new Int32Array(n + 1);
    const solve = (low: number, high: number, from: number, to: number): void => {
      if (low > high) return;
      const mid = (low + high) >> 1;
      let at = from;
      let cost = Number.POSITIVE_INFINITY;
      for (let j = Math.max(from, k - 1); j <= Math.min(to, mid - 1); j++) {
        const candidate = (best[j] as number) + stretchCost(row, j, mid);
        if (candidate < cost) {
          cost = candidate;
          at = j;
        }
      }
      next[mid] = cost;
      cut[mid] = at;
      solve(low, mid - 1, from, at);
      solve(mid + 1, high, at, to);
    };
    solve(k, n, k - 1, n - 1);
    cuts.push(cut);
    costs.push(next[n] as number);
    best = next;
  }
  return { cuts, costs };
}

/** The row cut into at most `most` layers, as lists of items. */
function cutGroups(row: Row, most: number): PlanItem[][] {
  const { cuts, costs } = cutRow(row, most);
  let k = 1;
  costs.forEach((cost, i) => {
    if (cost < (costs[k - 1] as number)) k = i + 1;
  });
  const groups: PlanItem[][] = [];
  for (let end = row.items.length; k > 0; k--) {
    const start = k === 1 ? 0 : (cuts[k - 1]?.[end] as number);
    groups.unshift(row.items.slice(start, end));
    end = start;
  }
  return groups;
}

/** A layer while the search goes on. */
class Group {
  readonly items: Set<PlanItem>;
  size = 0;
  tarSize = 0;
  rate = 0;
  cost = 0;

  constructor(items: readonly PlanItem[], maxLayerSize: number) {
    this.items = new Set(items);
    for (const item of items) this.#count(item, 1);
    this.cost = this.costWith(undefined, 1, maxLayerSize);
  }

  #count(item: PlanItem, sign: 1 | -1): void {
    this.size += sign * item.size;
    this.tarSize += sign * item.tarSize;
    this.rate += sign * item.rate;
  }

  /** What the group would cost with `item` added (`sign` 1) or taken out (-1). */
  costWith(item: PlanItem | undefined, sign: 1 | -1, maxLayerSize: number): number {
    const count = this.items.size + (item ? sign : 0);
    if (count === 0) return 0;
    const change = item ?? { size: 0, tarSize: 0, rate: 0 };
    return layerCost(
      this.size + sign * change.size,
      this.rate + sign * change.rate,
      count > 1 ? this.tarSize + sign * change.tarSize - maxLayerSize : 0,
    );
  }

  add(item: PlanItem, maxLayerSize: number): void {
    this.items.add(item);
    this.#count(item, 1);
    this.cost = this.costWith(undefined, 1, maxLayerSize);
  }

  remove(item: PlanItem, maxLayerSize: number): void {
    this.items.delete(item);
    this.#count(item, -1);
    this.cost = this.costWith(undefined, 1, maxLayerSize);
  }
}

/** Rounds over all components in which single ones are moved; later rounds find next to nothing. */
const IMPROVE_ROUNDS = 8;

/** Moves single components to where they cost less, the first best place each, until nothing is saved any more. */
function improve(groups: readonly Group[], items: readonly PlanItem[], maxLayerSize: number): void {
  const home = new Map<PlanItem, Group>();
  for (const group of groups) for (const item of group.items) home.set(item, group);
  for (let round = 0; round < IMPROVE_ROUNDS; round++) {
    let moved = false;
    for (const item of items) {
      const from = home.get(item) as Group;
      const saved = from.cost - from.costWith(item, -1, maxLayerSize);
      let best: Group | undefined;
      let least = saved * (1 - 1e-9);
      for (const group of groups) {
        if (group === from) continue;
        const added = group.costWith(item, 1, maxLayerSize) - group.cost;
        if (added < least) {
          least = added;
          best = group;
        }
      }
      if (!best) continue;
      from.remove(item, maxLayerSize);
      best.add(item, maxLayerSize);
      home.set(item, best);
      moved = true;
    }
    if (!moved) return;
  }
}

function totalCost(groups: readonly Group[]): number {
  return groups.reduce((sum, group) => sum + group.cost, 0);
}

/** Groups `items` into layers; every item is in exactly one. The order of `items` does not matter. */
export function plan(items: readonly PlanItem[], options: PlanOptions = {}): Plan {
  if (items.length === 0) return { layers: [], updateBytes: 0 };
  const limit = options.maxLayerSize ?? Number.MAX_SAFE_INTEGER;
  const most = Math.min(options.maxLayers ?? DEFAULT_MAX_LAYERS, items.length);
  const candidates = [byDensity, byRate].map((order) => {
    const row = sortRow(items, order, limit);
    const groups = cutGroups(row, most).map((group) => new Group(group, limit));
    // Empty places let a component leave for a layer of its own.
    while (groups.length < most) groups.push(new Group([], limit));
    improve(groups, row.items, limit);
    return groups;
  });
  const [first, second] = candidates as [Group[], Group[]];
  const chosen = totalCost(second) < totalCost(first) ? second : first;
  const layers = chosen.filter((group) => group.items.size > 0).map(describe);
  layers.sort((a, b) => a.changes - b.changes || (idOf(a) < idOf(b) ? -1 : 1));
  const updateBytes = layers.reduce(
    (sum, { size, changes }) => sum + (size * changes) / MILLION,
    0,
  );
  return { layers, updateBytes: Math.round(updateBytes) };
}

function idOf(layer: PlannedLayer): string {
  return layer.components[0] ?? '';
}

function describe(group: Group): PlannedLayer {
  return {
    components: [...group.items].map(({ id }) => id).sort(),
    size: group.size,
    tarSize: group.tarSize,
    changes: Math.round(changeProbability(group.rate / MILLION) * MILLION),
  };
}

/** Seconds of a week, the update that rates refer to. */
const WEEK_SECONDS = 7 * 86_400;
/** How far back changes are counted, seconds: distributions keep one to two years of changelog. */
const WINDOW_SECONDS = 365 * 86_400;
/** Changes less than this apart count once, seconds: one update brings them together. */
const MERGE_SECONDS = WEEK_SECONDS;
/** Weight of the prior, in weeks of observation. */
const PRIOR_WEEKS = 8;

/** Expected changes in a million weekly updates, by kind, before anything was observed. Chosen by hand, judged in bench/. */
export const PRIOR_RATE: Readonly<Record<ComponentKind, number>> = {
  package: 40_000,
  language: 50_000,
  user: 140_000,
  kernel: 300_000,
  initramfs: 600_000,
  database: 950_000,
  generated: 500_000,
  config: 200_000,
  application: 700_000,
  large: 150_000,
  directories: 50_000,
  rest: 500_000,
};

/** What a rate is computed from. */
export interface RateEvidence {
  readonly kind: ComponentKind;
  readonly changeTimes?: readonly number[] | undefined;
  readonly updateIntervalDays?: number | undefined;
}

/**
 * Expected changes of a component in a million weekly updates: what the user stated, else the changes within a year before
 * `now` mixed with the kind's prior. `now` is in seconds, the newest change in the image, never the wall clock.
 */
export function changeRate(evidence: RateEvidence, now: number): number {
  if (evidence.updateIntervalDays !== undefined) {
    return Math.round((MILLION * 7) / Math.max(1, evidence.updateIntervalDays));
  }
  const prior = PRIOR_RATE[evidence.kind];
  const times = (evidence.changeTimes ?? []).filter((time) => time <= now).sort((a, b) => b - a);
  if (times.length === 0) return prior;
  let count = 0;
  let last = Number.POSITIVE_INFINITY;
  for (const time of times) {
    if (time < now - WINDOW_SECONDS) break;
    if (last - time >= MERGE_SECONDS) count++;
    last = time;
  }
  const weeks = observedWeeks(times, now);
  return Math.round((count * MILLION + prior * PRIOR_WEEKS) / (weeks + PRIOR_WEEKS));
}

/** Weeks that the recorded changes cover: a single build date says only "not changed since". */
function observedWeeks(times: readonly number[], now: number): number {
  const oldest = times.at(-1) as number;
  return Math.min(WINDOW_SECONDS, Math.max(0, now - oldest)) / WEEK_SECONDS;
}
