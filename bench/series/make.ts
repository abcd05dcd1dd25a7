/**
 * Makes stored series anew: `node bench/series/make.ts NAME…`. What was resolved and fetched is kept in the directory that
 * `RECHUNK_SERIES_CACHE` names (default: below the temporary directory), so that a second run is quick and offline.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeAlpine } from './alpine.ts';
import { makeDebian } from './debian.ts';
import { encodeSeries } from './format.ts';
import { makeNpm } from './npm.ts';
import { type Release, SERIES, type SeriesName, seriesFile } from './series.ts';

const MAKERS: Readonly<Partial<Record<SeriesName, (work: string) => Promise<Release[]>>>> = {
  npm: makeNpm,
  alpine: makeAlpine,
  debian: makeDebian,
};

async function make(name: SeriesName): Promise<void> {
  const maker = MAKERS[name];
  if (!maker) throw new Error(`making series ${name}: want one of ${SERIES.join(', ')}`);
  const cache = process.env['RECHUNK_SERIES_CACHE'] ?? join(tmpdir(), 'rechunk-series');
  const work = join(cache, name);
  await mkdir(work, { recursive: true });
  const releases = await maker(work);
  const bytes = encodeSeries(releases);
  await writeFile(seriesFile(name), bytes);
  const components = releases.at(-1)?.components.size;
  console.log(
    `${name}: ${releases.length} releases, ${components} components, ${bytes.length} bytes`,
  );
}

for (const name of process.argv.slice(2)) await make(name as SeriesName);
