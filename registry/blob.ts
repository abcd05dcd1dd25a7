/**
 * Byte streams: read in place from files, verified as they pass, decompressed on the thread pool.
 *
 * A stream is an async iterable of chunks of any size. What a layer is compressed with is told by its first bytes, never
 * by its media type, and every frame and member is read: what follows the end is an error, not ignored.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import { describe, RechunkError, systemCode } from './errors.ts';
import type { Blob, Compression } from './image.ts';
import type { Descriptor } from './oci.ts';
import { FrameWalker, isZstd, ZSTD_WINDOW_LOG_LIMIT } from './zstd.ts';

/** Bytes that are read from a file at once. */
const READ_SIZE = 1 << 20;
/** Bytes that a decoder hands out at once; the best of 128 KiB to 2 MiB with a consumer that digests. */
const DECODE_SIZE: number = 256 << 10;
/** Decoded chunks that wait for the consumer: 4 MiB, so that decoding and digesting overlap. */
const DECODE_AHEAD = 16;
/** Bytes that tell every compression from every other. */
const MAGIC_LIMIT = 10;

const BZIP2_MAGIC = /^BZh[1-9]\x31\x41\x59\x26\x53\x59/;
const XZ_MAGIC = '\xfd7zXZ\x00';

/** The bytes `offset` to `offset + size` of a file, as a blob that is read in place. */
export function fileBlob(path: string, offset: number, size: number): Blob {
  return {
    file: { path, offset, size },
    stream: (signal) => readRange(path, offset, size, signal),
  };
}

/** Streams a part of a file, one read ahead; ends early, without an error, where the file does. */
async function* readRange(
  path: string,
  offset: number,
  size: number,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  const handle = await open(path, constants.O_RDONLY);
  const end = offset + size;
  let at = offset;
  const readNext = async (): Promise<Buffer> => {
    const length = Math.min(READ_SIZE, end - at);
    if (length === 0) return Buffer.alloc(0);
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(length), 0, length, at);
    at += bytesRead;
    return buffer.subarray(0, bytesRead);
  };
  let next = readNext();
  try {
    for (let chunk = await next; chunk.length > 0; chunk = await next) {
      signal?.throwIfAborted();
      next = readNext();
      yield chunk;
    }
  } finally {
    await next.catch(() => undefined);
    await handle.close();
  }
}

/**
 * Passes `chunks` on and checks them against the digest and size of `descriptor`: throws `size-mismatch` as soon as
 * there are too many bytes, `size-mismatch` or `digest-mismatch` at the end. A consumer that stops early has checked
 * nothing. `what` names the blob in messages.
 */
export async function* verifying(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
  what: string,
): AsyncGenerator<Uint8Array> {
  const [algorithm = '', hex] = descriptor.digest.split(':');
  const hash = createHash(algorithm);
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > descriptor.size) {
      throw new RechunkError(
        'size-mismatch',
        `reading ${what} (${descriptor.digest}): got more than the ${descriptor.size} bytes that are wanted`,
      );
    }
    hash.update(chunk);
    yield chunk;
  }
  if (size < descriptor.size) {
    throw new RechunkError(
      'size-mismatch',
      `reading ${what} (${descriptor.digest}): ${descriptor.size - size} bytes at the end are missing: got ${size}, want ${descriptor.size}`,
    );
  }
  const got = hash.digest('hex');
  if (got !== hex) {
    throw new RechunkError(
      'digest-mismatch',
      `reading ${what}: got digest ${algorithm}:${got}, want ${descriptor.digest}`,
    );
  }
}

/**
 * Reads a blob whole and checks it against `descriptor`. Throws `limit` if that states more than `limit` bytes, and what
 * {@link verifying} throws.
 */
export async function readBlob(
  blob: Blob,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
  limit: number,
  what: string,
): Promise<Buffer> {
  if (descriptor.size > limit) {
    throw new RechunkError(
      'limit',
      `reading ${what} (${descriptor.digest}): it has ${descriptor.size} bytes, at most ${limit} are read`,
    );
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of verifying(blob.stream(), descriptor, what)) chunks.push(chunk);
  return Buffer.concat(chunks, descriptor.size);
}

/**
 * How a stream that begins with `head` is compressed; wants its first ten bytes, or all if there are fewer. Throws
 * `unsupported` for bzip2 and xz.
 */
export function detectCompression(head: Uint8Array): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  if (isZstd(head)) return 'zstd';
  const text = Buffer.from(head.subarray(0, MAGIC_LIMIT)).toString('latin1');
  const other = BZIP2_MAGIC.test(text) ? 'bzip2' : text.startsWith(XZ_MAGIC) ? 'xz' : undefined;
  if (!other) return 'none';
  throw new RechunkError(
    'unsupported',
    `decompressing: the data is compressed with ${other}, want gzip, zstd or none; compress it again`,
  );
}

/**
 * Decompresses a stream, told by its first bytes: gzip with all its members (zeros may follow the last), zstd with all
 * its frames, anything else as it is. Decodes up to 4 MiB ahead on the thread pool. Throws `compression` for damaged,
 * cut or trailing data, `limit` for a zstd window above 128 MiB, `unsupported` for bzip2 and xz.
 */
export async function* decompress(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const iterator = chunks[Symbol.asyncIterator]();
  try {
    const head = await readHead(iterator);
    const input = remaining(iterator, head);
    const compression = detectCompression(
      Buffer.concat(head.map((c) => c.subarray(0, MAGIC_LIMIT))),
    );
    if (compression === 'gzip') yield* decode(zlib.createGunzip(DECODE_OPTIONS), input);
    else if (compression === 'zstd') yield* decode(createZstdDecoder(), stretches(input));
    else for await (const chunk of input) yield asBuffer(chunk);
  } finally {
    await iterator.return?.();
  }
}

/** Chunks off the front until they have enough bytes to tell the compression. */
async function readHead(iterator: AsyncIterator<Uint8Array>): Promise<Uint8Array[]> {
  const head: Uint8Array[] = [];
  for (let size = 0; size < MAGIC_LIMIT; ) {
    const next = await iterator.next();
    if (next.done) break;
    head.push(next.value);
    size += next.value.length;
  }
  return head;
}

/** `head` and what the iterator still has; leaves it open. */
async function* remaining(
  iterator: AsyncIterator<Uint8Array>,
  head: readonly Uint8Array[],
): AsyncGenerator<Uint8Array> {
  yield* head;
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
}

function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.isBuffer(chunk)
    ? chunk
    : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

/** Object mode on the readable side keeps chunks as they are; otherwise they would be joined by copying. */
const DECODE_OPTIONS = {
  chunkSize: DECODE_SIZE,
  readableObjectMode: true,
  readableHighWaterMark: DECODE_AHEAD,
};

function createZstdDecoder(): Transform {
  const params = { [zlib.constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_LIMIT };
  return zlib.createZstdDecompress({ ...DECODE_OPTIONS, params });
}

async function* stretches(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const walker = new FrameWalker();
  for await (const chunk of chunks) yield* walker.split(chunk);
  walker.finish();
}

type Decoder = Transform & { readonly bytesWritten?: number };

/** Runs `input` through a decoder; the consumer's errors and early exits close both. */
async function* decode(decoder: Decoder, input: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const fed = feed(decoder, input).then(
    () => undefined,
    (error: unknown) => {
      decoder.destroy();
      return { error };
    },
  );
  try {
    yield* decoder as AsyncIterable<Buffer>;
  } catch (error) {
    // the cause of a failure is in what was fed, if anything was wrong there: the decoder only saw it end
    throw (await fed)?.error ?? decoderError(error);
  } finally {
    decoder.destroy();
    await fed;
  }
  const failure = await fed;
  if (failure) throw failure.error;
}

/** Writes the input chunk by chunk, and checks that the decoder took every byte; after its end only zeros may come. */
async function feed(decoder: Decoder, input: AsyncIterable<Uint8Array>): Promise<void> {
  let fed = 0;
  for await (const chunk of input) {
    if (decoder.destroyed) return;
    const before = fed;
    const ended = (decoder.bytesWritten ?? 0) < before;
    if (!ended && !(await write(decoder, chunk))) return;
    fed += chunk.length;
    const tail = chunk.subarray(ended ? 0 : (decoder.bytesWritten ?? 0) - before);
    const garbage = tail.findIndex((byte) => byte !== 0);
    if (garbage < 0) continue;
    throw new RechunkError(
      'compression',
      `decompressing: byte ${fed - tail.length + garbage} follows the end of the compressed data, want nothing or zeros`,
    );
  }
  if (!decoder.destroyed) decoder.end();
}

/** Writes one chunk and waits until it is decoded; false if the decoder failed or was closed meanwhile. */
function write(decoder: Decoder, chunk: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    const onClose = (): void => resolve(false);
    decoder.once('close', onClose);
    decoder.write(chunk, (error) => {
      decoder.off('close', onClose);
      resolve(!error);
    });
  });
}

function decoderError(error: unknown): unknown {
  const code = systemCode(error) ?? '';
  if (code === 'ZSTD_error_frameParameter_windowTooLarge') {
    return new RechunkError('limit', 'decompressing zstd: a frame needs a window above 128 MiB', {
      cause: error,
    });
  }
  if (!/^(Z_|ZSTD_)/.test(code)) return error;
  const message = (error as Error).message;
  return new RechunkError('compression', `decompressing: ${message} (${code})`, { cause: error });
}

/** `blob`, whose errors say what was being done. */
export function explained<T extends Blob>(blob: T, doing: string): T {
  async function* stream(signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    try {
      yield* blob.stream(signal);
    } catch (error) {
      throw describe(doing, error);
    }
  }
  return { ...blob, stream };
}
