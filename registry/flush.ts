/** Flushing to disk: what a run reports as written is still there after the power failed. */
import { open } from 'node:fs/promises';
import { describe, systemCode } from './errors.ts';

/** Files that are flushed at once: many small ones take one commit of the journal together. */
const AT_ONCE = 8;
/** Of those that are flushed while others are written: each holds a thread that could compress. */
const AHEAD_AT_ONCE = 2;

/** What a file is not there for, or cannot be opened or flushed for on some mounts: it is left to the system. */
const HARMLESS: readonly (string | undefined)[] = [
  'ENOENT',
  'EACCES',
  'EPERM',
  'ENOTSUP',
  'EINVAL',
];

/** Flushes a file or directory. */
async function flushFile(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r');
    await handle.sync().finally(() => handle.close());
  } catch (error) {
    if (!HARMLESS.includes(systemCode(error))) throw describe(`writing ${path}`, error);
  }
}

async function flushQueue(queue: string[], atOnce: number): Promise<void> {
  const work = async (): Promise<void> => {
    for (let path = queue.shift(); path !== undefined; path = queue.shift()) await flushFile(path);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, queue.length) }, work));
}

/** Flushes files and directories to disk. */
export function flushFiles(paths: readonly string[]): Promise<void> {
  return flushQueue([...paths], AT_ONCE);
}

/** Flushes files in the background, so that little is left to wait for at the end. */
export class Flusher {
  readonly #queue: string[] = [];
  #running = 0;
  #failure: { readonly error: unknown } | undefined;
  #idle: Promise<void> = Promise.resolve();

  /** Begins to flush `path`. */
  add(path: string): void {
    this.#queue.push(path);
    if (this.#running >= AHEAD_AT_ONCE) return;
    this.#running++;
    const work = flushQueue(this.#queue, 1)
      .catch((error) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running--);
    this.#idle = Promise.all([this.#idle, work]).then(() => {});
  }

  /** Resolves when all is on disk; throws what flushing any of it threw. */
  async finish(): Promise<void> {
    try {
      await flushQueue(this.#queue, AT_ONCE);
    } finally {
      await this.#idle;
    }
    if (this.#failure) throw this.#failure.error;
  }
}
