/**
 * A model of the packing of `rpm-ostree compose build-chunked-oci` (ostree-ext, bootc-dev/bootc 534c76ea), in our own words and
 * code: the largest components alone, the smallest together, the rest in bins of equal counts by size and frequency. Of a
 * previous image it keeps every bin and puts what is new into the last one.
 */
import { deviation, mean, median, medianDeviation } from './statistics.ts';

/** A component as ostree-ext's packing sees it. */
export interface OstreeItem {
  readonly name: string;
  /** Uncompressed bytes. */
  readonly size: number;
  /** Changelog entries in a year; infinite for what always changes. */
  readonly frequency: number;
}

/** Bins of names, lowest layer first; empty ones are places kept free. */
export type OstreeBins = readonly (readonly string[])[];

const DEVIATIONS = 2;
const LOW_FACTOR = 0.5;
/** Share of the layers that large components may take, of those that are not set apart. */
const ALONE_SHARE = 0.6;
const YEAR_SECONDS = 365 * 86_400;

/** Changelog entries within a year before `now`, the newest build in the image. */
export function ostreeFrequency(changeTimes: readonly number[], now: number): number {
  return changeTimes.filter((time) => time > now - YEAR_SECONDS && time <= now).length;
}

/** Packs without a previous image. */
export function packOstree(items: readonly OstreeItem[], maxLayers: number): OstreeBins {
  const sorted = [...items].sort((a, b) => b.size - a.size);
  const names = (list: readonly OstreeItem[]): string[] => list.map(({ name }) => name);
  if (sorted.length < maxLayers) return [...sorted.map(({ name }) => [name]), []];
  const always = sorted.filter(({ frequency }) => frequency === Number.POSITIVE_INFINITY);
  const others = sorted.filter(({ frequency }) => frequency !== Number.POSITIVE_INFINITY);
  const hot = always.length > 0 ? [always] : [];
  const bins = others.length > 0 ? packOthers(others, maxLayers, hot.length) : [];
  return [...bins.map(names), ...hot.map(names), []];
}

/** Packs what has a frequency; a bin for the smallest and one for what is new are set apart, and `hot` more. */
function packOthers(
  items: readonly OstreeItem[],
  maxLayers: number,
  hot: number,
): readonly (readonly OstreeItem[])[] {
  const apart = 2 + hot;
  const aloneLimit = Math.floor(ALONE_SHARE * (maxLayers - apart));
  const sharedLimit = maxLayers - aloneLimit - apart;
  const { large, medium, small } = splitBySize(items);
  const alone = large.slice(0, aloneLimit);
  const rest = [...large.slice(aloneLimit), ...medium];
  const perBin = Math.floor((items.length - aloneLimit - small.length) / sharedLimit);
  const bins = [
    ...(small.length > 0 ? [small] : []),
    ...alone.map((item) => [item]),
    ...bucketsOf(rest).flatMap((bucket) => inBins(bucket, Math.max(1, perBin))),
  ];
  return mergeFromEnd(bins, 1 + aloneLimit, maxLayers - 1 - hot);
}

function splitBySize(items: readonly OstreeItem[]): Record<string, OstreeItem[]> & {
  large: OstreeItem[];
  medium: OstreeItem[];
  small: OstreeItem[];
} {
  const sizes = items.map(({ size }) => size);
  const [low, high] = limitsOf(median(sizes), medianDeviation(sizes));
  const large = items.filter(({ size }) => size >= high);
  const small = items.filter(({ size }) => size < high && size <= low);
  const medium = items.filter(({ size }) => size < high && size > low);
  return { large, medium, small };
}

function limitsOf(middle: number, spread: number): [low: number, high: number] {
  return [LOW_FACTOR * Math.abs(middle - DEVIATIONS * spread), middle + DEVIATIONS * spread];
}

/** High, middle or low: 0, 1, 2. */
function classOf(value: number, [low, high]: readonly [number, number]): number {
  if (value >= high) return 0;
  return value <= low ? 2 : 1;
}

/** Nine buckets, by frequency and then by the name of the size's class (hs, ls, ms); within one by rising frequency. */
function bucketsOf(rest: readonly OstreeItem[]): OstreeItem[][] {
  const sorted = [...rest].sort((a, b) => a.frequency - b.frequency);
  const sizes = sorted.map(({ size }) => size);
  const frequencies = sorted.map(({ frequency }) => frequency);
  const bySize = limitsOf(mean(sizes), deviation(sizes));
  const byFrequency = limitsOf(mean(frequencies), deviation(frequencies));
  const nameOrder = [0, 2, 1];
  const keyOf = ({ size, frequency }: OstreeItem): number =>
    classOf(frequency, byFrequency) * nameOrder.length +
    (nameOrder[classOf(size, bySize)] as number);
  const buckets = Map.groupBy(sorted, keyOf);
  return [...buckets].sort(([a], [b]) => a - b).map(([, bucket]) => bucket);
}

function inBins(bucket: readonly OstreeItem[], perBin: number): OstreeItem[][] {
  const count = Math.ceil(bucket.length / perBin);
  return Array.from({ length: count }, (_, i) => bucket.slice(i * perBin, (i + 1) * perBin));
}

/** Merges every second bin into the one before it, from the end, until at most so many are left. */
function mergeFromEnd(
  bins: readonly (readonly OstreeItem[])[],
  first: number,
  most: number,
): readonly (readonly OstreeItem[])[] {
  const merged = [...bins];
  while (merged.length > most) {
    const last = merged.length - 2;
    for (let i = last - ((last - first) % 2); i >= first && merged.length > most; i -= 2) {
      merged.splice(i - 1, 2, [...(merged[i - 1] ?? []), ...(merged[i] ?? [])]);
    }
  }
  return merged;
}

/** Packs as the previous image did: what is gone leaves, what is new joins the last bin. */
export function continueOstree(previous: OstreeBins, names: readonly string[]): OstreeBins {
  const current = new Set(names);
  const known = new Set(previous.flat());
  const added = names.filter((name) => !known.has(name)).sort();
  return previous.map((bin, i) => [
    ...bin.filter((name) => current.has(name)),
    ...(i === previous.length - 1 ? added : []),
  ]);
}
