/** Reads an image into a {@link Tree}: every layer on the pool, each checked, then flattened. */
import { readSync } from 'node:fs';
import { detectCompression } from '../registry/blob.ts';
import { during, RechunkError } from '../registry/errors.ts';
import type { Image, Layer } from '../registry/image.ts';
import type { TarEntry } from '../registry/tar.ts';
import { type Batch, type IndexedEntry, unpackBatch } from './batch.ts';
import { readBody } from './digests.ts';
import { flatten, type Watcher } from './flatten.ts';
import type { IngestInput } from './ingest.ts';
import { type Pool, sendStream } from './pool.ts';
import type { Spool } from './spool.ts';
import { type Body, type Contents, type FileDigest, type Inode, Tree } from './tree.ts';
import type { LayerIndex } from './upper.ts';

/** How far a step has come, for a progress display. */
export interface Progress {
  readonly step: 'read' | 'previous' | 'write' | 'send' | 'verify';
  /** Bytes done since the last call. */
  readonly bytes: number;
  /** Bytes that the step will take, as far as known. */
  readonly total: number;
}

/** What reading an image needs. */
export interface LoadContext {
  readonly pool: Pool;
  readonly spool: Spool;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly step?: 'read' | 'previous' | 'verify';
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

/** Bytes at the start of a blob that tell its compression. */
const HEAD_BYTES = 16;

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
  return flattenLayers(
    image.source.tree
      ? await loadDirectory(image, context)
      : await readLayers(image, context, wanted, 'once'),
  );
}

/** The file system that layers give together. */
export function flattenLayers(
  { layers, contents, warnings, tarSizes }: LoadedLayers,
  watcher?: Watcher,
): Loaded {
  const flattened = flatten(layers, watcher);
  return {
    tree: new Tree(flattened.entries, contents),
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

/** Reads all layers of `image`; their entries can be gone through as often as wanted. */
export async function loadLayers(image: Image, context: LoadContext): Promise<LoadedLayers> {
  if (image.source.tree) return loadDirectory(image, context);
  return readLayers(image, context, () => true, 'often');
}

async function readLayers(
  image: Image,
  context: LoadContext,
  wanted: (number: number) => boolean,
  use: 'once' | 'often',
): Promise<LoadedLayers> {
  const queue = [...image.layers.entries()].filter(([number]) => wanted(number));
  const own = queue.reduce((sum, [, layer]) => sum + layer.descriptor.size, 0);
  const total = context.total ?? own;
  const found: LoadedLayer[] = [];
  const loadNext = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [i, layer] = next;
      found[i] = await loadLayer(image, layer, i, { total, use }, context);
    }
  };
  // No more at once than threads take: a stream that nobody reads holds a connection that another may wait for.
  await Promise.all(Array.from({ length: context.pool.threads }, loadNext));
  const layers = Object.values(found);
  return {
    layers: layers.map(({ index }) => index),
    contents: contentsOf(context.pool),
    warnings: layers.flatMap((layer) => layer.warnings),
    tarSizes: layers.map(({ size }) => size),
  };
}

interface LoadedLayer {
  readonly index: LayerIndex;
  readonly size: number;
  readonly warnings: readonly string[];
}

async function loadLayer(
  image: Image,
  layer: Layer,
  number: number,
  { total, use }: { readonly total: number; readonly use: 'once' | 'often' },
  context: LoadContext,
): Promise<LoadedLayer> {
  const name = `layer ${number + 1} (${layer.descriptor.digest.slice(0, 19)}…) of ${image.source.reference}`;
  checkLayer(layer, name);
  const key = keyOf(layer);
  const isShared = context.shared?.keys.has(key) === true;
  const reading =
    context.shared?.read.get(key) ??
    during(`reading ${name}`, () => readLayer(image, layer, name, total, context));
  if (isShared) context.shared?.read.set(key, reading);
  const { batches, bodies, base, size, warnings } = await reading;
  const body = (entry: IndexedEntry): Body => {
    const extents = entry.extents?.map((extent) => ({ ...extent, offset: extent.offset + base }));
    const plain = { file: bodies, offset: entry.offset + base };
    return extents ? { ...plain, extents } : plain;
  };
  const dropped = isStargz(layer) ? STARGZ_FILES : NO_FILES;
  // A batch is let go of when it was read, unless it is wanted again.
  const isKept = isShared || use === 'often';
  const entries = {
    [Symbol.iterator]: () => unpackBatches(isKept ? [...batches] : batches, dropped),
  };
  return { index: { entries, body, name }, size, warnings };
}

/** A layer that was read, and checked against its descriptor and diffID. */
interface ReadLayer {
  readonly batches: Batch[];
  /** The file that bodies are read from, and where in it the tar stream begins. */
  readonly bodies: number;
  readonly base: number;
  /** Bytes uncompressed. */
  readonly size: number;
  readonly warnings: readonly string[];
}

async function readLayer(
  image: Image,
  layer: Layer,
  name: string,
  total: number,
  context: LoadContext,
): Promise<ReadLayer> {
  const opened = await openLayer(image, layer, total, context);
  const batches: Batch[] = [];
  const onPart = (batch: Batch): number => batches.push(batch);
  const { descriptor, diffId } = layer;
  const spool = opened.spool === undefined ? {} : { spool: opened.spool };
  const job = { input: opened.input, descriptor, diffId, name, ...spool };
  const transfer = opened.input.kind === 'port' ? [opened.input.port] : [];
  const [result] = await Promise.all([
    context.pool.run('ingest', job, { onPart, transfer }),
    opened.sent,
  ]);
  if (opened.input.kind === 'file') report(context, descriptor.size, total);
  const { bodies, base } = opened;
  const warnings = result.warnings.map((warning) => `${name}: ${warning}`);
  return { batches, bodies, base, size: result.size, warnings };
}

/** Entries of all `batches`, which are taken out one by one, but those at the paths `dropped`. */
function* unpackBatches(batches: Batch[], dropped: ReadonlySet<string>): Generator<IndexedEntry> {
  for (let batch = batches.shift(); batch; batch = batches.shift()) {
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

interface OpenedLayer {
  readonly input: IngestInput;
  readonly spool?: number;
  /** The file that bodies are read from, and where in it the tar stream begins. */
  readonly bodies: number;
  readonly base: number;
  /** Settles when a streamed input was sent whole. */
  readonly sent?: Promise<void>;
}

/** Opens a layer: uncompressed layers that lie on disk are used in place, all others are spooled. */
async function openLayer(
  image: Image,
  layer: Layer,
  total: number,
  context: LoadContext,
): Promise<OpenedLayer> {
  const blob = await image.source.blob(layer.descriptor);
  if (!blob.file) {
    const spool = context.spool.create();
    const { port, done } = sendStream(
      counted(blob.stream(), (bytes) => report(context, bytes, total)),
    );
    return { input: { kind: 'port', port }, spool, bodies: spool, base: 0, sent: done };
  }
  const { path, offset, size } = blob.file;
  const fd = context.spool.open(path);
  const input: IngestInput = { kind: 'file', fd, offset, size };
  const head = Buffer.alloc(Math.min(HEAD_BYTES, size));
  readSync(fd, head, 0, head.length, offset);
  if (detectCompression(head) === 'none') return { input, bodies: fd, base: offset };
  const spool = context.spool.create();
  return { input, spool, bodies: spool, base: 0 };
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  count: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    count(chunk.length);
    yield chunk;
  }
}

/** Bytes read at a time. */
const READ_BYTES = 1 << 20;
/** Bytes of content that one digest task takes, so that all threads share the work. */
const DIGEST_SHARE_BYTES = 16 << 20;

async function digestAll(
  pool: Pool,
  algorithm: FileDigest | 'sha256',
  inodes: readonly { body?: Body | undefined; size: number }[],
): Promise<string[]> {
  const shares: { body: Body | undefined; size: number }[][] = [];
  let bytes = DIGEST_SHARE_BYTES;
  for (const { body, size } of inodes) {
    if (bytes >= DIGEST_SHARE_BYTES) {
      shares.push([]);
      bytes = 0;
    }
    shares.at(-1)?.push({ body, size });
    // A file costs as much as a few kilobytes more.
    bytes += size + 4096;
  }
  const digests = await Promise.all(
    shares.map((items) => pool.run('digests', { algorithm, items })),
  );
  return digests.flat();
}

/** Reads and digests content on the pool. */
function contentsOf(pool: Pool): Contents {
  return {
    read: async (inode, limit) => readContent(inode, limit),
    digests: (algorithm, inodes) => digestAll(pool, algorithm, inodes),
  };
}

function readContent(inode: Inode, limit = inode.size): Buffer {
  const content = Buffer.allocUnsafe(Math.min(inode.size, limit));
  const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(content.length, READ_BYTES)));
  let at = 0;
  for (const chunk of inode.body ? readBody(inode.body, inode.size, buffer) : []) {
    if (at >= content.length) break;
    at += chunk.copy(content, at);
  }
  return content;
}

/** A directory tree read in place: only digests are computed. */
async function loadDirectory(image: Image, context: LoadContext): Promise<LoadedLayers> {
  const { tree } = image.source;
  if (!tree) throw new Error('the source is no directory tree');
  const name = image.source.reference;
  const files = tree.entries.filter((entry) => entry.type === 'file');
  const bodyOf = (entry: TarEntry): Body => ({ file: tree.locate(entry.path), offset: 0 });
  const total = files.reduce((sum, entry) => sum + entry.size, 0);
  const items = files.map((entry) =>
    entry.size > 0 ? { body: bodyOf(entry), size: entry.size } : { size: 0 },
  );
  const digests = await during(`reading ${name}`, () => digestAll(context.pool, 'sha256', items));
  report(context, total, total);
  const sha256 = new Map(files.map((entry, i) => [entry, digests[i] as string]));
  const entries = tree.entries.map((entry) => ({ ...entry, sha256: sha256.get(entry) ?? '' }));
  return {
    layers: [{ entries, body: bodyOf, name }],
    contents: contentsOf(context.pool),
    warnings: [],
    tarSizes: [total],
  };
}
