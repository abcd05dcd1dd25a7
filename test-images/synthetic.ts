/**
 * Large images of made-up files, streamed to disk, to measure time and memory. The same parameters give the same layers.
 * The archive is written by tar-stream, which the product's codec has no part in.
 */
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { type Pack, pack } from 'tar-stream';
import { type BuiltImage, type LayerInput, writeLayout } from './build.ts';

/** How large an image is made. */
export interface SyntheticOptions {
  readonly files: number;
  /** Of all files together. */
  readonly bytes: number;
  /** Default 1. */
  readonly layers?: number;
  /** Default `zstd`, the quickest that compresses. */
  readonly compression?: 'gzip' | 'zstd' | 'none';
  /** Another seed gives other content; default 1. */
  readonly seed?: number;
}

/** Text that files are cut from, bytes: larger than the window of gzip and of zstd's default level. */
const POOL_SIZE = 32 << 20;
const FILES_PER_DIRECTORY = 50;
/** One file in ten is large; together they have seven tenths of the bytes, about as in a Debian image. */
const LARGE_EVERY = 10;
const LARGE_SHARE = 0.7;
/** 2026-01-01T00:00:00Z. */
export const MTIME: Date = new Date(1767225600_000);

/** 32-bit numbers that depend on the seed alone (xorshift32, Marsaglia 2003). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

/** Text of made-up words, some far more frequent than others: compresses to about a third, as programs do. */
function makePool(next: () => number): Buffer {
  const words = Array.from({ length: 4096 }, () =>
    next()
      .toString(36)
      .slice(0, 3 + (next() % 6)),
  );
  const pool = Buffer.alloc(POOL_SIZE);
  for (let at = 0; at < POOL_SIZE; ) {
    const word = words[Math.min(next() % 4096, next() % 4096)] as string;
    at += pool.write(`${word} `, at, 'latin1') || 1;
  }
  return pool;
}

/** The sizes of all files, in order; their sum is exactly `bytes`. */
function makeSizes({ files, bytes }: SyntheticOptions): number[] {
  const large = Math.ceil(files / LARGE_EVERY);
  const largeSize = Math.floor((bytes * LARGE_SHARE) / large);
  const rest = files - large;
  const smallSize = rest > 0 ? Math.floor((bytes - largeSize * large) / rest) : 0;
  const sizes = Array.from({ length: files }, (_, i) =>
    i % LARGE_EVERY === 0 ? largeSize : smallSize,
  );
  sizes[0] = (sizes[0] ?? 0) + bytes - sizes.reduce((sum, size) => sum + size, 0);
  return sizes;
}

/** Content of `size` bytes: a line of its own, then pieces of the pool. */
function* contentOf(
  name: string,
  size: number,
  pool: Buffer,
  next: () => number,
): Generator<Buffer> {
  const line = Buffer.from(`${name}\n`).subarray(0, size);
  yield line;
  for (let left = size - line.length; left > 0; ) {
    const at = next() % (POOL_SIZE - 1);
    const piece = pool.subarray(at, Math.min(POOL_SIZE, at + left));
    yield piece;
    left -= piece.length;
  }
}

/** Adds one file; done when the archive has taken all of it, which keeps what is in memory small. */
export async function addFile(
  archive: Pack,
  name: string,
  size: number,
  pieces: Iterable<Buffer>,
  mtime: Date = MTIME,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const entry = archive.entry({ name, size, mode: 0o644, mtime }, (error) =>
    error ? reject(error) : resolve(),
  );
  for (const piece of pieces) {
    if (!entry.write(piece)) await once(entry, 'drain');
  }
  entry.end(Buffer.alloc(0));
  await promise;
}

/** One layer as a stream: the files `from` to `to` (exclusive). */
function layerOf(
  sizes: readonly number[],
  [from, to]: readonly [number, number],
  pool: Buffer,
  seed: number,
): PassThrough {
  const archive = pack();
  const next = randomNumbers(seed);
  const fill = async (): Promise<void> => {
    archive.entry({ name: 'data/', type: 'directory', mode: 0o755, mtime: MTIME });
    for (let i = from; i < to; i++) {
      const directory = `data/${Math.floor(i / FILES_PER_DIRECTORY)}`;
      if (i === from || i % FILES_PER_DIRECTORY === 0) {
        archive.entry({ name: `${directory}/`, type: 'directory', mode: 0o755, mtime: MTIME });
      }
      const name = `${directory}/file-${i}`;
      const size = sizes[i] ?? 0;
      await addFile(archive, name, size, contentOf(name, size, pool, next));
    }
    archive.finalize();
  };
  const out = new PassThrough();
  fill().catch((error) => out.destroy(error));
  return archive.pipe(out);
}

/** Writes an OCI layout with one synthetic image, tag `latest`, to `directory`; about 150 MB a second. */
export async function writeSynthetic(
  directory: string,
  options: SyntheticOptions,
): Promise<BuiltImage> {
  const { files, layers = 1, compression = 'zstd', seed = 1 } = options;
  const pool = makePool(randomNumbers(seed));
  const sizes = makeSizes(options);
  const inputs = Array.from({ length: layers }, (_, i): LayerInput => {
    const range = [
      Math.floor((files * i) / layers),
      Math.floor((files * (i + 1)) / layers),
    ] as const;
    return { tar: () => layerOf(sizes, range, pool, seed + i + 1), compression };
  });
  const [image] = await writeLayout(directory, [{ layers: inputs }]);
  return image as BuiltImage;
}
