/**
 * Layers flattened into one file system, by the semantics of overlay runtimes.
 *
 * Each layer is first unpacked on its own into an upper tree (`upper.ts`), then merged over what lies below: markers hide lower
 * names only, whatever their place in the archive; a directory that the layer defines replaces the attributes and keeps the
 * children; one that it merely implies, or marks to delegate its metadata, changes nothing where a lower layer defines it;
 * anything else replaces what was there. Where real runtimes disagree with this or with each other, a warning says so.
 *
 * Spec: image-spec v1.1.1, layer.md "Applying Changesets"; measured differences in this folder's README.
 */
import { joinPath, type Path, showPath } from '../registry/path.ts';
import type { Entry, Inode } from './tree.ts';
import {
  addXattrs,
  impliedDirectory,
  type LayerIndex,
  type LayerOddity,
  type Node,
  type OnOddity,
  unpackUpper,
} from './upper.ts';
import { Warnings } from './warnings.ts';

/** The flattened entries in canonical order, and what was noticed. */
export interface Flattened {
  readonly entries: readonly Entry[];
  /** Sentences, each once, most telling first within its kind. */
  readonly warnings: readonly string[];
  /** How many `overlay.*` xattrs were dropped, markers that delegate a directory's metadata aside. */
  readonly droppedXattrs: number;
}

/** A layer's oddities as sentences; undefined for those that change nothing here. */
const SENTENCES: Readonly<Record<LayerOddity, string | undefined>> = {
  duplicate:
    'a layer lists a path twice; the last entry counts, and some runtimes refuse such layers',
  'late-parent': undefined,
  'late-opaque': undefined,
  'late-whiteout': undefined,
  'early-whiteout': undefined,
  'below-own-symlink': 'an entry lies below a symlink of its own layer; the symlink is followed',
  'device-whiteout': 'a character device 0:0 is how overlay writes a deletion; taken as one',
  'lower-hard-link':
    'a hard link names a file of a lower layer; overlay runtimes refuse such layers',
  'link-metadata':
    'a hard link states other metadata than the file that it names; the last entry counts',
  'overlay-xattr':
    'an overlay xattr of the input, which some runtimes would obey, is dropped and not obeyed',
};

/** Overlay xattrs that some runtimes obey. */
const LIVE_XATTR = /\.overlay\.(opaque|whiteout|redirect|metacopy)$/;

/** A node of layers laid on each other. */
interface Merged extends Node {
  /** What the topmost layer says of a directory that it delegates: today's kernels show that. */
  shown?: Inode | undefined;
  /** A layer above the one that defines the directory implies it. */
  isOverlaid?: boolean;
}

/** Sees layers while they are laid on each other, the lowest first. */
export interface Watcher {
  /** Layer `number`, from 0, on its own, and what it is about to be laid on; neither may be changed. */
  onLayer(number: number, upper: Node, lower: Node): void;
  /** Something odd within layer `number`. */
  onOddity(number: number, ...oddity: Parameters<OnOddity>): void;
}

/** Puts what is odd about a layer's entries into words. */
export function tellOddities(warnings: Warnings): OnOddity {
  return (kind, path, detail) => {
    const sentence = SENTENCES[kind];
    if (sentence === undefined) return;
    const at = `/${showPath(path)}`;
    if (kind !== 'overlay-xattr')
      warnings.add(sentence, detail === undefined ? at : `${at} ${detail}`);
    else if (detail !== undefined && LIVE_XATTR.test(detail))
      warnings.add(sentence, `${detail} on ${at}`);
  };
}

/** Lays `upper`, a directory, over `lower`, a directory: changes `lower` in place. */
function merge(lower: Merged, upper: Node, path: Path, warnings: Warnings): void {
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
  if (!upper.implied) define(lower, upper);
  else if (path !== '' && isDefined(lower)) lower.isOverlaid = true;
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

/** Whether a layer defines the directory without leaving its metadata to those below. */
function isDefined({ implied, delegates }: Node): boolean {
  return !implied && !delegates;
}

/** Gives the directory `lower` the metadata that `upper`, which a layer defines, has; a marked one counts where nothing else does. */
function define(lower: Merged, upper: Node): void {
  lower.isOverlaid = false;
  // Whoever looks for what is delegated stops at an opaque marker.
  if (upper.delegates && isDefined(lower) && !upper.opaque) {
    lower.shown = upper.inode;
    return;
  }
  lower.inode = upper.inode;
  lower.shown = undefined;
  lower.delegates = upper.delegates;
  lower.implied = false;
}

/** Whether a directory is there only because of markers below it. */
export function isBare(node: Node): boolean {
  return Boolean(node.implied) && [...(node.children?.values() ?? [])].every(isBare);
}

/** An upper directory with nothing below it: its markers have nothing to hide any more. */
function settle(node: Node): Node {
  for (const name of node.whiteouts ?? []) {
    const made = node.children?.get(name);
    if (made && isBare(made)) node.children?.delete(name);
  }
  node.whiteouts = undefined;
  node.opaque = false;
  for (const child of node.children?.values() ?? []) if (child.children) settle(child);
  return node;
}

/** Whether two directories have the same owner, mode and xattrs. */
export function hasEqualRights(a: Inode, b: Inode): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.xattrs.size === b.xattrs.size &&
    addXattrs(a.xattrs, b.xattrs) === a.xattrs
  );
}

/** Whether today's kernels, which show the directory `shown`, show what `inode` is. */
function isShownAs(shown: Inode, inode: Inode): boolean {
  return shown.mtime === inode.mtime && hasEqualRights(shown, inode);
}

/** Adds a directory's names to `entries`, in canonical order. */
function collect(node: Merged, path: Path, entries: Entry[], warnings: Warnings): void {
  const { inode, shown, children, isOverlaid = false } = node;
  const isShadowed = isOverlaid || (shown && !isShownAs(shown, inode));
  entries.push({ path, inode: isShadowed ? { ...inode, isShadowed: true } : inode });
  if (inode.layer === -1 && path !== '')
    warnings.add(
      'no layer defines a directory; it gets mode 0755, root:root, time 0',
      `/${showPath(path)}`,
    );
  if (shown && !isShownAs(shown, inode))
    warnings.add(
      'a layer delegates the metadata of a directory, which is taken from below; kernels that know no delegation show the layer’s own',
      `/${showPath(path)}`,
    );
  if (!children) return;
  for (const name of [...children.keys()].sort()) {
    collect(children.get(name) as Node, joinPath(path, name), entries, warnings);
  }
}

/** Layers laid on each other, the lowest first, as they come. */
export class Flattener {
  readonly #root: Merged = impliedDirectory();
  readonly #warnings = new Warnings();
  readonly #watcher: Watcher | undefined;
  #count = 0;
  #droppedXattrs = 0;

  constructor(watcher?: Watcher) {
    this.#watcher = watcher;
  }

  /**
   * Lays the next layer on those before. Throws `tar` for what no runtime could unpack: an entry below a file, a hard link to nothing
   * or to a directory.
   */
  add(index: LayerIndex): void {
    const number = this.#count++;
    const tell = tellOddities(this.#warnings);
    const upper = unpackUpper(index, number, this.#root, (...oddity) => {
      tell(...oddity);
      this.#watcher?.onOddity(number, ...oddity);
    });
    this.#watcher?.onLayer(number, upper.root, this.#root);
    this.#droppedXattrs += upper.droppedXattrs;
    merge(this.#root, upper.root, '' as Path, this.#warnings);
  }

  /** What came of it. */
  finish(): Flattened {
    const entries: Entry[] = [];
    collect(this.#root, '' as Path, entries, this.#warnings);
    return { entries, warnings: this.#warnings.list(), droppedXattrs: this.#droppedXattrs };
  }
}

/** Flattens `layers`, lowest first; throws as {@link Flattener} does. */
export function flatten(layers: readonly LayerIndex[], watcher?: Watcher): Flattened {
  const flattener = new Flattener(watcher);
  for (const layer of layers) flattener.add(layer);
  return flattener.finish();
}
