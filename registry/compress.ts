/**
 * Layer compression, frozen: the same bytes for any number of threads, any chunking of the input and every Node from
 * 22.19 to 26 (zstd 1.5.7; zlib 1.3.1 and 1.3.2). A change costs users every blob, so it takes a new format number.
 *
 * Format 2:
 * - zstd, level 3 unless told: frames of exactly 8 MiB of input, the last one shorter, each as `ZSTD_compress2` makes it of the
 *   whole input at once: with its content size, without a checksum. Empty input is one empty frame.
 * - gzip, level 6 unless told: one member. Header 1f 8b 08 00, time 0, extra flags 0, system 255. Blocks of 1 MiB of
 *   input, each deflated on its own (memLevel 8, window 32 KiB) with the 32 KiB before it as dictionary, ended by a sync
 *   flush, the last by a final block; CRC-32 and size follow. Empty input is one empty final block.
 * - none: the input.
 * Format 1 had the same gzip, and zstd frames from a context that was fed through a buffer: 1.3 % larger, and slower.
 */
import * as zlib from 'node:zlib';
import { compressFrame } from './frame.ts';
import type { Compression } from './image.ts';
import { MEDIA } from './oci.ts';
import { release } from './release.ts';

/** How layers are written: compressed, or (`zstd:chunked`) as zstd that clients can pull in part, see `chunked/`. */
export type LayerFormat = Compression | 'zstd:chunked';

/** How blobs of this format are compressed. */
export function compressionFor(format: LayerFormat): Compression {
  return format === 'zstd:chunked' ? 'zstd' : format;
}

/** Number of the rules above; recorded with what was compressed. */
export const COMPRESSION_FORMAT = 2;
/** Input of one zstd frame, bytes: +1 % of size against 16 MiB, and half the memory. */
export const ZSTD_FRAME_SIZE: number = 8 << 20;
/** Input of one gzip block, bytes. */
export const GZIP_BLOCK_SIZE: number = 1 << 20;
/** Levels where none is told. */
export const DEFAULT_LEVEL: Readonly<Record<Compression, number>> = { zstd: 3, gzip: 6, none: 0 };

/** How far back deflate looks, bytes. */
const GZIP_WINDOW = 32 << 10;
const GZIP_HEADER: Buffer = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);

/** Takes a tar stream and writes it compressed. Calls must not overlap: await each before the next. */
export interface Compressor {
  /** Takes bytes (they are copied); a promise is returned when the caller should wait before it goes on. */
  push(chunk: Uint8Array): void | Promise<void>;
  /** Compresses what is left and resolves when all is written; throws what compressing or writing threw. */
  finish(): Promise<void>;
}

/** Where compressed bytes go, and how many blocks may be compressed at once. */
export interface CompressorOptions {
  /** Blocks (8 MiB of zstd, 1 MiB of gzip) that are compressed or wait to be written at once, at least 1. */
  readonly inFlight: number;
  /** Takes the output in order, which is valid until this is done; the next call comes after the promise of the last one. */
  write(chunk: Buffer): void | Promise<void>;
}

/** The OCI media type of a layer that is written so. */
export function layerMediaType(format: LayerFormat): string {
  const compression = compressionFor(format);
  if (compression === 'zstd') return MEDIA.layerZstd;
  return compression === 'gzip' ? MEDIA.layerGzip : MEDIA.layer;
}

/** How a layer of this media type is compressed, OCI's or Docker's. */
export function compressionOf(mediaType: string): Compression {
  if (mediaType.endsWith('gzip')) return 'gzip';
  return mediaType.endsWith('zstd') ? 'zstd' : 'none';
}

/**
 * A compressor of the format above. Blocks run on the thread pool; memory is about twice the block size for each block in
 * flight. `level` is the compression's own scale.
 */
export function createCompressor(
  compression: Compression,
  level: number | undefined,
  options: CompressorOptions,
): Compressor {
  const chosen = level ?? DEFAULT_LEVEL[compression];
  if (compression === 'zstd') return new BlockCompressor(zstdFormat(chosen), options);
  if (compression === 'gzip') return new BlockCompressor(gzipFormat(chosen), options);
  return {
    push: (chunk) => options.write(Buffer.from(chunk)),
    finish: () => Promise.resolve(),
  };
}

/** A way to compress block by block. `before` holds the end of the block before, as much as `lookBack` asks for. */
interface BlockFormat {
  readonly blockSize: number;
  readonly lookBack: number;
  readonly header: Buffer;
  compress(block: Buffer, before: Buffer, place: 'inner' | 'last'): Promise<Buffer>;
  /** Sees every chunk in order. */
  observe(chunk: Uint8Array): void;
  trailer(): Buffer;
}

type Callback = (error: Error | null, result: Buffer) => void;

function onPool(start: (done: Callback) => void): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    start((error, result) => (error ? reject(error) : resolve(result)));
  });
}

function zstdFormat(level: number): BlockFormat {
  return {
    blockSize: ZSTD_FRAME_SIZE,
    lookBack: 0,
    header: Buffer.alloc(0),
    observe: () => undefined,
    trailer: () => Buffer.alloc(0),
    compress: (block) => compressFrame(block, level),
  };
}

function gzipFormat(level: number): BlockFormat {
  let crc = 0;
  let size = 0;
  return {
    blockSize: GZIP_BLOCK_SIZE,
    lookBack: GZIP_WINDOW,
    header: GZIP_HEADER,
    observe: (chunk) => {
      crc = zlib.crc32(chunk, crc);
      size = (size + chunk.length) % 2 ** 32;
    },
    trailer: () => {
      const trailer = Buffer.alloc(8);
      trailer.writeUInt32LE(crc, 0);
      trailer.writeUInt32LE(size, 4);
      return trailer;
    },
    compress: (block, before, place) => {
      const { Z_FINISH, Z_SYNC_FLUSH } = zlib.constants;
      const finishFlush = place === 'last' ? Z_FINISH : Z_SYNC_FLUSH;
      const base = { level, finishFlush, chunkSize: GZIP_BLOCK_SIZE };
      const options = before.length > 0 ? { ...base, dictionary: before } : base;
      return onPool((done) => zlib.deflateRaw(block, options, done));
    },
  };
}

const NOTHING: Buffer = Buffer.alloc(0);

/** Blocks that no compressor of this thread uses, to be filled again: new memory costs a page fault for every 4 KiB. */
const SPARE = new Map<number, Buffer[]>();
const SPARE_LIMIT = 3;

function takeBlock(size: number): Buffer {
  return SPARE.get(size)?.pop() ?? Buffer.allocUnsafe(size);
}

function giveBlock(block: Buffer): void {
  const spare = SPARE.get(block.length) ?? [];
  if (spare.length < SPARE_LIMIT) spare.push(block);
  SPARE.set(block.length, spare);
}

/** Cuts input into blocks, compresses some at once, writes them in order. */
class BlockCompressor implements Compressor {
  readonly #format: BlockFormat;
  readonly #options: CompressorOptions;
  #block: Buffer | undefined;
  #filled = 0;
  #before: Buffer = NOTHING;
  /** Writes of the blocks in flight, oldest first; none of them rejects. */
  readonly #flying: Promise<void>[] = [];
  #written: Promise<void>;
  #failure: { readonly error: unknown } | undefined;

  constructor(format: BlockFormat, options: CompressorOptions) {
    this.#format = format;
    this.#options = options;
    this.#written = this.#guard(async () => {
      if (format.header.length > 0) await options.write(format.header);
    });
  }

  push(chunk: Uint8Array): void | Promise<void> {
    this.#throwIfFailed();
    this.#format.observe(chunk);
    const room = this.#format.blockSize - this.#filled;
    if (chunk.length > room) return this.#pushAcross(chunk);
    this.#fill(chunk);
  }

  async finish(): Promise<void> {
    this.#throwIfFailed();
    await this.#launch('last');
    await this.#written;
    this.#throwIfFailed();
    const trailer = this.#format.trailer();
    if (trailer.length > 0) await this.#options.write(trailer);
  }

  /** A full block stays until more comes, since only then it is known not to be the last. */
  async #pushAcross(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      if (this.#filled === this.#format.blockSize) {
        await this.#launch('inner');
      }
      const part = chunk.subarray(at, at + this.#format.blockSize - this.#filled);
      this.#fill(part);
      at += part.length;
    }
  }

  #fill(part: Uint8Array): void {
    this.#block ??= takeBlock(this.#format.blockSize);
    this.#block.set(part, this.#filled);
    this.#filled += part.length;
  }

  /** Waits for a free place and sends off the block; its output is written when those before it are. */
  async #launch(place: 'inner' | 'last'): Promise<void> {
    while (this.#flying.length >= Math.max(1, this.#options.inFlight)) await this.#flying[0];
    this.#throwIfFailed();
    const buffer = this.#block ?? NOTHING;
    const block = buffer.subarray(0, this.#filled);
    const compressed = this.#format.compress(block, this.#before, place);
    compressed.catch(() => undefined);
    const lookBack = Math.min(this.#format.lookBack, block.length);
    this.#before = Buffer.from(block.subarray(block.length - lookBack));
    this.#block = undefined;
    this.#filled = 0;
    const earlier = this.#written;
    this.#written = this.#guard(async () => {
      await earlier;
      const output = await compressed;
      if (buffer !== NOTHING) giveBlock(buffer);
      if (!this.#failure) await this.#options.write(output);
      release(output);
    });
    this.#flying.push(this.#written);
    void this.#written.then(() => this.#flying.shift());
  }

  async #guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#failure ??= { error };
    }
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error;
  }
}
