/** What an update costs a node, in compressed bytes, and the least that it could cost. */
import { randomBytes } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { during } from '../../registry/errors.ts';
import type { Image } from '../../registry/image.ts';
import { comparePaths, type Path } from '../../registry/path.ts';
import type { Context } from '../context.ts';
import { compileLayer } from '../layer.ts';
import { sendStream } from '../pool.ts';
import { type Entry, filesOf, type Inode, type Tree } from '../tree.ts';
import type { FileChangeKind, FilePair, Side } from './files.ts';

/** Layers that a node pulls. */
export interface Pull {
  readonly layers: number;
  /** Bytes of their blobs. */
  readonly bytes: number;
}

/** What a node that has the old image pulls. */
export interface UpdateBytes {
  /** Blobs that the old image does not have: podman, containerd, bootc. */
  readonly byBlob: Pull;
  /** Every layer above the first whose content differs: Docker's graph drivers. */
  readonly byChain: Pull;
  /** Bytes of manifest and config, where they are not the old ones. */
  readonly documents: number;
}

/** The least that an update could cost, measured: what differs, in one layer, zstd level 3. Bytes. */
export interface Floor {
  /** Every content that the old image has nowhere, once, and a header for each file that differs. */
  readonly files: number;
  /** Every component that differs, whole. */
  readonly components: number;
}

/** What an update pulls; undefined where one side is a directory tree, which has no blobs. */
export function measureUpdate(old: Image, next: Image): UpdateBytes | undefined {
  if (old.source.tree || next.source.tree) return undefined;
  const had = new Set(old.layers.map(({ descriptor }) => descriptor.digest));
  const first = next.layers.findIndex(({ diffId }, i) => diffId !== old.layers[i]?.diffId);
  const documents = [
    [old.manifestDocument, next.manifestDocument],
    [old.configDocument, next.configDocument],
  ] as const;
  return {
    byBlob: sumLayers(next.layers.filter(({ descriptor }) => !had.has(descriptor.digest))),
    byChain: sumLayers(first < 0 ? [] : next.layers.slice(first)),
    documents: documents.reduce((sum, [{ descriptor: a }, { descriptor: b }]) => {
      return sum + (a.digest === b.digest ? 0 : b.size);
    }, 0),
  };
}

/** A blob that several layers have is pulled once. */
function sumLayers(layers: Image['layers']): Pull {
  const sizes = new Map(layers.map(({ descriptor }) => [descriptor.digest, descriptor.size]));
  return { layers: layers.length, bytes: [...sizes.values()].reduce((sum, size) => sum + size, 0) };
}

/** Measures the floor by compressing what differs. `changed` are the ids of components that differ. */
export async function measureFloor(
  sides: { readonly old: Side; readonly new: Side },
  pairs: readonly FilePair[],
  directories: ReadonlyMap<Path, FileChangeKind>,
  changed: ReadonlySet<string>,
  context: Context,
): Promise<Floor> {
  const { tree, components } = sides.new;
  const whole = components.flatMap(({ id, entries }) => (changed.has(id) ? entries : []));
  const [files, all] = await Promise.all([
    compressedSize(tree, changedEntries(sides, pairs, directories), context),
    compressedSize(tree, whole, context),
  ]);
  return { files, components: all };
}

/** What differs of the new side; content that the old side has, or that came before, is left out. */
function changedEntries(
  { old, new: next }: { readonly old: Side; readonly new: Side },
  pairs: readonly FilePair[],
  directories: ReadonlyMap<Path, FileChangeKind>,
): Entry[] {
  const known = new Set(old.tree.entries.map(({ inode }) => inode.sha256));
  const seen = new Map<string, Inode>();
  const differing = pairs.flatMap(({ path, new: place, change }) =>
    place && change ? [{ path, inode: place.inode }] : [],
  );
  const above = [...directories.keys()].flatMap((path) => {
    const inode = next.tree.get(path);
    return inode ? [{ path, inode }] : [];
  });
  return [...differing, ...above].sort(byPath).map(({ path, inode }) => {
    const first = seen.get(inode.sha256);
    seen.set(inode.sha256, first ?? inode);
    const isKnown = known.has(inode.sha256) || (first !== undefined && first !== inode);
    return { path, inode: isKnown ? { ...inode, size: 0, body: undefined } : inode };
  });
}

const byPath = (a: Entry, b: Entry): number => comparePaths(a.path, b.path);

/** Bytes of a layer of `entries`, compressed with zstd at level 3; 0 where there are none. */
async function compressedSize(
  tree: Tree,
  entries: readonly Entry[],
  context: Context,
): Promise<number> {
  if (entries.length === 0) return 0;
  await context.spool.holdings.ready(filesOf(entries));
  const directory = await context.spool.blobDirectory();
  const path = join(directory, `floor-${randomBytes(8).toString('hex')}`);
  const segments = sendStream(compileLayer(tree, [...entries].sort(byPath)));
  const compression = { compression: 'zstd', level: undefined } as const;
  const job = { ...compression, segments: segments.port, path, inFlight: context.pool.threads + 1 };
  const [{ size }] = await during('compressing what differs', () =>
    Promise.all([context.pool.run('assemble', job, { transfer: [segments.port] }), segments.done]),
  );
  await unlink(path);
  return size;
}
