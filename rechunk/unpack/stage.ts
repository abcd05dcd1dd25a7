/** A directory tree that becomes visible whole or not at all: made beside its place, renamed at the end. */
import { chmod, mkdir, readdir, rename, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { RechunkError, systemCode } from '../../registry/errors.ts';
import { type Ingest, makeDirectories, makeIngest } from '../../registry/ingest.ts';

/** What the names of unfinished trees begin with. */
const PREFIX = '.rechunk-unpack-';
/** Not for other users, or they could run what an image has set-user-id root. */
const MODE = 0o700;

/** Throws `exists` unless `target` is absent or an empty directory. */
async function checkTarget(target: string): Promise<void> {
  try {
    const names = await readdir(target);
    if (names.length === 0) return;
    throw new RechunkError('exists', `${target} is not empty: it has ${names[0]}`);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    if (systemCode(error) !== 'ENOTDIR') throw error;
    throw new RechunkError('exists', `${target} is no directory`, { cause: error });
  }
}

/**
 * Runs `work` with a new empty directory, which then becomes `target`. Nothing is left where it fails; what a killed run left
 * beside `target` is removed. Throws `exists` where `target` is neither absent nor an empty directory.
 */
export async function withStage<T>(
  target: string,
  work: (directory: string) => Promise<T>,
): Promise<T> {
  const place = resolve(target);
  await checkTarget(place);
  const parent = dirname(place);
  const made = await makeDirectories(parent);
  let ingest: Ingest | undefined;
  try {
    ingest = await makeIngest(parent, PREFIX);
    const directory = join(ingest.directory, 'tree');
    await mkdir(directory);
    const result = await work(directory);
    await publish(directory, place);
    return result;
  } catch (error) {
    await ingest?.remove();
    if (made) await removeEmpty(parent, made);
    throw error;
  } finally {
    await ingest?.remove();
  }
}

async function publish(directory: string, place: string): Promise<void> {
  // An empty directory that is there gives way, and keeps its mode.
  const known = await stat(place).catch(() => undefined);
  await chmod(directory, known ? known.mode & 0o7777 : MODE);
  try {
    await rename(directory, place);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR')
      throw new RechunkError('exists', `${place} was made meanwhile`, { cause: error });
    if (code !== 'EBUSY') throw error;
    throw new RechunkError('exists', `${place} is a mount point; name a new directory in it`, {
      cause: error,
    });
  }
}

/** Removes `directory` and its parents up to `topmost`, while they are empty. */
async function removeEmpty(directory: string, topmost: string): Promise<void> {
  for (let at = directory; at.length >= topmost.length; at = dirname(at)) {
    try {
      await rmdir(at);
    } catch {
      return;
    }
  }
}
