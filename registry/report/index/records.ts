/** One digest over records that are made of columns: numbers as doubles, then digests, row after row (little-endian, as the engine is). */
import { createHash } from 'node:crypto';

/** Bytes of a digest. */
export const DIGEST_SIZE = 32;
const DIGEST_WORDS = DIGEST_SIZE / 4;
/** Rows that are digested at a time, and where they lie meanwhile. */
const RECORDS = 1 << 12;
const LONGEST_RECORD = 28;
const RECORD_WORDS: Uint32Array<ArrayBuffer> = new Uint32Array(RECORDS * LONGEST_RECORD);
const RECORD_DOUBLES: Float64Array = new Float64Array(RECORD_WORDS.buffer);

/** A column of numbers. */
export type Numbers = Float64Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;

/** Digests in 32-bit words, as the machine has them. */
export function wordsOf({ buffer, byteOffset, byteLength }: Buffer): Uint32Array {
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

/** The sha256 digest of the rows of `order`; at most {@link LONGEST_RECORD} words a row. */
export function digestRecords(
  order: Uint32Array,
  numbers: readonly Numbers[],
  digests: readonly Buffer[],
): Buffer {
  const words = digests.map(wordsOf);
  const record = numbers.length * 2 + words.length * DIGEST_WORDS;
  const digest = createHash('sha256');
  for (let from = 0; from < order.length; from += RECORDS) {
    const rows = order.subarray(from, from + RECORDS);
    for (const [i, values] of numbers.entries()) putNumbers(values, rows, i, record / 2);
    for (const [i, values] of words.entries())
      putDigests(values, rows, 2 * numbers.length + i * DIGEST_WORDS, record);
    digest.update(RECORD_WORDS.subarray(0, rows.length * record));
  }
  return digest.digest();
}

function putNumbers(values: Numbers, rows: Uint32Array, from: number, record: number): void {
  for (let i = 0, at = from; i < rows.length; i++, at += record)
    RECORD_DOUBLES[at] = values[rows[i] as number] as number;
}

function putDigests(digests: Uint32Array, rows: Uint32Array, from: number, record: number): void {
  for (let i = 0, at = from; i < rows.length; i++, at += record) {
    const row = (rows[i] as number) * DIGEST_WORDS;
    for (let word = 0; word < DIGEST_WORDS; word++)
      RECORD_WORDS[at + word] = digests[row + word] as number;
  }
}
