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
import type { Tree } from '../tree.ts';
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

interface Packages {
  readonly packages: RpmPackage[];
  readonly warnings: string[];
}

const messageOf = (error: unknown): string => {
  if (error instanceof RechunkError) return error.message;
  throw error;
};

/** The packages of the rows of a database; `at` is its path, for warnings. */
function readPackages(files: { database: Buffer; wal: Buffer | undefined }, at: string): Packages {
  const packages: RpmPackage[] = [];
  const warnings: string[] = [];
  try {
    for (const { rowid, values } of readTable(files, 'Packages')) {
      const blob = values[1];
      try {
        if (Buffer.isBuffer(blob)) packages.push(parsePackage(blob));
        else warnings.push(`package ${rowid} of ${at} is left out: it has no header`);
      } catch (error) {
        warnings.push(`package ${rowid} of ${at} is left out: ${messageOf(error)}`);
      }
    }
  } catch (error) {
    warnings.push(`reading ${at} ended after ${packages.length} packages: ${messageOf(error)}`);
  }
  return { packages, warnings };
}

async function readSqlite(tree: Tree, path: Path): Promise<Packages> {
  const at = `/${showPath(path)}`;
  const database = await tree.read(path);
  if (!database || database.length === 0) return { packages: [], warnings: [] };
  const found = readPackages({ database, wal: await tree.read(`${path}-wal`) }, at);
  const journal = await tree.read(`${path}-journal`);
  if (journal && isHotJournal(journal)) {
    found.warnings.push(
      `${at} was being written when the image was made: changes that its -journal would undo are read as made`,
    );
  }
  return found;
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

async function readDatabases(tree: Tree): Promise<Packages> {
  const all: Packages = { packages: [], warnings: [] };
  const seen = new Set<unknown>();
  for (const directory of findDirectories(tree)) {
    const path = tree.resolve(`${directory}/${SQLITE}`, 'all');
    const inode = path === undefined ? undefined : tree.get(path);
    if (inode && seen.has(inode)) continue;
    seen.add(inode);
    const found: Packages =
      path !== undefined && inode?.type === 'file'
        ? await readSqlite(tree, path)
        : { packages: [], warnings: [] };
    if (found.packages.length === 0) found.warnings.push(...otherDatabases(tree, directory));
    for (const one of found.packages) all.packages.push(one);
    for (const warning of found.warnings) all.warnings.push(warning);
  }
  return all;
}

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

/** ostree moves the packages' /etc to /usr/etc: a claim there for each one here. */
function* claimsOf(packages: readonly RpmPackage[], hasUsrEtc: boolean): Generator<Claim> {
  for (const { source, files } of packages) {
    for (const file of files) {
      if (!file.installed) continue;
      const claim = claimOf(file, `rpm:${source}`);
      yield claim;
      if (hasUsrEtc && file.path.startsWith('/etc/')) yield { ...claim, path: `/usr${file.path}` };
    }
  }
}

const titleOf = ({ name, version, arch }: RpmPackage): string =>
  arch ? `${name}-${version}.${arch}` : `${name}-${version}`;

/** The UTC days on which `times` lie, as seconds, ascending, each once. */
function daysOf(times: readonly number[]): number[] {
  const days = times.map((time) => time - (time % SECONDS_PER_DAY));
  return [...new Set(days)].sort((a, b) => a - b);
}

/** When the source package of `packages` changed: by changelog, and where none has one by build time. */
function changeTimesOf(packages: readonly RpmPackage[]): number[] {
  const logged = daysOf(packages.flatMap(({ changelogTimes }) => changelogTimes));
  if (logged.length > 0) return logged;
  return daysOf(packages.flatMap(({ buildTime }) => buildTime ?? []));
}

function infoOf(source: string, packages: readonly RpmPackage[]): ComponentInfo {
  return {
    id: `rpm:${source}`,
    kind: 'package',
    packages: [...new Set(packages.map(titleOf))].sort(),
    changeTimes: changeTimesOf(packages),
  };
}

async function detect(tree: Tree): Promise<Detection | undefined> {
  const { packages, warnings } = await readDatabases(tree);
  if (packages.length === 0 && warnings.length === 0) return undefined;
  const bySource = Map.groupBy(packages, ({ source }) => source);
  const components = [...bySource].map(([source, group]) => infoOf(source, group));
  const hasUsrEtc = tree.get('usr/etc' as Path)?.type === 'dir';
  return {
    repo: 'rpm',
    components: components.sort((a, b) => (a.id < b.id ? -1 : 1)),
    claims: [...claimsOf(packages, hasUsrEtc)],
    warnings,
  };
}

/**
 * RPM databases in SQLite form. Components are source packages (`rpm:glibc`), changing on the days of their changelogs
 * or, without one, when they were built. Files that were not installed are not claimed; ghosts are claimed as such.
 */
export const rpm: ComponentRepo = { name: 'rpm', detect };
