/**
 * One file system: the layers of an image flattened, or the tree that a rechunked image should have.
 *
 * Names (entries) and what they name (inodes) are apart, as in a file system: the names of a hard-link group share one
 * {@link Inode}. Content is not held but pointed at ({@link Body}), so memory grows with the number of entries only.
 */
import { RechunkError } from '../registry/errors.ts';
import { comparePaths, joinPath, type Path, parentOf, showPath } from '../registry/path.ts';
import { type EntryType, type Extent, NO_XATTRS, type Xattrs } from '../registry/tar.ts';

/** What a name can stand for; hard links are names of the same inode, no type of their own. */
export type InodeType = Exclude<EntryType, 'link'>;

/** Where content lies: an open file (by descriptor, shared by all threads) or a path on this machine. */
export interface Body {
  /** A file descriptor number, or an absolute path with one char a byte. */
  readonly file: number | string;
  /** Where the content begins in the file, bytes; of a sparse body see `extents`. */
  readonly offset: number;
  /** The data of a sparse body, ascending; offsets are in the file. */
  readonly extents?: readonly Extent[];
}

/** A file, directory, link or device, without its names. */
export interface Inode {
  readonly type: InodeType;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  /** Bytes of content, holes included; 0 unless a file. */
  readonly size: number;
  /** A symlink's target, verbatim, one char a byte; else ''. */
  readonly target: string;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: Xattrs;
  /** sha256 of the content, lower-case hex; '' unless a file. */
  readonly sha256: string;
  /** Absent where there is no content. */
  readonly body?: Body | undefined;
  /** Which input layer it came from, 0 the lowest; -1 for a directory that no layer defines. */
  readonly layer: number;
  /** Of a directory: a layer above the one that defines it implies it, or delegates its metadata, so that many runtimes show something else. */
  readonly isShadowed?: boolean;
}

/** What an inode has that nothing says anything of: root's, of no time, empty. */
export const BLANK: Omit<Inode, 'type' | 'mode' | 'layer'> = {
  uid: 0,
  gid: 0,
  mtime: 0n,
  size: 0,
  target: '',
  devMajor: 0,
  devMinor: 0,
  xattrs: NO_XATTRS,
  sha256: '',
};

/** Whether an image has an entry for `path`: a directory that no layer defines is still there, but a root that none defines is not. */
export function isDefined(path: Path, { layer }: Inode): boolean {
  return path !== '' || layer >= 0;
}

/** A name and what it stands for. */
export interface Entry {
  readonly path: Path;
  readonly inode: Inode;
}

/** Whether all but content, names and time is equal; of content the size is asked. */
export function isAlike(a: Inode, b: Inode): boolean {
  return (
    a.type === b.type &&
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.size === b.size &&
    a.target === b.target &&
    a.devMajor === b.devMajor &&
    a.devMinor === b.devMinor &&
    haveSameXattrs(a.xattrs, b.xattrs)
  );
}

function haveSameXattrs(a: Xattrs, b: Xattrs): boolean {
  if (a.size !== b.size) return false;
  return [...a].every(([name, value]) => {
    const other = b.get(name);
    return other !== undefined && Buffer.compare(value, other) === 0;
  });
}

/** Bytes of content that `entries` have, each hard-link group once. */
export function contentSize(entries: Iterable<Entry>): number {
  const counted = new Set<Inode>();
  let sum = 0;
  for (const { inode } of entries) {
    if (inode.size === 0 || counted.has(inode)) continue;
    counted.add(inode);
    sum += inode.size;
  }
  return sum;
}

/** The files that content of `entries` lies in, each once; `locate` says where an inode's does, default its own body. */
export function filesOf(
  entries: readonly Entry[],
  locate: (inode: Inode) => Body | undefined = ({ body }) => body,
): ReadonlySet<Body['file']> {
  const files = new Set<Body['file']>();
  for (const { inode } of entries) {
    const body = locate(inode);
    if (body) files.add(body.file);
  }
  return files;
}

/** Digest algorithms that package databases use, besides sha256 which every inode has. */
export type FileDigest = 'md5' | 'sha1' | 'sha384' | 'sha512';

/** Reads content for a {@link Tree}; given by whoever made it. */
export interface Contents {
  /** The content of a file inode: its first `limit` bytes, or all of it. */
  read(inode: Inode, limit?: number): Promise<Buffer>;
  /** Lower-case hex digests, in the order of `inodes`, '' for one that cannot be had; reads each body once, on all threads. */
  digests(algorithm: FileDigest, inodes: readonly Inode[]): Promise<string[]>;
}

/** Largest file that is read whole (package databases, manifests of packages), bytes. */
export const READ_LIMIT: number = 512 << 20;
/** Longest chain of symlinks that is followed (Linux: MAXSYMLINKS). */
const SYMLINK_HOPS = 40;

/**
 * The path that `path` stands for once the symlinks among its parents are followed, where `get` gives what is at a path; the last
 * part is followed only with `follow: 'all'`. Undefined when a parent is missing or no directory, or for a loop.
 */
export function resolvePath(
  get: (path: Path) => Inode | undefined,
  path: string,
  follow: 'parents' | 'all',
): Path | undefined {
  const pending = path.split('/').reverse();
  let at = '' as Path;
  let hops = 0;
  while (pending.length > 0) {
    const part = pending.pop() as string;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      at = parentOf(at);
      continue;
    }
    const next = joinPath(at, part);
    const inode = get(next);
    const last = pending.every((rest) => rest === '' || rest === '.');
    if (inode?.type === 'symlink' && (!last || follow === 'all')) {
      if (++hops > SYMLINK_HOPS) return undefined;
      if (inode.target.startsWith('/')) at = '' as Path;
      pending.push(...inode.target.split('/').reverse());
      continue;
    }
    if (!last && inode?.type !== 'dir') return undefined;
    if (follow === 'all' && !inode) return undefined;
    at = next;
  }
  return at;
}

/** `entries` in canonical order; that order costs nothing where they have it, as most have. */
function inOrder(entries: Iterable<Entry>): readonly Entry[] {
  const list = [...entries];
  const isSorted = list.every(({ path }, i) => {
    const before = list[i - 1];
    return before === undefined || comparePaths(before.path, path) < 0;
  });
  return isSorted ? list : list.sort((a, b) => comparePaths(a.path, b.path));
}

/** The names of a tree, which trees of other inodes may have too. */
interface Names {
  /** Where in the tree's entries each is. */
  readonly positions: ReadonlyMap<Path, number>;
  /** By directory; made when it is first asked for. */
  children?: ReadonlyMap<Path, readonly Path[]>;
  /** Those of one inode, where it has several; found when they are first asked for. */
  groups?: readonly (readonly Path[])[];
}

function positionsOf(entries: readonly Entry[]): Map<Path, number> {
  const positions = new Map<Path, number>();
  for (const [i, { path }] of entries.entries()) positions.set(path, i);
  return positions;
}

function groupsOf(entries: readonly Entry[]): readonly (readonly Path[])[] {
  const seen = new Set<Inode>();
  const names = new Map<Inode, Path[]>();
  for (const { inode } of entries) {
    if (inode.type === 'dir') continue;
    if (seen.has(inode)) names.set(inode, []);
    else seen.add(inode);
  }
  if (names.size > 0) for (const { path, inode } of entries) names.get(inode)?.push(path);
  return [...names.values()];
}

function childrenOf(entries: readonly Entry[]): Map<Path, Path[]> {
  const children = new Map<Path, Path[]>();
  for (const { path } of entries) {
    if (path === '') continue;
    const parent = parentOf(path);
    const siblings = children.get(parent);
    if (siblings) siblings.push(path);
    else children.set(parent, [path]);
  }
  return children;
}

/** A file system, immutable. Entries are in canonical order: parents first, siblings bytewise. */
export class Tree {
  readonly entries: readonly Entry[];
  readonly #names: Names;
  readonly #contents: Contents;
  /** Digests that are asked for ahead. */
  readonly #ahead = new Map<FileDigest, Promise<ReadonlyMap<Inode, string>>>();
  #links: ReadonlyMap<Inode, readonly Path[]> | undefined;

  /** `entries` may come in any order, each path once; every ancestor of an entry must be there and be a directory. */
  constructor(entries: Iterable<Entry>, contents: Contents);
  /** `entries` are in canonical order, and have just these `names`. */
  constructor(entries: readonly Entry[], contents: Contents, names: Names | 'in order');
  constructor(entries: Iterable<Entry>, contents: Contents, names?: Names | 'in order') {
    this.entries = names ? (entries as readonly Entry[]) : inOrder(entries);
    this.#names = typeof names === 'object' ? names : { positions: positionsOf(this.entries) };
    this.#contents = contents;
  }

  /** What `path` itself names: a symlink is not followed, but neither are symlinks among its parents. */
  get(path: Path): Inode | undefined {
    const position = this.#names.positions.get(path);
    return position === undefined ? undefined : this.entries[position]?.inode;
  }

  /** The paths directly below a directory, in canonical order. */
  list(directory: Path): readonly Path[] {
    this.#names.children ??= childrenOf(this.entries);
    return this.#names.children.get(directory) ?? [];
  }

  /** Hard-link groups: inodes with more than one name, and their names in canonical order. */
  get links(): ReadonlyMap<Inode, readonly Path[]> {
    if (!this.#links) {
      this.#names.groups ??= groupsOf(this.entries);
      const inodeOf = ([first]: readonly Path[]): Inode => this.get(first as Path) as Inode;
      this.#links = new Map(this.#names.groups.map((names) => [inodeOf(names), names]));
    }
    return this.#links;
  }

  /** `entries` of the tree, in their order, without the further names of a hard-link group. */
  distinct(entries: readonly Entry[]): readonly Entry[] {
    if (this.links.size === 0) return entries;
    const seen = new Set<Inode>();
    return entries.filter(({ inode }) => {
      if (seen.has(inode)) return false;
      if (this.links.has(inode)) seen.add(inode);
      return true;
    });
  }

  /**
   * The path that `path` stands for once the symlinks among its parents are followed within this tree; the last part is
   * followed only with `follow: 'all'`. Undefined when a parent is missing or no directory, or for a loop.
   */
  resolve(path: string, follow: 'parents' | 'all' = 'parents'): Path | undefined {
    return resolvePath((at) => this.get(at), path, follow);
  }

  /** Reads the regular file at `path`, following symlinks; undefined when there is none. */
  async read(path: string): Promise<Buffer | undefined> {
    const resolved = this.resolve(path, 'all');
    const inode = resolved === undefined ? undefined : this.get(resolved);
    if (inode?.type !== 'file') return undefined;
    if (inode.size > READ_LIMIT) {
      throw new RechunkError(
        'limit',
        `reading /${showPath(path)}: it has ${inode.size} bytes, at most ${READ_LIMIT} are read`,
      );
    }
    return this.#contents.read(inode);
  }

  /** The first `limit` bytes of a file's content, or all of it where that is less. */
  readInode(inode: Inode, limit: number): Promise<Buffer> {
    return this.#contents.read(inode, limit);
  }

  /** A tree of other entries whose content is read in the same way. */
  with(entries: Iterable<Entry>): Tree {
    return new Tree(entries, this.#contents);
  }

  /**
   * The tree with the same names and with what `change` gives for each inode: the same one, or another for each; the same tree where
   * nothing changes. What is found out about the names is found for both.
   */
  map(change: (inode: Inode) => Inode): Tree {
    const changed = new Map<Inode, Inode>();
    const entries = this.entries.map((entry): Entry => {
      const inode = changed.get(entry.inode) ?? change(entry.inode);
      if (inode === entry.inode) return entry;
      changed.set(entry.inode, inode);
      return { path: entry.path, inode };
    });
    return changed.size === 0 ? this : new Tree(entries, this.#contents, this.#names);
  }

  /** Lower-case hex digests of file inodes, in their order, as {@link Contents.digests} gives them; each body is read once, on all threads. */
  async digests(algorithm: FileDigest, inodes: readonly Inode[]): Promise<string[]> {
    const known = await this.#ahead.get(algorithm);
    this.#ahead.delete(algorithm);
    if (!known) return this.#contents.digests(algorithm, inodes);
    const missing = inodes.filter((inode) => !known.has(inode));
    const rest = (await this.#contents.digests(algorithm, missing)).values();
    return inodes.map((inode) => known.get(inode) ?? (rest.next().value as string));
  }

  /**
   * Begins with digests that {@link digests} will be asked for, while the caller has more to do; what fails fails there. Whoever does not
   * come to ask waits until all is {@link settled}.
   */
  digestAhead(algorithm: FileDigest, inodes: readonly Inode[]): void {
    const known = this.#contents
      .digests(algorithm, inodes)
      .then((all) => new Map(inodes.map((inode, i) => [inode, all[i] as string])));
    this.#ahead.set(algorithm, known);
    // Who asks for them is told.
    known.catch(() => {});
  }

  /** When nothing is digested ahead any more; never rejects. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#ahead.values());
  }
}
