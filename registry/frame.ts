/**
 * One zstd frame of the format of `compress.ts`: what `ZSTD_compress2` makes of the whole input at once.
 *
 * A context of one's own for each frame costs more than compressing a small one: 63 µs against 22 for 7 kB, and 10 ms against 16 for
 * 1 MB, in memory that is new each time; and the collector runs all the time. So frames share contexts where one thread makes one after
 * the other, fed by the calls beneath `zlib.zstdCompressSync`. Node does not promise those: where they are missing, fail, or give
 * other bytes for samples, the public call serves. {@link compressFrame} makes a frame on the thread pool.
 */
import * as zlib from 'node:zlib';

/** Least room for output that Node takes, bytes. */
const OUTPUT_MINIMUM = 64;
/** Memory for the output of several frames, bytes. */
const POOL_SIZE: number = 1 << 20;
/** Largest frame of the context for small ones, bytes: a block of zstd. The memory of the other has to fit the largest. */
const SMALL_LIMIT: number = 128 << 10;
/** Largest frame that shared contexts make, bytes: a frame of `compress.ts`. */
export const SHARED_LIMIT: number = 8 << 20;
/**
 * Levels whose match finders (fast and double fast, for any size) find the same in a context that was used before. The row hash of
 * higher ones is salted anew for each frame (zstd 1.5.6 `ZSTD_advanceHashSalt`).
 */
const REPEATABLE_LEVEL = 3;

function paramsOf(level: number): { readonly [key: number]: number } {
  return { [zlib.constants.ZSTD_c_compressionLevel]: level };
}

/** Output of a frame of `size` bytes at most, bytes (zstd.h, ZSTD_COMPRESSBOUND): with that much room it is made by one call. */
export function boundOf(size: number): number {
  const smallInput = 128 << 10;
  return size + (size >> 8) + (size < smallInput ? (smallInput - size) >> 11 : 0);
}

/**
 * `bytes` as one zstd frame, compressed on the thread pool. The bytes are those of `ZSTD_compress2`: it sees all input and room for
 * all output at once, which Node's convenience functions give it in two steps or too little room for; that gives other bytes.
 */
export function compressFrame(bytes: Uint8Array, level: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const stream = zlib.createZstdCompress({
      params: paramsOf(level),
      pledgedSrcSize: bytes.length,
      chunkSize: Math.max(OUTPUT_MINIMUM, boundOf(bytes.length)),
      flush: zlib.constants.ZSTD_e_end,
    });
    const parts: Buffer[] = [];
    stream.on('error', reject).on('data', (part: Buffer) => parts.push(part));
    // Not `end`, which would add an empty frame.
    stream.write(bytes, (error) => {
      if (error) return;
      stream.destroy();
      if (parts.length === 0) reject(new Error('a frame came out empty'));
      else resolve(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts));
    });
  });
}

/** The output of frames that are kept by whoever asked for them, and how much of it is taken. */
let pool: Buffer = Buffer.alloc(0);
let pooled = 0;

/** `bytes` as one zstd frame, compressed at once, on this thread. */
export function encodeFrame(bytes: Uint8Array, level: number): Buffer {
  const bound = boundOf(bytes.length);
  if (pooled + bound > pool.length) {
    pool = Buffer.allocUnsafeSlow(Math.max(bound, POOL_SIZE));
    pooled = 0;
  }
  const start = pooled;
  pooled = encodeFrameInto(bytes, level, pool, start);
  return pool.subarray(start, pooled);
}

/** Writes `bytes` as one frame into `output`, which has room for the bound from `at` on, and says where it ends. */
export function encodeFrameInto(
  bytes: Uint8Array,
  level: number,
  output: Buffer,
  at: number,
): number {
  const size = contexts.encode(bytes, level, output, at);
  if (size !== undefined) return at + size;
  const frame = encodeAlone(bytes, level);
  output.set(frame, at);
  return at + frame.length;
}

/** By the public call; with room for all output at once, which it does not give of itself, the bytes are those of the others. */
function encodeAlone(bytes: Uint8Array, level: number): Buffer {
  return zlib.zstdCompressSync(bytes, {
    params: paramsOf(level),
    pledgedSrcSize: bytes.length,
    chunkSize: Math.max(OUTPUT_MINIMUM, boundOf(bytes.length)),
  });
}

/** What lies beneath `zlib.ZstdCompress` (Node 22.15 to 26, `lib/zlib.js` and `src/node_zlib.cc`). */
export interface Internals {
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
export class FrameContext {
  readonly #internals: Required<Internals>;

  constructor(internals: Required<Internals>) {
    this.#internals = internals;
  }

  /**
   * Writes the frame of at most {@link SHARED_LIMIT} bytes into `output`, which has room for the bound from `at` on, and says its size;
   * undefined where that fails, after which the context is of no use.
   */
  encode(bytes: Uint8Array, output: Buffer, at: number): number | undefined {
    const bound = boundOf(bytes.length);
    const { _handle: handle, _writeState: state } = this.#internals;
    // After an error it is left as it is.
    state.set([bound, bytes.length]);
    try {
      const end = zlib.constants.ZSTD_e_end;
      handle.writeSync?.(end, bytes, 0, bytes.length, output, at, bound);
    } catch {
      return undefined;
    }
    const [outputLeft = bound, inputLeft = 1] = state;
    if (inputLeft > 0 || outputLeft === bound) return undefined;
    return bound - outputLeft;
  }
}

/** Which frames a context makes. */
type Kind = 'small' | 'large';

/** The contexts of this thread, by level and kind; undefined where there can be none. */
class Contexts {
  readonly #contexts: Readonly<Record<Kind, Map<number, FrameContext | undefined>>> = {
    small: new Map(),
    large: new Map(),
  };

  /** As {@link FrameContext.encode}; undefined too where there is no context for such a frame. */
  encode(bytes: Uint8Array, level: number, output: Buffer, at: number): number | undefined {
    if (level > REPEATABLE_LEVEL || bytes.length > SHARED_LIMIT) return undefined;
    const kind = bytes.length > SMALL_LIMIT ? 'large' : 'small';
    const known = this.#contexts[kind];
    if (!known.has(level)) known.set(level, openContext(level, kind));
    const context = known.get(level);
    const size = context?.encode(bytes, output, at);
    if (context && size === undefined) known.set(level, undefined);
    return size;
  }
}

const contexts = new Contexts();

/** What lies beneath the public class; an error is seen by what it leaves undone. */
function openStream(level: number): Internals {
  return zlib.createZstdCompress({ params: paramsOf(level) }).on('error', () => {}) as Internals;
}

/** A context for frames of that kind by way of `internals`, if it gives for samples, one after the other, what contexts of their own give. */
export function openContext(
  level: number,
  kind: Kind,
  { _handle: handle, _writeState: state }: Internals = openStream(level),
): FrameContext | undefined {
  if (typeof handle?.writeSync !== 'function' || !(state instanceof Uint32Array)) return undefined;
  const context = new FrameContext({ _handle: handle, _writeState: state });
  const output = Buffer.allocUnsafeSlow(boundOf(LARGE_SAMPLE_SIZE));
  const isSame = (sample: Buffer): boolean => {
    const size = context.encode(sample, output, 0);
    return size !== undefined && encodeAlone(sample, level).equals(output.subarray(0, size));
  };
  return (kind === 'small' ? smallSamples() : largeSamples()).every(isSame) ? context : undefined;
}

/** Sizes between which zstd takes other parameters, and so other tables, bytes. */
const SAMPLE_SIZES: readonly number[] = [SMALL_LIMIT, 12_000, 60_000];
/** Above the largest of those sizes (256 KiB), and several blocks. */
const LARGE_SAMPLE_SIZE: number = 3 * SMALL_LIMIT;

/** Each size by turns: what one leaves behind must not be seen in the next. */
function smallSamples(): Buffer[] {
  const [a, b] = [sampleOf(1), sampleOf(2)];
  const turns = SAMPLE_SIZES.flatMap((size) => [a, b, a].map((bytes) => bytes.subarray(0, size)));
  return [...turns, a, Buffer.alloc(0), b];
}

/** Likewise; what comes again does so from far back, too. */
function largeSamples(): Buffer[] {
  const [a, b] = [sampleOf(1), sampleOf(2)];
  const [first, second] = [Buffer.concat([a, b, a]), Buffer.concat([b, a, a])];
  return [first, second, first.subarray(0, SMALL_LIMIT + 1), first, second.subarray(SMALL_LIMIT)];
}

/** Of so many values that stretches of a few bytes come again, about as often as zstd's tables have room for. */
const SAMPLE_VALUES_BITS = 3;

/** {@link SMALL_LIMIT} bytes in no order (a linear congruential generator; Numerical Recipes, second edition, 7.1). */
function sampleOf(seed: number): Buffer {
  let state = seed;
  return Buffer.alloc(SMALL_LIMIT).map(() => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> (32 - SAMPLE_VALUES_BITS);
  }) as Buffer;
}
