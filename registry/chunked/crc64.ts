/**
 * CRC-64/ISO, as Go's hash/crc64 has it (reflected polynomial, register and result inverted), eight bytes at a time: table k
 * holds what a byte does to the sum when k bytes follow it.
 */
import { type Running, runModule } from './wat.ts';

/** x^64 + x^4 + x^3 + x + 1, bits reflected. */
const POLYNOMIAL = 0xd800_0000_0000_0000n;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;
const TABLES = 8;
const TABLE_ENTRIES = 256;
const ENTRY_SIZE = 8;
const TABLE_SIZE = TABLE_ENTRIES * ENTRY_SIZE;
/** Where the memory has the bytes, and how many at a time. */
const BYTES_AT = TABLES * TABLE_SIZE;
const PIECE_LIMIT = 256 << 10;

/** What byte `k` of the eight, which was mixed into $x, does to the sum. */
function lookUp(k: number): string {
  const byte = `(i32.and (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const ${8 * k}))) (i32.const 255))`;
  return `(i64.load offset=${(TABLES - 1 - k) * TABLE_SIZE} (i32.shl ${byte} (i32.const 3)))`;
}

function sumOf([first = '', ...rest]: readonly string[]): string {
  return rest.length === 0 ? first : `(i64.xor ${first} ${sumOf(rest)})`;
}

const LOOK_UPS = Array.from({ length: TABLES }, (_, k) => lookUp(k));

const TEXT = `(module
  (memory (export "memory") 5)
  (func (export "sum") (param $x i64) (param $at i32) (param $end i32) (result i64)
    (block $rest (loop $eight
      (br_if $rest (i32.gt_u (i32.add (local.get $at) (i32.const 8)) (local.get $end)))
      (local.set $x (i64.xor (local.get $x) (i64.load (local.get $at))))
      (local.set $x ${sumOf(LOOK_UPS)})
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br $eight)))
    (block $done (loop $one
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $x (i64.xor
        (i64.load (i32.shl (i32.and
          (i32.wrap_i64 (i64.xor (local.get $x) (i64.load8_u (local.get $at))))
          (i32.const 255)) (i32.const 3)))
        (i64.shr_u (local.get $x) (i64.const 8))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $one)))
    (local.get $x)))`;

interface Engine {
  sum(register: bigint, at: number, end: number): bigint;
}

/** The register after one byte, from zero. */
function ofByte(byte: number): bigint {
  let sum = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) sum = sum & 1n ? (sum >> 1n) ^ POLYNOMIAL : sum >> 1n;
  return sum;
}

function start(): { readonly engine: Running<Engine>; readonly memory: Uint8Array } {
  const engine = runModule<Engine>(TEXT);
  const tables = new BigUint64Array(engine.memory.buffer, 0, TABLES * TABLE_ENTRIES);
  for (let byte = 0; byte < TABLE_ENTRIES; byte++) tables[byte] = ofByte(byte);
  for (let i = TABLE_ENTRIES; i < tables.length; i++) {
    const before = tables[i - TABLE_ENTRIES] as bigint;
    tables[i] = (before >> 8n) ^ (tables[Number(before & 0xffn)] as bigint);
  }
  return { engine, memory: new Uint8Array(engine.memory.buffer) };
}

/** One for the thread: calls are synchronous and leave nothing behind. */
let running: ReturnType<typeof start> | undefined;

/** The sum over bytes that come in pieces of any size. */
export class Crc64 {
  #register = ALL_ONES;

  /** Takes the next bytes. */
  update(bytes: Uint8Array): void {
    running ??= start();
    const { engine, memory } = running;
    for (let at = 0; at < bytes.length; at += PIECE_LIMIT) {
      const piece = bytes.subarray(at, at + PIECE_LIMIT);
      memory.set(piece, BYTES_AT);
      this.#register = engine.sum(this.#register, BYTES_AT, BYTES_AT + piece.length);
    }
  }

  /** The sum so far, 8 bytes, big endian. */
  digest(): Buffer {
    const digest = Buffer.alloc(ENTRY_SIZE);
    digest.writeBigUInt64BE(BigInt.asUintN(64, this.#register) ^ ALL_ONES);
    return digest;
  }
}

/** The sum over all of `bytes`, 8 bytes, big endian. */
export function crc64(bytes: Uint8Array): Buffer {
  const sum = new Crc64();
  sum.update(bytes);
  return sum.digest();
}
