/**
 * Whether components finer than a package pay: bytes that updates pull when components are cut by rules that are functions of the
 * file alone, each cut series packed as `build` does. `node bench/cuts.ts [SERIES…]`; the table goes to `bench/README.md`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  byDirectory,
  byHash,
  type CutRule,
  cutSeries,
  dpkgInfo,
  manifestApart,
} from './reuse/cuts.ts';
import { PackedSeries } from './reuse/layers.ts';
import { packOurs } from './reuse/ours.ts';
import { COUNTS } from './reuse/results.ts';
import { markdownTable } from './reuse/table.ts';
import { loadSeries, type Release, type SeriesName } from './series/series.ts';

const README = fileURLToPath(new URL('README.md', import.meta.url));
const MARKS = ['<!-- cuts -->', '<!-- /cuts -->'] as const;

const whole: CutRule = (id) => id;
/** With the notes of dpkg where the product has them, and then cut. */
const after =
  (rule: CutRule): CutRule =>
  (id, file, release) => {
    const owner = dpkgInfo(id, file, release);
    return owner === id ? rule(id, file, release) : owner;
  };

/** What is tried on each series. */
const RULES: Readonly<Partial<Record<SeriesName, Readonly<Record<string, CutRule>>>>> = {
  npm: {
    'whole packages (as built)': whole,
    '`package.json` apart': manifestApart(0),
    '`package.json` of 16 kB and more apart': manifestApart(16_000),
    'from 400 kB on by directory': byDirectory(400_000),
    'from 200 kB on in 4 parts by hash': byHash(200_000, 4),
  },
  debian: {
    'dpkg’s notes of a package with its database': whole,
    'with the package (as built)': dpkgInfo,
    'so, and from 1 MB on by directory': after(byDirectory(1_000_000)),
  },
  'debian-year': {
    'dpkg’s notes of a package with its database': whole,
    'with the package (as built)': dpkgInfo,
  },
};

/** Mean megabytes of an update. */
function meanBytes(releases: readonly Release[], maxLayers: number): string {
  const updates = new PackedSeries(releases.map(packOurs('history')(maxLayers))).updates(1);
  const sum = updates.reduce((total, { bytes }) => total + bytes, 0);
  return (sum / updates.length / 1e6).toFixed(2);
}

async function rowsOf(series: SeriesName): Promise<string[][]> {
  const releases = await loadSeries(series);
  return Object.entries(RULES[series] ?? {}).map(([name, rule]) => {
    const cut = cutSeries(releases, rule);
    const figures = COUNTS.map((count) => meanBytes(cut, count));
    console.error(`${series}, ${name}: ${figures.join(' ')}`);
    return [series, name, String(cut.at(-1)?.components.size), ...figures];
  });
}

async function main(): Promise<void> {
  const names = process.argv.slice(2) as SeriesName[];
  const series = names.length > 0 ? names : (Object.keys(RULES) as SeriesName[]);
  const rows: string[][] = [];
  for (const name of series) rows.push(...(await rowsOf(name)));
  const head = ['series', 'components', 'how many', ...COUNTS.map((count) => `MB at N=${count}`)];
  const table = markdownTable([head, ...rows]);
  console.log(table);
  if (names.length > 0) return;
  const text = readFileSync(README, 'utf8');
  const [start, end] = MARKS.map((mark) => text.indexOf(mark)) as [number, number];
  if (start < 0 || end < 0) throw new Error(`${README} has no place for the table`);
  writeFileSync(README, `${text.slice(0, start + MARKS[0].length)}\n${table}\n${text.slice(end)}`);
}

await main();
