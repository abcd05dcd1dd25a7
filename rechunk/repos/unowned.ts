/**
 * Where files belong that no claim holds for: what no package lists, what a package lists without shipping it (ghosts),
 * and what was changed after its package was unpacked.
 *
 * Rules in order (package-databases section 8): a file made from another one goes with it (`.pyc`, symlinks); what a
 * machine generates and must stay whole goes to components that are expected to change; of the rest big files stand
 * alone, also those of an application, since the planner can join them again; then small volatile files, configuration
 * and applications by their place. A rule looks at one file only, so
 * adding or removing another file never moves it or renames its component.
 */
import { type Path, showPath } from '../../registry/path.ts';
import type { ComponentKind } from '../components.ts';
import type { Inode, Tree } from '../tree.ts';

/** Why a file has no owner. */
export type UnownedState = 'unlisted' | 'ghost' | 'modified';

/** The component that a file is put into. */
export interface Placement {
  readonly id: string;
  readonly kind: ComponentKind;
}

interface Rule extends Placement {
  /** The paths that the rule is for; `$1` in the id is the first group. */
  readonly path: RegExp;
}

/** What must stay whole however big it is, and changes for reasons of its own. */
const GENERATED_RULES: readonly Rule[] = [
  {
    path: /^boot\/init(rd|ramfs)[^/]*$|^(usr\/)?lib\/(modules|ostree-boot)\/(.*\/)?init(rd|ramfs)[^/]*$/,
    id: 'initramfs',
    kind: 'initramfs',
  },
  {
    path: /^(usr\/)?lib\/(modules|ostree-boot)\/|^boot\/(vmlinu[xz]|System\.map|config|symvers|kernel)[^/]*$/,
    id: 'kernel',
    kind: 'kernel',
  },
  {
    path: /^var\/lib\/(dpkg|apt|ucf)\/|^usr\/lib\/(sysimage\/)?dpkg\/|^var\/cache\/(apt|debconf)\/|^var\/log\/(apt\/|(dpkg|alternatives|bootstrap)\.log)/,
    id: 'database:dpkg',
    kind: 'database',
  },
  {
    path: /^usr\/lib\/sysimage\/|^usr\/share\/rpm\/|^var\/(lib|cache)\/(rpm|rpmmanifest|dnf|libdnf5|yum|zypp|rpm-ostree)\/|^var\/log\/(dnf|yum|zypp|hawkey)/,
    id: 'database:rpm',
    kind: 'database',
  },
  {
    path: /^(usr\/)?lib\/apk\/|^etc\/apk\/world$|^var\/(lib|cache)\/apk\/|^var\/log\/apk/,
    id: 'database:apk',
    kind: 'database',
  },
  {
    path: /^(var|usr)\/lib\/pacman\/|^etc\/pacman\.d\/gnupg\/|^var\/cache\/pacman\/|^var\/log\/pacman/,
    id: 'database:alpm',
    kind: 'database',
  },
  {
    path: /^etc\/pki\/(ca-trust\/extracted|java)\/|^etc\/ssl\/(certs\/(ca-certificates\.crt|java\/cacerts)|ca-bundle\.pem)$|^var\/lib\/ca-certificates\//,
    id: 'generated:ca-trust',
    kind: 'generated',
  },
  { path: /^(etc|usr\/lib)\/udev\/hwdb\.bin$/, id: 'generated:hwdb', kind: 'generated' },
  {
    path: /^usr\/lib\/locale\/locale-archive[^/]*$/,
    id: 'generated:locale-archive',
    kind: 'generated',
  },
  {
    path: /^(usr\/)?etc\/selinux\/[^/]+\/(policy|contexts\/files|active)\/|^(var|usr)\/lib\/selinux\//,
    id: 'generated:selinux',
    kind: 'generated',
  },
  { path: /^usr\/share\/mime\//, id: 'generated:mime', kind: 'generated' },
];

/** Files that are told by their place; what no rule here is for may have been put there by anyone. */
const PLACE_RULES: readonly Rule[] = [
  // what every build writes: accounts (shadow has the day of the last change), caches, logs, state
  {
    path: /^(usr\/)?etc\/((passwd|group|g?shadow|subuid|subgid)-?|machine-id|\.pwd\.lock|resolv\.conf|hostname|hosts|adjtime|mtab|ld\.so\.cache|\.updated)$/,
    id: 'generated:volatile',
    kind: 'generated',
  },
  {
    path: /^(var\/)?(run|tmp|lock)\/|^var\/(cache|log|\.updated)|^var\/lib\/(systemd|alternatives|pam|dbus|misc|logrotate|shells\.state)|^\.dockerenv$/,
    id: 'generated:volatile',
    kind: 'generated',
  },
  {
    path: /\.cache$|\/(gschemas\.compiled|mimeinfo\.cache|fontconfig\/.*\.cache-\d+)$|^usr\/share\/(info\/dir|man\/index\.db)$|^usr\/lib\/fontconfig\/cache\//,
    id: 'generated:volatile',
    kind: 'generated',
  },
  // what a user put there, as far as anyone can know
  { path: /^(usr\/)?etc\/|^root\/\.[^/]+$/, id: 'config', kind: 'config' },
  {
    path: /^((?:opt|srv|home|usr\/src|var\/opt|var\/www)\/[^/]+)\//,
    id: 'application:/$1',
    kind: 'application',
  },
  {
    path: /^(usr\/local|opt|srv|home|root|usr\/src|var\/opt|var\/www|var\/usrlocal)\//,
    id: 'application:/$1',
    kind: 'application',
  },
  {
    path: /^(?!(?:s?bin|boot|dev|lib\w*|media|mnt|proc|sys|sysroot|usr|var)\/)([^/]+)\//,
    id: 'application:/$1',
    kind: 'application',
  },
  { path: /^(?!(?:s?bin|lib\w*)$)[^/]+$/, id: 'application:/', kind: 'application' },
];

/** What is left, by why it has no owner: a changed file must not drag its package or its neighbours along. */
const LEFT_RULES: Readonly<Record<UnownedState, readonly Rule[]>> = {
  ghost: [{ path: /^/, id: 'generated:ghosts', kind: 'generated' }],
  modified: [{ path: /^/, id: 'generated:modified', kind: 'generated' }],
  unlisted: [
    {
      path: /^((?:usr|var)\/(?:lib|lib32|lib64|libexec|share)\/[^/]+)\//,
      id: 'rest:/$1',
      kind: 'rest',
    },
    { path: /^/, id: 'rest', kind: 'rest' },
  ],
};

/**
 * Compiled Python in its cache directory, by PEP 3147 and 488, whose tags tell where the name of a script with dots ends;
 * with a tag of another interpreter or tool; or beside its source, as Python 2 has it.
 */
const COMPILED: readonly (readonly [RegExp, string])[] = [
  [/^(.*?)__pycache__\/([^/]+?)\.[a-z]+-?\d+(?:\.opt-\w+)?\.pyc$/, '$1$2.py'],
  [/^(.*?)__pycache__\/([^/.]+)\.[^/]+\.pyc$/, '$1$2.py'],
  [/^(.*)\.py[co]$/, '$1.py'],
];

/** Version numbers in a file's name: the next version of a big file is the same component. */
const VERSION = /\d+(?:\.\d+)+/g;

/** Smallest file that is a component of its own where nobody owns it, bytes (as chunkah has it). */
export const LARGE_FILE_SIZE: number = 1 << 20;

/** What placing needs to know of the files that have owners, and of those that have none. */
export interface Surroundings {
  readonly tree: Tree;
  /** The component id of an inode that a claim holds for. */
  readonly ownerOf: (inode: Inode) => string | undefined;
  readonly stateOf: (inode: Inode) => UnownedState;
  readonly largeFileSize: number;
}

/**
 * The component of `inode`, whose names are `paths`: the id of an owner, or a component that needs no claim. Of several
 * names the one counts that the earliest rule is for.
 */
export function placeUnowned(
  around: Surroundings,
  inode: Inode,
  paths: readonly Path[],
  trail: readonly Inode[] = [],
): Placement | string {
  for (const path of paths) {
    const leader = leaderOf(around.tree, path, inode);
    if (!leader || trail.includes(leader.inode)) continue;
    const names = around.tree.links.get(leader.inode) ?? [leader.path];
    return (
      around.ownerOf(leader.inode) ?? placeUnowned(around, leader.inode, names, [...trail, inode])
    );
  }
  const generated = firstMatch(GENERATED_RULES, paths);
  if (generated) return generated;
  if (inode.type === 'file' && inode.size >= around.largeFileSize) return largePlacement(paths);
  return (
    firstMatch(PLACE_RULES, paths) ??
    (firstMatch(LEFT_RULES[around.stateOf(inode)], paths) as Placement)
  );
}

/** The file that a compiled file or a symlink was made from and goes with. */
function leaderOf(tree: Tree, path: Path, inode: Inode): { path: Path; inode: Inode } | undefined {
  if (inode.type === 'symlink') return fileAt(tree, tree.resolve(path, 'all'));
  if (!path.endsWith('.pyc') && !path.endsWith('.pyo')) return undefined;
  for (const [pattern, source] of COMPILED) {
    const leader = pattern.test(path) && fileAt(tree, path.replace(pattern, source) as Path);
    if (leader) return leader;
  }
  return undefined;
}

function fileAt(tree: Tree, path: Path | undefined): { path: Path; inode: Inode } | undefined {
  const inode = path === undefined ? undefined : tree.get(path);
  return path === undefined || !inode || inode.type === 'dir' ? undefined : { path, inode };
}

function firstMatch(rules: readonly Rule[], paths: readonly Path[]): Placement | undefined {
  for (const rule of rules) {
    for (const path of paths) if (rule.path.test(path)) return placementBy(rule, paths);
  }
  return undefined;
}

/** Where a rule that is for one of `paths` at least puts their file. */
function placementBy({ path: pattern, id, kind }: Rule, paths: readonly Path[]): Placement {
  const ids = paths.flatMap((path) => {
    const match = pattern.exec(path);
    return match ? [id.replace('$1', () => showPath(match[1] ?? ''))] : [];
  });
  return { id: ids.sort()[0] as string, kind };
}

function largePlacement(paths: readonly Path[]): Placement {
  const smallest = [...paths].sort()[0] as Path;
  return { id: `large:/${showPath(smallest).replace(VERSION, '*')}`, kind: 'large' };
}
