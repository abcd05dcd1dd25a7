/** A lock between processes: a symlink whose target names the owner's ingest directory, so that making it is atomic. */
import { readlink, rename, symlink, unlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { RechunkError, systemCode } from './errors.ts';
import { type Ingest, isAlive } from './ingest.ts';

/** Pause between two tries, ms. */
const RETRY_MS = 10;
/** How long to wait for others, each of whom holds the lock for the moves and flushes of one commit, ms. */
const WAIT_MS = 60_000;

/**
 * Runs `work` while this process alone holds the lock at `path`, which lies on the file system of `ingest`. Waits up to a
 * minute, then throws `io`; the lock of a process that is gone is taken away.
 */
export async function withLock<T>(
  path: string,
  ingest: Ingest,
  work: () => Promise<T>,
): Promise<T> {
  await acquire(path, ingest);
  try {
    return await work();
  } finally {
    await unlink(path).catch(() => undefined);
  }
}

async function acquire(path: string, ingest: Ingest): Promise<void> {
  const end = performance.now() + WAIT_MS;
  for (;;) {
    try {
      return await symlink(ingest.name, path);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    const owner = await ownerOf(path);
    if (owner === undefined) continue;
    if (!isAlive(owner)) await breakLock(path, ingest, owner);
    else if (performance.now() > end) {
      throw new RechunkError(
        'io',
        `waiting for ${path}: ${owner} has held it for a minute; remove it if that run is gone`,
      );
    } else await sleep(RETRY_MS);
  }
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
