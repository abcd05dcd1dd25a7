/** Runs the command line: as a user does, as a process of its own, or within the test's, which takes a third of the processor time. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** How a command ended. */
export interface CliResult {
  /** Exit status; null when a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How it is run. */
export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** The Node to run it with; default this one. */
  readonly node?: string;
  /** Another build of it, such as the single file; default what is tested. */
  readonly entry?: string;
  readonly cwd?: string;
  readonly stdin?: AsyncIterable<Uint8Array>;
  /** Called with the process once it runs, to watch or kill it. */
  readonly onStart?: (pid: number) => void;
  /** Runs under this command, such as `['sh', '-c', 'umask 077; exec "$@"', 'sh']`. */
  readonly under?: readonly string[];
}

/** The command line as `.ci/test.ts` has built it, else its sources. */
const ENTRY =
  process.env['RECHUNK_TEST_ENTRY'] ??
  fileURLToPath(new URL('../rechunk/cli/entry.cjs', import.meta.url));

/** Runs `rechunk ARGS` and gives what it printed. */
export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const node = [options.node ?? process.execPath, '--disable-warning=ExperimentalWarning'];
  const words = [...(options.under ?? []), ...node, options.entry ?? ENTRY, ...args];
  const [program = '', ...rest] = words;
  return new Promise((resolve, reject) => {
    const child = spawn(program, rest, {
      cwd: options.cwd,
      // What another test learnt, or this user's runs, is nothing to rely on.
      env: { ...process.env, RECHUNK_NO_CACHE: 'true', ...options.env },
      stdio: [options.stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout?.on('data', (data) => {
      stdout += data;
    });
    child.stderr?.on('data', (data) => {
      stderr += data;
    });
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
    if (child.pid !== undefined) options.onStart?.(child.pid);
    if (options.stdin) feed(options.stdin, child.stdin as NodeJS.WritableStream);
  });
}

async function feed(
  chunks: AsyncIterable<Uint8Array>,
  stream: NodeJS.WritableStream,
): Promise<void> {
  stream.on('error', () => {});
  for await (const chunk of chunks) stream.write(chunk);
  stream.end();
}

/** Runs `rechunk ARGS --json`, which must succeed, and gives the result. */
export async function runJson<T>(args: readonly string[], options: CliOptions = {}): Promise<T> {
  return resultOf(args, await runCli([...args, '--json', '--quiet'], options));
}

function resultOf<T>(args: readonly string[], { status, stdout, stderr }: CliResult): T {
  if (status !== 0) throw new Error(`rechunk ${args.join(' ')}: exit status ${status}\n${stderr}`);
  return JSON.parse(stdout) as T;
}

/** What of {@link CliOptions} a run within this process can have; none of the rest is taken, lest it be lost without a word. */
export type HereOptions = Pick<CliOptions, 'env'> & {
  readonly [Other in Exclude<keyof CliOptions, 'env'>]?: never;
};

type Main = typeof import('../rechunk/cli/main.ts');

/** The command line's modules, of the same build as {@link ENTRY}. */
function load(): Promise<Main> {
  const built = new URL('main.js', pathToFileURL(ENTRY));
  return import(existsSync(built) ? built.href : new URL('main.ts', built).href);
}

/** Runs within this process are one after another: they share its environment, its streams and its exit status. */
let last: Promise<unknown> = Promise.resolve();

/**
 * Runs `rechunk ARGS` within this process, for tests of what a command does and prints. Signals, standard input, the working directory,
 * memory and what Node itself does at the start and the end are for {@link runCli}.
 */
export function runHere(args: readonly string[], options: HereOptions = {}): Promise<CliResult> {
  const result = last.then(() => runNow(args, options));
  last = result.catch(() => {});
  return result;
}

async function runNow(args: readonly string[], { env }: HereOptions): Promise<CliResult> {
  const { run } = await load();
  const before = { env: process.env, exitCode: process.exitCode };
  const [stdout, stderr] = [capture(process.stdout), capture(process.stderr)];
  process.env = { ...before.env, RECHUNK_NO_CACHE: 'true', ...env };
  process.exitCode = undefined;
  try {
    await run(['node', 'rechunk', ...args], {
      env: process.env,
      signal: new AbortController().signal,
    });
    const status = Number(process.exitCode ?? 0);
    return { status, stdout: stdout.text(), stderr: stderr.text() };
  } finally {
    stdout.release();
    stderr.release();
    Object.assign(process, before);
  }
}

/** Keeps what is written to `stream` instead of writing it. */
function capture(stream: NodeJS.WriteStream): { text: () => string; release: () => void } {
  const { write } = stream;
  const parts: Buffer[] = [];
  stream.write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    parts.push(Buffer.from(chunk as string));
    const done = rest.at(-1);
    if (typeof done === 'function') process.nextTick(done);
    return true;
  };
  return {
    text: () => Buffer.concat(parts).toString(),
    release: () => {
      stream.write = write;
    },
  };
}

/** Runs `rechunk ARGS --json` within this process, which must succeed, and gives the result. */
export async function jsonHere<T>(args: readonly string[], options: HereOptions = {}): Promise<T> {
  return resultOf(args, await runHere([...args, '--json', '--quiet'], options));
}
