/**
 * Gives every file of a tree to one component, from the claims of all component repos.
 *
 * A claim counts where its path leads to a file, and the claim of a package only where the file is still what the package
 * shipped. Of the claims that hold for a name the best one counts: what a user said, then owners before ghosts before
 * guesses, then operating systems before languages, then content that was checked, then the smallest id. The names of a
 * hard-link group vote. What is left is placed by rules ({@link placeUnowned}). Nothing depends on the order of repos,
 * claims or packages.
 */
import { createHash } from 'node:crypto';
import { RechunkError } from '../registry/errors.ts';
import { type Path, parentOf, showPath } from '../registry/path.ts';
import {
  type Assignment,
  type Claim,
  type ClaimStrength,
  type Component,
  type ComponentInfo,
  type ComponentRepo,
  type Detection,
  type DetectOptions,
  locator,
} from './components.ts';
import {
  LARGE_FILE_SIZE,
  type Placement,
  placeUnowned,
  type UnownedState,
} from './repos/unowned.ts';
import { contentSize, type Entry, type FileDigest, type Inode, type Tree } from './tree.ts';

/** How files are given to components. */
export interface AssignOptions {
  /** Smallest file, bytes, that is a component of its own where nobody owns it; default 1 MiB. */
  readonly largeFileSize?: number;
}

/** What every repo found, and which could not read what they found. */
export interface Detections {
  readonly detections: readonly Detection[];
  readonly warnings: readonly string[];
}

/** Claims of one strength are ranked by who makes them: who unpacked the files first, then who manages parts of them. */
const PRECEDENCE: readonly (readonly string[])[] = [
  ['map'],
  ['xattr'],
  ['rpm', 'dpkg', 'apk', 'alpm', 'nix', 'flatpak'],
  ['conda'],
  ['python'],
  ['node'],
];
const STRENGTHS: readonly ClaimStrength[] = ['explicit', 'owner', 'ghost', 'guess'];
/** The component of directories with nothing in them. */
export const DIRECTORIES: ComponentInfo = { id: 'directories', kind: 'directories' };
/** Files that a warning names before it only counts. */
const WARNING_EXAMPLES = 3;

/**
 * Asks every repo what it finds. A database that cannot be read is a warning and the others go on, unless `strict`.
 */
export async function detectAll(
  tree: Tree,
  repos: readonly ComponentRepo[],
  options: DetectOptions & { readonly strict?: boolean } = {},
): Promise<Detections> {
  const detections: Detection[] = [];
  const warnings: string[] = [];
  for (const repo of repos) {
    try {
      const detection = await repo.detect(tree, options);
      if (detection) detections.push(detection);
    } catch (error) {
      // What repos began ends before what it reads is taken away.
      await tree.settled();
      if (options.strict || !isDamage(error)) throw error;
      warnings.push(`${repo.name}: ${error.message}; its packages are not told apart`);
    }
  }
  return { detections, warnings };
}

function isDamage(error: unknown): error is RechunkError {
  return error instanceof RechunkError && (error.code === 'database' || error.code === 'limit');
}

/**
 * Gives every non-directory, and every directory without children, of `tree` to exactly one component; hard-link groups
 * whole. Reads the content of files for digests other than sha256 that packages state, each file once per algorithm.
 */
export async function assign(
  tree: Tree,
  detections: readonly Detection[],
  options: AssignOptions = {},
): Promise<Assignment> {
  const candidates = findCandidates(tree, detections);
  const agrees = await checker(tree, candidates);
  const { winners, doubted } = elect(tree, candidates, agrees);
  const isGhost = (inode: Inode): boolean => {
    const winner = winners.get(inode);
    return winner !== undefined && strengthOf(winner) === 'ghost';
  };
  const ownerOf = (inode: Inode): string | undefined =>
    isGhost(inode) ? undefined : winners.get(inode)?.claim.component;
  const modified = new Set([...doubted].filter((inode) => ownerOf(inode) === undefined));
  const stateOf = (inode: Inode): UnownedState =>
    modified.has(inode) ? 'modified' : isGhost(inode) ? 'ghost' : 'unlisted';
  const around = {
    tree,
    ownerOf,
    stateOf,
    largeFileSize: options.largeFileSize ?? LARGE_FILE_SIZE,
  };
  const placed = new Map<Inode, Placement | string>();
  const place = ({ path, inode }: Entry): Placement | string => {
    const names = tree.links.get(inode) ?? [path];
    const known =
      ownerOf(inode) ??
      placed.get(inode) ??
      (inode.type === 'dir' ? DIRECTORIES : placeUnowned(around, inode, names));
    if (names.length > 1) placed.set(inode, known);
    return known;
  };
  const warnings = [...detections]
    .sort((a, b) => compare(a.repo, b.repo))
    .flatMap((detection) => detection.warnings);
  return {
    components: gather(tree, describeAll(detections), place),
    warnings: [...warnings, ...describeModified(tree, modified)],
  };
}

/** A claim on a path that is there. */
interface Candidate {
  readonly path: Path;
  readonly inode: Inode;
  readonly claim: Claim;
  /** Index in {@link PRECEDENCE}. */
  readonly precedence: number;
}

function findCandidates(tree: Tree, detections: readonly Detection[]): Candidate[] {
  const locate = locator(tree);
  const candidates: Candidate[] = [];
  for (const { repo, claims } of detections) {
    const found = PRECEDENCE.findIndex((names) => names.includes(repo));
    const precedence = found < 0 ? PRECEDENCE.length : found;
    for (const claim of claims) {
      const path = locate(claim.path);
      const inode = path === undefined ? undefined : tree.get(path);
      if (path === undefined || !inode || !canOwn(tree, path, inode, claim)) continue;
      candidates.push({ path, inode, claim, precedence });
    }
  }
  return candidates;
}

/**
 * Packages list shared directories many times over, so that only what a user says of one counts, where it is empty. What
 * a package lists as a directory can be a symlink, as `/lib64` of a merged `/usr`.
 */
function canOwn(tree: Tree, path: Path, inode: Inode, claim: Claim): boolean {
  if (inode.type === 'dir') return claim.strength === 'explicit' && tree.list(path).length === 0;
  return claim.type !== 'dir' || inode.type === 'symlink';
}

/** What comparing a file with its claim showed. */
type Verdict = 'equal' | 'unknown' | 'different';
type Check = (candidate: Candidate) => Verdict;

/** Reads the digests that `candidates` ask for, all files of an algorithm in one call. */
async function checker(tree: Tree, candidates: readonly Candidate[]): Promise<Check> {
  const wanted = new Map<FileDigest, Set<Inode>>();
  for (const { inode, claim } of candidates) {
    const algorithm = claim.digest?.algorithm;
    if (claim.strength !== 'owner' || inode.type !== 'file' || !algorithm) continue;
    if (algorithm === 'sha256' || (claim.size ?? inode.size) !== inode.size) continue;
    wanted.set(algorithm, (wanted.get(algorithm) ?? new Set()).add(inode));
  }
  const known = new Map<FileDigest, Map<Inode, string>>();
  for (const [algorithm, set] of wanted) {
    const inodes = [...set];
    const digests = await tree.digests(algorithm, inodes);
    known.set(algorithm, new Map(inodes.map((inode, i) => [inode, digests[i] as string])));
  }
  return (candidate) => judge(candidate, (algorithm, inode) => known.get(algorithm)?.get(inode));
}

function judge(
  { inode, claim }: Candidate,
  digestOf: (algorithm: FileDigest, inode: Inode) => string | undefined,
): Verdict {
  const { digest, size, target, type } = claim;
  if (claim.strength !== 'owner' || type === 'dir') return 'unknown';
  if (inode.type !== 'file' && inode.type !== 'symlink') return 'unknown';
  if (type !== undefined && type !== inode.type) return 'different';
  if (inode.type === 'symlink') {
    if (target !== undefined) return same(target, inode.target);
    if (digest) return same(digest.hex, digestOfTarget(digest.algorithm, inode));
    return 'unknown';
  }
  if (size !== undefined && size !== inode.size) return 'different';
  if (!digest) return size === undefined ? 'unknown' : 'equal';
  const { algorithm, hex } = digest;
  const found = algorithm === 'sha256' ? inode.sha256 : digestOf(algorithm, inode);
  return found === '' ? 'unknown' : same(hex, found);
}

const same = (a: string, b: string | undefined): Verdict => (a === b ? 'equal' : 'different');

const digestOfTarget = (algorithm: string, inode: Inode): string =>
  createHash(algorithm).update(inode.target, 'latin1').digest('hex');

interface Election {
  /** By inode, the best claim that holds; it can be that of a ghost. */
  readonly winners: ReadonlyMap<Inode, Candidate>;
  /** Files that differ from what a package shipped. */
  readonly doubted: ReadonlySet<Inode>;
}

/** What a rank grows by from one verdict, precedence and strength to the next. */
const RANK = { verdict: 1, precedence: 2, strength: 2 * (PRECEDENCE.length + 1) } as const;

/** The best holding claim of each name, and of the names of an inode the component that most of them name. */
function elect(tree: Tree, candidates: readonly Candidate[], check: Check): Election {
  const winners = new Map<Inode, Candidate>();
  // Of inodes that have several names.
  const byName = new Map<Path, Candidate>();
  const doubted = new Set<Inode>();
  for (const candidate of candidates) {
    const { path, inode } = candidate;
    if (check(candidate) === 'different') doubted.add(inode);
    else if (tree.links.has(inode)) keepBetter(byName, path, candidate, check);
    else keepBetter(winners, inode, candidate, check);
  }
  for (const [inode, names] of tree.links) {
    const claimed = names.flatMap((name) => byName.get(name) ?? []);
    if (claimed.length > 0) winners.set(inode, count(claimed));
  }
  return { winners, doubted };
}

const strengthOf = ({ inode, claim }: Candidate): ClaimStrength =>
  claim.type === 'dir' && inode.type === 'symlink' ? 'guess' : claim.strength;

/** Strength, precedence and verdict as digits of one number, lower is better. */
function rankOf(candidate: Candidate, check: Check): number {
  return (
    STRENGTHS.indexOf(strengthOf(candidate)) * RANK.strength +
    candidate.precedence * RANK.precedence +
    (check(candidate) === 'equal' ? 0 : RANK.verdict)
  );
}

function keepBetter<Key>(
  best: Map<Key, Candidate>,
  key: Key,
  candidate: Candidate,
  check: Check,
): void {
  const known = best.get(key);
  const isBetter =
    !known ||
    (rankOf(candidate, check) - rankOf(known, check) ||
      compare(candidate.claim.component, known.claim.component)) < 0;
  if (isBetter) best.set(key, candidate);
}

/** The one for the component that most of the best strength are for; the smallest id of equals. */
function count(candidates: readonly Candidate[]): Candidate {
  const strengths = candidates.map((candidate) => STRENGTHS.indexOf(strengthOf(candidate)));
  const strength = STRENGTHS[Math.min(...strengths)];
  const votes = new Map<string, { candidate: Candidate; count: number }>();
  for (const candidate of candidates) {
    if (strengthOf(candidate) !== strength) continue;
    const { component } = candidate.claim;
    const known = votes.get(component);
    if (known) known.count++;
    else votes.set(component, { candidate, count: 1 });
  }
  const [first] = [...votes].sort(([a, x], [b, y]) => y.count - x.count || compare(a, b));
  return (first as [string, { candidate: Candidate }])[1].candidate;
}

/** What is known of each component; where several repos tell of one, all that they tell. */
function describeAll(detections: readonly Detection[]): Map<string, ComponentInfo> {
  const infos = new Map<string, ComponentInfo>();
  for (const info of detections.flatMap(({ components }) => components)) {
    const known = infos.get(info.id);
    infos.set(info.id, known ? mergeInfos(known, info) : info);
  }
  return infos;
}

function mergeInfos(a: ComponentInfo, b: ComponentInfo): ComponentInfo {
  const packages = new Set([...(a.packages ?? []), ...(b.packages ?? [])]);
  const changeTimes = new Set([...(a.changeTimes ?? []), ...(b.changeTimes ?? [])]);
  const from = [a.changesFrom, b.changesFrom];
  const changesFrom = from.includes('changelog') ? 'changelog' : (from[0] ?? from[1]);
  const days = Math.min(a.updateIntervalDays ?? Infinity, b.updateIntervalDays ?? Infinity);
  return {
    id: a.id,
    kind: a.kind < b.kind ? a.kind : b.kind,
    ...(packages.size > 0 && { packages: [...packages].sort() }),
    ...(changeTimes.size > 0 && { changeTimes: [...changeTimes].sort((x, y) => x - y) }),
    ...(changesFrom && { changesFrom }),
    ...(days < Infinity && { updateIntervalDays: days }),
  };
}

/** Puts every entry where `place` says and sorts the components that got one. */
function gather(
  tree: Tree,
  infos: ReadonlyMap<string, ComponentInfo>,
  place: (entry: Entry) => Placement | string,
): Component[] {
  const groups = new Map<string, { info: ComponentInfo; entries: Entry[] }>();
  for (const [i, entry] of tree.entries.entries()) {
    const { path, inode } = entry;
    // Every layer has the root, but where there is nothing else it needs one to be in.
    if (path === '' && inode.layer < 0) continue;
    // What lies in a directory follows it.
    const next = tree.entries[i + 1];
    if (inode.type === 'dir' && next && parentOf(next.path) === path && next.path !== '') continue;
    const placement = place(entry);
    const id = typeof placement === 'string' ? placement : placement.id;
    const group = groups.get(id);
    if (group) group.entries.push(entry);
    else groups.set(id, { info: infoOf(id, placement, infos), entries: [entry] });
  }
  return [...groups.values()]
    .map(({ info, entries }) => ({ ...info, entries, size: contentSize(entries) }))
    .sort((a, b) => compare(a.id, b.id));
}

function infoOf(
  id: string,
  placement: Placement | string,
  infos: ReadonlyMap<string, ComponentInfo>,
): ComponentInfo {
  const info = infos.get(id) ?? (typeof placement === 'string' ? undefined : placement);
  if (!info) throw new Error(`a repo claims files for ${id}, which it does not describe`);
  return info;
}

function describeModified(tree: Tree, modified: ReadonlySet<Inode>): string[] {
  if (modified.size === 0) return [];
  const paths = tree.entries.filter(({ inode }) => modified.has(inode)).map(({ path }) => path);
  const examples = paths.slice(0, WARNING_EXAMPLES).map((path) => `/${showPath(path)}`);
  const more = paths.length - examples.length;
  const count = paths.length === 1 ? '1 file differs' : `${paths.length} files differ`;
  const rest = more > 0 ? ` and ${more} more` : '';
  const rule = `${paths.length === 1 ? 'lies' : 'lie'} outside their layers`;
  return [`${count} from what packages shipped and ${rule}: ${examples.join(', ')}${rest}`];
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
