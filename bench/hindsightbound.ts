/**
 * What no partition of whole components into N layers goes below, by Lagrangian relaxation.
 *
 * A layer is pulled in the set U of updates in which any member changes. So a partition opens at most N sets U and gives each
 * component i, which changes in E(i), one with U ⊇ E(i), at the cost of its bytes in all updates of U, c(i, U). That is a
 * p-median problem; what follows bounds it from below, and so every partition.
 *
 * With prices p(i) ≥ 0 for "i has a layer", each partition costs at least `Σ p(i) − Σ over its sets U of f(U)`, where
 * `f(U) = Σ over i with E(i) ⊆ U of max(0, p(i) − c(i, U))`: a layer's members pay c, at least p less their share in f. So for
 * *any* prices `Σ p(i) − (the N largest f(U) together)` is a bound, and prices only have to be good, which subgradient steps see
 * to; they start at p(i) = c(i, E(i)), where all f are 0 and the bound is each changed component pulled once.
 *
 * Sets are too many to try all, and two ways of doing without count, the better one each time:
 * - *blocks*: a partition is one for a few updates as well; for each block of {@link BLOCK} updates all 2^BLOCK sets are tried
 *   exactly, and the bounds of the blocks add up.
 * - *whole*: all updates at once, where f(U) is bounded by the number u of updates in U: i pays at least
 *   `C(i, u) = c(i, E(i)) + (u − |E(i)|) × least bytes of i`; its gain `max(0, p(i) − C(i, u))`, spread evenly over E(i), is at most
 *   what U collects when it takes the u updates on which most lies. The largest such value over u, N times, is taken off.
 *
 * Leaving components out (those that never change, all but one) lowers what a partition costs, so bounds hold.
 */
import type { Past } from './hindsight.ts';

/** Updates in a block; the work doubles with each. */
const BLOCK = 9;
/** Subgradient steps. */
const STEPS = 400;

/** A bound for some prices, and for each price how the bound rises with it. */
interface Priced {
  readonly bound: number;
  readonly slopes: Float64Array;
}

/** The best bound that subgradient ascent finds from `start`. */
function ascend(start: Float64Array, evaluate: (prices: Float64Array) => Priced): number {
  const prices = Float64Array.from(start);
  let best = 0;
  let goal = 1.25;
  let stale = 0;
  for (let step = 0; step < STEPS; step++) {
    const { bound, slopes } = evaluate(prices);
    stale = bound > best * (1 + 1e-6) ? 0 : stale + 1;
    best = Math.max(best, bound);
    if (stale > 12) {
      goal = 1 + (goal - 1) / 2;
      stale = 0;
    }
    const norm = slopes.reduce((sum, slope) => sum + slope * slope, 0);
    if (norm === 0) return best;
    const length = (best * goal - bound) / norm;
    slopes.forEach((slope, i) => {
      prices[i] = Math.max(0, (prices[i] as number) + length * slope);
    });
  }
  return best;
}

const changedBytes = ({ sizes, events }: Past): number =>
  events.reduce((sum, t) => sum + (sizes[t] as number), 0);

/** Each changed component pulled once. */
export function componentFloor(past: readonly Past[]): number {
  return past.reduce((sum, one) => sum + changedBytes(one), 0);
}

/** Those that change, and of the others the one with most bytes. */
function relevant(past: readonly Past[]): Past[] {
  const bytes = ({ sizes }: Past): number => sizes.reduce((sum, size) => sum + size, 0);
  const still = past.filter(({ events }) => events.length === 0);
  const [largest] = still.sort((a, b) => bytes(b) - bytes(a));
  return [...past.filter(({ events }) => events.length > 0), ...(largest ? [largest] : [])];
}

/** For each set of a block's updates (as bits), bytes of a component in them; infinite where it changes in others of them. */
function setCosts({ sizes, events }: Past): Float64Array {
  const own = events.reduce((mask, t) => mask | (1 << t), 0);
  const costs = new Float64Array(1 << sizes.length);
  for (let set = 1; set < costs.length; set++) {
    const low = 31 - Math.clz32(set & -set);
    costs[set] = (costs[set & (set - 1)] as number) + (sizes[low] as number);
  }
  return costs.map((cost, set) => ((set & own) === own ? cost : Number.POSITIVE_INFINITY));
}

/** A bound for few updates, over all their sets. */
function boundBlock(past: readonly Past[], layers: number): number {
  const items = relevant(past);
  const costs = items.map(setCosts);
  const sets = 1 << (items[0]?.sizes.length ?? 0);
  return ascend(Float64Array.from(items, changedBytes), (prices) => {
    const gains = new Float64Array(sets);
    costs.forEach((cost, i) => {
      const price = prices[i] as number;
      for (let set = 0; set < sets; set++) {
        if ((cost[set] as number) < price)
          gains[set] = (gains[set] as number) + price - (cost[set] as number);
      }
    });
    const chosen = [...gains.keys()]
      .sort((a, b) => (gains[b] as number) - (gains[a] as number) || a - b)
      .slice(0, layers);
    const slopes = Float64Array.from(costs, (cost, i) =>
      chosen.reduce(
        (slope, set) => slope - Number((cost[set] as number) < (prices[i] as number)),
        1,
      ),
    );
    const taken = chosen.reduce((sum, set) => sum + (gains[set] as number), 0);
    return { bound: prices.reduce((sum, price) => sum + price, 0) - taken, slopes };
  });
}

function boundBlocks(past: readonly Past[], layers: number): number {
  const updates = past[0]?.sizes.length ?? 0;
  let sum = 0;
  for (let from = 0; from < updates; from += BLOCK) {
    const block = past.map(({ id, sizes, events }) => ({
      id,
      sizes: sizes.slice(from, from + BLOCK),
      events: events.filter((t) => t >= from && t < from + BLOCK).map((t) => t - from),
    }));
    sum += boundBlock(block, layers);
  }
  return sum;
}

/** What a layer that is pulled in `count` updates gains at most, and the share of each component's gain in it. */
interface Pricing {
  readonly gain: number;
  readonly shares: Float64Array;
}

/** A bound for all updates at once, over the numbers of updates that layers may be pulled in. */
function boundWhole(past: readonly Past[], layers: number): number {
  const items = relevant(past);
  const updates = items[0]?.sizes.length ?? 0;
  const own = items.map(changedBytes);
  const least = items.map(({ sizes }) => Math.min(...sizes));
  const priceCount = (prices: Float64Array, count: number): Pricing => {
    let always = 0;
    const perUpdate = new Float64Array(updates);
    const gains = items.map(({ events }, i) => {
      if (events.length > count) return 0;
      const cost = (own[i] as number) + (count - events.length) * (least[i] as number);
      const gain = Math.max(0, (prices[i] as number) - cost);
      if (events.length === 0) always += gain;
      for (const t of events) perUpdate[t] = (perUpdate[t] as number) + gain / events.length;
      return gain;
    });
    const taken = new Set(
      [...perUpdate.keys()]
        .sort((a, b) => (perUpdate[b] as number) - (perUpdate[a] as number) || a - b)
        .slice(0, count),
    );
    const shares = Float64Array.from(items, ({ events }, i) => {
      if (gains[i] === 0) return 0;
      return events.length === 0 ? 1 : events.filter((t) => taken.has(t)).length / events.length;
    });
    const gain = [...taken].reduce((sum, t) => sum + (perUpdate[t] as number), always);
    return { gain, shares };
  };
  return ascend(Float64Array.from(own), (prices) => {
    let best: Pricing = { gain: 0, shares: new Float64Array(items.length) };
    for (let count = 0; count <= updates; count++) {
      const pricing = priceCount(prices, count);
      if (pricing.gain > best.gain) best = pricing;
    }
    const total = prices.reduce((sum, price) => sum + price, 0);
    return {
      bound: total - layers * best.gain,
      slopes: best.shares.map((share) => 1 - layers * share),
    };
  });
}

/** Compressed bytes over all updates that no partition of `past` into at most `layers` layers goes below. */
export function boundBelow(past: readonly Past[], layers: number): number {
  return Math.max(componentFloor(past), boundBlocks(past, layers), boundWhole(past, layers));
}
