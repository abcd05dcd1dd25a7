/**
 * Writes one layer: runs a {@link LayerJob}'s program (literal header bytes and stretches of files) into a tar stream,
 * which is digested for the diffID, compressed, digested again and written to a file.
 *
 * The program is made by `layer.ts`; nothing here knows tar.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { createCompressor } from '../registry/compress.ts';
import type { Compression } from '../registry/image.ts';
import type { Digest } from '../registry/oci.ts';
import { readBody } from './digests.ts';
import type { Body } from './tree.ts';

/** A layer as instructions: literal bytes and file bodies in turn. */
export interface LayerProgram {
  /** All literal bytes, in order. */
  readonly literals: Uint8Array;
  /** After each `literal` bytes, the body, if any, of `size` bytes. */
  readonly steps: readonly Step[];
}

/** `literal` bytes of the literals, then a body. */
export interface Step {
  readonly literal: number;
  readonly body?: Body;
  readonly size: number;
}

/** A layer to write. */
export interface LayerJob {
  readonly program: LayerProgram;
  readonly compression: Compression;
  readonly level: number | undefined;
  /** Where the blob goes; the file must not exist. */
  readonly path: string;
  /** Frames that may be compressed at once. */
  readonly inFlight: number;
}

/** The digests and sizes (bytes) of a written layer. */
export interface LayerResult {
  readonly diffId: Digest;
  readonly tarSize: number;
  readonly digest: Digest;
  readonly size: number;
}

/** Bytes of the tar stream that are handed on at a time. */
const CHUNK_BYTES = 1 << 20;

/** Gathers small pieces into chunks of {@link CHUNK_BYTES} and hands them on. */
class Gatherer {
  readonly #take: (chunk: Buffer) => Promise<void> | void;
  #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #fill = 0;
  readonly #full: Buffer[] = [];

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
        this.#buffer = Buffer.allocUnsafe(CHUNK_BYTES);
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
    for (const chunk of this.#full.splice(0)) await this.#take(chunk);
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
  const blobHash = createHash('sha256');
  const fd = openSync(job.path, 'wx');
  let tarSize = 0;
  let size = 0;
  try {
    const compressor = createCompressor(job.compression, job.level, {
      inFlight: job.inFlight,
      write: (chunk) => {
        blobHash.update(chunk);
        size += chunk.length;
        for (let done = 0; done < chunk.length; ) done += writeSync(fd, chunk, done);
      },
    });
    const gatherer = new Gatherer((chunk) => {
      diffHash.update(chunk);
      tarSize += chunk.length;
      send(chunk.length);
      return compressor.push(chunk);
    });
    await runProgram(job.program, gatherer);
    await gatherer.finish();
    await compressor.finish();
  } finally {
    closeSync(fd);
  }
  return {
    diffId: `sha256:${diffHash.digest('hex')}`,
    tarSize,
    digest: `sha256:${blobHash.digest('hex')}`,
    size,
  };
}

async function runProgram(program: LayerProgram, gatherer: Gatherer): Promise<void> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let at = 0;
  for (const { literal, body, size } of program.steps) {
    gatherer.add(program.literals.subarray(at, at + literal));
    at += literal;
    if (body) {
      for (const chunk of readBody(body, size, buffer)) {
        gatherer.add(chunk);
        if (gatherer.ready) await gatherer.drain();
      }
    }
    if (gatherer.ready) await gatherer.drain();
  }
  gatherer.add(program.literals.subarray(at));
}
