/**
 * Writes planned layers on all threads, the largest first, and hands each to the destination as it is finished. A layer that
 * an earlier image has is not compressed again, and its blob is used.
 */
import { randomBytes } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type WatchedBlob, watchIndex } from '../registry/chunked/check.ts';
import { parseChunkedAnnotations } from '../registry/chunked/footer.ts';
import { type LayerFormat, layerMediaType } from '../registry/compress.ts';
import { during, RechunkError } from '../registry/errors.ts';
import type { Blob, Destination } from '../registry/image.ts';
import type { Digest } from '../registry/oci.ts';
import type { LayerResult } from './assemble.ts';
import type { Context } from './context.ts';
import { fingerprintLayer } from './fingerprint.ts';
import type { Grouping } from './grouping.ts';
import { LayerIndexer } from './indexer.ts';
import type { KnownLayer, KnownLayers } from './known.ts';
import { type CompileOptions, compileLayer, tarSizeOf } from './layer.ts';
import type { PastImage } from './memory.ts';
import type { WrittenLayer } from './metadata.ts';
import { sendStream } from './pool.ts';
import type { ExistingLayer, LayerRole, StackedLayer } from './stack.ts';
import { fetchContent, type Places, placeOf } from './supply.ts';
import { type Entry, filesOf } from './tree.ts';

/** One layer that was built. */
export interface BuiltLayer extends WrittenLayer {
  readonly role: LayerRole;
  /** Whether the destination had it before. */
  readonly reused: boolean;
  /** Whether it is a blob of an earlier image, and was not compressed now. */
  readonly known: boolean;
  /** As `fingerprintLayer` gives it. */
  readonly fingerprint: string;
  /** Expected probability that an update changes it, in millionths. */
  readonly changes: number;
}

/** How layers are written. */
export interface WriteOptions {
  readonly compression: LayerFormat;
  /** Default: 3 for zstd, 6 for gzip. */
  readonly level?: number | undefined;
  /** Writes and digests, but stores nothing. */
  readonly dryRun?: boolean | undefined;
  /** Layers of earlier images. */
  readonly known: KnownLayers;
  /** Images whose layers may have content that is not there; default none. */
  readonly past?: readonly PastImage[] | undefined;
}

/** Layers, and the tree that their entries are of. */
export type Stack = Pick<Grouping, 'tree' | 'stack'>;

/** Writes and sends all layers of a planned image, each once; the result is in their order. */
export async function writeLayers(
  grouping: Stack,
  destination: Destination,
  options: WriteOptions,
  context: Context,
): Promise<BuiltLayer[]> {
  const writer = new Writer(grouping, destination, options, context);
  const { stack } = grouping;
  await writer.prepare(new Set(stack));
  const queue = [...new Set(stack)].sort((a, b) => b.tarSize - a.tarSize);
  const built = new Map<StackedLayer, BuiltLayer>();
  const writeNext = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      built.set(next, await writer.write(next, stack.indexOf(next) + 1));
    }
  };
  // Twice as many as threads, so that sending overlaps with writing.
  const writers = Array.from({ length: context.pool.threads * 2 }, () =>
    writeNext().catch((error) => {
      queue.length = 0;
      throw error;
    }),
  );
  // All have ended before anything that they use is taken away, also what is fetched and nobody waits for.
  await Promise.allSettled([...writers, writer.fetched()]);
  await Promise.all(writers);
  return stack.map((layer, i) => {
    const one = built.get(layer) as BuiltLayer;
    return stack.indexOf(layer) < i ? { ...one, reused: true } : one;
  });
}

/** A layer while it is written. */
interface Job {
  /** From 1, for people. */
  readonly number: number;
  /** Bytes of its tar, as planned. */
  readonly tarSize: number;
  /** Made anew each time. */
  readonly entries: () => readonly Entry[];
  readonly fingerprint: string;
  /** Expected probability that an update changes it, in millionths. */
  readonly changes: number;
}

/**
 * Layers that change with this probability, in millionths, are kept where they are sent away: when one of their components changes, the
 * others are at hand. In a Debian image of 2,000 components in 100 layers they have a fifth of its bytes, and all but one of those that the next
 * release changes.
 */
const KEPT_CHANGES = 30_000;

/** An earlier layer that is this one, which is known without making it. */
interface SureLayer {
  readonly layer: KnownLayer;
  readonly tarSize: number | undefined;
}

type Placed = Omit<BuiltLayer, 'role' | 'components' | 'changes' | 'fingerprint'>;

class Writer {
  readonly #grouping: Stack;
  readonly #destination: Destination;
  readonly #options: WriteOptions;
  readonly #context: Context;
  readonly #total: number;
  readonly #fingerprints = new Map<StackedLayer, Promise<string>>();
  readonly #sure = new Map<string, Promise<SureLayer | undefined>>();
  /** Where content lies that was not there. */
  #places: Promise<Places> = Promise.resolve(new Map());
  /** Earlier layers that turned out to be of no use: a diffID leads to them as a fingerprint did. */
  readonly #unusable = new Set<Digest>();

  constructor(grouping: Stack, destination: Destination, options: WriteOptions, context: Context) {
    this.#grouping = grouping;
    this.#destination = destination;
    this.#options = options;
    this.#context = context;
    const own = grouping.stack.filter(({ existing }) => !existing);
    this.#total = own.reduce((sum, layer) => sum + layer.tarSize, 0);
  }

  /** Begins to fetch the content of layers that were recalled, as far as `layers` must be made of it. */
  async prepare(layers: Iterable<StackedLayer>): Promise<void> {
    if (this.#context.spool.holdings.areFilled) return;
    const own = [...layers].filter(({ existing }) => !existing);
    const find = async (layer: StackedLayer): Promise<SureLayer | undefined> =>
      this.#findSure(await this.#fingerprintOf(layer));
    const sure = await Promise.all(own.map(find));
    const needed = own.filter((_, i) => sure[i] === undefined);
    this.#places = fetchContent(needed, this.#options.past ?? [], this.#context);
    // Who waits for it is told.
    this.#places.catch(() => {});
  }

  /** When nothing is fetched any more. Throws what fetching threw. */
  async fetched(): Promise<void> {
    await this.#places;
  }

  #fingerprintOf(layer: StackedLayer): Promise<string> {
    const known = this.#fingerprints.get(layer) ?? this.#makeFingerprint(layer);
    this.#fingerprints.set(layer, known);
    return known;
  }

  async #makeFingerprint(layer: StackedLayer): Promise<string> {
    const { cache } = this.#context;
    const digest = cache && layer.digest?.();
    const known = digest && (await cache.findFingerprint(digest));
    if (known) return known;
    const fingerprint = fingerprintLayer(this.#grouping.tree, layer.entries());
    if (digest) cache.noteFingerprint(digest, fingerprint);
    return fingerprint;
  }

  async write(layer: StackedLayer, number: number): Promise<BuiltLayer> {
    const { role, components, changes, tarSize, existing } = layer;
    if (existing) {
      const placed = await this.#placeExisting(existing, tarSize);
      return { ...placed, role, components, changes, fingerprint: '' };
    }
    const fingerprint = await this.#fingerprintOf(layer);
    const job = { number, tarSize, entries: layer.entries, fingerprint, changes };
    const placed = (await this.#placeExpected(job)) ?? (await this.#placeNew(job));
    return { ...placed, role, components, changes, fingerprint };
  }

  /** Makes the destination have a layer that stays as it is; its blob is opened only where it is not there. */
  async #placeExisting(layer: ExistingLayer, tarSize: number): Promise<Placed> {
    const { descriptor, diffId, source } = layer;
    const { digest, size } = descriptor;
    const reused = await this.#destination.has(descriptor);
    if (!reused && !this.#options.dryRun)
      await this.#destination.putBlob(descriptor, await source.blob(descriptor), this.#sent(size));
    return { diffId, tarSize, digest, size, reused, known: true };
  }

  /** The earlier layer that the entries gave before, or that is believed to be what they give. */
  #findSure(fingerprint: string): Promise<SureLayer | undefined> {
    const known = this.#sure.get(fingerprint) ?? this.#seekSure(fingerprint);
    this.#sure.set(fingerprint, known);
    return known;
  }

  async #seekSure(fingerprint: string): Promise<SureLayer | undefined> {
    const { known } = this.#options;
    const written = await this.#context.cache?.findWritten(fingerprint);
    const expected = known.expect(fingerprint);
    const layer = expected?.isTrusted ? expected.layer : written && known.find(written.diffId);
    return layer && { layer, tarSize: written?.tarSize };
  }

  /** Uses the earlier layer that is said to be this one, if it is. */
  async #placeExpected(job: Job): Promise<Placed | undefined> {
    const sure = await this.#findSure(job.fingerprint);
    if (sure) {
      const tarSize = sure.tarSize ?? tarSizeOf(this.#grouping.tree, job.entries());
      return this.#placeKnown(sure.layer, tarSize);
    }
    const expected = this.#options.known.expect(job.fingerprint);
    if (!expected) return undefined;
    const { layer } = expected;
    const { diffId, tarSize } = await this.#assemble(job, undefined);
    if (diffId === layer.diffId) return this.#placeKnown(layer, tarSize);
    this.#context.onNotice?.(
      `${layer.source.reference} records a plan that is not of its layers: layer ${job.number} is made anew`,
    );
    return undefined;
  }

  async #placeNew(job: Job): Promise<Placed> {
    const { compression, dryRun, known } = this.#options;
    const directory =
      (!dryRun && this.#destination.directory) || (await this.#context.spool.blobDirectory());
    const path = join(directory, `${process.pid}-${randomBytes(8).toString('hex')}`);
    const written = await during(`writing layer ${job.number} to ${directory}`, () =>
      this.#assemble(job, path),
    );
    const { diffId, tarSize, digest, size, chunked } = written;
    const before = known.find(diffId);
    const placed = before && (await this.#placeKnown(before, tarSize));
    if (placed) {
      await unlink(path);
      return placed;
    }
    const descriptor = { mediaType: layerMediaType(compression), digest, size };
    const reused = await this.#destination.has(descriptor);
    const isFar = this.#destination.directory === undefined && compression !== 'none';
    if (job.changes >= KEPT_CHANGES && isFar && !dryRun)
      await this.#context.cache?.keepBlob(digest, path);
    if (reused || dryRun) await unlink(path);
    else await this.#destination.putFile(descriptor, path, this.#sent(size));
    return { diffId, tarSize, digest, size, ...chunked, reused, known: false };
  }

  /** Makes the destination have an earlier image's blob; undefined, with a notice, where that is gone. */
  async #placeKnown(layer: KnownLayer, tarSize: number): Promise<Placed | undefined> {
    const { descriptor, diffId, annotations, obstacle, source, isSibling = false } = layer;
    const { digest, size } = descriptor;
    const { dryRun } = this.#options;
    if (this.#unusable.has(digest)) return undefined;
    const isThere = await this.#destination.has(descriptor);
    // A dry run leaves no blob of a sibling that could be read.
    const isNeeded = !isThere && !(dryRun && isSibling);
    try {
      if (isNeeded) {
        const { blob, check } = watchLayer(layer, await source.blob(descriptor));
        if (!dryRun) await this.#destination.putBlob(descriptor, blob, this.#sent(size));
        await during(`reading ${digest} of ${source.reference}`, check);
      }
    } catch (error) {
      const why = error instanceof RechunkError ? unusable(error, layer) : undefined;
      if (why === undefined) throw error;
      this.#context.onNotice?.(`${why}: it is made anew`);
      this.#unusable.add(digest);
      return undefined;
    }
    const reused = isThere || isSibling;
    return { diffId, tarSize, digest, size, annotations, obstacle, reused, known: true };
  }

  #sent(total: number): (bytes: number) => void {
    return (bytes) => this.#context.onProgress?.({ step: 'send', bytes, total });
  }

  /** Makes the layer's tar: digested, and compressed into a file at `path` where there is one; what it is is remembered. */
  async #assemble(job: Job, path: string | undefined): Promise<LayerResult> {
    const { cache, spool } = this.#context;
    const entries = job.entries();
    const places = await this.#places;
    const files = filesOf(entries, (inode) => placeOf(inode, places));
    await spool.holdings.ready(files);
    const record = cache?.recordLayer();
    const indexer = record && new LayerIndexer(record);
    let result: LayerResult;
    try {
      result = await this.#run(job, { entries, path, places, indexer });
    } catch (error) {
      record?.discard();
      throw error;
    }
    // What was changed while it was read is not what its entries say.
    if (!record || ![...files].every((file) => spool.holdings.isSound(file))) {
      record?.discard();
      return result;
    }
    const { diffId, tarSize } = result;
    indexer?.finish();
    record.commit(diffId, { size: tarSize, warnings: [] });
    cache?.noteWritten(job.fingerprint, result);
    cache?.noteBlob(result, diffId);
    return result;
  }

  async #run({ tarSize }: Job, { entries, path, places, indexer }: Assembly): Promise<LayerResult> {
    const { compression, level } = this.#options;
    const { pool, onProgress } = this.#context;
    const total = this.#total;
    const options: CompileOptions = {
      locate: (inode) => placeOf(inode, places),
      ...(indexer && {
        onEntry: ({ path: at, inode }, first, offset) => indexer.add(at, inode, first, offset),
      }),
    };
    const segments = sendStream(
      compileLayer(this.#grouping.tree, entries, options),
      ({ literals }) => [literals.buffer],
    );
    const inFlight = framesFor(tarSize / Math.max(1, total), pool.threads);
    const job = { segments: segments.port, compression, level, path, inFlight };
    const [result] = await Promise.all([
      pool.run('assemble', job, {
        transfer: [segments.port],
        onPart: (bytes) => onProgress?.({ step: 'write', bytes, total }),
      }),
      segments.done,
    ]);
    return result;
  }
}

/** What a layer is made of, and where it goes. */
interface Assembly {
  readonly entries: readonly Entry[];
  /** Where the blob goes; without it the tar is only digested. */
  readonly path: string | undefined;
  readonly places: Places;
  readonly indexer: LayerIndexer | undefined;
}

/** Why the blob of an earlier image is not used after all; undefined for an error that ends the run. */
function unusable(error: RechunkError, { source, descriptor }: KnownLayer): string | undefined {
  if (error.code === 'not-found') return `${source.reference} lacks its layer ${descriptor.digest}`;
  return error.code === 'manifest' ? error.message : undefined;
}

/** The earlier image's blob, with what checks its table of contents if it is said to have one; a blob that is not read is not checked. */
function watchLayer(
  { descriptor, annotations }: KnownLayer,
  blob: Blob,
): Pick<WatchedBlob, 'blob'> & { check(): Promise<unknown> } {
  const sections = parseChunkedAnnotations(annotations, descriptor.size);
  return sections
    ? watchIndex(blob, descriptor.size, sections)
    : { blob, check: () => Promise.resolve() };
}

/**
 * Frames that a layer may have under way: one, while the next is filled, since as many layers as threads are written at once; a
 * large layer gets the share of all threads that it has of the bytes, so that it does not end alone on one core.
 */
function framesFor(share: number, threads: number): number {
  return Math.max(1, Math.ceil((threads + 1) * share));
}
