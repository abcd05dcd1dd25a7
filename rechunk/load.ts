/** Reads an image into a {@link Tree}: every layer on the pool, each checked, then flattened. */
import { setImmediate as turn } from 'node:timers/promises';
import { during, RechunkError } from '../registry/errors.ts';
import type { Image, Layer } from '../registry/image.ts';
import type { TarEntry } from '../registry/tar.ts';
import { type Batch, type IndexedEntry, unpackBatch } from './batch.ts';
import { contentsOf, digestAll } from './contents.ts';
import { type Flattened, Flattener, flatten, type Watcher } from './flatten.ts';
import { bodyOf, type ReadContext, type ReadLayer, readLayer, recallLayer } from './read.ts';
import { type Body, type Contents, Tree } from './tree.ts';
import type { LayerIndex } from './upper.ts';

/** What reading an image needs. */
export interface LoadContext extends ReadContext {
  /** Layers that are read once for several images; default: none. */
  readonly shared?: SharedLayers | undefined;
  /** Bytes that the step takes, where several images are read in it; default: those of the image. */
  readonly total?: number | undefined;
}

/** Layers that several images have, and those of them that were read; their content stays in the spool. */
export interface SharedLayers {
  readonly keys: ReadonlySet<string>;
  readonly read: Map<string, Promise<ReadLayer>>;
}

/** What {@link LoadContext} needs so that layers that several of `images` have are read once. */
export function shareLayers(images: readonly Image[]): SharedLayers {
  const seen = new Set<string>();
  const keys = new Set<string>();
  for (const image of images) {
    for (const key of new Set(image.layers.map(keyOf))) (seen.has(key) ? keys : seen).add(key);
  }
  return { keys, read: new Map() };
}

/** Bytes of all layers of `images`, those that several have once. */
export function totalSize(images: readonly Image[]): number {
  const layers = new Map(images.flatMap((image) => image.layers).map((one) => [keyOf(one), one]));
  return [...layers.values()].reduce((sum, { descriptor }) => sum + descriptor.size, 0);
}

/** By the diffID too: it is what each image's own config promises of the content. */
function keyOf({ descriptor, diffId }: Layer): string {
  return `${descriptor.digest} ${diffId}`;
}

/** An image's file system, and what was noticed while reading it. */
export interface Loaded {
  readonly tree: Tree;
  readonly warnings: readonly string[];
  /** How many `overlay.*` xattrs were dropped. */
  readonly droppedXattrs: number;
  /** Bytes of each layer that was read, uncompressed. */
  readonly tarSizes: readonly number[];
}

/** Layer kinds that cannot be taken apart, by a part of their media type, and why. */
const REFUSED: readonly (readonly [RegExp, string])[] = [
  [
    /nondistributable|rootfs\.foreign/,
    'is a foreign (non-distributable) layer, which may not be repacked',
  ],
  [
    /\+encrypted/,
    'is encrypted; decrypt the image first, for example with `skopeo copy --decryption-key`',
  ],
  [/nydus/, 'is a nydus blob; convert the image back to plain layers first'],
  [/in-toto|cosign|sigstore/, 'is no file system layer'],
];

function checkLayer(layer: Layer, name: string): void {
  const type = layer.descriptor.mediaType;
  const refused = REFUSED.find(([pattern]) => pattern.test(type));
  if (refused) throw new RechunkError('unsupported', `${name} (${type}) ${refused[1]}`);
}

/**
 * Reads all layers of `image`, or those whose numbers are `wanted`; throws when any is not what its manifest and config promise.
 */
export async function loadTree(
  image: Image,
  context: LoadContext,
  wanted: (number: number) => boolean = () => true,
): Promise<Loaded> {
  if (image.source.tree) return flattenLayers(await loadDirectory(image, context));
  const flattener = new Flattener();
  const loaded = await readLayers(image, context, wanted, 'once', async (index) => {
    // What else is to be done comes first: a layer that is read must not wait.
    await turn();
    flattener.add(index);
  });
  return asLoaded(loaded, flattener.finish());
}

/** The file system that layers give together. */
export function flattenLayers(loaded: LoadedLayers, watcher?: Watcher): Loaded {
  return asLoaded(loaded, flatten(loaded.layers, watcher));
}

function asLoaded({ contents, warnings, tarSizes }: LoadedLayers, flattened: Flattened): Loaded {
  return {
    tree: new Tree(flattened.entries, contents, 'in order'),
    warnings: [...warnings, ...flattened.warnings],
    droppedXattrs: flattened.droppedXattrs,
    tarSizes,
  };
}

/** An image's layers as they are, lowest first, each checked against what manifest and config promise. */
export interface LoadedLayers {
  readonly layers: readonly LayerIndex[];
  /** Reads content of the layers' bodies. */
  readonly contents: Contents;
  readonly warnings: readonly string[];
  /** Bytes of each layer, uncompressed. */
  readonly tarSizes: readonly number[];
}

/** Reads all layers of `image`, whatever is remembered of them; their entries can be gone through as often as wanted. */
export async function loadLayers(image: Image, context: LoadContext): Promise<LoadedLayers> {
  if (image.source.tree) return loadDirectory(image, context);
  return readLayers(image, { ...context, cache: undefined }, () => true, 'often');
}

/** Reads layers; `take` is given each as soon as those below were taken. Throws what reading throws before what taking does. */
async function readLayers(
  image: Image,
  context: LoadContext,
  wanted: (number: number) => boolean,
  use: 'once' | 'often',
  take?: (index: LayerIndex) => Promise<void>,
): Promise<LoadedLayers> {
  const queue = [...image.layers.entries()].filter(([number]) => wanted(number));
  const own = queue.reduce((sum, [, layer]) => sum + layer.descriptor.size, 0);
  const how = { total: context.total ?? own, use };
  const reading = await recallLayers(image, queue, context);
  const found: LoadedLayer[] = [];
  const row = new Row(
    queue.map(([number]) => number),
    take,
  );
  const loading = { ...context, isLast: () => queue.length === 0 };
  const loadNext = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [i, layer] = next;
      const loaded = await loadLayer(
        image,
        layer,
        i,
        { ...how, recalled: reading.get(i) },
        loading,
      );
      found[i] = loaded;
      row.add(i, loaded.index);
    }
  };
  // No more at once than threads take: a stream that nobody reads holds a connection that another may wait for.
  await Promise.all(Array.from({ length: context.pool.threads }, loadNext));
  const { pool, budget } = context;
  // What the entries take from now on is not there for threads.
  if (budget) pool.shrink(budget.threads(pool.threads));
  await row.taken();
  const layers = Object.values(found);
  return {
    layers: layers.map(({ index }) => index),
    contents: contentsOf(context.pool, context.spool),
    warnings: layers.flatMap((layer) => layer.warnings),
    tarSizes: layers.map(({ size }) => size),
  };
}

/** Passes layers on in their order, each as soon as it is there and those before it were taken. */
class Row {
  readonly #numbers: number[];
  readonly #take: ((index: LayerIndex) => Promise<void>) | undefined;
  readonly #waiting = new Map<number, LayerIndex>();
  #taken: Promise<void> = Promise.resolve();

  constructor(numbers: number[], take?: (index: LayerIndex) => Promise<void>) {
    this.#numbers = numbers;
    this.#take = take;
  }

  add(number: number, index: LayerIndex): void {
    this.#waiting.set(number, index);
    for (let next = this.#next(); next; next = this.#next()) {
      const one = next;
      this.#taken = this.#taken.then(() => this.#take?.(one));
    }
    // Who waits for it is told.
    this.#taken.catch(() => {});
  }

  #next(): LayerIndex | undefined {
    const [number = -1] = this.#numbers;
    const index = this.#waiting.get(number);
    if (index) this.#numbers.shift();
    return index;
  }

  /** When all was taken that was added. Throws what taking threw. */
  taken(): Promise<void> {
    return this.#taken;
  }
}

/** Layers that are asked for in the cache, and of their source, at a time. */
const RECALLS = 8;

/** The layers that need not be read, by number. */
async function recallLayers(
  image: Image,
  layers: readonly (readonly [number, Layer])[],
  context: LoadContext,
): Promise<Map<number, ReadLayer>> {
  const found = new Map<number, ReadLayer>();
  const queue = layers.filter(([, layer]) => !context.shared?.read.has(keyOf(layer)));
  const next = async (): Promise<void> => {
    for (let one = queue.shift(); one; one = queue.shift()) {
      const [number, layer] = one;
      const name = nameOf(image, layer, number);
      const recalled = await during(`reading ${name}`, () =>
        recallLayer(image, layer, name, context),
      );
      if (recalled) found.set(number, recalled);
    }
  };
  if (context.cache) await Promise.all(Array.from({ length: RECALLS }, next));
  return found;
}

function nameOf({ source }: Image, { descriptor }: Layer, number: number): string {
  return `layer ${number + 1} (${descriptor.digest.slice(0, 19)}…) of ${source.reference}`;
}

interface LoadedLayer {
  readonly index: LayerIndex;
  readonly size: number;
  readonly warnings: readonly string[];
}

/** How a layer is loaded. */
interface LoadOptions {
  /** Bytes that the step takes. */
  readonly total: number;
  /** Whether its entries are gone through more than once. */
  readonly use: 'once' | 'often';
  readonly recalled: ReadLayer | undefined;
}

async function loadLayer(
  image: Image,
  layer: Layer,
  number: number,
  { total, use, recalled }: LoadOptions,
  context: LoadContext,
): Promise<LoadedLayer> {
  const name = nameOf(image, layer, number);
  checkLayer(layer, name);
  const key = keyOf(layer);
  const isShared = context.shared?.keys.has(key) === true;
  const onBytes = (bytes: number): void => report(context, bytes, total);
  const readNow = (): Promise<ReadLayer> =>
    during(`reading ${name}`, () => readLayer(image, layer, name, onBytes, context));
  if (recalled) onBytes(layer.descriptor.size);
  const reading =
    context.shared?.read.get(key) ?? (recalled ? Promise.resolve(recalled) : readNow());
  if (isShared) context.shared?.read.set(key, reading);
  const read = await reading;
  const { size, warnings } = read;
  if (context.budget) context.budget.hold(read.count());
  const body = (entry: IndexedEntry): Body => bodyOf(read, entry);
  const dropped = isStargz(layer) ? STARGZ_FILES : NO_FILES;
  // A batch is let go of when it was read, unless it is wanted again.
  const isKept = isShared || use === 'often';
  const entries = {
    [Symbol.iterator]: () => unpackBatches(read.batches(isKept), dropped),
  };
  return { index: { entries, body, name }, size, warnings };
}

/** Entries of all `batches` but those at the paths `dropped`. */
function* unpackBatches(
  batches: Iterable<Batch>,
  dropped: ReadonlySet<string>,
): Generator<IndexedEntry> {
  for (const batch of batches) {
    for (const entry of unpackBatch(batch)) if (!dropped.has(entry.path)) yield entry;
  }
}

function report(context: LoadContext, bytes: number, total: number): void {
  context.onProgress?.({ step: context.step ?? 'read', bytes, total });
}

/** Files that eStargz adds to a layer for its own use (stargz-snapshotter, docs/estargz.md). */
const STARGZ_FILES: ReadonlySet<string> = new Set([
  'stargz.index.json',
  '.prefetch.landmark',
  '.no.prefetch.landmark',
]);

const NO_FILES: ReadonlySet<string> = new Set();

function isStargz(layer: Layer): boolean {
  return layer.descriptor.annotations?.['containerd.io/snapshot/stargz/toc.digest'] !== undefined;
}

/** A directory tree read in place: only digests are computed. */
async function loadDirectory(image: Image, context: LoadContext): Promise<LoadedLayers> {
  const { tree } = image.source;
  if (!tree) throw new Error('the source is no directory tree');
  const name = image.source.reference;
  const files = tree.entries.filter((entry) => entry.type === 'file');
  const { pool, budget } = context;
  budget?.hold(tree.entries.length);
  if (budget) pool.shrink(budget.threads(pool.threads));
  const bodyOf = (entry: TarEntry): Body => ({ file: tree.locate(entry.path), offset: 0 });
  const total = files.reduce((sum, entry) => sum + entry.size, 0);
  const items = files.map((entry) =>
    entry.size > 0 ? { body: bodyOf(entry), size: entry.size } : { size: 0 },
  );
  const digests = await during(`reading ${name}`, () => digestAll(pool, 'sha256', items));
  report(context, total, total);
  const sha256 = new Map(files.map((entry, i) => [entry, digests[i] as string]));
  const entries = tree.entries.map((entry) => ({ ...entry, sha256: sha256.get(entry) ?? '' }));
  return {
    layers: [{ entries, body: bodyOf, name }],
    contents: contentsOf(context.pool, context.spool),
    warnings: [],
    tarSizes: [total],
  };
}
