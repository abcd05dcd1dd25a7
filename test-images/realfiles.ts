/**
 * Images of any size whose files are real ones: those of a tree (`pool`), over and over, each with a line of its own at its start, so
 * that no two files are equal and all compress as they really do: copies of a file hardly ever lie within a compressor's
 * reach of each other. The same pool and parameters give the same layers.
 *
 * Small files keep the sizes of the pool's, of which the largest (or the smallest) are left out until the mean is right; they stand in
 * packages below `node_modules`, neighbours together. Files that are much larger on average than the pool's are made of many, with
 * sizes as uneven as an exponential distribution's.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type Pack, pack } from 'tar-stream';
import { type LayerInput, type StoredLayer, writeLayout } from './build.ts';
import { addFile, MTIME, randomNumbers } from './synthetic.ts';

/** What image is made. */
export interface RealFilesOptions {
  /** The directory that contents come from. */
  readonly pool: string;
  readonly files: number;
  /** Of all files together, about: the mean over the whole pool is right, `contentsOf` tells what came of it. */
  readonly bytes: number;
  readonly layers: number;
}

/** Files of a package, its package.json among them: the median of large applications is some tens. */
const PACKAGE_FILES = 75;
/** In a new release one package in so many of the changed layer is another version. */
const CHANGED_EVERY = 10;
/** Files that are to be larger than the pool's by this factor are made of many. */
const MANY_FROM = 4;
/** Most that find may print of a pool, bytes. */
const LISTING_LIMIT = 1 << 28;
const MANIFEST = 'package.json';
const RELEASE_MTIME = new Date(MTIME.getTime() + 7 * 86_400_000);

interface PoolFile {
  readonly path: string;
  readonly size: number;
}

/** A file to be made: its own line, then `size` bytes of the pool's files from `from` on. */
interface Made {
  readonly from: number;
  readonly size: number;
}

/** Files that stand together: those from `from` to `to` (exclusive). */
interface Package {
  readonly path: string;
  readonly from: number;
  readonly to: number;
}

/** Where file `i` stands. */
interface Place {
  readonly directory: string;
  readonly name: string;
  readonly i: number;
}

/** Regular files of the tree with content, by path. Node's own recursive listing runs in circles at a link to a directory above. */
function listPool(directory: string): PoolFile[] {
  const parameters = [directory, '-type', 'f', '-size', '+0', '-printf', '%s %p\\0'];
  const listed = execFileSync('find', parameters, { encoding: 'utf8', maxBuffer: LISTING_LIMIT });
  const files = listed.split('\0').slice(0, -1);
  return files
    .map((line) => line.split(/ (.*)/s) as [size: string, path: string])
    .map(([size, path]) => ({ path, size: Number(size) }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The pool without its largest files, or without its smallest, as many of them as bring the mean to `mean` bytes. */
function withMean(pool: readonly PoolFile[], mean: number): readonly PoolFile[] {
  const sizes = pool.map(({ size }) => size).sort((a, b) => a - b);
  let sum = sizes.reduce((total, size) => total + size, 0);
  let [from, to] = [0, sizes.length];
  while (to - from > 1 && sum / (to - from) > mean) sum -= sizes[--to] as number;
  while (to - from > 1 && sum / (to - from) < mean && to === sizes.length)
    sum -= sizes[from++] as number;
  const [least, most] = [sizes[from] as number, sizes[to - 1] as number];
  return pool.filter(({ size }) => size >= least && size <= most);
}

const meanOf = (pool: readonly PoolFile[]): number =>
  pool.reduce((sum, { size }) => sum + size, 0) / pool.length;

/** The pool's files in turn, the packages that they make in an order by chance, so that layers are about as large as each other. */
function oneEach(pool: readonly PoolFile[], { files }: RealFilesOptions): Made[] {
  const next = randomNumbers(1);
  const packages = Array.from({ length: Math.ceil(files / PACKAGE_FILES) }, (_, i) => i);
  // Fisher and Yates
  for (let i = packages.length - 1; i > 0; i--) {
    const j = next() % (i + 1);
    [packages[i], packages[j]] = [packages[j] as number, packages[i] as number];
  }
  return Array.from({ length: files }, (_, i) => {
    const from = (packages[Math.floor(i / PACKAGE_FILES)] as number) * PACKAGE_FILES;
    const place = (from + (i % PACKAGE_FILES)) % pool.length;
    return { from: place, size: (pool[place] as PoolFile).size };
  });
}

/** Sizes as uneven as an exponential distribution's, `bytes` together. */
function unevenSizes({ files, bytes }: RealFilesOptions): number[] {
  const next = randomNumbers(1);
  const weights = Array.from({ length: files }, () => -Math.log((next() + 1) / (2 ** 32 + 1)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => Math.ceil((bytes * weight) / sum));
}

/** Files made of so many of the pool's, in turn, as have the sizes together; the last is cut. */
function fromMany(pool: readonly PoolFile[], sizes: readonly number[]): Made[] {
  let from = 0;
  return sizes.map((size) => {
    const made = { from, size };
    for (let left = size; left > 0; from++) left -= (pool[from % pool.length] as PoolFile).size;
    return made;
  });
}

/** The images of one set of parameters. */
class Images {
  readonly #options: RealFilesOptions;
  readonly #pool: readonly PoolFile[];
  readonly #files: readonly Made[];
  readonly #isSmall: boolean;

  constructor(options: RealFilesOptions) {
    const pool = listPool(options.pool);
    const mean = options.bytes / options.files;
    this.#options = options;
    this.#isSmall = mean < meanOf(pool) * MANY_FROM;
    this.#pool = this.#isSmall ? withMean(pool, mean) : pool;
    this.#files = this.#isSmall
      ? oneEach(this.#pool, options)
      : fromMany(pool, unevenSizes(options));
  }

  /** Files and directories of the whole image. */
  get entries(): number {
    const directories = new Set<string>();
    for (let index = 0; index < this.#options.layers; index++) {
      for (const parent of parentsOf(this.#topOf(index))) directories.add(parent);
      for (const one of this.#packagesOf(index)) {
        directories.add(one.path);
        for (const { directory } of this.#placesOf(one)) directories.add(directory);
      }
    }
    return directories.size + this.#files.length;
  }

  get bytes(): number {
    return this.#files.reduce((sum, { size }) => sum + size, 0);
  }

  /** A layer as a stream; `release` 2 has other versions of some packages. */
  layer(index: number, release: 1 | 2): PassThrough {
    const archive = pack();
    const fill = async (): Promise<void> => {
      for (const parent of parentsOf(this.#topOf(index))) addDirectory(archive, parent, MTIME);
      for (const [number, one] of this.#packagesOf(index).entries())
        await this.#addPackage(archive, one, release === 2 && number % CHANGED_EVERY === 0);
      archive.finalize();
    };
    const out = new PassThrough();
    fill().catch((error) => out.destroy(error));
    return archive.pipe(out);
  }

  #topOf(index: number): string {
    return this.#isSmall ? `srv/app-${index}/node_modules` : `var/lib/data-${index}`;
  }

  #packagesOf(index: number): Package[] {
    const { files, layers } = this.#options;
    const [from = 0, to = 0] = [index, index + 1].map((i) => Math.floor((files * i) / layers));
    return Array.from({ length: Math.ceil((to - from) / PACKAGE_FILES) }, (_, number) => {
      const first = from + number * PACKAGE_FILES;
      const path = `${this.#topOf(index)}/p-${number}`;
      return { path, from: first, to: Math.min(first + PACKAGE_FILES, to) };
    });
  }

  async #addPackage(archive: Pack, one: Package, isNew: boolean): Promise<void> {
    const mtime = isNew ? RELEASE_MTIME : MTIME;
    const version = isNew ? '1.0.1' : '1.0.0';
    addDirectory(archive, one.path, mtime);
    const directories = new Set([one.path]);
    for (const { directory, name, i } of this.#placesOf(one)) {
      if (!directories.has(directory)) addDirectory(archive, directory, mtime);
      directories.add(directory);
      const path = `${directory}/${name}`;
      if (name === MANIFEST) {
        const about = { name: one.path.slice(one.path.lastIndexOf('/') + 1), version };
        const text = Buffer.from(`${JSON.stringify(about)}\n`);
        await addFile(archive, path, text.length, [text], mtime);
        continue;
      }
      const made = this.#files[i] as Made;
      const line = `file ${i}, version ${version}\n`;
      await addFile(archive, path, line.length + made.size, this.#content(line, made), mtime);
    }
  }

  /** Where a package's files stand: the first is its package.json where they are small. */
  #placesOf({ path, from, to }: Package): Place[] {
    return Array.from({ length: to - from }, (_, n) => {
      const i = from + n;
      if (this.#isSmall && n === 0) return { directory: path, name: MANIFEST, i };
      return { ...this.#placeOf(this.#files[i] as Made, path, i), i };
    });
  }

  /** Directory and name of a file: those that its first part has in the pool. */
  #placeOf({ from }: Made, top: string, i: number): Omit<Place, 'i'> {
    const parts = this.#file(from).path.split('/');
    const [parent = 'lib', name = ''] = parts.slice(-2);
    // Two directories of one name may meet in a package.
    return { directory: `${top}/${parent.slice(0, 60)}`, name: `${i}-${name.slice(-60)}` };
  }

  #file(i: number): PoolFile {
    return this.#pool[i % this.#pool.length] as PoolFile;
  }

  *#content(line: string, { from, size }: Made): Generator<Buffer> {
    yield Buffer.from(line);
    for (let [i, left] = [from, size]; left > 0; i++) {
      const content = readFileSync(this.#file(i).path).subarray(0, left);
      left -= content.length;
      yield content;
    }
  }
}

/** A directory and those above it, highest first. */
function parentsOf(path: string): string[] {
  const names = path.split('/');
  return names.map((_, i) => names.slice(0, i + 1).join('/'));
}

function addDirectory(archive: Pack, path: string, mtime: Date): void {
  archive.entry({ name: `${path}/`, type: 'directory', mode: 0o755, mtime });
}

/** How many files and directories the image has, and how many bytes of the pool are in its files. */
export function contentsOf(options: RealFilesOptions): { entries: number; bytes: number } {
  const { entries, bytes } = new Images(options);
  return { entries, bytes };
}

/** Writes an OCI layout with the image, gzip layers, tag `latest`, to `directory`. */
export async function writeRealFiles(directory: string, options: RealFilesOptions): Promise<void> {
  const images = new Images(options);
  const layers = Array.from(
    { length: options.layers },
    (_, i): LayerInput => ({ tar: () => images.layer(i, 1), compression: 'gzip' }),
  );
  await writeLayout(directory, [{ layers }]);
}

/**
 * Writes the next release of the image that the layout `previous` holds: the same layers, linked, but the last, in which one package
 * in ten is another version.
 */
export async function writeNextRelease(
  directory: string,
  options: RealFilesOptions,
  previous: string,
): Promise<void> {
  const images = new Images(options);
  const kept = storedLayers(previous).slice(0, -1);
  const tar = (): PassThrough => images.layer(kept.length, 2);
  await writeLayout(directory, [{ layers: [...kept, { tar, compression: 'gzip' }] }]);
}

/** The layers of a layout's only image. */
function storedLayers(layout: string): StoredLayer[] {
  const file = (digest: string): string => join(layout, 'blobs', digest.replace(':', '/'));
  const read = (digest: string) => JSON.parse(readFileSync(file(digest), 'utf8'));
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  const manifest = read(index.manifests[0].digest);
  const diffIds: readonly string[] = read(manifest.config.digest).rootfs.diff_ids;
  return manifest.layers.map((descriptor: StoredLayer['descriptor'], i: number) => ({
    file: file(descriptor.digest),
    descriptor,
    diffId: diffIds[i] as string,
  }));
}
