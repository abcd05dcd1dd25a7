/**
 * Files that record the times of others, in seconds, and are not used where one has another; those others keep their new times.
 * Archives of shared classes (Java's CDS, `.jsa`) record every jar on their class path (HotSpot, SharedClassPathEntry::validate;
 * the runtime's own `lib/modules` is exempt). Bootsnap's compile cache records each Ruby and YAML file that it holds
 * (ext/bootsnap/bootsnap.c, bs_cache_key), by a digest of the path, so only time and size tell which.
 */
import { nameOf } from '../registry/path.ts';
import { type Inode, READ_LIMIT, type Tree } from './tree.ts';

/** What each inode was in the previous image. */
export type Matches = ReadonlyMap<Inode, Inode>;

const NS_PER_SECOND = 1_000_000_000n;

/** The inodes that would get another second, as `matches` has it, where a file of `tree` records the one that they have. */
export async function recordedInodes(tree: Tree, matches: Matches): Promise<ReadonlySet<Inode>> {
  const jars = await recordedJars(tree, matches);
  const scripts = await recordedScripts(tree, matches);
  return new Set([...jars, ...scripts]);
}

function isMoving(inode: Inode, matches: Matches): boolean {
  const before = matches.get(inode);
  return before !== undefined && secondsOf(before) !== secondsOf(inode);
}

const secondsOf = ({ mtime }: Inode): bigint => mtime / NS_PER_SECOND;

/** Files that stand on class paths. */
const ARCHIVE = /\.(?:jar|war|ear|zip)$/;
const ENDINGS: readonly string[] = ['.jar', '.war', '.ear', '.zip'];
/** What a name in a class path begins behind: NUL, a slash, a colon. */
const BEFORE_NAME: readonly number[] = [0, 0x2f, 0x3a];
/** Longest name of a file (Linux: NAME_MAX). */
const NAME_LIMIT = 255;

/** Jars by the names that stand in archives of shared classes; an archive that is too large to be read may name any. */
async function recordedJars(tree: Tree, matches: Matches): Promise<ReadonlySet<Inode>> {
  const moving = movingJars(tree, matches);
  const recorded = new Set<Inode>();
  for (const archive of filesOf(tree, /\.jsa$/)) {
    // What was found is sought no more.
    if (moving.size === 0) break;
    const names =
      archive.size > READ_LIMIT
        ? [...moving.keys()]
        : namesIn(await readAll(tree, archive), new Set(moving.keys()));
    for (const name of names) {
      for (const jar of moving.get(name) ?? []) recorded.add(jar);
      moving.delete(name);
    }
  }
  return recorded;
}

/** Jars that would get another second, by every name that they have. */
function movingJars(tree: Tree, matches: Matches): Map<string, Inode[]> {
  const moving = new Map<string, Inode[]>();
  for (const { path } of tree.entries) {
    const resolved = ARCHIVE.test(path) ? tree.resolve(path, 'all') : undefined;
    const jar = resolved === undefined ? undefined : tree.get(resolved);
    if (!jar || !isMoving(jar, matches)) continue;
    const known = moving.get(nameOf(path));
    if (known) known.push(jar);
    else moving.set(nameOf(path), [jar]);
  }
  return moving;
}

const readAll = (tree: Tree, inode: Inode): Promise<Buffer> => tree.readInode(inode, inode.size);

function filesOf(tree: Tree, pattern: RegExp): Inode[] {
  return tree.entries.flatMap(({ path, inode }) =>
    inode.type === 'file' && pattern.test(path) ? [inode] : [],
  );
}

/** Which of the names `wanted` stand in an archive's class path. */
function namesIn(content: Buffer, wanted: ReadonlySet<string>): Set<string> {
  const names = new Set<string>();
  for (const ending of ENDINGS) {
    for (let at = content.indexOf(ending); at >= 0; at = content.indexOf(ending, at + 1)) {
      let start = at;
      while (at - start < NAME_LIMIT && !BEFORE_NAME.includes(content[start - 1] ?? 0)) start--;
      const name = content.toString('latin1', start, at + ending.length);
      if (wanted.has(name)) names.add(name);
    }
  }
  return names;
}

/** Where Bootsnap keeps what it compiled. */
const BOOTSNAP = /(?:^|\/)bootsnap[-/]compile-cache/;
/** A cached file's header, with the size and the time of its source. */
const KEY = { size: 16, mtime: 24, bytes: 64 } as const;

/** Files with a size and time that Bootsnap's cache has. */
async function recordedScripts(tree: Tree, matches: Matches): Promise<Inode[]> {
  const known = new Set<string>();
  for (const cached of filesOf(tree, BOOTSNAP)) {
    const key = await tree.readInode(cached, KEY.bytes);
    if (key.length < KEY.bytes) continue;
    known.add(`${key.readBigUInt64LE(KEY.size)} ${key.readBigUInt64LE(KEY.mtime)}`);
  }
  if (known.size === 0) return [];
  const isKnown = (inode: Inode): boolean => known.has(`${inode.size} ${secondsOf(inode)}`);
  return [...matches.keys()].filter(
    (inode) => inode.type === 'file' && isMoving(inode, matches) && isKnown(inode),
  );
}
