/**
 * How a run stays below a limit of memory: of the bytes that are left beside the program and what it knows of files, it takes as
 * many threads as there is room for. What each costs was measured (README, "Decisions"). Content is never held: it lies in the
 * spool whatever the limit is, so a limit changes how fast a run is and not what it writes.
 */
import { RechunkError } from '../registry/errors.ts';

const MIB = 2 ** 20;
/** The program, its modules and the main thread's heap before an image is read, bytes. */
const PROGRAM_BYTES: number = 110 * MIB;
/** A worker thread: its heap, and what it reads, compresses and writes at a time. */
const THREAD_BYTES: number = 72 * MIB;
/** An entry of an image that is read: its inode, name and component, and what finding that leaves. */
const ENTRY_BYTES = 900;

/** A size as `--memory-limit` takes it, rounded up. */
export function formatLimit(bytes: number): string {
  return `${Math.ceil(bytes / MIB)}MiB`;
}

/** Throws `usage` for a limit, bytes, that is too little for any image. */
export function checkLimit(limit: number): void {
  const least = PROGRAM_BYTES + THREAD_BYTES;
  if (limit >= least) return;
  throw new RechunkError(
    'usage',
    `--memory-limit ${formatLimit(limit)}: want at least ${formatLimit(least)}, and more for large images`,
  );
}

/** What a run may take of memory, and the entries of images that it holds. */
export class MemoryBudget {
  readonly #limit: number;
  #entries: number;

  /** `limit`: peak resident memory of the process, bytes. Throws as {@link checkLimit} does. */
  constructor(limit: number, entries = 0) {
    checkLimit(limit);
    this.#limit = limit;
    this.#entries = entries;
  }

  /** Threads that there is room for, from 1 to `most`. */
  threads(most: number): number {
    const room = this.#limit - PROGRAM_BYTES - this.#entries * ENTRY_BYTES;
    return Math.max(1, Math.min(most, Math.floor(room / THREAD_BYTES)));
  }

  /** Counts `entries` more that are held; throws `limit`, with the least limit that works, where there is no room for them. */
  hold(entries: number): void {
    this.#entries += entries;
    const least = PROGRAM_BYTES + THREAD_BYTES + this.#entries * ENTRY_BYTES;
    if (least <= this.#limit) return;
    throw new RechunkError(
      'limit',
      `--memory-limit ${formatLimit(this.#limit)}: ${this.#entries} files and directories were found so far, want at least ${formatLimit(least)} for them`,
      { details: { limit: this.#limit, least } },
    );
  }

  /** The same, for what is held for a while: what it counts is not counted here. */
  makeInner(): MemoryBudget {
    return new MemoryBudget(this.#limit, this.#entries);
  }
}
