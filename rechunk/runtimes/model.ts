/**
 * What is known of how a container runtime unpacks layers and shows them: a small record of rules for each, over the one engine
 * of `view.ts`. Sources: `test-images/runtimes/` (measured) and the runtimes' own code; see "Runtimes" in `rechunk/README.md`.
 */
import type { InodeType } from '../tree.ts';
import type { LayerOddity } from '../upper.ts';

/** What becomes of an `overlay.*` xattr that a layer brings. */
export type Fate =
  /** Set, obeyed by overlayfs and hidden from containers. */
  | 'live'
  /** Set, obeyed by nothing, and seen where it was set. */
  | 'visible'
  /** Not set. */
  | 'dropped'
  /** The image is refused. */
  | 'refused';

/** How the layers come together. */
export type Layering =
  /** Each is unpacked into a directory of its own; overlayfs lays them on each other. */
  | 'overlay'
  /** Each is unpacked into the tree that those below it made. */
  | 'in-place'
  /** Each is unpacked on its own, then checked out over those below it; directories that are there stay as they are. */
  | 'union';

/** What a directory gets that its layer implies, where a lower layer has it. */
export type Implied =
  /** As where no lower layer has it. */
  | 'fabricated'
  /** Mode, owner and xattrs of the nearest lower layer's. */
  | 'copied'
  /** What is there stays. */
  | 'kept'
  /** It is marked to delegate its metadata. */
  | 'delegated';

/** What an implied directory gets that no lower layer has. */
export interface Fresh {
  readonly mode: number;
  /** `entry`: of the entry that implied it. */
  readonly owner: 'root' | 'entry';
  readonly time: 'zero' | 'now';
}

/** What a deletion does where the same layer makes the name too. */
export type Whiteouts =
  /** It hides the lower one, in whatever order they come. */
  | 'apart'
  /** It deletes what is there when it comes, of its own layer too. */
  | 'in-order'
  /** It is a name of its layer: made over it, a directory is laid over the lower one; where there is nothing to delete, it is listed. */
  | 'overlay'
  /** It deletes nothing, and is a file like others. */
  | 'files';

/** How layers are copied. */
export interface Copying {
  /** Xattrs that are kept, by name; default all. */
  readonly keepsXattrs?: RegExp | undefined;
  /** Whether directories that hold something get the time of the copy; default no. */
  readonly bumps?: boolean | undefined;
}

/** A runtime's rules. */
export interface Rules {
  readonly layering: Layering;
  readonly implied: Implied;
  /** Or why an image is refused that needs one. */
  readonly fresh: Fresh | { readonly refused: string };
  /**
   * Which directories are looked for behind a symlink that a lower layer has in place of them, and refused over its files; default
   * none: they take the place of what is there.
   */
  readonly follows?: 'implied' | 'all' | undefined;
  /** What an implied directory takes from a set-group-id one that it is made in; default nothing. */
  readonly setgid?: 'mode' | 'group' | 'both' | undefined;
  /**
   * When a directory's time becomes that of unpacking although something else is stated: `filled`: something is put into it after
   * its own entry, files at all; `touched`: it is kept, and a name in it comes or goes; `made`: a missing directory is made in it. Default: never.
   */
  readonly bumped?: 'filled' | 'touched' | 'made' | undefined;
  /** What becomes of all times; default `kept`. */
  readonly times?: 'kept' | 'zero' | 'seconds' | undefined;
  /** Whether symlinks have the time of unpacking; default no. */
  readonly bumpsSymlinks?: boolean | undefined;
  /** What becomes of `overlay.*` xattrs, by namespace. */
  readonly overlayXattrs: { readonly trusted: Fate; readonly user: Fate };
  /** Whether overlayfs obeys marks that delegate a directory's metadata; default no. */
  readonly delegates?: boolean | undefined;
  /** What a directory's xattrs are added to: those of an earlier entry of its layer, or of lower layers too; default nothing. */
  readonly mergesXattrs?: 'entries' | 'layers' | undefined;
  /** Xattrs that are kept, by name; default all. */
  readonly keepsXattrs?: RegExp | undefined;
  /** What the copies lose that each further layer is unpacked into, and that a container has; default nothing, or there are none. */
  readonly copies?: Copying | undefined;
  /** `overlay.*` xattrs that are not set in any case, by name. */
  readonly dropsXattrs?: RegExp | undefined;
  /** What the root directory shows: as any directory, or always the same. */
  readonly root: 'entry' | { readonly mode: number };
  readonly whiteouts: Whiteouts;
  /** Whether the root takes what /usr has, without which an image is refused, and /run is emptied; default no. */
  readonly isSealed?: boolean | undefined;
  /** Whether deletions in the lowest layer leave something; default no. */
  readonly keepsLowestWhiteouts?: boolean | undefined;
  /** Whether directories are made that only deletions imply; default yes. */
  readonly makesBare?: boolean | undefined;
  /** Whether what was put into a directory before its own opaque marker is lost too; default no. */
  readonly lateOpaqueDeletes?: boolean | undefined;
  /** Types that are left out. */
  readonly ignoresTypes?: readonly InodeType[] | undefined;
  /** Types that are refused, but for below what is mounted over. */
  readonly refusesTypes?: readonly InodeType[] | undefined;
  /** Xattrs that are refused, by name. */
  readonly refusesXattrs?: RegExp | undefined;
  /** What is refused, and why. */
  readonly refuses: Readonly<Partial<Record<LayerOddity, string>>>;
}

/** What no image can change about what a runtime shows. */
export interface Flaw {
  readonly of:
    | 'root'
    | 'run'
    | 'types'
    | 'times'
    | 'sub-seconds'
    | 'directory-times'
    | 'symlink-times'
    | 'xattrs';
  /** Of `xattrs`: the names of those that are not shown. */
  readonly names?: RegExp;
  readonly why: string;
}

/** A runtime, or one of its ways to unpack. */
export interface RuntimeModel {
  readonly id: string;
  /** For people. */
  readonly name: string;
  readonly rules: Rules;
  /** What no image can change; that of the root directory holds for all. */
  readonly flaws: readonly Flaw[];
}

/** No runtime takes the root directory from the image reliably. */
export const ROOT_FLAW: Flaw = {
  of: 'root',
  why: 'runtimes make the root directory themselves',
};
