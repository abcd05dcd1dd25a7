/**
 * Layers flattened into one file system, by the semantics of overlay runtimes.
 *
 * Each layer is first unpacked on its own into an *upper* tree, as runtimes do: entries in order, symlinks followed only
 * where the layer itself made them, whiteouts and opaque markers noted at their directory. Then the upper is merged over
 * what lies below: markers hide lower names only, whatever their place in the archive; a directory that the layer defines
 * replaces the attributes and keeps the children; one that it merely implies changes nothing; anything else replaces what
 * was there. Where real runtimes disagree with this or with each other, a warning says so.
 *
 * Spec: image-spec v1.1.1, layer.md "Applying Changesets"; measured differences in this folder's README.
 */
import { RechunkError } from '../registry/errors.ts';
import { joinPath, nameOf, type Path, parentOf, showPath } from '../registry/path.ts';
import { NO_XATTRS, type Xattrs } from '../registry/tar.ts';
import type { IndexedEntry } from './batch.ts';
import { BLANK, type Body, type Entry, type Inode, type InodeType } from './tree.ts';
import { Warnings } from './warnings.ts';

/** One layer's entries in archive order (read once), and where their content lies. */
export interface LayerIndex {
  readonly entries: Iterable<IndexedEntry>;
  /** The body of an entry that has content. */
  body(entry: IndexedEntry): Body;
  /** How messages name the layer. */
  readonly name: string;
}

/** The flattened entries in canonical order, and what was noticed. */
export interface Flattened {
  readonly entries: readonly Entry[];
  /** Sentences, each once, most telling first within its kind. */
  readonly warnings: readonly string[];
  /** How many `overlay.*` xattrs were dropped. */
  readonly droppedXattrs: number;
}

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Other aufs bookkeeping (`.wh..wh.plnk`, `.wh..wh.aufs`), never content. */
const AUFS = '.wh..wh.';
/** Longest chain of symlinks that is followed within a layer. */
const SYMLINK_HOPS = 40;
/** Overlayfs's own bookkeeping, live or escaped, in both namespaces: means nothing outside a mounted overlay. */
const OVERLAY_XATTR = /^(trusted|user)\.overlay\./;

interface Node {
  inode: Inode;
  children?: Map<string, Node>;
  /** Made because something lies below it; the layer has no entry for it. */
  implied?: boolean;
  /** Hides every lower child. */
  opaque?: boolean;
  /** Lower children that are hidden. */
  whiteouts?: Set<string> | undefined;
}

const ROOT_MODE = 0o755;

/** A directory that no layer defines: what most runtimes invent, with a time that does not change. */
function impliedInode(): Inode {
  return { ...BLANK, type: 'dir', mode: ROOT_MODE, layer: -1 };
}

function impliedDirectory(): Node {
  return { inode: impliedInode(), children: new Map(), implied: true };
}

class Layer {
  readonly root: Node = impliedDirectory();
  readonly #index: LayerIndex;
  readonly #number: number;
  readonly #lower: Node;
  readonly #warnings: Warnings;
  droppedXattrs = 0;

  constructor(index: LayerIndex, number: number, lower: Node, warnings: Warnings) {
    this.#index = index;
    this.#number = number;
    this.#lower = lower;
    this.#warnings = warnings;
  }

  unpack(): void {
    for (const entry of this.#index.entries) {
      if (entry.path === '') this.#setRoot(entry);
      else this.#place(entry);
    }
  }

  #fail(entry: IndexedEntry, problem: string): never {
    throw new RechunkError('tar', `${this.#index.name}: entry /${showPath(entry.path)} ${problem}`);
  }

  #setRoot(entry: IndexedEntry): void {
    if (entry.type !== 'dir')
      this.#fail(entry, `is a ${entry.type}, but the root must be a directory`);
    this.root.inode = this.#inodeOf(entry);
    this.root.implied = false;
  }

  #place(entry: IndexedEntry): void {
    const name = nameOf(entry.path);
    const directory = this.#directory(parentOf(entry.path), entry);
    if (name === OPAQUE) {
      directory.opaque = true;
      return;
    }
    if (name.startsWith(AUFS)) return;
    if (name.startsWith(WHITEOUT)) {
      if (name === WHITEOUT) this.#fail(entry, 'is a whiteout of nothing');
      this.#hide(directory, name.slice(WHITEOUT.length));
      return;
    }
    if (entry.type === 'char' && entry.devMajor === 0 && entry.devMinor === 0) {
      this.#warnings.add(
        'a character device 0:0 is how overlay writes a deletion; taken as one',
        `/${showPath(entry.path)}`,
      );
      this.#hide(directory, name);
      return;
    }
    this.#put(directory, name, entry);
  }

  #hide(directory: Node, name: string): void {
    directory.whiteouts ??= new Set();
    directory.whiteouts.add(name);
  }

  #put(directory: Node, name: string, entry: IndexedEntry): void {
    const children = directory.children as Map<string, Node>;
    const known = children.get(name);
    // A file in place of an implied directory takes with it what the layer put there.
    if (known && (!known.implied || entry.type !== 'dir')) {
      this.#warnings.add(
        'a layer lists a path twice; the last entry counts, and some runtimes refuse such layers',
        `/${showPath(entry.path)}`,
      );
    }
    if (entry.type === 'dir') {
      if (known?.children) {
        known.inode = this.#inodeOf(entry);
        known.implied = false;
      } else children.set(name, { inode: this.#inodeOf(entry), children: new Map() });
      return;
    }
    const inode = entry.type === 'link' ? this.#linked(entry) : this.#inodeOf(entry);
    children.set(name, { inode });
  }

  /** The directory at `path` in this layer, made where it is missing. */
  #directory(path: Path, entry: IndexedEntry): Node {
    const imply = (parent: Node, name: string): Node => this.#imply(parent, name);
    // What is made is never missing.
    return this.#walk(path, entry, imply) as Node;
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
        this.#warnings.add(
          'an entry lies below a symlink of its own layer; the symlink is followed',
          `/${showPath(entry.path)}`,
        );
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
    this.#warnings.add(
      'a hard link names a file of a lower layer; overlay runtimes refuse such layers',
      `/${showPath(entry.path)} -> /${showPath(target)}`,
    );
    return this.#share(entry, lower);
  }

  /** The inode that a link shares: Docker, podman and containerd set a link entry's own attributes through the new name. */
  #share(entry: IndexedEntry, { inode }: Node): Inode {
    if (inode.type === 'dir') {
      this.#fail(entry, `is a hard link to the directory /${showPath(entry.link)}`);
    }
    const { mode, uid, gid, mtime } = entry;
    const xattrs = addXattrs(inode.xattrs, this.#xattrs(entry));
    const same =
      inode.mode === mode &&
      inode.uid === uid &&
      inode.gid === gid &&
      inode.mtime === mtime &&
      inode.xattrs === xattrs;
    if (same || inode.type === 'symlink' || inode.layer !== this.#number) return inode;
    this.#warnings.add(
      'a hard link states other metadata than the file that it names; the last entry counts',
      `/${showPath(entry.path)}`,
    );
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
      xattrs: this.#xattrs(entry),
      sha256: entry.sha256,
      layer: this.#number,
      body: undefined,
    };
    if (entry.size > 0) inode.body = this.#index.body(entry);
    return inode;
  }

  #xattrs(entry: IndexedEntry): Xattrs {
    if (entry.xattrs.size === 0) return NO_XATTRS;
    const kept = new Map([...entry.xattrs].filter(([name]) => !OVERLAY_XATTR.test(name)));
    if (kept.size === entry.xattrs.size) return entry.xattrs;
    this.droppedXattrs += entry.xattrs.size - kept.size;
    for (const name of entry.xattrs.keys()) {
      if (/\.overlay\.(opaque|whiteout|redirect|metacopy)$/.test(name)) {
        this.#warnings.add(
          'an overlay xattr of the input, which some runtimes would obey, is dropped and not obeyed',
          `${name} on /${showPath(entry.path)}`,
        );
      }
    }
    return kept.size === 0 ? NO_XATTRS : kept;
  }
}

/** `known` with `more` set too: the same object where that changes nothing. What `more` does not name stays. */
function addXattrs(known: Xattrs, more: Xattrs): Xattrs {
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

/** Lays `upper`, a directory, over `lower`, a directory: changes `lower` in place. */
function merge(lower: Node, upper: Node, path: Path, warnings: Warnings): void {
  const children = lower.children as Map<string, Node>;
  if (upper.opaque) children.clear();
  for (const name of upper.whiteouts ?? []) {
    const made = upper.children?.get(name);
    if (children.has(name) && made && !isBare(made)) {
      warnings.add(
        'a layer deletes and makes the same path; the deletion hides what was below, and runtimes differ',
        `/${showPath(joinPath(path, name))}`,
      );
    }
    children.delete(name);
  }
  if (!upper.implied) lower.inode = upper.inode;
  for (const [name, child] of upper.children as Map<string, Node>) {
    const known = children.get(name);
    if (upper.whiteouts?.has(name) && isBare(child)) continue;
    if (known?.children && child.children) {
      merge(known, child, joinPath(path, name), warnings);
      continue;
    }
    if (known?.inode.type === 'symlink' && child.implied) {
      warnings.add(
        'an entry lies below a symlink of a lower layer; the symlink becomes a directory, as in overlay runtimes',
        `/${showPath(joinPath(path, name))}`,
      );
    }
    children.set(name, child.children ? settle(child) : child);
  }
}

/** Whether a directory is there only because of markers below it. */
function isBare(node: Node): boolean {
  return Boolean(node.implied) && [...(node.children?.values() ?? [])].every(isBare);
}

/** An upper directory with nothing below it: its markers have nothing to hide any more. */
function settle(node: Node): Node {
  node.whiteouts = undefined;
  node.opaque = false;
  for (const child of node.children?.values() ?? []) if (child.children) settle(child);
  return node;
}

/** Adds a directory's names to `entries`, in canonical order. */
function collect(node: Node, path: Path, entries: Entry[]): void {
  entries.push({ path, inode: node.inode });
  if (!node.children) return;
  for (const name of [...node.children.keys()].sort()) {
    collect(node.children.get(name) as Node, joinPath(path, name), entries);
  }
}

/**
 * Flattens `layers`, lowest first. Throws `tar` for what no runtime could unpack: an entry below a file, a hard link to
 * nothing or to a directory.
 */
export function flatten(layers: readonly LayerIndex[]): Flattened {
  const root = impliedDirectory();
  const warnings = new Warnings();
  let droppedXattrs = 0;
  layers.forEach((index, number) => {
    const layer = new Layer(index, number, root, warnings);
    layer.unpack();
    droppedXattrs += layer.droppedXattrs;
    merge(root, layer.root, '' as Path, warnings);
    if (!layer.root.implied) root.implied = false;
  });
  const entries: Entry[] = [];
  collect(root, '' as Path, entries);
  for (const { path, inode } of entries) {
    if (inode.layer === -1 && path !== '') {
      warnings.add(
        'no layer defines a directory; it gets mode 0755, root:root, time 0',
        `/${showPath(path)}`,
      );
    }
  }
  return { entries, warnings: warnings.list(), droppedXattrs };
}
