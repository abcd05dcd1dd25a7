/**
 * Private directories for what is not finished: each run makes one of its own, and removes what killed runs left.
 *
 * The name says whose it is: `PID-STARTTIME-n-MACHINE`, where the start time tells a process from a later one with the
 * same id, and MACHINE stands for this boot and pid namespace. What another machine or container made cannot be asked for
 * its process, so it counts as left behind after a day.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { chmod, lstat, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { during, systemCode } from './errors.ts';

/** After how long a directory of an unreachable process counts as left behind, ms: a day. */
const FOREIGN_AGE_MS = 86_400_000;
/** How often making the directory is tried while others remove its empty parent. */
const MAKE_TRIES = 20;
/** Field of /proc/PID/stat with the start time, counted after the command's closing parenthesis (proc(5)). */
const START_TIME_FIELD = 19;

const OWNER_ALL = 0o700;

const NAME_PATTERN = /^(\d+)-(\d+)-(\d+)-([0-9a-f]{8})$/;

/** A private directory of this run. */
export interface Ingest {
  readonly directory: string;
  /** Last part of `directory`; says which process it belongs to. */
  readonly name: string;
  /** A path in it that no other call gave. */
  newPath(): string;
  /** Removes the directory and all that is in it. Idempotent; never throws. */
  remove(): Promise<void>;
}

/** Makes a directory in `parent` whose name begins with `prefix`; throws `io` where that cannot be. */
export function makeTempDirectory(parent: string, prefix: string): Promise<string> {
  return during(`making a temporary directory in ${parent}`, () => mkdtemp(join(parent, prefix)));
}

/** Where temporary files of an image's size go by default: /tmp is often memory. Images of few files may lack /var/tmp. */
export const LARGE_TEMP_DIR: string =
  process.platform === 'linux' && existsSync('/var/tmp') ? '/var/tmp' : tmpdir();

let count = 0;

/**
 * Makes a private directory (mode 0700) below `parent`, which is made too, and removes what killed runs left there with
 * the same `prefix`.
 */
export async function makeIngest(parent: string, prefix = ''): Promise<Ingest> {
  const name = `${prefix}${process.pid}-${startTime(process.pid) ?? 0}-${count++}-${machine()}`;
  // Programs that are given paths in it run elsewhere.
  const directory = resolve(parent, name);
  await makeDirectory(directory);
  await removeStale(parent, prefix);
  let files = 0;
  return {
    directory,
    name,
    newPath: () => join(directory, `blob-${files++}`),
    remove: () => removeTree(directory),
  };
}

/** A private directory for files of this run only, below `parent`; throws `io` or `not-found` where it cannot be made. */
export function makeTemporary(parent: string, prefix: string): Promise<Ingest> {
  const doing = `making a directory for temporary files in ${parent} (--temp-dir names another)`;
  return during(doing, () => makeIngest(parent, prefix));
}

/** Whether the process that made the directory of this name may still run. */
export function isAlive(name: string): boolean {
  const [, pid, start, , where] = NAME_PATTERN.exec(name) ?? [];
  if (pid === undefined || where !== machine()) return true;
  const now = startTime(Number(pid));
  return now !== undefined && String(now) === start;
}

/** Whether the name is of a process on another machine or in another container, of which nobody here can say whether it runs. */
export function isFromElsewhere(name: string): boolean {
  const where = NAME_PATTERN.exec(name)?.[4];
  return where !== undefined && where !== machine();
}

/** The directories below `parent` that belong to other runs. */
export async function otherRuns(parent: string, own: string): Promise<string[]> {
  const names = await readdir(parent);
  return names.filter((name) => NAME_PATTERN.test(name) && name !== own);
}

/**
 * Makes a directory and its parents, and gives the topmost that was made, if any. Throws what the system says: Node's own
 * recursion calls a read-only file system `ENOENT`, and never ends below /proc.
 */
export async function makeDirectories(path: string): Promise<string | undefined> {
  try {
    return await makeOne(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw error;
    const topmost = await makeDirectories(dirname(path));
    const made = await makeOne(path);
    return topmost ?? made;
  }
}

/** Makes a directory and gives its path; undefined where it is there. */
async function makeOne(path: string): Promise<string | undefined> {
  try {
    await mkdir(path);
    return path;
  } catch (error) {
    if (systemCode(error) === 'EEXIST' && (await stat(path)).isDirectory()) return undefined;
    throw error;
  }
}

async function makeDirectory(directory: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await makeDirectories(join(directory, '..'));
      await mkdir(directory, { mode: 0o700 });
      return;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' || tries === MAKE_TRIES) throw error;
    }
  }
}

async function removeStale(parent: string, prefix: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const owner = name.startsWith(prefix) ? name.slice(prefix.length) : '';
    if (!NAME_PATTERN.test(owner)) continue;
    const path = join(parent, name);
    // only one's own: in a shared directory nobody else can have put something else in its place
    const found = await lstat(path).catch(() => undefined);
    if (!found?.isDirectory() || found.uid !== process.getuid?.()) continue;
    const foreign = !owner.endsWith(machine());
    const left = foreign ? Date.now() - found.mtimeMs > FOREIGN_AGE_MS : !isAlive(owner);
    if (left) await removeTree(path);
  }
}

/** Removes a tree, also of directories that their owner may not write to, as far as it can be removed. Never throws. */
async function removeTree(directory: string): Promise<void> {
  const remove = (): Promise<void> => rm(directory, { recursive: true, force: true });
  await remove()
    .catch(async () => {
      await allowAll(Buffer.from(directory));
      await remove();
    })
    .catch(() => undefined);
}

async function allowAll(directory: Buffer): Promise<void> {
  await chmod(directory, OWNER_ALL);
  for (const entry of await readdir(directory, { withFileTypes: true, encoding: 'buffer' })) {
    if (entry.isDirectory()) {
      await allowAll(Buffer.concat([directory, Buffer.from('/'), entry.name]));
    }
  }
}

/** When a process began, in clock ticks since boot; undefined where it does not run, 0 where that cannot be known. */
function startTime(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_TIME_FIELD]);
  } catch {
    return process.platform === 'linux' || !isSignalable(pid) ? undefined : 0;
  }
}

function isSignalable(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}

let machineName: string | undefined;

function machine(): string {
  machineName ??= createHash('sha256').update(describeMachine()).digest('hex').slice(0, 8);
  return machineName;
}

function describeMachine(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1');
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}
