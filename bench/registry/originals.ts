/**
 * Images as people build them, from the newest releases of two series: `debian` is a base of the minimal system's packages and a
 * layer of what `apt-get install` adds, both zstd; `npm` is that base, a layer of packages, and one of the application, both gzip.
 */
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Entry, Inode, Tree } from '../../rechunk/tree.ts';
import { NO_XATTRS, paddingOf } from '../../registry/tar.ts';
import { END_OF_ARCHIVE, encodeEntry } from '../../registry/tarwriter.ts';
import {
  type BuiltImage,
  type ImageInput,
  type StoredLayer,
  writeLayout,
} from '../../test-images/build.ts';
import { readBaseSources } from '../reuse/plain.ts';
import type { Deb } from '../series/deb.ts';
import { type DebianRelease, resolveDebian } from '../series/debian.ts';
import { layOutSystem } from '../series/debroot.ts';
import { layOutNpm } from '../series/npm.ts';
import { type ContentSpool, withSpool } from '../series/spool.ts';

/** The products, each a repository. */
export const PRODUCTS = ['debian', 'npm'] as const;

/** An OCI layout with the releases of a product. */
export interface Originals {
  readonly product: (typeof PRODUCTS)[number];
  readonly layout: string;
  /** Oldest first. */
  readonly tags: readonly string[];
}

/** How the releases are made. */
interface Making {
  /** Where the layouts are kept. */
  readonly work: string;
  /** Where series keep what they fetched. */
  readonly cache: string;
  readonly releases: number;
  /** Debian packages of at most so many bytes. */
  readonly packageBytes: number;
}

const MS_PER_SECOND = 1000;
const MODULES = 'app/node_modules';

/** Writes the newest releases of both series to layouts in `work`, or finds them there. Needs root, as series `debian` does. */
export async function writeOriginals(making: Making): Promise<Originals[]> {
  const { work, releases } = making;
  const layouts = PRODUCTS.map((product) => join(work, `${product}-${releases}`));
  const [debian = '', npm = ''] = layouts;
  await mkdir(work, { recursive: true });
  if (!layouts.every(existsSync)) {
    const bases = await whole(debian, (to) => writeDebian(to, making));
    await whole(npm, (to) => writeNpm(to, making, bases));
  }
  return Promise.all(
    PRODUCTS.map(async (product, i) => {
      const layout = layouts[i] as string;
      return { product, layout, tags: await tagsIn(layout) };
    }),
  );
}

async function tagsIn(layout: string): Promise<string[]> {
  const { default: index } = await import(join(layout, 'index.json'), { with: { type: 'json' } });
  return (index.manifests as readonly { annotations: Record<string, string> }[]).map(
    ({ annotations }) => annotations['org.opencontainers.image.ref.name'] as string,
  );
}

/** Lets `write` write a directory that appears whole in the place of `to`. */
async function whole<T>(to: string, write: (draft: string) => Promise<T>): Promise<T> {
  const draft = `${to}.part`;
  for (const one of [draft, to]) await rm(one, { recursive: true, force: true });
  const result = await write(draft);
  await rename(draft, to);
  return result;
}

const imageOf = (
  { name, date }: { readonly name: string; readonly date: number },
  layers: ImageInput['layers'],
): ImageInput => ({
  layers,
  tag: name,
  fields: { created: new Date(date * MS_PER_SECOND).toISOString() },
});

/** Gives the layer of the base in each release. */
async function writeDebian(
  to: string,
  { work, cache, releases, packageBytes }: Making,
): Promise<((layout: string) => StoredLayer)[]> {
  const series = join(cache, 'debian');
  await mkdir(series, { recursive: true });
  const built = await withSpool(work, async (spool) => {
    const bases = new Bases(spool);
    const images = (await resolveDebian(series, spool, { releases, packageBytes })).map(
      (release) => {
        const { debs, date } = release;
        const base = bases.of(release);
        const system = (): Readable => {
          const tree = layOutSystem(debs, date, spool);
          const added = tree.entries.filter(({ path, inode }) => !isSame(inode, base.get(path)));
          return tarOf(tree, added, spool);
        };
        return imageOf(release, [
          { tar: () => tarOf(base, base.entries, spool), compression: 'zstd' },
          { tar: system, compression: 'zstd' },
        ]);
      },
    );
    return writeLayout(to, images);
  });
  return built.map((image) => (layout) => firstLayer(image, layout));
}

/** A base image is built when one of its packages is updated. */
class Bases {
  readonly #spool: ContentSpool;
  readonly #sources = readBaseSources();
  #debs: readonly Deb[] = [];
  #tree: Tree | undefined;

  constructor(spool: ContentSpool) {
    this.#spool = spool;
  }

  of({ debs, date }: DebianRelease): Tree {
    const own = debs.filter(({ source }) => this.#sources.has(`dpkg:${source}`));
    const isNew = own.length !== this.#debs.length || own.some((deb, i) => deb !== this.#debs[i]);
    if (!this.#tree || isNew) this.#tree = layOutSystem(own, date, this.#spool);
    this.#debs = own;
    return this.#tree;
  }
}

function firstLayer({ layers, diffIds }: BuiltImage, layout: string): StoredLayer {
  const [descriptor] = layers;
  const [diffId] = diffIds;
  if (!descriptor || diffId === undefined) throw new Error(`${layout}: an image has no layers`);
  const file = join(layout, 'blobs', descriptor.digest.replace(':', '/'));
  return { file, descriptor, diffId };
}

/** Whether a layer above need not have it again. */
function isSame(inode: Inode, below: Inode | undefined): boolean {
  if (!below || inode === below) return inode === below;
  const { type, mode, sha256, target } = inode;
  if (type === 'dir') return below.type === 'dir' && below.mode === mode;
  return (
    [below.type, below.mode, below.sha256, below.target].join() ===
    [type, mode, sha256, target].join()
  );
}

async function writeNpm(
  to: string,
  { work, cache, releases }: Making,
  bases: readonly ((layout: string) => StoredLayer)[],
): Promise<void> {
  const series = join(cache, 'npm');
  await mkdir(series, { recursive: true });
  await withSpool(work, async (spool) => {
    const images: ImageInput[] = [];
    for await (const release of layOutNpm(series, spool, releases)) {
      const { tree } = release;
      const base = bases[images.length]?.(join(work, `debian-${releases}`)) as StoredLayer;
      const isBelow = ({ path }: Entry): boolean => path === 'app' || path.startsWith(MODULES);
      const layer = (entries: readonly Entry[]) => ({ tar: () => tarOf(tree, entries, spool) });
      const above = tree.entries.filter((entry) => entry.path === 'app' || !isBelow(entry));
      images.push(imageOf(release, [base, layer(tree.entries.filter(isBelow)), layer(above)]));
    }
    await writeLayout(to, images);
  });
}

/** The archive of `entries`, which hold all names of a hard link or none. */
function tarOf(tree: Tree, entries: readonly Entry[], spool: ContentSpool): Readable {
  return Readable.from(members(tree, entries, spool), { objectMode: false });
}

function* members(tree: Tree, entries: readonly Entry[], spool: ContentSpool): Generator<Buffer> {
  for (const { path, inode } of entries) {
    const first = tree.links.get(inode)?.[0] ?? path;
    const isLink = first !== path;
    const { type, mode, uid, gid, mtime, size, target, devMajor, devMinor } = inode;
    const shared = {
      path,
      mode,
      uid,
      gid,
      mtime,
      devMajor,
      devMinor,
      xattrs: inode.xattrs ?? NO_XATTRS,
    };
    const link = isLink ? first : target;
    yield encodeEntry({ ...shared, type: isLink ? 'link' : type, size: isLink ? 0 : size, link });
    if (isLink || type !== 'file' || size === 0) continue;
    yield spool.get(inode.sha256);
    if (paddingOf(size) > 0) yield Buffer.alloc(paddingOf(size));
  }
  yield END_OF_ARCHIVE;
}
