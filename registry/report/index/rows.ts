/**
 * One layer's entries in columns, as the index keeps them: what the layer's tar (or its table of contents) says, each path as
 * unpacking the layer alone would place it. Hard links have their target's content, what is replaced within the layer is marked, and
 * directories that the layer lacks an entry for are rows of their own, so that queries need no walk through a tree.
 */
import { hash } from 'node:crypto';
import { RechunkError } from '../../errors.ts';
import { ancestorsOf, joinPath, nameOf, type Path, parentOf, showPath } from '../../path.ts';
import type { Xattrs } from '../../tar.ts';
import { digestPath } from './pathdigest.ts';
import { PathRows } from './pathrows.ts';
import { DIGEST_SIZE, digestRecords, type Numbers, wordsOf } from './records.ts';

/** What a row is; its number is the place in this list. `link` is a hard link, `implied` a directory without an entry. */
export const KINDS: readonly string[] = [
  ...['file', 'link', 'symlink', 'dir', 'char', 'block', 'fifo'],
  ...['whiteout', 'opaque', 'implied'],
];

const kindOf = (name: string): number => KINDS.indexOf(name);
const [FILE, LINK, SYMLINK, CHAR] = ['file', 'link', 'symlink', 'char'].map(kindOf) as [
  number,
  number,
  number,
  number,
];
const [WHITEOUT, OPAQUE, IMPLIED] = ['whiteout', 'opaque', 'implied'].map(kindOf) as [
  number,
  number,
  number,
];

/** Longest chain of symlinks that is followed within a layer, as in `flatten`. */
const SYMLINK_HOPS = 40;
const WHITEOUT_PREFIX = '.wh.';
const OPAQUE_NAME = '.wh..wh..opq';
/** Other aufs bookkeeping, never content. */
const AUFS_PREFIX = '.wh..wh.';
const NO_DIGEST: Buffer = Buffer.alloc(DIGEST_SIZE);
const DEVICE_SHIFT = 2 ** 32;

/** One entry as it is added. */
export interface RowEntry {
  readonly type: 'file' | 'link' | 'symlink' | 'dir' | 'char' | 'block' | 'fifo';
  readonly path: Path;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the epoch, and nanoseconds (0 to 999,999,999) after them. */
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly size: number;
  /** As in `TarEntry`. */
  readonly link: string;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: Xattrs;
}

function grown<T extends Numbers>(old: T, length: number): T {
  const made = new (old.constructor as new (length: number) => T)(length);
  made.set(old);
  return made;
}

const NS_PER_SECOND = 1_000_000_000n;

/** An entry's time in whole seconds and the nanoseconds after them. */
export function splitTime(ns: bigint): { readonly seconds: number; readonly nanoseconds: number } {
  const nanoseconds = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  return { seconds: Number((ns - nanoseconds) / NS_PER_SECOND), nanoseconds: Number(nanoseconds) };
}

/** Seconds and device numbers that are indexed: whole numbers that a double holds. */
const isExact = (number: number): boolean => Math.abs(number) <= Number.MAX_SAFE_INTEGER;

/** `entry`; throws `limit` where its time or its device number is none that a table of the index holds. */
export function checkRow(entry: RowEntry): RowEntry {
  const { path, seconds, devMajor, devMinor } = entry;
  const isDevice = devMinor < DEVICE_SHIFT && isExact(devMajor * DEVICE_SHIFT + devMinor);
  if (isDevice && isExact(seconds)) return entry;
  const found = isDevice ? `a time of ${seconds} s` : `device ${devMajor}:${devMinor}`;
  throw new RechunkError('limit', `got ${found} of "${showPath(path)}", which is not indexed`);
}

const FIRST_ROWS = 1 << 10;

/** The rows of one layer. Add entries in the archive's order, then call `finish` once. */
export class LayerRows {
  /** Rows so far. */
  length = 0;
  /** Of the content (`file`, `link`), 32 bytes a row; zeros for none. */
  files: Buffer = Buffer.alloc(FIRST_ROWS * DIGEST_SIZE);
  /** Of the path's bytes, 32 bytes a row. */
  paths: Buffer = Buffer.alloc(FIRST_ROWS * DIGEST_SIZE);
  /** Of the link's target (`link`, `symlink`) and of the xattrs, 32 bytes a row; zeros for none. */
  links: Buffer = Buffer.alloc(FIRST_ROWS * DIGEST_SIZE);
  xattrs: Buffer = Buffer.alloc(FIRST_ROWS * DIGEST_SIZE);
  kind: Uint8Array<ArrayBuffer> = new Uint8Array(FIRST_ROWS);
  /** 1 where a later entry of the layer takes the path. */
  superseded: Uint8Array<ArrayBuffer> = new Uint8Array(FIRST_ROWS);
  mode: Int32Array<ArrayBuffer> = new Int32Array(FIRST_ROWS);
  nanoseconds: Int32Array<ArrayBuffer> = new Int32Array(FIRST_ROWS);
  size: Float64Array<ArrayBuffer> = new Float64Array(FIRST_ROWS);
  uid: Float64Array<ArrayBuffer> = new Float64Array(FIRST_ROWS);
  gid: Float64Array<ArrayBuffer> = new Float64Array(FIRST_ROWS);
  seconds: Float64Array<ArrayBuffer> = new Float64Array(FIRST_ROWS);
  /** Major number * 2^32 + minor number. */
  device: Float64Array<ArrayBuffer> = new Float64Array(FIRST_ROWS);
  /** By row: path and link target, one char a byte. */
  readonly pathText: string[] = [];
  readonly linkText: string[] = [];
  /** By row, where there are any. */
  readonly xattrSets: Map<number, Xattrs> = new Map();
  /** Of all that is not replaced within the layer: kinds, paths and contents; and those with all metadata. Set by `finish`. */
  treeDigest: Buffer = NO_DIGEST;
  metadataDigest: Buffer = NO_DIGEST;

  #capacity: number = FIRST_ROWS;
  /** `paths` in words. */
  #pathWords: Uint32Array = wordsOf(this.paths);
  /** The row that holds each path; markers apart. */
  readonly #rows = new PathRows();
  /** Paths that a directory holds by now. */
  readonly #directories = new Set<string>();
  readonly #markers = new Map<string, number>();
  readonly #symlinks = new Map<string, string>();

  /** Adds an entry; `digest` is that of a file's content. */
  add(entry: RowEntry, digest: Buffer = NO_DIGEST): void {
    const path = this.#place(entry.path);
    const name = path.includes(WHITEOUT_PREFIX) ? nameOf(path) : '';
    const isDeviceWhiteout = entry.type === 'char' && !entry.devMajor && !entry.devMinor;
    if (name === OPAQUE_NAME) this.#addMarker(OPAQUE, parentOf(path), entry);
    else if (name.startsWith(AUFS_PREFIX)) return;
    else if (name.startsWith(WHITEOUT_PREFIX) && name !== WHITEOUT_PREFIX)
      this.#addMarker(
        WHITEOUT,
        joinPath(parentOf(path), name.slice(WHITEOUT_PREFIX.length)),
        entry,
      );
    else if (isDeviceWhiteout) this.#addMarker(WHITEOUT, path, entry);
    else this.#addPath(path, entry, digest);
  }

  /** Completes the layer. */
  finish(): void {
    this.#imply();
    const order = this.#order();
    this.treeDigest = this.#digest(order, 'tree');
    const metadata = [this.treeDigest, this.#digest(order, 'metadata')];
    this.metadataDigest = hash('sha256', Buffer.concat(metadata), 'buffer');
    this.#directories.clear();
    this.#markers.clear();
    this.#symlinks.clear();
  }

  #addMarker(kind: number, path: Path, entry: RowEntry): void {
    const key = joinKey(kind, path);
    const known = this.#markers.get(key);
    if (known !== undefined) this.superseded[known] = 1;
    this.#markers.set(key, this.length);
    this.#begin(path);
    this.#push(kind, path, { ...entry, size: 0, link: '' }, NO_DIGEST);
  }

  #addPath(path: Path, entry: RowEntry, digest: Buffer): void {
    this.#begin(path);
    const known = this.#rows.put(this.#pathWords, this.length);
    if (known >= 0) {
      this.superseded[known] = 1;
      this.#directories.delete(path);
    }
    if (entry.type === 'dir') this.#directories.add(path);
    if (this.#symlinks.size > 0) this.#symlinks.delete(path);
    if (entry.type === 'symlink') this.#symlinks.set(path, entry.link);
    const kind = kindOf(entry.type);
    if (kind !== LINK) this.#push(kind, path, entry, digest);
    else this.#addLink(path, entry);
  }

  /** A hard link has its target's content, if that lies in the layer. */
  #addLink(path: Path, entry: RowEntry): void {
    const target = this.#place(entry.link as Path);
    digestPath(target, KEY);
    const row = this.#rows.find(this.#pathWords, KEY_WORDS);
    const at = row * DIGEST_SIZE;
    const isThere = row >= 0 && row !== this.length;
    const digest = isThere ? this.files.subarray(at, at + DIGEST_SIZE) : NO_DIGEST;
    const size = isThere ? (this.size[row] as number) : 0;
    this.#push(LINK, path, { ...entry, link: target, size }, digest);
  }

  /** Makes room for the next row, and notes its path's digest. */
  #begin(path: string): void {
    if (this.length === this.#capacity) this.#grow();
    digestPath(path, this.paths, this.length * DIGEST_SIZE);
  }

  /** Adds the row that was begun. */
  #push(kind: number, path: string, entry: RowEntry, digest: Buffer): void {
    const row = this.length++;
    const at = row * DIGEST_SIZE;
    if (digest !== NO_DIGEST) this.files.set(digest, at);
    const isLink = kind === LINK || kind === SYMLINK;
    if (isLink) digestPath(entry.link, this.links, at);
    if (entry.xattrs.size > 0) {
      digestXattrs(entry.xattrs).copy(this.xattrs, at);
      this.xattrSets.set(row, entry.xattrs);
    }
    this.kind[row] = kind;
    this.mode[row] = entry.mode;
    this.nanoseconds[row] = entry.nanoseconds;
    this.size[row] = kind === FILE || kind === LINK ? entry.size : 0;
    this.uid[row] = entry.uid;
    this.gid[row] = entry.gid;
    this.seconds[row] = entry.seconds;
    this.device[row] = kind >= CHAR ? entry.devMajor * DEVICE_SHIFT + entry.devMinor : 0;
    this.pathText[row] = path;
    this.linkText[row] = isLink ? entry.link : '';
  }

  #grow(): void {
    this.#capacity *= 2;
    const digests = (old: Buffer): Buffer => {
      const made = Buffer.alloc(this.#capacity * DIGEST_SIZE);
      old.copy(made);
      return made;
    };
    this.files = digests(this.files);
    this.paths = digests(this.paths);
    this.#pathWords = wordsOf(this.paths);
    this.links = digests(this.links);
    this.xattrs = digests(this.xattrs);
    for (const name of ['kind', 'superseded'] as const)
      this[name] = grown(this[name], this.#capacity);
    for (const name of ['mode', 'nanoseconds'] as const)
      this[name] = grown(this[name], this.#capacity);
    for (const name of ['size', 'uid', 'gid', 'seconds', 'device'] as const)
      this[name] = grown(this[name], this.#capacity);
  }

  /** Where an entry at `path` lands: symlinks that the layer has made so far are followed, but for the last part. */
  #place(path: Path): Path {
    let at = path;
    for (let hops = 0; this.#symlinks.size > 0 && hops < SYMLINK_HOPS; hops++) {
      const link = ancestorsOf(at).find((ancestor) => this.#symlinks.has(ancestor));
      if (link === undefined) return at;
      const target = this.#symlinks.get(link) as string;
      const start = target.startsWith('/') ? '' : parentOf(link);
      at = resolved(`${start}/${target}/${at.slice(link.length + 1)}`);
    }
    return at;
  }

  /** Adds the directories that lack an entry: those that a path needs, then those that only a marker does. */
  #imply(): void {
    const { length } = this;
    const seen = new Set<string>();
    const isMarker = (row: number): boolean => (this.kind[row] as number) >= WHITEOUT;
    this.#implyAbove(length, seen, (row) => !isMarker(row));
    // What the layer deletes, and puts nothing into, is not there.
    for (const key of this.#markers.keys()) {
      const [kind, path] = splitKey(key);
      if (kind === WHITEOUT) seen.add(path);
    }
    this.#implyAbove(length, seen, isMarker);
  }

  #implyAbove(length: number, seen: Set<string>, concerns: (row: number) => boolean): void {
    let last: string | undefined;
    for (let row = 0; row < length; row++) {
      if (!concerns(row)) continue;
      const path = this.pathText[row] as Path;
      // An opaque marker lies in the directory that it names.
      let parent = this.kind[row] === OPAQUE ? path : parentOf(path);
      if (parent === last) continue;
      last = parent;
      for (; parent !== '' && !seen.has(parent); parent = parentOf(parent)) {
        seen.add(parent);
        if (this.#directories.has(parent)) continue;
        this.#begin(parent);
        this.#push(IMPLIED, parent, IMPLIED_ENTRY, NO_DIGEST);
      }
    }
  }

  /** Rows that the layer's tree is made of, in an order that their paths alone give. */
  #order(): Uint32Array {
    // The path's first four bytes above the row's number: what a sort of plain numbers puts into order, but for a few.
    const keys = new BigUint64Array(this.length);
    const words = new Uint32Array(keys.buffer);
    let length = 0;
    for (let row = 0; row < this.length; row++) {
      if (this.superseded[row] || this.kind[row] === IMPLIED) continue;
      words[2 * length] = row;
      words[2 * length++ + 1] = this.paths.readUInt32BE(row * DIGEST_SIZE);
    }
    keys.subarray(0, length).sort();
    const order = new Uint32Array(length);
    for (let i = 0; i < length; i++) {
      const row = words[2 * i] as number;
      let at = i;
      for (; at > 0 && this.#compare(order[at - 1] as number, row) > 0; at--)
        order[at] = order[at - 1] as number;
      order[at] = row;
    }
    return order;
  }

  /** By the paths' digests, then by kind. */
  #compare(a: number, b: number): number {
    const [from, at] = [a * DIGEST_SIZE, b * DIGEST_SIZE];
    const quick = this.paths.readUInt32BE(from) - this.paths.readUInt32BE(at);
    if (quick !== 0) return quick;
    const { paths, kind } = this;
    return (
      paths.compare(paths, at, at + DIGEST_SIZE, from, from + DIGEST_SIZE) ||
      (kind[a] as number) - (kind[b] as number)
    );
  }

  /** One digest over `order`: kinds, paths, contents and targets, or all other metadata. */
  #digest(order: Uint32Array, of: 'tree' | 'metadata'): Buffer {
    const digests = of === 'tree' ? [this.paths, this.files, this.links] : [this.xattrs];
    return digestRecords(
      order,
      NUMBERS[of].map((name) => this[name]),
      digests,
    );
  }
}

const NUMBERS = {
  tree: ['kind', 'device'],
  metadata: ['mode', 'uid', 'gid', 'seconds', 'nanoseconds'],
} as const;

function joinKey(kind: number, path: string): string {
  return `${kind} ${path}`;
}

function splitKey(key: string): readonly [number, string] {
  const space = key.indexOf(' ');
  return [Number(key.slice(0, space)), key.slice(space + 1)];
}

/** The path that is looked for. */
const KEY: Buffer = Buffer.alloc(DIGEST_SIZE);
const KEY_WORDS: Uint32Array = wordsOf(KEY);

const IMPLIED_ENTRY: RowEntry = {
  ...{ type: 'dir', path: '' as Path, mode: 0, uid: 0, gid: 0, seconds: 0, nanoseconds: 0 },
  ...{ size: 0, link: '', devMajor: 0, devMinor: 0, xattrs: new Map() },
};

/** `path` without empty parts, `.` and `..`; what would leave the root stays in it. */
function resolved(path: string): Path {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/') as Path;
}

/** The digest of a set of xattrs: names and values with their lengths, in order of the names. */
function digestXattrs(xattrs: Xattrs): Buffer {
  const parts = [...xattrs]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, value]) => {
      const lengths = Buffer.alloc(8);
      lengths.writeUInt32BE(name.length, 0);
      lengths.writeUInt32BE(value.length, 4);
      return [lengths, Buffer.from(name, 'latin1'), value];
    });
  return hash('sha256', Buffer.concat(parts), 'buffer');
}
