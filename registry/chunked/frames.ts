/**
 * Frames compressed at once and written in their order, each on its own: the same bytes for any number of threads.
 *
 * Layers of many small files have a frame or two for each. Handing one to the thread pool costs more than compressing it, so
 * frames are compressed on this thread (`../frame.ts`), all or the small ones: the same bytes. What needs not wait is gathered in
 * memory that is used again: new memory for each frame would have the collector run all the time.
 */
import { type CompressorOptions, DEFAULT_LEVEL, ZSTD_FRAME_SIZE } from '../compress.ts';
import { boundOf, compressFrame, encodeFrame, encodeFrameInto } from '../frame.ts';
import { encodeRuns } from './runs.ts';

/** Frames on the thread pool at once, for each of those in flight: small ones are done before the next can be handed over. */
const SMALL_FRAMES = 8;
/** Frames in flight up to which a layer has no more than its own thread's share. */
const OWN_SHARE = 2;
/**
 * Largest frame that is compressed synchronously where the layer has several threads to itself, bytes: 20 µs for 5.6 kB, against 80 to
 * 200 by way of the pool. Elsewhere all are: larger ones cost milliseconds there, for new memory.
 */
const SYNC_LIMIT: number = 32 << 10;
/** Bytes that are written at once, about. */
const WRITE_SIZE: number = 256 << 10;
/** Room for what is gathered, bytes: the last frame begins before {@link WRITE_SIZE}. What is not used takes no memory. */
const OUTPUT_SIZE: number = WRITE_SIZE + boundOf(ZSTD_FRAME_SIZE);
/** Frames and marks that may wait to be written. */
const WAITING_LIMIT = 4096;
/** Bytes that compression makes hardly smaller, whatever they are. */
const TINY_FRAME = 64;

/** Memory for output that no queue of this thread uses. */
const SPARE_OUTPUTS: Buffer[] = [];
const SPARE_LIMIT = 3;

/** What is written in turn: a frame (compressed, or being so), or a mark. */
interface Item {
  /** Bytes that wait. */
  readonly size: number;
  readonly output?: Promise<Buffer> | Buffer;
  readonly told?: (offset: number) => void;
}

/** Takes frames in order; after a failure every call throws it. What is written is valid until its writing is done. */
export class FrameQueue {
  readonly #level: number;
  readonly #options: CompressorOptions;
  readonly #syncLimit: number;
  readonly #items: Item[] = [];
  /** Frames that wait for a free place, oldest first. */
  readonly #ready: (() => void)[] = [];
  #active = 0;
  /** Uncompressed bytes of the frames that are not written. */
  #waiting = 0;
  /** Bytes that were written, or are gathered to be so. */
  #written = 0;
  #output: Buffer | undefined;
  #gathered = 0;
  #isPumping = false;
  #pump: Promise<void> | undefined;
  /** Called when something was written. */
  #progress: (() => void) | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(level: number | undefined, options: CompressorOptions) {
    this.#level = level ?? DEFAULT_LEVEL.zstd;
    this.#options = options;
    this.#syncLimit = this.#inFlight <= OWN_SHARE ? ZSTD_FRAME_SIZE : SYNC_LIMIT;
  }

  /**
   * Adds a frame of at most {@link ZSTD_FRAME_SIZE} bytes, and says whether the memory is kept for now; `free` is called with it when
   * it is not any more.
   */
  add(bytes: Buffer, free?: () => void): 'kept' | 'used' {
    if (this.addAtOnce(bytes)) return 'used';
    const output = this.#place()
      .then(() => this.#compress(bytes))
      .finally(free);
    output.catch(() => {});
    this.#push({ size: bytes.length, output });
    return 'kept';
  }

  /** Adds a frame if it can be compressed before this returns; if not, nothing is done. */
  addAtOnce(bytes: Uint8Array): boolean {
    if (bytes.length > this.#syncLimit) return false;
    if (this.#isIdle) {
      const output = this.#takeOutput();
      this.#gatherUntil(encodeFrameInto(bytes, this.#level, output, this.#gathered));
    } else {
      const output = encodeFrame(bytes, this.#level);
      this.#push({ size: output.length, output });
    }
    return true;
  }

  /** Adds bytes that are written as they are. */
  addRaw(bytes: Buffer): void {
    if (this.#isIdle && bytes.length <= WRITE_SIZE) this.#gather(bytes);
    else this.#push({ size: bytes.length, output: bytes });
  }

  /** Has `told` called with the number of bytes before whatever is added next, once that is known. */
  mark(told: (offset: number) => void): void {
    if (this.#isIdle) told(this.#written);
    else this.#push({ size: 0, told });
  }

  /** Whether what is added need not wait for what came before; then fewer than {@link WRITE_SIZE} bytes are gathered. */
  get #isIdle(): boolean {
    return !this.#isPumping && !this.#failure;
  }

  /** Resolves, if it is not at once, when there is room for more. */
  room(): void | Promise<void> {
    this.#throwIfFailed();
    if (this.#hasRoom) return;
    return this.#untilRoom();
  }

  /** Resolves with the number of bytes when all is written; nothing may be added meanwhile. */
  async drain(): Promise<number> {
    await this.#pump;
    this.#throwIfFailed();
    await this.#flush();
    if (this.#output && SPARE_OUTPUTS.length < SPARE_LIMIT) SPARE_OUTPUTS.push(this.#output);
    this.#output = undefined;
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

  #start(before?: Promise<void>): void {
    this.#isPumping = true;
    this.#pump = this.#writeAll(before);
  }

  /** Writes what waits, after `before`. */
  async #writeAll(before: Promise<void> | undefined): Promise<void> {
    try {
      if (before) {
        await before;
        this.#gathered = 0;
      }
      for (let item = this.#items[0]; item; item = this.#items[0]) {
        const { size, output, told } = item;
        if (output) await this.#put(output instanceof Promise ? await output : output);
        told?.(this.#written);
        this.#items.shift();
        this.#waiting -= size;
        this.#tell();
      }
    } catch (error) {
      this.#failure = { error };
      this.#tell();
    }
    this.#isPumping = false;
  }

  /** Writes bytes, or gathers them, while pumping. */
  async #put(bytes: Buffer): Promise<void> {
    if (this.#gathered + bytes.length <= OUTPUT_SIZE) {
      this.#takeOutput().set(bytes, this.#gathered);
      this.#gathered += bytes.length;
      if (this.#gathered >= WRITE_SIZE) await this.#flush();
    } else {
      await this.#flush();
      await this.#options.write(bytes);
    }
    this.#written += bytes.length;
  }

  #takeOutput(): Buffer {
    this.#output ??= SPARE_OUTPUTS.pop() ?? Buffer.allocUnsafeSlow(OUTPUT_SIZE);
    return this.#output;
  }

  /** Gathers bytes, while not pumping. */
  #gather(bytes: Buffer): void {
    this.#takeOutput().set(bytes, this.#gathered);
    this.#gatherUntil(this.#gathered + bytes.length);
  }

  #gatherUntil(end: number): void {
    this.#written += end - this.#gathered;
    this.#gathered = end;
    if (end < WRITE_SIZE) return;
    try {
      const isBeingWritten = this.#write();
      if (isBeingWritten) this.#start(isBeingWritten);
      else this.#gathered = 0;
    } catch (error) {
      this.#failure = { error };
    }
  }

  #write(): void | Promise<void> {
    return this.#options.write(this.#takeOutput().subarray(0, this.#gathered));
  }

  async #flush(): Promise<void> {
    if (this.#gathered > 0) await this.#write();
    this.#gathered = 0;
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
const FIRST_ROOM: number = 64 << 10;

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

  /** Makes `bytes` a frame of their own, or several where they are too many; nothing may be open. */
  whole(bytes: Uint8Array): void {
    if (bytes.length <= TINY_FRAME) this.#queue.addRaw(encodeRuns(bytes));
    else if (!this.#queue.addAtOnce(bytes)) {
      this.append(bytes);
      this.end();
    }
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
