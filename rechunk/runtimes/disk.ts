/** What a runtime writes to disk for one layer on its own: directories that the layer implies, times and xattrs by its rules. */
import { joinPath, type Path } from '../../registry/path.ts';
import { NO_XATTRS, type Xattrs } from '../../registry/tar.ts';
import { BLANK, type Inode } from '../tree.ts';
import { addXattrs, type Node, type Owner } from '../upper.ts';
import type { Fate, Fresh, Rules } from './model.ts';
import { Refusal } from './refusal.ts';

/** A name in a layer on disk. */
export interface Disk {
  readonly inode: Inode;
  /** Its time is that of unpacking. */
  readonly isNow: boolean;
  /** The `overlay.*` xattrs that are seen where they were set. */
  readonly leaked: Xattrs;
  /** By name; of every directory. */
  readonly children?: ReadonlyMap<string, Disk>;
  /** The layer has no entry for the directory. */
  readonly implied: boolean;
  /** Nothing changes where a lower layer has the directory. */
  readonly isKept: boolean;
  /** Overlayfs takes no notice of its metadata where a lower layer has unmarked ones. */
  readonly marked: boolean;
  readonly opaque: boolean;
  readonly whiteouts: ReadonlySet<string>;
  /** Something was put into the directory after the layer defined it. */
  readonly filled: boolean;
  /** The directory was implied before the one that holds it was defined. */
  readonly early: boolean;
}

/** The directory at a path in the nearest lower layer that has one. */
export type FindLower = (path: Path) => Disk | undefined;

/** What every host mounts over; bootc leaves out what images have there (ostree-ext, `EXCLUDED_TOPLEVEL_PATHS`). */
const MOUNTED = /^(dev|proc|run|sys|tmp)\//;

const NO_NAMES: ReadonlySet<string> = new Set();
const NOT_TRUSTED = /^(?!trusted\.)/;

/** Turns one layer's nodes into what lies on disk; inodes that are shared stay shared. */
export class DiskWriter {
  readonly #rules: Rules;
  readonly #findLower: FindLower;
  readonly #shown = new Map<Inode, Inode>();

  constructor(rules: Rules, findLower: FindLower) {
    this.#rules = rules;
    this.#findLower = findLower;
  }

  /** The layer's root directory `node` and all below it. */
  write(node: Node, path = '' as Path, parent?: Inode): Disk {
    this.#check(node.inode, path);
    if (!node.children) return this.#other(node, path);
    const made = node.implied ? this.#implied(node, path, parent) : this.#defined(node);
    const children = new Map<string, Disk>();
    for (const [name, child] of node.children) {
      if (this.#isIgnored(child)) continue;
      children.set(name, this.write(child, joinPath(path, name), made.inode));
    }
    const { filled = false, early = false, markers = [] } = node;
    const isLiteral = this.#rules.whiteouts === 'files';
    const [whiteouts, opaque] = isLiteral ? [] : [node.whiteouts, node.opaque];
    if (isLiteral)
      for (const [name, inode] of markers)
        children.set(name, { ...PLAIN, inode: this.#show(inode) });
    const marks = this.#marks(node, path);
    return {
      ...PLAIN,
      children,
      whiteouts: whiteouts ?? NO_NAMES,
      filled,
      early,
      leaked: marks.leaked,
      ...made,
      marked: made.marked === true || marks.marked,
      opaque: opaque === true || marks.opaque,
    };
  }

  /** Whether the runtime makes nothing of a node: of a type that it leaves out, or a directory that only such ones imply. */
  #isIgnored({ inode, implied, children, whiteouts, opaque }: Node): boolean {
    const { ignoresTypes } = this.#rules;
    if (!ignoresTypes) return false;
    if (!children) return ignoresTypes.includes(inode.type);
    if (!implied || whiteouts || opaque || children.size === 0) return false;
    return [...children.values()].every((child) => this.#isIgnored(child));
  }

  /** Refuses what the runtime cannot store, however the layers are cut. */
  #check({ type, xattrs }: Inode, path: Path): void {
    const { refusesTypes, refusesXattrs } = this.#rules;
    if (refusesTypes?.includes(type) && !MOUNTED.test(path))
      throw new Refusal(path, `a ${type} cannot be stored`, false);
    if (!refusesXattrs || xattrs.size === 0) return;
    const refused = [...xattrs.keys()].find((name) => refusesXattrs.test(name));
    if (refused !== undefined) throw new Refusal(path, `the xattr ${refused} cannot be set`, false);
  }

  /** What is no directory. */
  #other(node: Node, path: Path): Disk {
    const isNow = this.#rules.bumpsSymlinks === true && node.inode.type === 'symlink';
    return { ...PLAIN, inode: this.#show(node.inode), isNow, ...this.#marks(node, path) };
  }

  #defined(node: Node): Partial<Disk> & { inode: Inode } {
    const { bumped, fresh, mergesXattrs } = this.#rules;
    const isNow = bumped === 'filled' && this.#isFilled(node);
    if (!node.stamp || !('owner' in fresh) || fresh.owner !== 'entry')
      return { inode: withXattrs(this.#show(node.inode), mergesXattrs && node.earlier), isNow };
    return { inode: this.#show(freshDirectory(fresh, node.stamp)), isNow };
  }

  /** Whether something is put into the directory `node` after its own entry. */
  #isFilled(node: Node): boolean {
    if (hasFiles(node)) return true;
    const made = [...(node.children?.values() ?? [])].filter((child) => !this.#isIgnored(child));
    return node.filled === true && (made.length > 0 || node.whiteouts !== undefined);
  }

  #implied(node: Node, path: Path, parent: Inode | undefined): Partial<Disk> & { inode: Inode } {
    const { fresh, implied } = this.#rules;
    const lower = implied === 'copied' ? this.#findLower(path) : undefined;
    if (lower) {
      // Only what is put into the copy changes its time.
      const { xattrs, ...copied } = lower.inode;
      const inode = { ...copied, xattrs: keepXattrs(xattrs, NOT_TRUSTED) };
      const isNow = lower.isNow || node.filled === true;
      return { inode, isNow, implied: true, leaked: lower.leaked };
    }
    const made = 'mode' in fresh ? fresh : NO_FRESH;
    const inode = freshDirectory(made, node.stamp);
    const { setgid } = this.#rules;
    return {
      inode: this.#show(node.early ? inode : inheritGroup(inode, parent, setgid)),
      isNow: made.time === 'now',
      implied: true,
      isKept: implied === 'kept',
      marked: implied === 'delegated',
    };
  }

  /** What the `overlay.*` xattrs of a node do. */
  #marks({ overlay, delegates }: Node, path: Path): Pick<Disk, 'leaked' | 'marked' | 'opaque'> {
    if (!overlay || overlay.size === 0) return NO_MARKS;
    const leaked = new Map<string, Uint8Array>();
    let [marked, opaque] = [false, false];
    for (const [name, value] of overlay) {
      const fate = this.#fateOf(name);
      if (this.#rules.dropsXattrs?.test(name)) continue;
      if (fate === 'refused') throw new Refusal(path, `the xattr ${name} cannot be set`);
      if (fate === 'visible') leaked.set(name, value);
      if (fate !== 'live') continue;
      if (name.endsWith('.overlay.opaque') && Buffer.from(value).toString('latin1') === 'y')
        opaque = true;
      if (name.endsWith('.overlay.dirmeta_delegate'))
        marked = delegates === true && this.#rules.delegates === true;
    }
    return { leaked, marked, opaque };
  }

  #fateOf(name: string): Fate {
    return this.#rules.overlayXattrs[name.startsWith('user.') ? 'user' : 'trusted'];
  }

  /** The inode with what the runtime makes of times and xattrs. */
  #show(inode: Inode): Inode {
    const { times = 'kept', keepsXattrs } = this.#rules;
    const mtime = SHOWN_TIME[times](inode.mtime);
    const xattrs = keepXattrs(inode.xattrs, keepsXattrs);
    if (mtime === inode.mtime && xattrs === inode.xattrs) return inode;
    const shown = this.#shown.get(inode) ?? { ...inode, mtime, xattrs };
    this.#shown.set(inode, shown);
    return shown;
  }
}

const NS_PER_SECOND = 1_000_000_000n;

const SHOWN_TIME: Readonly<Record<NonNullable<Rules['times']>, (time: bigint) => bigint>> = {
  kept: (time) => time,
  zero: () => 0n,
  seconds: (time) => time - (((time % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND),
};

const NO_MARKS = { leaked: NO_XATTRS, marked: false, opaque: false };
const PLAIN = {
  isNow: false,
  implied: false,
  isKept: false,
  whiteouts: NO_NAMES,
  filled: false,
  early: false,
  ...NO_MARKS,
};
/** Stands where nothing can be made; whoever would need it refuses. */
const NO_FRESH: Fresh = { mode: 0o755, owner: 'root', time: 'zero' };

function freshDirectory({ mode, owner }: Fresh, stamp: Owner | undefined): Inode {
  const { uid, gid } = (owner === 'entry' && stamp) || BLANK;
  return { ...BLANK, type: 'dir', mode, uid, gid, layer: -1 };
}

/** Files come after all else, whatever the order. */
function hasFiles({ children }: Node): boolean {
  return [...(children?.values() ?? [])].some(({ inode }) => inode.type === 'file');
}

const SETGID = 0o2000;

/** The fresh directory `inode` as it is when it is made in the directory `parent`. */
export function inheritGroup(
  inode: Inode,
  parent: Inode | undefined,
  setgid: Rules['setgid'],
): Inode {
  if (!setgid || !parent || (parent.mode & SETGID) === 0) return inode;
  const mode = setgid === 'group' ? inode.mode : inode.mode | SETGID;
  return { ...inode, mode, gid: setgid === 'mode' ? inode.gid : parent.gid };
}

/** The directory `inode` with what `earlier` has besides. */
export function withXattrs(inode: Inode, earlier: Inode | undefined | ''): Inode {
  if (!earlier) return inode;
  const xattrs = addXattrs(earlier.xattrs, inode.xattrs);
  return xattrs === inode.xattrs ? inode : { ...inode, xattrs };
}

/** Those of `xattrs` whose names match `kept`; the same object where that is all. */
export function keepXattrs(xattrs: Xattrs, kept: RegExp | undefined): Xattrs {
  if (!kept || xattrs.size === 0) return xattrs;
  const left = [...xattrs].filter(([name]) => kept.test(name));
  return left.length === xattrs.size ? xattrs : left.length > 0 ? new Map(left) : NO_XATTRS;
}
