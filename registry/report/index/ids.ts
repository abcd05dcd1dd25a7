/**
 * Ids without a coordinator: the first 63 bits of a sha256 digest. Whoever indexes the same content, path or layer, on whatever
 * machine, gives it the same id; a query (`queries/collisions.sql`) proves that no two have one by chance.
 *
 * An id is `digest >> 1` of the first eight bytes, big-endian, so that it is a positive BIGINT everywhere and its upper four bits
 * are the digest's first hex digit: the partition.
 */
import { hash } from 'node:crypto';
import type { Digest } from '../../oci.ts';

/** Partitions of files, references and paths, by the first hex digit of a digest. */
export const PARTITIONS = 16;

/** What layers are known by: a diffID that was proven, or the blob whose table of contents alone was read, with the diffID that it claims. */
export type LayerKey = Digest | `toc:${string}`;

/** What rows by a table of contents are known by: they never stand in for what others say of the same diffID. */
export function tableKey(diffId: Digest, blob: Digest): LayerKey {
  return `toc:${diffId}@${blob}`;
}

/** The bytes of a digest; of what is no sha256, the sha256 of its text. */
export function digestBytes(digest: LayerKey): Buffer {
  const [algorithm, hex = ''] = digest.split(':');
  return algorithm === 'sha256' ? Buffer.from(hex, 'hex') : hash('sha256', digest, 'buffer');
}

/** The id of what has this digest (at least 8 bytes). */
export function idOf(digest: Uint8Array): bigint {
  const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
  return view.getBigUint64(0) >> 1n;
}

const FIRST_SLOTS = 1 << 12;
/** Of the slots, so many in a hundred are taken before there are twice as many. */
const FULL_PERCENT = 80;
/** Words of a digest that tell one from another: 96 bits, so that two with one id are both kept, and the collision shows. */
const WORDS = 3;

/** A set of digests, known by their first 96 bits; 12 bytes a slot. */
export class DigestSet {
  #slots: Uint32Array = new Uint32Array(FIRST_SLOTS * WORDS);
  #capacity = FIRST_SLOTS;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds the digest at `at` in `bytes`; whether it is new. */
  add(bytes: Buffer, at = 0): boolean {
    // All zeros means a free slot; no digest is expected to begin so.
    const added = this.#put(
      bytes.readUInt32LE(at),
      bytes.readUInt32LE(at + 4),
      bytes.readUInt32LE(at + 8) || 1,
    );
    if (added && ++this.#size * 100 > this.#capacity * FULL_PERCENT) this.#grow();
    return added;
  }

  clear(): void {
    this.#size = 0;
    this.#slots.fill(0);
  }

  #put(a: number, b: number, c: number): boolean {
    const slots = this.#slots;
    const mask = this.#capacity - 1;
    for (let slot = (a ^ b) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * WORDS;
      if (slots[at + 2] === 0) {
        slots[at] = a;
        slots[at + 1] = b;
        slots[at + 2] = c;
        return true;
      }
      if (slots[at] === a && slots[at + 1] === b && slots[at + 2] === c) return false;
    }
  }

  #grow(): void {
    const old = this.#slots;
    this.#capacity *= 2;
    this.#slots = new Uint32Array(this.#capacity * WORDS);
    for (let at = 0; at < old.length; at += WORDS) {
      const [a = 0, b = 0, c = 0] = old.subarray(at, at + WORDS);
      if (c !== 0) this.#put(a, b, c);
    }
  }
}
