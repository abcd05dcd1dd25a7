/**
 * What a layer costs, and a layer while the search goes on.
 *
 * Cost is in compressed bytes over the horizon: `H × (bytes × P + layer cost)`, and once all its bytes where it is not a layer
 * of the previous image as it was. `P` mixes what was observed with what is expected: of T observed updates, U changed at
 * least one member, and members that change independently with rates λ change in `1 − exp(−Σλ)` of all updates, which
 * counts as much as K observed ones: `P = (U + K × (1 − exp(−Σλ))) / (T + K)`. Members that change together count once.
 */
import { changeProbability } from './probability.ts';

/** What the planner knows of a component. */
export interface PlanItem {
  readonly id: string;
  /** Estimated compressed bytes. */
  readonly size: number;
  /** Bytes of uncompressed tar: never less than the blob, so that a bound on it holds for the blob. */
  readonly tarSize: number;
  /** Expected changes in a million updates. */
  readonly rate: number;
  /** The observed updates in which it changed, by number from 0, ascending; default none. */
  readonly events?: readonly number[] | undefined;
  /** The layer of the previous image that holds it; absent where it is new. */
  readonly previous?: number | undefined;
  /** Whether its content is other than in the previous image. */
  readonly changed?: boolean | undefined;
}

/** What the search minimises. */
export interface Objective {
  /** Updates that are looked ahead. */
  readonly horizon: number;
  /** Updates that were observed. */
  readonly observed: number;
  /** How many observed updates the expectation counts for. */
  readonly priorUpdates: number;
  /** Most bytes of uncompressed tar in a layer of several components. */
  readonly maxLayerSize: number;
  /** For each layer of the previous image, how many components it had. */
  readonly previousLayers: readonly number[];
}

/** What a layer costs by being there (a request, manifest and config entries, a mount), in bytes pulled per update. */
export const LAYER_COST = 2048;
/** What a byte above the layer size limit costs an update: more than it can ever save, but finite, so that the search has a slope. */
const EXCESS_COST = 1024;
/** Rates and probabilities are in millionths. */
export const MILLION = 1_000_000;

const NO_EVENTS: readonly number[] = [];

/** The chance that a layer changes, with `rate` of all members and `seen` observed updates that changed it. */
export function layerProbability(objective: Objective, rate: number, seen: number): number {
  const expected = changeProbability(rate / MILLION);
  const { observed, priorUpdates } = objective;
  return (seen + priorUpdates * expected) / (observed + priorUpdates);
}

/** Components that share a layer, with sums that make the cost of adding or removing one cheap to know. */
export class Group {
  readonly items: Set<PlanItem> = new Set();
  readonly #objective: Objective;
  /** The layer of the previous image that this one continues. */
  readonly origin: number | undefined;
  /** How many members changed in each observed update. */
  readonly #changes: Int32Array;
  size = 0;
  tarSize = 0;
  #rate = 0;
  /** Observed updates that changed a member. */
  #seen = 0;
  /** Members that the origin did not have, and those that are other than they were in it. */
  #foreign = 0;
  #changed = 0;
  cost = 0;

  constructor(objective: Objective, items: Iterable<PlanItem> = [], origin?: number) {
    this.#objective = objective;
    this.origin = origin;
    this.#changes = new Int32Array(objective.observed);
    for (const item of items) this.#count(item, 1);
    this.cost = this.#costOf(undefined, 1);
  }

  #count(item: PlanItem, sign: 1 | -1): void {
    if (sign > 0) this.items.add(item);
    else this.items.delete(item);
    this.size += sign * item.size;
    this.tarSize += sign * item.tarSize;
    this.#rate += sign * item.rate;
    if (item.changed) this.#changed += sign;
    if (item.previous === undefined || item.previous !== this.origin) this.#foreign += sign;
    for (const event of item.events ?? NO_EVENTS) {
      const count = (this.#changes[event] as number) + sign;
      this.#changes[event] = count;
      if (sign > 0 ? count === 1 : count === 0) this.#seen += sign;
    }
  }

  /** The chance that an update changes it. */
  get probability(): number {
    return this.items.size === 0 ? 0 : layerProbability(this.#objective, this.#rate, this.#seen);
  }

  /** Whether clients of the previous image have this very layer. */
  get isKept(): boolean {
    return this.#isKept(undefined, 1);
  }

  #isKept(item: PlanItem | undefined, sign: 1 | -1): boolean {
    if (this.origin === undefined) return false;
    const foreign = item && item.previous !== this.origin ? sign : 0;
    const changed = item?.changed ? sign : 0;
    const count = this.items.size + (item ? sign : 0);
    const had = this.#objective.previousLayers[this.origin];
    return this.#foreign + foreign === 0 && this.#changed + changed === 0 && count === had;
  }

  #seenWith(item: PlanItem, sign: 1 | -1): number {
    let seen = this.#seen;
    for (const event of item.events ?? NO_EVENTS) {
      const count = this.#changes[event] as number;
      if (sign > 0 ? count === 0 : count === 1) seen += sign;
    }
    return seen;
  }

  /** What it would cost with `item` added (`sign` 1) or taken out (-1); without item, what it costs. */
  #costOf(item: PlanItem | undefined, sign: 1 | -1): number {
    const count = this.items.size + (item ? sign : 0);
    if (count === 0) return 0;
    const size = this.size + (item ? sign * item.size : 0);
    const rate = this.#rate + (item ? sign * item.rate : 0);
    const seen = item ? this.#seenWith(item, sign) : this.#seen;
    const tarSize = this.tarSize + (item ? sign * item.tarSize : 0);
    const { horizon, maxLayerSize } = this.#objective;
    const excess = count > 1 ? Math.max(0, tarSize - maxLayerSize) : 0;
    const perUpdate =
      size * layerProbability(this.#objective, rate, seen) + LAYER_COST + excess * EXCESS_COST;
    return horizon * perUpdate + (this.#isKept(item, sign) ? 0 : size);
  }

  /** How much more the group costs with `item`. */
  costOfAdding(item: PlanItem): number {
    return this.#costOf(item, 1) - this.cost;
  }

  /** How much less the group costs without `item`. */
  savingOfRemoving(item: PlanItem): number {
    return this.cost - this.#costOf(item, -1);
  }

  /** How much more one layer of the members of both costs than the two. */
  costOfMerging(other: Group): number {
    const { horizon, maxLayerSize } = this.#objective;
    let seen = this.#seen;
    if (other.#seen > 0) {
      for (const [event, count] of other.#changes.entries()) {
        if (count > 0 && this.#changes[event] === 0) seen++;
      }
    }
    const size = this.size + other.size;
    const excess = Math.max(0, this.tarSize + other.tarSize - maxLayerSize);
    const chance = layerProbability(this.#objective, this.#rate + other.#rate, seen);
    const merged = horizon * (size * chance + LAYER_COST + excess * EXCESS_COST) + size;
    return merged - this.cost - other.cost;
  }

  add(item: PlanItem): void {
    this.#count(item, 1);
    this.cost = this.#costOf(undefined, 1);
  }

  remove(item: PlanItem): void {
    this.#count(item, -1);
    this.cost = this.#costOf(undefined, 1);
  }
}

/** What all groups cost together. */
export function totalCost(groups: readonly Group[]): number {
  return groups.reduce((sum, group) => sum + group.cost, 0);
}
