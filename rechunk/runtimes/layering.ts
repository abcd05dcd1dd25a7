/**
 * The engine of all models: each layer is put on disk by a runtime's rules (`disk.ts`), then laid over what lies below, into one
 * tree that is changed in place.
 */
import { joinPath, nameOf, type Path, parentOf } from '../../registry/path.ts';
import { NO_XATTRS } from '../../registry/tar.ts';
import { type Inode, resolvePath } from '../tree.ts';
import { addXattrs, impliedDirectory } from '../upper.ts';
import { type Disk, DiskWriter, inheritGroup, keepXattrs, withXattrs } from './disk.ts';
import type { Copying, Rules } from './model.ts';
import { Refusal } from './refusal.ts';
import type { IsolatedLayer } from './stack.ts';
import type { ViewNode } from './view.ts';

/** How layers are flattened by `flatten.ts`: no runtime's rules, but the specification's. */
export const FLATTENED: Rules = {
  layering: 'overlay',
  implied: 'kept',
  fresh: { mode: 0o755, owner: 'root', time: 'zero' },
  delegates: true,
  overlayXattrs: { trusted: 'live', user: 'live' },
  root: 'entry',
  whiteouts: 'apart',
  refuses: {},
};

/** Layers on each other, by the rules of one runtime. */
export class Layering {
  readonly root: ViewNode = viewDirectory(impliedDirectory().inode);
  readonly #rules: Rules;
  readonly #disks: Disk[] = [];
  /** What is odd about the layer, each as `KIND PATH`. */
  #oddities: ReadonlySet<string> = new Set();
  #number = -1;

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  /** Lays `layer` over those before it; throws a {@link Refusal} where the runtime would not. */
  add(layer: IsolatedLayer): void {
    this.#oddities = new Set(layer.oddities.map(({ kind, path }) => `${kind} ${path}`));
    this.#number++;
    this.#check(layer);
    const disk = new DiskWriter(this.#rules, (path) => this.#findLower(path)).write(layer.root);
    if (this.#rules.implied === 'copied') this.#disks.unshift(disk);
    if (this.#rules.copies) this.#copy(this.root, this.#rules.copies);
    this.#lay(this.root, disk, '' as Path);
    this.#setRoot();
  }

  /** Does what the runtime does to the whole tree in the end. */
  finish(): void {
    if (this.#rules.copies) this.#copy(this.root, this.#rules.copies);
    if (!this.#rules.isSealed) return;
    const usr = find(this.root, 'usr' as Path);
    if (!usr?.children) throw new Refusal('usr' as Path, 'there is no such directory', false);
    this.root.inode = usr.inode;
    const run = find(this.root, 'run' as Path);
    if (!run?.children) return;
    run.children.clear();
    run.inode = { ...run.inode, mtime: usr.inode.mtime };
  }

  #check({ oddities }: IsolatedLayer): void {
    const { refuses, fresh } = this.#rules;
    for (const { kind, path } of oddities) {
      const reason = refuses[kind];
      if (reason !== undefined) throw new Refusal(path, reason);
      if (kind === 'late-parent' && 'refused' in fresh && !find(this.root, path)?.children)
        throw new Refusal(path, fresh.refused);
    }
  }

  /** As containerd looks for it: in each lower layer on its own; what is no directory ends the search. */
  #findLower(path: Path): Disk | undefined {
    for (const disk of this.#disks) {
      const found = resolve(disk, '' as Path, path);
      if (found) return found;
      const isGone = find(disk, parentOf(path))?.whiteouts?.has(nameOf(path));
      if (isGone || find(disk, path)) return undefined;
    }
    return undefined;
  }

  #setRoot(): void {
    const { root } = this.#rules;
    if (root === 'entry') return;
    this.root.inode = { ...impliedDirectory().inode, mode: root.mode };
    this.root.isNow = true;
  }

  /** Makes the copy that a layer is unpacked into. */
  #copy(node: ViewNode, copies: Copying): void {
    const { keepsXattrs, bumps } = copies;
    const xattrs = keepXattrs(node.inode.xattrs, keepsXattrs);
    if (xattrs !== node.inode.xattrs) node.inode = { ...node.inode, xattrs };
    node.leaked = keepXattrs(node.leaked, keepsXattrs);
    for (const child of node.children?.values() ?? []) {
      this.#copy(child, copies);
      if (bumps) node.isNow = true;
    }
  }

  /** Lays the directory `upper` over the directory `lower`. */
  #lay(lower: ViewNode, upper: Disk, path: Path): void {
    const children = lower.children as Map<string, ViewNode>;
    const before = new Set(this.#rules.bumped ? children.keys() : []);
    for (const [name, { dangling }] of children) if (dangling) children.delete(name);
    if (upper.opaque) children.clear();
    const gone = this.#hide(children, upper, path);
    this.#define(lower, upper);
    for (const [name, child] of upper.children ?? []) {
      if (!gone.has(name)) this.#put(lower, name, child, joinPath(path, name));
    }
    if (this.#isBumped(before, children, upper)) lower.isNow = true;
  }

  /** Deletes what `upper` hides; gives the names of its own that go with it. */
  #hide(children: Map<string, ViewNode>, upper: Disk, path: Path): ReadonlySet<string> {
    const gone = new Set<string>();
    const { whiteouts, lateOpaqueDeletes } = this.#rules;
    const isLate = (kind: 'late-whiteout' | 'late-opaque', at: Path): boolean =>
      this.#oddities.has(`${kind} ${at}`);
    for (const name of upper.whiteouts) {
      const made = upper.children?.get(name);
      const isLeaking = whiteouts === 'overlay' && made?.children && !isBare(made);
      if (!isLeaking) children.delete(name);
      const isOwn = whiteouts === 'in-order' && isLate('late-whiteout', joinPath(path, name));
      if (made && (isBare(made) || isOwn)) gone.add(name);
    }
    if (lateOpaqueDeletes && upper.opaque && isLate('late-opaque', path))
      for (const name of upper.children?.keys() ?? []) gone.add(name);
    return gone;
  }

  #put(parent: ViewNode, name: string, upper: Disk, path: Path): void {
    const children = parent.children as Map<string, ViewNode>;
    const known = this.#follow(children.get(name), upper, path);
    if (known?.children && upper.children) {
      this.#lay(known, upper, path);
      return;
    }
    if (!upper.children) {
      const { inode, isNow, leaked } = upper;
      children.set(name, { inode, isNow, leaked, marked: false, layer: this.#number });
      return;
    }
    if (this.#rules.makesBare === false && isBare(upper)) return;
    this.#checkNew(known, upper, path);
    const made = viewDirectory(upper.inode);
    this.#lay(made, upper, path);
    if (this.#isMadeInPlace(upper) && !(upper.early && parent.layer === this.#number))
      made.inode = inheritGroup(made.inode, parent.inode, this.#rules.setgid);
    const { whiteouts, keepsLowestWhiteouts } = this.#rules;
    if (whiteouts === 'overlay' && (keepsLowestWhiteouts || this.#number > 0))
      addDangling(made, upper, this.#number);
    if (upper.isNow) made.isNow = true;
    children.set(name, made);
  }

  #isMadeInPlace({ implied }: Disk): boolean {
    return implied && this.#rules.layering === 'in-place';
  }

  /** Refuses what cannot be made where there is no directory. */
  #checkNew(known: ViewNode | undefined, upper: Disk, path: Path): void {
    const { fresh } = this.#rules;
    if (upper.implied && 'refused' in fresh) throw new Refusal(path, fresh.refused);
    if (!known || known.inode.type === 'symlink' || !this.#isFollowing(upper)) return;
    throw new Refusal(path, `a lower layer has a ${known.inode.type} in place of the directory`);
  }

  #isFollowing({ implied, children }: Disk): boolean {
    const { follows } = this.#rules;
    return follows === 'all' ? children !== undefined : follows === 'implied' && implied;
  }

  /** What is at a name, or behind the symlink there. */
  #follow(known: ViewNode | undefined, upper: Disk, path: Path): ViewNode | undefined {
    if (known?.inode.type !== 'symlink' || !this.#isFollowing(upper)) return known;
    return resolve(this.root, parentOf(path), known.inode.target) ?? known;
  }

  /** Gives `lower` the metadata that `upper` has, where its layer says so. */
  #define(lower: ViewNode, upper: Disk): void {
    const isKnown = lower.layer >= 0;
    // What a layer empties it makes anew.
    if (this.#rules.layering === 'union' && isKnown && !upper.opaque) return;
    if (upper.isKept && isKnown) return;
    // Whoever looks for what is delegated stops at an opaque marker.
    if (upper.marked && isKnown && !lower.marked && !upper.opaque) return;
    const merges = this.#rules.mergesXattrs === 'layers';
    lower.inode = withXattrs(upper.inode, merges ? lower.inode : undefined);
    lower.isNow = upper.isNow;
    lower.leaked = merges ? addXattrs(lower.leaked, upper.leaked) : upper.leaked;
    lower.marked = upper.marked || upper.isKept;
    lower.layer = this.#number;
  }

  /** Whether what was put into a directory changes its time. */
  #isBumped(
    before: ReadonlySet<string>,
    after: ReadonlyMap<string, ViewNode>,
    upper: Disk,
  ): boolean {
    const { bumped } = this.#rules;
    const made = [...(upper.children ?? [])];
    if (bumped === 'touched') {
      if (!upper.implied) return false;
      const isGone = [...before].some((name) => !after.has(name));
      return isGone || made.some(([name, { children }]) => !children || !before.has(name));
    }
    if (bumped !== 'made' || !upper.filled) return false;
    return made.some(([name, { implied }]) => implied && !before.has(name));
  }
}

/** A directory that nothing says anything of. */
function viewDirectory(inode: Inode): ViewNode {
  return { inode, children: new Map(), isNow: false, leaked: NO_XATTRS, marked: true, layer: -1 };
}

/** Whether a directory is there only because of deletions below it. */
function isBare({ implied, children }: Disk): boolean {
  return implied && [...(children?.values() ?? [])].every(isBare);
}

/** Lists the deletions of a directory that nothing lies below of. */
function addDangling(made: ViewNode, upper: Disk, layer: number): void {
  const inode: Inode = { ...impliedDirectory().inode, type: 'char' };
  for (const name of upper.whiteouts) {
    if (made.children?.has(name)) continue;
    const hidden = { inode, dangling: true, isNow: false, leaked: NO_XATTRS, marked: false, layer };
    made.children?.set(name, hidden);
  }
}

/** The node at `path`, no symlink followed. */
export function find<T extends { readonly children?: ReadonlyMap<string, T> }>(
  root: T,
  path: Path,
): T | undefined {
  if (path === '') return root;
  let node: T | undefined = root;
  for (const part of path.split('/')) node = node?.children?.get(part);
  return node;
}

/** A name in a tree with symlinks. */
interface Linked<T> {
  readonly inode: Inode;
  readonly children?: ReadonlyMap<string, T>;
}

/** The directory that a path from the directory `from` leads to, symlinks followed. */
function resolve<T extends Linked<T>>(root: T, from: Path, target: string): T | undefined {
  const path = target.startsWith('/') ? target : `${from}/${target}`;
  const found = resolvePath((at) => find(root, at)?.inode, path, 'all');
  const node = found === undefined ? undefined : find(root, found);
  return node?.children ? node : undefined;
}
