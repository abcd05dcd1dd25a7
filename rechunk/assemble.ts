/**
 * Writes one layer: runs its segments (literal header bytes and stretches of files) into a tar stream, which is digested for
 * the diffID, compressed, digested again and written to a file.
 *
 * Segments are made by `layer.ts`; nothing here knows tar.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import type { ChunkedResult } from '../registry/chunked/writer.ts';
import {
  type Compressor,
  type CompressorOptions,
  createCompressor,
  type LayerFormat,
} from '../registry/compress.ts';
import type { Digest } from '../registry/oci.ts';
import { release } from '../registry/release.ts';
import { readBody } from './digests.ts';
import { writeFully } from './files.ts';
import { receiveStream } from './pool.ts';
import type { Body } from './tree.ts';

/** A part of a layer as instructions: literal bytes and file bodies in turn. */
export interface Segment {
  /** All literal bytes of the segment, in order. */
  readonly literals: Uint8Array<ArrayBuffer>;
  /** After `literal` bytes each a body; the literals that are left come last. */
  readonly steps: readonly Step[];
}

/** `literal` bytes of the literals, then a body. */
export interface Step {
  readonly literal: number;
  readonly body: Body;
  readonly size: number;
}

/** A layer to write. */
export interface LayerJob {
  /** Gives the layer's {@link Segment}s, see `sendStream`. */
  readonly segments: MessagePort;
  readonly compression: LayerFormat;
  readonly level: number | undefined;
  /** Where the blob goes, the file must not exist; without it only the tar is digested. */
  readonly path: string | undefined;
  /** Frames that may be compressed at once. */
  readonly inFlight: number;
}

/** The digests and sizes (bytes) of a written layer; of one that was only digested, `digest` and `size` are those of the tar. */
export interface LayerResult {
  readonly diffId: Digest;
  readonly tarSize: number;
  readonly digest: Digest;
  readonly size: number;
  /** What became of one that was written as zstd:chunked. */
  readonly chunked?: ChunkedResult;
}

/** Bytes of the tar stream that are handed on at a time. */
const CHUNK_BYTES = 1 << 20;

/** Bytes of a file that are read at a time. */
const READ_BYTES: number = 256 << 10;

/** Gathers small pieces into chunks of {@link CHUNK_BYTES} and hands them on; a chunk is valid until its taking is done. */
export class Gatherer {
  readonly #take: (chunk: Buffer) => Promise<void> | void;
  #buffer: Buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #fill = 0;
  readonly #full: Buffer[] = [];
  /** Taken chunks, to be filled again: new ones would make V8 collect garbage every 64 MiB. */
  readonly #spare: Buffer[] = [];

  constructor(take: (chunk: Buffer) => Promise<void> | void) {
    this.#take = take;
  }

  add(piece: Uint8Array): void {
    for (let done = 0; done < piece.length; ) {
      const count = Math.min(piece.length - done, CHUNK_BYTES - this.#fill);
      this.#buffer.set(piece.subarray(done, done + count), this.#fill);
      this.#fill += count;
      done += count;
      if (this.#fill === CHUNK_BYTES) {
        this.#full.push(this.#buffer);
        this.#buffer = this.#spare.pop() ?? Buffer.allocUnsafe(CHUNK_BYTES);
        this.#fill = 0;
      }
    }
  }

  /** Whether there is something to hand on. */
  get ready(): boolean {
    return this.#full.length > 0;
  }

  /** Hands on what is full. */
  async drain(): Promise<void> {
    for (const chunk of this.#full.splice(0)) {
      await this.#take(chunk);
      this.#spare.push(chunk);
    }
  }

  async finish(): Promise<void> {
    await this.drain();
    if (this.#fill > 0) await this.#take(this.#buffer.subarray(0, this.#fill));
  }
}

/** Writes one layer; `send` is told how many bytes of tar went through, some at a time. */
export async function assembleLayer(
  job: LayerJob,
  send: (bytes: number) => void,
): Promise<LayerResult> {
  const diffHash = createHash('sha256');
  let tarSize = 0;
  const blob = job.path === undefined ? undefined : await openBlob(job, job.path);
  try {
    const gatherer = new Gatherer((chunk) => {
      diffHash.update(chunk);
      tarSize += chunk.length;
      send(chunk.length);
      return blob?.compressor.push(chunk);
    });
    await runSegments(job.segments, gatherer);
    await gatherer.finish();
    await blob?.compressor.finish();
  } finally {
    blob?.close();
  }
  const diffId: Digest = `sha256:${diffHash.digest('hex')}`;
  return { diffId, tarSize, ...(blob?.result() ?? { digest: diffId, size: tarSize }) };
}

type BlobResult = Pick<LayerResult, 'digest' | 'size' | 'chunked'>;

/** A compressor that writes to a file and digests what it writes. */
async function openBlob(
  { compression, level, inFlight }: LayerJob,
  path: string,
): Promise<{ compressor: Compressor; close(): void; result(): BlobResult }> {
  const hash = createHash('sha256');
  const fd = openSync(path, 'wx');
  let size = 0;
  const options: CompressorOptions = {
    inFlight,
    write: (chunk) => {
      hash.update(chunk);
      size += chunk.length;
      writeFully(fd, chunk);
    },
  };
  const close = (): void => closeSync(fd);
  const stored = (): BlobResult => ({ digest: `sha256:${hash.digest('hex')}`, size });
  if (compression !== 'zstd:chunked')
    return { compressor: createCompressor(compression, level, options), close, result: stored };
  const { createChunkedCompressor } = await import('../registry/chunked/writer.ts');
  const compressor = createChunkedCompressor(level, options);
  return { compressor, close, result: () => ({ ...stored(), chunked: compressor.result() }) };
}

async function runSegments(port: MessagePort, gatherer: Gatherer): Promise<void> {
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  for await (const { literals, steps } of receiveStream<Segment>(port)) {
    let at = 0;
    for (const { literal, body, size } of steps) {
      gatherer.add(literals.subarray(at, at + literal));
      at += literal;
      for (const chunk of readBody(body, size, buffer)) {
        gatherer.add(chunk);
        if (gatherer.ready) await gatherer.drain();
      }
    }
    gatherer.add(literals.subarray(at));
    release(literals);
    if (gatherer.ready) await gatherer.drain();
  }
}
