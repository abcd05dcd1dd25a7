/**
 * Bytes that updates pull, on update series of real packages and of a simulated host (`series/`), by way of packing:
 * `node bench/reuse.ts [--series NAME,…] [--runs N] [--minutes N] [--threads N]`. Results go to `bench/results/reuse.json` and `.svg` and the
 * tables in `bench/README.md`; series that are not named keep the results that they have there.
 *
 * A layer's compressed size is the sum of its components' (each measured alone), so that all ways of packing are counted alike. A
 * component is unchanged where all of its files are, times of installation apart.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chart } from './reuse/chart.ts';
import { checkClaims } from './reuse/claims.ts';
import { runTasks } from './reuse/pool.ts';
import { COUNTS, mergeResults, REPORTED, type Results } from './reuse/results.ts';
import { meanRow } from './reuse/rows.ts';
import { claimsTable, report } from './reuse/table.ts';
import { HOST, SLOW_SEEDS, type Task } from './reuse/tasks.ts';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const JSON_FILE = at('results/reuse.json');
const CHART_FILE = at('results/reuse.svg');
const README = at('README.md');
const MARKS = ['<!-- reuse -->', '<!-- /reuse -->'] as const;
/** Years of the simulated host, of seeds 1 and on. */
const DEFAULT_RUNS = 200;

function tasksOf(series: (typeof REPORTED)[number], runs: number): Task[] {
  const noise = COUNTS.map((count): Task => ({ series, counts: [count], measure: 'noise' }));
  if (series === HOST) {
    const seeds = Array.from({ length: runs }, (_, i) => i + 1);
    const years = seeds.map((seed): Task => ({ series, seed, counts: COUNTS, measure: 'both' }));
    return [...noise, ...years];
  }
  const updates = COUNTS.map((count): Task => ({ series, counts: [count], measure: 'updates' }));
  return [{ series, counts: [], measure: 'floors' }, ...updates, ...noise];
}

/** What figures depend on. */
const CODE = [
  ...['plan.ts', 'planner', 'rate.ts', 'remember.ts'].map((name) => `../rechunk/${name}`),
  ...['reuse', 'series', 'hindsight.ts', 'hindsightbound.ts'],
].map(at);

/** The last commit that touched what figures depend on. */
function lastCommit(): string {
  const git = ['log', '-1', '--format=%h', '--', ...CODE];
  return execFileSync('git', git, { cwd: at('.'), encoding: 'utf8' }).trim();
}

interface RunOptions {
  /** Years of the simulated host at most. */
  readonly runs: number;
  /** When no other of them, but for the first {@link SLOW_SEEDS}, is begun. */
  readonly deadlineMs: number;
  readonly threads: number;
}

async function run(
  names: readonly string[],
  { runs, deadlineMs, threads }: RunOptions,
): Promise<Results> {
  const series = REPORTED.filter((name) => names.includes(name));
  const unknown = names.filter((name) => !REPORTED.some((known) => known === name));
  if (unknown.length > 0)
    throw new Error(`no series ${unknown.join(', ')}: ${REPORTED.join(', ')}`);
  const commit = lastCommit();
  const tasks = series.flatMap((name) => tasksOf(name, runs));
  let done = 0;
  const isWanted = ({ seed = 1 }: Task): boolean =>
    seed <= SLOW_SEEDS || performance.now() < deadlineMs;
  const outcomes = await runTasks(
    tasks,
    threads,
    isWanted,
    ({ series, seed = '', counts, measure }) => {
      done++;
      console.error(`${done}/${tasks.length} ${series} ${seed} ${measure} ${counts}`);
    },
  );
  const rows = outcomes.flatMap((outcome) => outcome.rows);
  const grouped = Map.groupBy(rows, (row) => `${row.series} ${row.maxLayers} ${row.packing}`);
  return {
    rows: [...grouped.values()].map(meanRow),
    noise: outcomes.flatMap((outcome) => outcome.noise),
    commits: Object.fromEntries(series.map((name) => [name, commit])),
  };
}

function readResults(): Results {
  if (!existsSync(JSON_FILE)) return { rows: [], noise: [], commits: {} };
  const { rows, noise, commits } = JSON.parse(readFileSync(JSON_FILE, 'utf8'));
  return { rows, noise, commits };
}

function writeReadme(text: string): void {
  const old = readFileSync(README, 'utf8');
  const [start, end] = MARKS.map((mark) => old.indexOf(mark)) as [number, number];
  if (start < 0 || end < 0) throw new Error(`${README} has no place for the tables`);
  const [before, after] = [old.slice(0, start + MARKS[0].length), old.slice(end)];
  writeFileSync(README, `${before}\n${text}\n${after}`);
}

function describeRun({ commits, rows }: Results): string {
  const runs = Math.max(1, ...rows.map((row) => row.runs));
  const byCommit = Map.groupBy(Object.keys(commits), (series) => commits[series]);
  const places = [...byCommit].map(([commit, series]) => `${commit} (${series.join(', ')})`);
  const few = Math.min(runs, SLOW_SEEDS);
  return [
    `\`node bench/reuse.ts\` at ${places.join(', ')}; figures do not depend on the machine. The simulated host: seeds 1 to ${runs}, mean ± deviation`,
    `of the runs' means; ours fresh, ours remembering the plan, and hindsight: seeds 1 to ${few}. "After ten updates": clients that have the tenth or a later one.`,
  ].join('\n');
}

/** Bytes are whole, shares have five digits. */
function shorten(_: string, value: unknown): unknown {
  if (typeof value !== 'number') return value;
  return Math.abs(value) > 1000 ? Math.round(value) : Math.round(value * 1e5) / 1e5;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      series: { type: 'string' },
      runs: { type: 'string' },
      minutes: { type: 'string' },
      threads: { type: 'string' },
    },
  });
  const names = values.series?.split(',') ?? REPORTED;
  const options = {
    runs: Number(values.runs ?? DEFAULT_RUNS),
    deadlineMs: Number(values.minutes ?? Number.POSITIVE_INFINITY) * 60_000,
    threads: Number(values.threads ?? availableParallelism()),
  };
  const started = process.cpuUsage();
  const fresh = await run(names, options);
  const { user, system } = process.cpuUsage(started);
  const results = mergeResults(readResults(), fresh);
  const claims = checkClaims(results);
  mkdirSync(at('results'), { recursive: true });
  writeFileSync(JSON_FILE, `${JSON.stringify({ ...results, claims }, shorten, 1)}\n`);
  writeFileSync(CHART_FILE, chart(results));
  const about = describeRun(results);
  writeReadme(report(about, results, claims));
  console.error(`${((user + system) / 60e6).toFixed(1)} minutes of CPU`);
  console.log(claimsTable(claims));
}

await main();
