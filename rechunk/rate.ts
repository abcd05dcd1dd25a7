/** How often components are expected to change, from what an image itself says of them. Pure, in integers. */
import type { ComponentInfo, ComponentKind } from './components.ts';
import type { PlanItem } from './plan.ts';

/** Rates are in changes a million updates. */
const MILLION = 1_000_000;
/** Seconds of a week, the update that rates refer to. */
const WEEK_SECONDS = 7 * 86_400;
/** How far back changes are counted, seconds: distributions keep one to two years of changelog. */
const WINDOW_SECONDS = 548 * 86_400;
/** Changes less than this apart count once, seconds: one update brings them together. */
const MERGE_SECONDS = WEEK_SECONDS;
/** Weight of the prior, in weeks of observation. */
const PRIOR_WEEKS = 8;
/** How many observed updates a prior by kind counts for; each week of recorded changes counts for one more. */
const PRIOR_WEIGHT = 3;
/** How many observed updates a stated interval counts for. */
const STATED_WEIGHT = 30;

/** Expected changes in a million weekly updates, by kind, before anything was observed. Chosen by hand, judged in bench/. */
export const PRIOR_RATE: Readonly<Record<ComponentKind, number>> = {
  package: 40_000,
  language: 50_000,
  user: 140_000,
  kernel: 300_000,
  initramfs: 600_000,
  database: 950_000,
  generated: 500_000,
  config: 200_000,
  application: 700_000,
  large: 150_000,
  directories: 50_000,
  rest: 500_000,
};

/**
 * The same for a skeleton, which changes where a directory comes, goes or has other metadata: new versions bring directories that
 * are called by them. Chosen by hand.
 */
export const SKELETON_RATE = 500_000;

/** The same for the whiteouts over a base, which change where what an image deletes of its base does. Chosen by hand. */
export const WHITEOUT_RATE = 100_000;

/** A package below `node_modules`: its scope or, without one, the first word of its name. */
const NODE_FAMILY = /^node:.*node_modules\/(?:@([^/]+)\/[^/]+|([^/@.-]+)[^/]*)$/;

/** What a rate is computed from. */
export interface RateEvidence {
  readonly kind: ComponentKind;
  readonly changeTimes?: readonly number[] | undefined;
  readonly updateIntervalDays?: number | undefined;
  readonly packages?: readonly string[] | undefined;
}

/**
 * Expected changes of a component in a million weekly updates: what the user stated, else the changes within a year and a half before
 * `now` mixed with the kind's prior. `now` is in seconds, the newest change in the image, never the wall clock.
 */
export function changeRate(evidence: RateEvidence, now: number): number {
  if (evidence.updateIntervalDays !== undefined) {
    return Math.round((MILLION * 7) / Math.max(1, evidence.updateIntervalDays));
  }
  const prior = priorOf(evidence);
  const times = (evidence.changeTimes ?? []).filter((time) => time <= now).sort((a, b) => b - a);
  if (times.length === 0) return prior;
  let count = 0;
  let last = Number.POSITIVE_INFINITY;
  for (const time of times) {
    if (time < now - WINDOW_SECONDS) break;
    if (last - time >= MERGE_SECONDS) count++;
    last = time;
  }
  const weeks = observedWeeks(times, now);
  return Math.round((count * MILLION + prior * PRIOR_WEEKS) / (weeks + PRIOR_WEEKS));
}

/** What the planner is told of a component's changes: everything in `PlanItem` but sizes and what is remembered. */
export type Expectation = Pick<PlanItem, 'rate' | 'weight' | 'family' | 'apart'>;

/**
 * What is expected of a component's changes, from what the image says of it. Packages of one npm scope, and those whose names begin
 * with the same word, are mostly released together. Package databases change in every update and in rebuilds that change nothing
 * else, so they stay apart.
 */
export function expectChanges(info: ComponentInfo, now: number): Expectation {
  const [, scope, word] = NODE_FAMILY.exec(info.id) ?? [];
  return {
    rate: changeRate(info, now),
    weight: weightOf(info, now),
    family: scope ?? word,
    apart: info.kind === 'database',
  };
}

function weightOf({ changeTimes, updateIntervalDays }: RateEvidence, now: number): number {
  if (updateIntervalDays !== undefined) return STATED_WEIGHT;
  const times = (changeTimes ?? []).filter((time) => time <= now).sort((a, b) => b - a);
  return PRIOR_WEIGHT + (times.length === 0 ? 0 : Math.round(observedWeeks(times, now)));
}

/** `NAME@MAJOR.MINOR.PATCH`, as component repos of languages write packages. */
const VERSION = /@\d+\.(\d+)\.(\d+)/;
/** Releases since the major version that make a package a frequent one, and its changes in a million weekly updates; bench/. */
const FREQUENT_RELEASES = 60;
const FREQUENT_RATE = 400_000;
/** The same where there were none. */
const SETTLED_RATE = 10_000;

/** The prior of a kind; of packages of languages, by the releases that their version counts since the last major one. */
function priorOf({ kind, packages = [] }: RateEvidence): number {
  const counts = packages.flatMap((name) => {
    const [, minor, patch] = VERSION.exec(name) ?? [];
    return minor === undefined ? [] : [Number(minor) + Number(patch)];
  });
  if (kind !== 'language' || counts.length === 0) return PRIOR_RATE[kind];
  const most = counts.reduce((a, b) => Math.max(a, b));
  if (most >= FREQUENT_RELEASES) return FREQUENT_RATE;
  return most === 0 ? SETTLED_RATE : PRIOR_RATE[kind];
}

/** Weeks that the recorded changes cover: a single build date says only "not changed since". */
function observedWeeks(times: readonly number[], now: number): number {
  const oldest = times.at(-1) as number;
  return Math.min(WINDOW_SECONDS, Math.max(0, now - oldest)) / WEEK_SECONDS;
}
