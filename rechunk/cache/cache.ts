/**
 * What earlier runs of this user learnt, so that it need not be learnt again: what is in a layer, by its diffID; which blob
 * was found to be which layer; what was asked of files' content; and which layer entries give, by their fingerprint.
 *
 * All of it was computed from content that was checked, and what is read back is checked against damage, so a build with
 * the cache gives the same bytes as one without.
 */
import { deserialize, serialize } from 'node:v8';
import { COMPRESSION_FORMAT } from '../../registry/compress.ts';
import type { Descriptor, Digest } from '../../registry/oci.ts';
import { BATCH_FORMAT, type Batch } from '../batch.ts';
import { LAYER_FORMAT } from '../layer.ts';
import { VERSION } from '../version.ts';
import { CacheDirectory, type DirectoryOptions } from './directory.ts';
import { ContentMemo } from './memo.ts';
import { expand, packPiece, squeeze, unpackPieces } from './pieces.ts';

/** Where a cache lies, and how large it may get. */
export interface CacheOptions {
  /** Made where it is missing; nothing else may be in it, and nobody but this user may write there. */
  readonly directory: string;
  /** Bytes on disk that it may take when a run ends; default 2 GiB. */
  readonly limit?: number | undefined;
  /** Of the program: what other versions wrote is not read. Default: the package's. */
  readonly version?: string | undefined;
  /** Whether nobody named it: a directory in its place that holds something else is no error then. */
  readonly isDefault?: boolean | undefined;
  /** Milliseconds since the epoch, which tell what was used last; default this machine's clock. */
  readonly now?: (() => number) | undefined;
}

/** 2 GiB. */
const DEFAULT_LIMIT = 2 * 2 ** 30;

const KINDS = ['layer', 'blob', 'content', 'fingerprint', 'entries', 'result', 'kept'];
/** Large, and got from elsewhere where it is gone. */
const SPARE = ['kept'];

/** What reading a layer finds besides its entries. */
export interface LayerFacts {
  /** Bytes of the uncompressed tar. */
  readonly size: number;
  readonly warnings: readonly string[];
}

/** A layer that was read before. */
export interface CachedLayer extends LayerFacts {
  /** Its entries, unpacked as they are gone through, as often as wanted. */
  readonly batches: Iterable<Batch>;
}

/** A layer's entries while they are gathered. */
export interface LayerRecord {
  add(batch: Batch): void;
  /** The layer was read whole, and has this diffID. */
  commit(diffId: Digest, facts: LayerFacts): void;
  discard(): void;
}

/** A layer that entries gave. */
export interface WrittenTar {
  readonly diffId: Digest;
  readonly tarSize: number;
}

/** `options` with all defaults; what was written with other `formats` is not read. */
export function completeOptions(
  { limit = DEFAULT_LIMIT, version = VERSION, now = Date.now, ...others }: CacheOptions,
  formats: readonly (string | number)[] = [],
): DirectoryOptions {
  return { ...others, limit, version: [version, ...formats].join('-'), now };
}

/** The cache of one run. */
export class Cache {
  readonly #directory: CacheDirectory;
  readonly #memos: Map<Digest, ContentMemo> = new Map();

  private constructor(directory: CacheDirectory) {
    this.#directory = directory;
  }

  /** Opens the cache; undefined, with a notice, where it cannot be used. Throws `usage` where something else is in its place. */
  static async open(
    options: CacheOptions,
    onNotice: (notice: string) => void,
  ): Promise<Cache | undefined> {
    // Entries are stored as V8 serializes them.
    const formats = [BATCH_FORMAT, LAYER_FORMAT, COMPRESSION_FORMAT, process.versions.v8];
    const own = completeOptions(options, formats);
    const directory = await CacheDirectory.open(own, { kinds: KINDS, spare: SPARE }, onNotice);
    return directory && new Cache(directory);
  }

  /** The layer with this diffID, where it was read or written before. */
  async findLayer(diffId: Digest): Promise<CachedLayer | undefined> {
    const file = await this.#directory.read('layer', keyOf(diffId));
    if (!file) return undefined;
    const pieces = unpackPieces(file);
    const facts = unpackFacts(pieces.pop());
    return facts && { ...facts, batches: { [Symbol.iterator]: () => unpackBatches(pieces) } };
  }

  /** Begins to record a layer that is read or written. */
  recordLayer(): LayerRecord {
    const file = this.#directory.create('layer');
    const add = (value: unknown): void => file.append(packPiece(squeeze(serialize(value))));
    return {
      add,
      commit: (diffId, { size, warnings }) => {
        add({ size, warnings });
        file.commit(keyOf(diffId));
      },
      discard: () => file.discard(),
    };
  }

  /** Whether the blob was found to be the layer with this diffID. */
  async isBlobOf({ digest, size }: Descriptor, diffId: Digest): Promise<boolean> {
    const text = await this.#directory.read('blob', keyOf(digest));
    return text !== undefined && String(text) === `${diffId} ${size}`;
  }

  /** Remembers that the blob is that layer, which must be so. */
  noteBlob({ digest, size }: Pick<Descriptor, 'digest' | 'size'>, diffId: Digest): void {
    this.#directory.write('blob', keyOf(digest), Buffer.from(`${diffId} ${size}`));
  }

  /** The layer that the entries with this fingerprint gave. */
  async findWritten(fingerprint: string): Promise<WrittenTar | undefined> {
    const text = await this.#directory.read('fingerprint', fingerprint);
    return text && (JSON.parse(String(text)) as WrittenTar);
  }

  /** Remembers which layer entries gave. */
  noteWritten(fingerprint: string, { diffId, tarSize }: WrittenTar): void {
    const text = JSON.stringify({ diffId, tarSize });
    this.#directory.write('fingerprint', fingerprint, Buffer.from(text));
  }

  /** The fingerprint of the entries with this digest. */
  async findFingerprint(digest: string): Promise<string | undefined> {
    const text = await this.#directory.read('entries', digest);
    return text && String(text);
  }

  /** Remembers the fingerprint of the entries with this digest. */
  noteFingerprint(digest: string, fingerprint: string): void {
    this.#directory.write('entries', digest, Buffer.from(fingerprint));
  }

  /** Keeps the blob at `path`, which must not change afterwards. */
  keepBlob(digest: Digest, path: string): Promise<void> {
    return this.#directory.keep('kept', keyOf(digest), path);
  }

  /** Where the blob lies that was kept; whoever reads it must check it. */
  findKept(digest: Digest): Promise<string | undefined> {
    return this.#directory.locate('kept', keyOf(digest));
  }

  /** Removes a blob that was kept and is not what it should be. */
  dropKept(digest: Digest): Promise<void> {
    return this.#directory.remove('kept', keyOf(digest));
  }

  /** What a build gave, by a digest of all that decides it. */
  async findResult<T>(key: string): Promise<T | undefined> {
    const found = await this.#directory.read('result', key);
    return found && (JSON.parse(String(expand(found))) as T);
  }

  /** Remembers what a build gave: plain data. */
  noteResult<T extends object>(key: string, result: T): void {
    this.#directory.write('result', key, squeeze(Buffer.from(JSON.stringify(result))));
  }

  /** What is remembered of the content of the layer with this diffID. */
  memoOf(diffId: Digest): ContentMemo {
    const known = this.#memos.get(diffId);
    if (known) return known;
    const memo = new ContentMemo(this.#directory, keyOf(diffId));
    this.#memos.set(diffId, memo);
    return memo;
  }

  /** Stores what was asked of content, and removes what is too much. */
  async close(): Promise<void> {
    try {
      for (const memo of this.#memos.values()) await memo.store();
    } finally {
      await this.#directory.close();
    }
  }
}

function keyOf(digest: Digest): string {
  return digest.replace(':', '-');
}

/** Undefined for what this program cannot read: then it cannot read the batches either, which are stored in the same way. */
function unpackFacts(piece: Buffer | undefined): LayerFacts | undefined {
  try {
    return piece && unpackValue<LayerFacts>(piece);
  } catch {
    return undefined;
  }
}

function unpackValue<T>(piece: Buffer): T {
  return deserialize(expand(piece)) as T;
}

function* unpackBatches(pieces: readonly Buffer[]): Generator<Batch> {
  for (const piece of pieces) yield unpackValue<Batch>(piece);
}
