/** Programs of the machine that do what Node cannot, or what belongs to somebody else: run to their end, or not at all. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { RechunkError, systemCode } from './errors.ts';

/** Environment variables by name, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Where programs are looked for when no environment is given. */
export const DEFAULT_ENV: Environment = { PATH: '/usr/local/bin:/usr/bin:/bin' };

/** A program and its parameters. */
export type CommandLine = readonly [string, ...string[]];

/** How a program is run; the locale is always C. */
export interface ProgramOptions {
  readonly env: Environment;
  /** Where it runs; default `/`. */
  readonly directory?: string | undefined;
  /** Given what it writes on standard output, one chunk after the other; where it throws, the program is ended. */
  readonly take?: ((chunk: Buffer) => unknown) | undefined;
  /** What it reads on standard input; default nothing. */
  readonly input?: AsyncIterable<Uint8Array> | undefined;
  /** Ends the program. */
  readonly signal?: AbortSignal | undefined;
  /** The error for what it wrote on standard error; default `io` with the first three lines. */
  readonly explain?: ((complaints: string, ended: string) => Error) | undefined;
}

/** Characters of a program's complaints that are kept. */
const COMPLAINT_LIMIT = 16_384;
/** Lines of them that are shown. */
const COMPLAINT_LINES = 3;
/** Most that a program prints of its version, bytes: none prints half of it. */
const VERSION_LIMIT = 65_536;

/**
 * Runs a program to its end. Throws what `explain` makes of it where it fails, the system's error (`ENOENT`) where there is no such
 * program, and the signal's reason where that ended it; no process is left then.
 */
export async function runProgram(command: CommandLine, options: ProgramOptions): Promise<void> {
  const { env, directory = '/', take, input, signal, explain = explainFirst(command) } = options;
  signal?.throwIfAborted();
  const [program, ...parameters] = command;
  const child = spawn(program, parameters, {
    cwd: directory,
    env: { ...env, LC_ALL: 'C', TAR_OPTIONS: undefined },
    stdio: [input ? 'pipe' : 'ignore', take ? 'pipe' : 'ignore', 'pipe'],
  });
  let complaints = '';
  child.stderr?.on('data', (data: Buffer) => {
    if (complaints.length < COMPLAINT_LIMIT) complaints += data.toString('latin1');
  });
  const ended = once(child, 'close') as Promise<[number | null, string | null]>;
  ended.catch(() => {});
  const stop = (): void => void child.kill();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await Promise.all([drain(child, take), input && feed(child, input)]);
    const [code, killer] = await ended;
    signal?.throwIfAborted();
    if (code !== 0) throw explain(complaints, String(code ?? killer));
  } catch (error) {
    stop();
    await ended.catch(() => {});
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** What a program prints, at most `limit` bytes; throws `limit` where it is more, and what `runProgram` throws. */
export async function outputOf(
  command: CommandLine,
  limit: number,
  options: Omit<ProgramOptions, 'take'>,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  const take = (chunk: Buffer): void => {
    size += chunk.length;
    if (size > limit)
      throw new RechunkError('limit', `${command[0]} wrote more than ${limit} bytes`);
    chunks.push(chunk);
  };
  await runProgram(command, { ...options, take });
  return Buffer.concat(chunks);
}

async function drain(child: ChildProcess, take: ProgramOptions['take']): Promise<void> {
  if (!take || !child.stdout) return;
  for await (const chunk of child.stdout) await take(chunk as Buffer);
}

/** Writes `input`; a program that needs no more may close its end, and its exit status says whether that was right. */
async function feed(child: ChildProcess, input: AsyncIterable<Uint8Array>): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  const guarded = async function* (): AsyncGenerator<Uint8Array> {
    try {
      yield* input;
    } catch (error) {
      failure = { error };
      throw error;
    }
  };
  await pipeline(guarded, child.stdin as NodeJS.WritableStream).catch(() => {});
  if (failure) throw failure.error;
}

function explainFirst([program]: CommandLine): (complaints: string, ended: string) => Error {
  return (complaints, ended) => {
    const said = complaints.trim().split('\n').slice(0, COMPLAINT_LINES).join('; ');
    return new RechunkError('io', `${program} ended with ${ended}: ${said || 'no message'}`);
  };
}

/** The first of `names` that is installed, by the environment's `PATH`. */
export async function findProgram<Name extends string>(
  names: readonly Name[],
  env: Environment,
): Promise<Name | undefined> {
  const directories = (env['PATH'] ?? '').split(delimiter).filter((one) => one !== '');
  for (const name of names) {
    for (const directory of directories) {
      const found = await access(join(directory, name), constants.X_OK).then(
        () => true,
        () => false,
      );
      if (found) return name;
    }
  }
  return undefined;
}

/** Whether `program` is there and says that it is `maker`'s. */
export async function isProgram(
  program: string,
  maker: string,
  env: Environment,
): Promise<boolean> {
  try {
    const said = await outputOf([program, '--version'], VERSION_LIMIT, { env });
    return said.includes(maker);
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || error instanceof RechunkError) return false;
    throw error;
  }
}
