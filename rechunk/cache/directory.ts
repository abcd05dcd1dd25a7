/**
 * A cache directory: files by kind and key, each sealed with a digest of its kind, key and content. Files are written under a private name
 * and renamed, so that any number of runs may use the directory and be killed at any moment; no lock is held. What is
 * damaged counts as missing and is removed, and what cannot be written is not: a cache never fails a run.
 *
 * Whoever can write here can change what is built, so the directory belongs to this user and is made private (0700); where others may
 * have written it is not used, with a notice. Only files of the form that is written here are ever removed.
 */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, lstatSync, openSync, renameSync, unlinkSync } from 'node:fs';
import {
  chmod,
  copyFile,
  link,
  readdir,
  readFile,
  rename,
  stat,
  unlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { RechunkError, systemCode } from '../../registry/errors.ts';
import { type Ingest, makeDirectories, makeIngest } from '../../registry/ingest.ts';
import { writeFully } from '../files.ts';

/** Where a cache lies, and how large it may get. */
export interface DirectoryOptions {
  readonly directory: string;
  /** Bytes on disk that it may take when a run ends. */
  readonly limit: number;
  /** Of the program: what other versions wrote is not read. */
  readonly version: string;
  /** Whether nobody named it: a directory in its place that holds something else is no error then. */
  readonly isDefault?: boolean | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A file of the cache while it is written; what is not committed is gone with the run. */
export interface CacheFile {
  /** The bytes must not change afterwards. */
  append(bytes: Uint8Array): void;
  /** Makes the file what is read under `key`; nothing is done with it afterwards. */
  commit(key: string): void;
  discard(): void;
}

/** Form of the files; another number for every change. */
const FORMAT = 1;
const SEAL_BYTES = 32;
/** What a file takes at least, and in steps of, on usual file systems. */
const BLOCK_BYTES = 4096;
const OWNER_ALL = 0o700;
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;
const KEY = /^[a-z0-9][a-z0-9.-]{0,199}$/;
const GENERATION = /^rechunk-\d+-[\w.+-]+$/;
const UNFINISHED = 'unfinished-';
/** Bytes that are gathered before they are written. */
const WRITE_BYTES = 1 << 18;

/** Tells backup programs to leave the directory out, and this program that it is a cache (https://bford.info/cachedir/). */
const TAG_FILE = 'CACHEDIR.TAG';
const TAG = 'Signature: 8a477f597d28d172789f06886806bc55';
const TAG_TEXT = `${TAG}\n# Written by rechunk; see its README. All of it can be removed at any time.\n`;

/** Files by kind and key; `close` removes what is too much, the least recently used first. */
export class CacheDirectory {
  readonly #options: DirectoryOptions;
  readonly #generation: string;
  readonly #ingest: Ingest;
  readonly #onNotice: (notice: string) => void;
  readonly #kinds: ReadonlySet<string>;
  readonly #spare: ReadonlySet<string>;
  #isFull = false;
  #isChanged = false;
  /** Bytes of files that this run kept. */
  #kept = 0;

  private constructor(
    options: DirectoryOptions,
    generation: string,
    { kinds, spare }: { readonly kinds: readonly string[]; readonly spare: readonly string[] },
    ingest: Ingest,
    onNotice: (notice: string) => void,
  ) {
    this.#options = options;
    this.#generation = generation;
    this.#kinds = new Set(kinds);
    this.#spare = new Set(spare);
    this.#ingest = ingest;
    this.#onNotice = onNotice;
  }

  /**
   * Opens the cache, which is made where there is none, for files of `kinds`, of which those in `spare` are the first to go;
   * undefined, with a notice, where it cannot be used. Throws `usage` for a directory that somebody named and that holds something
   * else.
   */
  static async open(
    options: DirectoryOptions,
    {
      kinds,
      spare = [],
    }: { readonly kinds: readonly string[]; readonly spare?: readonly string[] },
    onNotice: (notice: string) => void,
  ): Promise<CacheDirectory | undefined> {
    const { directory, version } = options;
    try {
      const problem = await claim(options);
      if (problem !== undefined) {
        onNotice(`the cache ${directory} is not used: ${problem}`);
        return undefined;
      }
      const generation = join(directory, `rechunk-${FORMAT}-${version}`);
      for (const kind of kinds) await makeDirectories(join(generation, kind));
      const ingest = await makeIngest(directory, UNFINISHED);
      return new CacheDirectory(options, generation, { kinds, spare }, ingest, onNotice);
    } catch (error) {
      const code = systemCode(error);
      if (code === undefined || error instanceof RechunkError) throw error;
      onNotice(`the cache ${directory} is not used: ${code}`);
      return undefined;
    }
  }

  #path(kind: string, key: string): string {
    if (!this.#kinds.has(kind) || !KEY.test(key)) throw new Error(`no cache key: ${kind} ${key}`);
    return join(this.#generation, kind, key);
  }

  /** What was committed under `key`, now used; undefined where there is nothing, or what is there is damaged. */
  async read(kind: string, key: string): Promise<Buffer | undefined> {
    const path = this.#path(kind, key);
    let bytes: Buffer;
    try {
      bytes = await readFile(path);
    } catch {
      return undefined;
    }
    const content = bytes.subarray(0, Math.max(0, bytes.length - SEAL_BYTES));
    const seal = sealOf(createHash('sha256').update(content), kind, key);
    if (!bytes.subarray(content.length).equals(seal)) {
      this.#isChanged = true;
      await unlink(path).catch(() => undefined);
      return undefined;
    }
    const now = this.#options.now() / MS_PER_SECOND;
    await utimes(path, now, now).catch(() => undefined);
    return content;
  }

  /** Where the file lies that was kept under `key`, now used; its content is not checked. Undefined where there is none. */
  async locate(kind: string, key: string): Promise<string | undefined> {
    const path = this.#path(kind, key);
    const now = this.#options.now() / MS_PER_SECOND;
    return utimes(path, now, now).then(
      () => path,
      () => undefined,
    );
  }

  /**
   * Keeps the file at `path`, which must not change afterwards: as another name of it where that can be, else as a copy. What one
   * run keeps stays within the limit, also before it ends: the rest is not kept.
   */
  async keep(kind: string, key: string, path: string): Promise<void> {
    const own = this.#ingest.newPath();
    try {
      if (this.#isFull) return;
      const { size } = await stat(path);
      if (this.#kept + size > this.#options.limit) return;
      this.#kept += size;
      await link(path, own).catch(() => copyFile(path, own, constants.COPYFILE_FICLONE));
      await rename(own, this.#path(kind, key));
      this.#isChanged = true;
    } catch (error) {
      this.#stop(error);
    }
  }

  /** Removes what was kept or written under `key`. */
  async remove(kind: string, key: string): Promise<void> {
    await unlink(this.#path(kind, key)).catch(() => undefined);
  }

  /** Stores `bytes`, which are small. */
  write(kind: string, key: string, bytes: Uint8Array): void {
    const file = this.create(kind);
    file.append(bytes);
    file.commit(key);
  }

  /** Begins a file; it is made when there is something to write. */
  create(kind: string): CacheFile {
    const file = new PrivateFile(this.#ingest.newPath());
    const attempt = (work: () => void): void => {
      try {
        if (this.#isFull) file.discard();
        else work();
      } catch (error) {
        this.#stop(error);
        file.discard();
      }
    };
    const commit = (key: string): void => {
      file.append(sealOf(file.hash, kind, key));
      file.moveTo(this.#path(kind, key));
      this.#isChanged = true;
    };
    return {
      append: (bytes) => attempt(() => file.append(bytes)),
      commit: (key) => attempt(() => commit(key)),
      discard: () => file.discard(),
    };
  }

  /** Nothing more is written: the disk is full, or read-only. */
  #stop(error: unknown): void {
    const code = systemCode(error);
    if (code === undefined) throw error;
    this.#isFull = true;
    this.#onNotice(`the cache ${this.#options.directory} cannot be written: ${code}`);
  }

  /** Ends the use of the cache: what was not committed goes, and where something was written, what is too much. */
  async close(): Promise<void> {
    await this.#ingest.remove();
    if (this.#isChanged) await trim(this.#options, this.#spare).catch(() => undefined);
  }
}

/** A file under a name of its own, digested as it is written. */
class PrivateFile {
  readonly hash: Hash = createHash('sha256');
  readonly #path: string;
  #fd: number | undefined;
  #waiting: Uint8Array[] = [];
  #bytes = 0;

  constructor(path: string) {
    this.#path = path;
  }

  append(bytes: Uint8Array): void {
    this.hash.update(bytes);
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
    if (this.#bytes >= WRITE_BYTES) this.#flush();
  }

  #flush(): void {
    this.#fd ??= openSync(this.#path, 'wx', 0o600);
    writeFully(this.#fd, Buffer.concat(this.#waiting));
    this.#waiting = [];
    this.#bytes = 0;
  }

  moveTo(path: string): void {
    this.#flush();
    this.#close();
    renameSync(this.#path, path);
  }

  discard(): void {
    if (this.#close()) unlinkSync(this.#path);
    this.#waiting = [];
  }

  /** Whether it was open. */
  #close(): boolean {
    if (this.#fd === undefined) return false;
    closeSync(this.#fd);
    this.#fd = undefined;
    return true;
  }
}

const MS_PER_SECOND = 1000;

function sealOf(hash: Hash, kind: string, key: string): Buffer {
  return hash.copy().update(`\0${kind}\0${key}`).digest();
}

/** Makes `directory` a cache, or finds that it is one; what is wrong with it otherwise. */
async function claim({ directory, isDefault }: DirectoryOptions): Promise<string | undefined> {
  await makeDirectories(directory);
  const names = await readdir(directory);
  const found = await stat(directory);
  const user = process.getuid?.() ?? found.uid;
  if (found.uid !== user) return `it belongs to user ${found.uid}, want ${user}`;
  if (names.length > 0 && !names.includes(TAG_FILE)) {
    const other = `it holds something else, want a directory of its own (with a ${TAG_FILE}, or empty)`;
    if (isDefault) return other;
    throw new RechunkError('usage', `--cache ${directory}: ${other}`);
  }
  if ((found.mode & OTHERS) !== 0) {
    const exposed = names.length > 0 ? await findExposed(directory) : undefined;
    if (exposed !== undefined)
      return `others may write to ${exposed}; if nobody did, \`chmod 700 ${directory}\``;
    await chmod(directory, OWNER_ALL);
  }
  const tag = join(directory, TAG_FILE);
  if (names.length === 0) await writeFile(tag, TAG_TEXT);
  return undefined;
}

/** A directory or file that others may write to, if there is one: `directory`, or what is in it. */
async function findExposed(directory: string): Promise<string | undefined> {
  const names = await readdir(directory, { recursive: true });
  return ['', ...names]
    .map((name) => join(directory, name))
    .find((path) => {
      const found = lstatSync(path, { throwIfNoEntry: false });
      return found && !found.isSymbolicLink() && (found.mode & OTHERS_WRITE) !== 0;
    });
}

/** A file of the cache, of any version of the program. */
interface CachedFile {
  readonly path: string;
  readonly size: number;
  readonly usedMs: number;
}

/** Removes the least recently used files until the rest takes no more than the limit; those of the kinds `first` before all others. */
async function trim(
  { directory, limit }: DirectoryOptions,
  first: ReadonlySet<string>,
): Promise<void> {
  const files = await listFiles(directory);
  const order = (file: CachedFile): number => (first.has(basename(dirname(file.path))) ? 1 : 0);
  files.sort((a, b) => order(a) - order(b) || b.usedMs - a.usedMs || (a.path < b.path ? -1 : 1));
  let total = 0;
  for (const { path, size } of files) {
    total += size;
    if (total > limit) await unlink(path).catch(() => undefined);
  }
}

async function listFiles(directory: string): Promise<CachedFile[]> {
  const files: CachedFile[] = [];
  for (const generation of await readdir(directory)) {
    if (!GENERATION.test(generation)) continue;
    for (const kind of await readdir(join(directory, generation))) {
      const below = join(directory, generation, kind);
      for (const key of await readdir(below).catch(() => [])) {
        if (KEY.test(key)) files.push(...describeFile(join(below, key)));
      }
    }
  }
  return files;
}

/** Nothing where it is gone, or no file. */
function describeFile(path: string): CachedFile[] {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found?.isFile()) return [];
  const size = Math.ceil(found.size / BLOCK_BYTES) * BLOCK_BYTES;
  return [{ path, size, usedMs: found.mtimeMs }];
}
