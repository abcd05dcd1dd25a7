/** Gives back the memory of a buffer at once, which the collector would leave there until 100 MiB of such wait in each thread. */

/** Least size of what is released, bytes: smaller buffers may be parts of one that others use (`Buffer.poolSize`, 64 KiB in Node 24). */
const RELEASED_MINIMUM: number = 128 << 10;

/** Releases the memory that `bytes` are in, all of it: nobody may use that any more. Small and shared memory is left alone. */
export function release({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength >= RELEASED_MINIMUM) buffer.transfer(0);
}
