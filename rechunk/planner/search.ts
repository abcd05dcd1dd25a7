/**
 * Local search over partitions: single components move to where they cost less; where all places are taken, two layers merge and
 * another is split. What a layer costs is its own affair ({@link Place}), so the planner and the bench's hindsight search alike.
 */

/** A layer while the search goes on. */
export interface Place<Item, Self> {
  readonly items: ReadonlySet<Item>;
  readonly size: number;
  /** The layer of a previous image that it continues; empty places without one are all alike. */
  readonly origin?: number | undefined;
  readonly cost: number;
  /** How much more it costs with `item`; may be infinite where that is more than `limit`. */
  costOfAdding(item: Item, limit?: number): number;
  /** How much less it costs without `item`. */
  savingOfRemoving(item: Item): number;
  /** How much more one layer of the members of both costs than the two. */
  costOfMerging(other: Self): number;
  add(item: Item): void;
  remove(item: Item): void;
}

/** How far a search goes, and what it may split layers by. */
export interface SearchOptions<Item> {
  /** Rounds over all components between trades. */
  readonly rounds: number;
  /** Trades of a merge for a split, at the most. */
  readonly trades: number;
  /** How often an item may be compared with a layer, at the most: bounds the time, by a count that is the same everywhere. */
  readonly comparisons: number;
  /** Orders in which a layer's members may be cut in two. */
  readonly orders: readonly ((a: Item, b: Item) => number)[];
}

/** Savings below this share are rounding, not gain. */
const EPSILON = 1e-9;

/** A saving less what may be rounding in it. */
function lessRounding(saving: number): number {
  return saving - Math.abs(saving) * EPSILON;
}

/** A way to take `items` out of a layer, and what that saves. */
interface Split<Item> {
  readonly items: readonly Item[];
  readonly saving: number;
}

/** A partition that is being improved; `groups` change in place, and there are never more or fewer of them. */
export class Search<Item, Group extends Place<Item, Group>> {
  readonly #groups: readonly Group[];
  readonly #items: readonly Item[];
  readonly #options: SearchOptions<Item>;
  readonly #makeEmpty: () => Group;
  readonly #home: Map<Item, number> = new Map();
  /** When each group last changed, and each item was last compared with all groups; `#clock` counts changes. */
  readonly #stamps: Int32Array;
  /** Positions of groups, those that changed last at the end. */
  readonly #recent: number[];
  readonly #checked: Int32Array;
  #clock = 1;
  /** What merging groups a < b costs, at a × count + b; known since when. */
  readonly #pairs: Float64Array;
  #pairsClock = 0;
  #comparisons = 0;
  readonly #splits: (Split<Item> | undefined)[];
  readonly #splitClocks: Int32Array;

  constructor(
    groups: readonly Group[],
    items: readonly Item[],
    options: SearchOptions<Item>,
    makeEmpty: () => Group,
  ) {
    this.#groups = groups;
    this.#items = items;
    this.#options = options;
    this.#makeEmpty = makeEmpty;
    groups.forEach((group, g) => {
      for (const item of group.items) this.#home.set(item, g);
    });
    this.#stamps = new Int32Array(groups.length).fill(1);
    this.#recent = groups.map((_, g) => groups.length - 1 - g);
    this.#checked = new Int32Array(items.length);
    this.#pairs = new Float64Array(groups.length * groups.length);
    this.#splits = groups.map(() => undefined);
    this.#splitClocks = new Int32Array(groups.length);
  }

  /** Moves and trades until nothing is saved any more, or the options' bounds are reached. */
  run(): void {
    for (let count = 0; ; count++) {
      this.#improve();
      if (this.#comparisons >= this.#options.comparisons) return;
      if (count >= this.#options.trades || !this.#trade()) return;
    }
  }

  #move(item: Item, to: number): void {
    const from = this.#home.get(item) as number;
    (this.#groups[from] as Group).remove(item);
    (this.#groups[to] as Group).add(item);
    this.#home.set(item, to);
    this.#clock++;
    for (const g of [from, to]) {
      this.#stamps[g] = this.#clock;
      this.#recent.splice(this.#recent.lastIndexOf(g), 1);
      this.#recent.push(g);
    }
  }

  /** Moves single items, in their order, each to the best place. Only what changed since it last looked can tempt an item. */
  #improve(): void {
    for (let round = 0; round < this.#options.rounds; round++) {
      let moved = false;
      for (const [i, item] of this.#items.entries()) {
        if (this.#comparisons >= this.#options.comparisons) return;
        const from = this.#home.get(item) as number;
        const since = this.#checked[i] as number;
        const isHomeChanged = (this.#stamps[from] as number) > since;
        const to = this.#cheapest(item, from, isHomeChanged ? -1 : since);
        this.#checked[i] = this.#clock;
        if (to === undefined) continue;
        this.#move(item, to);
        moved = true;
      }
      if (!moved) return;
    }
  }

  /** The group, changed after `since`, in which `item` costs least, if it is less than where it is. */
  #cheapest(item: Item, from: number, since: number): number | undefined {
    let best: number | undefined;
    let least: number | undefined;
    let triedEmpty = false;
    for (let i = this.#recent.length - 1; i >= 0; i--) {
      const g = this.#recent[i] as number;
      if ((this.#stamps[g] as number) <= since) break;
      if (g === from) continue;
      const group = this.#groups[g] as Group;
      if (group.items.size === 0 && group.origin === undefined) {
        if (triedEmpty) continue;
        triedEmpty = true;
      }
      least ??= lessRounding((this.#groups[from] as Group).savingOfRemoving(item));
      this.#comparisons++;
      const cost = group.costOfAdding(item, least);
      if (cost < least) {
        least = cost;
        best = g;
      }
    }
    return best;
  }

  /** Merges the pair that costs least for the split that saves most, or makes a split alone where a place is free. */
  #trade(): boolean {
    const free = this.#groups.findIndex(
      (group) => group.items.size === 0 && group.origin === undefined,
    );
    const pair = free < 0 ? this.#cheapestPair() : undefined;
    if (free < 0 && !pair) return false;
    const split = this.#bestSplit(pair);
    if (!split || lessRounding(split.saving) <= (pair?.cost ?? 0)) return false;
    let to = free;
    if (pair) to = this.#merge(pair);
    for (const item of split.items) this.#move(item, to);
    return true;
  }

  /** Moves all members of the smaller group of a pair into the larger; gives the emptied one. */
  #merge({ a, b }: Pair): number {
    const isSmaller = (this.#groups[a] as Group).size < (this.#groups[b] as Group).size;
    const [from, to] = isSmaller ? [a, b] : [b, a];
    for (const item of [...(this.#groups[from] as Group).items]) this.#move(item, to);
    return from;
  }

  #cheapestPair(): Pair | undefined {
    const count = this.#groups.length;
    let best: Pair | undefined;
    for (let a = 0; a < count; a++) {
      const left = this.#groups[a] as Group;
      if (left.items.size === 0) continue;
      for (let b = a + 1; b < count; b++) {
        const right = this.#groups[b] as Group;
        if (right.items.size === 0) continue;
        const at = a * count + b;
        const changed = Math.max(this.#stamps[a] as number, this.#stamps[b] as number);
        if (changed > this.#pairsClock) this.#pairs[at] = left.costOfMerging(right);
        const cost = this.#pairs[at] as number;
        if (!best || cost < best.cost) best = { a, b, cost };
      }
    }
    this.#pairsClock = this.#clock;
    return best;
  }

  /** The best split of a group that is not in `except`. */
  #bestSplit(except: Pair | undefined): Split<Item> | undefined {
    let best: Split<Item> | undefined;
    for (let g = 0; g < this.#groups.length; g++) {
      if (g === except?.a || g === except?.b) continue;
      if ((this.#stamps[g] as number) > (this.#splitClocks[g] as number)) {
        this.#splits[g] = this.#splitOf(this.#groups[g] as Group);
        this.#splitClocks[g] = this.#clock;
      }
      const split = this.#splits[g];
      if (split && (!best || split.saving > best.saving)) best = split;
    }
    return best;
  }

  /** The best way to take some members out of a group into a new one: one alone, or the first of an order. */
  #splitOf(group: Group): Split<Item> | undefined {
    if (group.items.size < 2) return undefined;
    const empty = this.#makeEmpty();
    let best: Split<Item> | undefined;
    for (const item of group.items) {
      const saving = group.savingOfRemoving(item) - empty.costOfAdding(item);
      if (!best || saving > best.saving) best = { items: [item], saving };
    }
    if (group.items.size > 2) {
      for (const order of this.#options.orders) best = this.#cutOf(group, order, best);
    }
    return best;
  }

  #cutOf(
    group: Group,
    order: (a: Item, b: Item) => number,
    known: Split<Item> | undefined,
  ): Split<Item> | undefined {
    const row = [...group.items].sort(order);
    const rest = this.#makeEmpty();
    const taken = this.#makeEmpty();
    for (const item of row) rest.add(item);
    let count = 0;
    let most = known?.saving ?? Number.NEGATIVE_INFINITY;
    for (let i = 0; i + 1 < row.length; i++) {
      rest.remove(row[i] as Item);
      taken.add(row[i] as Item);
      const saving = group.cost - rest.cost - taken.cost;
      if (saving > most) {
        most = saving;
        count = i + 1;
      }
    }
    return count > 0 ? { items: row.slice(0, count), saving: most } : known;
  }
}

interface Pair {
  /** Positions of two groups, and what merging them costs. */
  readonly a: number;
  readonly b: number;
  readonly cost: number;
}

/** Puts each of `items`, in their order, where it costs least. */
export function place<Item, Group extends Place<Item, Group>>(
  groups: readonly Group[],
  items: readonly Item[],
): void {
  for (const item of items) {
    let best: Group | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const group of groups) {
      const cost = group.costOfAdding(item);
      if (cost < least) {
        least = cost;
        best = group;
      }
    }
    best?.add(item);
  }
}

/** Merges pairs of groups, each time the pair that costs least, until there are at most `most`; gives those that are left. */
export function mergeDown<Item, Group extends Place<Item, Group>>(
  groups: readonly Group[],
  most: number,
): Group[] {
  const left: (Group | undefined)[] = groups.filter((group) => group.items.size > 0);
  const count = left.length;
  if (count <= Math.max(1, most)) return left as Group[];
  const costs = new Float64Array(count * count).fill(Number.POSITIVE_INFINITY);
  const compare = (a: number, b: number): void => {
    const [low, high] = [Math.min(a, b), Math.max(a, b)];
    const [first, second] = [left[low], left[high]];
    costs[low * count + high] =
      first && second ? first.costOfMerging(second) : Number.POSITIVE_INFINITY;
  };
  for (let a = 0; a < count; a++) for (let b = a + 1; b < count; b++) compare(a, b);
  for (let remaining = count; remaining > Math.max(1, most); remaining--) {
    const at = leastOf(costs);
    const [a, b] = [Math.floor(at / count), at % count];
    const [first, second] = [left[a] as Group, left[b] as Group];
    const [from, to, gone, kept] =
      first.size < second.size ? [first, second, a, b] : [second, first, b, a];
    for (const item of [...from.items]) {
      from.remove(item);
      to.add(item);
    }
    left[gone] = undefined;
    for (let other = 0; other < count; other++) {
      if (other !== gone) compare(gone, other);
      if (other !== kept) compare(kept, other);
    }
  }
  return left.filter((group): group is Group => group !== undefined);
}

function leastOf(values: Float64Array): number {
  let at = 0;
  for (let i = 1; i < values.length; i++)
    if ((values[i] as number) < (values[at] as number)) at = i;
  return at;
}
