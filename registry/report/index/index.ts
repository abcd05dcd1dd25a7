/**
 * Indexes layers: each that the index lacks is read once, by diffID, and its rows are written. Several processes share the work by
 * shards, told by the diffID alone, so that nobody coordinates them.
 */
import { type ErrorCode, RechunkError } from '../../errors.ts';
import type { Digest } from '../../oci.ts';
import type { Skipped } from '../report.ts';
import type { Engine } from './engine.ts';
import { digestBytes, tableKey } from './ids.ts';
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
export interface IndexOptions
  extends Pick<WriterOptions, 'partEntries' | 'partBytes' | 'keptDigests'> {
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
  /** Layers that could not be read, and why. They are tried again by the next run. */
  readonly skipped: readonly Skipped[];
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

/** What is wrong with one layer, and says nothing of others. Whatever else fails would fail for others, too. */
const OF_ONE_LAYER: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...(['not-found', 'digest-mismatch', 'size-mismatch', 'compression'] as const),
  ...(['tar', 'path', 'manifest', 'unsupported', 'limit'] as const),
]);

/** Blobs by diffID, those of the share: the smallest first, the others for where that cannot be read. */
function choose(
  layers: Iterable<LayerSource>,
  shard: Shard,
): ReadonlyMap<Digest, readonly LayerSource[]> {
  const chosen = new Map<Digest, Map<string, LayerSource>>();
  for (const layer of layers) {
    const { diffId, descriptor, place = '' } = layer;
    if (!isInShard(diffId, shard)) continue;
    const known = chosen.get(diffId) ?? new Map<string, LayerSource>();
    chosen.set(diffId, known);
    const key = `${descriptor.digest} ${place}`;
    if (!known.has(key)) known.set(key, layer);
  }
  const bySize = (a: LayerSource, b: LayerSource): number => a.descriptor.size - b.descriptor.size;
  return new Map([...chosen].map(([diffId, blobs]) => [diffId, [...blobs.values()].sort(bySize)]));
}

/**
 * Reads the layers that the index lacks and writes their rows. A layer of which no blob can be read is passed over. What was written
 * stays written where it throws; nothing is half there. Throws `network`, `registry`, `auth`, `io`, and what aborted it.
 */
export async function indexLayers(
  engine: Engine,
  layers: Iterable<LayerSource>,
  options: IndexOptions,
): Promise<IndexSummary> {
  const { shard = ALL, directory, signal, partEntries, partBytes, keptDigests } = options;
  const chosen = choose(layers, shard);
  const writer = await IndexWriter.open(engine, {
    directory,
    shard: `${shard.number}-of-${shard.count}`,
    ...(partEntries !== undefined && { partEntries }),
    ...(partBytes !== undefined && { partBytes }),
    ...(keptDigests !== undefined && { keptDigests }),
  });
  try {
    const wanted = [...chosen.values()].filter((blobs) => !isKnown(writer, blobs));
    const run = new Run(writer, wanted, options);
    await run.finish();
    signal?.throwIfAborted();
    await writer.flush();
    const known = chosen.size - wanted.length;
    return { layers: chosen.size, known, ...run.counts, skipped: run.skipped };
  } finally {
    await writer.close();
  }
}

/** Whether several blobs claim the diffID: then only reading one whole tells what it is. */
function isContested(blobs: readonly LayerSource[]): boolean {
  return new Set(blobs.map(({ descriptor }) => descriptor.digest)).size > 1;
}

function isKnown(writer: IndexWriter, blobs: readonly LayerSource[]): boolean {
  const [{ diffId, descriptor }] = blobs as readonly [LayerSource];
  const isByTable = !isContested(blobs) && writer.has(tableKey(diffId, descriptor.digest));
  return writer.has(diffId) || isByTable;
}

/** Stored bytes of the blob that is tried first. */
function sizeOf(blobs: readonly LayerSource[]): number {
  return blobs[0]?.descriptor.size ?? 0;
}

/** Layers read side by side, written one after the other. */
class Run {
  readonly #writer: IndexWriter;
  /** Of each layer the blobs that may be read. */
  readonly #wanted: readonly (readonly LayerSource[])[];
  readonly #options: IndexOptions;
  readonly counts = { tables: 0, entries: 0, bytesRead: 0 };
  readonly skipped: Skipped[] = [];
  #next = 0;
  #done = 0;
  #doneBytes = 0;
  readonly #totalBytes: number;
  #failed = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(
    writer: IndexWriter,
    wanted: readonly (readonly LayerSource[])[],
    options: IndexOptions,
  ) {
    this.#writer = writer;
    this.#wanted = wanted;
    this.#options = options;
    this.#totalBytes = wanted.reduce((sum, blobs) => sum + sizeOf(blobs), 0);
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
        const blobs = this.#wanted[this.#next++] as readonly LayerSource[];
        const layer = await this.#readOne(blobs);
        if (layer) await this.#write(layer);
        this.#done++;
        this.#tell();
      }
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }

  /** Reads a layer from the first of its blobs that can be read; undefined, and told, where that is none. */
  async #readOne(blobs: readonly LayerSource[]): Promise<ReadLayer | undefined> {
    let first: RechunkError | undefined;
    for (const source of blobs) {
      try {
        return await this.#read(source, blobs);
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        if (!(error instanceof RechunkError && OF_ONE_LAYER.has(error.code))) throw error;
        first ??= error;
      }
    }
    const [{ name }] = blobs as readonly [LayerSource];
    this.skipped.push({ name, why: (first as RechunkError).message });
    this.#doneBytes += sizeOf(blobs);
    return undefined;
  }

  /** Reads a blob; when it is read, all of its layer counts as done, however much there was to read. */
  async #read(source: LayerSource, blobs: readonly LayerSource[]): Promise<ReadLayer> {
    let seen = 0;
    const count = (bytes: number): void => {
      seen += bytes;
      this.#doneBytes += bytes;
      this.#tell();
    };
    const { keep, signal } = this.#options;
    try {
      const origin = isContested(blobs) ? 'tar' : undefined;
      const layer = await readLayer(source, { keep, origin, signal, onBytes: count });
      count(sizeOf(blobs) - seen);
      return layer;
    } catch (error) {
      count(-seen);
      throw error;
    }
  }

  async #write(layer: ReadLayer): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writer.add(layer));
    await this.#writing;
    this.counts.entries += layer.rows.length;
    this.counts.bytesRead += layer.bytesRead;
    if (layer.origin === 'toc') this.counts.tables++;
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
