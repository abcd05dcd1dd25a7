/**
 * Components from dpkg databases (Debian, Ubuntu, distroless): one for each source package, with the files of all its
 * binary packages.
 *
 * Diversions are applied to paths as listed, before symlinks are followed: protective diversions of the merged `/usr`
 * differ from the real path in spelling only. What no list names but a package surely made is guessed.
 */
import { RechunkError } from '../../registry/errors.ts';
import { nameOf, type Path, parentOf } from '../../registry/path.ts';
import {
  type Claim,
  type ComponentInfo,
  type ComponentRepo,
  type Detection,
  type DetectOptions,
  locator,
} from '../components.ts';
import type { Inode, Tree } from '../tree.ts';
import { type ChosenLinks, chosenLinks } from './alternatives.ts';
import { changelogTimes, type KnownTimes } from './changelog.ts';
import { guessFiles } from './distroless.ts';
import {
  type Diversion,
  type DpkgPackage,
  parseDiversions,
  readStatus,
  readText,
} from './dpkgstatus.ts';

/** Where databases lie; each directory is read once, however many symlinks lead to it. */
const DIRECTORIES = ['var/lib/dpkg', 'usr/lib/sysimage/dpkg', 'usr/lib/dpkg'];
/** What packages make when they are configured, and which changes when they do. */
const MADE_BY: readonly (readonly [name: string, directory: string, file: RegExp])[] = [
  ['ca-certificates', 'etc/ssl/certs', /./],
  ['ca-certificates', 'etc', /^ca-certificates\.conf$/],
  ['ca-certificates-java', 'etc/ssl/certs/java', /^cacerts$/],
];
/** Times before this are no dates: the builder of the image flattened them. One year in seconds. */
const FLATTENED: number = 365 * 86_400;
/** Names that a warning gives before it only counts. */
const WARNING_EXAMPLES = 5;
const NS_PER_SECOND = 1_000_000_000n;

const componentOf = ({ source }: DpkgPackage): string => `dpkg:${source}`;

async function detect(
  tree: Tree,
  { times = true }: DetectOptions = {},
): Promise<Detection | undefined> {
  const directories = DIRECTORIES.flatMap((path) => tree.resolve(path, 'all') ?? []);
  const databases = await Promise.all(
    [...new Set(directories)].map((directory) => readDatabase(tree, directory)),
  );
  const packages = databases.flatMap((database) => database.packages);
  const warnings = databases.flatMap((database) => database.warnings);
  if (packages.length === 0) {
    if (warnings.length === 0) return undefined;
    throw new RechunkError('database', `reading dpkg's database: no package found: ${warnings[0]}`);
  }
  const claims = databases.flatMap((database) => database.claims);
  // Main thread and pool work at the same time.
  tree.digestAhead('md5', statedFiles(tree, claims));
  return {
    repo: 'dpkg',
    components: await describeSources(tree, packages, times),
    claims: [...claims, ...guessMade(tree, packages), ...guessUnlisted(tree, packages)],
    warnings: [...warnings, ...describeUnlisted(packages)],
  };
}

/** Files whose content a package states, as far as they are where it lists them, without symlinks among their parents. */
function statedFiles(tree: Tree, claims: readonly Claim[]): Inode[] {
  const files = claims.flatMap(({ path, digest }) => {
    const inode = digest && tree.get(path.slice(1) as Path);
    return inode?.type === 'file' ? inode : [];
  });
  return [...new Set(files)];
}

interface Database {
  readonly packages: readonly DpkgPackage[];
  readonly claims: readonly Claim[];
  readonly warnings: readonly string[];
}

async function readDatabase(tree: Tree, directory: Path): Promise<Database> {
  const { packages, warnings } = await readStatus(tree, directory);
  const diversions = parseDiversions((await readText(tree, `${directory}/diversions`)) ?? '');
  const claims = packages.flatMap((unpacked) => claimsOf(unpacked, diversions));
  const chosen = await chosenLinks(tree, `${directory}/alternatives` as Path);
  return { packages, claims: [...claims, ...guessAlternatives(tree, chosen, claims)], warnings };
}

/** Lists do not tell directories from files; a path with others below it is a directory, even if the tree has a symlink. */
function claimsOf(unpacked: DpkgPackage, diversions: ReadonlyMap<string, Diversion>): Claim[] {
  const { name, files = [], digests } = unpacked;
  const component = componentOf(unpacked);
  const directories = new Set(files.map((path) => path.slice(0, path.lastIndexOf('/'))));
  return files.map((listed) => {
    const diversion = diversions.get(listed);
    const path = diversion && diversion.by !== name ? diversion.to : listed;
    if (directories.has(listed)) return { path, component, strength: 'owner', type: 'dir' };
    const hex = digests.get(listed);
    if (!hex) return { path, component, strength: 'owner' };
    const digest = { algorithm: 'md5', hex } as const;
    return { path, component, strength: 'owner', type: 'file', digest };
  });
}

/** The links of an alternative go with the package of the target that was chosen, also where the target was left out. */
function guessAlternatives(
  tree: Tree,
  chosen: readonly ChosenLinks[],
  claims: readonly Claim[],
): Claim[] {
  const locate = locator(tree);
  const names = new Set(chosen.map(({ target }) => nameOf(target as Path)));
  const owners = new Map<Path, string>();
  for (const { path, component, type } of claims) {
    if (type === 'dir' || !names.has(nameOf(path as Path))) continue;
    const at = locate(path);
    const known = at && owners.get(at);
    if (at && (!known || component < known)) owners.set(at, component);
  }
  return chosen.flatMap(({ target, links }) => {
    const at = locate(target);
    const component = at && owners.get(at);
    if (!component) return [];
    return links.map((path): Claim => ({ path, component, strength: 'guess', type: 'symlink' }));
  });
}

/** What packages made when they were configured, and what dpkg notes of each alone. */
function guessMade(tree: Tree, packages: readonly DpkgPackage[]): Claim[] {
  const notes = notesOf(tree, packages);
  return packages.flatMap((unpacked) => {
    const component = componentOf(unpacked);
    const made = MADE_BY.filter(([name]) => name === unpacked.name).flatMap(([, directory, file]) =>
      tree.list(directory as Path).filter((path) => file.test(nameOf(path))),
    );
    const key = `${parentOf(unpacked.stanza)}/info/${unpacked.name}`;
    const own = unpacked.stanza.endsWith('/status')
      ? (notes.get(key) ?? [])
      : [unpacked.stanza, `${unpacked.stanza}.md5sums`];
    // Of several architectures the first has the notes of all, which are of one source.
    notes.delete(key);
    return [...made, ...own].map((path): Claim => ({ path, component, strength: 'guess' }));
  });
}

/**
 * The files of `info/` by what they are of: `DIRECTORY/NAME`. Each says something of one package (`NAME.list`,
 * `NAME:ARCH.md5sums`, `NAME.postinst`) and changes with it alone; so only `status` changes with every update.
 */
function notesOf(tree: Tree, packages: readonly DpkgPackage[]): Map<string, Path[]> {
  const directories = new Set(packages.map(({ stanza }) => `${parentOf(stanza)}/info` as Path));
  const files = [...directories].flatMap((directory) => tree.list(directory));
  return Map.groupBy(files, (path) => path.replace(/(:[a-z0-9-]+)?\.[a-z0-9]+$/, ''));
}

function guessUnlisted(tree: Tree, packages: readonly DpkgPackage[]): Claim[] {
  const unlisted = packages.filter(({ files }) => !files);
  return guessFiles(
    tree,
    unlisted.map((unpacked) => ({ ...unpacked, component: componentOf(unpacked) })),
  );
}

function describeUnlisted(packages: readonly DpkgPackage[]): string[] {
  const names = packages.filter(({ files }) => !files).map(({ name }) => name);
  if (names.length === 0) return [];
  const examples = names.sort().slice(0, WARNING_EXAMPLES).join(', ');
  const more =
    names.length > WARNING_EXAMPLES ? ` and ${names.length - WARNING_EXAMPLES} more` : '';
  return [`dpkg's database lists no files for ${examples}${more}; they are guessed by name`];
}

async function describeSources(
  tree: Tree,
  packages: readonly DpkgPackage[],
  withTimes: boolean,
): Promise<ComponentInfo[]> {
  const sources = Map.groupBy(packages, componentOf);
  const locate = locator(tree);
  const known: KnownTimes = new Map();
  const infos: ComponentInfo[] = [];
  for (const [id, binaries] of sources) {
    const versions = binaries.map(({ name, version }) => `${name} ${version}`);
    const info = { id, kind: 'package', packages: [...new Set(versions)].sort() } as const;
    const changes = withTimes && (await changesOf(binaries, { tree, locate, known }));
    infos.push({ ...info, ...changes });
  }
  return infos;
}

/** When a source package changed: by the changelogs of its packages, and where there are none by when they were built. */
async function changesOf(
  binaries: readonly DpkgPackage[],
  {
    tree,
    locate,
    known,
  }: {
    readonly tree: Tree;
    readonly locate: (listed: string) => Path | undefined;
    readonly known: KnownTimes;
  },
): Promise<Pick<ComponentInfo, 'changeTimes' | 'changesFrom'>> {
  const logged: number[] = [];
  for (const { name } of binaries) {
    for (const time of await changelogTimes(tree, name, known)) logged.push(time);
  }
  if (logged.length > 0) return { changeTimes: sortedTimes(logged), changesFrom: 'changelog' };
  const built = binaries.flatMap((unpacked) => buildTime(tree, locate, unpacked));
  return built.length > 0 ? { changeTimes: sortedTimes(built), changesFrom: 'build' } : {};
}

/**
 * The newest time among the regular files that a package unpacked is its build's (package-databases 2.4: true of 284
 * packages of 284), unless somebody flattened times. Configuration files are left out, since people edit them.
 */
function buildTime(
  tree: Tree,
  locate: (listed: string) => Path | undefined,
  { digests, files = [], conffiles }: DpkgPackage,
): number[] {
  let newest = 0n;
  for (const listed of digests.size > conffiles.size ? digests.keys() : files) {
    const path = conffiles.has(listed) ? undefined : locate(listed);
    const inode = path === undefined ? undefined : tree.get(path);
    if (inode?.type === 'file' && inode.mtime > newest) newest = inode.mtime;
  }
  const seconds = Number(newest / NS_PER_SECOND);
  return seconds < FLATTENED ? [] : [seconds];
}

function sortedTimes(times: readonly number[]): number[] {
  return [...new Set(times)].sort((a, b) => a - b);
}

/** Debian's package manager, and all distributions and images that use its databases. */
export const dpkg: ComponentRepo = {
  name: 'dpkg',
  documents:
    /^(?:var\/lib|usr\/lib\/sysimage|usr\/lib)\/dpkg\/(?:status|diversions|(?:status\.d|alternatives)\/[^/]+|info\/[^/]+\.(?:list|md5sums))$/,
  detect,
};
