/**
 * Series `debian`: a Debian system with many packages, from the state of the newest point release through every update that
 * came by the security and updates archives, in the order in which the packages were built.
 *
 * apt resolves and fetches (both versions of what was updated) in a root of its own, made by mmdebstrap with the archives
 * that it uses by default; no package is installed. Needs root, mmdebstrap, apt and dpkg-deb.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { dpkg } from '../../rechunk/repos/dpkg.ts';
import { command } from '../../test-images/command.ts';
import { controlField, type Deb, readDeb } from './deb.ts';
import { layOutSystem } from './debroot.ts';
import { Recorder } from './record.ts';
import type { Release } from './series.ts';
import { type ContentSpool, withSpool } from './spool.ts';

const SUITE = 'bookworm';
/** What is asked for beyond what every system has: servers, languages, media; 583 packages with what they depend on. */
const PACKAGES =
  'apache2 bind9-dnsutils ca-certificates cups-filters curl ffmpeg ghostscript git gnupg gstreamer1.0-plugins-base ' +
  'gstreamer1.0-plugins-good haproxy imagemagick jq libarchive-tools mariadb-client memcached nginx-light nodejs ' +
  'openjdk-17-jre-headless openssh-client openssh-server openssl parted perl php8.2-cli php8.2-fpm poppler-utils ' +
  'postgresql-15 python3 python3-cryptography python3-lxml python3-pip python3-requests redis-server rsync rsyslog ruby ' +
  'squid sudo systemd-sysv tzdata unbound unzip vim-tiny wget xz-utils zip';
const EVERY_SYSTEM = ['?essential', '?priority(required)', 'apt'];
/** Package versions that one run of apt fetches. */
const FETCH_BATCH = 60;
const DAY_SECONDS = 86_400;
const MS_PER_SECOND = 1000;

/** Both versions of a package where it was updated, else one; oldest first. */
type Versions = readonly Deb[];

/** apt with archives, lists and an empty status of its own. */
async function openApt(
  work: string,
): Promise<(program: string, ...rest: string[]) => Promise<string>> {
  const root = join(work, 'root');
  if (!existsSync(root)) {
    const options = ['--variant=apt', '--quiet', '--skip=cleanup'];
    await command('mmdebstrap', [...options, SUITE, root]);
  }
  const status = join(work, 'empty');
  await writeFile(status, '');
  const debs = join(work, 'debs');
  await mkdir(debs, { recursive: true });
  const settings = {
    Dir: root,
    'Dir::State::status': status,
    'APT::Install-Recommends': '0',
    'APT::Sandbox::User': 'root',
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  return async (program, ...rest) =>
    (await command(program, [...options, ...rest], { cwd: debs })).toString();
}

/** Fetches every version of every package of the system; gives the files. */
async function fetchDebs(work: string): Promise<string[]> {
  const debs = join(work, 'debs');
  const apt = await openApt(work);
  const simulated = await apt('apt-get', 'install', '-s', ...EVERY_SYSTEM, ...PACKAGES.split(' '));
  const names = [...simulated.matchAll(/^Inst (\S+) /gm)].map(([, name]) => name as string);
  const stanzas = (await apt('apt-cache', '-a', 'show', ...names)).split('\n\n');
  const there = new Set(await readdir(debs));
  const wanted = new Map<string, string>();
  for (const stanza of stanzas) {
    const [name, version, architecture] = ['Package', 'Version', 'Architecture'].map((field) =>
      controlField(stanza, field),
    );
    if (name === undefined || !names.includes(name)) continue;
    const file = `${name}_${version?.replaceAll(':', '%3a')}_${architecture}.deb`;
    wanted.set(file, `${name}=${version}`);
  }
  const missing = [...wanted].filter(([file]) => !there.has(file)).map(([, spec]) => spec);
  for (let at = 0; at < missing.length; at += FETCH_BATCH) {
    await apt('apt-get', 'download', '-q', ...missing.slice(at, at + FETCH_BATCH));
  }
  return [...wanted.keys()].sort().map((file) => join(debs, file));
}

async function readVersions(files: readonly string[], spool: ContentSpool): Promise<Versions[]> {
  const debs: Deb[] = [];
  for (const file of files) debs.push(await readDeb(file, spool));
  const grouped = Map.groupBy(debs, ({ name }) => name);
  return [...grouped.values()].map((versions) => versions.sort((a, b) => a.built - b.built));
}

const dayOf = (seconds: number): number => Math.floor(seconds / DAY_SECONDS) * DAY_SECONDS;

/** Days on which packages were updated, ascending; an update lands when the last package of its source was built. */
function updateDays(packages: readonly Versions[]): Map<Deb, number> {
  const updates = packages.flatMap((versions) => versions.slice(1));
  const sources = Map.groupBy(updates, ({ source, version }) => `${source} ${version}`);
  return new Map(
    [...sources.values()].flatMap((debs) => {
      const day = dayOf(Math.max(...debs.map(({ built }) => built)));
      return debs.map((deb) => [deb, day] as const);
    }),
  );
}

/** The newest version of each package of the series, its content in `spool`; `work` keeps what was fetched. */
export async function readNewest(work: string, spool: ContentSpool): Promise<Deb[]> {
  const packages = await readVersions(await fetchDebs(work), spool);
  return packages.map((versions) => versions.at(-1) as Deb);
}

/** A release before it is taken apart. */
export interface DebianRelease {
  /** The day, `2026-09-20`. */
  readonly name: string;
  /** The same, seconds since the epoch. */
  readonly date: number;
  /** What is installed. */
  readonly debs: readonly Deb[];
}

/** A part of the series; by default all of it. */
export interface DebianPart {
  /** The newest of them. */
  readonly releases?: number;
  /** Packages of at most so many bytes, as they are fetched. */
  readonly packageBytes?: number;
}

/** Files of the packages of which no version has more than `most` bytes. */
async function smallPackages(files: readonly string[], most: number): Promise<string[]> {
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  const nameOf = (file: string): string => basename(file).replace(/_.*/, '');
  const large = new Set(files.filter((_, i) => (sizes[i] ?? 0) > most).map(nameOf));
  return files.filter((file) => !large.has(nameOf(file)));
}

/** What releases have installed, in order; contents go to `spool`, `work` keeps what was fetched. */
export async function resolveDebian(
  work: string,
  spool: ContentSpool,
  { releases = Number.POSITIVE_INFINITY, packageBytes = Number.POSITIVE_INFINITY }: DebianPart = {},
): Promise<DebianRelease[]> {
  const files = await smallPackages(await fetchDebs(work), packageBytes);
  const packages = await readVersions(files, spool);
  const days = updateDays(packages);
  const dates = [...new Set(days.values())].sort((a, b) => a - b);
  const first = (dates[0] ?? 0) - DAY_SECONDS;
  return [first, ...dates].slice(-releases).map((date) => ({
    name: new Date(date * MS_PER_SECOND).toISOString().slice(0, 10),
    date,
    debs: packages.map((versions) =>
      versions.findLast((deb, i) => i === 0 || (days.get(deb) as number) <= date),
    ) as Deb[],
  }));
}

async function recordDebian(work: string, spool: ContentSpool): Promise<Release[]> {
  const recorder = new Recorder([dpkg], (sha256) => spool.get(sha256));
  for (const { name, date, debs } of await resolveDebian(work, spool))
    await recorder.add(name, date, layOutSystem(debs, date, spool));
  return recorder.releases;
}

/** Makes the series; `work` keeps what was fetched. Root, 550 MB of packages, some 6 minutes after they were fetched. */
export function makeDebian(work: string): Promise<Release[]> {
  return withSpool(work, (spool) => recordDebian(work, spool));
}
