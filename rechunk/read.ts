/** One layer read and checked; or recalled from the cache, and read only when somebody needs its content. */
import { type BigIntStats, fstatSync, readSync } from 'node:fs';
import { detectCompression, fileBlob } from '../registry/blob.ts';
import { during, RechunkError } from '../registry/errors.ts';
import type { Blob, Image, Layer } from '../registry/image.ts';
import type { Batch, IndexedEntry } from './batch.ts';
import type { MemoryBudget } from './budget.ts';
import type { Cache } from './cache/cache.ts';
import type { IngestInput, IngestJob, IngestResult } from './ingest.ts';
import { type Pool, sendStream } from './pool.ts';
import { makeRing } from './ring.ts';
import type { Spool } from './spool.ts';
import type { Body } from './tree.ts';

/** How far a step has come, for a progress display. */
export interface Progress {
  readonly step: 'read' | 'previous' | 'write' | 'send' | 'verify';
  /** Bytes done since the last call. */
  readonly bytes: number;
  /** Bytes that the step will take, as far as known. */
  readonly total: number;
}

/** What reading layers needs. */
export interface ReadContext {
  readonly pool: Pool;
  readonly spool: Spool;
  /** Where layers are recalled from, and remembered; default: nowhere. */
  readonly cache?: Cache | undefined;
  /** Counts what is read; default: it is not counted. */
  readonly budget?: MemoryBudget | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly step?: 'read' | 'previous' | 'verify';
  /** Whether no other layer waits to be read; default: one may. */
  readonly isLast?: (() => boolean) | undefined;
}

/** A layer whose entries are known, and were checked against its descriptor and diffID. */
export interface ReadLayer {
  /** Its entries; where they are not `kept`, they are let go of as they are taken. */
  batches(isKept: boolean): Iterable<Batch>;
  /** The file that bodies are read from (`Holdings.ready`), and where in it the tar stream begins. */
  readonly bodies: number;
  readonly base: number;
  /** Bytes uncompressed. */
  readonly size: number;
  /** How many entries it has; to be asked before they are taken. */
  count(): number;
  readonly warnings: readonly string[];
}

/** Reads a layer; `onBytes` is told of bytes as they are read. Throws when it is not what manifest and config promise. */
export async function readLayer(
  image: Image,
  layer: Layer,
  name: string,
  onBytes: (bytes: number) => void,
  context: ReadContext,
): Promise<ReadLayer> {
  const { cache, spool } = context;
  const { descriptor, diffId } = layer;
  const place = findPlace(await image.source.blob(descriptor), spool);
  const batches: Batch[] = [];
  const record = cache?.recordLayer();
  const onPart = (batch: Batch): void => {
    batches.push(batch);
    record?.add(batch);
  };
  let result: IngestResult;
  try {
    result = await ingest({ layer, name, place }, { onBytes, onPart }, context);
  } catch (error) {
    record?.discard();
    throw error;
  }
  record?.commit(diffId, result);
  cache?.noteBlob(descriptor, diffId);
  const { isSound, bodies, base } = place;
  const cost = descriptor.size;
  if (cache) spool.holdings.add(bodies, { isSound, cost, memo: cache.memoOf(diffId) });
  const warnings = nameWarnings(name, result.warnings);
  const take = (isKept: boolean): Iterable<Batch> => (isKept ? batches : takeAll(batches));
  return {
    batches: take,
    bodies,
    base,
    size: result.size,
    count: () => countOf(batches),
    warnings,
  };
}

/**
 * The layer as an earlier run found it, without its content, which is fetched when the spool is asked for it. Undefined where
 * it was not read before, or its source has no such blob.
 */
export async function recallLayer(
  image: Image,
  layer: Layer,
  name: string,
  context: ReadContext,
): Promise<ReadLayer | undefined> {
  const { cache, spool } = context;
  const { descriptor, diffId } = layer;
  if (!cache || descriptor.urls || !(await cache.isBlobOf(descriptor, diffId))) return undefined;
  const found = await cache.findLayer(diffId);
  // Who may not read a layer must not get it by naming it.
  if (!found || !(await isThere(image, layer))) return undefined;
  const kept = await findKept(layer, cache, spool);
  const place = kept ?? findPlace(await image.source.blob(descriptor), spool);
  const { isSound, bodies, base } = place;
  const read = (from: Place): Promise<IngestResult> =>
    ingest({ layer, name, place: from, isIndexed: true }, {}, context);
  const fill = (): Promise<void> =>
    during(`reading ${name}`, async () => {
      if (kept && (await read(kept).then(isDone, isDamaged))) return;
      if (kept) await cache.dropKept(descriptor.digest);
      const own = kept ? findPlace(await image.source.blob(descriptor), spool) : place;
      await read({ ...own, bodies });
    });
  const cost = descriptor.size;
  spool.holdings.add(bodies, { isSound, cost, memo: cache.memoOf(diffId) }, fill);
  const warnings = nameWarnings(name, found.warnings);
  const { batches, size } = found;
  return { batches: () => batches, bodies, base, size, count: () => countOf(batches), warnings };
}

function countOf(batches: Iterable<Batch>): number {
  let sum = 0;
  for (const { count } of batches) sum += count;
  return sum;
}

/** A copy of the layer's blob on this machine, which may not be what it should; undefined where there is none, or no more. */
async function findKept(
  { descriptor: { digest, size } }: Layer,
  cache: Cache,
  spool: Spool,
): Promise<Place | undefined> {
  const path = await cache.findKept(digest);
  if (path === undefined) return undefined;
  try {
    const place = findPlace(fileBlob(path, 0, size), spool);
    const isWhole = fstatSync(place.file as number).size === size;
    // What is kept is compressed. It is only read: where it is damaged, the source's blob goes into a file of the spool.
    if (isWhole && !place.isInPlace) return place;
    await cache.dropKept(digest);
  } catch {
    // Gone since, or not to be read.
  }
  return undefined;
}

const isDone = (): boolean => true;

/** That what was kept is not what it was, which is no trouble; throws any other error. */
function isDamaged(error: unknown): false {
  if (error instanceof RechunkError && error.code !== 'interrupted') return false;
  throw error;
}

/** Whether the source has the layer, as far as it can tell without reading it. */
export async function isThere({ source }: Image, { descriptor }: Layer): Promise<boolean> {
  try {
    if (source.has) return await source.has(descriptor);
    const { file } = await source.blob(descriptor);
    return !file || file.size === descriptor.size;
  } catch (error) {
    if (error instanceof RechunkError && error.code !== 'interrupted') return false;
    throw error;
  }
}

/** Where the content of a layer's entry lies. */
export function bodyOf({ bodies, base }: ReadLayer, entry: IndexedEntry): Body {
  const extents = entry.extents?.map((extent) => ({ ...extent, offset: extent.offset + base }));
  const plain = { file: bodies, offset: entry.offset + base };
  return extents ? { ...plain, extents } : plain;
}

function nameWarnings(name: string, warnings: readonly string[]): string[] {
  return warnings.map((warning) => `${name}: ${warning}`);
}

/** Takes the batches out one by one. */
function* takeAll(batches: Batch[]): Generator<Batch> {
  for (let batch = batches.shift(); batch; batch = batches.shift()) yield batch;
}

/** Where a layer's bytes come from, and where its bodies are read. */
interface Place {
  readonly blob: Blob;
  /** A blob that lies on disk: its descriptor. */
  readonly file?: number;
  /** Whether it lies there uncompressed, and is read there. */
  readonly isInPlace: boolean;
  /** Whether nobody changed it since it was opened. */
  isSound(): boolean;
  readonly bodies: number;
  readonly base: number;
}

/** Bytes at the start of a blob that tell its compression. */
const HEAD_BYTES = 16;

/** Uncompressed layers that lie on disk are used in place, all others are spooled. */
function findPlace(blob: Blob, spool: Spool): Place {
  const spooled = { isInPlace: false, isSound: () => true, base: 0 } as const;
  if (!blob.file) return { ...spooled, blob, bodies: spool.create() };
  const { path, offset, size } = blob.file;
  const file = spool.open(path);
  const head = Buffer.alloc(Math.min(HEAD_BYTES, size));
  readSync(file, head, 0, head.length, offset);
  if (detectCompression(head) !== 'none') return { ...spooled, blob, file, bodies: spool.create() };
  const before = fstatSync(file, { bigint: true });
  const isSound = (): boolean => isUnchanged(before, fstatSync(file, { bigint: true }));
  return { blob, file, isInPlace: true, isSound, bodies: file, base: offset };
}

function isUnchanged(a: BigIntStats, b: BigIntStats): boolean {
  return a.size === b.size && a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs;
}

/** A layer to be read. */
interface Reading {
  readonly layer: Layer;
  readonly name: string;
  readonly place: Place;
  readonly isIndexed?: boolean;
}

/** Who is told of what is read. */
interface Listeners {
  readonly onBytes?: (bytes: number) => void;
  readonly onPart?: (batch: Batch) => void;
}

async function ingest(
  { layer, name, place, isIndexed = false }: Reading,
  { onBytes, onPart }: Listeners,
  { pool, isLast }: ReadContext,
): Promise<IngestResult> {
  const { descriptor, diffId } = layer;
  const opened = openInput(place, onBytes);
  const { input } = opened;
  const spool = place.isInPlace ? {} : { spool: place.bodies };
  const job = { descriptor, diffId, name, isIndexed, ...spool };
  const result = await runIngest(pool, opened, job, { onPart, isLast: isLast?.() });
  if (input.kind === 'file') onBytes?.(descriptor.size);
  return result;
}

/** A layer's stored bytes, opened. */
interface OpenedInput {
  readonly input: IngestInput;
  /** Settles when a streamed input was sent whole. */
  readonly sent?: Promise<void>;
}

/** Threads that a single layer keeps busy: one decompresses, one digests and indexes. */
const LAYER_THREADS = 2;

/** What a layer is read with. */
interface ReadingOptions {
  /** Is told of the entries. */
  readonly onPart?: ((batch: Batch) => void) | undefined;
  /** Whether no other layer waits for a thread. */
  readonly isLast?: boolean | undefined;
}

/** Runs `job` on the bytes of `input`. Throws as `ingestLayer` does. */
function runIngest(
  pool: Pool,
  { input, sent }: OpenedInput,
  job: Omit<IngestJob, 'input'>,
  { onPart, isLast = false }: ReadingOptions,
): Promise<IngestResult> {
  const ports = input.kind === 'port' ? [input.port] : [];
  const listener = onPart && { onPart };
  // What is read in place is not compressed.
  if (job.spool === undefined || !isLast || pool.free < LAYER_THREADS)
    return lastOf([sent, pool.run('ingest', { ...job, input }, { ...listener, transfer: ports })]);
  const { writer, reader } = makeRing();
  const { descriptor, name } = job;
  const decoding = { input, descriptor, name, output: writer };
  const indexing = { ...job, input: { kind: 'decoded', ring: reader } } as const;
  return lastOf([
    sent,
    pool.run('decode', decoding, { transfer: [...ports, writer.port] }),
    pool.run('ingest', indexing, { ...listener, transfer: [reader.port] }),
  ]);
}

/** What the last one gives. Each of them fails where one before it does, whose error says more. */
async function lastOf<T>(
  chain: readonly [...(Promise<unknown> | undefined)[], Promise<T>],
): Promise<T> {
  const settled = await Promise.allSettled(chain);
  const failed = settled.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
  return chain.at(-1) as Promise<T>;
}

function openInput({ blob, file }: Place, onBytes?: (bytes: number) => void): OpenedInput {
  if (blob.file && file !== undefined) {
    const { offset, size } = blob.file;
    return { input: { kind: 'file', fd: file, offset, size } };
  }
  const { port, done } = sendStream(counted(blob.stream(), onBytes));
  return { input: { kind: 'port', port }, sent: done };
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  count?: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    count?.(chunk.length);
    yield chunk;
  }
}
