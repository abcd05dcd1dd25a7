/** Digests of file contents that lie on disk: for package databases that use md5 or sha1, and for root file systems. */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { RechunkError } from '../registry/errors.ts';
import { showPath } from '../registry/path.ts';
import type { Body, FileDigest } from './tree.ts';

/** Content whose digest is wanted. */
export interface DigestItem {
  /** Absent where there is no content. */
  readonly body: Body | undefined;
  /** Bytes, holes included. */
  readonly size: number;
}

/** Files to digest, all with one algorithm. */
export interface DigestJob {
  readonly algorithm: FileDigest | 'sha256';
  readonly items: readonly DigestItem[];
}

/** Bytes read at a time. */
const READ_BYTES = 1 << 20;
const ZEROS = Buffer.alloc(READ_BYTES);

/** Lower-case hex digests of the items, in order. */
export function digestFiles(job: DigestJob): string[] {
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  return job.items.map(({ body, size }) => {
    const hash = createHash(job.algorithm);
    if (body) for (const chunk of readBody(body, size, buffer)) hash.update(chunk);
    return hash.digest('hex');
  });
}

/**
 * A body from start to end through `buffer`, holes as zeros. A chunk is valid until the next is asked for. Throws `io`
 * when a file that is read in place is not as long as it was when it was indexed.
 */
export function* readBody(body: Body, size: number, buffer: Buffer): Generator<Buffer> {
  const { file } = body;
  const fd = typeof file === 'number' ? file : openSync(Buffer.from(file, 'latin1'), 'r');
  const name = typeof file === 'number' ? 'the spool' : showPath(file);
  try {
    if (typeof file === 'string' && fstatSync(fd).size !== size)
      changed(name, fstatSync(fd).size, size);
    let at = 0;
    for (const extent of body.extents ?? [{ at: 0, offset: body.offset, size }]) {
      yield* zeros(extent.at - at);
      for (let done = 0; done < extent.size; ) {
        const wanted = Math.min(buffer.length, extent.size - done);
        const got = readSync(fd, buffer, 0, wanted, extent.offset + done);
        if (got === 0) changed(name, at + done, size);
        done += got;
        yield buffer.subarray(0, got);
      }
      at = extent.at + extent.size;
    }
    yield* zeros(size - at);
  } finally {
    if (typeof file === 'string') closeSync(fd);
  }
}

function changed(name: string, got: number, want: number): never {
  throw new RechunkError(
    'io',
    `reading ${name}: it changed while it was read: got ${got} bytes, want ${want}`,
  );
}

function* zeros(count: number): Generator<Buffer> {
  for (let left = count; left > 0; left -= READ_BYTES) {
    yield left >= READ_BYTES ? ZEROS : ZEROS.subarray(0, left);
  }
}
