/**
 * Guesses the files of packages whose lists were left out, as in older distroless images and in images that deleted
 * `/var/lib/dpkg/info`: by the package's name and the names of shared libraries, and by the layer that a package came in
 * alone.
 */
import { ancestorsOf, nameOf, type Path } from '../../registry/path.ts';
import type { Claim } from '../components.ts';
import type { Entry, Tree } from '../tree.ts';

/** A package without a list of files. */
export interface UnlistedPackage {
  readonly name: string;
  readonly component: string;
  /** The file with its stanza. */
  readonly stanza: Path;
}

/** Places where a directory or file with the name of a package belongs to that package. */
const NAMED =
  /^(usr\/(share|lib|libexec|share\/doc|s?bin)|s?bin|lib|etc|usr\/share\/lintian\/overrides)$/;
/** A shared library's name and version: `libssl.so.1.1`. */
const LIBRARY = /^(lib[^/]+?)\.so\.(\d[\w.]*)$/;
/** What the packages of old distroless images own beside what bears their name. */
const KNOWN: readonly (readonly [name: string, path: RegExp])[] = [
  [
    'base-files',
    /^(etc\/(os-release|debian_version|issue(\.net)?|host\.conf)$|usr\/(lib\/os-release$|share\/common-licenses\/))/,
  ],
  ['ca-certificates', /^(etc\/ssl\/certs|usr\/share\/ca-certificates)\//],
  ['libc6', /^(usr\/)?lib(64)?\/(.*\/)?(gconv\/|audit\/|ld-|lib[A-Za-z_]+-\d+\.\d+\.so$)/],
  ['netbase', /^etc\/(ethertypes|protocols|rpc|services)$/],
  ['openssl', /^(etc|usr\/lib)\/ssl\/(openssl\.cnf|misc\/)|^usr\/share\/man\/man\d\/.*ssl\.gz$/],
  ['tzdata', /^usr\/share\/zoneinfo\//],
];
/** Endings of names when the width of time_t changed (libssl3t64). */
const TRANSITION = /t64$/;

/** Claims of strength `guess` for what most likely belongs to `packages`, none of which has a list. */
export function guessFiles(tree: Tree, packages: readonly UnlistedPackage[]): Claim[] {
  if (packages.length === 0) return [];
  const byName = new Map(
    packages.flatMap(({ name, component }) => [
      [name, component],
      [name.replace(TRANSITION, ''), component],
    ]),
  );
  const byLayer = packagesByLayer(tree, packages);
  const guess = ({ path, inode }: Entry): Claim[] => {
    const claim = (component: string, at = path): Claim => ({
      path: at,
      component,
      strength: 'guess',
    });
    const library = byLibrary(path, byName);
    const target = library && inode.type === 'symlink' ? tree.resolve(path, 'all') : undefined;
    if (library && target !== undefined) return [claim(library), claim(library, target)];
    const known = KNOWN.find(([name, pattern]) => byName.has(name) && pattern.test(path));
    const named = known && byName.get(known[0]);
    const component = byPlace(path, byName) ?? library ?? named ?? byLayer.get(inode.layer);
    return component ? [claim(component)] : [];
  };
  return tree.entries.filter(({ inode }) => inode.type !== 'dir').flatMap(guess);
}

/** By the deepest part of `path` that stands in one of the known places and is named like a package. */
function byPlace(path: Path, byName: ReadonlyMap<string, string>): string | undefined {
  const deepestFirst = [...ancestorsOf(path), path].reverse();
  for (const at of deepestFirst) {
    const component = byName.get(nameOf(at));
    if (component && NAMED.test(at.slice(0, -nameOf(at).length - 1))) return component;
  }
  return undefined;
}

/** By soname (Policy 8.1): the library's name and its version, a hyphen between two digits. */
function byLibrary(path: Path, byName: ReadonlyMap<string, string>): string | undefined {
  const [, stem, version] = LIBRARY.exec(nameOf(path)) ?? [];
  if (!stem || !version) return undefined;
  const name = stem.toLowerCase().replaceAll('_', '-');
  return byName.get(`${name}${/\d$/.test(name) ? '-' : ''}${version}`);
}

/** Layers that hold the stanza of exactly one package hold that package (as Bazel builds them). */
function packagesByLayer(
  tree: Tree,
  packages: readonly UnlistedPackage[],
): ReadonlyMap<number, string> {
  const layers = new Map<number, Set<string>>();
  for (const { stanza, component } of packages) {
    const layer = stanza.endsWith('/status') ? undefined : tree.get(stanza)?.layer;
    if (layer !== undefined) layers.set(layer, (layers.get(layer) ?? new Set()).add(component));
  }
  const single = [...layers].filter(([, components]) => components.size === 1);
  return new Map(single.map(([layer, components]) => [layer, [...components][0] as string]));
}
