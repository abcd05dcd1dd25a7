/**
 * The command line: argv to options, one library call, an exit status as diff(1) gives it: 0 done or same, 1 different,
 * 2 trouble. Results go to stdout, everything else to stderr.
 */
import { Command, CommanderError } from 'commander';
import { ADVICE, describe, RechunkError } from '../../registry/errors.ts';
import { VERSION } from '../version.ts';
import { addBuild } from './build.ts';
import { addDiff } from './diff.ts';
import { addInspect } from './inspect.ts';
import { addLint } from './lint.ts';
import { type Host, readEnvironment } from './options.ts';
import { addPlan } from './plan.ts';
import { addReport } from './report.ts';
import { say } from './say.ts';
import { addStage } from './stage.ts';
import { addUnpack } from './unpack.ts';
import { expectSmallImage } from './v8.ts';
import { addVerify } from './verify.ts';
import { addWrap, statusOf } from './wrap.ts';

/** Exit status when something went wrong. */
export const TROUBLE = 2;
/** Exit status when two things differ. */
export const DIFFERENT = 1;

/** Every command, ready to parse; `host` is the machine as it is seen. */
export function createProgram(host: Host): Command {
  const program = new Command('rechunk')
    .description('Rewrites a container image as layers that stay the same from build to build.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ outputError: () => {} }) // told like every other error, by `fail`
    .addHelpText('after', REFERENCES);
  addBuild(program, host);
  addWrap(program, host);
  addStage(program, host);
  addPlan(program, host);
  addVerify(program, host);
  addDiff(program, host);
  addInspect(program, host);
  addUnpack(program, host);
  addLint(program, host);
  addReport(program, host);
  for (const command of program.commands) readEnvironment(command.exitOverride(), host.env);
  return program;
}

const REFERENCES = `
References:
  docker://HOST/REPO:TAG   a registry (also without docker://)
  oci:DIR[:REF]            an OCI layout
  oci-archive:FILE[:REF]   an OCI layout in a tar file
  docker-archive:FILE[:REF]  what docker save writes
  containers-storage:NAME[:TAG]  what podman and buildah have, by skopeo, podman or buildah
  docker-daemon:NAME[:TAG]  what a Docker daemon has, by docker
  dir:DIR                  what skopeo writes for that transport (source only)
  rootfs:DIR               a directory tree (source only)
  -                        an archive on standard input (source only)

Every option can be given as RECHUNK_NAME in the environment. Exit status: 0 done or same, 1 different, 2 trouble; of a failed build that is wrapped, its own.`;

/** Runs the command line `argv` and sets the exit status. */
export async function main(argv: readonly string[]): Promise<void> {
  expectSmallImage();
  const controller = new AbortController();
  const stop = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(TROUBLE);
    controller.abort(new RechunkError('interrupted', `stopped by ${signal}`));
  };
  process.on('SIGINT', stop).on('SIGTERM', stop).on('SIGHUP', stop);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exitCode = tell(describe('writing the result', error));
  });
  // Node itself would end with status 1, which means that two images differ.
  process.once('uncaughtException', (error) => process.exit(tell(error)));
  let finished = false;
  process.once('exit', (status) => {
    // Nothing keeps a process alive that waits for what never comes; silence must not look like success.
    if (!finished && status === 0) process.exitCode = fail(new Error('the run did not end'), argv);
  });
  await run(argv, { env: process.env, signal: controller.signal });
  finished = true;
}

/** Runs the command line `argv` on `host`, with this process's streams, and sets its exit status where that is not 0. Never throws. */
export async function run(argv: readonly string[], host: Host): Promise<void> {
  try {
    await createProgram(host).parseAsync([...argv]);
  } catch (error) {
    process.exitCode = fail(host.signal.aborted ? host.signal.reason : error, argv);
  }
}

/** Tells of an error and returns the exit status. */
function fail(error: unknown, argv: readonly string[]): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    if (error.code === 'commander.help') return TROUBLE;
    return fail(new RechunkError('usage', error.message.replace(/^error: /, '')), argv);
  }
  if (error instanceof RechunkError && wantsJson(argv)) {
    const { code, message, details } = error;
    process.stdout.write(
      `${JSON.stringify({ error: { code, message, details, advice: ADVICE[code] } })}\n`,
    );
  }
  const status = tell(error);
  return statusOf(error) ?? status;
}

function wantsJson(argv: readonly string[]): boolean {
  // What is said badly is an error of its own, told by now.
  return argv.includes('--json') || /^(true|1|yes|on)$/i.test(process.env['RECHUNK_JSON'] ?? '');
}

/** Writes an error for people to stderr and returns the exit status. */
function tell(error: unknown): number {
  const text =
    error instanceof RechunkError
      ? `${error.message}\n  ${ADVICE[error.code]}`
      : `a bug, please report it: ${(error as Error)?.stack ?? error}`;
  say('rechunk', text);
  return TROUBLE;
}
