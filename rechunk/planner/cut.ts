/**
 * A first grouping: components in a row, cut where it costs least, by dynamic programming.
 *
 * For small rates a layer costs its bytes times its rate, a product of sums, and good groups lie next to each other when
 * components are sorted by rate for each byte (large and cold at one end, small and hot at the other); where rates are high,
 * sorting by rate alone is better. Components that were seen to change in the same updates stand together in a third row.
 */
import { LAYER_COST, layerProbability, MILLION, type Objective, type PlanItem } from './group.ts';

/** A way to sort components. */
type Order = (a: PlanItem, b: PlanItem) => number;

const byId: Order = (a, b) => (a.id < b.id ? -1 : 1);
/** By rate; of equal ones the largest first. */
export const byRate: Order = (a, b) => a.rate - b.rate || b.size - a.size || byId(a, b);
/** By rate for each byte, compared without division. */
export const byDensity: Order = (a, b) =>
  a.rate * b.size - b.rate * a.size || b.size - a.size || byId(a, b);

/** Expected changes in a million updates, what was observed included. */
function effectiveRate(item: PlanItem, { observed, priorUpdates }: Objective): number {
  const seen = (item.events?.length ?? 0) * MILLION;
  return Math.round((seen + priorUpdates * item.rate) / (observed + priorUpdates));
}

/** Sums over a sorted row, so that any stretch costs one subtraction. */
interface Row {
  readonly items: readonly PlanItem[];
  readonly sizes: Float64Array;
  readonly rates: Float64Array;
  readonly tarSizes: Float64Array;
  readonly objective: Objective;
}

function sums(values: readonly number[]): Float64Array {
  const result = new Float64Array(values.length + 1);
  values.forEach((value, i) => {
    result[i + 1] = (result[i] as number) + value;
  });
  return result;
}

function makeRow(items: readonly PlanItem[], rates: readonly number[], objective: Objective): Row {
  return {
    items,
    sizes: sums(items.map(({ size }) => size)),
    tarSizes: sums(items.map(({ tarSize }) => tarSize)),
    rates: sums(rates),
    objective,
  };
}

/** Expected bytes per update of one layer that holds items `from` to `to` (exclusive), as if they changed independently. */
function stretchCost(row: Row, from: number, to: number): number {
  const { sizes, rates, tarSizes, objective } = row;
  const size = (sizes[to] as number) - (sizes[from] as number);
  const rate = (rates[to] as number) - (rates[from] as number);
  const tarSize = (tarSizes[to] as number) - (tarSizes[from] as number);
  const excess = to - from > 1 ? Math.max(0, tarSize - objective.maxLayerSize) : 0;
  const independent = { ...objective, observed: 0, priorUpdates: 1 };
  return size * layerProbability(independent, rate, 0) + LAYER_COST + excess;
}

/**
 * Best cuts of the row into 1 … `most` stretches: `cuts[k][i]` is where the last of k + 1 stretches over the first i items
 * begins. Each round takes it that the best cut moves right with i (divide and conquer: O(n log n) a round).
 */
function cutRow(row: Row, most: number): { cuts: Int32Array[]; costs: number[] } {
  const n = row.items.length;
  const cuts: Int32Array[] = [new Int32Array(n + 1)];
  let best = Float64Array.from({ length: n + 1 }, (_, i) => (i === 0 ? 0 : stretchCost(row, 0, i)));
  const costs = [best[n] as number];
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

/** The row cut into at most `most` groups where that costs least. */
function cutGroups(row: Row, most: number): PlanItem[][] {
  const { cuts, costs } = cutRow(row, most);
  let k = costs.indexOf(Math.min(...costs)) + 1;
  const groups: PlanItem[][] = [];
  for (let end = row.items.length; k > 0; k--) {
    const start = k === 1 ? 0 : (cuts[k - 1]?.[end] as number);
    groups.unshift(row.items.slice(start, end));
    end = start;
  }
  return groups;
}

/** Components that were seen to change in exactly the same updates, as one; the rest alone. */
function bundle(items: readonly PlanItem[]): PlanItem[][] {
  const bundles = new Map<string, PlanItem[]>();
  for (const item of items) {
    const key = item.events?.length ? `events ${item.events.join(' ')}` : `id ${item.id}`;
    const known = bundles.get(key);
    if (known) known.push(item);
    else bundles.set(key, [item]);
  }
  return [...bundles.values()];
}

/** Groupings of all `items` into at most `most` groups to start a search from; the order of `items` does not matter. */
export function firstGroupings(
  items: readonly PlanItem[],
  most: number,
  objective: Objective,
): PlanItem[][][] {
  const rated = items.map((item) => ({ ...item, rate: effectiveRate(item, objective) }));
  const originals = new Map(items.map((item) => [item.id, item]));
  const original = (group: readonly PlanItem[]): PlanItem[] =>
    group.map(({ id }) => originals.get(id) as PlanItem);
  const groupings = [byDensity, byRate].map((order) => {
    const sorted = [...rated].sort(order);
    return cutGroups(
      makeRow(
        sorted,
        sorted.map(({ rate }) => rate),
        objective,
      ),
      most,
    ).map(original);
  });
  const bundles = bundle(items);
  if (bundles.length === items.length) return groupings;
  const members = new Map<PlanItem, PlanItem[]>();
  for (const group of bundles) {
    const sum = (pick: (item: PlanItem) => number): number =>
      group.reduce((total, item) => total + pick(item), 0);
    const ids = group.map(({ id }) => id).sort();
    const rate = effectiveRate(group[0] as PlanItem, objective);
    members.set(
      {
        id: ids[0] as string,
        size: sum(({ size }) => size),
        tarSize: sum(({ tarSize }) => tarSize),
        rate,
      },
      group,
    );
  }
  const sorted = [...members.keys()].sort(byDensity);
  const row = makeRow(
    sorted,
    sorted.map(({ rate }) => rate),
    objective,
  );
  const together = cutGroups(row, Math.min(most, sorted.length));
  return [...groupings, together.map((group) => group.flatMap((item) => members.get(item) ?? []))];
}
