/**
 * A first grouping: components in a row, cut where it costs least, by dynamic programming.
 *
 * For small rates a layer costs its bytes times its rate, a product of sums, and good groups lie next to each other when
 * components are sorted by rate for each byte (large and cold at one end, small and hot at the other); where rates are high,
 * sorting by rate alone is better. Components that were seen to change in the same updates stand together in a third row.
 */
import { type Candidate, MILLION } from './candidate.ts';
import { changeProbability } from './chance.ts';
import { LAYER_COST, type Objective } from './group.ts';

/** A way to sort components. */
type Order = (a: Candidate, b: Candidate) => number;

const byId: Order = (a, b) => (a.id < b.id ? -1 : 1);
/** By rate; of equal ones the largest first. */
export const byRate: Order = (a, b) => a.rate - b.rate || b.size - a.size || byId(a, b);
/** By rate for each byte, compared without division. */
export const byDensity: Order = (a, b) =>
  a.rate * b.size - b.rate * a.size || b.size - a.size || byId(a, b);

/** Sums over a sorted row, so that any stretch costs one subtraction. */
interface Row {
  readonly items: readonly Candidate[];
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

function makeRow(items: readonly Candidate[], objective: Objective): Row {
  return {
    items,
    sizes: sums(items.map(({ size }) => size)),
    tarSizes: sums(items.map(({ tarSize }) => tarSize)),
    rates: sums(items.map(({ rate }) => rate)),
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
  return size * changeProbability(rate / MILLION) + LAYER_COST + excess;
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
function cutGroups(row: Row, most: number): Candidate[][] {
  const { cuts, costs } = cutRow(row, most);
  let k = costs.indexOf(Math.min(...costs)) + 1;
  const groups: Candidate[][] = [];
  for (let end = row.items.length; k > 0; k--) {
    const start = k === 1 ? 0 : (cuts[k - 1]?.[end] as number);
    groups.unshift(row.items.slice(start, end));
    end = start;
  }
  return groups;
}

function keyOf({ id, events, family }: Candidate): string {
  if (events.length > 0) return `events ${events.join(' ')}`;
  return family === undefined ? `id ${id}` : `family ${family}`;
}

/** Components that were seen to change in exactly the same updates, or never and are of one family, as one; the rest alone. */
function bundle(items: readonly Candidate[]): Candidate[][] {
  const bundles = new Map<string, Candidate[]>();
  for (const item of items) {
    const key = keyOf(item);
    const known = bundles.get(key);
    if (known) known.push(item);
    else bundles.set(key, [item]);
  }
  return [...bundles.values()];
}

/**
 * Groupings of all `items` into at most `most` groups to start a search from; the order of `items` does not matter. Those that stay
 * apart are one group.
 */
export function firstGroupings(
  items: readonly Candidate[],
  most: number,
  objective: Objective,
): Candidate[][][] {
  const apart = items.filter((item) => item.apart);
  const others = items.filter((item) => !item.apart);
  if (apart.length === 0 || others.length === 0 || most < 2) return cutAll(items, most, objective);
  return cutAll(others, most - 1, objective).map((groups) => [...groups, apart]);
}

function cutAll(items: readonly Candidate[], most: number, objective: Objective): Candidate[][][] {
  const groupings = [byDensity, byRate].map((order) =>
    cutGroups(makeRow([...items].sort(order), objective), most),
  );
  const bundles = bundle(items);
  if (bundles.length === items.length) return groupings;
  const members = new Map(bundles.map((group) => [asOne(group), group]));
  const sorted = [...members.keys()].sort(byDensity);
  const together = cutGroups(makeRow(sorted, objective), Math.min(most, sorted.length));
  return [...groupings, together.map((group) => group.flatMap((one) => members.get(one) ?? []))];
}

/** A bundle as if it were one component that changes as often as its first member. */
function asOne(group: readonly Candidate[]): Candidate {
  const [first] = [...group].sort(byId) as [Candidate];
  const sum = (pick: (item: Candidate) => number): number =>
    group.reduce((total, item) => total + pick(item), 0);
  return { ...first, size: sum(({ size }) => size), tarSize: sum(({ tarSize }) => tarSize) };
}
