/** Lockfiles of npm (lockfileVersion 3), and which of their packages `npm ci` installs on this series' platform. */

/** Packages for other machines are not installed. */
const PLATFORM = { os: 'linux', cpu: 'x64', libc: 'glibc' } as const;

/** A package in a lockfile, by the path it is installed at. */
export interface LockedPackage {
  readonly name?: string;
  readonly version?: string;
  readonly integrity?: string;
  readonly inBundle?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly bin?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** A lockfile of npm, version 3, as far as it is used here. */
export interface Lockfile {
  readonly name: string;
  readonly version: string;
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

/** Reads a lockfile, which npm wrote. */
export function parseLockfile(text: Buffer): Lockfile {
  return JSON.parse(text.toString()) as Lockfile;
}

/** The name of the package at `path`, which an alias has apart from its place. */
export const packageName = (path: string, { name }: LockedPackage): string =>
  name ?? (path.split('node_modules/').at(-1) as string);

function fits(allowed: readonly string[] | undefined, value: string): boolean {
  if (!allowed || allowed.length === 0) return true;
  if (allowed.includes(`!${value}`)) return false;
  return allowed.includes(value) || allowed.every((name) => name.startsWith('!'));
}

const fitsPlatform = ({ os, cpu, libc }: LockedPackage): boolean =>
  fits(os, PLATFORM.os) && fits(cpu, PLATFORM.cpu) && fits(libc, PLATFORM.libc);

/** Where the package at `path` finds `name`: in the nearest `node_modules` at or above it. */
function resolveDependency(lock: Lockfile, path: string, name: string): string | undefined {
  for (let at = path; ; at = at.replace(/(^|\/)node_modules\/(@[^/]+\/)?[^/]+$/, '')) {
    const candidate = `${at === '' ? '' : `${at}/`}node_modules/${name}`;
    if (lock.packages[candidate]) return candidate;
    if (at === '') return undefined;
  }
}

/** The paths of packages that `npm ci` installs here: those that can be reached without an optional one for other machines. */
export function installedPackages(lock: Lockfile): Set<string> {
  const reached = new Set<string>();
  const pending = [''];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const { dependencies, optionalDependencies, peerDependencies } = lock.packages[
      path
    ] as LockedPackage;
    for (const name of Object.keys({
      ...dependencies,
      ...optionalDependencies,
      ...peerDependencies,
    })) {
      const found = resolveDependency(lock, path, name);
      if (found === undefined || reached.has(found)) continue;
      if (!fitsPlatform(lock.packages[found] as LockedPackage)) continue;
      reached.add(found);
      pending.push(found);
    }
  }
  return reached;
}

/** The hidden lockfile that npm leaves in `node_modules`: what is installed, without the project itself. */
export function hiddenLockfile(lock: Lockfile, installed: ReadonlySet<string>): string {
  const { name, version } = lock;
  const packages = Object.entries(lock.packages).filter(([path]) => installed.has(path));
  const hidden = { name, version, lockfileVersion: 3, requires: true };
  return `${JSON.stringify({ ...hidden, packages: Object.fromEntries(packages) }, undefined, 2)}\n`;
}
