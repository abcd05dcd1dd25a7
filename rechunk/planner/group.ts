/**
 * What a layer costs, and a layer while the search goes on.
 *
 * Cost is in compressed bytes over the horizon: `H × (bytes × P + layer cost)`, and once all its bytes where it is not a layer
 * of the previous image as it was; for as many of the clients as lack it. P is the chance that an update changes it (`chance.ts`).
 */
import { BILLION, type Candidate } from './candidate.ts';
import { changeProbability } from './chance.ts';
import type { Place } from './search.ts';

/** What the search minimises. */
export interface Objective {
  /** Updates that are looked ahead. */
  readonly horizon: number;
  /** Updates that were observed. */
  readonly observed: number;
  /** Most bytes of uncompressed tar in a layer of several components. */
  readonly maxLayerSize: number;
  /** For each layer of the previous image, how many components it had. */
  readonly previousLayers: readonly number[];
  /** For each of them, the share of clients that have it. */
  readonly previousShares: readonly number[];
}

/** What a layer costs by being there (a request, manifest and config entries, a mount), in bytes pulled per update. */
export const LAYER_COST = 2048;
/** What a byte above the layer size limit costs an update: more than it can ever save, but finite, so that the search has a slope. */
const EXCESS_COST = 1024;
/** What a layer costs an update that mixes components which stay apart with others. */
const MIXED_COST = 1e10;

/** The share of a family's changes that all members have together. Between 0.5 and 1 figures hardly differ (npm series). */
const TOGETHER = 0.7;

/** Members of one family. */
interface Family {
  readonly hazard: number;
  readonly count: number;
}

/** How often any member of a family changes, in a billion updates: partly as often as a single one, partly each by itself. */
function familyHazard({ hazard, count }: Family): number {
  return count < 2 ? hazard : Math.round(hazard * (1 - TOGETHER + TOGETHER / count));
}

const NOBODY: Family = { hazard: 0, count: 0 };

/** Components that share a layer, with sums that make the cost of adding or removing one cheap to know. */
export class Group implements Place<Candidate, Group> {
  readonly items: Set<Candidate> = new Set();
  readonly #objective: Objective;
  /** The layer of the previous image that this one continues. */
  readonly origin: number | undefined;
  /** How many members changed in each observed update. */
  readonly #changes: Int32Array;
  size = 0;
  tarSize = 0;
  /** Expected changes in a billion updates; members of one family are not summed but {@link familyHazard}. */
  #hazard = 0;
  readonly #families: Map<string, Family> = new Map();
  #survival = 1;
  #chance = 0;
  /** Observed changes of members, what they count for, and how many different updates they came in. */
  #events = 0;
  #eventWeight = 0;
  #seen = 0;
  /** Members that the origin did not have, and those that are other than they were in it. */
  #foreign = 0;
  #changed = 0;
  /** Members that stay apart from others. */
  #apart = 0;
  cost = 0;

  constructor(objective: Objective, items: Iterable<Candidate> = [], origin?: number) {
    this.#objective = objective;
    this.origin = origin;
    this.#changes = new Int32Array(objective.observed);
    for (const item of items) this.#count(item, 1);
    this.#refresh();
  }

  #count(item: Candidate, sign: 1 | -1): void {
    if (sign > 0) this.items.add(item);
    else this.items.delete(item);
    this.size += sign * item.size;
    this.tarSize += sign * item.tarSize;
    this.#hazard += this.#hazardOf(item, sign);
    if (item.family !== undefined) this.#families.set(item.family, this.#familyWith(item, sign));
    this.#events += sign * item.events.length;
    this.#eventWeight += sign * item.events.length * item.eventWeight;
    if (item.changed) this.#changed += sign;
    if (item.apart) this.#apart += sign;
    if (item.previous === undefined || item.previous !== this.origin) this.#foreign += sign;
    for (const event of item.events) {
      const count = (this.#changes[event] as number) + sign;
      this.#changes[event] = count;
      if (sign > 0 ? count === 1 : count === 0) this.#seen += sign;
    }
  }

  #familyWith({ family = '', hazard }: Candidate, sign: 1 | -1): Family {
    const known = this.#families.get(family) ?? NOBODY;
    return { hazard: known.hazard + sign * hazard, count: known.count + sign };
  }

  /** How much the group's hazard changes with `item` added or removed. */
  #hazardOf(item: Candidate, sign: 1 | -1): number {
    if (item.family === undefined) return sign * item.hazard;
    const known = this.#families.get(item.family) ?? NOBODY;
    if (known.count === 0) return item.hazard;
    return familyHazard(this.#familyWith(item, sign)) - familyHazard(known);
  }

  #survivalWith(item: Candidate): number {
    if (item.family === undefined || !this.#families.get(item.family)?.count)
      return this.#survival * item.survival;
    return 1 - changeProbability((this.#hazard + this.#hazardOf(item, 1)) / BILLION);
  }

  #refresh(): void {
    this.#survival = 1 - changeProbability(this.#hazard / BILLION);
    this.#chance = this.probability;
    this.cost =
      this.items.size === 0
        ? 0
        : this.#price({
            count: this.items.size,
            apart: this.#apart,
            size: this.size,
            tarSize: this.tarSize,
            chance: this.probability,
            kept: this.isKept,
          });
  }

  /** The chance that an update changes it. */
  get probability(): number {
    if (this.items.size === 0) return 0;
    return chanceOf(this.#survival, this.#events, this.#eventWeight, this.#seen);
  }

  /** Whether clients of the previous image have this very layer. */
  get isKept(): boolean {
    return (
      this.origin !== undefined &&
      this.#foreign === 0 &&
      this.#changed === 0 &&
      this.items.size === this.#objective.previousLayers[this.origin]
    );
  }

  #price({ count, apart, size, tarSize, chance, kept }: Sums): number {
    const { horizon, maxLayerSize } = this.#objective;
    let perUpdate = size * chance + LAYER_COST;
    if (count > 1 && tarSize > maxLayerSize) perUpdate += (tarSize - maxLayerSize) * EXCESS_COST;
    if (apart > 0 && apart < count) perUpdate += MIXED_COST;
    const have = kept ? (this.#objective.previousShares[this.origin as number] ?? 1) : 0;
    return horizon * perUpdate + size * (1 - have);
  }

  /** A quick bound of what adding costs: as if its observed changes, and its family's, brought no new updates. */
  #leastOfAdding(item: Candidate): number {
    const size = this.size + item.size;
    const own = item.family === undefined ? item.survival : 1;
    const chance = 1 - (1 - this.#chance) * own;
    const pulled = this.origin !== undefined && item.previous === this.origin ? 0 : size;
    return this.#objective.horizon * (size * chance + LAYER_COST) + pulled - this.cost;
  }

  costOfAdding(item: Candidate, limit: number = Number.POSITIVE_INFINITY): number {
    if (this.#leastOfAdding(item) > limit) return Number.POSITIVE_INFINITY;
    let seen = this.#seen;
    for (const event of item.events) if (this.#changes[event] === 0) seen++;
    const chance = chanceOf(
      this.#survivalWith(item),
      this.#events + item.events.length,
      this.#eventWeight + item.events.length * item.eventWeight,
      seen,
    );
    const count = this.items.size + 1;
    const kept =
      this.origin !== undefined &&
      item.previous === this.origin &&
      !item.changed &&
      this.#foreign === 0 &&
      this.#changed === 0 &&
      count === this.#objective.previousLayers[this.origin];
    const apart = this.#apart + Number(item.apart);
    const [size, tarSize] = [this.size + item.size, this.tarSize + item.tarSize];
    return this.#price({ count, apart, size, tarSize, chance, kept }) - this.cost;
  }

  savingOfRemoving(item: Candidate): number {
    const count = this.items.size - 1;
    if (count === 0) return this.cost;
    let seen = this.#seen;
    for (const event of item.events) if (this.#changes[event] === 1) seen--;
    const chance = chanceOf(
      1 - changeProbability((this.#hazard + this.#hazardOf(item, -1)) / BILLION),
      this.#events - item.events.length,
      this.#eventWeight - item.events.length * item.eventWeight,
      seen,
    );
    const kept =
      this.origin !== undefined &&
      this.#foreign - Number(item.previous !== this.origin) === 0 &&
      this.#changed - Number(item.changed) === 0 &&
      count === this.#objective.previousLayers[this.origin];
    const apart = this.#apart - Number(item.apart);
    const [size, tarSize] = [this.size - item.size, this.tarSize - item.tarSize];
    return this.cost - this.#price({ count, apart, size, tarSize, chance, kept });
  }

  #hazardWith(other: Group): number {
    let hazard = this.#hazard + other.#hazard;
    for (const [name, there] of other.#families) {
      const here = this.#families.get(name);
      if (!here?.count || there.count === 0) continue;
      const both = { hazard: here.hazard + there.hazard, count: here.count + there.count };
      hazard += familyHazard(both) - familyHazard(here) - familyHazard(there);
    }
    return hazard;
  }

  costOfMerging(other: Group): number {
    let seen = this.#seen;
    if (other.#seen > 0) {
      for (let event = 0; event < this.#changes.length; event++) {
        if (other.#changes[event] !== 0 && this.#changes[event] === 0) seen++;
      }
    }
    const chance = chanceOf(
      1 - changeProbability(this.#hazardWith(other) / BILLION),
      this.#events + other.#events,
      this.#eventWeight + other.#eventWeight,
      seen,
    );
    const merged = this.#price({
      count: this.items.size + other.items.size,
      apart: this.#apart + other.#apart,
      size: this.size + other.size,
      tarSize: this.tarSize + other.tarSize,
      chance,
      kept: false,
    });
    return merged - this.cost - other.cost;
  }

  add(item: Candidate): void {
    this.#count(item, 1);
    this.#refresh();
  }

  remove(item: Candidate): void {
    this.#count(item, -1);
    this.#refresh();
  }
}

/** What a layer's cost depends on. */
interface Sums {
  /** Members, and those of them that stay apart from others. */
  readonly count: number;
  readonly apart: number;
  readonly size: number;
  readonly tarSize: number;
  readonly chance: number;
  readonly kept: boolean;
}

/** The chance of a change, from the members' joint survival, and their observed changes with what these count for together. */
function chanceOf(survival: number, events: number, eventWeight: number, seen: number): number {
  if (events === 0) return 1 - survival;
  return 1 - survival * (1 - (eventWeight / BILLION) * (seen / events));
}

/** What all groups cost together. */
export function totalCost(groups: readonly Group[]): number {
  return groups.reduce((sum, group) => sum + group.cost, 0);
}
