/**
 * Components from installed Python distributions and virtual environments.
 *
 * A distribution has what its RECORD lists, and its own `.dist-info`. Without a list, its name and top_level.txt tell which
 * modules are guessed to be its own. A compiled file whose source is there is never claimed: it goes with the source, whoever
 * owns that, since the two change together. What a wheel bundles with distributions of others (`setuptools/_vendor`) is the
 * wheel's. Nothing depends on order: of several distributions that claim a file the smallest id has it.
 */
import { RechunkError } from '../../registry/errors.ts';
import { joinPath, nameOf, type Path, parentOf, showPath } from '../../registry/path.ts';
import {
  type Claim,
  type ClaimStrength,
  type ComponentInfo,
  type ComponentRepo,
  type Detection,
  locator,
} from '../components.ts';
import { sourceOf } from '../pyc.ts';
import type { Tree } from '../tree.ts';
import {
  type Distribution,
  DOCUMENTS,
  findInstalled,
  findList,
  LIST_LIMIT,
  type ListedFiles,
  readDistribution,
  readList,
} from './distribution.ts';
import { findEnvironments } from './venv.ts';

/** Most bytes that the lists of a tree have together. */
const LISTS_LIMIT: number = 4 * LIST_LIMIT;
/** Warnings that are listed one by one. */
const WARNINGS_LIMIT = 20;
/** What operating systems write in INSTALLER: their own databases know better. */
const SYSTEM_INSTALLERS: readonly string[] = ['debian', 'rpm', 'apk', 'pacman', 'portage', 'nix'];
/** What a module's file can end with, behind its name and a tag of the interpreter. */
const MODULE_FILE = /\.(?:py|pyi|pyc|so|pyd)$/;

/** A distribution with its component. */
interface Unit {
  readonly distribution: Distribution;
  readonly id: string;
  readonly claims: Claim[];
}

/** A tree as claims are made for it. */
interface Place {
  readonly tree: Tree;
  readonly locate: (listed: string) => Path | undefined;
  /** What lies in a directory, by name up to the first dot. */
  readonly modulesOf: (directory: Path) => ReadonlyMap<string, readonly Path[]>;
  /** Things that are guessed to be a module of a distribution, each given once. */
  readonly guessed: Set<Path>;
}

/** A name as PEP 503 has it: equal for all spellings. */
const normalise = (name: string): string => name.replace(/[-_.]+/g, '-').toLowerCase();

function idOf({ path, name }: Distribution): string {
  const directory = parentOf(path);
  return `python:/${directory === '' ? '' : `${showPath(directory)}/`}${normalise(name)}`;
}

/** Whether `path` is compiled from a source that is there. */
function isCompiled(tree: Tree, path: Path): boolean {
  return path.endsWith('.pyc') && sourceOf(tree, path) !== undefined;
}

/** All but directories at and below `top`, compiled files of sources left out. */
function* filesBelow(tree: Tree, top: Path): Generator<Path> {
  for (const pending = [top]; ; ) {
    const path = pending.pop();
    if (path === undefined) return;
    const type = tree.get(path)?.type;
    if (type === 'dir') for (const child of tree.list(path)) pending.push(child);
    else if (type && !isCompiled(tree, path)) yield path;
  }
}

function indexModules(tree: Tree): Place['modulesOf'] {
  const known = new Map<Path, ReadonlyMap<string, readonly Path[]>>();
  return (directory) => {
    const index =
      known.get(directory) ??
      Map.groupBy(tree.list(directory), (path) => nameOf(path).split('.')[0] ?? '');
    known.set(directory, index);
    return index;
  };
}

/** What all claims of a distribution state. */
type Owner = Pick<Claim, 'component' | 'strength'>;

/** Claims what is listed and there; a link in place of a file has no content to compare. */
function* claimListed({ tree, locate }: Place, list: ListedFiles, owner: Owner): Generator<Claim> {
  for (const { path: listed, digest, size } of list.files) {
    const path = locate(listed);
    const type = path === undefined ? undefined : tree.get(path)?.type;
    if (path === undefined || !type || type === 'dir' || isCompiled(tree, path)) continue;
    const content = { ...(digest && { digest }), ...(size !== undefined && { size }) };
    yield { ...owner, path, ...(type === 'file' && content) };
  }
}

/** Claims modules by name, each for the first that asks. */
function* guessModules(
  place: Place,
  { path, modules }: Distribution,
  component: string,
): Generator<Claim> {
  const index = place.modulesOf(parentOf(path));
  for (const top of modules.flatMap((module) => index.get(module) ?? [])) {
    const isModule = modules.includes(nameOf(top)) || MODULE_FILE.test(top);
    if (!isModule || place.guessed.has(top)) continue;
    place.guessed.add(top);
    yield* claimBelow(place, top, { component, strength: 'guess' });
  }
}

function* claimBelow({ tree }: Place, top: Path, owner: Owner): Generator<Claim> {
  for (const path of filesBelow(tree, top)) yield { ...owner, path };
}

const strengthOf = ({ installer }: Distribution): ClaimStrength =>
  SYSTEM_INSTALLERS.includes(installer) ? 'guess' : 'owner';

/** Adds the claims of a distribution to its unit; gives sentences about what could not be read. */
async function addClaims(place: Place, { distribution, id, claims }: Unit): Promise<string[]> {
  const { tree } = place;
  const strength = strengthOf(distribution);
  const list = findList(tree, distribution);
  const files = list && (await readList(tree, list));
  const owner = { component: id, strength };
  for (const one of claimBelow(place, distribution.path, owner)) claims.push(one);
  const others = files ? claimListed(place, files, owner) : guessModules(place, distribution, id);
  for (const one of others) claims.push(one);
  if (list && !files) return [`/${showPath(list.path)} is too long a list: it is not read`];
  if (!files?.senseless) return [];
  return [`/${showPath(list?.path ?? '')}: ${files.senseless} rows make no sense and are left out`];
}

function checkLists(tree: Tree, distributions: readonly Distribution[]): void {
  const sizes = distributions.map((distribution) => findList(tree, distribution)?.size ?? 0);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total <= LISTS_LIMIT) return;
  throw new RechunkError(
    'database',
    `reading what Python distributions list: their lists have ${total} bytes, at most ${LISTS_LIMIT} are read`,
  );
}

/** The units that are not part of another: whose headers no distribution further up has claimed. */
function withoutBundled(units: readonly Unit[]): Unit[] {
  const sites = new Map(
    units.map(({ distribution }) => [distribution.metadata, parentOf(distribution.path)]),
  );
  const bundled = new Set<string>();
  for (const { distribution, claims } of units) {
    const above = joinPath(parentOf(distribution.path), '');
    for (const { path } of claims) {
      const site = sites.get(path as Path);
      if (site !== undefined && site !== parentOf(distribution.path) && site.startsWith(above))
        bundled.add(path);
    }
  }
  return units.filter(({ distribution }) => !bundled.has(distribution.metadata));
}

async function readUnits(tree: Tree): Promise<{ units: Unit[]; warnings: string[] }> {
  const distributions: Distribution[] = [];
  for (const installed of findInstalled(tree))
    distributions.push(await readDistribution(tree, installed));
  checkLists(tree, distributions);
  const units = distributions.map(
    (distribution): Unit => ({ distribution, id: idOf(distribution), claims: [] }),
  );
  units.sort((a, b) => compare(a.id, b.id) || compare(a.distribution.path, b.distribution.path));
  const place = {
    tree,
    locate: locator(tree),
    modulesOf: indexModules(tree),
    guessed: new Set<Path>(),
  };
  const warnings: string[] = [];
  for (const unit of units)
    warnings.push(...unit.distribution.troubles, ...(await addClaims(place, unit)));
  return { units: withoutBundled(units), warnings };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function describe(id: string, units: readonly Unit[]): ComponentInfo {
  const packages = units.map(({ distribution: { name, version } }) =>
    version === undefined ? name : `${name}==${version}`,
  );
  return { id, kind: 'language', packages: [...new Set(packages)].sort() };
}

/** The first warnings of a long list, and how many were left off. */
function shorten(warnings: readonly string[]): string[] {
  const more = warnings.length - WARNINGS_LIMIT;
  const shown = warnings.slice(0, WARNINGS_LIMIT);
  return more > 0 ? [...shown, `${more} more warnings about Python distributions`] : shown;
}

async function detect(tree: Tree): Promise<Detection | undefined> {
  const environments = findEnvironments(tree);
  const { units, warnings } = await readUnits(tree);
  if (units.length === 0 && environments.components.length === 0) return undefined;
  const described = [...Map.groupBy(units, ({ id }) => id)].map(([id, group]) =>
    describe(id, group),
  );
  return {
    repo: 'python',
    components: [...described, ...environments.components],
    claims: [...units.flatMap(({ claims }) => claims), ...environments.claims],
    warnings: shorten(warnings),
  };
}

/**
 * Python distributions and virtual environments. Components are `python:/usr/lib/python3/site-packages/NAME`, names as PEP
 * 503 normalises them, and `python:/PATH/OF/VENV`. What an operating system's package lists stays with that, also where
 * the distribution lists it too; a distribution that says that such a system installed it makes guesses only.
 */
export const python: ComponentRepo = { name: 'python', documents: DOCUMENTS, detect };
