/**
 * What may differ between the image that was read and the one that is written, and nothing else: times, pruned paths and
 * dropped xattrs. Building applies a policy; verifying applies the same one and lists what it excused.
 */
import { RechunkError } from '../registry/errors.ts';
import {
  nameOf,
  type Path,
  parentOf,
  parsePath,
  pathFromText,
  showPath,
} from '../registry/path.ts';
import { NO_XATTRS } from '../registry/tar.ts';
import type { Entry, Inode, Tree } from './tree.ts';

/** What happens to the times of files: kept, never later than a moment, or one moment for all; nanoseconds. */
export type MtimePolicy =
  | { readonly kind: 'keep' }
  | { readonly kind: 'clamp'; readonly time: bigint }
  | { readonly kind: 'set'; readonly time: bigint };

/** The differences that are wanted. */
export interface Policy {
  /** Default keep. */
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
  readonly kind: 'prune' | 'drop-xattr' | 'mtime' | 'dir-mtime' | 'pyc' | 'overlay-xattr';
  readonly count: number;
  /** A sentence for people. */
  readonly text: string;
}

/** A tree after a policy, and what was done to it. */
export interface Shaped {
  readonly tree: Tree;
  readonly excuses: readonly Excuse[];
  readonly warnings: readonly string[];
}

/** Applies `policy` to `tree`: the tree that the written image has. */
export async function applyPolicy(tree: Tree, policy: Policy): Promise<Shaped> {
  const pruned = prune(tree, policy.prune ?? []);
  const pinned = await pinnedTimes(tree, pruned.entries, policy.mtime ?? { kind: 'keep' });
  const counts = { xattrs: 0, mtime: 0, dirMtime: 0 };
  const dropped = xattrFilter(policy.dropXattrs ?? []);
  const shaped = new Map<Inode, Inode>();
  const shape = (inode: Inode): Inode => {
    const known = shaped.get(inode);
    if (known) return known;
    const mtime = pinned.has(inode) ? inode.mtime : timeOf(inode, policy);
    const kept = dropped ? [...inode.xattrs].filter(([name]) => !dropped.test(name)) : [];
    const xattrs = dropped && kept.length < inode.xattrs.size ? mapOf(kept) : inode.xattrs;
    if (mtime === inode.mtime && xattrs === inode.xattrs) return inode;
    if (mtime !== inode.mtime) counts[inode.type === 'dir' ? 'dirMtime' : 'mtime']++;
    counts.xattrs += inode.xattrs.size - xattrs.size;
    const result = { ...inode, mtime, xattrs };
    shaped.set(inode, result);
    return result;
  };
  const entries = pruned.entries.map((entry): Entry => {
    const inode = shape(entry.inode);
    return inode === entry.inode ? entry : { path: entry.path, inode };
  });
  const excuses: Excuse[] = [
    excuse('prune', pruned.count, (n) => `${n} pruned`),
    excuse('drop-xattr', counts.xattrs, (n) => `${n} dropped by --drop-xattr`, 'xattr'),
    excuse('mtime', counts.mtime, (n) => `times of ${n} changed by --mtime`, 'file'),
    excuse(
      'pyc',
      pinned.size,
      (n) => `times of ${n} kept, since compiled Python files record them`,
      'file',
    ),
    excuse(
      'dir-mtime',
      counts.dirMtime,
      (n) => `times of ${n} set to 0 (--dir-mtime keep keeps them)`,
      'directory',
      'directories',
    ),
  ].filter(({ count }) => count > 0);
  return { tree: tree.with(entries), excuses, warnings: pruned.warnings };
}

function excuse(
  kind: Excuse['kind'],
  count: number,
  text: (counted: string) => string,
  one = 'entry',
  many = one === 'entry' ? 'entries' : `${one}s`,
): Excuse {
  return { kind, count, text: text(`${count} ${count === 1 ? one : many}`) };
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

/** Bytes of a compiled Python file's header (PEP 552); before Python 3.7 it is shorter, but no such file is. */
const PYC_HEADER_BYTES = 16;

/**
 * The `.py` files whose times must stay because a `.pyc` of theirs records it: with another time Python would compile
 * them again at every start. By PEP 552, bytes 4–7 are flags, and 0 means that bytes 8–11 hold the source's mtime; before
 * Python 3.7 (RHEL 8 has 3.6, Python 2 is about) bytes 4–7 hold it.
 */
async function pinnedTimes(
  tree: Tree,
  entries: readonly Entry[],
  mtime: MtimePolicy,
): Promise<ReadonlySet<Inode>> {
  const pinned = new Set<Inode>();
  if (mtime.kind === 'keep') return pinned;
  for (const { path, inode } of entries) {
    if (inode.type !== 'file' || !/\.py[co]$/.test(path) || inode.size < PYC_HEADER_BYTES) continue;
    const source = tree.get(sourceOf(path));
    if (source?.type !== 'file') continue;
    const header = await tree.readInode(inode, PYC_HEADER_BYTES);
    const recorded = header.readUInt32LE(4) || header.readUInt32LE(8);
    if (BigInt(recorded) === (source.mtime / 1_000_000_000n) % (1n << 32n)) pinned.add(source);
  }
  return pinned;
}

/** The `.py` that a `.pyc` was compiled from: beside `__pycache__`, or beside itself (PEP 3147). */
export function sourceOf(path: Path): Path {
  const directory = parentOf(path);
  if (nameOf(directory) !== '__pycache__') return path.slice(0, -1) as Path;
  const module = nameOf(path).split('.')[0] ?? '';
  const above = parentOf(directory);
  return `${above === '' ? '' : `${above}/`}${module}.py` as Path;
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
