/**
 * One zstd frame with its content size and without a checksum, as `compress.ts` makes them: the same bytes by three ways.
 *
 * A context of one's own for each frame costs more than compressing a small one: 63 µs against 22 for 7 kB, and so much memory that
 * the collector runs all the time. So small frames share one per thread, fed by the calls beneath `zlib.zstdCompressSync`. Node does
 * not promise those: where they are missing, or give other bytes for a sample, the public call serves.
 */
import * as zlib from 'node:zlib';

/** Room for output that is taken at a time, bytes; it does not change what is written. */
const OUTPUT_LIMIT: number = 3 << 20;
const OUTPUT_MINIMUM = 1024;
/** Memory for the output of several frames, bytes. */
const POOL_SIZE: number = 1 << 20;
/**
 * Largest frame that a shared context makes, bytes: a block of zstd. It is given room for the whole output, so it reads the input in
 * place, and of several blocks it makes others than by way of its window.
 */
export const SHARED_LIMIT: number = 128 << 10;
/**
 * Levels whose match finders (fast and double fast, for any size) find the same in a context that was used before. The row hash of
 * higher ones is salted anew for each frame (zstd 1.5.6 `ZSTD_advanceHashSalt`).
 */
const REPEATABLE_LEVEL = 3;

function paramsOf(level: number): { readonly [key: number]: number } {
  return { [zlib.constants.ZSTD_c_compressionLevel]: level };
}

function frameOptions({ length }: Uint8Array, level: number): zlib.ZstdOptions {
  return {
    params: paramsOf(level),
    pledgedSrcSize: length,
    chunkSize: Math.min(OUTPUT_LIMIT, Math.max(OUTPUT_MINIMUM, length)),
  };
}

/** Compresses `bytes` on the thread pool. */
export function encodeFrameLater(bytes: Buffer, level: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    zlib.zstdCompress(bytes, frameOptions(bytes, level), (error, frame) =>
      error ? reject(error) : resolve(frame),
    );
  });
}

/** Compresses `bytes` at once. */
export function encodeFrame(bytes: Buffer, level: number): Buffer {
  const context = bytes.length <= SHARED_LIMIT ? contextOf(level) : undefined;
  return context?.encode(bytes) ?? zlib.zstdCompressSync(bytes, frameOptions(bytes, level));
}

/** What lies beneath `zlib.ZstdCompress` (Node 22.15 to 26, `lib/zlib.js` and `src/node_zlib.cc`). */
interface Internals {
  readonly _handle?: {
    writeSync?(
      flush: number,
      ...buffers: [Uint8Array, number, number, output: Uint8Array, number, number]
    ): void;
  };
  /** Output and input that are left. */
  readonly _writeState?: Uint32Array;
}

/** A context that makes one frame after the other. */
class FrameContext {
  readonly #internals: Required<Internals>;
  #output = Buffer.allocUnsafeSlow(POOL_SIZE);
  #used = 0;

  constructor(internals: Required<Internals>) {
    this.#internals = internals;
  }

  /** The frame of at most {@link SHARED_LIMIT} bytes. */
  encode(bytes: Buffer): Buffer {
    const bound = boundOf(bytes.length);
    if (this.#used + bound > POOL_SIZE) {
      this.#output = Buffer.allocUnsafeSlow(POOL_SIZE);
      this.#used = 0;
    }
    const { _handle: handle, _writeState: state } = this.#internals;
    const end = zlib.constants.ZSTD_e_end;
    handle.writeSync?.(end, bytes, 0, bytes.length, this.#output, this.#used, bound);
    const [outputLeft = bound, inputLeft = 1] = state;
    if (inputLeft > 0 || outputLeft === bound) throw new Error('zstd took less than it was given');
    const start = this.#used;
    this.#used += bound - outputLeft;
    return this.#output.subarray(start, this.#used);
  }
}

/** As many bytes as a frame can have (zstd 1.5.7 `ZSTD_COMPRESSBOUND`, and some): with that much room it is made by one call. */
function boundOf(size: number): number {
  return size + (size >> 8) + OUTPUT_MINIMUM;
}

const contexts = new Map<number, FrameContext | undefined>();

function contextOf(level: number): FrameContext | undefined {
  if (level > REPEATABLE_LEVEL) return undefined;
  if (!contexts.has(level)) contexts.set(level, openContext(level));
  return contexts.get(level);
}

function openContext(level: number): FrameContext | undefined {
  const internals = zlib.createZstdCompress({ params: paramsOf(level) }) as Internals;
  const { _handle: handle, _writeState: state } = internals;
  if (typeof handle?.writeSync !== 'function' || !(state instanceof Uint32Array)) return undefined;
  const context = new FrameContext({ _handle: handle, _writeState: state });
  try {
    return SAMPLES.every((sample) => isSame(context, sample, level)) ? context : undefined;
  } catch {
    return undefined;
  }
}

/** Small and as large as they get, and one twice. */
const SAMPLES: readonly Buffer[] = ['sample', digits(SHARED_LIMIT), 'sample'].map((text) =>
  Buffer.from(text),
);

function digits(size: number): string {
  const squares = Array.from({ length: size >> 2 }, (_, i) => (i * i * 7919) % 10_007);
  return squares.join('').slice(0, size).padEnd(size);
}

function isSame(context: FrameContext, sample: Buffer, level: number): boolean {
  const wanted = zlib.zstdCompressSync(sample, frameOptions(sample, level));
  return context.encode(sample).equals(wanted);
}
