/** What one run has for itself: threads, temporary files, and a way to be stopped. */
import type { Progress } from './load.ts';
import { Pool } from './pool.ts';
import { Spool } from './spool.ts';

/** Settings of a run that do not change what is written. */
export interface RunOptions {
  /** Worker threads; results do not depend on it. */
  readonly threads: number;
  /** A directory with room for the uncompressed image. */
  readonly tempDirectory: string;
  /** Stops the run; what was written so far is taken back. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Told of what a person should know, as it is found. */
  readonly onNotice?: ((notice: string) => void) | undefined;
}

/** Threads and temporary files of one run. */
export interface Context extends RunOptions {
  readonly pool: Pool;
  readonly spool: Spool;
}

/** Runs `work` with a pool and a spool, which are gone afterwards. */
export async function withContext<T>(
  options: RunOptions,
  work: (context: Context) => Promise<T>,
): Promise<T> {
  options.signal?.throwIfAborted();
  const pool = new Pool(options.threads);
  const spool = new Spool(options.tempDirectory);
  const stop = (): void => void pool.close();
  options.signal?.addEventListener('abort', stop, { once: true });
  try {
    return await work({ ...options, pool, spool });
  } finally {
    options.signal?.removeEventListener('abort', stop);
    await pool.close();
    await spool.close();
  }
}

/**
 * Runs `work` with temporary files of its own, gone when it is done, so that several images in one run take the room of one.
 * After an error they stay until the run's threads have ended, which may still read them.
 */
export async function withSpool<T>(
  context: Context,
  work: (context: Context) => Promise<T>,
): Promise<T> {
  const spool = context.spool.makeInner();
  const result = await work({ ...context, spool });
  await spool.close();
  return result;
}
