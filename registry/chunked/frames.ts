/**
 * Frames compressed at once and written in their order, each on its own: the same bytes for any number of threads.
 *
 * Layers of many small files have a frame or two for each. Handing one to the thread pool costs more than compressing it, so
 * small ones are compressed at once, on this thread (`frame.ts`): the same bytes.
 */
import {
  type CompressorOptions,
  compressFrame,
  DEFAULT_LEVEL,
  ZSTD_FRAME_SIZE,
} from '../compress.ts';
import { encodeFrame, SHARED_LIMIT } from './frame.ts';
import { encodeRuns } from './runs.ts';

/** Frames on the thread pool at once, for each of those in flight: small ones are done before the next can be handed over. */
const SMALL_FRAMES = 8;
/** Largest frame that is compressed synchronously where the layer has several threads to itself, bytes: 20 µs for 5.6 kB, against 80 to 200 by way of the pool. */
const SYNC_LIMIT: number = 32 << 10;
/** Frames in flight up to which a layer has no more than its own thread's share. */
const OWN_SHARE = 2;
/** Bytes that are written at once, about. */
const WRITE_SIZE: number = 256 << 10;
/** Frames and marks that may wait to be written. */
const WAITING_LIMIT = 4096;
/** Bytes that compression makes hardly smaller, whatever they are. */
const TINY_FRAME = 64;

/** What is written in turn: a frame (compressed, or being so), or a mark. */
interface Item {
  /** Bytes that wait. */
  readonly size: number;
  readonly output?: Promise<Buffer> | Buffer;
  readonly told?: (offset: number) => void;
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
  /** Bytes that were written, or are gathered to be so. */
  #written = 0;
  #gathered: Buffer[] = [];
  #gatheredSize = 0;
  #isPumping = false;
  #pump: Promise<void> | undefined;
  /** Called when something was written. */
  #progress: (() => void) | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(level: number | undefined, options: CompressorOptions) {
    this.#level = level ?? DEFAULT_LEVEL.zstd;
    this.#options = options;
  }

  /**
   * Adds a frame of at most {@link ZSTD_FRAME_SIZE} bytes, and says whether the memory is kept for now; `free` is called with it when
   * it is not any more.
   */
  add(bytes: Buffer, free?: () => void): 'kept' | 'used' {
    const limit = this.#inFlight <= OWN_SHARE ? SHARED_LIMIT : SYNC_LIMIT;
    if (bytes.length <= limit) {
      this.addRaw(encodeFrame(bytes, this.#level));
      return 'used';
    }
    const output = this.#place()
      .then(() => this.#compress(bytes))
      .finally(free);
    output.catch(() => {});
    this.#push({ size: bytes.length, output });
    return 'kept';
  }

  /** Adds bytes that are written as they are. */
  addRaw(bytes: Buffer): void {
    if (this.#isIdle) this.#gather(bytes);
    else this.#push({ size: bytes.length, output: bytes });
  }

  /** Has `told` called with the number of bytes before whatever is added next, once that is known. */
  mark(told: (offset: number) => void): void {
    if (this.#isIdle) told(this.#written);
    else this.#push({ size: 0, told });
  }

  /** Whether what is added need not wait for what came before. */
  get #isIdle(): boolean {
    return !this.#isPumping && this.#gatheredSize < WRITE_SIZE && !this.#failure;
  }

  /** Resolves, if it is not at once, when there is room for more. */
  room(): void | Promise<void> {
    this.#throwIfFailed();
    if (this.#gatheredSize >= WRITE_SIZE && !this.#isPumping) this.#start();
    if (this.#hasRoom) return;
    return this.#untilRoom();
  }

  /** Resolves with the number of bytes when all is written; nothing may be added meanwhile. */
  async drain(): Promise<number> {
    await this.#pump;
    this.#throwIfFailed();
    await this.#flush();
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
    if (this.#failure) return;
    this.#items.push(item);
    this.#waiting += item.size;
    if (!this.#isPumping) this.#start();
  }

  #start(): void {
    this.#isPumping = true;
    this.#pump = this.#writeAll();
  }

  async #writeAll(): Promise<void> {
    try {
      if (this.#gatheredSize >= WRITE_SIZE) await this.#flush();
      for (let item = this.#items[0]; item; item = this.#items[0]) {
        const { size, output, told } = item;
        if (output) this.#gather(output instanceof Promise ? await output : output);
        told?.(this.#written);
        this.#items.shift();
        this.#waiting -= size;
        if (this.#gatheredSize >= WRITE_SIZE) await this.#flush();
        this.#tell();
      }
    } catch (error) {
      this.#failure = { error };
      this.#tell();
    }
    this.#isPumping = false;
  }

  #gather(bytes: Buffer): void {
    this.#gathered.push(bytes);
    this.#gatheredSize += bytes.length;
    this.#written += bytes.length;
  }

  async #flush(): Promise<void> {
    if (this.#gatheredSize === 0) return;
    const bytes = Buffer.concat(this.#gathered);
    this.#gathered = [];
    this.#gatheredSize = 0;
    await this.#options.write(bytes);
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

/** Buffers for frames that are kept to be used again. */
const SPARE_BUFFERS = 4;
/** Room of a frame to begin with, bytes: most are smaller. */
const FIRST_ROOM: number = 256 << 10;

/** Gathers bytes into frames for a queue: they end where they are told to, and after {@link ZSTD_FRAME_SIZE} bytes. */
export class FrameBuilder {
  readonly #queue: FrameQueue;
  #buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_ROOM);
  #size = 0;
  readonly #spare: Buffer[] = [];

  constructor(queue: FrameQueue) {
    this.#queue = queue;
  }

  /** Takes bytes, which are copied. */
  append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#size === ZSTD_FRAME_SIZE) this.end();
      const piece = bytes.subarray(at, at + ZSTD_FRAME_SIZE - this.#size);
      this.#makeRoom(this.#size + piece.length);
      this.#buffer.set(piece, this.#size);
      this.#size += piece.length;
      at += piece.length;
    }
  }

  /** Ends the frame; there is no empty one. Those of at most `runsLimit` bytes are made by hand (`runs.ts`). */
  end(runsLimit: number = TINY_FRAME): void {
    if (this.#size === 0) return;
    const buffer = this.#buffer;
    const bytes = buffer.subarray(0, this.#size);
    this.#size = 0;
    if (bytes.length <= runsLimit) this.#queue.addRaw(encodeRuns(bytes));
    else if (this.#queue.add(bytes, () => this.#reuse(buffer)) === 'kept')
      this.#buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(FIRST_ROOM);
  }

  #reuse(buffer: Buffer): void {
    if (this.#spare.length < SPARE_BUFFERS) this.#spare.push(buffer);
  }

  #makeRoom(size: number): void {
    if (size <= this.#buffer.length) return;
    const room = Math.min(ZSTD_FRAME_SIZE, Math.max(size, this.#buffer.length * 2));
    const larger = Buffer.allocUnsafeSlow(room);
    larger.set(this.#buffer.subarray(0, this.#size));
    this.#buffer = larger;
  }
}
