/**
 * Python's virtual environments (PEP 405): directories with a `pyvenv.cfg`, and the files that were made with them, which no
 * distribution lists: links to the interpreter, scripts that activate it, the link `lib64`.
 */
import { joinPath, nameOf, type Path, parentOf, showPath } from '../../registry/path.ts';
import type { Claim, ComponentInfo } from '../components.ts';
import type { Tree } from '../tree.ts';

const CONFIG = /(?:^|\/)pyvenv\.cfg$/;
/** Beside `pyvenv.cfg`; uv and Python from 3.13 on write the last four. */
const AT_ROOT = /^(?:pyvenv\.cfg|lib64|CACHEDIR\.TAG|\.gitignore|\.lock)$/;
/** In `bin`: venv, virtualenv and uv. */
const IN_BIN =
  /^(?:(?:python|pypy|graalpy)[\d.]*[td]*|(?:de)?activate(?:[._].*)?|Activate\.ps1|pydoc(?:\.bat)?|pydoc3)$/;
/** In `site-packages`, by virtualenv. */
const IN_SITE = /^_virtualenv\.(?:py|pth)$/;
/** Directories of modules, below the root of an environment. */
const SITES = /^(?:python|pypy)[\d.]*[td]*$/;

/** Components for environments, and the claims of each. */
export interface Environments {
  readonly components: readonly ComponentInfo[];
  readonly claims: readonly Claim[];
}

/** Directories of the environment that can hold files of its own, with what those are named. */
function placesOf(tree: Tree, root: Path): [directory: Path, names: RegExp][] {
  const library = joinPath(root, 'lib');
  const versions = tree.list(library).filter((path) => SITES.test(nameOf(path)));
  const sites = versions.map((path): [Path, RegExp] => [joinPath(path, 'site-packages'), IN_SITE]);
  return [[root, AT_ROOT], [joinPath(root, 'bin'), IN_BIN], ...sites];
}

/**
 * The environments of `tree`, each a component `python:/PATH/OF/VENV`. Claims go by names, so what a distribution lists stays
 * with that, and what a user put beside is not claimed.
 */
export function findEnvironments(tree: Tree): Environments {
  const configs = tree.entries.filter(
    ({ path, inode }) => inode.type === 'file' && CONFIG.test(path),
  );
  const roots = configs.map(({ path }) => parentOf(path));
  const claims = roots.flatMap((root) => {
    const component = `python:/${showPath(root)}`;
    const own = placesOf(tree, root).flatMap(([directory, names]) =>
      tree
        .list(directory)
        .filter((path) => names.test(nameOf(path)) && tree.get(path)?.type !== 'dir'),
    );
    return own.map((path): Claim => ({ path, component, strength: 'guess' }));
  });
  const components = roots.map(
    (root): ComponentInfo => ({ id: `python:/${showPath(root)}`, kind: 'language' }),
  );
  return { components, claims };
}
