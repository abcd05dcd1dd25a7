/**
 * The container runtimes that this machine can run for real, each as: an OCI layout in, the merged view out.
 *
 * A runtime is started at its first use and stays until `closeRuntimes` (or the end of the process), since daemons take
 * longer to start than to unpack a small image. One image at a time a runtime; different runtimes run side by side.
 * Needs root; what is needed besides is in this folder's README.
 */
import { mkdtemp } from 'node:fs/promises';
import { output } from '../command.ts';
import { openContainerd } from './containerd.ts';
import { openDocker } from './docker.ts';
import { openOstree } from './ostree.ts';
import { openPodman } from './podman.ts';
import { openSandbox, type Sandbox } from './sandbox.ts';
import { type Suite, suiteRoot } from './suite.ts';
import { openUmoci } from './umoci.ts';
import { type Look, type MergedView, Refused } from './view.ts';

/** File systems take times from a clock that steps by up to this. */
const CLOCK_STEP_NS = 20_000_000n;
const NS_PER_MS = 1_000_000n;
/** Characters of a refusal that are kept: the last. */
const MOST_WORDS = 300;

/** The models of `rechunk/runtimes` that a real runtime stands for. */
export type Model =
  | 'podman-overlay'
  | 'podman-vfs'
  | 'podman-chunked'
  | 'podman-composefs'
  | 'docker-overlay2'
  | 'containerd'
  | 'containerd-parallel'
  | 'umoci'
  | 'ostree';

/** A runtime that can be run. */
export interface Runtime {
  /** `MODEL/VARIANT`, such as `containerd/native-trixie`. */
  readonly id: string;
  readonly model: Model;
  /** For people. */
  readonly name: string;
  /** Of its Debian package. */
  readonly version: string;
  readonly suite: Suite;
}

interface Kind {
  readonly model: Model;
  /** Part of the id before the suite; '' for the plain form. */
  readonly variant: string;
  readonly name: string;
  /** Debian's package that has it. */
  readonly pkg: string;
  readonly suites: readonly Suite[];
  readonly open: (sandbox: Sandbox) => Promise<Look>;
}

const BOTH: readonly Suite[] = ['bookworm', 'trixie'];

const KINDS: readonly Kind[] = [
  {
    model: 'podman-overlay',
    variant: '',
    name: 'podman, overlay driver',
    pkg: 'podman',
    suites: BOTH,
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'whole' }),
  },
  {
    model: 'podman-vfs',
    variant: '',
    name: 'podman, vfs driver',
    pkg: 'podman',
    suites: BOTH,
    open: (sandbox) => openPodman(sandbox, { driver: 'vfs', pull: 'whole' }),
  },
  {
    model: 'podman-chunked',
    variant: '',
    name: 'podman, overlay driver, partial pulls of zstd:chunked layers',
    pkg: 'podman',
    suites: ['trixie'],
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'chunked' }),
  },
  {
    model: 'podman-chunked',
    variant: 'converted-',
    name: 'podman, overlay driver, gzip layers converted',
    pkg: 'podman',
    suites: ['trixie'],
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'converted' }),
  },
  {
    model: 'podman-composefs',
    variant: '',
    name: 'podman, overlay driver, zstd:chunked layers as composefs',
    pkg: 'podman',
    suites: ['trixie'],
    open: (sandbox) => openPodman(sandbox, { driver: 'overlay', pull: 'chunked', composefs: 'on' }),
  },
  {
    model: 'docker-overlay2',
    variant: '',
    name: 'dockerd, overlay2',
    pkg: 'docker.io',
    suites: BOTH,
    open: openDocker,
  },
  {
    model: 'containerd',
    variant: '',
    name: 'containerd, overlayfs snapshotter',
    pkg: 'containerd',
    suites: BOTH,
    open: (sandbox) => openContainerd(sandbox, { snapshotter: 'overlayfs' }),
  },
  {
    model: 'containerd',
    variant: 'native-',
    name: 'containerd, native snapshotter',
    pkg: 'containerd',
    suites: BOTH,
    open: (sandbox) => openContainerd(sandbox, { snapshotter: 'native' }),
  },
  {
    model: 'umoci',
    variant: '',
    name: 'umoci unpack',
    pkg: 'umoci',
    suites: ['bookworm'],
    open: openUmoci,
  },
  {
    model: 'ostree',
    variant: '',
    name: 'ostree commits, union checkouts',
    pkg: 'ostree',
    suites: BOTH,
    open: openOstree,
  },
];

/** The package's version, or undefined where it is not installed. */
async function versionOf(pkg: string, root?: string): Promise<string | undefined> {
  const place = root ? [`--root=${root}`] : [];
  const query = [...place, '--show', `--showformat=\${db:Status-Abbrev}\${Version}`, pkg];
  const printed = await output('dpkg-query', query).catch(() => '');
  return printed.startsWith('ii ') ? printed.slice(3) : undefined;
}

/** Every runtime of these suites that this machine can run; trixie's are put into the cache if need be. */
export async function runtimes(suites: readonly Suite[] = BOTH): Promise<readonly Runtime[]> {
  const found: Runtime[] = [];
  for (const suite of suites) {
    const root = await suiteRoot(suite);
    for (const { model, variant, name, pkg } of KINDS.filter((kind) =>
      kind.suites.includes(suite),
    )) {
      const version = await versionOf(pkg, root);
      const id = `${model}/${variant}${suite}`;
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

function kindOf({ id, model, suite }: Runtime): Kind {
  const kind = KINDS.find((one) => `${one.model}/${one.variant}${suite}` === id);
  if (!kind) throw new Error(`no runtime ${id} of ${model}`);
  return kind;
}

async function start(runtime: Runtime): Promise<Running> {
  // Sockets' paths are short.
  const sandbox = await openSandbox(await mkdtemp('/var/tmp/rt-'), await suiteRoot(runtime.suite));
  try {
    return { sandbox, look: await kindOf(runtime).open(sandbox) };
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
