/**
 * The container runtimes that this machine can run for real, each as: an OCI layout in, the merged view out.
 *
 * A runtime is started at its first use and stays until `closeRuntimes` (or the end of the process), since daemons take
 * longer to start than to unpack a small image. One image at a time a runtime; different runtimes run side by side.
 * Needs root; what is needed besides is in this folder's README.
 */
import { mkdtemp } from 'node:fs/promises';
import { output } from '../command.ts';
import { BUILT, KINDS, type Kind, type Model } from './kinds.ts';
import { openSandbox, type Sandbox } from './sandbox.ts';
import { type Suite, suiteRoot } from './suite.ts';
import { type Look, type MergedView, Refused } from './view.ts';

/** File systems take times from a clock that steps by up to this. */
const CLOCK_STEP_NS = 20_000_000n;
const NS_PER_MS = 1_000_000n;
const ALL: readonly Suite[] = ['bookworm', 'trixie', 'built'];
/** Characters of a refusal that are kept: the last. */
const MOST_WORDS = 300;

/** A runtime that can be run. */
export interface Runtime {
  /** `MODEL/VARIANT`, such as `podman-chunked/converted-trixie`. */
  readonly id: string;
  readonly model: Model;
  /** For people. */
  readonly name: string;
  /** Of its Debian package. */
  readonly version: string;
  readonly suite: Suite;
}

/** The package's version, or undefined where it is not installed. */
async function versionOf(pkg: string, root?: string): Promise<string | undefined> {
  const place = root ? [`--root=${root}`] : [];
  const query = [...place, '--show', `--showformat=\${db:Status-Abbrev}\${Version}`, pkg];
  const printed = await output('dpkg-query', query).catch(() => '');
  return printed.startsWith('ii ') ? printed.slice(3) : undefined;
}

/** The version of what `RECHUNK_TEST_CONTAINERD` names. */
async function builtVersion(): Promise<string | undefined> {
  const printed = BUILT && (await output(`${BUILT}/containerd`, ['--version']));
  return printed ? printed.split(' ').at(-1) : undefined;
}

/**
 * Every runtime of these suites that this machine can run; trixie's are put into the cache if need be. `built` is what
 * `RECHUNK_TEST_CONTAINERD` names, if anything.
 */
export async function runtimes(suites: readonly Suite[] = ALL): Promise<readonly Runtime[]> {
  const found: Runtime[] = [];
  for (const suite of suites) {
    const root = await suiteRoot(suite);
    for (const { model, variant, name, pkg } of KINDS) {
      const id = `${model}/${variant}${suite}`;
      if (!kindOf({ id, suite })) continue;
      const version = await (suite === 'built' ? builtVersion() : versionOf(pkg, root));
      if (version) found.push({ id, model, name: `${name} (${suite})`, version, suite });
    }
  }
  return found;
}

interface Running {
  readonly sandbox: Sandbox;
  readonly look: Look;
}

const running = new Map<string, Promise<Running>>();
/** The last image that each runtime was asked for: the next one waits for it. */
const turns = new Map<string, Promise<unknown>>();

function kindOf({ id, suite }: Pick<Runtime, 'id' | 'suite'>): Kind | undefined {
  return KINDS.find(
    (kind) => kind.suites.includes(suite) && `${kind.model}/${kind.variant}${suite}` === id,
  );
}

async function start(runtime: Runtime): Promise<Running> {
  // Sockets' paths are short.
  const kind = kindOf(runtime);
  if (!kind) throw new Error(`no runtime ${runtime.id}`);
  const root = await suiteRoot(runtime.suite);
  const sandbox = await openSandbox(await mkdtemp('/var/tmp/rt-'), { root, user: kind.user });
  try {
    return { sandbox, look: await kind.open(sandbox) };
  } catch (error) {
    await sandbox.close();
    throw error;
  }
}

/** What the runtime said, without what differs from run to run. */
function words({ message }: Refused, dir: string): string {
  const said = message.slice(message.indexOf(' ended with ') + 1);
  return said
    .replaceAll(dir, 'DIR')
    .replace(/sha256:[0-9a-f]{64}/g, 'DIGEST')
    .replace(/time="[^"]*"/g, 'time')
    .slice(-MOST_WORDS);
}

async function look(runtime: Runtime, layout: string): Promise<MergedView> {
  const started = running.get(runtime.id) ?? start(runtime);
  running.set(runtime.id, started);
  const { sandbox, look } = await started;
  const sinceNs = BigInt(Date.now()) * NS_PER_MS - CLOCK_STEP_NS;
  try {
    return { sinceNs, entries: await look(layout) };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { refused: words(error, sandbox.dir), sinceNs, entries: new Map() };
  }
}

/**
 * What `runtime` makes of the one image of the OCI layout at `layout`. Throws where the runtime does not start; where it
 * refuses the image, the view says so.
 */
export function view(runtime: Runtime, layout: string): Promise<MergedView> {
  const before = turns.get(runtime.id) ?? Promise.resolve();
  const mine = before.then(() => look(runtime, layout));
  turns.set(
    runtime.id,
    mine.catch(() => {}),
  );
  return mine;
}

/** Ends every runtime that was started; those that still look at an image end with it. */
export async function closeRuntimes(): Promise<void> {
  const all = [...running.values()];
  running.clear();
  turns.clear();
  for (const one of all)
    await one.then(
      ({ sandbox }) => sandbox.close(),
      () => {},
    );
}
