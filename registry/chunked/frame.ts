/**
 * One zstd frame as `compress.ts` has them: what `ZSTD_compress2` makes of the whole input at once.
 *
 * A context of one's own for each frame costs more than compressing a small one: 63 µs against 22 for 7 kB, and so much memory that
 * the collector runs all the time. So small frames share one per thread, fed by the calls beneath `zlib.zstdCompressSync`. Node does
 * not promise those: where they are missing, fail, or give other bytes for samples, the public call serves. Large frames are
 * `compressFrame`'s.
 */
import * as zlib from 'node:zlib';
import { boundOf } from '../compress.ts';

/** Least room for output that Node takes, bytes. */
const OUTPUT_MINIMUM = 64;
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

/** Compresses `bytes` at once, on this thread. */
export function encodeFrame(bytes: Buffer, level: number): Buffer {
  const context = bytes.length <= SHARED_LIMIT ? contextOf(level) : undefined;
  const frame = context?.encode(bytes);
  if (frame) return frame;
  if (context) contexts.set(level, undefined);
  return encodeAlone(bytes, level);
}

/** By the public call; with room for all output at once, which it does not give of itself, the bytes are those of the others. */
function encodeAlone(bytes: Buffer, level: number): Buffer {
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
  #output = Buffer.allocUnsafeSlow(POOL_SIZE);
  #used = 0;

  constructor(internals: Required<Internals>) {
    this.#internals = internals;
  }

  /** The frame of at most {@link SHARED_LIMIT} bytes; undefined where that fails, after which the context is of no use. */
  encode(bytes: Buffer): Buffer | undefined {
    const bound = boundOf(bytes.length);
    if (this.#used + bound > POOL_SIZE) {
      this.#output = Buffer.allocUnsafeSlow(POOL_SIZE);
      this.#used = 0;
    }
    const { _handle: handle, _writeState: state } = this.#internals;
    // After an error it is left as it is.
    state.set([bound, bytes.length]);
    try {
      const end = zlib.constants.ZSTD_e_end;
      handle.writeSync?.(end, bytes, 0, bytes.length, this.#output, this.#used, bound);
    } catch {
      return undefined;
    }
    const [outputLeft = bound, inputLeft = 1] = state;
    if (inputLeft > 0 || outputLeft === bound) return undefined;
    const start = this.#used;
    this.#used += bound - outputLeft;
    return this.#output.subarray(start, this.#used);
  }
}

const contexts = new Map<number, FrameContext | undefined>();

function contextOf(level: number): FrameContext | undefined {
  if (level > REPEATABLE_LEVEL) return undefined;
  if (!contexts.has(level)) contexts.set(level, openContext(level));
  return contexts.get(level);
}

/** What lies beneath the public class; an error is seen by what it leaves undone. */
function openStream(level: number): Internals {
  return zlib.createZstdCompress({ params: paramsOf(level) }).on('error', () => {}) as Internals;
}

/** A context by way of `internals`, if it gives for samples, one after the other, what contexts of their own give. */
export function openContext(
  level: number,
  { _handle: handle, _writeState: state }: Internals = openStream(level),
): FrameContext | undefined {
  if (typeof handle?.writeSync !== 'function' || !(state instanceof Uint32Array)) return undefined;
  const context = new FrameContext({ _handle: handle, _writeState: state });
  const isSame = (sample: Buffer): boolean =>
    context.encode(sample)?.equals(encodeAlone(sample, level)) === true;
  return samples().every(isSame) ? context : undefined;
}

/** Sizes between which zstd takes other parameters, and so other tables, bytes. */
const SAMPLE_SIZES: readonly number[] = [SHARED_LIMIT, 12_000, 60_000];

/** Each size by turns: what one leaves behind must not be seen in the next. */
function samples(): Buffer[] {
  const [a, b] = [sampleOf(1), sampleOf(2)];
  const turns = SAMPLE_SIZES.flatMap((size) => [a, b, a].map((bytes) => bytes.subarray(0, size)));
  return [...turns, a, Buffer.alloc(0), b];
}

/** Of so many values that stretches of a few bytes come again, about as often as zstd's tables have room for. */
const SAMPLE_VALUES_BITS = 3;

/** {@link SHARED_LIMIT} bytes in no order (a linear congruential generator; Numerical Recipes, second edition, 7.1). */
function sampleOf(seed: number): Buffer {
  let state = seed;
  return Buffer.alloc(SHARED_LIMIT).map(() => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> (32 - SAMPLE_VALUES_BITS);
  }) as Buffer;
}
