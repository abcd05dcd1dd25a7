/**
 * A small product in several releases, as people build them: a base that changes now and then, one layer with all packages of
 * which some change each time, one with the program. Two products of one `base` share its layers.
 */
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { type ImageInput, type LayerInput, writeLayout } from './build.ts';
import { noise } from './sample.ts';

/** What the releases are like. */
export interface ReleasesOptions {
  /** Tells products apart; products of one name are equal. */
  readonly name: string;
  readonly releases: number;
  /** Releases after which the base changes; default 4. */
  readonly baseEvery?: number;
  /** Tags by number, from 1; default `1.N`. */
  readonly tag?: (release: number) => string;
  /** Default `amd64`. */
  readonly architecture?: string;
}

const PACKAGES = 12;
const FILES = 4;
const FILE_BYTES = 8_000;
const BASE_FILES = 10;
const BASE_FILE_BYTES = 20_000;
const HOUR_SECONDS = 3600;
const FIRST_SECONDS = Date.UTC(2026, 0, 1) / 1000;
const MS_PER_SECOND = 1000;
const MODULES = 'usr/lib/node_modules';

/** A file, or a directory where there is no content. */
interface Member {
  readonly name: string;
  readonly content?: Buffer;
}

const dir = (name: string): Member => ({ name });
const file = (name: string, content: Buffer): Member => ({ name, content });

/** By tar-stream, which the product does not use for layers, and in this process: a hundred of these are made for one test. */
function packMembers(members: readonly Member[]): Promise<Buffer> {
  const archive = pack();
  const mtime = new Date(FIRST_SECONDS * MS_PER_SECOND);
  for (const { name, content } of members) {
    if (content) archive.entry({ name, mtime, mode: 0o644 }, content);
    else archive.entry({ name, mtime, mode: 0o755, type: 'directory' });
  }
  archive.finalize();
  return buffer(archive);
}

/** The release in which package `n` last changed, by `release`: some change in each, in turn. */
function versionOf(n: number, release: number): number {
  const period = 2 + (n % 5);
  return release - ((release + n) % period);
}

/** Names of the packages of a product that `release` changes. */
export function packagesChangedIn(product: string, release: number): string[] {
  const numbers = Array.from({ length: PACKAGES }, (_, n) => n);
  const at = (n: number, when: number): number => Math.max(0, versionOf(n, when));
  return numbers
    .filter((n) => at(n, release) !== at(n, release - 1))
    .map((n) => `${product}-part-${n}`);
}

function packageMembers(product: string, n: number, release: number): Member[] {
  const version = Math.max(0, versionOf(n, release));
  const name = `${product}-part-${n}`;
  const path = `${MODULES}/${name}`;
  const about = JSON.stringify({ name, version: `1.${version}.0` });
  const files = Array.from({ length: FILES }, (_, i) =>
    file(`${path}/file-${i}.js`, noise(FILE_BYTES, `${name} ${i === 0 ? version : 0} ${i}`)),
  );
  return [dir(path), file(`${path}/package.json`, Buffer.from(about)), ...files];
}

function baseMembers(version: number): Member[] {
  const files = Array.from({ length: BASE_FILES }, (_, i) =>
    file(`opt/base/file-${i}`, noise(BASE_FILE_BYTES, `base ${i < 2 ? version : 0} ${i}`)),
  );
  return [dir('opt'), dir('opt/base'), ...files];
}

async function layersOf(product: string, release: number, base: number): Promise<LayerInput[]> {
  const parts = Array.from({ length: PACKAGES }, (_, n) => packageMembers(product, n, release));
  const above = [dir('usr'), dir('usr/lib'), dir(MODULES), ...parts.flat()];
  const program = [dir('srv'), file('srv/program', noise(FILE_BYTES, `${product} ${release}`))];
  return Promise.all(
    [baseMembers(base), above, program].map(async (members) => ({
      tar: await packMembers(members),
    })),
  );
}

/** Writes the releases to an OCI layout in `directory`, each under its tag, oldest first; gives the tags. */
export async function writeReleases(
  directory: string,
  options: ReleasesOptions,
): Promise<string[]> {
  const { name, releases, baseEvery = 4, tag = (release) => `1.${release}` } = options;
  const { architecture = 'amd64' } = options;
  const images: ImageInput[] = [];
  for (let release = 1; release <= releases; release++) {
    const seconds = FIRST_SECONDS + release * HOUR_SECONDS;
    const created = new Date(seconds * MS_PER_SECOND).toISOString();
    const layers = await layersOf(name, release, Math.floor(release / baseEvery));
    images.push({ layers, tag: tag(release), fields: { architecture, created } });
  }
  await writeLayout(directory, images);
  return images.map((image) => image.tag as string);
}
