/** Whole writes to open files. */
import { writeSync } from 'node:fs';

/** Writes all of `bytes`, where the file stands or at `position`. */
export function writeFully(fd: number, bytes: Uint8Array, position?: number): void {
  for (let done = 0; done < bytes.length; ) {
    const at = position === undefined ? null : position + done;
    done += writeSync(fd, bytes, done, bytes.length - done, at);
  }
}
