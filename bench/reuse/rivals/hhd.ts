/**
 * A model of the packing of hhd-dev/rechunk (ded27feb) without its list of hand-made groups for Fedora desktops, in our own
 * words and code: layers are filled so that the half-weeks in which any member changed, times the layer's size, grow least.
 * Of a previous image it keeps every layer and places what is new by the same rule.
 */

/** A component as hhd's packing sees it. */
export interface HhdItem {
  readonly name: string;
  /** Uncompressed bytes. */
  readonly size: number;
  /** Half-weeks of the year in which it changed, as bits; see {@link halfWeeks}. */
  readonly updates: HalfWeeks;
  /** Has a layer of its own, which is not counted among those to fill. */
  readonly dedicated: boolean;
}

/** 106 bits in four words. */
export type HalfWeeks = readonly [number, number, number, number];

/** Layers of names. */
export type HhdLayers = readonly (readonly string[])[];

const SEGMENTS = 106;
const WORD_BITS = 32;
const DAY_SECONDS = 86_400;
const WINDOW_DAYS = 365;
const HALF_WEEK_SECONDS = 3.5 * DAY_SECONDS;
/** A layer is first filled to this share of the mean layer, and later takes no more once it is larger than that one. */
const FILL_SHARE = 0.4;
const FULL_SHARE = 1.3;
/** With this many changelog entries or fewer a package is taken to change always. */
const FEW_ENTRIES = 2;
const NEVER: HalfWeeks = [0, 0, 0, 0];

/** The half-weeks before `now` in which a changelog has entries, by their place in the year. */
export function halfWeeks(changeTimes: readonly number[], now: number): HalfWeeks {
  const words: [number, number, number, number] = [0, 0, 0, 0];
  const mark = (segment: number): void => {
    words[segment >> 5] = ((words[segment >> 5] ?? 0) | (1 << (segment % WORD_BITS))) >>> 0;
  };
  if (changeTimes.length <= FEW_ENTRIES) for (let i = 0; i < SEGMENTS; i++) mark(i);
  for (const time of changeTimes) {
    const isRecent = time <= now && time > now - WINDOW_DAYS * DAY_SECONDS;
    if (isRecent) mark(Math.floor(time / HALF_WEEK_SECONDS) % SEGMENTS);
  }
  return words;
}

function countBits(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

const weigh = (a: HalfWeeks, b: HalfWeeks): number =>
  countBits(a[0] | b[0]) + countBits(a[1] | b[1]) + countBits(a[2] | b[2]) + countBits(a[3] | b[3]);

/** A layer while it is filled. */
class Filling {
  readonly names: string[] = [];
  size = 0;
  updates: HalfWeeks = NEVER;

  add({ name, size, updates: [a, b, c, d] }: HhdItem): void {
    const [w, x, y, z] = this.updates;
    this.names.push(name);
    this.size += size;
    this.updates = [w | a, x | b, y | c, z | d];
  }

  /** Half-weeks in which it would change, times its bytes, with this member more. */
  costWith({ size, updates }: HhdItem): number {
    return weigh(this.updates, updates) * (this.size + size);
  }

  get cost(): number {
    return weigh(this.updates, NEVER) * this.size;
  }
}

/** Packs without a previous image, or as the previous image did. */
export function packHhd(
  items: readonly HhdItem[],
  maxLayers: number,
  previous?: HhdLayers,
): HhdLayers {
  const total = items.reduce((sum, { size }) => sum + size, 0);
  const dedicated = items.filter((item) => item.dedicated);
  const todo = new Set(items.filter((item) => !item.dedicated));
  const count = maxLayers - dedicated.length;
  const layers = previous
    ? resume(previous, todo, count)
    : prefill(todo, count, (FILL_SHARE * total) / maxLayers);
  fill(layers, todo, (FULL_SHARE * total) / maxLayers);
  return [...dedicated.map(({ name }) => [name]), ...layers.map(({ names }) => names)];
}

function takeLeast(todo: Set<HhdItem>, costOf: (item: HhdItem) => number): HhdItem | undefined {
  let best: HhdItem | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const item of todo) {
    const cost = costOf(item);
    if (cost >= least) continue;
    best = item;
    least = cost;
  }
  if (best) todo.delete(best);
  return best;
}

/** Each layer begins with the largest component left, and takes what makes it dearer least until it is large enough. */
function prefill(todo: Set<HhdItem>, count: number, enough: number): Filling[] {
  const layers: Filling[] = [];
  while (todo.size > 0 && layers.length < count) {
    const layer = new Filling();
    layers.push(layer);
    const first = takeLeast(todo, ({ size }) => -size);
    if (first) layer.add(first);
    while (layer.size <= enough) {
      const item = takeLeast(todo, (candidate) => layer.costWith(candidate));
      if (!item) break;
      layer.add(item);
    }
  }
  return layers;
}

function resume(previous: HhdLayers, todo: Set<HhdItem>, count: number): Filling[] {
  const byName = new Map([...todo].map((item) => [item.name, item]));
  const layers: Filling[] = [];
  for (const names of previous) {
    const layer = new Filling();
    for (const name of names) {
      const item = byName.get(name);
      if (item && todo.delete(item)) layer.add(item);
    }
    if (layer.names.length > 0) layers.push(layer);
  }
  while (layers.length < count) layers.push(new Filling());
  return layers;
}

/** What is left goes, cheapest first, where it costs least among layers that are not full (any, if all are). */
function fill(layers: readonly Filling[], todo: ReadonlySet<HhdItem>, full: number): void {
  const left = [...todo];
  const growth = layers.map((layer) => left.map((item) => layer.costWith(item) - layer.cost));
  const done = new Set<number>();
  while (done.size < left.length) {
    const isOpen = layers.map(({ size }) => size <= full);
    const anyOpen = isOpen.includes(true);
    let [bestLayer, bestItem, least] = [0, 0, Number.POSITIVE_INFINITY];
    growth.forEach((row, l) => {
      if (anyOpen && !isOpen[l]) return;
      for (let i = 0; i < left.length; i++) {
        if (done.has(i) || (row[i] as number) >= least) continue;
        [bestLayer, bestItem, least] = [l, i, row[i] as number];
      }
    });
    const layer = layers[bestLayer] as Filling;
    layer.add(left[bestItem] as HhdItem);
    done.add(bestItem);
    growth[bestLayer] = left.map((item) => layer.costWith(item) - layer.cost);
  }
}
