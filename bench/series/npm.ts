/**
 * Series `npm`: an application over a year of weekly releases, each with the newest packages that its version ranges allowed
 * on that day.
 *
 * npm itself resolves each week (`--before`), and fetches each package version once into its cache; `install.ts` lays out
 * the trees.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { node } from '../../rechunk/repos/node.ts';
import type { Tree } from '../../rechunk/tree.ts';
import { command, output } from '../../test-images/command.ts';
import { cachedTarball, Installer } from './install.ts';
import {
  installedPackages,
  type LockedPackage,
  type Lockfile,
  packageName,
  parseLockfile,
} from './lockfile.ts';
import { Recorder } from './record.ts';
import type { Release } from './series.ts';
import { type ContentSpool, withSpool } from './spool.ts';

/** What the application depends on: as in `../../test-images/packages/npm/lock-series`. */
const APPLICATION = {
  name: 'lab',
  version: '1.0.0',
  private: true,
  dependencies: {
    express: '^4',
    lodash: '^4',
    axios: '^1',
    typescript: '^5',
    webpack: '^5',
    react: '^18',
    'react-dom': '^18',
    '@babel/core': '^7',
    '@babel/preset-env': '^7',
    eslint: '^8',
    fastify: '^4',
    jest: '^29',
    '@mui/material': '^5',
    '@aws-sdk/client-s3': '^3',
  },
};
/** Sundays, UTC. */
const FIRST_DAY = '2025-09-21';
const WEEKS = 53;
const WEEK_SECONDS = 7 * 86_400;
const MS_PER_SECOND = 1000;

const QUIET = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
/** Package versions that one run of npm fetches. */
const FETCH_BATCH = 40;
/** The days of the series, seconds since the epoch. */
export function releaseDates(): number[] {
  const first = Date.parse(FIRST_DAY) / MS_PER_SECOND;
  return Array.from({ length: WEEKS }, (_, week) => first + week * WEEK_SECONDS);
}

/** Lets npm find the packages of a day; what it found is kept in `work`. */
async function resolveDay(work: string, day: string): Promise<Buffer> {
  const directory = join(work, 'locks', day);
  const lockfile = join(directory, 'package-lock.json');
  if (!existsSync(lockfile)) {
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'package.json'), JSON.stringify(APPLICATION));
    const options = [
      '--package-lock-only',
      '--prefer-offline',
      '--omit-lockfile-registry-resolved',
    ];
    await command('npm', ['install', '--before', day, ...options, ...QUIET], { cwd: directory });
  }
  return readFile(lockfile);
}

/** Has npm fetch the packages that its cache lacks; it verifies what it keeps. */
async function fetchPackages(locks: readonly Lockfile[], cache: string): Promise<void> {
  const missing = new Set<string>();
  for (const lock of locks) {
    for (const path of installedPackages(lock)) {
      const locked = lock.packages[path] as LockedPackage;
      if (locked.inBundle || existsSync(cachedTarball(cache, locked.integrity ?? ''))) continue;
      missing.add(`${packageName(path, locked)}@${locked.version}`);
    }
  }
  const specs = [...missing].sort();
  for (let at = 0; at < specs.length; at += FETCH_BATCH) {
    const batch = specs.slice(at, at + FETCH_BATCH);
    await command('npm', ['cache', 'add', '--prefer-offline', '--loglevel=error', ...batch]);
  }
}

/** A release before it is taken apart. */
export interface NpmRelease {
  /** The day, `2026-09-20`. */
  readonly name: string;
  /** The same, seconds since the epoch. */
  readonly date: number;
  readonly tree: Tree;
}

/** Lays out the newest `releases` in order; contents go to `spool`, `work` keeps what npm resolved. */
export async function* layOutNpm(
  work: string,
  spool: ContentSpool,
  releases: number = WEEKS,
): AsyncGenerator<NpmRelease> {
  const cache = await output('npm', ['config', 'get', 'cache']);
  const days = releaseDates()
    .slice(-releases)
    .map((date) => ({ date, name: new Date(date * MS_PER_SECOND).toISOString().slice(0, 10) }));
  const texts: Buffer[] = [];
  for (const { name } of days) texts.push(await resolveDay(work, name));
  await fetchPackages(texts.map(parseLockfile), cache);
  const installer = new Installer(cache, spool);
  const application = Buffer.from(JSON.stringify(APPLICATION));
  for (const [i, day] of days.entries())
    yield { ...day, tree: await installer.install(application, texts[i] as Buffer, day.date) };
}

/** Makes the series; `work` keeps what npm resolved. Some 20 minutes the first time, of which npm takes all but one. */
export function makeNpm(work: string): Promise<Release[]> {
  return withSpool(work, async (spool) => {
    const recorder = new Recorder([node], (sha256) => spool.get(sha256));
    for await (const { name, date, tree } of layOutNpm(work, spool))
      await recorder.add(name, date, tree);
    return recorder.releases;
  });
}
