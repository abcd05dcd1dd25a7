/** Random numbers that depend on a seed alone, the same on every machine. */

/** A stream of random numbers (mulberry32: 32 bits of state, period 2^32). */
export class Random {
  #state: number;

  /** Equal seeds give equal streams; of a number the low 32 bits count. */
  constructor(seed: number | string) {
    this.#state = typeof seed === 'number' ? seed >>> 0 : digestOf(seed);
  }

  /** In [0, 1), 32 bits. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), 1 | t);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Whether something of this probability happens. */
  happens(probability: number): boolean {
    return this.next() < probability;
  }

  /** A whole number from 0 to `limit`, exclusive. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** Normally distributed, mean 0 and deviation 1 (Box and Muller 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }

  /** 16 hex digits. */
  digest(): string {
    const half = (): string =>
      this.below(2 ** 32)
        .toString(16)
        .padStart(8, '0');
    return half() + half();
  }
}

/** FNV-1a of the text's UTF-16 units, 32 bits. */
function digestOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}
