/**
 * A mount and a process namespace of its own for a runtime: its daemons and mounts are gone when it is closed, and when
 * the process that opened it ends in whatever way, since the first process of the namespace reads a pipe from it.
 *
 * The root is this machine's, or a writable overlay over another (see debian.ts), which stays as it is. The sandbox's
 * directory is at the same path in both. Needs root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { type CommandOptions, output } from '../command.ts';

/** A place to run programs in. */
export interface Sandbox {
  /** Everything that the runtime keeps belongs here; removed by `close`. */
  readonly dir: string;
  /** What `program` prints, without the last newline; throws as `command` does. */
  run(program: string, parameters: readonly string[], options?: CommandOptions): Promise<string>;
  /** Starts a program that stays until the sandbox is closed, its output in `dir/NAME.log`. */
  start(name: string, program: string, parameters: readonly string[]): Promise<ChildProcess>;
  /** Has `work` done at the start of `close`. */
  defer(work: () => Promise<void>): void;
  /** The path by which this process sees what the sandbox has at `path`, its mounts included. */
  outside(path: string): string;
  /** Ends all processes, mounts and the directory; idempotent. */
  close(): Promise<void>;
}

/** `$1`: the sandbox's directory; `$2`: the other root, or ''. Says `ready` and stays until its input ends. */
const INIT = `set -e
if [ -n "$2" ]; then
  mkdir -p "$1/upper" "$1/work" "$1/root"
  mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
  mkdir -p "$1/root$1" "$1/root/proc" "$1/root/sys" "$1/root/dev"
  mount --bind "$1" "$1/root$1"
  mount --rbind /sys "$1/root/sys"
  mount --rbind /dev "$1/root/dev"
  mount -t proc proc "$1/root/proc"
  mount -t tmpfs -o mode=0755 run "$1/root/run"
  exec chroot "$1/root" sh -c 'echo ready; cat >/dev/null'
fi
mount -t proc proc /proc
mount -t tmpfs -o mode=0755 run /run
echo ready
cat >/dev/null
`;

/** The process id, outside, of the namespace's first process. */
async function firstProcess({ pid }: ChildProcess): Promise<number> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return Number(children.trim());
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

/**
 * Opens a sandbox whose directory `dir` is new (made here; short, since sockets are put there), over the root `root`,
 * by default this machine's.
 */
export async function openSandbox(dir: string, root?: string): Promise<Sandbox> {
  await mkdir(dir, { recursive: true });
  const own = ['--mount', '--pid', '--fork', '--kill-child'];
  const holder = spawn('unshare', [...own, 'sh', '-c', INIT, 'sh', dir, root ?? ''], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const gone = once(holder, 'exit');
  const deferred: (() => Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    await Promise.allSettled(deferred.splice(0).map((work) => work()));
    holder.ref();
    holder.stdin.end();
    holder.kill('SIGKILL');
    await gone;
    await rm(dir, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    await ready(holder);
  } catch (error) {
    await close();
    throw error;
  }
  // A test that fails half-way must not hang on the sandbox; it ends with the test's process.
  for (const handle of [holder, holder.stdin, holder.stdout, holder.stderr])
    (handle as Socket).unref();
  const pid = await firstProcess(holder);
  const enter = ['--target', String(pid), '--mount', '--pid', '--root', '--wd'];
  return {
    dir,
    run: (program, parameters, options) =>
      output('nsenter', [...enter, '--', program, ...parameters], options),
    start: async (name, program, parameters) => {
      const script = `exec "$@" >"${dir}/${name}.log" 2>&1`;
      const child = spawn(
        'nsenter',
        [...enter, '--', 'sh', '-c', script, 'sh', program, ...parameters],
        {
          stdio: 'ignore',
        },
      );
      child.unref();
      return child;
    },
    defer: (work) => {
      deferred.push(work);
    },
    outside: (path) => `/proc/${pid}/root${path}`,
    close,
  };
}
