/** Local search: single components move to where they cost less; pairs of layers merge where there are too many. */
import { Group, type Objective, type PlanItem } from './group.ts';

/** Rounds over all components; later ones find next to nothing. */
const ROUNDS = 12;
/** Savings below this share are rounding, not gain. */
const EPSILON = 1e-9;

/** The group that `item` costs least in, and what it costs there. */
function cheapest(
  groups: readonly Group[],
  item: PlanItem,
  except?: Group,
): { group?: Group; cost: number } {
  let best: { group?: Group; cost: number } = { cost: Number.POSITIVE_INFINITY };
  let triedEmpty = false;
  for (const group of groups) {
    if (group === except) continue;
    // All empty groups without an origin are alike.
    if (group.items.size === 0 && group.origin === undefined) {
      if (triedEmpty) continue;
      triedEmpty = true;
    }
    const cost = group.costOfAdding(item);
    if (cost < best.cost) best = { group, cost };
  }
  return best;
}

/** Moves single components, in the order of `items`, each to the best place, until nothing is saved any more. */
export function improve(groups: readonly Group[], items: readonly PlanItem[]): void {
  const home = new Map<PlanItem, Group>();
  for (const group of groups) for (const item of group.items) home.set(item, group);
  for (let round = 0; round < ROUNDS; round++) {
    let moved = false;
    for (const item of items) {
      const from = home.get(item) as Group;
      const saving = from.savingOfRemoving(item);
      const { group, cost } = cheapest(groups, item, from);
      if (!group || cost >= saving - Math.abs(saving) * EPSILON) continue;
      from.remove(item);
      group.add(item);
      home.set(item, group);
      moved = true;
    }
    if (!moved) return;
  }
}

/** Puts each of `items`, in their order, where it costs least. */
export function place(groups: readonly Group[], items: readonly PlanItem[]): void {
  for (const item of items) cheapest(groups, item).group?.add(item);
}

interface Pair {
  readonly a: Group;
  readonly b: Group;
  readonly cost: number;
}

/** The pair of groups that costs least to merge. */
function cheapestPair(groups: readonly Group[]): Pair | undefined {
  let best: Pair | undefined;
  groups.forEach((a, i) => {
    for (let j = i + 1; j < groups.length; j++) {
      const b = groups[j] as Group;
      const cost = a.costOfMerging(b);
      if (!best || cost < best.cost) best = { a, b, cost };
    }
  });
  return best;
}

/** Moves all members of the smaller group of a pair into the larger. */
function merge({ a, b }: Pair): void {
  const [from, to] = a.size < b.size ? [a, b] : [b, a];
  for (const item of [...from.items]) {
    from.remove(item);
    to.add(item);
  }
}

/** Merges pairs of groups, each time the pair that costs least, until there are at most `most`. */
export function mergeDown(groups: readonly Group[], most: number): Group[] {
  let left = groups.filter((group) => group.items.size > 0);
  while (left.length > Math.max(1, most)) {
    const pair = cheapestPair(left);
    if (!pair) return left;
    merge(pair);
    left = left.filter((group) => group.items.size > 0);
  }
  return left;
}

/** How often two layers are merged to give a component a layer of its own, at the most. */
const TRADES = 40;

/**
 * Where all places are taken, single moves cannot see that two layers which cost little together would free one for a
 * component that costs much where it is. Trades such pairs for such components as long as that saves, then moves on.
 */
export function trade(
  groups: readonly Group[],
  items: readonly PlanItem[],
  objective: Objective,
): void {
  for (let count = 0; count < TRADES; count++) {
    improve(groups, items);
    if (groups.some((group) => group.items.size === 0)) return;
    const pair = cheapestPair(groups);
    const leaver = pair && bestLeaver(groups, objective);
    if (!leaver || leaver.saving <= pair.cost + Math.abs(pair.cost) * EPSILON) return;
    merge(pair);
    const free = groups.find((group) => group.items.size === 0) as Group;
    const home = groups.find((group) => group.items.has(leaver.item)) as Group;
    home.remove(leaver.item);
    free.add(leaver.item);
  }
}

/** The component that saves most by leaving for a new layer. */
function bestLeaver(
  groups: readonly Group[],
  objective: Objective,
): { readonly item: PlanItem; readonly saving: number } | undefined {
  const empty = new Group(objective);
  let best: { item: PlanItem; saving: number } | undefined;
  for (const group of groups) {
    if (group.items.size < 2) continue;
    for (const item of group.items) {
      const saving = group.savingOfRemoving(item) - empty.costOfAdding(item);
      if (!best || saving > best.saving) best = { item, saving };
    }
  }
  return best;
}
