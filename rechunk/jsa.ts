/**
 * Java archives of shared classes (CDS, `.jsa`): each records the time, in seconds, and the size of every jar on its class path
 * and is not used where one has another (HotSpot, SharedClassPathEntry::validate; the runtime's own `lib/modules` is exempt).
 */
import { nameOf, type Path } from '../registry/path.ts';
import { type Inode, READ_LIMIT, type Tree } from './tree.ts';

/** Files that stand on class paths. */
const ARCHIVE = /\.(?:jar|war|ear|zip)$/;
const ENDINGS: readonly string[] = ['.jar', '.war', '.ear', '.zip'];
/** What a name in a class path begins behind: NUL, a slash, a colon. */
const BEFORE_NAME: readonly number[] = [0, 0x2f, 0x3a];
/** Longest name of a file (Linux: NAME_MAX). */
const NAME_LIMIT = 255;
const NS_PER_SECOND = 1_000_000_000n;

/**
 * The jars that would get another time, as `matches` has it, and whose names stand in an archive of shared classes of `tree`. An
 * archive that is too large to be read may name any.
 */
export async function recordedJars(
  tree: Tree,
  matches: ReadonlyMap<Inode, Inode>,
): Promise<ReadonlySet<Inode>> {
  const moving = tree.entries.flatMap(({ path }) => {
    const jar = ARCHIVE.test(path) ? movingFile(tree, path, matches) : undefined;
    return jar ? [{ name: nameOf(path), jar }] : [];
  });
  const archives = moving.length > 0 ? archivesOf(tree) : [];
  const recorded = new Set<Inode>();
  for (const archive of archives) {
    const names =
      archive.size > READ_LIMIT ? undefined : namesIn(await tree.readInode(archive, archive.size));
    for (const { name, jar } of moving) if (!names || names.has(name)) recorded.add(jar);
  }
  return recorded;
}

function archivesOf(tree: Tree): Inode[] {
  return tree.entries.flatMap(({ path, inode }) =>
    inode.type === 'file' && path.endsWith('.jsa') ? [inode] : [],
  );
}

/** The file that a name stands for, symlinks followed, if it would get another second. */
function movingFile(tree: Tree, path: Path, matches: ReadonlyMap<Inode, Inode>): Inode | undefined {
  const resolved = tree.resolve(path, 'all');
  const inode = resolved === undefined ? undefined : tree.get(resolved);
  const before = inode && matches.get(inode);
  return before && before.mtime / NS_PER_SECOND !== inode.mtime / NS_PER_SECOND ? inode : undefined;
}

function namesIn(content: Buffer): Set<string> {
  const names = new Set<string>();
  for (const ending of ENDINGS) {
    for (let at = content.indexOf(ending); at >= 0; at = content.indexOf(ending, at + 1)) {
      let start = at;
      while (start > 0 && at - start < NAME_LIMIT && !BEFORE_NAME.includes(content[start - 1] ?? 0))
        start--;
      names.add(content.toString('latin1', start, at + ending.length));
    }
  }
  return names;
}
