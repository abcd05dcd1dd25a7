/**
 * A directory tree of this machine read as archive entries: names as bytes, times in nanoseconds, hard-link groups, device
 * numbers. Nothing is followed, skipped or changed; what a layer cannot hold is an error.
 *
 * Other file systems that are mounted below the root are read as part of the tree.
 */
import {
  accessSync,
  type BigIntStats,
  constants,
  lstatSync,
  readdirSync,
  readlinkSync,
} from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, RechunkError } from './errors.ts';
import { joinPath, nameOf, type Path, showPath } from './path.ts';
import { type EntryType, NO_XATTRS, type TarEntry, type Xattrs } from './tar.ts';

/** What a walk found. */
export interface Listing {
  /** The root first, as ''; canonical order; hard links after the first path of their group, with its metadata. */
  readonly entries: readonly TarEntry[];
  /** Directories where another file system is mounted, in order. */
  readonly mounts: readonly Path[];
}

/** What a walk asks for, and what it is told. */
export interface WalkOptions {
  /** Stops the walk between batches of entries. */
  readonly signal?: AbortSignal;
}

/** Entries that are read between two turns of the event loop: some 30 ms. */
const BATCH = 5000;
/** Permission, set-id and sticky bits. */
const MODE_BITS = 0o7777n;
/** Name prefix that layers give a meaning of its own (image-spec v1.1.1, layer.md "Whiteouts"). */
const WHITEOUT = '.wh.';
/** Bytes that a whole path has at most, the final NUL not counted (Linux: PATH_MAX). */
const PATH_LIMIT = 4095;

/** The bytes that name an entry of the tree at `root` to the operating system; both have one char a byte. */
export function localPath(root: string, path: Path): Buffer {
  return Buffer.from(path === '' ? root : `${root === '/' ? '' : root}/${path}`, 'latin1');
}

function typeOf(stat: BigIntStats): EntryType | undefined {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'dir';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isCharacterDevice()) return 'char';
  if (stat.isBlockDevice()) return 'block';
  return stat.isFIFO() ? 'fifo' : undefined;
}

/** Major and minor number as glibc's `gnu_dev_major` and `gnu_dev_minor` cut them. */
function deviceOf(rdev: bigint): { devMajor: number; devMinor: number } {
  return {
    devMajor: Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn)),
    devMinor: Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)),
  };
}

const NO_DEVICE = { devMajor: 0, devMinor: 0 } as const;

/** Walks one tree; holds what has been met so far. */
class Walk {
  readonly entries: TarEntry[] = [];
  readonly mounts: Path[] = [];
  /** The first path of each hard-link group, by device and inode number. */
  readonly #groups = new Map<string, Path>();
  readonly #root: string;
  /** Whether the kernel checks permissions for this process, so that each file must be asked. */
  readonly #asked: boolean = process.geteuid?.() !== 0;

  constructor(root: string) {
    this.#root = root;
  }

  async run(signal: AbortSignal | undefined): Promise<void> {
    const root = this.#stat('' as Path);
    if (!root.isDirectory()) this.#fail('' as Path, 'is no directory');
    const pending: { path: Path; device: bigint }[] = [{ path: '' as Path, device: root.dev }];
    let turn = 0;
    for (let next = pending.pop(); next; next = pending.pop()) {
      const stat = this.#stat(next.path);
      this.#add(next.path, stat);
      if (stat.isDirectory()) {
        if (stat.dev !== next.device) this.mounts.push(next.path);
        const names = this.#names(next.path);
        // Pushed in reverse, popped in order: the entries come out in canonical order.
        for (let i = names.length - 1; i >= 0; i--) {
          pending.push({ path: joinPath(next.path, names[i] as string), device: stat.dev });
        }
      }
      if (++turn % BATCH === 0) {
        await nextTurn();
        signal?.throwIfAborted();
      }
    }
  }

  #fail(path: Path, problem: string): never {
    throw new RechunkError('unsupported', `/${showPath(path)} ${problem}`);
  }

  /** Runs a system call on `path`, naming it as an image would where that fails. */
  #call<T>(path: Path, call: (local: Buffer) => T): T {
    const local = localPath(this.#root, path);
    if (local.length > PATH_LIMIT) {
      throw new RechunkError(
        'limit',
        `/${showPath(path)}: the path has ${local.length} bytes on this machine, at most ${PATH_LIMIT} can be opened`,
      );
    }
    try {
      return call(local);
    } catch (error) {
      const described = describe(`/${showPath(path)}`, error);
      // A name that was listed a moment ago and is gone is no wrong argument: the tree is in use.
      if (path !== '' && described instanceof RechunkError && described.code === 'not-found') {
        throw new RechunkError('io', `/${showPath(path)} went away while the tree was read`, {
          cause: error,
        });
      }
      throw described;
    }
  }

  #stat(path: Path): BigIntStats {
    return this.#call(path, (local) => lstatSync(local, { bigint: true }));
  }

  #names(path: Path): string[] {
    return this.#call(path, (local) => readdirSync(local, { encoding: 'latin1' as 'utf8' })).sort(
      (a, b) => (a < b ? -1 : 1),
    );
  }

  #add(path: Path, stat: BigIntStats): void {
    const type = typeOf(stat);
    if (!type)
      this.#fail(path, 'is a socket, which no layer can hold; stop its server or remove it');
    if (nameOf(path).startsWith(WHITEOUT)) {
      this.#fail(path, "has a name with which layers mark deletions ('.wh.'); rename or remove it");
    }
    if (type === 'file' && this.#asked) {
      this.#call(path, (local) => accessSync(local, constants.R_OK));
    }
    const first = stat.nlink > 1n && type !== 'dir' ? this.#firstOf(path, stat) : path;
    if (first === path) this.entries.push(this.#entry(path, type, stat));
    else this.entries.push({ ...this.#entry(path, 'link', stat), link: first });
  }

  /** The first path of the hard-link group that `path` belongs to. */
  #firstOf(path: Path, stat: BigIntStats): Path {
    const key = `${stat.dev}:${stat.ino}`;
    const first = this.#groups.get(key) ?? path;
    this.#groups.set(key, first);
    return first;
  }

  #entry(path: Path, type: EntryType, stat: BigIntStats): TarEntry {
    const device = type === 'char' || type === 'block' ? deviceOf(stat.rdev) : NO_DEVICE;
    if (type === 'char' && device.devMajor === 0 && device.devMinor === 0) {
      this.#fail(path, 'is a whiteout of overlayfs; give the merged directory, not a layer of it');
    }
    return {
      type,
      path,
      mode: Number(stat.mode & MODE_BITS),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtime: stat.mtimeNs,
      size: type === 'file' ? Number(stat.size) : 0,
      link: type === 'symlink' ? this.#target(path) : '',
      ...device,
      xattrs: NO_XATTRS,
      offset: 0,
    };
  }

  #target(path: Path): string {
    return this.#call(path, (local) => readlinkSync(local, { encoding: 'latin1' as 'utf8' }));
  }
}

/**
 * Lists the directory tree at `root` (an absolute path, one char a byte; no symlink), without xattrs. Throws
 * `unsupported` for sockets and for names and devices that mean a deletion in layers, `io` for what cannot be read;
 * both name the path.
 */
export async function walk(root: string, options: WalkOptions = {}): Promise<Listing> {
  const found = new Walk(root);
  await found.run(options.signal);
  return { entries: found.entries, mounts: found.mounts };
}

/** The entries with the xattrs that `xattrs` has for their paths; a hard link has those of its group. */
export function withXattrs(
  entries: readonly TarEntry[],
  xattrs: ReadonlyMap<string, Xattrs>,
): TarEntry[] {
  const groups = new Map<string, Xattrs>();
  for (const { type, path, link } of entries) {
    const own = xattrs.get(path);
    if (type === 'link' && own && !groups.has(link)) groups.set(link, own);
  }
  return entries.map((entry) => {
    const first = entry.type === 'link' ? entry.link : entry.path;
    const found = xattrs.get(first) ?? groups.get(first);
    return found ? { ...entry, xattrs: found } : entry;
  });
}
