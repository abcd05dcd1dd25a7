/**
 * Real Debian images, made by mmdebstrap from Debian's archive and kept in a cache, so that a second test is quick.
 *
 * Needs root, mmdebstrap and a Debian mirror (apt's own settings for proxies count).
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { writeLayout } from './build.ts';
import { command } from './command.ts';

/** Which Debian image. */
export interface DebianOptions {
  /** Default `bookworm`. */
  readonly suite?: string;
  /** Packages beyond `minbase`. */
  readonly include?: readonly string[];
  /** Default `gzip`. */
  readonly compression?: 'gzip' | 'zstd' | 'none';
}

/** 2026-01-01T00:00:00Z, seconds: file times that mmdebstrap would take from the clock. */
const EPOCH = 1767225600;
/** Counts up when the same parameters should give another image. */
const CACHE_FORMAT = 1;

/** Where images are kept between runs; remove it to build them anew. */
export function cacheDirectory(): string {
  return process.env['RECHUNK_TEST_CACHE'] ?? join(tmpdir(), 'rechunk-test-cache');
}

/**
 * Runs `build` on a new directory beside `path`, which it becomes; nothing to do where `path` is there. Two at once do the
 * work twice, and the first result stays.
 */
export async function cached(path: string, build: (dir: string) => Promise<void>): Promise<string> {
  if (existsSync(path)) return path;
  await mkdir(dirname(path), { recursive: true });
  const work = await mkdtemp(`${path}.`);
  try {
    await build(work);
    // Another test may have been quicker; its result is as good.
    await rename(work, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return path;
}

/**
 * The path of an OCI layout with a Debian image of one layer, tag `latest`. Takes some 20 s the first time; two builds
 * from the same state of the archive are equal to the bit.
 */
export function debianImage(options: DebianOptions = {}): Promise<string> {
  const { suite = 'bookworm', include = [], compression = 'gzip' } = options;
  const packages = [...include].sort();
  const key = createHash('sha256')
    .update(JSON.stringify([CACHE_FORMAT, EPOCH, suite, packages, compression]))
    .digest('hex')
    .slice(0, 12);
  return cached(join(cacheDirectory(), `debian-${suite}-${key}`), async (dir) => {
    const tar = join(dir, 'root.tar');
    const extra = packages.length > 0 ? [`--include=${packages.join(',')}`] : [];
    const parameters = ['--variant=minbase', '--format=tar', '--quiet', ...extra, suite, tar];
    await command('mmdebstrap', parameters, { env: { SOURCE_DATE_EPOCH: String(EPOCH) } });
    await writeImage(dir, tar, compression);
  });
}

/** Writes the layout with one layer, and removes its tar. */
async function writeImage(
  dir: string,
  tar: string,
  compression: 'gzip' | 'zstd' | 'none',
): Promise<void> {
  const config = { Cmd: ['bash'], Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] };
  const fields = { created: new Date(EPOCH * 1000).toISOString() };
  await writeLayout(dir, [{ layers: [{ tar, compression }], config, fields }]);
  await rm(tar);
}

/** What a slim image lacks, 6,100 of 8,700 files: what is made for people to read, and most of Perl. */
const UNNEEDED = [
  ...['doc', 'i18n', 'locale', 'man', 'perl', 'zoneinfo'].map((name) => `usr/share/${name}`),
  ...['gconv', 'perl'].map((name) => `usr/lib/*/${name}`),
];

/**
 * {@link debianImage} of the default options without files that no test is about, for those that unpack it again and again: real runtimes
 * take their time by the file. Every package is still there. Needs bsdtar beyond what that needs.
 */
export async function slimDebianImage(): Promise<string> {
  const full = await debianImage();
  return cached(`${full}-slim`, async (dir) => {
    const tar = join(dir, 'root.tar');
    const blobOf = (digest: string): string => join(full, 'blobs', digest.replace(':', '/'));
    const index = JSON.parse(await readFile(join(full, 'index.json'), 'utf8'));
    const manifest = JSON.parse(await readFile(blobOf(index.manifests[0].digest), 'utf8'));
    const without = UNNEEDED.flatMap((path) => ['--exclude', `./${path}/*`]);
    const layer = blobOf(manifest.layers[0].digest);
    await command('bsdtar', ['-cf', tar, '--format', 'pax', ...without, `@${layer}`]);
    await writeImage(dir, tar, 'gzip');
  });
}
