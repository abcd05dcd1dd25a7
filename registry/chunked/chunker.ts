/**
 * Content-defined chunks of a file, the same as those of podman, buildah and skopeo (c/storage 1.57
 * `pkg/chunked/compressor/compressor.go`), since layers share chunks with theirs only then.
 *
 * Holes come first: a run of at least 1024 zero bytes, as long as it goes, is a chunk. Between them chunks end where the
 * rolling sum says (`rolling.ts`): after 64 KiB on the average, without bounds, so a chunk may be one byte or a whole file.
 * Zeros of which it is not known yet whether they make a hole are not summed: only in a short run may a chunk end.
 */
import { PIECE_LIMIT, RollingSum } from './rolling.ts';

/** A stretch of a file: where it begins and its size, bytes, at least 1. */
export interface Chunk {
  readonly offset: number;
  readonly size: number;
  /** `zeros`: a hole, nothing but zero bytes. */
  readonly type: 'data' | 'zeros';
}

/** Fewest zero bytes in a row that make a hole (c/storage `holesThreshold`). */
export const HOLE_MINIMUM = 1024;

const ZEROS: Buffer = Buffer.alloc(64 << 10);
/** How many zeros are looked for at a time, bytes; what is left is looked at one by one. */
const ZERO_STEPS: readonly number[] = [ZEROS.length, 4 << 10, 256];

/** Where zeros that begin at `at` end. */
function zerosEnd(bytes: Uint8Array, at: number): number {
  for (const step of ZERO_STEPS) {
    while (at + step <= bytes.length && ZEROS.compare(bytes, at, at + step, 0, step) === 0)
      at += step;
  }
  while (at < bytes.length && bytes[at] === 0) at++;
  return at;
}

/** Where the zeros that end before `end` begin, not before `from`. */
function zerosStart(bytes: Uint8Array, from: number, end: number): number {
  while (end > from && bytes[end - 1] === 0) end--;
  return end;
}

/** Takes a file's bytes, in pieces of any size, and tells its chunks as soon as they are known. */
export class Chunker {
  readonly #sum = new RollingSum();
  /** Bytes of the file that were taken, and where the chunk at hand begins. */
  #taken = 0;
  #start = 0;
  /** Zeros at the end of what was taken, which are not summed: fewer than a hole's, or a hole that goes on. */
  #zeros = 0;
  #chunks: Chunk[] = [];

  /** The chunks that ended by now, ascending; the last byte of `bytes` may belong to one that did not. */
  push(bytes: Uint8Array): Chunk[] {
    if (bytes.length === 0) return [];
    let at = 0;
    if (this.#zeros > 0) at = this.#continueZeros(bytes);
    while (at < bytes.length) at = this.#takeStretch(bytes, at);
    return this.#give();
  }

  /** The chunks that are left; to be called once, at the file's end. */
  finish(): Chunk[] {
    if (this.#zeros >= HOLE_MINIMUM) this.#endHole();
    else this.#sumZeros();
    this.#end(this.#taken, 'data');
    return this.#give();
  }

  /**
   * Bytes from the file's start whose chunk is known: it ended, or what follows belongs to it or not as the next chunks say. What was
   * taken beyond is fewer than {@link HOLE_MINIMUM} bytes, all zeros.
   */
  get decided(): number {
    return this.#zeros < HOLE_MINIMUM ? this.#taken - this.#zeros : this.#taken;
  }

  #give(): Chunk[] {
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks;
  }

  #end(end: number, type: Chunk['type']): void {
    const size = end - this.#start;
    if (size > 0) this.#chunks.push({ offset: this.#start, size, type });
    this.#start = end;
  }

  /** Takes the bytes that continue the zeros at hand, and says how many were taken. */
  #continueZeros(bytes: Uint8Array): number {
    const count = zerosEnd(bytes, 0);
    const all = this.#zeros + count;
    if (count === bytes.length || all >= HOLE_MINIMUM) {
      this.#taken += count;
      this.#zeros = all;
      this.#startHole();
      if (count < bytes.length) this.#endHole();
      return count;
    }
    this.#sumZeros();
    return 0;
  }

  /** Ends the chunk before the zeros at hand as soon as they are a hole. */
  #startHole(): void {
    if (this.#zeros >= HOLE_MINIMUM) this.#end(this.#taken - this.#zeros, 'data');
  }

  #endHole(): void {
    this.#end(this.#taken, 'zeros');
    this.#zeros = 0;
    this.#sum.reset();
  }

  /** Sums the zeros at hand, which are too few for a hole. */
  #sumZeros(): void {
    const from = this.#taken - this.#zeros;
    for (const end of this.#sum.roll(ZEROS.subarray(0, this.#zeros))) this.#end(from + end, 'data');
    this.#zeros = 0;
  }

  /** Takes what comes before the next hole, and the hole; `at` stands after no undecided zeros. */
  #takeStretch(bytes: Uint8Array, at: number): number {
    // A hole that lies wholly within the bytes has a byte at a multiple of its least size from here.
    for (let probe = at + HOLE_MINIMUM - 1; probe < bytes.length; ) {
      if (bytes[probe] !== 0) {
        probe += HOLE_MINIMUM;
        continue;
      }
      const from = zerosStart(bytes, at, probe);
      const end = zerosEnd(bytes, probe);
      if (end - from >= HOLE_MINIMUM || end === bytes.length)
        return this.#takeRun(bytes, at, from, end);
      probe = end + HOLE_MINIMUM;
    }
    return this.#takeRun(bytes, at, zerosStart(bytes, at, bytes.length), bytes.length);
  }

  /** Takes bytes from `at`, of which those between `from` and `end` are zeros: a hole, or not known yet. */
  #takeRun(bytes: Uint8Array, at: number, from: number, end: number): number {
    for (let piece = at; piece < from; piece += PIECE_LIMIT) {
      const part = bytes.subarray(piece, Math.min(from, piece + PIECE_LIMIT));
      for (const cut of this.#sum.roll(part)) this.#end(this.#taken + cut, 'data');
      this.#taken += part.length;
    }
    this.#zeros = end - from;
    this.#taken += this.#zeros;
    this.#startHole();
    if (end < bytes.length) this.#endHole();
    return end;
  }
}

/** The chunks of a whole file in memory. */
export function chunksOf(bytes: Uint8Array): Chunk[] {
  const chunker = new Chunker();
  return [...chunker.push(bytes), ...chunker.finish()];
}
