/** Sums of sizes, whose uncompressed side is known only as long as it is known of every part. */
import type { Digest } from '../oci.ts';
import type { Bytes } from './report.ts';

/** A blob's bytes, as stored and, where known, unpacked. */
export interface Weight {
  readonly size: number;
  readonly uncompressed?: number | undefined;
}

/** Tells the weight of a blob. */
export type Weigh = (digest: Digest) => Weight;

/** A sum that grows. */
export class Sum {
  #compressed = 0;
  #uncompressed: number | undefined = 0;

  add({ size, uncompressed }: Weight): void {
    this.#compressed += size;
    if (this.#uncompressed === undefined || uncompressed === undefined)
      this.#uncompressed = undefined;
    else this.#uncompressed += uncompressed;
  }

  /** The sum as reports have it. */
  bytes(): Bytes {
    const [compressed, uncompressed] = [this.#compressed, this.#uncompressed];
    return uncompressed === undefined ? { compressed } : { compressed, uncompressed };
  }
}

/** The sum of `digests`, each as often as it is there. */
export function sumOf(digests: Iterable<Digest>, weigh: Weigh): Bytes {
  const sum = new Sum();
  for (const digest of digests) sum.add(weigh(digest));
  return sum.bytes();
}
