/** Which row of a layer holds each path, told by the path's digest: a table of numbers, since a map of texts costs a layer more than all else. */

const FIRST_SLOTS = 1 << 11;
/** Words of a digest. */
const WORDS = 8;

/** The last row that was put for each path. Digests of rows are given with each call, eight words a row, since they move as they grow. */
export class PathRows {
  /** Row numbers from 1 on; 0 is free. At least half of them are. */
  #slots: Int32Array = new Int32Array(FIRST_SLOTS);
  #size = 0;

  /** The row that has the path of this digest; -1 for none. */
  find(digests: Uint32Array, key: Uint32Array): number {
    return (this.#slots[this.#slotOf(digests, key, 0)] as number) - 1;
  }

  /** Puts the row for its path; gives the row that had it, -1 for none. */
  put(digests: Uint32Array, row: number): number {
    const slot = this.#slotOf(digests, digests, row * WORDS);
    const known = (this.#slots[slot] as number) - 1;
    this.#slots[slot] = row + 1;
    if (known < 0 && ++this.#size * 2 > this.#slots.length) this.#grow(digests);
    return known;
  }

  #slotOf(digests: Uint32Array, key: Uint32Array, at: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let slot = (key[at] as number) & mask; ; slot = (slot + 1) & mask) {
      const found = slots[slot] as number;
      if (found === 0 || isEqual(digests, (found - 1) * WORDS, key, at)) return slot;
    }
  }

  #grow(digests: Uint32Array): void {
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    for (const number of old)
      if (number > 0) this.#slots[this.#slotOf(digests, digests, (number - 1) * WORDS)] = number;
  }
}

function isEqual(a: Uint32Array, from: number, b: Uint32Array, at: number): boolean {
  for (let i = 0; i < WORDS; i++) if (a[from + i] !== b[at + i]) return false;
  return true;
}
