/**
 * Times of the previous image for what is as it was there. Installers stamp the moment of installation on every file, so that a
 * build of equal content differs everywhere; what it says of the content is nothing.
 *
 * Files that record each other's times change as one or not at all. A `.pyc` records the time of its source, so the source takes
 * its old time only if every such `.pyc` stays what it was for Python: one that Python takes (or not) now is one that Python
 * takes (or not) then. Where that wants the previous `.pyc`, whose code is equal and whose recorded time alone differs, the
 * result has that one: the one exception to "no content changes". What other files record (`recorders.ts`) keeps its new
 * time.
 *
 * Pure but for content that is read. Doing it twice is doing it once.
 */
import type { Path } from '../registry/path.ts';
import {
  compareCode,
  isFresh,
  isPycName,
  PYC_HEADER_BYTES,
  type PycHeader,
  parsePyc,
  sourceOf,
} from './pyc.ts';
import { recordedInodes } from './recorders.ts';
import { type Inode, isAlike, type Tree } from './tree.ts';

/** What there is to inherit from. */
export interface Ancestor {
  /** The previous image's file system, which may lack what is known to be as it is now. */
  readonly tree: Tree;
  /** Compiled files whose content a package database states, so that it must not become another; default none. */
  readonly stated?: ReadonlySet<Path> | undefined;
}

/** What may be inherited. */
export interface InheritOptions {
  /** `times`: no content at all, so that sources with a `.pyc` that records their time keep the new one. */
  readonly inherit: 'times' | 'pyc';
  /** Whether directories with equal metadata and equally named children have their times too. */
  readonly directories: 'inherit' | 'leave';
  /** Inodes that stay what they are, whatever they were; default none. */
  readonly fixed?: ReadonlySet<Inode> | undefined;
}

/** A tree with times of the previous image. */
export interface Inherited {
  readonly tree: Tree;
  /** The inodes of `tree` that are now as they were, times too, whether they had to change or not. */
  readonly settled: ReadonlySet<Inode>;
  /** How many got another time. */
  readonly times: number;
  /** For each group that has a previous `.pyc`: all its names. Only as a whole it is what it was. */
  readonly groups: readonly Group[];
  /** How many `.pyc` are the previous image's. */
  readonly pycs: number;
}

/** Names of sources, and of the compiled files that record their times. */
export interface Group {
  readonly sources: readonly Path[];
  readonly compiled: readonly Path[];
}

/** Gives what is in `tree` as it was in the `ancestor` the time that it had there. */
export async function inheritTimes(
  tree: Tree,
  ancestor: Ancestor,
  options: InheritOptions,
): Promise<Inherited> {
  const { tree: previous, stated = new Set<Path>() } = ancestor;
  const matches = findMatches(tree, previous, options);
  // Where no time moves, none that is recorded does.
  if (![...matches.keys()].some((inode) => isMoving(inode, matches)))
    return { ...rebuild(tree, matches, new Map()), groups: [], pycs: 0 };
  const names = namesOf(tree);
  const replaced = new Map<Inode, Inode>();
  const groups: Group[] = [];
  for (const couple of findCouples(tree, matches)) {
    const scene = { tree, previous, stated, matches, names, options };
    const { members, taken } = await settle(couple, scene);
    if (!taken) for (const inode of members) matches.delete(inode);
    for (const [pyc, before] of taken ?? []) replaced.set(pyc, before);
    if (taken && taken.size > 0) {
      const sources = [...couple.sources].flatMap(names);
      groups.push({ sources, compiled: [...taken.keys()].flatMap(names) });
    }
  }
  for (const inode of await recordedInodes(tree, matches)) matches.delete(inode);
  return { ...rebuild(tree, matches, replaced), groups, pycs: replaced.size };
}

/** Makes the function that gives all names of an inode that is no directory; most trees need not be asked. */
function namesOf(tree: Tree): (inode: Inode) => readonly Path[] {
  let first: Map<Inode, readonly Path[]> | undefined;
  const single = (inode: Inode): readonly Path[] => {
    first ??= new Map(tree.entries.map((entry) => [entry.inode, [entry.path]]));
    return first.get(inode) ?? [];
  };
  return (inode) => tree.links.get(inode) ?? single(inode);
}

function rebuild(
  tree: Tree,
  matches: ReadonlyMap<Inode, Inode>,
  replaced: ReadonlyMap<Inode, Inode>,
): Pick<Inherited, 'tree' | 'settled' | 'times'> {
  const made = new Map<Inode, Inode>();
  let times = 0;
  for (const [inode, { mtime }] of matches) {
    if (mtime !== inode.mtime) times++;
    made.set(inode, mtime === inode.mtime ? inode : { ...inode, mtime });
  }
  for (const [inode, { mtime, sha256, body }] of replaced) {
    made.set(inode, { ...inode, mtime, sha256, body });
  }
  return {
    tree: tree.map((inode) => made.get(inode) ?? inode),
    settled: new Set(made.values()),
    times,
  };
}

/** What each inode was in the previous image: content, metadata and names are equal, the time may not be. */
function findMatches(tree: Tree, previous: Tree, options: InheritOptions): Map<Inode, Inode> {
  const matches = new Map<Inode, Inode>();
  for (const { path, inode } of tree.entries) {
    if (matches.has(inode) || options.fixed?.has(inode)) continue;
    const before = previous.get(path);
    if (!before || !isAlike(inode, before) || inode.sha256 !== before.sha256) continue;
    const isSame =
      inode.type === 'dir'
        ? options.directories === 'inherit' && hasSameChildren(tree, previous, path, before)
        : haveSameNames(tree, inode, previous, before);
    if (isSame) matches.set(inode, before);
  }
  return matches;
}

function haveSameNames(tree: Tree, inode: Inode, previous: Tree, before: Inode): boolean {
  const [names, known] = [tree.links.get(inode), previous.links.get(before)];
  if (!names || !known) return names === known;
  return names.length === known.length && names.every((name, i) => name === known[i]);
}

/** A directory that no layer defines has no time of its own. */
function hasSameChildren(tree: Tree, previous: Tree, path: Path, before: Inode): boolean {
  const [children, known] = [tree.list(path), previous.list(path)];
  if (before.layer < 0 || children.length !== known.length) return false;
  return children.every((child, i) => child === known[i]);
}

/** Sources and compiled files that hang together, one of which would get another time. */
interface Couple {
  readonly sources: ReadonlySet<Inode>;
  /** Each compiled file, with its sources. */
  readonly compiled: ReadonlyMap<Inode, readonly Inode[]>;
}

/** Finds every couple: by inodes, since sources and compiled files may have several names, or be links to a file elsewhere. */
function findCouples(tree: Tree, matches: ReadonlyMap<Inode, Inode>): Couple[] {
  const sourcesOf = new Map<Inode, Set<Inode>>();
  for (const { path } of tree.entries) {
    if (!isPycName(path)) continue;
    const [pyc, source] = [fileAt(tree, path), fileAt(tree, sourceOf(tree, path))];
    if (!pyc || !source) continue;
    const known = sourcesOf.get(pyc);
    if (known) known.add(source);
    else sourcesOf.set(pyc, new Set([source]));
  }
  const compiledOf = new Map<Inode, Inode[]>();
  for (const [pyc, sources] of sourcesOf) {
    for (const source of sources) {
      const known = compiledOf.get(source);
      if (known) known.push(pyc);
      else compiledOf.set(source, [pyc]);
    }
  }
  const done = new Set<Inode>();
  const couples: Couple[] = [];
  for (const source of compiledOf.keys()) {
    if (done.has(source)) continue;
    const couple = { sources: new Set([source]), compiled: new Map<Inode, readonly Inode[]>() };
    // Sets are walked in the order of insertion, so what is added on the way is reached too.
    for (const one of couple.sources) {
      for (const pyc of compiledOf.get(one) ?? []) {
        if (couple.compiled.has(pyc)) continue;
        const sources = [...(sourcesOf.get(pyc) ?? [])];
        couple.compiled.set(pyc, sources);
        for (const other of sources) couple.sources.add(other);
      }
      done.add(one);
    }
    if ([...couple.sources].some((one) => isMoving(one, matches))) couples.push(couple);
  }
  return couples;
}

function isMoving(inode: Inode, matches: ReadonlyMap<Inode, Inode>): boolean {
  const before = matches.get(inode);
  return before !== undefined && before.mtime !== inode.mtime;
}

/** The regular file that a name stands for in the end. */
function fileAt(tree: Tree, path: Path | undefined): Inode | undefined {
  const resolved = path === undefined ? undefined : tree.resolve(path, 'all');
  const inode = resolved === undefined ? undefined : tree.get(resolved);
  return inode?.type === 'file' ? inode : undefined;
}

/** What settling a couple needs to know. */
interface Scene {
  readonly tree: Tree;
  readonly previous: Tree;
  readonly stated: ReadonlySet<Path>;
  readonly matches: ReadonlyMap<Inode, Inode>;
  readonly names: (inode: Inode) => readonly Path[];
  readonly options: InheritOptions;
}

/** What becomes of a couple. */
interface Settled {
  /** The sources, and the compiled files that record a time. */
  readonly members: readonly Inode[];
  /** The compiled files that are to be as they were, and what they were; absent where all members keep their new times. */
  readonly taken: ReadonlyMap<Inode, Inode> | undefined;
}

/** Decides whether the sources of a couple can have their old times with every compiled file staying what it is to Python. */
async function settle(couple: Couple, scene: Scene): Promise<Settled> {
  const { tree, matches } = scene;
  const members = [...couple.sources];
  const taken = new Map<Inode, Inode>();
  let isRefused = false;
  for (const [pyc, sources] of couple.compiled) {
    const header = parsePyc(await tree.readInode(pyc, PYC_HEADER_BYTES));
    if (header.kind !== 'time') continue;
    members.push(pyc);
    const staysSame = (next: PycHeader): boolean =>
      sources.every(
        (source) => isFresh(next, matches.get(source) ?? source) === isFresh(header, source),
      );
    const before = await findPrevious(pyc, scene);
    if (before && staysSame(before.header)) taken.set(pyc, before.inode);
    else if (!staysSame(header)) isRefused = true;
  }
  return { members, taken: isRefused ? undefined : taken };
}

/** The previous image's form of a compiled file, if nothing but the recorded time and its own differs. */
async function findPrevious(
  pyc: Inode,
  { tree, previous, stated, matches, names, options }: Scene,
): Promise<{ readonly inode: Inode; readonly header: PycHeader } | undefined> {
  if (options.fixed?.has(pyc)) return undefined;
  const [path] = names(pyc);
  const inode = path === undefined ? undefined : previous.get(path);
  if (options.inherit !== 'pyc' || matches.has(pyc) || !inode || !isAlike(pyc, inode))
    return undefined;
  if (!haveSameNames(tree, pyc, previous, inode) || names(pyc).some((name) => stated.has(name)))
    return undefined;
  const header = await compareCode({ tree, inode: pyc }, { tree: previous, inode });
  return header && { inode, header };
}
