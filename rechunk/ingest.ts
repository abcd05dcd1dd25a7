/**
 * Reads one layer: stored bytes are checked against the descriptor, decompressed, digested for the diffID, indexed, each
 * file digested, and the tar stream spooled to disk once (or left in place where it already lies there uncompressed).
 */
import { createHash, type Hash, hash } from 'node:crypto';
import { read } from 'node:fs';
import { promisify } from 'node:util';
import type { MessagePort } from 'node:worker_threads';
import { decompress, verifying } from '../registry/blob.ts';
import { describe, RechunkError } from '../registry/errors.ts';
import type { Descriptor, Digest } from '../registry/oci.ts';
import type { TarEntry } from '../registry/tar.ts';
import { TarReader } from '../registry/tarreader.ts';
import { type Batch, Batcher } from './batch.ts';
import { writeFully } from './files.ts';
import { receiveStream } from './pool.ts';
import { type RingEnd, readRing, writeRing } from './ring.ts';

/** Where a layer's stored bytes come from: a stretch of an open file, or a stream through a port. */
export type IngestInput =
  | { readonly kind: 'file'; readonly fd: number; readonly offset: number; readonly size: number }
  | { readonly kind: 'port'; readonly port: MessagePort };

/** A layer to check and to decompress. */
export interface DecodeJob {
  readonly input: IngestInput;
  readonly descriptor: Descriptor;
  /** How messages name the layer. */
  readonly name: string;
  /** Takes the uncompressed tar stream. */
  readonly output: RingEnd;
}

/** What a {@link DecodeJob} gives of a layer on another thread. */
export interface DecodedInput {
  readonly kind: 'decoded';
  readonly ring: RingEnd;
}

/** A layer to read. */
export interface IngestJob {
  readonly input: IngestInput | DecodedInput;
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  /** An open file that takes the uncompressed tar stream; absent where the input is that already. */
  readonly spool?: number;
  /** How messages name the layer. */
  readonly name: string;
  /** Its entries are known: only the content is read and checked, nothing is sent. */
  readonly isIndexed?: boolean;
}

/** What reading a layer found. */
export interface IngestResult {
  /** Bytes of the uncompressed tar. */
  readonly size: number;
  readonly warnings: readonly string[];
}

/** Bytes read from disk at a time. */
const READ_BYTES = 1 << 20;

/** Gathers entries with their content digests as the parser finds them, and passes them on in batches. */
class Indexer {
  readonly #batcher: Batcher;
  #entry: TarEntry | undefined;
  #sha256 = '';
  #hash: Hash | undefined;

  constructor(send: (part: Batch) => void) {
    this.#batcher = new Batcher(send);
  }

  entry(entry: TarEntry): void {
    this.#flushEntry();
    this.#entry = entry;
  }

  data(chunk: Uint8Array): void {
    const whole = !this.#hash && chunk.length === this.#entry?.size;
    if (whole) {
      this.#sha256 = hash('sha256', chunk, 'hex');
      return;
    }
    this.#hash ??= createHash('sha256');
    this.#hash.update(chunk);
  }

  end(): void {
    if (this.#hash) this.#sha256 = this.#hash.digest('hex');
    else if (this.#sha256 === '') this.#sha256 = EMPTY_SHA256;
    this.#hash = undefined;
  }

  #flushEntry(): void {
    if (!this.#entry) return;
    this.#batcher.add({ ...this.#entry, sha256: this.#sha256 });
    this.#sha256 = '';
  }

  finish(): void {
    this.#flushEntry();
    this.#batcher.finish();
  }
}

/** sha256 of no bytes. */
export const EMPTY_SHA256: string = hash('sha256', '', 'hex');

function openInput(input: IngestInput): AsyncIterable<Uint8Array> {
  return input.kind === 'port' ? receiveStream<Uint8Array>(input.port) : readStretch(input);
}

const readInto = promisify(read);

/** A stretch of an open file, one read ahead; a chunk is valid until the next is asked for. */
async function* readStretch({
  fd,
  offset,
  size,
}: Extract<IngestInput, { kind: 'file' }>): AsyncGenerator<Uint8Array> {
  const end = offset + size;
  let at = offset;
  // In turn, since new ones would make V8 collect garbage every 64 MiB.
  const buffers = [0, 1].map(() => Buffer.allocUnsafe(Math.min(READ_BYTES, size)));
  const readNext = async (): Promise<Buffer> => {
    const buffer = buffers.reverse()[0] as Buffer;
    let filled = 0;
    for (let wanted = Math.min(buffer.length, end - at); filled < wanted; ) {
      const { bytesRead } = await readInto(fd, buffer, filled, wanted - filled, at);
      if (bytesRead === 0) wanted = filled;
      filled += bytesRead;
      at += bytesRead;
    }
    return buffer.subarray(0, filled);
  };
  const readAhead = (): Promise<Buffer> => {
    const reading = readNext();
    // It may fail before anybody waits for it; who then does is told.
    reading.catch(() => undefined);
    return reading;
  };
  let next = readAhead();
  try {
    for (let chunk = await next; chunk.length > 0; chunk = await next) {
      next = readAhead();
      yield chunk;
    }
  } finally {
    await next.catch(() => undefined);
  }
}

/** The uncompressed tar stream of a layer, checked against its descriptor. */
function decode({ input, descriptor, name }: Omit<DecodeJob, 'output'>): AsyncGenerator<Buffer> {
  return decompress(verifying(openInput(input), descriptor, name));
}

/** Checks and decompresses a layer for an {@link ingestLayer} on another thread. */
export function decodeLayer(job: DecodeJob): Promise<void> {
  return writeRing(job.output, decode(job));
}

/** Reads one layer; sends its entries on the way. Throws when its digest, size or diffID is not what was promised. */
export async function ingestLayer(
  job: IngestJob,
  send: (part: Batch) => void,
): Promise<IngestResult> {
  const { input } = job;
  const chunks = input.kind === 'decoded' ? readRing(input.ring) : decode({ ...job, input });
  const diffHash = createHash(job.diffId.startsWith('sha512:') ? 'sha512' : 'sha256');
  const indexer = new Indexer(send);
  const reader = job.isIndexed ? undefined : new TarReader(indexer);
  let size = 0;
  for await (const chunk of chunks) {
    diffHash.update(chunk);
    if (job.spool !== undefined) spoolChunk(job.spool, chunk, size);
    reader?.push(chunk);
    size += chunk.length;
  }
  reader?.finish();
  if (reader) indexer.finish();
  const found = `${job.diffId.slice(0, 6)}:${diffHash.digest('hex')}`;
  if (found !== job.diffId) {
    throw new RechunkError(
      'digest-mismatch',
      `the uncompressed layer has diffID ${found}, the image config promises ${job.diffId}`,
    );
  }
  return { size, warnings: reader?.warnings ?? [] };
}

function spoolChunk(fd: number, chunk: Uint8Array, position: number): void {
  try {
    writeFully(fd, chunk, position);
  } catch (error) {
    throw describe('writing a temporary file', error);
  }
}
