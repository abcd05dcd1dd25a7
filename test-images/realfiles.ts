/**
 * Images of any size whose files are real ones: those of a tree (`pool`), over and over, each with a line of its own at its start, so
 * that no two files are equal and all compress as they really do. What two copies share lies as far apart as the pool is large, out
 * of any compressor's reach. The same pool and parameters give the same layers.
 *
 * Small files keep the sizes of the pool's, of which the largest are left out until the mean is right; they stand in packages
 * below `node_modules`, neighbours together. Files that are larger on average than the pool's are made of many, with sizes
 * as uneven as an exponential distribution's.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
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
  /** Of all files together, about. */
  readonly bytes: number;
  readonly layers: number;
}

/** Files of a package, its package.json among them: the median of large applications is some tens. */
const PACKAGE_FILES = 75;
/** In a new release one package in so many of the changed layer is another version. */
const CHANGED_EVERY = 10;
const RELEASE_MTIME = new Date(MTIME.getTime() + 7 * 86_400_000);

interface PoolFile {
  readonly path: string;
  readonly size: number;
}

/** A file to be made: its own line, then the pool's files from `from` on, `count` of them. */
interface Made {
  readonly from: number;
  readonly count: number;
  readonly size: number;
}

/** Regular files of the tree with content, by path. */
function listPool(directory: string): PoolFile[] {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  return files
    .map((path) => ({ path, size: statSync(path).size }))
    .filter(({ size }) => size > 0)
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The pool without its largest files, as many of them as bring the mean down to `mean` bytes. */
function withMean(pool: readonly PoolFile[], mean: number): readonly PoolFile[] {
  const sizes = pool.map(({ size }) => size).sort((a, b) => a - b);
  let sum = sizes.reduce((total, size) => total + size, 0);
  let kept = sizes.length;
  while (kept > 1 && sum / kept > mean) sum -= sizes[--kept] as number;
  const most = sizes[kept - 1] as number;
  return pool.filter(({ size }) => size <= most);
}

const isSmall = (pool: readonly PoolFile[], mean: number): boolean =>
  pool.reduce((sum, { size }) => sum + size, 0) / pool.length >= mean;

/** Each file's part of the pool. */
function makeFiles(pool: readonly PoolFile[], { files, bytes }: RealFilesOptions): Made[] {
  const mean = bytes / files;
  const isOneEach = isSmall(pool, mean);
  const next = randomNumbers(1);
  let from = 0;
  return Array.from({ length: files }, () => {
    const wanted = isOneEach ? 1 : -Math.log((next() + 1) / 2 ** 32) * mean;
    let [count, size] = [0, 0];
    do size += (pool[(from + count++) % pool.length] as PoolFile).size;
    while (size < wanted);
    const made = { from, count, size };
    from += count;
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
    this.#isSmall = isSmall(pool, mean);
    this.#pool = this.#isSmall ? withMean(pool, mean) : pool;
    this.#files = makeFiles(this.#pool, options);
  }

  /** A layer as a stream; `release` 2 has other versions of some packages. */
  layer(index: number, release: 1 | 2): PassThrough {
    const archive = pack();
    const { layers } = this.#options;
    const [from, to] = [index, index + 1].map((i) => Math.floor((this.#files.length * i) / layers));
    const fill = async (): Promise<void> => {
      const top = this.#isSmall ? `srv/app-${index}/node_modules` : `var/lib/data-${index}`;
      const names = top.split('/');
      for (const i of names.keys()) addDirectory(archive, names.slice(0, i + 1).join('/'), MTIME);
      for (let i = from as number; i < (to as number); i += PACKAGE_FILES) {
        const number = Math.floor((i - (from as number)) / PACKAGE_FILES);
        const isNew = release === 2 && number % CHANGED_EVERY === 0;
        const range = [i, Math.min(i + PACKAGE_FILES, to as number)] as const;
        await this.#addPackage(archive, `${top}/p-${number}`, range, isNew);
      }
      archive.finalize();
    };
    const out = new PassThrough();
    fill().catch((error) => out.destroy(error));
    return archive.pipe(out);
  }

  async #addPackage(
    archive: Pack,
    top: string,
    [from, to]: readonly [number, number],
    isNew: boolean,
  ): Promise<void> {
    const mtime = isNew ? RELEASE_MTIME : MTIME;
    addDirectory(archive, top, mtime);
    const directories = new Set<string>();
    for (let i = from; i < to; i++) {
      const isManifest = this.#isSmall && i === from;
      const made = this.#files[i] as Made;
      const [directory = '', name = ''] = isManifest
        ? [top, 'package.json']
        : this.#placeOf(made, top, i);
      if (directory !== top && !directories.has(directory)) addDirectory(archive, directory, mtime);
      directories.add(directory);
      const version = isNew ? '1.0.1' : '1.0.0';
      const line = isManifest
        ? `${JSON.stringify({ name: top.slice(top.lastIndexOf('/') + 1), version })}\n`
        : `file ${i}, version ${version}\n`;
      const size = line.length + (isManifest ? 0 : made.size);
      const pieces = isManifest ? [Buffer.from(line)] : this.#content(line, made);
      await addFile(archive, `${directory}/${name}`, size, pieces, mtime);
    }
  }

  /** Directory and name of a file: those that its first part has in the pool. */
  #placeOf({ from }: Made, top: string, i: number): [directory: string, name: string] {
    const parts = (this.#pool[from % this.#pool.length] as PoolFile).path.split('/');
    const [parent = 'lib', name = ''] = parts.slice(-2);
    // Two directories of one name may meet in a package.
    return [`${top}/${parent.slice(0, 60)}`, `${i}-${name.slice(-60)}`];
  }

  *#content(line: string, { from, count }: Made): Generator<Buffer> {
    yield Buffer.from(line);
    for (let i = from; i < from + count; i++)
      yield readFileSync((this.#pool[i % this.#pool.length] as PoolFile).path);
  }
}

function addDirectory(archive: Pack, path: string, mtime: Date): void {
  archive.entry({ name: `${path}/`, type: 'directory', mode: 0o755, mtime });
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
