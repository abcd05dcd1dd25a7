/**
 * Compares two images: type, mode, owner, times, sizes, content, hard-link groups, device numbers, xattrs and config. Every
 * difference is listed, and every one that the policy excuses is counted.
 */

import type { Image } from '../registry/image.ts';
import { type Path, showPath } from '../registry/path.ts';
import { parseJson } from './json.ts';
import { editLabels, type MetadataOptions, STALE_CONFIG } from './metadata.ts';
import { applyPolicy, type Excuse, excuse, type Policy, type Shaped } from './policy.ts';
import { compareCode, isPycName } from './pyc.ts';
import { PLAN_LABEL } from './record.ts';
import type { ComparedView } from './runtimes/compare.ts';
import type { Inode, Tree } from './tree.ts';

/** One way in which two images differ. */
export interface Difference {
  /** Where: an absolute path of the file system (for people), or `config.FIELD`. */
  readonly at: string;
  readonly what:
    | 'missing'
    | 'extra'
    | 'type'
    | 'mode'
    | 'owner'
    | 'mtime'
    | 'size'
    | 'content'
    | 'target'
    | 'device'
    | 'xattrs'
    | 'links'
    | 'config';
  readonly want: string;
  readonly got: string;
  /** Set where it may be what a previous image had, which was not at hand: a time, or a time that compiled Python records. */
  readonly unproven?: true;
}

/** The outcome of a comparison. */
export interface Verification {
  /** Whether nothing differs but what the policy excuses. */
  readonly equal: boolean;
  readonly differences: readonly Difference[];
  /** How many differences are unproven: with the previous image they may be excused. */
  readonly unproven: number;
  readonly excuses: readonly Excuse[];
  /** How many entries were compared. */
  readonly entries: number;
  /** What runtimes make of the result, where that was asked for. */
  readonly runtimes?: readonly ComparedView[];
}

/**
 * Compares the file system `got` with `original` as `policy` shapes it, with what `previous` had where that is given. A time
 * that the policy changes may also be as it was (an image is equal to itself under any policy for times), and so may one that is
 * inherited, though files that record each other's times only together.
 */
export async function compareTrees(
  original: Tree,
  got: Tree,
  policy: Policy,
  previous?: Tree,
): Promise<Verification> {
  const { shaped, plain, wanted, timesOf } = await intend(original, got, policy, previous);
  const differences: Difference[] = [];
  const excused = new Map<Excuse['kind'], Set<Inode>>();
  for (const { path, inode } of wanted.entries) {
    const other = got.get(path);
    if (!other) {
      if (path === '' && inode.layer === -1) continue;
      differences.push({ at: show(path), what: 'missing', want: inode.type, got: 'nothing' });
      continue;
    }
    const source = original.get(path);
    const found = compareInodes(path, inode, other, timesOf(path));
    const isOpen = !previous && canInherit(inode, policy);
    const unproven = isOpen && (await mayBeInherited(found, path, { original, got }));
    differences.push(...(unproven ? found.map((one) => ({ ...one, unproven }) as const) : found));
    for (const kind of excusesOf(inode, plain.get(path), source, other))
      excused.set(kind, (excused.get(kind) ?? new Set()).add(inode));
  }
  for (const { path, inode } of got.entries) {
    if (wanted.get(path) || (path === '' && inode.layer === -1)) continue;
    differences.push({ at: show(path), what: 'extra', want: 'nothing', got: inode.type });
  }
  differences.push(...compareLinks(wanted, got));
  return {
    equal: differences.length === 0,
    differences,
    unproven: differences.filter(({ unproven }) => unproven).length,
    excuses: shaped.excuses.flatMap((one) => {
      if (!BY_USE.has(one.kind)) return [one];
      const { size: used = 0 } = excused.get(one.kind) ?? {};
      return used > 0 ? [excuse(one.kind, used)] : [];
    }),
    entries: wanted.entries.length,
  };
}

/** What a result should be. */
export interface Intended {
  readonly shaped: Shaped;
  /** As shaped without anything inherited. */
  readonly plain: Tree;
  /** As wanted of the result that was given. */
  readonly wanted: Tree;
  /** The times that a path may have. */
  timesOf(path: Path): readonly (bigint | undefined)[];
}

/** What `got` should be, made of `original` by `policy`, with what `previous` had where that is given. */
export async function intend(
  original: Tree,
  got: Tree,
  policy: Policy,
  previous?: Tree,
): Promise<Intended> {
  const shaped = await applyPolicy(original, policy, previous && { tree: previous });
  const plain = previous ? (await applyPolicy(original, policy)).tree : shaped.tree;
  const wanted = withoutGroups(shaped, plain, got);
  const timesOf = (path: Path): (bigint | undefined)[] =>
    [wanted, plain, original].map((tree) => tree.get(path)?.mtime);
  return { shaped, plain, wanted, timesOf };
}

/** Excuses that count only what needs them. */
const BY_USE: ReadonlySet<Excuse['kind']> = new Set([
  'inherited-time',
  'pyc-inherited',
  'mtime',
  'dir-mtime',
]);

/** Which of {@link BY_USE} the entry `got` needs: wanted as `inode`, `plain` without a previous image, `source` at first. */
function* excusesOf(
  inode: Inode,
  plain: Inode | undefined,
  source: Inode | undefined,
  got: Inode,
): Generator<Excuse['kind']> {
  if (got.sha256 !== source?.sha256) yield 'pyc-inherited';
  else if (got.mtime === source?.mtime) return;
  else if (got.mtime === inode.mtime && got.mtime !== plain?.mtime) yield 'inherited-time';
  else yield inode.type === 'dir' ? 'dir-mtime' : 'mtime';
}

/**
 * What is wanted of `got`: groups of sources and compiled files whose sources do not have the previous image's times there are
 * wanted without anything inherited.
 */
function withoutGroups({ tree, groups }: Shaped, plain: Tree, got: Tree): Tree {
  const left = groups.filter(
    ({ sources }) => !sources.every((path) => got.get(path)?.mtime === tree.get(path)?.mtime),
  );
  if (left.length === 0) return tree;
  const names = new Set(left.flatMap(({ sources, compiled }) => [...sources, ...compiled]));
  return tree.with(
    tree.entries.map(({ path, inode }) => ({
      path,
      inode: (names.has(path) && plain.get(path)) || inode,
    })),
  );
}

function canInherit({ type }: Inode, { inherit, dirMtime }: Policy): boolean {
  return inherit !== 'none' && (type !== 'dir' || dirMtime === 'keep');
}

/** Whether all that differs at `path` is what a previous image may have had: the time, or a time that compiled Python records. */
async function mayBeInherited(
  differences: readonly Difference[],
  path: Path,
  { original, got }: { readonly original: Tree; readonly got: Tree },
): Promise<boolean> {
  const kinds = new Set(differences.map(({ what }) => what));
  kinds.delete('mtime');
  if (kinds.size === 0) return differences.length > 0;
  const [before, after] = [original.get(path), got.get(path)];
  if (kinds.size > 1 || !kinds.has('content') || !isPycName(path) || !before || !after)
    return false;
  return (
    (await compareCode({ tree: original, inode: before }, { tree: got, inode: after })) !==
    undefined
  );
}

function show(path: Path): string {
  return `/${showPath(path)}`;
}

/** What is compared of each inode, as text. */
const FIELDS: readonly (readonly [Difference['what'], (inode: Inode) => string])[] = [
  ['mode', (inode) => inode.mode.toString(8)],
  ['owner', (inode) => `${inode.uid}:${inode.gid}`],
  ['size', (inode) => String(inode.size)],
  ['content', (inode) => inode.sha256],
  ['target', (inode) => showPath(inode.target)],
  ['device', (inode) => `${inode.devMajor}:${inode.devMinor}`],
  ['xattrs', ({ xattrs }) => showXattrs(xattrs)],
];

/** Xattrs in the order of their names, values in hex; '' for none. */
export function showXattrs(xattrs: Inode['xattrs']): string {
  return [...xattrs]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${showPath(name)}=${Buffer.from(value).toString('hex')}`)
    .join(' ');
}

/** `times` are those that `got` may have. */
function compareInodes(
  path: Path,
  want: Inode,
  got: Inode,
  times: readonly (bigint | undefined)[],
): Difference[] {
  const at = show(path);
  if (want.type !== got.type) return [{ at, what: 'type', want: want.type, got: got.type }];
  const differences: Difference[] = [];
  for (const [what, field] of FIELDS) {
    const [wanted, found] = [field(want), field(got)];
    if (wanted !== found) differences.push({ at, what, want: wanted, got: found });
  }
  if (!times.includes(got.mtime)) {
    differences.push({ at, what: 'mtime', want: showTime(want.mtime), got: showTime(got.mtime) });
  }
  return differences;
}

/** Nanoseconds as decimal seconds. */
export function showTime(time: bigint): string {
  const negative = time < 0n;
  const digits = (negative ? -time : time).toString().padStart(10, '0');
  const fraction = digits.slice(-9).replace(/0+$/, '');
  return `${negative ? '-' : ''}${digits.slice(0, -9)}${fraction ? `.${fraction}` : ''}`;
}

/** Names of one group must be one group on the other side, no more and no fewer. */
function compareLinks(want: Tree, got: Tree): Difference[] {
  const wanted = groupNames(want);
  const found = groupNames(got);
  const differences: Difference[] = [];
  for (const path of new Set([...wanted.keys(), ...found.keys()])) {
    const [a, b] = [wanted.get(path) ?? '', found.get(path) ?? ''];
    if (a !== b)
      differences.push({
        at: show(path),
        what: 'links',
        want: a || 'no other name',
        got: b || 'no other name',
      });
  }
  return differences;
}

/** For each path that has other names: all names of its group. */
function groupNames(tree: Tree): Map<Path, string> {
  const names = new Map<Path, string>();
  for (const group of tree.links.values()) {
    const text = group.map(show).join(' ');
    for (const path of group) names.set(path, text);
  }
  return names;
}

/** Config fields that name layers, or that rechunking may not keep; everything else must be equal. */
const LAYER_FIELDS = new Set(['rootfs', 'history', ...STALE_CONFIG]);

/** Compares two image configs field by field, but for those that describe layers; empty history entries must be kept. */
export function compareConfigs(
  original: Image,
  got: Image,
  options: MetadataOptions,
): Difference[] {
  const want = parseJson(original.configDocument.bytes);
  const found = parseJson(got.configDocument.bytes);
  if (options.created !== undefined) want['created'] = options.created;
  if (options.labels && options.labels.length > 0) {
    want['config'] = { ...(want['config'] as object), Labels: editLabels(original, options) };
  }
  want['os'] ??= original.config.os;
  dropPlan(want);
  dropPlan(found);
  const differences: Difference[] = [];
  for (const key of new Set([...Object.keys(want), ...Object.keys(found)])) {
    if (LAYER_FIELDS.has(key)) continue;
    differences.push(...compareValues(`config.${key}`, want[key], found[key]));
  }
  const empty = (config: Record<string, unknown>): unknown[] =>
    ((config['history'] ?? []) as { empty_layer?: boolean }[]).filter(
      (entry) => entry.empty_layer === true,
    );
  differences.push(...compareValues('config.history (empty layers)', empty(want), empty(found)));
  return differences;
}

/** Takes the plan's label out of a config, and what is empty without it. */
function dropPlan(config: Record<string, unknown>): void {
  const inner = config['config'] as Record<string, unknown> | null | undefined;
  if (!inner) return void delete config['config'];
  const labels = inner['Labels'] as Record<string, string> | null | undefined;
  if (labels) delete labels[PLAN_LABEL];
  if (!labels || Object.keys(labels).length === 0) delete inner['Labels'];
  if (Object.keys(inner).length === 0) delete config['config'];
}

function compareValues(at: string, want: unknown, got: unknown): Difference[] {
  if (isRecord(want) && isRecord(got)) {
    return [...new Set([...Object.keys(want), ...Object.keys(got)])].flatMap((key) =>
      compareValues(`${at}.${key}`, want[key], got[key]),
    );
  }
  const [a, b] = [JSON.stringify(want), JSON.stringify(got)];
  return a === b ? [] : [{ at, what: 'config', want: a ?? 'nothing', got: b ?? 'nothing' }];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isRaw(value);
}

/** Numbers that are kept as text are objects without a prototype; see json.ts. */
function isRaw(value: object): boolean {
  return Object.getPrototypeOf(value) === null && Object.isFrozen(value);
}
