/**
 * Indexes layers: each that the index lacks is read once, by diffID, and its rows are written. Several processes share the work by
 * shards, told by the diffID alone, so that nobody coordinates them.
 */
import { RechunkError } from '../../errors.ts';
import type { Digest } from '../../oci.ts';
import type { Engine } from './engine.ts';
import { digestBytes } from './ids.ts';
import type { KeepRule } from './kept.ts';
import { type LayerSource, type ReadLayer, readLayer } from './read.ts';
import { IndexWriter, type WriterOptions } from './writer.ts';

/** One share of `count`, counted from 0. */
export interface Shard {
  readonly number: number;
  readonly count: number;
}

/** How far the work is. */
export interface IndexProgress {
  /** Layers that are read, and those that are to be. */
  readonly done: number;
  readonly total: number;
  /** Stored bytes of these layers, and of those that are being read what was read; a layer of which only the table is read counts as whole. */
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** How layers are indexed. */
export interface IndexOptions extends Pick<WriterOptions, 'partEntries' | 'partBytes'> {
  readonly directory: string;
  /** Default: all of it. */
  readonly shard?: Shard;
  /** What is kept of content; default nothing. */
  readonly keep?: KeepRule | undefined;
  /** Layers that are read at once; default {@link DEFAULT_AT_ONCE}. */
  readonly atOnce?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: IndexProgress) => void) | undefined;
}

/** What was done. */
export interface IndexSummary {
  /** Layers of this share, and of these, layers that were there. */
  readonly layers: number;
  readonly known: number;
  /** Layers of which only the table of contents was read. */
  readonly tables: number;
  readonly entries: number;
  /** Bytes of blobs that were read. */
  readonly bytesRead: number;
}

/** Layers that are read at once: while one is fetched another is digested. */
const DEFAULT_AT_ONCE = 3;
const ALL: Shard = { number: 0, count: 1 };
/** Most shards: the share is told by the digest's first four bytes. */
const SHARD_LIMIT = 1 << 16;

/** Parses `I/N`, I from 0 to N - 1; throws `usage`. */
export function parseShard(text: string): Shard {
  const [, number, count] = /^(\d{1,5})\/(\d{1,5})$/.exec(text) ?? [];
  const shard = { number: Number(number), count: Number(count) };
  if (count !== undefined && shard.number < shard.count && shard.count <= SHARD_LIMIT) return shard;
  throw new RechunkError('usage', `got shard "${text}", want I/N with I from 0 to N - 1`);
}

/** Whether the layer belongs to the share. */
export function isInShard(diffId: Digest, { number, count }: Shard): boolean {
  return digestBytes(diffId).readUInt32BE(0) % count === number;
}

/** Layers by diffID, the smallest blob of each: those of the share that the index lacks. */
function choose(layers: Iterable<LayerSource>, shard: Shard): ReadonlyMap<Digest, LayerSource> {
  const chosen = new Map<Digest, LayerSource>();
  for (const layer of layers) {
    if (!isInShard(layer.diffId, shard)) continue;
    const known = chosen.get(layer.diffId);
    if (!known || layer.descriptor.size < known.descriptor.size) chosen.set(layer.diffId, layer);
  }
  return chosen;
}

/**
 * Reads the layers that the index lacks and writes their rows. What was written stays written where it throws; nothing is half
 * there. Throws what reading a layer throws, and `io`.
 */
export async function indexLayers(
  engine: Engine,
  layers: Iterable<LayerSource>,
  options: IndexOptions,
): Promise<IndexSummary> {
  const { shard = ALL, directory, signal, partEntries, partBytes } = options;
  const chosen = choose(layers, shard);
  const writer = await IndexWriter.open(engine, {
    directory,
    shard: `${shard.number}-of-${shard.count}`,
    ...(partEntries !== undefined && { partEntries }),
    ...(partBytes !== undefined && { partBytes }),
  });
  try {
    const wanted = [...chosen.values()].filter(({ diffId }) => !writer.has(diffId));
    const run = new Run(writer, wanted, options);
    await run.finish();
    signal?.throwIfAborted();
    await writer.flush();
    const known = chosen.size - wanted.length;
    return { layers: chosen.size, known, ...run.counts };
  } finally {
    await writer.close();
  }
}

/** Layers read side by side, written one after the other. */
class Run {
  readonly #writer: IndexWriter;
  readonly #wanted: readonly LayerSource[];
  readonly #options: IndexOptions;
  readonly counts = { tables: 0, entries: 0, bytesRead: 0 };
  #next = 0;
  #done = 0;
  #doneBytes = 0;
  readonly #totalBytes: number;
  #failed = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(writer: IndexWriter, wanted: readonly LayerSource[], options: IndexOptions) {
    this.#writer = writer;
    this.#wanted = wanted;
    this.#options = options;
    this.#totalBytes = wanted.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  }

  async finish(): Promise<void> {
    const { atOnce = DEFAULT_AT_ONCE } = this.#options;
    const results = await Promise.allSettled(Array.from({ length: atOnce }, () => this.#work()));
    const failure = results.find(({ status }) => status === 'rejected');
    if (failure) throw (failure as PromiseRejectedResult).reason;
  }

  async #work(): Promise<void> {
    const { signal } = this.#options;
    try {
      while (this.#next < this.#wanted.length && !this.#failed) {
        signal?.throwIfAborted();
        const source = this.#wanted[this.#next++] as LayerSource;
        await this.#write(await this.#read(source));
      }
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }

  /** Reads a layer; when it is read, all of it counts as done, however much there was to read. */
  async #read(source: LayerSource): Promise<ReadLayer> {
    let seen = 0;
    const onBytes = (bytes: number): void => {
      seen += bytes;
      this.#doneBytes += bytes;
      this.#tell();
    };
    const { keep, signal } = this.#options;
    const layer = await readLayer(source, { keep, signal, onBytes });
    this.#doneBytes += source.descriptor.size - seen;
    return layer;
  }

  async #write(layer: ReadLayer): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writer.add(layer));
    await this.#writing;
    this.counts.entries += layer.rows.length;
    this.counts.bytesRead += layer.bytesRead;
    if (layer.origin === 'toc') this.counts.tables++;
    this.#done++;
    this.#tell();
  }

  #tell(): void {
    this.#options.onProgress?.({
      done: this.#done,
      total: this.#wanted.length,
      doneBytes: this.#doneBytes,
      totalBytes: this.#totalBytes,
    });
  }
}
