/**
 * `rechunk wrap DESTINATION -- buildah build …`: runs a build whose result goes to a private directory, and rechunks it from there.
 *
 * The build gets this process's standard input, output and error, and signals. Where it fails, its exit status is this program's
 * and nothing is stored. What is known to be wrong before it runs is told then.
 */
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { RechunkError, systemCode } from '../../registry/errors.ts';
import { makeTemporary } from '../../registry/ingest.ts';
import { parseReference } from '../../registry/reference.ts';
import { ANNOTATED } from './base.ts';
import { addBuildOptions, buildOptions, runBuild } from './build.ts';
import {
  type BuildCommand,
  besideBuild,
  destinationOf,
  parseBuildCommand,
  withOptions,
} from './buildcommand.ts';
import { type Host, tempDirectory, type Values } from './options.ts';
import { say } from './say.ts';
import { withSession } from './session.ts';
import { openReports } from './summary.ts';

/** Adds the command to `program`. */
export function addWrap(program: Command, host: Host): void {
  const command = program
    .command('wrap')
    .description('build an image with buildah, podman or docker, and rechunk it')
    .usage('[options] [destination] -- <build command...>')
    .argument(
      '[words...]',
      'where the result goes (default: where the build’s --tag says), and after -- the build',
    );
  addBuildOptions(command).action((words, values) => wrap(split(words, program), values, host));
}

/** What was given before and after `--`. */
interface Words {
  readonly destinations: readonly string[];
  readonly command: readonly string[];
}

/** Commander hands over what stands before and after `--` as one list. */
function split(words: readonly string[], program: Command): Words {
  const { rawArgs } = program as Command & { readonly rawArgs: readonly string[] };
  const dashes = rawArgs.indexOf('--');
  const count = dashes < 0 ? 0 : rawArgs.length - dashes - 1;
  const at = words.length - count;
  return { destinations: words.slice(0, at), command: words.slice(at) };
}

/** The exit status of the build that failed; undefined for other errors. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof RechunkError) || error.code !== 'build') return undefined;
  return Number(error.details['status']);
}

async function wrap({ destinations, command }: Words, given: Values, host: Host): Promise<void> {
  const build = parseBuildCommand(command);
  const { destination, values } = resultOf(build, destinations, given);
  const options = buildOptions(values, host);
  parseReference(destination);
  await tryPlaces(destination, values, host);
  if (destinations.length > 0 && build.tags.length > 0 && values['quiet'] !== true)
    say('note', `the build’s tags (${build.tags.join(', ')}) are not made`);
  const work = await makeTemporary(tempDirectory(values, host), 'rechunk-wrap-');
  try {
    const source = await runEngine(build, work.directory, values, host);
    await runBuild([{ from: source, to: destination }], values, options, host);
  } finally {
    await work.remove();
  }
}

/** Throws before the build what would be thrown after it: a push that will be refused, files that cannot be written, images that are not there. */
async function tryPlaces(destination: string, values: Values, host: Host): Promise<void> {
  await openReports(values);
  const names = ['previous', 'reuseFrom', 'base'].flatMap(
    (name) => (values[name] ?? []) as string | readonly string[],
  );
  await withSession({ ...values, quiet: true }, host, async (session) => {
    for (const name of names) if (isQuick(name)) await session.source(name);
    await session.destination(destination);
  });
}

/** Whether an image is opened without taking all of it out of an engine. */
function isQuick(name: string): boolean {
  return name !== ANNOTATED && ['docker', 'oci'].includes(parseReference(name).transport);
}

/** Where the result goes, and the options that follow from the build's. */
function resultOf(
  build: BuildCommand,
  destinations: readonly string[],
  given: Values,
): { readonly destination: string; readonly values: Values } {
  const [destination = defaultOf(build), ...surplus] = destinations;
  if (surplus.length > 0) {
    const all = destinations.join(' ');
    throw new RechunkError('usage', `before --: got '${all}', want one destination and options`);
  }
  const isOpen = given['platform'] === undefined && given['allPlatforms'] !== true;
  const [platform, ...others] = isOpen ? build.platforms : [];
  if (others.length > 0) return { destination, values: { ...given, allPlatforms: true } };
  return { destination, values: platform === undefined ? given : { ...given, platform } };
}

/** Where the build's `--tag` says. */
function defaultOf(build: BuildCommand): string {
  const [tag, another] = build.tags;
  if (tag !== undefined && another === undefined) return destinationOf(build, tag);
  throw new RechunkError(
    'usage',
    `before --: got no destination, and the build has ${build.tags.length} tags, want a destination or one --tag`,
  );
}

/** Runs the build; gives a reference to what it made in `directory`. */
async function runEngine(
  build: BuildCommand,
  directory: string,
  values: Values,
  host: Host,
): Promise<string> {
  const output = values['json'] === true ? process.stderr.fd : 'inherit';
  const run = (words: readonly string[]): Promise<void> => runWords(words, output, host);
  const image = join(directory, 'image');
  if (build.engine !== 'docker') {
    // Nobody but root may remove the directories that `sudo buildah` makes; a file in our own directory can be removed.
    const transport = build.before.length > 0 ? 'oci-archive' : 'oci';
    await run(withOptions(build, ['--tag', `${transport}:${image}`]));
    return found(`${transport}:${image}`, image, build);
  }
  const { takesLayouts } = await import('./dockerbuilder.ts');
  if (await takesLayouts(build, host)) {
    await run(withOptions(build, ['--output', `type=oci,dest=${image}`]));
    return found(`oci-archive:${image}`, image, build);
  }
  const idFile = join(directory, 'id');
  await run(withOptions(build, ['--iidfile', idFile]));
  found(idFile, idFile, build);
  const id = readFileSync(idFile, 'utf8').trim();
  await run(besideBuild(build, ['save', '--output', image, id]));
  return found(`docker-archive:${image}`, image, build);
}

/** `source`, if there is something at `path`. */
function found(source: string, path: string, { program }: BuildCommand): string {
  if (existsSync(path)) return source;
  throw new RechunkError(
    'not-found',
    `${program} ended well and left nothing at ${path}: does it build on another machine? want one that builds here`,
  );
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** What a shell adds to the number of the signal that ended a program. */
const SIGNAL_STATUS = 128;

/** Runs a program to its end, with this process's input, output and signals; throws `build` where it fails. */
async function runWords(
  [program = '', ...parameters]: readonly string[],
  output: 'inherit' | number,
  host: Host,
): Promise<void> {
  host.signal.throwIfAborted();
  // Loading it takes 4 ms, which no other command needs.
  const { spawn } = await import('node:child_process');
  const child = spawn(program, parameters, { stdio: ['inherit', output, 'inherit'] });
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, passOn);
  const { promise, resolve, reject } =
    Promise.withResolvers<readonly [number | null, NodeJS.Signals | null]>();
  // Of a build that runs nothing is an error but its end: `sudo` takes no signal of ours, and must be waited for.
  child.on('error', (error) => child.pid === undefined && reject(error));
  child.on('close', (status, signal) => resolve([status, signal]));
  try {
    const [status, signal] = await promise;
    host.signal.throwIfAborted();
    if (status !== 0) throw failure(program, status, signal);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    const message = `running ${program}: there is no such program in PATH`;
    throw new RechunkError('not-found', message, { cause: error });
  } finally {
    for (const signal of SIGNALS) process.off(signal, passOn);
  }
}

function failure(
  program: string,
  status: number | null,
  signal: NodeJS.Signals | null,
): RechunkError {
  const number = status ?? SIGNAL_STATUS + (signal ? constants.signals[signal] : 0);
  const ended = signal ? `was ended by ${signal}` : `ended with status ${status}`;
  return new RechunkError('build', `${program} ${ended}: nothing was stored`, {
    details: { status: number },
  });
}
