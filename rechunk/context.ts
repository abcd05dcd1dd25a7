/** What one run has for itself: threads, temporary files, and a way to be stopped. */
import { availableParallelism } from 'node:os';
import { LARGE_TEMP_DIR } from '../registry/ingest.ts';
import { MemoryBudget } from './budget.ts';
import { Cache, type CacheOptions } from './cache/cache.ts';
import { Holdings } from './holdings.ts';
import { Pool } from './pool.ts';
import type { Progress } from './read.ts';
import { Spool } from './spool.ts';

/** Settings of a run that do not change what is written. */
export interface RunOptions {
  /** Worker threads; results do not depend on it. Default: one a core. */
  readonly threads?: number | undefined;
  /** Peak resident memory of the process, bytes, which decides how many of the threads are used; default: any. */
  readonly memoryLimit?: number | undefined;
  /** A directory with room for the uncompressed image; default {@link LARGE_TEMP_DIR}. */
  readonly tempDir?: string | undefined;
  /** Stops the run; what was written so far is taken back. */
  readonly signal?: AbortSignal | undefined;
  /** What earlier runs learnt; default: nothing is known and nothing remembered. What proves something does not use it. */
  readonly cache?: CacheOptions | undefined;
  /** Told of every stretch of bytes that is dealt with. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Told of what a person should know, as it is found. */
  readonly onNotice?: ((notice: string) => void) | undefined;
  /** Told when much that was held is garbage, before more is held: whose process it is may want that collected. */
  readonly onGarbage?: (() => void) | undefined;
}

/** Threads, temporary files and the cache of one run. */
export interface Context extends Omit<RunOptions, 'cache' | 'threads' | 'memoryLimit' | 'tempDir'> {
  readonly pool: Pool;
  readonly spool: Spool;
  readonly cache: Cache | undefined;
  /** What the run may take of memory; undefined where there is no limit. */
  readonly budget: MemoryBudget | undefined;
}

/** Threads that are started before there is work for them: as many as a single layer takes. */
const WARM_THREADS = 2;

/**
 * Runs `work` with a pool, a spool and the cache that is asked for; pool and spool are gone afterwards. Throws `usage` for a limit of
 * memory that is too small.
 */
export async function withContext<T>(
  options: RunOptions,
  work: (context: Context) => Promise<T>,
): Promise<T> {
  options.signal?.throwIfAborted();
  const { memoryLimit } = options;
  const budget = memoryLimit === undefined ? undefined : new MemoryBudget(memoryLimit);
  const notice = (text: string): void => options.onNotice?.(text);
  const cache = options.cache && (await Cache.open(options.cache, notice));
  const { threads = availableParallelism(), tempDir = LARGE_TEMP_DIR } = options;
  const pool = new Pool(budget?.threads(threads) ?? threads);
  pool.warm(WARM_THREADS);
  const spool = new Spool(tempDir, new Holdings(() => pool.threads));
  const stop = (): void => void pool.close();
  options.signal?.addEventListener('abort', stop, { once: true });
  try {
    return await work({ ...options, pool, spool, cache, budget });
  } finally {
    options.signal?.removeEventListener('abort', stop);
    await pool.close();
    await spool.close();
    // Neither the error that ended the run nor what the run did is lost for it.
    await cache?.close().catch((error) => notice(`the cache was not closed: ${error}`));
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
  const result = await work({ ...context, spool, budget: context.budget?.makeInner() });
  await spool.close();
  return result;
}
