/** Measured runs as `results/speed.json` keeps them, and what is computed from them. */
import type { Run } from './measure.ts';

/** A run, and what a registry sent in it. */
export interface RegistryRun extends Run {
  /** Bytes of answers to GET, by the registry's access log. */
  readonly fetchedBytes?: number;
  /** Blobs of layers that were fetched, whole or in part. */
  readonly fetchedLayers?: number;
}

/** All runs of one command on one input. */
export interface Row {
  readonly command: string;
  /** The command of ours that this is compared with. */
  readonly beside: string;
  /** In the order of rounds. */
  readonly runs: readonly RegistryRun[];
  /** Of the layout that was written; undefined where none was. */
  readonly outputBytes?: number;
}

/** What was measured on one input in one session, commands in turn in each round. */
export interface Section {
  readonly name: string;
  /** What the input is. */
  readonly about: string;
  /** From where to where, and the state of caches. */
  readonly state: string;
  readonly commit: string;
  readonly machine: string;
  readonly node: string;
  readonly tools: string;
  /** Files and directories of the input; undefined where they were not counted. */
  readonly entries?: number;
  /** Bytes of the layer that changed; undefined where none did. */
  readonly changedLayerBytes?: number;
  readonly rows: readonly Row[];
}

/** The middle value; the mean of the two middle ones of an even number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const [low, high] = [sorted[half - 1] ?? Number.NaN, sorted[half] ?? Number.NaN];
  return sorted.length % 2 === 0 ? (low + high) / 2 : high;
}

/** The median of a figure over all runs. */
export function figure(row: Row, pick: (run: RegistryRun) => number | undefined): number {
  return median(row.runs.map((run) => pick(run) ?? Number.NaN));
}

/** The row of a command; undefined where it was not measured. */
export function rowOf(section: Section | undefined, command: string): Row | undefined {
  return section?.rows.find((row) => row.command === command);
}

/** The median over rounds of the wall time of `a` by that of `b` in the same round; undefined where one was not measured. */
export function ratio(section: Section | undefined, a: string, b: string): number | undefined {
  const [first, second] = [rowOf(section, a), rowOf(section, b)];
  if (first === undefined || second === undefined) return undefined;
  const rounds = Math.min(first.runs.length, second.runs.length);
  const wall = (row: Row, round: number): number => row.runs[round]?.wallSeconds ?? Number.NaN;
  return median(Array.from({ length: rounds }, (_, i) => wall(first, i) / wall(second, i)));
}

/** Sections measured now take the place of those of the same name; the order is that of `names`. */
export function merge(
  old: readonly Section[],
  now: readonly Section[],
  names: readonly string[],
): Section[] {
  const all = new Map([...old, ...now].map((section) => [section.name, section]));
  return names.flatMap((name) => all.get(name) ?? []);
}
