/** A lock between processes: a symlink whose target names the owner's ingest directory, so that making it is atomic. */
import { lstat, readlink, rename, symlink, unlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { RechunkError, systemCode } from './errors.ts';
import { type Ingest, isAlive, isFromElsewhere } from './ingest.ts';

/** Pause between two tries, ms. */
const RETRY_MS = 10;
/** How long to wait for others, each of whom holds the lock for the moves and flushes of one commit, ms. */
const WAIT_MS = 60_000;

/** How a lock is waited for. */
export interface LockOptions {
  /**
   * After how long the lock of a process on another machine, or in another container, counts as left behind, ms, and is waited for; nobody
   * can ask whether that process runs. Much longer than the work takes; default never.
   */
  readonly leftAfterMs?: number;
}

/**
 * Runs `work` while this process alone holds the lock at `path`, which lies on the file system of `ingest`. Waits up to a
 * minute, then throws `io`; the lock of a process that is gone is taken away.
 */
export async function withLock<T>(
  path: string,
  ingest: Ingest,
  work: () => Promise<T>,
  options: LockOptions = {},
): Promise<T> {
  await acquire(path, ingest, options);
  try {
    return await work();
  } finally {
    // Whoever took it for left behind holds it by now.
    const owner = await readlink(path).catch(() => undefined);
    if (owner === ingest.name) await unlink(path).catch(() => undefined);
  }
}

async function acquire(
  path: string,
  ingest: Ingest,
  { leftAfterMs = Number.POSITIVE_INFINITY }: LockOptions,
): Promise<void> {
  const patience = leftAfterMs < Number.POSITIVE_INFINITY ? leftAfterMs : 0;
  const end = performance.now() + WAIT_MS + patience;
  for (;;) {
    try {
      return await symlink(ingest.name, path);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    const owner = await ownerOf(path);
    if (owner === undefined) continue;
    const isLeft = isFromElsewhere(owner) && (await ageOf(path)) > leftAfterMs;
    if (isLeft || !isAlive(owner)) await breakLock(path, ingest, owner);
    else if (performance.now() > end) {
      throw new RechunkError(
        'io',
        `waiting for ${path}: ${owner} has held it for ${Math.round((WAIT_MS + patience) / 1000)} s; remove it if that run is gone`,
      );
    } else await sleep(RETRY_MS);
  }
}

/** How long the lock has been there, ms; 0 where it is gone. */
async function ageOf(path: string): Promise<number> {
  const found = await lstat(path).catch(() => undefined);
  return found ? Date.now() - found.mtimeMs : 0;
}

/** What the lock says of its owner; undefined where it is gone by now. Throws for what is no lock. */
async function ownerOf(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw new RechunkError('io', `locking ${path}: it is there and no lock; remove it`, {
      cause: error,
    });
  }
}

/** Moves a dead owner's lock aside; if meanwhile a living one took its place, that is put back. */
async function breakLock(path: string, ingest: Ingest, owner: string): Promise<void> {
  const aside = ingest.newPath();
  await rename(path, aside).catch(() => undefined);
  const moved = await readlink(aside).catch(() => undefined);
  if (moved !== undefined && moved !== owner) await symlink(moved, path).catch(() => undefined);
}
