/**
 * The planner: components into at most N layers so that updates pull few bytes over a horizon (see `planner/group.ts` for
 * the objective). Without a previous image, several first groupings are cut from sorted rows and improved by moving single
 * components; the cheapest counts. With one, its plan is where the search starts, and a component moves only when that pays
 * back what clients must pull once; where nothing changed, the plan stays as it is.
 *
 * Pure and deterministic: no I/O, no clock, no randomness, integer rates and sizes, and only IEEE-exact arithmetic (+ − × ÷),
 * so that every machine gives the same plan.
 */

import { type Candidate, MILLION, type PlanItem, weigh } from './planner/candidate.ts';
import { byDensity, byRate, firstGroupings } from './planner/cut.ts';
import { Group, type Objective, totalCost } from './planner/group.ts';
import { mergeDown, place, Search, type SearchOptions } from './planner/search.ts';

export type { PlanItem } from './planner/candidate.ts';

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
  /** The layer of the previous image that clients have and that this one is, as far as the planner can tell. */
  readonly kept?: number;
}

/** Layers from most to least stable, for their bytes: in the order in which chains pull least. */
export interface Plan {
  readonly layers: readonly PlannedLayer[];
  /** Expected compressed bytes that one update pulls. */
  readonly updateBytes: number;
  /** Estimated compressed bytes that clients of the previous image pull now. */
  readonly pullBytes: number;
}

/** Bounds of a plan, and how far it looks ahead. */
export interface PlanBounds {
  /** Most layers; default {@link DEFAULT_MAX_LAYERS}. */
  readonly maxLayers?: number | undefined;
  /** Most bytes of uncompressed tar in a layer; a component that is larger alone gets a layer of its own. Default: no bound. */
  readonly maxLayerSize?: number | undefined;
  /** Updates that are looked ahead; default {@link DEFAULT_HORIZON}. */
  readonly horizon?: number | undefined;
  /** How many observed updates the expected rates count for; default {@link DEFAULT_PRIOR_UPDATES}. */
  readonly priorUpdates?: number | undefined;
}

/** Bounds of a plan, and what is known of the past. */
export interface PlanOptions extends PlanBounds {
  /** Updates that were observed; the items' events count from 0 to below it. Default 0. */
  readonly observed?: number | undefined;
  /** How many components each layer of the previous image has, none where it holds directories only; default: there is no image. */
  readonly previousLayers?: readonly number[] | undefined;
  /** For each of them, the share of clients that have it (0 to 1); default: all have all. */
  readonly previousShares?: readonly number[] | undefined;
}

/** Leaves room for layers that others put on top: Docker's overlay2 stops at 127. */
export const DEFAULT_MAX_LAYERS = 100;
/** Updates that are looked ahead. Short: a layer that changes anyway is free to be arranged anew, so waiting costs one pull at most. */
export const DEFAULT_HORIZON = 5;
/** Weight of expected rates against observed updates. */
export const DEFAULT_PRIOR_UPDATES = 3;

/** How far the search goes: later rounds and trades find next to nothing. */
const SEARCH: SearchOptions<Candidate> = {
  rounds: 12,
  trades: 200,
  comparisons: 6_000_000,
  orders: [byDensity, byRate],
};

/** How far each start is searched before the best of them is searched to the end. */
const FIRST_SEARCH: SearchOptions<Candidate> = { ...SEARCH, comparisons: 1_000_000 };

/** Groups `items` into layers; every item is in exactly one. The order of `items` does not matter. */
export function plan(items: readonly PlanItem[], options: PlanOptions = {}): Plan {
  if (items.length === 0) return { layers: [], updateBytes: 0, pullBytes: 0 };
  const most = Math.min(options.maxLayers ?? DEFAULT_MAX_LAYERS, items.length);
  const observed = options.observed ?? 0;
  const priorUpdates = options.priorUpdates ?? DEFAULT_PRIOR_UPDATES;
  const candidates = items
    .map((item) => weigh(item, observed, priorUpdates))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  const objective: Objective = {
    horizon: options.horizon ?? DEFAULT_HORIZON,
    observed,
    maxLayerSize: options.maxLayerSize ?? Number.MAX_SAFE_INTEGER,
    previousLayers: options.previousLayers ?? [],
    previousShares: options.previousShares ?? [],
  };
  return describePlan(search(candidates, most, objective), objective.previousLayers);
}

function search(items: readonly Candidate[], most: number, objective: Objective): readonly Group[] {
  const continued =
    objective.previousLayers.length > 0 ? continuePlan(items, most, objective) : undefined;
  if (continued?.every((group) => group.isKept)) return continued;
  const fresh = firstGroupings(items, most, objective).map((grouping) =>
    grouping.map((group) => makeGroup(group, objective)),
  );
  const found = (continued ? [continued, ...fresh] : fresh).map((groups) =>
    searchFrom(groups, items, most, objective, FIRST_SEARCH),
  );
  const best = found.reduce((a, b) => (totalCost(b) < totalCost(a) ? b : a));
  return searchFrom(best, items, most, objective, SEARCH);
}

/** A group that continues the layer of the previous image whose members it has, if there is one. */
function makeGroup(items: readonly Candidate[], objective: Objective): Group {
  const origins = new Set(items.map(({ previous }) => previous));
  const [origin] = origins;
  return new Group(objective, items, origins.size === 1 ? origin : undefined);
}

function searchFrom(
  start: readonly Group[],
  items: readonly Candidate[],
  most: number,
  objective: Objective,
  options: SearchOptions<Candidate>,
): readonly Group[] {
  const groups = [...start];
  // An empty place lets a component leave for a layer of its own.
  while (groups.length < most) groups.push(new Group(objective));
  new Search(groups, items, options, () => new Group(objective)).run();
  return groups.filter((group) => group.items.size > 0);
}

/** The previous image's layers with what is left of them, and new components where they cost least. */
function continuePlan(items: readonly Candidate[], most: number, objective: Objective): Group[] {
  const members = objective.previousLayers.map((): Candidate[] => []);
  for (const item of items) if (item.previous !== undefined) members[item.previous]?.push(item);
  const layers = members.flatMap((group, origin) =>
    group.length > 0 ? [new Group(objective, group, origin)] : [],
  );
  const groups = mergeDown(layers, most);
  const places = [...groups];
  while (places.length < most) places.push(new Group(objective));
  place(
    places,
    items.filter(({ previous }) => previous === undefined),
  );
  return places.filter((group) => group.items.size > 0);
}

function describePlan(groups: readonly Group[], previousLayers: readonly number[]): Plan {
  const layers = inOrder(groups.map(describeLayer), previousLayers);
  const sum = (pick: (layer: PlannedLayer) => number): number =>
    layers.reduce((total, layer) => total + pick(layer), 0);
  return {
    layers,
    updateBytes: Math.round(sum(({ size, changes }) => (size * changes) / MILLION)),
    pullBytes: sum(({ size, kept }) => (kept === undefined ? size : 0)),
  };
}

/**
 * The order in which chains pull least, where each layer is pulled again when one below it changes: by the odds of a change for
 * each byte, which is best for layers that change independently (swap two neighbours to see it). The lowest layers of the previous
 * image that are all kept stay as they lie: above the first that is not, everything is pulled again by chain in any case, so that
 * sorting it anew costs nothing. Layers of the previous image without components (`previousLayers` counts them) are passed over.
 */
export function inOrder(
  layers: readonly PlannedLayer[],
  previousLayers: readonly number[] = [],
): PlannedLayer[] {
  const kept = new Map(layers.map((layer) => [layer.kept, layer]));
  const lowest: PlannedLayer[] = [];
  for (let number = 0; previousLayers[number] === 0 || kept.has(number); number++) {
    const layer = kept.get(number);
    if (layer) lowest.push(layer);
  }
  const others = layers.filter((layer) => !lowest.includes(layer));
  const byOdds = (a: PlannedLayer, b: PlannedLayer): number =>
    oddsPerByte(a) - oddsPerByte(b) || (idOf(a) < idOf(b) ? -1 : 1);
  return [...lowest, ...others.sort(byOdds)];
}

function oddsPerByte({ changes, size }: PlannedLayer): number {
  return changes / ((MILLION + 1 - changes) * Math.max(1, size));
}

function idOf(layer: PlannedLayer): string {
  return layer.components[0] ?? '';
}

function describeLayer(group: Group): PlannedLayer {
  return {
    components: [...group.items].map(({ id }) => id).sort(),
    size: group.size,
    tarSize: group.tarSize,
    changes: Math.round(group.probability * MILLION),
    ...(group.isKept && group.origin !== undefined ? { kept: group.origin } : {}),
  };
}
