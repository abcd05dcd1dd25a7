/**
 * The rolling sum that ends chunks (bupsplit of c/storage `pkg/chunked/internal/rollsum.go`), eight bytes at a time.
 *
 * Of the last 64 bytes b, the newest first: t = Σ b[k], s = 124992 + Σ (64 - k) b[k]; a chunk ends after a byte where the low
 * 16 bits of s are ones. (The reference's s1 is t + 64·31.) So 16 bits of each are all that is kept.
 */
import { runModule } from './wat.ts';

/** Bytes that the sum is taken of. */
const WINDOW = 64;
/** The sums over a window of zeros. */
const FRESH_S = 124_992;

/** Bytes that are summed at a time: they should stay in the processor's cache. */
export const PIECE_LIMIT: number = 256 << 10;

/** Where the memory has the sums, and the window with the bytes after it. */
const SUMS_AT = 0;
const WINDOW_AT = 64;
const BYTES_AT = WINDOW_AT + WINDOW;

/**
 * `cut(at, end)` sums the bytes from `at` + 64 to `end` + 64, where `at` is that of the byte that leaves the window first. It gives
 * the `at` of the byte after the first end of a chunk, or 0 where there is none.
 *
 * Eight sums at once: lane i needs Σ (c - d) and Σ Σ (c - d) - 64 d of the lanes up to it, which three shifted additions each
 * make, and what was carried over: s + (i + 1) t. Eight bytes with an end in them are summed again one by one.
 */
const TEXT = `(module
  (memory (export "memory") 5)
  (func (export "cut") (param $at i32) (param $end i32) (result i32)
    (local $t i32) (local $s i32) (local $d i32) (local $found i32)
    (local $T v128) (local $S v128) (local $D v128) (local $p v128) (local $g v128)
    (local.set $T (i16x8.splat (i32.load (i32.const 0))))
    (local.set $S (i16x8.splat (i32.load (i32.const 4))))
    (block $rest (loop $eight
      (br_if $rest (i32.gt_u (i32.add (local.get $at) (i32.const 8)) (local.get $end)))
      (local.set $D (v128.load8x8_u (local.get $at)))
      (local.set $p (i16x8.sub (v128.load8x8_u offset=64 (local.get $at)) (local.get $D)))
      (local.set $p (i16x8.add (local.get $p) (i8x16.swizzle (local.get $p) {shift1})))
      (local.set $p (i16x8.add (local.get $p) (i8x16.swizzle (local.get $p) {shift2})))
      (local.set $p (i16x8.add (local.get $p) (i8x16.swizzle (local.get $p) {shift4})))
      (local.set $g (i16x8.sub (local.get $p) (i16x8.shl (local.get $D) (i32.const 6))))
      (local.set $g (i16x8.add (local.get $g) (i8x16.swizzle (local.get $g) {shift1})))
      (local.set $g (i16x8.add (local.get $g) (i8x16.swizzle (local.get $g) {shift2})))
      (local.set $g (i16x8.add (local.get $g) (i8x16.swizzle (local.get $g) {shift4})))
      (local.set $g (i16x8.add (local.get $g) (i16x8.add (local.get $S)
        (i16x8.mul (local.get $T) (v128.const i16x8 1 2 3 4 5 6 7 8)))))
      (br_if $rest (v128.any_true
        (i16x8.eq (local.get $g) (v128.const i16x8 -1 -1 -1 -1 -1 -1 -1 -1))))
      (local.set $T (i16x8.add (local.get $T) (i8x16.swizzle (local.get $p) {last})))
      (local.set $S (i8x16.swizzle (local.get $g) {last}))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br $eight)))
    (local.set $t (i16x8.extract_lane_u 0 (local.get $T)))
    (local.set $s (i16x8.extract_lane_u 0 (local.get $S)))
    (block $done (loop $one
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $d (i32.load8_u (local.get $at)))
      (local.set $t (i32.add (local.get $t)
        (i32.sub (i32.load8_u offset=64 (local.get $at)) (local.get $d))))
      (local.set $s (i32.add (local.get $s)
        (i32.sub (local.get $t) (i32.shl (local.get $d) (i32.const 6)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $one (i32.ne (i32.and (local.get $s) (i32.const 65535)) (i32.const 65535)))
      (local.set $found (local.get $at))))
    (i32.store (i32.const 0) (local.get $t))
    (i32.store (i32.const 4) (local.get $s))
    (local.get $found)))`;

/** Picks the lane `count` before each, zeros where there is none. */
function shift(count: number): string {
  const picks = Array.from({ length: 16 }, (_, i) => (i < 2 * count ? 255 : i - 2 * count));
  return `(v128.const i8x16 ${picks.join(' ')})`;
}

const CONSTANTS: Readonly<Record<string, string>> = {
  shift1: shift(1),
  shift2: shift(2),
  shift4: shift(4),
  last: `(v128.const i8x16 ${'14 15 '.repeat(8)})`,
};

/** The text with its constants, as an assembler takes it. */
export const ROLLING_TEXT: string = TEXT.replace(
  /\{(\w+)\}/g,
  (_, name) => CONSTANTS[name] as string,
);

interface Engine {
  readonly memory: Uint8Array;
  readonly sums: Uint32Array;
  cut(at: number, end: number): number;
}

function start(): Engine {
  const { memory, cut } = runModule<Pick<Engine, 'cut'>>(ROLLING_TEXT);
  return {
    memory: new Uint8Array(memory.buffer),
    sums: new Uint32Array(memory.buffer, SUMS_AT, 2),
    cut,
  };
}

/** One for the thread: calls are synchronous, and each brings its own window. */
let engine: Engine | undefined;

/** The sum over one file's bytes. */
export class RollingSum {
  readonly #window = new Uint8Array(WINDOW);
  #t = 0;
  #s = FRESH_S;

  /** Begins anew, as after 64 zero bytes. */
  reset(): void {
    this.#window.fill(0);
    this.#t = 0;
    this.#s = FRESH_S;
  }

  /** Takes at most {@link PIECE_LIMIT} bytes and gives the ends of chunks in them: how many bytes each is after the first. */
  roll(piece: Uint8Array): number[] {
    engine ??= start();
    const { memory, sums } = engine;
    memory.set(this.#window, WINDOW_AT);
    memory.set(piece, BYTES_AT);
    sums[0] = this.#t;
    sums[1] = this.#s;
    const ends: number[] = [];
    const end = WINDOW_AT + piece.length;
    for (let at = WINDOW_AT; at < end; ) {
      at = engine.cut(at, end);
      if (at === 0) break;
      ends.push(at - WINDOW_AT);
    }
    this.#t = sums[0] as number;
    this.#s = sums[1] as number;
    this.#window.set(memory.subarray(end, end + WINDOW));
    return ends;
  }
}
