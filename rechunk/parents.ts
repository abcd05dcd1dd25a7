/**
 * The parents policies: which directories a layer holds around the entries that are its own. Unpackers disagree about a directory
 * that has files below it in a layer and no entry of its own (README, "Parents"), so a layer either says all of every such
 * directory, or says nothing that could be wrong, and a *skeleton*, a layer of directories only, says it once for all.
 *
 * | policy | content layers hold | skeleton |
 * |---|---|---|
 * | `full` | every ancestor as it is, the root too | none |
 * | `shared`, `implicit` | no directories | last; first |
 * | `delegate`, fallback `exact` | marked ancestors as they are | first |
 * | `delegate`, fallback `neutral` | marked ancestors, 0755 root:root | first and last |
 *
 * All that depends on the policy is asked here.
 */
import { RechunkError } from '../registry/errors.ts';
import { ancestorsOf, type Path, parentOf } from '../registry/path.ts';
import { directoriesAbove, type Overlay } from './base.ts';
import type { Component } from './components.ts';
import { BLANK, type Entry, type Inode, isDefined, type Tree } from './tree.ts';
import { DELEGATE_XATTRS } from './upper.ts';

/** Where skeletons lie among an image's layers. */
export type SkeletonPlace = 'first' | 'last' | 'both';

/** What layers hold of the directories that they need. */
export type ParentsPolicy =
  | { readonly kind: 'full' }
  | {
      readonly kind: 'shared' | 'implicit';
      /** Default: last for `shared`, first for `implicit`. */
      readonly skeleton?: SkeletonPlace | undefined;
    }
  | {
      readonly kind: 'delegate';
      /** Default: first, and with the fallback `neutral` both. */
      readonly skeleton?: SkeletonPlace | undefined;
      /** The namespace of the marker; default trusted. */
      readonly xattr?: 'trusted' | 'user' | undefined;
      /** What a marked directory shows where nobody delegates: its own metadata (default), or the same for all. */
      readonly fallback?: 'exact' | 'neutral' | undefined;
    };

/** Every layer is right alone. */
export const FULL: ParentsPolicy = { kind: 'full' };

/** The mode of directories that say nothing: what unpackers give to those that nobody defines. */
const NEUTRAL_MODE = 0o755;
const MARK: Uint8Array = Buffer.from('y');

/** Where a policy puts skeletons; undefined for none. */
export function skeletonPlace(policy: ParentsPolicy): SkeletonPlace | undefined {
  if (policy.kind === 'full') return undefined;
  if (policy.skeleton) return policy.skeleton;
  if (policy.kind === 'shared') return 'last';
  return policy.kind === 'delegate' && policy.fallback === 'neutral' ? 'both' : 'first';
}

/**
 * Layers that content may have where an image may have `most`: skeletons count, and so do `below`, a base's layers and whiteouts.
 * Throws `usage` where that is none.
 */
export function contentLayers(policy: ParentsPolicy, most: number, below = 0): number {
  const place = skeletonPlace(policy);
  const skeletons = place === undefined ? 0 : place === 'both' ? 2 : 1;
  const left = most - below - skeletons;
  if (left > 0) return left;
  const count = skeletons === 1 ? 'one skeleton' : `${skeletons} skeletons`;
  const needs = [
    ...(below > 0 ? [`the base and its whiteouts are ${below}`] : []),
    ...(skeletons > 0 ? [`--parents ${policy.kind} needs ${count}`] : []),
  ];
  throw new RechunkError(
    'usage',
    `--max-layers ${most}: want at least ${below + skeletons + 1}, since ${needs.join(' and ')}`,
  );
}

/** The layers of an image, lowest first: `content` with the skeletons, if there are any, where the policy wants them. */
export function withSkeletons<T>(
  policy: ParentsPolicy,
  { first, last }: Skeletons<T>,
  content: readonly T[],
): T[] {
  const place = skeletonPlace(policy);
  const some = (skeleton: T | undefined, other: SkeletonPlace): T[] =>
    place === undefined || place === other || skeleton === undefined ? [] : [skeleton];
  return [...some(first, 'last'), ...content, ...some(last, 'first')];
}

/** What is first, and what is last; undefined where there is nothing to hold. */
export interface Skeletons<T> {
  readonly first: T | undefined;
  readonly last: T | undefined;
}

/**
 * What components own under the policy: without skeletons also directories with nothing in them; else no directory, so that what
 * becomes of one changes no layer but skeletons. A component that owns nothing is none.
 */
export function ownedBy(
  policy: ParentsPolicy,
  components: readonly Component[],
): readonly Component[] {
  if (policy.kind === 'full') return components;
  return components.flatMap((component) => {
    const entries = component.entries.filter(({ inode }) => inode.type !== 'dir');
    if (entries.length === component.entries.length) return [component];
    return entries.length > 0 ? [{ ...component, entries }] : [];
  });
}

/** What a skeleton of `tree` holds: every directory as it is, the root where the image defines it; in canonical order. */
export function skeletonOf(tree: Tree): Entry[] {
  return tree.entries.filter(({ path, inode }) => isDirectory(inode) && isDefined(path, inode));
}

/**
 * What skeletons hold above a base: all directories that layers above it need. Where content says of its ancestors what they are,
 * but marked, the first one holds what the base does not define as it is meant, its own ancestors marked too. (Neutral ones would
 * count over a base that defines a directory with a mark only.)
 */
export function skeletonsAbove(
  policy: ParentsPolicy,
  overlay: Overlay,
): Skeletons<readonly Entry[]> {
  const { changed, needed } = directoriesAbove(overlay);
  if (policy.kind !== 'delegate' || policy.fallback === 'neutral')
    return { first: needed, last: needed };
  const root = changed.filter(({ path }) => path === '');
  return { first: [...root, ...surround(policy, overlay.tree, changed)], last: needed };
}

const isDirectory = ({ type }: Inode): boolean => type === 'dir';

/** What a content layer holds whose own are `entries`: both in canonical order, each path once, parents before what is in them. */
export function* surround(
  policy: ParentsPolicy,
  tree: Tree,
  entries: Iterable<Entry>,
): Generator<Entry> {
  if (policy.kind === 'full') yield* withAncestors(tree, entries, (inode) => inode, 'root');
  else if (policy.kind === 'delegate')
    yield* withAncestors(tree, entries, marker(policy), 'no root');
  else yield* entries;
}

/** `entries` and every ancestor that they need, as `show` gives it; the root comes first where the image defines it. */
function* withAncestors(
  tree: Tree,
  entries: Iterable<Entry>,
  show: (inode: Inode) => Inode,
  top: 'root' | 'no root',
): Generator<Entry> {
  const root = tree.get('' as Path);
  if (top === 'root' && root && isDefined('' as Path, root))
    yield { path: '' as Path, inode: show(root) };
  // In canonical order all below a directory follows it, so only the chain above the last entry must be remembered.
  let chain: readonly Path[] = [];
  // Where the last entry was, if that was no directory: another one there needs nothing more.
  let place: Path | undefined;
  for (const entry of entries) {
    if (!isDirectory(entry.inode) && place !== undefined && parentOf(entry.path) === place) {
      yield entry;
      continue;
    }
    place = isDirectory(entry.inode) ? undefined : parentOf(entry.path);
    const ancestors = ancestorsOf(entry.path);
    for (const [depth, path] of ancestors.entries()) {
      if (chain[depth] === path) continue;
      const inode = tree.get(path);
      if (!inode) throw new Error(`the tree has no ${path}`);
      yield { path, inode: show(inode) };
    }
    if (entry.path !== '') yield entry;
    chain = isDirectory(entry.inode) ? [...ancestors, entry.path] : ancestors;
  }
}

/** Makes the function that marks a directory so that it delegates its metadata, and says what it shows where nobody delegates. */
function marker({
  xattr = 'trusted',
  fallback = 'exact',
}: Extract<ParentsPolicy, { kind: 'delegate' }>): (inode: Inode) => Inode {
  const mark = [DELEGATE_XATTRS[xattr], MARK] as const;
  const neutral = { ...BLANK, type: 'dir', mode: NEUTRAL_MODE, xattrs: new Map([mark]) } as const;
  return (inode) =>
    fallback === 'exact'
      ? { ...inode, xattrs: new Map([...inode.xattrs, mark]) }
      : { ...neutral, layer: inode.layer };
}

/** What a user should know of the policy that was chosen: what it costs, and which runtimes will show something else. Sentences. */
export function noticesOf(policy: ParentsPolicy): string[] {
  const place = skeletonPlace(policy);
  if (policy.kind === 'full' || place === undefined) return [];
  const isMarked = policy.kind === 'delegate';
  const { xattr = 'trusted', fallback = 'exact' } = isMarked ? policy : {};
  const trouble = [
    TROUBLE[isMarked ? fallback : 'nothing'][place],
    isMarked ? MARKED[xattr][place] : undefined,
  ];
  const costs = [
    place === 'last'
      ? undefined
      : 'a first skeleton costs every chain above it: where a directory changes, Docker’s graph drivers pull all layers again',
    isMarked && xattr === 'trusted'
      ? 'rootless podman fails where it pulls zstd:chunked layers with trusted.* markers in part (--delegate-xattr user)'
      : undefined,
  ];
  const chosen = `--parents ${policy.kind} with the skeleton ${WORDS[place]}`;
  return [...trouble.map((text) => text && `${chosen}: ${text}`), ...costs].filter(
    (text) => text !== undefined,
  );
}

const WORDS: Readonly<Record<SkeletonPlace, string>> = {
  first: 'first only',
  last: 'last only',
  both: 'first and last',
};

/** A sentence for each place of the skeleton that wants one. */
type ByPlace = Readonly<Partial<Record<SkeletonPlace, string>>>;

/** Which runtimes show other metadata than is meant, by what content layers say of ancestors; as `runtimes/` has it. */
const TROUBLE: Readonly<Record<'nothing' | 'exact' | 'neutral', ByPlace>> = {
  nothing: {
    first:
      'podman’s overlay and composefs storage, Docker’s overlay2 run by root, and containerd’s parallel unpacking show directories with the metadata that they invent (--skeleton both serves them too)',
    last: 'ostree shows what it invents, since the lowest layer counts there, and composefs-rs refuses files whose directory no lower layer has (--skeleton both serves them too)',
  },
  exact: {},
  neutral: {
    first:
      'every runtime of today but ostree shows directories as 0755 root:root (--skeleton both serves all)',
    last: 'ostree shows directories as 0755 root:root, since the lowest layer counts there (--skeleton both serves it too)',
  },
};

const MERGED =
  'containers see the markers in podman’s vfs storage, containerd’s native snapshotter, rootless Docker and rootless containerd';

/** Where containers see markers, which no skeleton above takes away. */
const MARKED: Readonly<Record<'trusted' | 'user', ByPlace>> = {
  trusted: {
    first:
      'containers see the markers in podman’s composefs storage and in umoci (--skeleton both takes them away)',
    last: 'the markers stay in ostree (--skeleton both takes them away)',
  },
  user: {
    first:
      'containers see the markers, but in rootless podman and Docker, ostree and composefs-rs (--skeleton both takes most of them away)',
    last: `${MERGED}, and they stay in ostree`,
    both: `${MERGED} (--delegate-xattr trusted)`,
  },
};
