/** The bench in pieces that can run side by side: one stored series packed into N layers, or one seed of the simulated host. */
import { simulateHost } from '../series/host.ts';
import { loadSeries, type Release, type SeriesName } from '../series/series.ts';
import { cutSeries, dpkgInfo } from './cuts.ts';
import { type NoiseRow, noiseRows } from './noise.ts';
import { HINDSIGHT, makersOf, OURS_FRESH, OURS_PLAN } from './packings.ts';
import { floorRows, packedRows, type Row } from './rows.ts';

/** The simulated host's name among the series. */
export const HOST = 'host';

/** A piece of the bench. */
export interface Task {
  readonly series: SeriesName | typeof HOST;
  readonly counts: readonly number[];
  /** Of the host: which year. */
  readonly seed?: number;
  /** What to measure: figures of updates, floors, both of these, or noise. */
  readonly measure: 'updates' | 'floors' | 'both' | 'noise';
  /** Only so many releases; default all. */
  readonly releases?: number;
}

/** What a piece found. */
export interface Outcome {
  readonly rows: readonly Row[];
  readonly noise: readonly NoiseRow[];
}

/** Ways of packing that take long and differ little from run to run are measured on the first seeds only. */
const SLOW: ReadonlySet<string> = new Set([OURS_FRESH, OURS_PLAN, HINDSIGHT]);
/** Seeds that all ways are measured on. */
export const SLOW_SEEDS = 10;

/** The releases of a series, with components as `build` finds them now: stored ones know `info/` as part of dpkg's database. */
async function releasesOf({ series, seed = 1, releases }: Task): Promise<readonly Release[]> {
  if (series === HOST) return simulateHost({ seed }).slice(0, releases);
  return cutSeries((await loadSeries(series)).slice(0, releases), dpkgInfo);
}

/** Runs one piece. */
export async function runTask(task: Task): Promise<Outcome> {
  const { series, counts, seed = 1, measure } = task;
  const releases = await releasesOf(task);
  if (measure === 'noise') {
    return { rows: [], noise: counts.flatMap((count) => noiseRows(series, releases, count)) };
  }
  const names = [...Object.keys(makersOf(series)), HINDSIGHT].filter(
    (name) => series !== HOST || seed <= SLOW_SEEDS || !SLOW.has(name),
  );
  const floors = measure === 'updates' ? [] : floorRows(series, releases);
  const packed = measure === 'floors' ? [] : counts;
  const rows = packed.flatMap((count) => packedRows(series, releases, count, names));
  return { rows: [...floors, ...rows], noise: [] };
}
