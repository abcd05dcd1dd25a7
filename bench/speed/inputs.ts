/**
 * What is timed: images and trees, made once and kept in the cache of test images. Contents are real: a Debian image by mmdebstrap, and the
 * files of a larger Debian root with a compiler, git and npm (40,000 files), cut to the sizes that are wanted (`realfiles.ts`).
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command, output } from '../../test-images/command.ts';
import { cacheDirectory, cached, debianImage } from '../../test-images/debian.ts';
import {
  contentsOf,
  type RealFilesOptions,
  writeNextRelease,
  writeRealFiles,
} from '../../test-images/realfiles.ts';

/** An input as it lies on the disk. */
export interface Input {
  /** What it is, for the report. */
  readonly about: string;
  /** An OCI layout, or a tree for `rootfs:`. */
  readonly path: string;
  /** False by default. */
  readonly isTree?: boolean;
  /** Files and directories, where they are counted. */
  readonly entries?: number;
  /** A layout with the next release, for the warm path. */
  readonly next?: string;
}

/** The names of inputs, in the order in which they are measured. */
export const INPUTS = [
  'debian',
  'small-files',
  'large-files',
  'entries-20k',
  'entries-200k',
  'rootfs',
] as const;

/** Which input. */
export type InputName = (typeof INPUTS)[number];

/** `quick`: tiny ones of the same shapes, to try the machinery. */
export type Scale = 'full' | 'quick';

const ROOT_PACKAGES = ['build-essential', 'git', 'npm', 'python3-pip'];
const GIB = 2 ** 30;
/** Quick inputs are this much smaller. */
const QUICK = 2000;

type Shape = Omit<RealFilesOptions, 'pool'>;

const SHAPES: Readonly<
  Record<'small-files' | 'large-files' | 'entries-20k' | 'entries-200k', Shape>
> = {
  'small-files': { files: 150_000, bytes: 2 * GIB, layers: 20 },
  'large-files': { files: 400, bytes: 4 * GIB, layers: 4 },
  'entries-20k': { files: 20_000, bytes: 0.4 * GIB, layers: 20 },
  'entries-200k': { files: 200_000, bytes: 4 * GIB, layers: 20 },
};

/** Layers' descriptors of the only image of a layout, lowest first. */
export function layersOf(layout: string): { digest: string; size: number }[] {
  const read = (digest: string) => JSON.parse(readFileSync(blobFile(layout, digest), 'utf8'));
  const [entry] = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')).manifests;
  return read(entry.digest).layers;
}

/** Where a layout keeps a blob. */
export function blobFile(layout: string, digest: string): string {
  return join(layout, 'blobs', digest.replace(':', '/'));
}

/** The files of a Debian root as a tree. */
async function debianRoot(): Promise<string> {
  const image = await debianImage({ include: ROOT_PACKAGES });
  const [layer] = layersOf(image);
  return cached(`${image}-root`, async (dir) => {
    const exact = ['--xattrs', '--xattrs-include=*', '--numeric-owner'];
    await command('tar', [...exact, '-xpzf', blobFile(image, layer?.digest as string), '-C', dir]);
  });
}

/** Contents of quick inputs: the sources of this repository. */
const sources = fileURLToPath(new URL('../../registry', import.meta.url));

const tree = (scale: Scale): Promise<string> =>
  scale === 'full' ? debianRoot() : Promise.resolve(sources);

/** Removes what earlier forms of the quick inputs left; they are made in no time. */
function freshQuick(): string {
  const directory = join(cacheDirectory(), `speed-quick-${process.pid}`);
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

let quickDirectory: string | undefined;

function directoryOf(scale: Scale): string {
  if (scale === 'full') return cacheDirectory();
  quickDirectory ??= freshQuick();
  return quickDirectory;
}

async function madeOf(shape: Shape, scale: Scale, hasNext: boolean): Promise<Input> {
  const pool = await tree(scale);
  const options = { ...shape, pool };
  const key = `${basename(pool)}-${shape.files}-${shape.bytes}-${shape.layers}`;
  const place = join(directoryOf(scale), `real-${key}`);
  const path = await cached(place, (dir) => writeRealFiles(dir, options));
  const { entries, bytes } = contentsOf(options);
  const count = (value: number): string => value.toLocaleString('en');
  const size = (bytes / 1e9).toFixed(scale === 'quick' ? 3 : 1);
  const about = `${count(shape.files)} files (${count(entries)} entries), ${size} GB, ${shape.layers} gzip layers`;
  if (!hasNext) return { about, path, entries };
  const next = await cached(`${place}-next`, (dir) => writeNextRelease(dir, options, path));
  return { about, path, entries, next };
}

const QUICK_DEBIAN: Shape = { files: 150, bytes: 1e6, layers: 1 };

/** Makes an input, or finds it made. Full ones take ten minutes of CPU and 5 GB of disk in all. */
export async function prepare(name: InputName, scale: Scale): Promise<Input> {
  await mkdir(directoryOf(scale), { recursive: true });
  if (name === 'rootfs') {
    const path = await tree(scale);
    const files = (await output('find', [path])).split('\n').length;
    const what = scale === 'full' ? `Debian bookworm with ${ROOT_PACKAGES.join(', ')}` : 'sources';
    return { about: `tree, ${files.toLocaleString('en')} paths: ${what}`, path, isTree: true };
  }
  if (name === 'debian') {
    if (scale === 'quick') return madeOf(QUICK_DEBIAN, scale, true);
    const [path, next] = [await debianImage(), await debianImage({ include: ['less'] })];
    return { about: 'Debian bookworm, minbase, 170 MB, 1 gzip layer', path, next };
  }
  const { files, bytes, layers } = SHAPES[name];
  const isSmall = name === 'small-files';
  if (scale === 'full') return madeOf(SHAPES[name], scale, isSmall);
  const few = Math.max(8 * layers, Math.ceil(files / QUICK));
  return madeOf({ files: few, bytes: Math.ceil(bytes / QUICK), layers }, scale, isSmall);
}

/** Reads every byte of an input, so that all that read it later find it in the page cache. */
export async function warmUp({ path, next }: Input): Promise<void> {
  const all = [path, next].filter((one) => one !== undefined && existsSync(one)) as string[];
  await command('sh', ['-c', 'find "$@" -type f -exec cat {} + | wc -c', 'sh', ...all]);
}
