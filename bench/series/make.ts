/**
 * Makes stored series anew: `node bench/series/make.ts NAME…`. What was resolved and fetched is kept in the directory that
 * `RECHUNK_SERIES_CACHE` names (default: below the temporary directory), so that a second run is quick and offline.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeAlpine } from './alpine.ts';
import { makeDebian } from './debian.ts';
import { makeDebianYear } from './debianyear.ts';
import { encodeSeries } from './format.ts';
import { makeNpm } from './npm.ts';
import { type Release, SERIES, type SeriesName, seriesFile } from './series.ts';

interface Maker {
  /** Where it keeps what it fetches, below the cache. */
  readonly directory: string;
  readonly make: (work: string) => Promise<Release[]>;
}

const MAKERS: Readonly<Record<SeriesName, Maker>> = {
  npm: { directory: 'npm', make: makeNpm },
  alpine: { directory: 'alpine', make: makeAlpine },
  debian: { directory: 'debian', make: makeDebian },
  'debian-year': { directory: 'debian', make: makeDebianYear },
};

async function makeSeries(name: SeriesName, cache: string): Promise<void> {
  const { directory, make } = MAKERS[name];
  const work = join(cache, directory);
  await mkdir(work, { recursive: true });
  const releases = await make(work);
  const bytes = encodeSeries(releases);
  await writeFile(seriesFile(name), bytes);
  const components = releases.at(-1)?.components.size;
  console.log(
    `${name}: ${releases.length} releases, ${components} components, ${bytes.length} bytes`,
  );
}

const names = process.argv.slice(2);
const unknown = names.filter((name) => !SERIES.includes(name as SeriesName));
if (names.length === 0 || unknown.length > 0) {
  throw new Error(`making series ${unknown.join(', ')}: want some of ${SERIES.join(', ')}`);
}
const cache = process.env['RECHUNK_SERIES_CACHE'] ?? join(tmpdir(), 'rechunk-series');
for (const name of names) await makeSeries(name as SeriesName, cache);
