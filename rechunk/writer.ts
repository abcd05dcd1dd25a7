/**
 * Writes planned layers on all threads, the largest first, and hands each to the destination as it is finished. A layer that
 * an earlier image has is not compressed again, and its blob is used.
 */
import { randomBytes } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { layerMediaType } from '../registry/compress.ts';
import { during, RechunkError } from '../registry/errors.ts';
import type { Compression, Destination } from '../registry/image.ts';
import type { LayerResult } from './assemble.ts';
import type { Context } from './context.ts';
import { fingerprintLayer } from './fingerprint.ts';
import type { Grouping } from './grouping.ts';
import type { KnownLayer, KnownLayers } from './known.ts';
import { compileLayer, tarSizeOf } from './layer.ts';
import type { WrittenLayer } from './metadata.ts';
import { sendStream } from './pool.ts';
import type { ExistingLayer, LayerRole, StackedLayer } from './stack.ts';
import type { Entry } from './tree.ts';

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
  readonly compression: Compression;
  /** Default: 3 for zstd, 6 for gzip. */
  readonly level?: number | undefined;
  /** Writes and digests, but stores nothing. */
  readonly dryRun?: boolean | undefined;
  /** Layers of earlier images. */
  readonly known: KnownLayers;
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
  const queue = [...new Set(stack)].sort((a, b) => b.tarSize - a.tarSize);
  const built = new Map<StackedLayer, BuiltLayer>();
  const writeNext = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      built.set(next, await writer.write(next, stack.indexOf(next) + 1));
    }
  };
  // Twice as many as threads, so that sending overlaps with writing.
  const writers = Array.from({ length: context.threads * 2 }, () =>
    writeNext().catch((error) => {
      queue.length = 0;
      throw error;
    }),
  );
  // All have ended before anything that they use is taken away.
  await Promise.allSettled(writers);
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
  readonly entries: readonly Entry[];
}

type Placed = Omit<BuiltLayer, 'role' | 'components' | 'changes' | 'fingerprint'>;

class Writer {
  readonly #grouping: Stack;
  readonly #destination: Destination;
  readonly #options: WriteOptions;
  readonly #context: Context;
  readonly #total: number;

  constructor(grouping: Stack, destination: Destination, options: WriteOptions, context: Context) {
    this.#grouping = grouping;
    this.#destination = destination;
    this.#options = options;
    this.#context = context;
    const own = grouping.stack.filter(({ existing }) => !existing);
    this.#total = own.reduce((sum, layer) => sum + layer.tarSize, 0);
  }

  async write(layer: StackedLayer, number: number): Promise<BuiltLayer> {
    const { role, components, changes, tarSize, existing } = layer;
    if (existing) {
      const placed = await this.#placeExisting(existing, tarSize);
      return { ...placed, role, components, changes, fingerprint: '' };
    }
    const entries = layer.entries();
    const fingerprint = fingerprintLayer(this.#grouping.tree, entries);
    const job = { number, tarSize, entries };
    const placed = (await this.#placeExpected(job, fingerprint)) ?? (await this.#placeNew(job));
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

  /** Uses the earlier layer that is said to be this one, if it is. */
  async #placeExpected(job: Job, fingerprint: string): Promise<Placed | undefined> {
    const expected = this.#options.known.expect(fingerprint);
    if (!expected) return undefined;
    const { layer, isTrusted } = expected;
    if (isTrusted) return this.#placeKnown(layer, tarSizeOf(this.#grouping.tree, job.entries));
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
    const { diffId, tarSize, digest, size } = written;
    const before = known.find(diffId);
    const placed = before && (await this.#placeKnown(before, tarSize));
    if (placed) {
      await unlink(path);
      return placed;
    }
    const descriptor = { mediaType: layerMediaType(compression), digest, size };
    const reused = await this.#destination.has(descriptor);
    if (reused || dryRun) await unlink(path);
    else await this.#destination.putFile(descriptor, path, this.#sent(size));
    return { ...written, reused, known: false };
  }

  /** Makes the destination have an earlier image's blob; undefined, with a notice, where that is gone. */
  async #placeKnown(layer: KnownLayer, tarSize: number): Promise<Placed | undefined> {
    const { descriptor, diffId, annotations, source, isSibling = false } = layer;
    const { digest, size } = descriptor;
    const { dryRun } = this.#options;
    const isThere = await this.#destination.has(descriptor);
    // A dry run leaves no blob of a sibling that could be read.
    const isNeeded = !isThere && !(dryRun && isSibling);
    try {
      if (isNeeded) {
        const blob = await source.blob(descriptor);
        if (!dryRun) await this.#destination.putBlob(descriptor, blob, this.#sent(size));
      }
    } catch (error) {
      if (!(error instanceof RechunkError) || error.code !== 'not-found') throw error;
      this.#context.onNotice?.(`${source.reference} lacks its layer ${digest}: it is made anew`);
      return undefined;
    }
    const reused = isThere || isSibling;
    return { diffId, tarSize, digest, size, annotations, reused, known: true };
  }

  #sent(total: number): (bytes: number) => void {
    return (bytes) => this.#context.onProgress?.({ step: 'send', bytes, total });
  }

  /** Makes the layer's tar: digested, and compressed into a file at `path` where there is one. */
  async #assemble({ tarSize, entries }: Job, path: string | undefined): Promise<LayerResult> {
    const { compression, level } = this.#options;
    const { pool, threads, onProgress } = this.#context;
    const total = this.#total;
    const segments = sendStream(compileLayer(this.#grouping.tree, entries));
    const inFlight = framesFor(tarSize / Math.max(1, total), threads);
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

/**
 * Frames that a layer may have under way: two keep a thread busy, and a large layer gets the share of all threads that it has
 * of the bytes, so that it does not end alone on one core.
 */
function framesFor(share: number, threads: number): number {
  return Math.max(2, Math.ceil((threads + 1) * share));
}
