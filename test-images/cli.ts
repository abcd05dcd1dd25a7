/** Runs the command line as a user does, as a process of its own. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

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
  const { status, stdout, stderr } = await runCli([...args, '--json', '--quiet'], options);
  if (status !== 0) throw new Error(`rechunk ${args.join(' ')}: exit status ${status}\n${stderr}`);
  return JSON.parse(stdout) as T;
}
