/** Entries of a layer's directory cut down to what this process may make; what is lost is counted. */
import { NO_XATTRS, type Xattrs } from '../../registry/tar.ts';
import type { Inode } from '../tree.ts';
import type { Item } from './extractor.ts';
import { type LayerEntry, WHITEOUT } from './overlay.ts';
import { canSetXattr, type Privilege } from './privilege.ts';

/** What could not be kept. */
export interface Losses {
  /** Entries that belong to others than they should. */
  owners: number;
  devices: number;
  xattrs: number;
  /** Names of those xattrs. */
  readonly names: Set<string>;
}

/** Counts nothing yet. */
export function noLosses(): Losses {
  return { owners: 0, devices: 0, xattrs: 0, names: new Set() };
}

/** A mode that is set after everything else, since the xattrs of what one may not write to cannot be set. */
export interface LateMode {
  readonly path: string;
  readonly mode: number;
}

/** The user and group that files get whose own cannot be set. */
export interface Self {
  readonly uid: number;
  readonly gid: number;
}

const OWNER_WRITE = 0o200;
const OWNER_SEARCH = 0o100;

/** Turns entries into items for one layer's directory. */
export class Fitter {
  /** In the order of the entries: set the last first, since a parent may close the way. */
  readonly lateModes: LateMode[] = [];
  readonly #privilege: Privilege;
  readonly #self: Self;
  readonly #losses: Losses;
  /** The first name of each inode here. */
  readonly #names = new Map<Inode, string>();

  constructor(privilege: Privilege, self: Self, losses: Losses) {
    this.#privilege = privilege;
    this.#self = self;
    this.#losses = losses;
  }

  *items(entries: Iterable<LayerEntry>): Generator<Item> {
    for (const entry of entries) {
      const item = this.#fit(entry);
      if (item) yield item;
    }
  }

  #fit(entry: LayerEntry): Item | undefined {
    const { path, inode, covers } = entry;
    if (inode === WHITEOUT) return this.#itemOf(entry, inode, NO_XATTRS);
    if ((inode.type === 'char' || inode.type === 'block') && !this.#privilege.devices) {
      this.#losses.devices++;
      // What it replaces must not show in its place.
      return covers ? this.#itemOf(entry, WHITEOUT, NO_XATTRS) : undefined;
    }
    const first = inode.type === 'dir' ? undefined : this.#names.get(inode);
    if (first === undefined) this.#names.set(inode, path);
    const item = this.#itemOf(entry, inode, this.#xattrsOf(entry));
    if (first === undefined) return this.#writable(item);
    return { ...item, type: 'link', link: first, size: 0, body: undefined };
  }

  #itemOf({ path }: LayerEntry, inode: Inode, xattrs: Xattrs): Item {
    const { type, mode, mtime, size, target: link, devMajor, devMinor, body } = inode;
    const uid = this.#privilege.isOwner(inode.uid) ? inode.uid : this.#self.uid;
    const gid = this.#privilege.isGroup(inode.gid) ? inode.gid : this.#self.gid;
    if (inode !== WHITEOUT && (uid !== inode.uid || gid !== inode.gid)) this.#losses.owners++;
    return { path, type, mode, uid, gid, mtime, size, link, devMajor, devMinor, xattrs, body };
  }

  #xattrsOf({ inode, markers }: LayerEntry): Xattrs {
    const { type, xattrs } = inode;
    if (xattrs.size === 0 && markers.size === 0) return NO_XATTRS;
    const kept = [...xattrs].filter(([name]) => canSetXattr(this.#privilege, type, name));
    this.#losses.xattrs += xattrs.size - kept.length;
    for (const name of xattrs.keys())
      if (!canSetXattr(this.#privilege, type, name)) this.#losses.names.add(name);
    const all = [...kept, ...markers];
    return all.length > 0 ? new Map(all) : NO_XATTRS;
  }

  /** The item as one that its own xattrs can be set on, and that what is in it can be reached through. */
  #writable(item: Item): Item {
    const { path, type, mode, xattrs } = item;
    if (this.#privilege.readOnly || (type !== 'file' && type !== 'dir')) return item;
    const needed = (xattrs.size > 0 ? OWNER_WRITE : 0) | (type === 'dir' ? OWNER_SEARCH : 0);
    if ((mode & needed) === needed) return item;
    this.lateModes.push({ path, mode });
    return { ...item, mode: mode | needed };
  }
}

/** What was lost, as a sentence; undefined where nothing was. */
export function describeLosses({ owners, devices, xattrs, names }: Losses): string | undefined {
  const parts = [
    ...(owners > 0 ? [`the owners of ${owners} entries`] : []),
    ...(devices > 0 ? [`${devices} device nodes`] : []),
    ...(xattrs > 0 ? [`${xattrs} extended attributes (${[...names].sort().join(', ')})`] : []),
  ];
  if (parts.length === 0) return undefined;
  return `not kept, since this user may not set them: ${parts.join(', ')}`;
}
