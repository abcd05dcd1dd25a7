/** A component as the search sees it: what the planner is told, weighed against what was observed. */
import { changeProbability, hazardOf } from './chance.ts';

/** What the planner knows of a component. */
export interface PlanItem {
  readonly id: string;
  /** Estimated compressed bytes. */
  readonly size: number;
  /** Bytes of uncompressed tar: never less than the blob, so that a bound on it holds for the blob. */
  readonly tarSize: number;
  /** Expected changes in a million updates. */
  readonly rate: number;
  /** How many observed updates `rate` counts for; default: the plan's `priorUpdates`. */
  readonly weight?: number | undefined;
  /** What is expected to change in the same updates: components of one release process (an npm scope); default none. */
  readonly family?: string | undefined;
  /** Whether it shares layers only with others that stay apart; default false. */
  readonly apart?: boolean | undefined;
  /** The observed updates in which it changed, by number from 0, ascending; default none. */
  readonly events?: readonly number[] | undefined;
  /** The layer of the previous image that holds it; absent where it is new. */
  readonly previous?: number | undefined;
  /** Whether its content is other than in the previous image. */
  readonly changed?: boolean | undefined;
}

/** Rates are in millionths. */
export const MILLION = 1_000_000;
/** Hazards are integers of this unit, so that sums do not depend on their order. */
export const BILLION = 1_000_000_000;

/** A component in the search. */
export interface Candidate {
  readonly id: string;
  readonly size: number;
  readonly tarSize: number;
  readonly events: readonly number[];
  readonly family: string | undefined;
  readonly apart: boolean;
  readonly previous: number | undefined;
  readonly changed: boolean;
  /** Expected changes in a billion updates beside those of the kind that were observed. */
  readonly hazard: number;
  /** What each observed change of it counts, in billionths. */
  readonly eventWeight: number;
  /** `exp(−hazard)`. */
  readonly survival: number;
  /** All expected changes in a million updates. */
  readonly rate: number;
}

/** Weighs `item` after `observed` updates. */
export function weigh(item: PlanItem, observed: number, priorUpdates: number): Candidate {
  const weight = item.weight ?? priorUpdates;
  const events = item.events ?? [];
  const total = observed + weight;
  const hazard = Math.round((hazardOf(item.rate / MILLION) * weight * BILLION) / total);
  const eventWeight = Math.floor(BILLION / total);
  return {
    id: item.id,
    size: item.size,
    tarSize: item.tarSize,
    events,
    family: item.family,
    apart: item.apart ?? false,
    previous: item.previous,
    changed: item.changed ?? false,
    hazard,
    eventWeight,
    survival: 1 - changeProbability(hazard / BILLION),
    rate: Math.round((hazard + events.length * eventWeight) / (BILLION / MILLION)),
  };
}
