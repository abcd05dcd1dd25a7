/**
 * Writes layers to an index directory in parts: a part holds whole layers in all tables, is written in a private directory, and
 * appears by one rename. So a layer's rows are complete or absent whatever is killed when, and several writers, on one machine or on
 * many that share the directory, need nobody to coordinate them.
 *
 * `parts-VERSION/SHARD-CONTENT/TABLE/[prefix=H/]part.parquet`: CONTENT is a digest of the part's layers, so the same work gives the same name.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from '../../errors.ts';
import { flushFiles } from '../../flush.ts';
import { type Ingest, makeDirectories, makeIngest } from '../../ingest.ts';
import { withLock } from '../../lock.ts';
import { showPath } from '../../path.ts';
import type { ColumnData } from './append.ts';
import { queryParts } from './damage.ts';
import { type Engine, literal } from './engine.ts';
import { DigestSet, digestBytes, idOf, type LayerKey, tableKey } from './ids.ts';
import { type Kept, NOTHING_KEPT } from './kept.ts';
import type { ReadLayer } from './read.ts';
import { DIGEST_SIZE } from './records.ts';
import type { LayerRows } from './rows.ts';
import { foldersOf, Staging } from './staging.ts';

/** Entries after which a part is written: 16 partitions of 250,000 rows, two row groups each. */
export const PART_ENTRIES = 4_000_000;
/** Bytes read after which a part is written though it is small: what a kill costs to read again. */
export const PART_BYTES: number = 8 * 2 ** 30;
/** Digests that a run remembers to have written, of contents and of paths: what 100 MB each have room for. */
export const KEPT_DIGESTS = 6_700_000;
/** Bytes of documents after which a part is written: they wait in memory. */
const PART_DOCUMENT_BYTES: number = 256 << 20;
/** Hex digits of a part's content in its name. */
const CONTENT_DIGITS = 20;

/** Where the index is, and whose share is written. */
export interface WriterOptions {
  readonly directory: string;
  /** Part of the parts' names, such as `0-of-4`. */
  readonly shard: string;
  /** Entries after which a part is written; default {@link PART_ENTRIES}. */
  readonly partEntries?: number;
  /** Bytes read after which a part is written; default {@link PART_BYTES}. */
  readonly partBytes?: number;
  /** Digests of a kind that are remembered to have been written; default {@link KEPT_DIGESTS}. */
  readonly keptDigests?: number;
}

/** Of the tables. What another version wrote is passed over: it lies in folders of other names. */
export const INDEX_VERSION = 2;
/** The folder of an index that holds its parts. */
export const PARTS: string = `parts-${INDEX_VERSION}`;
/** Where what is not finished lies. */
const INGEST = '.ingest';
/** A pod that was killed leaves its lock; publishing takes a second. */
const LEFT_AFTER_MS = 120_000;

/** The names of the parts that are there. */
export async function listParts(directory: string): Promise<string[]> {
  try {
    return (await readdir(join(directory, PARTS))).sort();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

/** Writes layers; call `flush` at the end, `close` always. */
export class IndexWriter {
  readonly #engine: Engine;
  readonly #options: WriterOptions;
  readonly #ingest: Ingest;
  readonly #staging: Staging;
  /** Parts whose layers are known, and these layers. */
  readonly #parts = new Set<string>();
  readonly #known = new Set<LayerKey>();
  readonly #waiting = new Set<LayerKey>();
  readonly #files = new DigestSet();
  readonly #paths = new DigestSet();
  readonly #xattrs = new DigestSet();
  readonly #documents = new DigestSet();
  readonly #digests = new DigestSet();
  #entries = 0;
  #bytes = 0;
  #documentBytes = 0;

  private constructor(engine: Engine, options: WriterOptions, ingest: Ingest) {
    this.#engine = engine;
    this.#options = options;
    this.#ingest = ingest;
    this.#staging = new Staging(engine);
  }

  /** A writer to the directory, which is made; what killed runs left there is removed. */
  static async open(engine: Engine, options: WriterOptions): Promise<IndexWriter> {
    await makeDirectories(join(options.directory, PARTS));
    const ingest = await makeIngest(join(options.directory, INGEST));
    const writer = new IndexWriter(engine, options, ingest);
    await writer.#learn();
    await writer.#staging.clear();
    return writer;
  }

  /** Whether the layer is in the index, or waits to be written. */
  has(key: LayerKey): boolean {
    return this.#known.has(key) || this.#waiting.has(key);
  }

  /** Layers that are written. */
  get size(): number {
    return this.#known.size;
  }

  /** Adds a layer; one that is there already is passed over. A part that is full is written. */
  async add(layer: ReadLayer): Promise<void> {
    const key = keyOf(layer);
    if (this.has(key)) return;
    this.#waiting.add(key);
    this.#stage(layer);
    this.#entries += layer.rows.length;
    this.#bytes += layer.bytesRead;
    const { partEntries = PART_ENTRIES, partBytes = PART_BYTES } = this.#options;
    const isFull = this.#entries >= partEntries || this.#bytes >= partBytes;
    if (isFull || this.#documentBytes >= PART_DOCUMENT_BYTES) await this.flush();
  }

  /** Writes what waits. Where there is no part at all and nothing to write, one without layers: then its tables are there to be read. */
  async flush(): Promise<void> {
    const isEmpty = this.#parts.size === 0 && this.#waiting.size === 0;
    while ((isEmpty || this.#waiting.size > 0) && !(await this.#publish()));
    this.#waiting.clear();
    // What a part of this run holds need not be in the next: it is there, or whoever took its layers wrote it too.
    const sets = [this.#files, this.#paths, this.#xattrs, this.#documents, this.#digests];
    const { keptDigests = KEPT_DIGESTS } = this.#options;
    for (const set of sets) if (set.size > keptDigests) set.clear();
    this.#entries = 0;
    this.#bytes = 0;
    this.#documentBytes = 0;
    await this.#staging.clear();
  }

  async close(): Promise<void> {
    this.#staging.close();
    await this.#ingest.remove();
  }

  #stage(layer: ReadLayer): void {
    const { diffId, blob, rows, origin, uncompressed = -1, kept = NOTHING_KEPT } = layer;
    const value = idOf(digestBytes(keyOf(layer)));
    this.#staging.append('entries', rows.length, [
      { type: 'constant', value },
      ...[rows.files, rows.paths, rows.links, rows.xattrs].map(idColumn),
      ...[rows.kind, rows.superseded].map((values) => ({ type: 'byte', values }) as const),
      ...[rows.mode, rows.nanoseconds].map((values) => ({ type: 'integer', values }) as const),
      ...[rows.size, rows.uid, rows.gid, rows.seconds, rows.device].map(doubleColumn),
    ]);
    this.#stageFiles(rows);
    this.#stagePaths(rows);
    this.#stageXattrs(rows);
    this.#stageKept(kept);
    this.#staging.append('layers', 1, [
      { type: 'constant', value },
      ...[diffId, blob, origin].map((text) => ({ type: 'text', values: [text] }) as const),
      ...[uncompressed, rows.length].map((number) => doubleColumn(Float64Array.of(number))),
      ...[rows.treeDigest, rows.metadataDigest].map(idColumn),
      { type: 'text', values: [kept.extent] },
    ]);
  }

  #stageFiles({ files, size, length }: LayerRows): void {
    const digests: Buffer[] = [];
    const sizes: number[] = [];
    for (let row = 0; row < length; row++) {
      const at = row * DIGEST_SIZE;
      if (isNone(files, at) || !this.#files.add(files, at)) continue;
      digests.push(files.subarray(at, at + DIGEST_SIZE));
      sizes.push(size[row] as number);
    }
    this.#staging.append('files', digests.length, [
      idColumn(Buffer.concat(digests)),
      { type: 'bytes', values: digests },
      doubleColumn(Float64Array.from(sizes)),
    ]);
  }

  #stagePaths({ paths, pathText, links, linkText, length }: LayerRows): void {
    const digests: Buffer[] = [];
    const texts: string[] = [];
    const add = (all: Buffer, row: number, text: readonly string[]): void => {
      const at = row * DIGEST_SIZE;
      if (isNone(all, at) || !this.#paths.add(all, at)) return;
      digests.push(all.subarray(at, at + DIGEST_SIZE));
      texts.push(showPath(text[row] as string));
    };
    for (let row = 0; row < length; row++) {
      add(paths, row, pathText);
      add(links, row, linkText);
    }
    this.#staging.append('paths', digests.length, [
      idColumn(Buffer.concat(digests)),
      { type: 'text', values: texts },
    ]);
  }

  #stageXattrs({ xattrs, xattrSets }: LayerRows): void {
    const found = [...xattrSets].flatMap(([row, set]) => {
      const digest = xattrs.subarray(row * DIGEST_SIZE, (row + 1) * DIGEST_SIZE);
      if (!this.#xattrs.add(digest)) return [];
      return [...set].map(([name, value]) => ({ digest, name: showPath(name), value }));
    });
    this.#staging.append('xattrs', found.length, [
      idColumn(Buffer.concat(found.map(({ digest }) => digest))),
      { type: 'text', values: found.map(({ name }) => name) },
      { type: 'bytes', values: found.map(({ value }) => value) },
    ]);
  }

  #stageKept({ documents, digests }: Kept): void {
    const contents = documents.filter(({ digest }) => this.#documents.add(digest));
    this.#documentBytes += contents.reduce((sum, { content }) => sum + content.length, 0);
    this.#staging.append('documents', contents.length, [
      idColumn(Buffer.concat(contents.map(({ digest }) => digest))),
      { type: 'bytes', values: contents.map(({ content }) => content) },
    ]);
    const further = digests.filter(({ digest }) => this.#digests.add(digest));
    this.#staging.append('digests', further.length, [
      idColumn(Buffer.concat(further.map(({ digest }) => digest))),
      { type: 'bytes', values: further.map(({ md5 }) => md5) },
      { type: 'bytes', values: further.map(({ sha1 }) => sha1) },
    ]);
  }

  /** Learns which layers parts hold that were not known; gives them. */
  async #learn(): Promise<LayerKey[]> {
    const { directory } = this.#options;
    const fresh = (await listParts(directory)).filter((name) => !this.#parts.has(name));
    const learnt: LayerKey[] = [];
    for (const name of fresh) {
      const file = join(directory, PARTS, name, 'layers', 'part.parquet');
      const sql = `SELECT diff_id, blob, origin FROM read_parquet(${literal(file)})`;
      const rows = await queryParts(this.#engine, join(directory, PARTS), sql);
      learnt.push(
        ...rows.map(({ diff_id, blob, origin }) =>
          keyOf({ diffId: diff_id, blob, origin } as Keyed),
        ),
      );
      this.#parts.add(name);
    }
    for (const key of learnt) this.#known.add(key);
    return learnt;
  }

  /** Writes a part of what waits; false where others wrote some of its layers meanwhile: these no longer wait. */
  async #publish(): Promise<boolean> {
    const { directory, shard } = this.#options;
    const layers = [...this.#waiting].sort();
    const content = createHash('sha256').update(layers.join()).digest('hex');
    const name = `${shard}-${content.slice(0, CONTENT_DIGITS)}`;
    const draft = this.#ingest.newPath();
    for (const folder of foldersOf()) await mkdir(join(draft, folder), { recursive: true });
    const files = await this.#staging.write(draft);
    await flushFiles([...files, ...new Set(files.map(dirname)), draft]);
    const place = join(directory, PARTS, name);
    const publish = async (): Promise<boolean> => {
      const taken = (await this.#learn()).filter((key) => this.#waiting.has(key));
      if (taken.length > 0) {
        await this.#staging.remove(taken.map((key) => idOf(digestBytes(key))));
        for (const key of taken) this.#waiting.delete(key);
        return false;
      }
      if (this.#parts.has(name)) return true;
      await rename(draft, place);
      await flushFiles([dirname(place)]);
      this.#parts.add(name);
      for (const key of layers) this.#known.add(key);
      return true;
    };
    const lock = join(directory, INGEST, 'lock');
    return withLock(lock, this.#ingest, publish, { leftAfterMs: LEFT_AFTER_MS });
  }
}

type Keyed = Pick<ReadLayer, 'diffId' | 'blob' | 'origin'>;

function keyOf({ diffId, blob, origin }: Keyed): LayerKey {
  return origin === 'toc' ? tableKey(diffId, blob) : diffId;
}

function idColumn(digests: Buffer): ColumnData {
  return { type: 'id', digests, stride: DIGEST_SIZE };
}

function doubleColumn(values: Float64Array): ColumnData {
  return { type: 'double', values };
}

/** Whether the digest at `at` is all zeros: there is none. */
function isNone(digests: Buffer, at: number): boolean {
  return digests.readUInt32LE(at) === 0 && digests.readUInt32LE(at + 4) === 0;
}
