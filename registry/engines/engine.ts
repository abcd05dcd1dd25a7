/** Container engines' own tools: which are installed, and what their complaints mean. */
import { RechunkError } from '../errors.ts';
import {
  type CommandLine,
  DEFAULT_ENV,
  type Environment,
  findProgram,
  outputOf,
  runProgram,
} from '../program.ts';

/** How an engine is spoken to. */
export interface EngineOptions {
  /** Environment of its tools: `PATH`, `DOCKER_HOST`, `CONTAINERS_STORAGE_CONF` and whatever else they read; default a plain `PATH`. */
  readonly env?: Environment | undefined;
  /** Ends the tool that runs. */
  readonly signal?: AbortSignal | undefined;
  /** Where images are put on their way; default {@link LARGE_TEMP_DIR}. */
  readonly tempDir?: string | undefined;
}

/** The tools of one engine, ready to run. */
export interface Engine<Name extends string = string> {
  readonly program: Name;
  /** Runs the tool; `input` is what it reads, `directory` where it runs. */
  run(parameters: readonly string[], how?: EngineRun): Promise<void>;
  /** What it prints, at most `limit` bytes. */
  print(parameters: readonly string[], limit?: number, how?: EngineRun): Promise<Buffer>;
}

/** How a tool is run. */
export interface EngineRun {
  readonly input?: AsyncIterable<Uint8Array> | undefined;
  readonly directory?: string | undefined;
  readonly take?: ((chunk: Buffer) => unknown) | undefined;
}

/** Most that a tool may print where nothing else is said: ids and names, bytes. */
const OUTPUT_LIMIT: number = 1 << 20;

/** What else is to be known of a complaint. */
const HINTS: readonly (readonly [RegExp, string])[] = [
  [
    /permission denied.*docker daemon|docker\.sock.*permission denied/i,
    'the daemon’s socket is for root and the group docker',
  ],
  [
    /permission denied|operation not permitted|must be run as root|newuidmap|cannot clone|user ?namespace/i,
    'the storage belongs to another user, or this place allows no user namespaces; run it as that user, or give the image as an archive',
  ],
  [
    /cannot connect to the docker daemon|connection refused|docker\.sock/i,
    'start the daemon, or name it with DOCKER_HOST',
  ],
  [/no space left/i, 'images pass through the temporary directory (--temp-dir) uncompressed'],
];

/** What tools say of an image that is not there: skopeo, podman and buildah, Docker. */
const MISSING =
  /does not resolve to an image ID|identifier is not an image|image not known|unable to find a name and tag match|reference does not exist|No such image|not found: does not exist|image .* not found/i;

/** Progress and warnings, which are no reason. */
const CHATTER =
  /level=(debug|info|warning)|^(Getting image|Copying|Writing|Storing|Trying to pull|WARN\[)/;

/** What a tool complained of, without what it merely told, on one line. */
export function complaintOf(said: string): string {
  const lines = said
    .split('\n')
    .map((line) => /level=(?:fatal|error) msg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1] ?? line.trim())
    .map((line) => (line.startsWith('"') ? unquote(line) : line))
    .filter((line) => line !== '' && !CHATTER.test(line));
  return [...new Set(lines)].slice(-2).join('; ');
}

function unquote(text: string): string {
  try {
    return String(JSON.parse(text));
  } catch {
    return text;
  }
}

/** The error for a tool that failed: `not-found` where the image is not there, else `engine` with its own words. */
function explain(program: string): (complaints: string, ended: string) => RechunkError {
  return (complaints, ended) => {
    const said = complaintOf(complaints) || `ended with ${ended}`;
    if (MISSING.test(said)) return new RechunkError('not-found', `${program}: ${said}`);
    const hint = HINTS.find(([pattern]) => pattern.test(said))?.[1];
    return new RechunkError('engine', `${program}: ${said}${hint ? `; ${hint}` : ''}`);
  };
}

/** The first of `programs` that is installed; throws `engine` where none is, with `instead`, what can be done without. */
export async function findEngine<Name extends string>(
  programs: readonly Name[],
  instead: string,
  { env = DEFAULT_ENV, signal }: EngineOptions,
): Promise<Engine<Name>> {
  const program = await findProgram(programs, env);
  if (program === undefined) {
    const names = programs.join(', ').replace(/, (?=[^,]*$)/, ' and ');
    const found = programs.length > 1 ? `none of ${names} is` : `${names} is not`;
    throw new RechunkError(
      'engine',
      `${found} installed (PATH is ${env['PATH'] ?? 'not set'}); ${instead}`,
    );
  }
  const command = (parameters: readonly string[]): CommandLine => [program, ...parameters];
  const fixed = { env, signal, explain: explain(program) };
  return {
    program,
    run: (parameters, how = {}) => runProgram(command(parameters), { ...fixed, ...how }),
    print: (parameters, limit = OUTPUT_LIMIT, how = {}) =>
      outputOf(command(parameters), limit, { ...fixed, ...how }),
  };
}
