/** What a runtime's view has other than it should, and what of that no image can change. */
import { type Path, showPath } from '../../registry/path.ts';
import type { Inode, Tree } from '../tree.ts';
import { showTime, showXattrs } from '../verify.ts';
import { type Flaw, ROOT_FLAW, type RuntimeModel } from './model.ts';
import { listView, type View, type ViewNode } from './view.ts';

/** One thing that a runtime shows otherwise. */
export interface ViewDifference {
  /** An absolute path, for people. */
  readonly at: string;
  readonly what:
    | 'missing'
    | 'extra'
    | 'type'
    | 'mode'
    | 'owner'
    | 'xattrs'
    | 'leaked'
    | 'time'
    | 'content';
  readonly want: string;
  readonly got: string;
  /** Why no image can change it; absent where one can. */
  readonly unfixable?: string;
}

/** How a view stands to the tree that was meant. */
export type Verdict = 'right' | 'time' | 'wrong' | 'refused';

/** A view compared with the tree that was meant. */
export interface ComparedView {
  /** The model's. */
  readonly id: string;
  readonly name: string;
  /** `time`: nothing but times differs. What no image can change does not count. */
  readonly verdict: Verdict;
  /** Where and why the runtime refuses the image. */
  readonly refused?: {
    readonly layer: string;
    readonly at: string;
    readonly reason: string;
    /** Whether other layers of the same files could avoid it. */
    readonly isFixable: boolean;
  };
  /** What an image could change. */
  readonly differences: readonly ViewDifference[];
  /** What no image can change. */
  readonly unfixable: readonly ViewDifference[];
}

/** Nanoseconds that a path's time may have; undefined: as in the tree. */
export type TimesOf = (path: Path) => readonly (bigint | undefined)[] | undefined;

/** Compares what a runtime shows with `tree`, which is meant. Hard-link groups are not looked at. */
export function compareViews(
  tree: Tree,
  view: View,
  timesOf: TimesOf = () => undefined,
): ComparedView {
  const { id, name } = view.model;
  if (view.refused) {
    const { layer, path, reason, isFixable } = view.refused;
    const refused = { layer, at: show(path), reason, isFixable };
    return { id, name, verdict: 'refused', refused, differences: [], unfixable: [] };
  }
  const found: ViewDifference[] = [];
  const seen = new Set<Path>();
  for (const [path, node] of listView(view.root)) {
    seen.add(path);
    const want = tree.get(path);
    found.push(...compareNode({ path, node, want, times: timesOf(path) }, view.model));
  }
  for (const { path, inode } of tree.entries) {
    if (seen.has(path)) continue;
    const missing = { at: show(path), what: 'missing', want: inode.type, got: 'nothing' } as const;
    const flaw = missingFlaw(path, inode, view.model);
    found.push(flaw ? { ...missing, unfixable: flaw.why } : missing);
  }
  const differences = found.filter(({ unfixable }) => unfixable === undefined);
  const unfixable = found.filter((one) => one.unfixable !== undefined);
  return { id, name, verdict: judge(differences), differences, unfixable };
}

function judge(differences: readonly ViewDifference[]): Verdict {
  if (differences.length === 0) return 'right';
  return differences.every(({ what }) => what === 'time') ? 'time' : 'wrong';
}

interface Pair {
  readonly path: Path;
  readonly node: ViewNode;
  readonly want: Inode | undefined;
  readonly times: readonly (bigint | undefined)[] | undefined;
}

function compareNode(pair: Pair, model: RuntimeModel): ViewDifference[] {
  const { path, node, want } = pair;
  const at = show(path);
  const type = node.dangling ? 'deletion of nothing' : node.inode.type;
  if (!want) return path === '' ? [] : [{ at, what: 'extra', want: 'nothing', got: type }];
  if (want.type !== type) return [{ at, what: 'type', want: want.type, got: type }];
  return [...compareFields(at, want, node), ...compareTimes(at, pair)].map((difference) => {
    const flaw = flawOf(difference, pair, model);
    return flaw ? { ...difference, unfixable: flaw.why } : difference;
  });
}

function* compareFields(
  at: string,
  want: Inode,
  { inode, leaked }: ViewNode,
): Generator<ViewDifference> {
  for (const [what, field] of FIELDS) {
    const [wanted, got] = [field(want), field(inode)];
    if (wanted !== got) yield { at, what, want: wanted, got };
  }
  if (leaked.size > 0) yield { at, what: 'leaked', want: '', got: showXattrs(leaked) };
}

function* compareTimes(at: string, { node, want, times }: Pair): Generator<ViewDifference> {
  const meant = want?.mtime ?? 0n;
  if (node.isNow) yield { at, what: 'time', want: showTime(meant), got: 'when it was unpacked' };
  else if (!(times ?? [meant]).includes(node.inode.mtime))
    yield { at, what: 'time', want: showTime(meant), got: showTime(node.inode.mtime) };
}

/** What is compared of each inode, as text. */
const FIELDS: readonly (readonly [ViewDifference['what'], (inode: Inode) => string])[] = [
  ['mode', ({ mode }) => mode.toString(8).padStart(4, '0')],
  ['owner', ({ uid, gid }) => `${uid}:${gid}`],
  ['xattrs', ({ xattrs }) => showXattrs(xattrs)],
  ['content', contentOf],
];

function contentOf({ type, size, sha256, target, devMajor, devMinor }: Inode): string {
  if (type === 'file') return `${sha256} (${size} bytes)`;
  if (type === 'symlink') return showPath(target);
  return type === 'char' || type === 'block' ? `${devMajor}:${devMinor}` : '';
}

function show(path: Path): string {
  return `/${showPath(path)}`;
}

/** Why no image can change a difference. */
function flawOf({ what }: ViewDifference, pair: Pair, model: RuntimeModel): Flaw | undefined {
  const { path, node, want } = pair;
  if (path === '' && what !== 'leaked') return ROOT_FLAW;
  const run = path === 'run' && what === 'time' ? runFlaw(path, model) : undefined;
  if (run) return run;
  if (what === 'xattrs' && want) return lostXattrs(want, node.inode, model.flaws);
  if (what !== 'time') return undefined;
  return model.flaws.find(({ of }) => {
    if (of === 'sub-seconds')
      return !node.isNow && isSameSecond(want?.mtime ?? 0n, node.inode.mtime);
    if (of === 'symlink-times') return node.isNow && node.inode.type === 'symlink';
    return of === 'times' || (of === 'directory-times' && node.inode.type === 'dir');
  });
}

/** Why /run and what is below it is not as it should be. */
function runFlaw(path: Path, { flaws }: RuntimeModel): Flaw | undefined {
  const isRun = path === 'run' || path.startsWith('run/');
  return isRun ? flaws.find(({ of }) => of === 'run') : undefined;
}

/** Why a name is not there. */
function missingFlaw(path: Path, { type }: Inode, model: RuntimeModel): Flaw | undefined {
  const isIgnored = model.rules.ignoresTypes?.includes(type);
  const types = isIgnored ? model.flaws.find(({ of }) => of === 'types') : undefined;
  return types ?? runFlaw(path, model);
}

/** Whether other layers of the same files could make a view right that is not. */
export function canBeRight({ verdict, refused }: ComparedView): boolean {
  return verdict !== 'right' && refused?.isFixable !== false;
}

const NS_PER_SECOND = 1_000_000_000n;

function isSameSecond(want: bigint, got: bigint): boolean {
  return want - got >= 0n && want - got < NS_PER_SECOND;
}

/** The flaw that explains why xattrs are missing, where they all are such and nothing else differs. */
function lostXattrs(want: Inode, got: Inode, flaws: readonly Flaw[]): Flaw | undefined {
  const lost = [...want.xattrs.keys()].filter((name) => !got.xattrs.has(name));
  const left = new Map([...want.xattrs].filter(([name]) => got.xattrs.has(name)));
  if (showXattrs(left) !== showXattrs(got.xattrs)) return undefined;
  const reasons = lost.map((name) => flaws.find(({ names }) => names?.test(name)));
  return reasons.every(Boolean) ? reasons[0] : undefined;
}
