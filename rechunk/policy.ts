/**
 * What may differ between the image that was read and the one that is written, and nothing else: pruned paths, dropped xattrs
 * and times, which are inherited from the previous image first and set by rule where there is nothing to inherit. Building applies a policy; verifying applies the same one and lists what it excused.
 */
import { RechunkError } from '../registry/errors.ts';
import { type Path, parentOf, parsePath, pathFromText, showPath } from '../registry/path.ts';
import { NO_XATTRS } from '../registry/tar.ts';
import { findKept } from './base.ts';
import { type Ancestor, type Group, inheritTimes } from './inherit.ts';
import { isFresh, isPycName, PYC_HEADER_BYTES, parsePyc, sourceOf } from './pyc.ts';
import type { Entry, Inode, Tree } from './tree.ts';

/** What happens to the times of files: kept, never later than a moment, or one moment for all; nanoseconds. */
export type MtimePolicy =
  | { readonly kind: 'keep' }
  | { readonly kind: 'clamp'; readonly time: bigint }
  | { readonly kind: 'set'; readonly time: bigint };

/** The differences that are wanted. */
export interface Policy {
  /**
   * Whether what is as it was in the previous image keeps the time that it had there, before all else: no; yes; yes, and a
   * compiled Python file whose recorded time alone differs is taken from there too (default). Without a previous image nothing.
   */
  readonly inherit?: 'none' | 'times' | 'pyc' | undefined;
  /** Of files whose times are not inherited; default keep. */
  readonly mtime?: MtimePolicy | undefined;
  /** Default zero: a directory's time says when something was last added to it, and changes with every build. */
  readonly dirMtime?: 'zero' | 'keep' | undefined;
  /** Paths to leave out; a trailing slash keeps the directory itself. */
  readonly prune?: readonly string[] | undefined;
  /** Names of xattrs to leave out; `*` stands for any characters. */
  readonly dropXattrs?: readonly string[] | undefined;
}

/** A kind of wanted difference and how often it occurred. */
export interface Excuse {
  readonly kind:
    | 'prune'
    | 'drop-xattr'
    | 'inherited-time'
    | 'pyc-inherited'
    | 'mtime'
    | 'dir-mtime'
    | 'pyc'
    | 'overlay-xattr';
  readonly count: number;
  /** A sentence for people. */
  readonly text: string;
}

/** A tree after a policy, and what was done to it. */
export interface Shaped {
  readonly tree: Tree;
  readonly excuses: readonly Excuse[];
  readonly warnings: readonly string[];
  /** Sources and compiled Python files that are the previous image's only as a whole. */
  readonly groups: readonly Group[];
}

/**
 * Applies `policy` to `tree`, and what `ancestor` has to inherit: the tree that the written image has. What is as it is in `base`,
 * whose layers stay, keeps its time, or it would have to be written again.
 */
export async function applyPolicy(
  tree: Tree,
  policy: Policy,
  ancestor?: Ancestor,
  base?: Tree,
): Promise<Shaped> {
  const pruned = prune(tree, policy.prune ?? []);
  const kept = pruned.count === 0 ? tree : tree.with(pruned.entries);
  const dropped = dropXattrs(kept, policy.dropXattrs ?? []);
  const { inherit = 'pyc' } = policy;
  const directories = policy.dirMtime === 'keep' ? 'inherit' : 'leave';
  const fixed = new Set(base && findKept(base, dropped.tree).keys());
  const inherited =
    ancestor && inherit !== 'none'
      ? await inheritTimes(dropped.tree, ancestor, { inherit, directories, fixed })
      : { tree: dropped.tree, settled: new Set<Inode>(), times: 0, groups: [], pycs: 0 };
  const settled = new Set([...fixed, ...inherited.settled]);
  const timed = await setTimes(inherited.tree, policy, settled);
  const excuses = [
    excuse('prune', pruned.count),
    excuse('drop-xattr', dropped.count),
    excuse('inherited-time', inherited.times),
    excuse('pyc-inherited', inherited.pycs),
    excuse('mtime', timed.files),
    excuse('pyc', timed.pinned),
    excuse('dir-mtime', timed.directories),
  ].filter(({ count }) => count > 0);
  return { tree: timed.tree, excuses, warnings: pruned.warnings, groups: inherited.groups };
}

function dropXattrs(tree: Tree, globs: readonly string[]): { tree: Tree; count: number } {
  const dropped = xattrFilter(globs);
  if (!dropped) return { tree, count: 0 };
  let count = 0;
  const shaped = tree.map((inode) => {
    const kept = [...inode.xattrs].filter(([name]) => !dropped.test(name));
    count += inode.xattrs.size - kept.length;
    return kept.length === inode.xattrs.size ? inode : { ...inode, xattrs: mapOf(kept) };
  });
  return { tree: shaped, count };
}

/** What {@link setTimes} did. */
interface Timed {
  readonly tree: Tree;
  /** How many files and directories got another time, and how many kept theirs since something records it. */
  readonly files: number;
  readonly directories: number;
  readonly pinned: number;
}

/** Sets times by rule; files in `settled` keep what they have. */
async function setTimes(tree: Tree, policy: Policy, settled: ReadonlySet<Inode>): Promise<Timed> {
  const pinned = await pinnedTimes(tree, policy.mtime ?? { kind: 'keep' }, settled);
  const counts = { files: 0, directories: 0 };
  const timed = tree.map((inode) => {
    const mtime = pinned.has(inode) || settled.has(inode) ? inode.mtime : timeOf(inode, policy);
    if (mtime === inode.mtime) return inode;
    counts[inode.type === 'dir' ? 'directories' : 'files']++;
    return { ...inode, mtime };
  });
  return { tree: timed, ...counts, pinned: pinned.size };
}

/** What is counted of each kind (one, several), and what is said of it. */
const SAID: Readonly<
  Record<Excuse['kind'], readonly [string, string, (counted: string) => string]>
> = {
  prune: ['entry', 'entries', (n) => `${n} pruned`],
  'drop-xattr': ['xattr', 'xattrs', (n) => `${n} dropped by --drop-xattr`],
  'inherited-time': [
    'entry',
    'entries',
    (n) => `${n} as in the previous image keep the times there (--mtime keep takes the source's)`,
  ],
  'pyc-inherited': [
    'compiled Python file',
    'compiled Python files',
    (n) =>
      `${n} taken from the previous image, since the recorded time alone differs (--no-inherit-pyc takes none)`,
  ],
  mtime: ['file', 'files', (n) => `times of ${n} changed by --mtime`],
  pyc: ['file', 'files', (n) => `times of ${n} kept, since compiled Python files record them`],
  'dir-mtime': [
    'directory',
    'directories',
    (n) => `times of ${n} set to 0 (--dir-mtime keep keeps them)`,
  ],
  'overlay-xattr': ['overlay.* xattr', 'overlay.* xattrs', (n) => `${n} dropped`],
};

/** The excuse for `count` differences of a kind. */
export function excuse(kind: Excuse['kind'], count: number): Excuse {
  const [one, many, say] = SAID[kind];
  return { kind, count, text: say(`${count} ${count === 1 ? one : many}`) };
}

function mapOf(entries: readonly (readonly [string, Uint8Array])[]): Inode['xattrs'] {
  return entries.length > 0 ? new Map(entries) : NO_XATTRS;
}

function timeOf(inode: Inode, policy: Policy): bigint {
  if (inode.type === 'dir') return policy.dirMtime === 'keep' ? inode.mtime : 0n;
  const mtime = policy.mtime ?? { kind: 'keep' };
  if (mtime.kind === 'set') return mtime.time;
  return mtime.kind === 'clamp' && inode.mtime > mtime.time ? mtime.time : inode.mtime;
}

/** A pattern for the names that any of `globs` matches; undefined for none. */
function xattrFilter(globs: readonly string[]): RegExp | undefined {
  if (globs.length === 0) return undefined;
  const patterns = globs.map((glob) => glob.split('*').map(escapePattern).join('.*'));
  return new RegExp(`^(${patterns.join('|')})$`, 's');
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

interface Pruned {
  readonly entries: readonly Entry[];
  readonly count: number;
  readonly warnings: readonly string[];
}

/** The entries of `tree` without those at or below the paths `prune`. */
function prune(tree: Tree, prune: readonly string[]): Pruned {
  if (prune.length === 0) return { entries: tree.entries, count: 0, warnings: [] };
  const warnings: string[] = [];
  const whole = new Set<Path>();
  const content = new Set<Path>();
  for (const text of prune) {
    // As people write paths: `./a`, `/a//b`. A path that names nothing by a slip would leave in what was to go.
    const path = parsePath(`./${pathFromText(text)}`);
    if (path === '') throw new RechunkError('usage', `--prune ${text}: the root cannot be pruned`);
    const inode = tree.get(path);
    if (!inode) warnings.push(`--prune ${text}: the image has no such path`);
    else if (text.endsWith('/') && inode.type !== 'dir') {
      throw new RechunkError('usage', `--prune ${text}: it is a ${inode.type}, want a directory`);
    }
    (text.endsWith('/') ? content : whole).add(path);
  }
  const isPruned = (path: Path): boolean => {
    if (path === '') return false;
    if (whole.has(path)) return true;
    for (let at = path; at !== ''; at = parentOf(at)) {
      if (whole.has(at) || (at !== path && content.has(at))) return true;
    }
    return false;
  };
  const entries = tree.entries.filter(({ path }) => !isPruned(path));
  return { entries, count: tree.entries.length - entries.length, warnings };
}

/**
 * The `.py` files whose times must stay because a `.pyc` of theirs records it: with another time Python would compile
 * them again at every start. Those in `settled` stay anyway.
 */
async function pinnedTimes(
  tree: Tree,
  mtime: MtimePolicy,
  settled: ReadonlySet<Inode>,
): Promise<ReadonlySet<Inode>> {
  const pinned = new Set<Inode>();
  if (mtime.kind === 'keep') return pinned;
  for (const { path, inode } of tree.entries) {
    const name = inode.type === 'file' && isPycName(path) ? sourceOf(tree, path) : undefined;
    const source = name === undefined ? undefined : tree.get(name);
    if (source?.type !== 'file' || settled.has(source)) continue;
    const header = parsePyc(await tree.readInode(inode, PYC_HEADER_BYTES));
    if (isFresh(header, source)) pinned.add(source);
  }
  return pinned;
}

/** The policy as one line for people; '' for the default. */
export function describePolicy(policy: Policy): string {
  const parts = [
    ...(policy.prune ?? []).map((path) => `--prune ${showPath(path)}`),
    ...(policy.dropXattrs ?? []).map((glob) => `--drop-xattr ${glob}`),
    policy.dirMtime === 'keep' ? '--dir-mtime keep' : '',
    policy.mtime && policy.mtime.kind !== 'keep'
      ? `--mtime ${policy.mtime.kind} ${policy.mtime.time / 1_000_000_000n}`
      : '',
  ];
  return parts.filter(Boolean).join(' ');
}
