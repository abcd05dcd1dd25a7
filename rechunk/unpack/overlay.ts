/**
 * Layers as overlayfs wants them: for each, which entries its directory has, so that all directories mounted over each other
 * show what the layers mean. Pure; nothing here touches a disk.
 *
 * Overlayfs reads deletions as character devices 0:0 and opaque directories by an xattr. A deletion of what no lower layer has
 * would be listed in a directory that only one layer has, so markers that hide nothing are left out. The root of a layer
 * cannot be opaque: what it hides is deleted name by name.
 */
import { joinPath, nameOf, type Path } from '../../registry/path.ts';
import { NO_XATTRS, type Xattrs } from '../../registry/tar.ts';
import { isBare } from '../flatten.ts';
import { BLANK, type Inode } from '../tree.ts';
import { DELEGATE_XATTRS, impliedDirectory, type Node } from '../upper.ts';

/** Where overlayfs looks for its xattrs: `user` with the mount option `userxattr`. */
export type Namespace = 'trusted' | 'user';

/** How layers become directories. */
export interface OverlayOptions {
  readonly namespace: Namespace;
  /** Directories that a layer implies, or marks itself, get the mark that delegates their metadata. */
  readonly mark: boolean;
  /** They get the metadata of the nearest lower layer that defines it without a mark. */
  readonly resolve: boolean;
}

/** An entry of a layer's directory. */
export interface LayerEntry {
  readonly path: Path;
  /** What the path names; its xattrs are those of the image. */
  readonly inode: Inode;
  /** Overlayfs's own xattrs. */
  readonly markers: Xattrs;
  /** Whether lower layers show something of this name. */
  readonly covers: boolean;
}

/** What a layer's directory holds. */
export interface LayerPlan {
  /** Parents first, the root very first, siblings bytewise; deletions too. */
  readonly entries: readonly LayerEntry[];
  /** Directories that the layer has no entry for, the root too. */
  readonly implied: number;
  /** Directories that carry the mark. */
  readonly marked: number;
  /** Directories whose metadata comes from a lower layer. */
  readonly resolved: number;
}

/** How overlayfs writes a deletion. */
export const WHITEOUT: Inode = { ...BLANK, type: 'char', mode: 0, layer: -1 };

const YES = Buffer.from('y');

interface Draft {
  readonly entries: LayerEntry[];
  implied: number;
  marked: number;
  resolved: number;
}

/** A directory of a layer, and what it is laid on. */
interface Place {
  readonly path: Path;
  readonly upper: Node;
  /** What lower layers show there; nothing where the layer deletes that. */
  readonly lower: Node;
  /** Whether lower layers have something there that must not show. */
  readonly hides: boolean;
  readonly covers: boolean;
}

/** Layers laid on each other, the lowest first. */
export class Overlay {
  /** What the layers show so far, each directory with its resolved metadata. */
  readonly root: Node = impliedDirectory();
  readonly #options: OverlayOptions;
  readonly #mark: readonly [string, Uint8Array];
  readonly #opaque: readonly [string, Uint8Array];

  constructor(options: OverlayOptions) {
    this.#options = options;
    this.#mark = [DELEGATE_XATTRS[options.namespace], YES];
    this.#opaque = [`${options.namespace}.overlay.opaque`, YES];
  }

  /** Lays `upper`, which is not changed, over what is there, and gives what its directory has to hold. */
  add(upper: Node): LayerPlan {
    const draft: Draft = { entries: [], implied: 0, marked: 0, resolved: 0 };
    const path = '' as Path;
    this.#lay({ path, upper, lower: this.root, hides: false, covers: true }, draft);
    return draft;
  }

  #lay(place: Place, draft: Draft): void {
    const { path, upper, lower } = place;
    const hidden = hide(upper, lower);
    this.#define(place, draft);
    // An opaque directory hides all names by itself.
    const deleted = upper.opaque && path !== '' ? new Map<string, Node>() : hidden;
    const made = upper.children as Map<string, Node>;
    for (const name of [...new Set([...made.keys(), ...deleted.keys()])].sort()) {
      const child = made.get(name);
      if (child && !(upper.whiteouts?.has(name) && isBare(child))) {
        this.#place(child, { path: joinPath(path, name), lower, hidden: deleted.get(name) }, draft);
      } else if (deleted.has(name)) {
        const deletion = { path: joinPath(path, name), inode: WHITEOUT, markers: NO_XATTRS };
        draft.entries.push({ ...deletion, covers: true });
      }
    }
  }

  /** Adds the directory itself. */
  #define({ path, upper, lower, hides, covers }: Place, draft: Draft): void {
    const { mark, resolve } = this.#options;
    const isOpaque = hides || (upper.opaque === true && covers && path !== '');
    const isMarked = mark && Boolean(upper.implied || upper.delegates);
    const isResolved = settle(lower, upper) && resolve;
    if (upper.implied) draft.implied++;
    if (isMarked) draft.marked++;
    if (isResolved) draft.resolved++;
    const markers = [...(isOpaque ? [this.#opaque] : []), ...(isMarked ? [this.#mark] : [])];
    draft.entries.push({
      path,
      inode: isResolved ? lower.inode : upper.inode,
      markers: markers.length > 0 ? new Map(markers) : NO_XATTRS,
      covers,
    });
  }

  #place(
    child: Node,
    at: { readonly path: Path; readonly lower: Node; readonly hidden: Node | undefined },
    draft: Draft,
  ): void {
    const { path, hidden } = at;
    const below = at.lower.children as Map<string, Node>;
    const known = below.get(nameOf(path));
    const covers = known !== undefined || hidden !== undefined;
    if (!child.children) {
      below.set(nameOf(path), child);
      draft.entries.push({ path, inode: child.inode, markers: NO_XATTRS, covers });
      return;
    }
    const lower = known?.children ? known : impliedDirectory();
    below.set(nameOf(path), lower);
    const hides = hidden?.children !== undefined;
    this.#lay({ path, upper: child, lower, hides, covers }, draft);
  }
}

/** Takes away what `upper` hides of `lower`, and gives it by name. */
function hide(upper: Node, lower: Node): Map<string, Node> {
  const below = lower.children as Map<string, Node>;
  const names = upper.opaque ? [...below.keys()] : [...(upper.whiteouts ?? [])];
  const hidden = new Map<string, Node>();
  for (const name of names) {
    const node = below.get(name);
    if (node) hidden.set(name, node);
    below.delete(name);
  }
  return hidden;
}

/**
 * Gives the directory `lower` the metadata that it has with `upper` over it; whether that is a lower layer's although `upper`
 * has the directory. What an opaque directory hides gives it nothing.
 */
function settle(lower: Node, upper: Node): boolean {
  const gives = upper.implied || upper.delegates;
  const isDefined = !lower.implied && !lower.delegates;
  if (gives && !upper.opaque && (isDefined || (upper.implied && !lower.implied))) return true;
  lower.inode = upper.inode;
  lower.implied = upper.implied ?? false;
  lower.delegates = upper.delegates;
  return false;
}
