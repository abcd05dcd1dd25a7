/**
 * Frames compressed at once and written in their order, each on its own: the same bytes for any number of threads.
 *
 * Layers of many small files have a frame or two for each, and starting one costs about 80 µs of a core; the thread pool takes
 * several at a time, so that none of its threads waits for the next.
 */
import * as zlib from 'node:zlib';
import { type CompressorOptions, DEFAULT_LEVEL, ZSTD_FRAME_SIZE } from '../compress.ts';

/** Frames that are compressed at once, for each of those in flight: small ones are done before the next can be handed over. */
const SMALL_FRAMES = 8;
/** Frames and marks that may wait to be written. */
const WAITING_LIMIT = 4096;
/** Room for output that is taken at a time, bytes; it does not change what is written. */
const OUTPUT_LIMIT: number = 3 << 20;
const OUTPUT_MINIMUM = 1024;

/** What is written in turn: a frame (compressed, or being so), or a mark. */
interface Item {
  readonly size: number;
  readonly output?: Promise<Buffer>;
  readonly told?: (offset: number) => void;
}

/** One zstd frame with its content size and without a checksum, as `compress.ts` makes them. */
function compressFrame(bytes: Buffer, level: number): Promise<Buffer> {
  const options = {
    params: { [zlib.constants.ZSTD_c_compressionLevel]: level },
    pledgedSrcSize: bytes.length,
    chunkSize: Math.min(OUTPUT_LIMIT, Math.max(OUTPUT_MINIMUM, bytes.length)),
  };
  return new Promise((resolve, reject) => {
    zlib.zstdCompress(bytes, options, (error, frame) => (error ? reject(error) : resolve(frame)));
  });
}

/** Takes frames in order; after a failure every call throws it. */
export class FrameQueue {
  readonly #level: number;
  readonly #options: CompressorOptions;
  readonly #items: Item[] = [];
  /** Frames that wait for a free place, oldest first. */
  readonly #ready: (() => void)[] = [];
  #active = 0;
  /** Uncompressed bytes of the frames that are not written. */
  #waiting = 0;
  #written = 0;
  #pump: Promise<void> | undefined;
  /** Called when something was written. */
  #progress: (() => void) | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(level: number | undefined, options: CompressorOptions) {
    this.#level = level ?? DEFAULT_LEVEL.zstd;
    this.#options = options;
  }

  /** Adds a frame of at most {@link ZSTD_FRAME_SIZE} bytes, which are kept. */
  add(bytes: Buffer): void {
    const output = this.#place().then(() => this.#compress(bytes));
    output.catch(() => {});
    this.#waiting += bytes.length;
    this.#push({ size: bytes.length, output });
  }

  /** Adds bytes that are written as they are. */
  addRaw(bytes: Buffer): void {
    this.#push({ size: 0, output: Promise.resolve(bytes) });
  }

  /** Has `told` called with the number of bytes before whatever is added next, once that is known. */
  mark(told: (offset: number) => void): void {
    this.#push({ size: 0, told });
  }

  /** Resolves, if it is not at once, when there is room for more. */
  room(): void | Promise<void> {
    this.#throwIfFailed();
    if (this.#hasRoom) return;
    return this.#untilRoom();
  }

  /** Resolves with the number of bytes when all is written. */
  async drain(): Promise<number> {
    await this.#pump;
    this.#throwIfFailed();
    return this.#written;
  }

  get #inFlight(): number {
    return Math.max(1, this.#options.inFlight);
  }

  get #hasRoom(): boolean {
    const bytes = this.#inFlight * ZSTD_FRAME_SIZE;
    return this.#waiting <= bytes && this.#items.length <= WAITING_LIMIT;
  }

  async #untilRoom(): Promise<void> {
    while (!this.#hasRoom && !this.#failure) {
      await new Promise<void>((resolve) => {
        this.#progress = resolve;
      });
    }
    this.#throwIfFailed();
  }

  /** Resolves when a frame may be compressed. */
  #place(): Promise<void> {
    if (this.#active < SMALL_FRAMES * this.#inFlight) {
      this.#active++;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#ready.push(resolve);
    });
  }

  async #compress(bytes: Buffer): Promise<Buffer> {
    try {
      return await compressFrame(bytes, this.#level);
    } finally {
      const next = this.#ready.shift();
      if (next) next();
      else this.#active--;
    }
  }

  #push(item: Item): void {
    this.#items.push(item);
    this.#pump ??= this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    try {
      for (let item = this.#items[0]; item; item = this.#items[0]) {
        await this.#write(item);
        this.#items.shift();
        this.#waiting -= item.size;
        this.#tell();
      }
    } catch (error) {
      this.#failure = { error };
      this.#tell();
    }
    this.#pump = undefined;
  }

  async #write({ output, told }: Item): Promise<void> {
    const bytes = await output;
    if (bytes) {
      await this.#options.write(bytes);
      this.#written += bytes.length;
    }
    told?.(this.#written);
  }

  #tell(): void {
    const progress = this.#progress;
    this.#progress = undefined;
    progress?.();
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error;
  }
}

/** Gathers bytes into frames for a queue: they end where they are told to, and after {@link ZSTD_FRAME_SIZE} bytes. */
export class FrameBuilder {
  readonly #queue: FrameQueue;
  #pieces: Buffer[] = [];
  #size = 0;

  constructor(queue: FrameQueue) {
    this.#queue = queue;
  }

  /** Takes bytes, which are copied. */
  append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#size === ZSTD_FRAME_SIZE) this.end();
      const piece = Buffer.from(bytes.subarray(at, at + ZSTD_FRAME_SIZE - this.#size));
      this.#pieces.push(piece);
      this.#size += piece.length;
      at += piece.length;
    }
  }

  /** Ends the frame; there is no empty one. */
  end(): void {
    if (this.#size === 0) return;
    const [first, ...more] = this.#pieces as [Buffer, ...Buffer[]];
    this.#queue.add(more.length === 0 ? first : Buffer.concat(this.#pieces));
    this.#pieces = [];
    this.#size = 0;
  }
}
