/**
 * Components: sets of files that change together, and the claims by which package databases and other sources
 * (component repos) say which file belongs to which.
 */
import { joinPath, PATH_LIMIT, type Path } from '../registry/path.ts';
import type { Entry, FileDigest, Tree } from './tree.ts';

/** What a component is made of; the planner has a prior for each. */
export type ComponentKind =
  | 'package' // of an operating system's package database
  | 'language' // of a language's package manager
  | 'user' // named by a xattr or a map file
  | 'kernel' // /usr/lib/modules/KVER and what boots with it
  | 'initramfs'
  | 'database' // package databases, logs, caches of package managers: change with every build
  | 'generated' // caches and indexes made on the machine: ld.so.cache, locale archives, …
  | 'config' // edited or unowned files below /etc
  | 'application' // unowned files of /opt, /srv, /app, /usr/local, …
  | 'large' // one big file (and its hard links) that nobody owns
  | 'directories' // directories with nothing in them
  | 'rest';

/** What a component repo knows of a component, apart from its files. */
export interface ComponentInfo {
  /** A function of the thing itself, never of siblings or order: `dpkg:glibc`, `node:/app/node_modules/@babel/core`. */
  readonly id: string;
  readonly kind: ComponentKind;
  /** Packages and versions that make it up, for people: `libc6 2.36-9+deb12u13`. Sorted. */
  readonly packages?: readonly string[];
  /** When its content changed, seconds since the epoch, newest last. */
  readonly changeTimes?: readonly number[];
  /** Where those times come from: what its maintainers wrote, or when it was built. */
  readonly changesFrom?: 'changelog' | 'build';
  /** Days between updates that the user stated. */
  readonly updateIntervalDays?: number;
}

/** How sure a claim is when several repos or packages claim one path; lower wins. */
export type ClaimStrength = 'explicit' | 'owner' | 'ghost' | 'guess';

/** "This path belongs to that component." */
export interface Claim {
  /** As the database lists it: leading slashes allowed, parents not yet resolved, one char a byte. */
  readonly path: string;
  /** {@link ComponentInfo.id} of the same repo. */
  readonly component: string;
  /**
   * `explicit`: the user said so, content is not asked. `owner`: a package lists it. `ghost`: a package lists it without
   * shipping content. `guess`: a naming rule.
   */
  readonly strength: ClaimStrength;
  /** What kind of file the database lists, where it knows. */
  readonly type?: 'file' | 'dir' | 'symlink';
  /**
   * The content that the package shipped, or a symlink's target, lower-case hex; the claim of an `owner` holds only if
   * the tree agrees.
   */
  readonly digest?: { readonly algorithm: FileDigest | 'sha256'; readonly hex: string };
  /** Content size in bytes that the package shipped; asked where there is no digest. */
  readonly size?: number;
  /** A symlink's target that the package shipped. */
  readonly target?: string;
}

/** What a component repo found in a tree. */
export interface Detection {
  /** The repo's name: `dpkg`, `rpm`, … */
  readonly repo: string;
  readonly components: readonly ComponentInfo[];
  readonly claims: readonly Claim[];
  /** Trouble that did not stop the reading, each a sentence. */
  readonly warnings: readonly string[];
}

/** What is asked of component repos. */
export interface DetectOptions {
  /** Whether to tell when components changed, which takes reading changelogs; default true. */
  readonly times?: boolean | undefined;
}

/** A source of claims. */
export interface ComponentRepo {
  readonly name: string;
  /** Matches the path of every file whose content `detect` reads, apart from what tells times; absent where it reads none. */
  readonly documents?: RegExp;
  /** Undefined where the tree has nothing of its kind. */
  detect(tree: Tree, options?: DetectOptions): Promise<Detection | undefined>;
}

/** Directories that a merged `/usr` has in place of those at the root, for trees that lost the symlinks. */
const ALIAS = /^(bin|sbin|lib|lib32|lib64|libx32)\//;
/** Parts that no database lists in good faith. */
const UNSAFE = /(^|\/)\.\.(\/|$)|\0/;

/**
 * Makes the function that finds where a listed path lies in `tree`: symlinks among its parents are followed, the last
 * part is not, since a package may own a symlink. `/bin/x` is looked for as `/usr/bin/x` where the tree has no `/bin/x`
 * (package-databases section 0). Undefined where nothing is there, and for the root.
 */
export function locator(tree: Tree): (listed: string) => Path | undefined {
  const parents = new Map<string, Path | undefined>();
  const resolveParent = (parent: string): Path | undefined => {
    if (!parents.has(parent)) parents.set(parent, tree.resolve(parent, 'all'));
    return parents.get(parent);
  };
  const find = (path: string): Path | undefined => {
    const slash = path.lastIndexOf('/');
    const listed = slash < 0 ? '' : path.slice(0, slash);
    const parent = resolveParent(listed);
    if (parent === undefined) return undefined;
    // Most lead through no symlink; then the text is not made a second time, since it is kept for each file.
    const found = parent === listed ? (path as Path) : joinPath(parent, path.slice(slash + 1));
    return tree.get(found) && found;
  };
  return (listed) => {
    if (listed.length > PATH_LIMIT) return undefined;
    const path = listed.replace(/^(\.?\/)+|\/+$/g, '');
    if (path === '' || path === '.' || UNSAFE.test(path)) return undefined;
    return find(path) ?? (ALIAS.test(path) ? find(`usr/${path}`) : undefined);
  };
}

/** A set of entries that change together; every non-directory of the tree is in exactly one. */
export interface Component extends ComponentInfo {
  /** Non-directories, and directories without children, in canonical order; hard-link groups whole. */
  readonly entries: readonly Entry[];
  /** Bytes of content, each hard-link group once. */
  readonly size: number;
}

/** The components of a tree, sorted by id, and what was noticed on the way. */
export interface Assignment {
  readonly components: readonly Component[];
  readonly warnings: readonly string[];
}
