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

/** Layers from most to least stable. */
export interface Plan {
  readonly layers: readonly PlannedLayer[];
  /** Expected compressed bytes that one update pulls. */
  readonly updateBytes: number;
  /** Estimated compressed bytes that clients of the previous image pull now. */
  readonly pullBytes: number;
}

/** Bounds of a plan, and what is known of the past. */
export interface PlanOptions {
  /** Most layers; default {@link DEFAULT_MAX_LAYERS}. */
  readonly maxLayers?: number | undefined;
  /** Most bytes of uncompressed tar in a layer; a component that is larger alone gets a layer of its own. Default: no bound. */
  readonly maxLayerSize?: number | undefined;
  /** Updates that were observed; the items' events count from 0 to below it. Default 0. */
  readonly observed?: number | undefined;
  /** How many components each layer of the previous image has; default: there is none. */
  readonly previousLayers?: readonly number[] | undefined;
  /** Updates that are looked ahead; default {@link DEFAULT_HORIZON}. */
  readonly horizon?: number | undefined;
  /** How many observed updates the expected rates count for; default {@link DEFAULT_PRIOR_UPDATES}. */
  readonly priorUpdates?: number | undefined;
}

/** Leaves room for layers that others put on top: Docker's overlay2 stops at 127. */
export const DEFAULT_MAX_LAYERS = 100;
/** Updates that are looked ahead. Short: a layer that changes anyway is free to be arranged anew, so waiting costs one pull at most. */
export const DEFAULT_HORIZON = 5;
/** Weight of expected rates against observed updates. */
export const DEFAULT_PRIOR_UPDATES = 3;

/** How far the search goes: later rounds and trades find next to nothing. */
const SEARCH: SearchOptions<Candidate> = { rounds: 12, trades: 60, orders: [byDensity, byRate] };

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
  };
  return describePlan(search(candidates, most, objective));
}

function search(items: readonly Candidate[], most: number, objective: Objective): readonly Group[] {
  const continued =
    objective.previousLayers.length > 0 ? continuePlan(items, most, objective) : undefined;
  if (continued?.every((group) => group.isKept)) return continued;
  const fresh = firstGroupings(items, most, objective).map((grouping) => {
    const groups = grouping.map((group) => makeGroup(group, objective));
    return searchFrom(groups, items, most, objective);
  });
  const candidates = continued ? [searchFrom(continued, items, most, objective), ...fresh] : fresh;
  return candidates.reduce((best, groups) => (totalCost(groups) < totalCost(best) ? groups : best));
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
): readonly Group[] {
  const groups = [...start];
  // An empty place lets a component leave for a layer of its own.
  while (groups.length < most) groups.push(new Group(objective));
  new Search(groups, items, SEARCH, () => new Group(objective)).run();
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

function describePlan(groups: readonly Group[]): Plan {
  const layers = groups.map(describeLayer);
  const unchanged = layers.every(({ kept }) => kept !== undefined);
  const byChanges = (a: PlannedLayer, b: PlannedLayer): number =>
    a.changes - b.changes || (idOf(a) < idOf(b) ? -1 : 1);
  // Where nothing changed, the order stays too, whatever was learnt since.
  layers.sort((a, b) => (unchanged ? (a.kept ?? 0) - (b.kept ?? 0) : byChanges(a, b)));
  const sum = (pick: (layer: PlannedLayer) => number): number =>
    layers.reduce((total, layer) => total + pick(layer), 0);
  return {
    layers,
    updateBytes: Math.round(sum(({ size, changes }) => (size * changes) / MILLION)),
    pullBytes: sum(({ size, kept }) => (kept === undefined ? size : 0)),
  };
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
