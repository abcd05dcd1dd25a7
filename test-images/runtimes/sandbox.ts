/**
 * A mount and a process namespace of its own for a runtime: its daemons and mounts are gone when it is closed, and when
 * the process that opened it ends in whatever way, since the first process of the namespace reads a pipe from it.
 *
 * The root is this machine's, or a writable overlay over another (see suite.ts), which stays as it is. The sandbox's
 * directory is at the same path in both. A rootless sandbox has a user namespace besides, as rootless runtimes make it.
 * Needs root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { type CommandOptions, output } from '../command.ts';

/** A place to run programs in. */
export interface Sandbox {
  /** Everything that the runtime keeps belongs here; removed by `close`. */
  readonly dir: string;
  /** What owners are counted from, as this process sees them: 0, or where the user namespace begins. */
  readonly firstId: number;
  /** What `program` prints, without the last newline; throws as `command` does. */
  run(program: string, parameters: readonly string[], options?: CommandOptions): Promise<string>;
  /** Writes a program `path` that runs the sandbox's `program` where it is called from, a directory that both have. */
  wrap(program: string, path: string): Promise<void>;
  /** Starts a program that stays until the sandbox is closed, its output in `dir/NAME.log`. */
  start(name: string, program: readonly string[]): ChildProcess;
  /** Has `work` done at the start of `close`. */
  defer(work: () => Promise<void>): void;
  /** The path by which this process sees what the sandbox has at `path`, its mounts included. */
  outside(path: string): string;
  /** What is to stand before a command line so that it runs in the sandbox. */
  readonly enter: readonly string[];
  /** Ends all processes, mounts and the directory; idempotent. */
  close(): Promise<void>;
}

/** What a sandbox is over; by default this machine's root. */
export interface SandboxOptions {
  readonly root?: string | undefined;
  /** `rootless`: root of a user namespace only. Default `root`. */
  readonly user?: 'root' | 'rootless' | undefined;
}

/**
 * `$1`: the sandbox's directory; `$2`: the root, which is `/` or another; the rest: what runs at last. It says `ready` and stays until
 * its input ends.
 */
const INIT = `set -e
dir=$1 root=$2
shift 2
if [ "$root" != / ]; then
  mkdir -p "$dir/upper" "$dir/work" "$dir/root"
  mount -t overlay overlay -o "lowerdir=$root,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
  cd "$dir/root"
  mkdir -p ".$dir" .old
  mount --bind "$dir" ".$dir"
  mount --rbind /sys sys
  mount --rbind /dev dev
  mount -t proc proc proc
  # Not chroot: who is in one may make no user namespace.
  pivot_root . .old
  umount -l /.old
else
  mount -t proc proc /proc
fi
cd /
mount -t tmpfs -o mode=0755 run /run
exec "$@"
`;
const HOLD = ['sh', '-c', 'echo ready; cat >/dev/null'];
const SPACES = ['--mount', '--pid', '--fork', '--kill-child'];

/** Where the ids of rootless sandboxes begin outside, and how many there are: as Debian's adduser gives them. */
const FIRST_ID = 100_000;
const IDS = 65_536;

/** The process id, outside, of the innermost namespace's first process, which is the holder's last descendant. */
async function innermost(pid: number): Promise<number> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const [child] = children.trim().split(' ').filter(Boolean);
  return child ? innermost(Number(child)) : pid;
}

/** The holder's first words, or why it ended without. */
async function ready(holder: ChildProcess): Promise<void> {
  let complaints = '';
  holder.stderr?.on('data', (data) => (complaints += data));
  const started = once(holder.stdout as NodeJS.ReadableStream, 'data');
  const ended = once(holder, 'exit').then(() => {
    throw new Error(`the sandbox ended: ${complaints}`);
  });
  await Promise.race([started, ended]);
  ended.catch(() => {});
}

/** Gives the user namespace of `pid` its ids, and what it needs of its own. */
async function mapIds(pid: number, enter: readonly string[]): Promise<void> {
  for (const ids of ['uid_map', 'gid_map']) {
    await writeFile(`/proc/${pid}/${ids}`, `0 ${FIRST_ID} ${IDS}\n`);
  }
  const mounts = 'mount -t proc proc /proc && mount -t tmpfs -o mode=0755 run /run';
  await output('nsenter', [...enter, '--', 'sh', '-c', mounts]);
}

/** Opens a sandbox whose directory `dir` is new (made here; short, since sockets are put there). */
export async function openSandbox(dir: string, options: SandboxOptions = {}): Promise<Sandbox> {
  const { root = '/', user = 'root' } = options;
  const firstId = user === 'root' ? 0 : FIRST_ID;
  await mkdir(dir, { recursive: true });
  await chown(dir, firstId, firstId);
  const hold = user === 'root' ? HOLD : ['unshare', '--user', ...SPACES, ...HOLD];
  const spaces = ['unshare', ...SPACES, 'sh', '-c', INIT, 'sh', dir, root, ...hold];
  // It also removes the directory of a process that ended without closing.
  const holder = spawn('sh', ['-c', '"$@"; rm -rf "$dir"', 'sh', ...spaces], {
    env: { ...process.env, dir },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const gone = once(holder, 'exit');
  const deferred: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    await Promise.allSettled(deferred.splice(0).map((work) => work()));
    holder.ref();
    holder.stdin.end();
    await gone;
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    await ready(holder);
    const pid = await innermost(holder.pid as number);
    const own = ['--mount', '--pid', '--root', '--wd', ...(firstId ? ['--user'] : [])];
    const enter = ['--target', String(pid), ...own];
    if (firstId) await mapIds(pid, enter);
    // root's own is closed to root of a user namespace.
    const home = firstId ? { HOME: dir, XDG_RUNTIME_DIR: '/run' } : {};
    // A test that fails half-way must not hang on the sandbox; it ends with the test's process.
    const handles = [holder, holder.stdin, holder.stdout, holder.stderr];
    for (const handle of handles) (handle as Socket).unref();
    return {
      dir,
      firstId,
      run: (program, parameters, { env, ...more } = {}) => {
        const all = { ...more, env: { ...home, ...env } };
        return output('nsenter', [...enter, '--', program, ...parameters], all);
      },
      wrap: (program, path) => {
        const inside = `exec nsenter ${enter.join(' ')} -- sh -c 'cd "$0" && exec "$@"' "$PWD"`;
        const text = `#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n${inside} ${program} "$@"\n`;
        return writeFile(path, text, { mode: 0o755 });
      },
      start: (name, program) => {
        const script = ['sh', '-c', `exec "$@" >"${dir}/${name}.log" 2>&1`, 'sh'];
        const parameters = [...enter, '--', ...script, ...program];
        const env = { ...process.env, ...home };
        const child = spawn('nsenter', parameters, { env, stdio: 'ignore' });
        child.unref();
        return child;
      },
      defer: (work) => {
        deferred.push(work);
      },
      enter: ['nsenter', ...enter, '--'],
      outside: (path) => `/proc/${pid}/root${path}`,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
