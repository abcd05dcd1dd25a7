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

/** What an update to an image that was built pulls, and from which image. */
export interface ImageUpdate extends UpdateBytes {
  /** The image that nodes have. */
  readonly reference: string;
  /** Of its manifest, for the platform that was built. */
  readonly digest: string;
}

/** What of an image decides what is pulled. */
export interface PulledParts {
  readonly layers: readonly {
    readonly digest: string;
    readonly diffId: string;
    readonly size: number;
  }[];
  /** Manifest and config. */
  readonly documents: readonly { readonly digest: string; readonly size: number }[];
}

/** What an update pulls; undefined where one side is a directory tree, which has no blobs. */
export function measureUpdate(old: Image, next: Image): UpdateBytes | undefined {
  if (old.source.tree || next.source.tree) return undefined;
  return measurePull(partsOf(old), partsOf(next));
}

/** What nodes that have `old` pull of an image that was built; undefined where `old` is a directory tree. */
export function measureUpdateFrom(old: Image, built: PulledParts): ImageUpdate | undefined {
  if (old.source.tree) return undefined;
  const { reference } = old.source;
  const { digest } = old.manifestDocument.descriptor;
  return { reference, digest, ...measurePull(partsOf(old), built) };
}

function partsOf({ layers, manifestDocument, configDocument }: Image): PulledParts {
  return {
    layers: layers.map(({ descriptor: { digest, size }, diffId }) => ({ digest, diffId, size })),
    documents: [manifestDocument.descriptor, configDocument.descriptor],
  };
}

function measurePull(old: PulledParts, next: PulledParts): UpdateBytes {
  const had = new Set(old.layers.map(({ digest }) => digest));
  const hadDocuments = new Set(old.documents.map(({ digest }) => digest));
  const first = next.layers.findIndex(({ diffId }, i) => diffId !== old.layers[i]?.diffId);
  return {
    byBlob: sumLayers(next.layers.filter(({ digest }) => !had.has(digest))),
    byChain: sumLayers(first < 0 ? [] : next.layers.slice(first)),
    documents: next.documents.reduce(
      (sum, { digest, size }) => sum + (hadDocuments.has(digest) ? 0 : size),
      0,
    ),
  };
}

/** A blob that several layers have is pulled once. */
function sumLayers(layers: PulledParts['layers']): Pull {
  const sizes = new Map(layers.map(({ digest, size }) => [digest, size]));
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
