/**
 * One layer unpacked on its own into an *upper* tree, as runtimes do before they lay it over what is below: entries in order,
 * symlinks followed only where the layer itself made them, whiteouts and opaque markers noted at their directory, directories
 * that are merely implied told from those that the layer defines. What is laid on what, and how, is not known here.
 */
import { RechunkError } from '../registry/errors.ts';
import { joinPath, nameOf, type Path, parentOf, showPath } from '../registry/path.ts';
import { NO_XATTRS, type Xattrs } from '../registry/tar.ts';
import type { IndexedEntry } from './batch.ts';
import { BLANK, type Body, type Inode, type InodeType } from './tree.ts';

/** One layer's entries in archive order, and where their content lies. */
export interface LayerIndex {
  readonly entries: Iterable<IndexedEntry>;
  /** The body of an entry that has content. */
  body(entry: IndexedEntry): Body;
  /** How messages name the layer. */
  readonly name: string;
}

/** A name in an upper tree, or in several that were laid on each other. */
export interface Node {
  /** Without `overlay.*` xattrs. */
  inode: Inode;
  /** By name; of every directory. */
  children?: Map<string, Node>;
  /** Made because something lies below it: the layer has no entry for it. */
  implied?: boolean;
  /** The directory is marked to leave its metadata to the layers below (`overlay.dirmeta_delegate`). */
  delegates?: boolean | undefined;
  /** The `overlay.*` xattrs that the entry has, the marker too. */
  overlay?: Xattrs | undefined;
  /** Hides every lower child. */
  opaque?: boolean;
  /** Lower children that are hidden. */
  whiteouts?: Set<string> | undefined;
  /** The deletions and opaque markers in the directory as the entries that they are, by name. */
  markers?: Map<string, Inode>;
  /** Something was put into the directory after the layer defined it. */
  filled?: boolean;
  /** Owner of the last entry that lacked a part of its path through this directory, since the layer defined it. */
  stamp?: Owner | undefined;
  /** The directory was implied before the one that holds it was defined. */
  early?: boolean;
  /** What an earlier entry of the layer said of the directory. */
  earlier?: Inode;
}

/** Who owns something. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** What may be odd about a layer's entries. */
export type LayerOddity =
  | 'duplicate'
  | 'late-parent'
  | 'late-opaque'
  | 'late-whiteout'
  | 'early-whiteout'
  | 'below-own-symlink'
  | 'device-whiteout'
  | 'lower-hard-link'
  | 'link-metadata'
  | 'overlay-xattr';

/** Told of what is odd, where, and what else there is to say. */
export type OnOddity = (kind: LayerOddity, path: Path, detail?: string) => void;

/** A layer on its own. */
export interface Upper {
  readonly root: Node;
  /** How many `overlay.*` xattrs were dropped, markers on directories aside. */
  readonly droppedXattrs: number;
}

/** Overlayfs takes no notice of a directory's own metadata where it has this xattr with the value `y`, in its namespace. */
export const DELEGATE_XATTRS = {
  trusted: 'trusted.overlay.dirmeta_delegate',
  user: 'user.overlay.dirmeta_delegate',
} as const;

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Other aufs bookkeeping (`.wh..wh.plnk`, `.wh..wh.aufs`), never content. */
const AUFS = '.wh..wh.';
/** Longest chain of symlinks that is followed within a layer. */
const SYMLINK_HOPS = 40;
/** Overlayfs's own bookkeeping, live or escaped, in both namespaces: means nothing outside a mounted overlay. */
const OVERLAY_XATTR = /^(trusted|user)\.overlay\./;

/** The mode of a directory that no layer defines: what most runtimes invent. */
const IMPLIED_MODE = 0o755;

/** A directory that no layer defines: what most runtimes invent, with a time that does not change. */
export function impliedDirectory(): Node {
  const inode: Inode = { ...BLANK, type: 'dir', mode: IMPLIED_MODE, layer: -1 };
  return { inode, children: new Map(), implied: true };
}

/**
 * Unpacks layer `number` on its own. `lower` is what lies below it, for hard links to lower files; it is not changed. Throws `tar`
 * for what no runtime could unpack: an entry below a file, a hard link to nothing or to a directory.
 */
export function unpackUpper(
  index: LayerIndex,
  number: number,
  lower: Node,
  onOddity: OnOddity,
): Upper {
  const unpacker = new Unpacker(index, number, lower, onOddity);
  for (const entry of index.entries) unpacker.add(entry);
  return unpacker;
}

class Unpacker implements Upper {
  readonly root: Node = impliedDirectory();
  readonly #index: LayerIndex;
  readonly #number: number;
  readonly #lower: Node;
  readonly #onOddity: OnOddity;
  droppedXattrs = 0;
  /** The directory that was found last, whose path led through no symlink: the next entry mostly lies there too. */
  #last: { readonly path: Path; readonly node: Node } | undefined;

  constructor(index: LayerIndex, number: number, lower: Node, onOddity: OnOddity) {
    this.#index = index;
    this.#number = number;
    this.#lower = lower;
    this.#onOddity = onOddity;
  }

  add(entry: IndexedEntry): void {
    if (entry.path === '') this.#setRoot(entry);
    else this.#place(entry);
  }

  #fail(entry: IndexedEntry, problem: string): never {
    throw new RechunkError('tar', `${this.#index.name}: entry /${showPath(entry.path)} ${problem}`);
  }

  #setRoot(entry: IndexedEntry): void {
    if (entry.type !== 'dir')
      this.#fail(entry, `is a ${entry.type}, but the root must be a directory`);
    if (this.root.filled) this.#onOddity('late-parent', entry.path);
    this.#define(this.root, entry);
  }

  #place(entry: IndexedEntry): void {
    const name = nameOf(entry.path);
    const directory = this.#directory(parentOf(entry.path), entry);
    if (name === OPAQUE) {
      if (directory.children?.size) this.#onOddity('late-opaque', parentOf(entry.path));
      directory.opaque = true;
      this.#keepMarker(directory, name, entry);
      return;
    }
    if (name.startsWith(AUFS)) return;
    if (name.startsWith(WHITEOUT)) {
      if (name === WHITEOUT) this.#fail(entry, 'is a whiteout of nothing');
      this.#hide(directory, name.slice(WHITEOUT.length), entry.path);
      this.#keepMarker(directory, name, entry);
      return;
    }
    if (entry.type === 'char' && entry.devMajor === 0 && entry.devMinor === 0) {
      this.#onOddity('device-whiteout', entry.path);
      this.#hide(directory, name, entry.path);
      return;
    }
    this.#put(directory, name, entry);
  }

  #keepMarker(directory: Node, name: string, entry: IndexedEntry): void {
    directory.markers ??= new Map();
    directory.markers.set(name, this.#inodeOf(entry));
  }

  #hide(directory: Node, name: string, path: Path): void {
    if (directory.children?.has(name))
      this.#onOddity('late-whiteout', joinPath(parentOf(path), name));
    directory.whiteouts ??= new Set();
    directory.whiteouts.add(name);
    directory.filled = true;
  }

  #put(directory: Node, name: string, entry: IndexedEntry): void {
    const children = directory.children as Map<string, Node>;
    const known = children.get(name);
    if (known) this.#last = undefined;
    if (directory.whiteouts?.has(name)) this.#onOddity('early-whiteout', entry.path);
    if (entry.type !== 'dir' || !known) directory.filled = true;
    // A file in place of an implied directory takes with it what the layer put there.
    if (known && (!known.implied || entry.type !== 'dir')) this.#onOddity('duplicate', entry.path);
    else if (known) this.#onOddity('late-parent', entry.path);
    if (entry.type === 'dir') {
      const made = known?.children ? known : impliedDirectory();
      this.#define(made, entry);
      children.set(name, made);
      return;
    }
    const overlay = overlayXattrs(entry);
    this.#drop(entry, [...overlay.keys()]);
    const inode = entry.type === 'link' ? this.#linked(entry) : this.#inodeOf(entry);
    children.set(name, overlay.size > 0 ? { inode, overlay } : { inode });
  }

  /** Makes `node` the directory that `entry` defines. */
  #define(node: Node, entry: IndexedEntry): void {
    if (!node.implied) node.earlier = node.inode;
    else for (const child of node.children?.values() ?? []) if (child.implied) child.early = true;
    node.inode = this.#inodeOf(entry);
    node.implied = false;
    if (node.filled) node.filled = false;
    if (node.stamp) node.stamp = undefined;
    const overlay = overlayXattrs(entry);
    const delegates = [...overlay].some(isMarker);
    if (node.overlay || overlay.size > 0) node.overlay = overlay;
    if (node.delegates || delegates) node.delegates = delegates;
    this.#drop(
      entry,
      [...overlay].filter((one) => !isMarker(one)).map(([xattr]) => xattr),
    );
  }

  #drop(entry: IndexedEntry, xattrs: readonly string[]): void {
    this.droppedXattrs += xattrs.length;
    for (const xattr of xattrs) this.#onOddity('overlay-xattr', entry.path, xattr);
  }

  /** The directory at `path` in this layer, made where it is missing. */
  #directory(path: Path, entry: IndexedEntry): Node {
    if (this.#last?.path === path) return this.#last.node;
    let isComplete = true;
    const imply = (parent: Node, name: string): Node => {
      isComplete = false;
      return this.#imply(parent, name);
    };
    // What is made is never missing.
    const found = this.#walk(path, entry, imply) as Node;
    if (!isComplete) this.#stamp(path, entry);
    this.#last = find(this.root, path) === found ? { path, node: found } : undefined;
    return found;
  }

  /** Notes at all directories on `path` whose entry it was that lacked some of them. */
  #stamp(path: Path, { uid, gid }: IndexedEntry): void {
    const stamp = { uid, gid };
    this.root.stamp = stamp;
    let node: Node | undefined = this.root;
    for (const part of path.split('/')) {
      node = node?.children?.get(part);
      if (node?.children) node.stamp = stamp;
    }
  }

  /** The directory at `path` in this layer, symlinks of this layer followed; where a part is missing, what `missing` gives. */
  #walk(
    path: Path,
    entry: IndexedEntry,
    missing: (parent: Node, name: string) => Node | undefined,
  ): Node | undefined {
    let node = this.root;
    let pending = path === '' ? [] : path.split('/').reverse();
    const trail: Node[] = [];
    let hops = 0;
    while (pending.length > 0) {
      const part = pending.pop() as string;
      if (part === '' || part === '.') continue;
      if (part === '..') {
        node = trail.pop() ?? this.root;
        continue;
      }
      const next = node.children?.get(part);
      if (next?.inode.type === 'symlink') {
        if (++hops > SYMLINK_HOPS) this.#fail(entry, 'lies below a loop of symlinks');
        this.#onOddity('below-own-symlink', entry.path);
        if (next.inode.target.startsWith('/')) {
          node = this.root;
          trail.length = 0;
        }
        pending = [...pending, ...next.inode.target.split('/').reverse()];
        continue;
      }
      if (next && !next.children) this.#fail(entry, `lies below a ${next.inode.type}`);
      const below = next ?? missing(node, part);
      if (!below) return undefined;
      trail.push(node);
      node = below;
    }
    return node;
  }

  #imply(parent: Node, name: string): Node {
    const made = impliedDirectory();
    parent.filled = true;
    (parent.children as Map<string, Node>).set(name, made);
    return made;
  }

  /** The inode that a hard link names: of this layer, or else of the layers below as they were before this one. */
  #linked(entry: IndexedEntry): Inode {
    const target = entry.link as Path;
    const directory = this.#walk(parentOf(target), entry, () => undefined);
    const own = directory?.children?.get(nameOf(target));
    if (own && !own.implied) return this.#share(entry, own);
    const lower = find(this.#lower, target);
    if (!lower) this.#fail(entry, `is a hard link to /${showPath(target)}, which does not exist`);
    this.#onOddity('lower-hard-link', entry.path, `-> /${showPath(target)}`);
    return this.#share(entry, lower);
  }

  /** The inode that a link shares: Docker, podman and containerd set a link entry's own attributes through the new name. */
  #share(entry: IndexedEntry, { inode }: Node): Inode {
    if (inode.type === 'dir') {
      this.#fail(entry, `is a hard link to the directory /${showPath(entry.link)}`);
    }
    const { mode, uid, gid, mtime } = entry;
    const xattrs = addXattrs(inode.xattrs, plainXattrs(entry));
    const same =
      inode.mode === mode &&
      inode.uid === uid &&
      inode.gid === gid &&
      inode.mtime === mtime &&
      inode.xattrs === xattrs;
    if (same || inode.type === 'symlink' || inode.layer !== this.#number) return inode;
    this.#onOddity('link-metadata', entry.path);
    // Only inodes of this layer are changed, and nobody has seen them yet.
    return Object.assign(inode, { mode, uid, gid, mtime, xattrs });
  }

  /** Written out, since there are many: an object that is made by spreading takes twice the memory. */
  #inodeOf(entry: IndexedEntry): Inode {
    const inode: { -readonly [Key in keyof Inode]: Inode[Key] } = {
      type: entry.type as InodeType,
      mode: entry.mode,
      uid: entry.uid,
      gid: entry.gid,
      mtime: entry.mtime,
      size: entry.size,
      target: entry.type === 'symlink' ? entry.link : '',
      devMajor: entry.devMajor,
      devMinor: entry.devMinor,
      xattrs: plainXattrs(entry),
      sha256: entry.sha256,
      layer: this.#number,
      body: undefined,
    };
    if (entry.size > 0) inode.body = this.#index.body(entry);
    return inode;
  }
}

function isOverlay([name]: readonly [string, Uint8Array]): boolean {
  return OVERLAY_XATTR.test(name);
}

function isMarker([name, value]: readonly [string, Uint8Array]): boolean {
  const isName = name === DELEGATE_XATTRS.trusted || name === DELEGATE_XATTRS.user;
  return isName && Buffer.from(value).toString('latin1') === 'y';
}

/** The `overlay.*` xattrs of an entry. */
function overlayXattrs({ xattrs }: IndexedEntry): Xattrs {
  if (xattrs.size === 0) return NO_XATTRS;
  const found = [...xattrs].filter(isOverlay);
  return found.length > 0 ? new Map(found) : NO_XATTRS;
}

/** All other xattrs of an entry. */
function plainXattrs({ xattrs }: IndexedEntry): Xattrs {
  if (xattrs.size === 0) return NO_XATTRS;
  const kept = [...xattrs].filter((one) => !isOverlay(one));
  if (kept.length === xattrs.size) return xattrs;
  return kept.length > 0 ? new Map(kept) : NO_XATTRS;
}

/** `known` with `more` set too: the same object where that changes nothing. What `more` does not name stays. */
export function addXattrs(known: Xattrs, more: Xattrs): Xattrs {
  const isNew = ([name, value]: [string, Uint8Array]): boolean => {
    const had = known.get(name);
    return had === undefined || Buffer.compare(had, value) !== 0;
  };
  return [...more].some(isNew) ? new Map([...known, ...more]) : known;
}

/** The node at `path`, no symlink followed. */
function find(root: Node, path: Path): Node | undefined {
  let node: Node | undefined = root;
  if (path === '') return root;
  for (const part of path.split('/')) node = node?.children?.get(part);
  return node;
}
