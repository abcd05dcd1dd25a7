/**
 * The command line of a build, taken apart: what says where its result goes is taken out, since `wrap` decides that; everything
 * else stays as it is, in order. Nothing is run here.
 *
 * Options: buildah-build(1) 1.28 to 1.44, podman-build(1) 4.3 to 5.4, `docker build` and `docker buildx build` of 20.10 to 28.
 */
import { basename, resolve } from 'node:path';
import { RechunkError } from '../../registry/errors.ts';

/** Engines whose builds are understood. */
export const ENGINES = ['buildah', 'podman', 'docker'] as const;
/** One of {@link ENGINES}. */
export type Engine = (typeof ENGINES)[number];

/** A build command in parts; `[...before, engine, ...globals, ...verb, ...rest]` is what was given, less what was taken out. */
export interface BuildCommand {
  readonly engine: Engine;
  /** What runs the engine, such as `sudo`. */
  readonly before: readonly string[];
  /** The engine as it was written, a path perhaps. */
  readonly program: string;
  /** Its options before the verb. */
  readonly globals: readonly string[];
  /** `build`, `buildx build`, `buildx --builder NAME build`, … */
  readonly verb: readonly string[];
  /** What follows it, without tags and without `--push` and `--load`. */
  readonly rest: readonly string[];
  /** What `--tag` named, in order. */
  readonly tags: readonly string[];
  /** What `--platform` named. */
  readonly platforms: readonly string[];
  /** Whether `--push` stood there (Docker). */
  readonly isPushed: boolean;
}

const VERBS = new Set(['build', 'bud', 'build-using-dockerfile']);
/** Words that may stand before a verb. */
const GROUPS = new Set(['buildx', 'image', 'builder']);

/** Options that say where the result goes in a way that leaves nothing to rechunk, and what to do instead. */
const REFUSED: readonly (readonly [readonly string[], string])[] = [
  [['-o', '--output'], 'the result goes to DESTINATION'],
  [['--manifest'], 'want one image; rechunk each platform’s, or build with `docker buildx build`'],
  [
    ['--metadata-file', '--iidfile'],
    'it would describe the image before it was rechunked; see --json',
  ],
];

/** Takes the command of a build apart; throws `usage` where it is none that is understood. */
export function parseBuildCommand(words: readonly string[]): BuildCommand {
  const at = words.findIndex((word) => isEngine(basename(word)));
  const verbAt = words.findIndex((word, i) => i > at && VERBS.has(word));
  if (at < 0 || verbAt < 0) {
    const found = words.length === 0 ? 'nothing' : `'${show(words.slice(0, 3))}'`;
    throw new RechunkError(
      'usage',
      `after --: got ${found}, want buildah build, podman build, docker build or docker buildx build with its options`,
    );
  }
  const program = words[at] as string;
  const engine = basename(program) as Engine;
  const groupAt = groupOf(words, at, verbAt);
  const [tags, tagless] = takeValues(words.slice(verbAt + 1), ['-t', '--tag']);
  for (const [names, instead] of REFUSED) refuse(tagless, names, instead);
  const isPushed = engine === 'docker' && tagless.includes('--push');
  const rest =
    engine === 'docker' ? tagless.filter((word) => !/^--(push|load)$/.test(word)) : tagless;
  const platforms = takeValues(rest, ['--platform'])[0].flatMap((text) => text.split(','));
  if (engine !== 'docker' && platforms.length > 1) {
    const got = platforms.join(', ');
    throw new RechunkError(
      'usage',
      `--platform: got ${got}, want one for ${engine}; build each on its own, or all with \`docker buildx build\``,
    );
  }
  return {
    engine,
    before: words.slice(0, at),
    program,
    globals: words.slice(at + 1, groupAt),
    verb: words.slice(groupAt, verbAt + 1),
    rest,
    tags,
    platforms,
    isPushed,
  };
}

/** Where the verb at `verbAt` begins; between `buildx` and it there may be options. */
function groupOf(words: readonly string[], engineAt: number, verbAt: number): number {
  const buildxAt = words.indexOf('buildx', engineAt + 1);
  if (buildxAt >= 0 && buildxAt < verbAt) return buildxAt;
  return GROUPS.has(words[verbAt - 1] as string) ? verbAt - 1 : verbAt;
}

/** Words as messages have them: what variables are set to may be secret. */
function show(words: readonly string[]): string {
  return words.map((word) => word.replace(/^(\w+)=.+$/s, '$1=…')).join(' ');
}

function isEngine(name: string): name is Engine {
  return ENGINES.some((engine) => engine === name);
}

function refuse(words: readonly string[], names: readonly string[], instead: string): void {
  const found = names.find((name) =>
    words.some((word) => word === name || word.startsWith(joined(name))),
  );
  if (found !== undefined)
    throw new RechunkError('usage', `${found} of the build cannot be used with wrap: ${instead}`);
}

/** The values of an option of several names, and the words without it: `-t X`, `-tX`, `-t=X`, `--tag X`, `--tag=X`. */
function takeValues(
  words: readonly string[],
  names: readonly string[],
): readonly [values: string[], rest: string[]] {
  const values: string[] = [];
  const rest: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    const name = names.find((one) => word === one || word.startsWith(joined(one)));
    if (name === undefined) rest.push(word);
    else if (word !== name) values.push(word.slice(name.length).replace(/^=/, ''));
    else if (i + 1 < words.length) values.push(words[++i] as string);
    else throw new RechunkError('usage', `${name} of the build: its value is missing`);
  }
  return [values, rest];
}

/** What a word with the option's value in it begins with. */
const joined = (name: string): string => (name.startsWith('--') ? `${name}=` : name);

/** The command with `options` added. */
export function withOptions(command: BuildCommand, options: readonly string[]): string[] {
  const { before, program, globals, verb, rest } = command;
  return [...before, program, ...globals, ...verb, ...options, ...rest];
}

/** Another command of the same engine, run the same way. */
export function besideBuild(command: BuildCommand, words: readonly string[]): string[] {
  const { before, program, globals } = command;
  return [...before, program, ...globals, ...words];
}

/**
 * Where a build would have put an image of this name: a registry with `--push`, else the engine's own store. Throws `usage` where that may be
 * the store of another user or machine.
 */
export function destinationOf(command: BuildCommand, tag: string): string {
  const name = tag.includes(':', tag.lastIndexOf('/')) ? tag : `${tag}:latest`;
  if (command.isPushed) return `docker://${name}`;
  const elsewhere = [...command.before, ...(command.engine === 'docker' ? command.globals : [])];
  if (elsewhere.length > 0)
    throw new RechunkError(
      'usage',
      `before --: got no destination, and '${show(elsewhere)}' may mean another store than rechunk’s, want a destination`,
    );
  if (command.engine === 'docker') return `docker-daemon:${name}`;
  // buildah-build(1): "If imageName does not include a registry name component, the registry name localhost will be prepended".
  const host = /^([^/]*[.:][^/]*|localhost)\//.test(name) ? '' : 'localhost/';
  return `containers-storage:${storeOf(command.globals)}${host}${name}`;
}

/** The store that an engine's options name, as containers-transports(5) writes it; empty for the default one. */
function storeOf(globals: readonly string[]): string {
  const last = (name: string): string | undefined => takeValues(globals, [name])[0].at(-1);
  const [driver, root, run] = [last('--storage-driver'), last('--root'), last('--runroot')];
  if (root === undefined) return '';
  return `[${driver ? `${driver}@` : ''}${resolve(root)}${run ? `+${resolve(run)}` : ''}]`;
}
