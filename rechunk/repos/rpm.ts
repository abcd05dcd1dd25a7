/**
 * Components from RPM databases: one for each source package, with the files of all its binary packages.
 *
 * A database is found by its place, read as bytes (SQLite with its write-ahead log) and turned into packages, headers
 * one by one: a damaged header costs its package and a warning, not the rest. Nothing depends on the order of rows, and
 * packages are never keyed by name: several kernels, two architectures or a package installed twice all keep their files.
 */
import { RechunkError } from '../../registry/errors.ts';
import { type Path, showPath } from '../../registry/path.ts';
import type { Claim, ComponentInfo, ComponentRepo, Detection } from '../components.ts';
import type { Inode, Tree } from '../tree.ts';
import { parsePackage, type RpmFile, type RpmPackage } from './rpmheader.ts';
import { isHotJournal, readTable } from './sqlite.ts';

/**
 * Where databases lie, newest layout first: Fedora from 36 and SUSE; older ones; ostree and bootc. The copy that
 * rpm-ostree keeps in /usr/lib/sysimage/rpm-ostree-base-db says what the base had, not what is installed: not read.
 */
const DIRECTORIES = ['usr/lib/sysimage/rpm', 'var/lib/rpm', 'usr/share/rpm'];
const SQLITE = 'rpmdb.sqlite';
/** Databases of other formats, by file name. */
const OTHER_FORMATS: readonly (readonly [name: string, format: string])[] = [
  ['Packages.db', 'ndb'],
  ['Packages', 'Berkeley DB'],
];
const SECONDS_PER_DAY = 86_400;

/** Warnings about single packages that are listed one by one. */
const WARNINGS_LIMIT = 20;

/** A package without its files, which are claims by then: most of a database is their names and digests. */
type Installed = Omit<RpmPackage, 'files'>;

interface Found {
  readonly packages: Installed[];
  readonly claims: Claim[];
  readonly warnings: string[];
  /** Why a database gave nothing at all. */
  readonly broken: string[];
}

const messageOf = (error: unknown): string => {
  if (error instanceof RechunkError) return error.message;
  throw error;
};

function claimOf(file: RpmFile, component: string): Claim {
  const { path, type, size, digest, target } = file;
  if (file.ghost) return { path, component, strength: 'ghost', ...(type && { type }) };
  return {
    path,
    component,
    strength: 'owner',
    ...(type && { type }),
    ...(type === 'file' && size !== undefined && { size }),
    ...(digest && { digest }),
    ...(target && { target }),
  };
}

/** Adds the package in a header blob; ostree moves the packages' /etc to /usr/etc, so claims there go with them. */
function addPackage(blob: Buffer, hasUsrEtc: boolean, found: Found): void {
  const { files, ...installed } = parsePackage(blob);
  found.packages.push(installed);
  for (const file of files) {
    if (!file.installed) continue;
    const claim = claimOf(file, `rpm:${installed.source}`);
    found.claims.push(claim);
    if (hasUsrEtc && file.path.startsWith('/etc/')) {
      found.claims.push({ ...claim, path: `/usr${file.path}` });
    }
  }
}

/** Adds the packages of the rows of a database; `at` is its path, for warnings. */
function addPackages(
  files: { database: Buffer; wal: Buffer | undefined },
  at: string,
  hasUsrEtc: boolean,
  found: Found,
): void {
  const before = found.packages.length;
  let bad = 0;
  try {
    for (const { rowid, values } of readTable(files, 'Packages')) {
      try {
        const blob = values[1];
        addPackage(Buffer.isBuffer(blob) ? blob : Buffer.alloc(0), hasUsrEtc, found);
      } catch (error) {
        const why = messageOf(error);
        if (++bad <= WARNINGS_LIMIT) {
          found.warnings.push(`package ${rowid} of ${at} is left out: ${why}`);
        }
      }
    }
  } catch (error) {
    const count = found.packages.length - before;
    const text = `reading ${at} ended after ${count} packages: ${messageOf(error)}`;
    (count === 0 ? found.broken : found.warnings).push(text);
  }
  const more = bad - WARNINGS_LIMIT;
  if (more > 0) found.warnings.push(`${more} more packages of ${at} are left out`);
}

async function addSqlite(tree: Tree, path: Path, found: Found): Promise<void> {
  const at = `/${showPath(path)}`;
  const database = await tree.read(path);
  if (!database || database.length === 0) return;
  const hasUsrEtc = tree.get('usr/etc' as Path)?.type === 'dir';
  addPackages({ database, wal: await tree.read(`${path}-wal`) }, at, hasUsrEtc, found);
  const journal = await tree.read(`${path}-journal`);
  if (journal && isHotJournal(journal)) {
    found.warnings.push(
      `${at} was being written when the image was made: changes that its -journal would undo are read as made`,
    );
  }
}

/** The databases in `directory` that are not SQLite, with a sentence for each. */
function otherDatabases(tree: Tree, directory: Path): string[] {
  return OTHER_FORMATS.flatMap(([name, format]) => {
    const path = tree.resolve(`${directory}/${name}`, 'all');
    const inode = path === undefined ? undefined : tree.get(path);
    if (path === undefined || inode?.type !== 'file' || inode.size === 0) return [];
    return [
      `/${showPath(path)} is an RPM database in the ${format} format, which is not read yet: its packages are unknown`,
    ];
  });
}

/** Directories of databases, symlinks followed, each once. */
function findDirectories(tree: Tree): Path[] {
  const found = DIRECTORIES.map((directory) => tree.resolve(directory, 'all'));
  return [...new Set(found.filter((path) => path !== undefined))].filter(
    (path) => tree.get(path)?.type === 'dir',
  );
}

async function readDatabases(tree: Tree): Promise<Found> {
  const found: Found = { packages: [], claims: [], warnings: [], broken: [] };
  const seen = new Set<Inode>();
  for (const directory of findDirectories(tree)) {
    const path = tree.resolve(`${directory}/${SQLITE}`, 'all');
    const inode = path === undefined ? undefined : tree.get(path);
    if (inode && seen.has(inode)) continue;
    if (inode) seen.add(inode);
    const before = found.packages.length;
    if (path !== undefined && inode?.type === 'file') await addSqlite(tree, path, found);
    if (found.packages.length === before) found.warnings.push(...otherDatabases(tree, directory));
  }
  return found;
}

const titleOf = ({ name, version, arch }: Installed): string =>
  arch ? `${name}-${version}.${arch}` : `${name}-${version}`;

/** The UTC days on which `times` lie, as seconds, ascending, each once. */
function daysOf(times: readonly number[]): number[] {
  const days = times.map((time) => time - (time % SECONDS_PER_DAY));
  return [...new Set(days)].sort((a, b) => a - b);
}

/** When the source package of `packages` changed: by changelog, and where none has one by build time. */
function changesOf(
  packages: readonly Installed[],
): Pick<ComponentInfo, 'changeTimes' | 'changesFrom'> {
  const logged = daysOf(packages.flatMap(({ changelogTimes }) => changelogTimes));
  if (logged.length > 0) return { changeTimes: logged, changesFrom: 'changelog' };
  const built = daysOf(packages.flatMap(({ buildTime }) => buildTime ?? []));
  return { changeTimes: built, changesFrom: 'build' };
}

function infoOf(source: string, packages: readonly Installed[]): ComponentInfo {
  return {
    id: `rpm:${source}`,
    kind: 'package',
    packages: [...new Set(packages.map(titleOf))].sort(),
    ...changesOf(packages),
  };
}

async function detect(tree: Tree): Promise<Detection | undefined> {
  const { packages, claims, broken, ...found } = await readDatabases(tree);
  if (packages.length === 0 && broken[0]) throw new RechunkError('database', broken[0]);
  const warnings = [...broken, ...found.warnings];
  if (packages.length === 0 && warnings.length === 0) return undefined;
  const bySource = Map.groupBy(packages, ({ source }) => source);
  const components = [...bySource].map(([source, group]) => infoOf(source, group));
  components.sort((a, b) => (a.id < b.id ? -1 : 1));
  return { repo: 'rpm', components, claims, warnings };
}

/**
 * RPM databases in SQLite form. Components are source packages (`rpm:glibc`), changing on the days of their changelogs
 * or, without one, when they were built. Files that were not installed are not claimed; ghosts are claimed as such.
 */
export const rpm: ComponentRepo = {
  name: 'rpm',
  documents:
    /^(?:usr\/lib\/sysimage\/rpm|var\/lib\/rpm|usr\/share\/rpm)\/rpmdb\.sqlite(?:-wal|-journal)?$/,
  detect,
};
