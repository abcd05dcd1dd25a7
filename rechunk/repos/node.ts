/**
 * Components from trees of Node.js packages, as npm, pnpm and yarn lay them out below `node_modules`.
 *
 * A package root is a directory `…/node_modules/NAME` or `…/node_modules/@SCOPE/NAME` with a package.json; a file belongs
 * to the deepest root above it, so a nested copy is a component of its own. What lies below `node_modules` outside all
 * roots (`.bin`, `.package-lock.json`, pnpm's links) belongs to the outermost `node_modules`. Ids are made of paths, and
 * name no version: in pnpm's store, whose paths do, the copies of one package are one component.
 */
import { type Path, parentOf, showPath } from '../../registry/path.ts';
import type { Claim, ComponentInfo, ComponentRepo, Detection } from '../components.ts';
import type { Entry, Tree } from '../tree.ts';

/** Largest package.json that is read, bytes; registries refuse much smaller ones. */
const MANIFEST_LIMIT: number = 4 << 20;
/** Warnings of one kind that are listed one by one. */
const WARNINGS_LIMIT = 20;

/** Paths of package.json files that make the directory above a package root. */
const ROOT_MANIFEST = /(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/.@][^/]*\/package\.json$/;
/** pnpm's store: `node_modules/.pnpm/NAME@VERSION…/node_modules/NAME`. */
const PNPM_ROOT = /^((?:.*\/)?node_modules\/\.pnpm)\/[^/]+\/node_modules\/(.+)$/;

const isBelowModules = (path: string): boolean =>
  path.startsWith('node_modules/') || path.includes('/node_modules/');

/** The outermost `node_modules` directory at or above `path`; undefined where there is none. */
function treeRootOf(path: Path): Path | undefined {
  const found = /^(?:.*?\/)?node_modules(?=\/|$)/.exec(path);
  return found?.[0] as Path | undefined;
}

/** Package roots, parents first. */
function findRoots(tree: Tree): Path[] {
  const manifests = tree.entries.filter(
    ({ path, inode }) => inode.type === 'file' && ROOT_MANIFEST.test(path),
  );
  return manifests.map(({ path }) => parentOf(path));
}

/** The component of a unit: a package root, or a `node_modules` directory for what is in no package. */
function idOf(unit: Path): string {
  const [, store, name] = PNPM_ROOT.exec(unit) ?? [];
  return `node:/${showPath(store === undefined ? unit : `${store}/${name}`)}`;
}

/** Finds the unit that a directory belongs to, remembering each answer. */
function unitFinder(roots: ReadonlySet<Path>): (directory: Path) => Path | undefined {
  const known = new Map<Path, Path | undefined>([['' as Path, undefined]]);
  const packageOf = (directory: Path): Path | undefined => {
    if (roots.has(directory)) return directory;
    if (!known.has(directory)) known.set(directory, packageOf(parentOf(directory)));
    return known.get(directory);
  };
  return (directory) => packageOf(directory) ?? treeRootOf(directory);
}

/** Things that are in components: all but directories that hold something. */
const isLeaf = (tree: Tree, { path, inode }: Entry): boolean =>
  inode.type !== 'dir' || tree.list(path).length === 0;

interface Manifest {
  readonly name: string;
  /** Undefined where the package.json has none. */
  readonly version: string | undefined;
  readonly trouble?: string;
}

/** The name of the package in `root` where its package.json does not say: of its directory. */
function directoryName(root: Path): string {
  const name = /node_modules\/((?:@[^/]+\/)?[^/]+)$/.exec(root)?.[1] ?? root;
  return showPath(name);
}

function parseManifest(bytes: Buffer, root: Path): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8').replace(/^\ufeff/, ''));
  } catch (error) {
    const trouble = `it is not JSON: ${(error as Error).message}`;
    return { name: directoryName(root), version: undefined, trouble };
  }
  const { name, version } = (json ?? {}) as { name?: unknown; version?: unknown };
  return {
    name: typeof name === 'string' && name !== '' ? name : directoryName(root),
    version: typeof version === 'string' && version !== '' ? version : undefined,
  };
}

async function readManifest(tree: Tree, root: Path): Promise<Manifest> {
  const path = `${root}/package.json` as Path;
  const size = tree.get(path)?.size ?? 0;
  if (size > MANIFEST_LIMIT) {
    const trouble = `it has ${size} bytes, at most ${MANIFEST_LIMIT} are read`;
    return { name: directoryName(root), version: undefined, trouble };
  }
  return parseManifest((await tree.read(path)) ?? Buffer.alloc(0), root);
}

/** The packages (`name@version`) by component, and what was wrong with their package.json files. */
async function readPackages(
  tree: Tree,
  roots: readonly Path[],
): Promise<{ titles: Map<string, Set<string>>; troubles: string[] }> {
  const titles = new Map<string, Set<string>>();
  const troubles: string[] = [];
  for (const root of roots) {
    const { name, version, trouble } = await readManifest(tree, root);
    const id = idOf(root);
    const title = version === undefined ? name : `${name}@${version}`;
    titles.set(id, (titles.get(id) ?? new Set()).add(title));
    if (trouble !== undefined) {
      troubles.push(`/${showPath(root)}/package.json: ${trouble}; its directory names the package`);
    }
  }
  return { titles, troubles };
}

function claimsOf(tree: Tree, roots: readonly Path[]): Claim[] {
  const unitOf = unitFinder(new Set(roots));
  const ids = new Map<Path, string>();
  const claims: Claim[] = [];
  for (const entry of tree.entries) {
    if (!isBelowModules(entry.path) || !isLeaf(tree, entry)) continue;
    const at = entry.inode.type === 'dir' ? entry.path : parentOf(entry.path);
    const unit = unitOf(at);
    if (unit === undefined) continue;
    const component = ids.get(unit) ?? idOf(unit);
    ids.set(unit, component);
    claims.push({ path: entry.path, component, strength: 'owner' });
  }
  return claims;
}

/** The first warnings of a long list, and how many were left off. */
function shorten(warnings: readonly string[]): string[] {
  const more = warnings.length - WARNINGS_LIMIT;
  const shown = warnings.slice(0, WARNINGS_LIMIT);
  return more > 0 ? [...shown, `${more} more package.json files cannot be read`] : shown;
}

async function detect(tree: Tree): Promise<Detection | undefined> {
  const roots = findRoots(tree);
  if (roots.length === 0) return undefined;
  const claims = claimsOf(tree, roots);
  const { titles, troubles } = await readPackages(tree, roots);
  const ids = new Set([...titles.keys(), ...claims.map(({ component }) => component)]);
  const components = [...ids].sort().map((id): ComponentInfo => {
    const packages = [...(titles.get(id) ?? [])].sort();
    return { id, kind: 'language', ...(packages.length > 0 && { packages }) };
  });
  return { repo: 'node', components, claims, warnings: shorten(troubles) };
}

/**
 * Packages below `node_modules`. Components are package roots (`node:/app/node_modules/@babel/core`); claims name no
 * content, so files that an operating system's package lists stay with that.
 */
export const node: ComponentRepo = { name: 'node', documents: ROOT_MANIFEST, detect };
