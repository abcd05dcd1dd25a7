/**
 * A model of chunkah's packing (coreos/chunkah 4c8abc38, after v0.6.0), in our own words and code. It has no memory: large
 * components alone, the others binned by a hash of their name within three tiers of stability.
 */
import { deviation, mean, median, medianDeviation } from './statistics.ts';

/** A component as chunkah's packing sees it. */
export interface ChunkahItem {
  readonly name: string;
  /** Uncompressed bytes. */
  readonly size: number;
  /** Probability that a week leaves it unchanged. */
  readonly stability: number;
}

const DAY_SECONDS = 86_400;
const PERIOD_DAYS = 7;
const LOOKBACK_DAYS = 365;
/** Stability of what has a changelog, but no entry within the lookback. */
const QUIET = 0.99;
/** Outliers in size: median and this many median deviations. */
const OUTLIER_DEVIATIONS = 1.5;
/** A median deviation below this share of the median is taken for none, and the median serves instead. */
const DEVIATION_SHARE = 0.01;
/** Share of the layers that outliers may take. */
const ALONE_SHARE = 0.8;

/** Stability by changelog (several entries on one UTC day count once), as a Poisson process since the oldest entry. */
export function chunkahStability(changeTimes: readonly number[], now: number): number {
  const since = now - LOOKBACK_DAYS * DAY_SECONDS;
  const recent = changeTimes.filter((time) => time >= since);
  if (recent.length === 0) return QUIET;
  const days = (now - Math.min(...recent)) / DAY_SECONDS;
  if (days < 1) return 0;
  const changes = new Set(recent.map((time) => Math.floor(time / DAY_SECONDS))).size;
  return Math.exp((-changes / days) * PERIOD_DAYS);
}

/** Groups of indices into `items`, most stable first. */
export function packChunkah(items: readonly ChunkahItem[], maxLayers: number): number[][] {
  const all = items.map((_, i) => i);
  const groups = items.length <= maxLayers ? all.map((i) => [i]) : split(items, all, maxLayers);
  const stability = new Map(groups.map((group) => [group, stabilityOf(items, group)]));
  return groups.sort((a, b) => (stability.get(b) as number) - (stability.get(a) as number));
}

const stabilityOf = (items: readonly ChunkahItem[], group: readonly number[]): number =>
  group.reduce((product, i) => product * itemAt(items, i).stability, 1);

const itemAt = (items: readonly ChunkahItem[], i: number): ChunkahItem => items[i] as ChunkahItem;

function split(
  items: readonly ChunkahItem[],
  all: readonly number[],
  maxLayers: number,
): number[][] {
  const sizes = items.map(({ size }) => size);
  const middle = median(sizes);
  const deviant = medianDeviation(sizes);
  const unit = deviant < middle * DEVIATION_SHARE ? middle : deviant;
  const limit = middle + OUTLIER_DEVIATIONS * unit;
  const sizeAt = (i: number): number => itemAt(items, i).size;
  const large = all.filter((i) => sizeAt(i) >= limit);
  const small = all.filter((i) => sizeAt(i) < limit);
  const most = Math.floor((maxLayers - (small.length > 0 ? 1 : 0)) * ALONE_SHARE);
  if (large.length > most) large.sort((a, b) => sizeAt(b) - sizeAt(a));
  const alone = large.slice(0, most).map((i) => [i]);
  const rest = [...small, ...large.slice(most)];
  return [...alone, ...binByTier(items, rest, maxLayers - alone.length)];
}

function binByTier(
  items: readonly ChunkahItem[],
  rest: readonly number[],
  bins: number,
): number[][] {
  if (rest.length <= bins) return rest.map((i) => [i]);
  const values = rest.map((i) => itemAt(items, i).stability);
  const [middle, spread] = [mean(values), deviation(values)];
  const tierOf = (i: number): number => {
    const { stability } = itemAt(items, i);
    if (stability >= middle + spread) return 0;
    return stability <= middle - spread ? 2 : 1;
  };
  const tiers = [0, 1, 2]
    .map((tier) => rest.filter((i) => tierOf(i) === tier))
    .filter((tier) => tier.length > 0);
  if (bins < tiers.length) return binByHash(items, rest, bins);
  const shares = shareBins(
    tiers.map((tier) => tier.length),
    bins,
  );
  return tiers.flatMap((tier, i) => binByHash(items, tier, shares[i] as number));
}

/** Bins in proportion to counts, at least one each; the last gets what is left. */
export function shareBins(counts: readonly number[], bins: number): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let left = bins;
  return counts.map((count, i) => {
    const others = counts.length - 1 - i;
    const wanted = Math.max(1, Math.round((count / total) * bins));
    const share = others === 0 ? left : Math.min(wanted, left - others);
    left -= share;
    return share;
  });
}

function binByHash(items: readonly ChunkahItem[], members: readonly number[], count: number) {
  const bins = Array.from({ length: count }, (): number[] => []);
  for (const i of members) {
    bins[Number(hashName(itemAt(items, i).name) % BigInt(count))]?.push(i);
  }
  const empty = bins.filter((bin) => bin.length === 0);
  for (let bin = empty.pop(); bin; bin = empty.pop()) {
    const moved = takeLargest(items, bins);
    if (moved === undefined) break;
    bin.push(moved);
  }
  return bins.filter((bin) => bin.length > 0);
}

/** Takes the largest component (the last of equals) that shares a bin out of it. */
function takeLargest(items: readonly ChunkahItem[], bins: readonly number[][]): number | undefined {
  const shared = bins.filter((bin) => bin.length > 1).flat();
  const [first] = shared;
  if (first === undefined) return undefined;
  const sizeAt = (i: number): number => itemAt(items, i).size;
  const largest = shared.reduce((best, i) => (sizeAt(i) >= sizeAt(best) ? i : best), first);
  const home = bins.find((bin) => bin.includes(largest)) as number[];
  const at = home.indexOf(largest);
  const last = home.pop() as number;
  if (last !== largest) home[at] = last;
  return largest;
}

const hashes = new Map<string, bigint>();
const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;
/** Rust hashes a string as its bytes and this one. */
const STRING_END = 0xff;

/** FNV-1a, 64 bits, of the UTF-8 text as Rust's `Hash` feeds it. */
export function hashName(name: string): bigint {
  const known = hashes.get(name);
  if (known !== undefined) return known;
  let hash = FNV_OFFSET;
  for (const byte of [...Buffer.from(name), STRING_END]) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV_PRIME);
  }
  hashes.set(name, hash);
  return hash;
}
