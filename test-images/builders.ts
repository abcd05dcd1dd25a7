/**
 * buildah as people build with it: that of this machine, and that of another Debian release in a root of its own; and rechunk's own image
 * for them, made of the sources. Builds run with chroot isolation, in storages of their own. Needs root.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command, output } from './command.ts';
import { debianImage } from './debian.ts';
import { openSandbox, type Sandbox } from './runtimes/sandbox.ts';
import { type Suite, suiteRoot } from './runtimes/suite.ts';

/** An engine that builds. */
export interface Builder {
  /** A directory that it sees at the same path, with everything that it keeps; removed by `close`. */
  readonly dir: string;
  /** What is to stand before a command line so that it runs where the engine is, with its environment. */
  readonly words: readonly string[];
  /** Where it runs. */
  readonly sandbox: Sandbox;
  /** That environment. */
  readonly env: Readonly<Record<string, string>>;
  /** What a shell script prints that runs there, in the directory `cwd`; throws as `command` does. */
  run(script: string, cwd: string): Promise<string>;
  close(): Promise<void>;
}

const SOURCES = fileURLToPath(new URL('..', import.meta.url));

/** Limits as they are: an engine that asks for more, as Debian 13's do by default, is refused where nobody may raise them. */
async function limits(names: readonly (readonly [string, string])[]): Promise<string[]> {
  const text = await readFile('/proc/self/limits', 'utf8');
  return names.map(([name, title]) => {
    const hard = new RegExp(`^Max ${title} +\\S+ +(\\S+)`, 'm').exec(text)?.[1];
    return `${name}=${hard}:${hard}`;
  });
}

const FILES = ['nofile', 'open files'] as const;
const PROCESSES = ['nproc', 'processes'] as const;

/** Writes settings for buildah below `dir` (podman's are in `podman.conf`); gives the environment that names them. */
async function writeSettings(
  suite: Suite,
  dir: string,
  registry: string,
): Promise<Record<string, string>> {
  await mkdir(join(dir, 'tmp'), { recursive: true });
  const put = async (name: string, text: string): Promise<string> => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  const storage = `[storage]\ndriver = "overlay"\ngraphroot = "${dir}/storage"\nrunroot = "${dir}/runroot"\n`;
  const registries = `[[registry]]\nlocation = "${registry}"\ninsecure = true\n`;
  // Containers get no cgroups: their hierarchies may be mounted in ways that crun does not know.
  const containers = (bounds: readonly string[]): string =>
    `[containers]\ncgroups = "disabled"\ndefault_ulimits = ${JSON.stringify(bounds)}\n`;
  // buildah 1.28 lowers the number of processes before it sets what is asked for.
  const isOld = suite === 'bookworm';
  await put('podman.conf', containers(await limits([FILES, PROCESSES])));
  const settings = containers(await limits(isOld ? [FILES] : [FILES, PROCESSES]));
  return {
    CONTAINERS_STORAGE_CONF: await put('storage.conf', storage),
    CONTAINERS_REGISTRIES_CONF: await put('registries.conf', registries),
    CONTAINERS_CONF: await put('containers.conf', settings),
    BUILDAH_ISOLATION: 'chroot',
    // An overlay may not lie on the sandbox's own.
    TMPDIR: join(dir, 'tmp'),
    HOME: dir,
  };
}

/** Opens the engines of `suite` below `dir`, which is new; they may speak plain http to `registry`. */
export async function openBuilder(suite: Suite, dir: string, registry: string): Promise<Builder> {
  const root = await suiteRoot(suite);
  const sandbox: Sandbox = await openSandbox(dir, { root });
  const env = await writeSettings(suite, dir, registry);
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  // STORAGE_OPTS would take the place of the driver's options.
  const words = [...sandbox.enter, 'env', '-u', 'STORAGE_OPTS', ...settings];
  await sandbox.run('sh', ['-c', 'umount -l /sys/fs/cgroup/unified 2>/dev/null || :']);
  const [program = '', ...parameters] = words;
  return {
    dir,
    words,
    env,
    sandbox,
    run: (script, cwd) => output(program, [...parameters, 'sh', '-euc', `cd "$0"; ${script}`, cwd]),
    close: () => sandbox.close(),
  };
}

/** Packages that rechunk needs when it runs, as the lockfile has them. */
async function productionPackages(): Promise<string[]> {
  const lock = JSON.parse(await readFile(join(SOURCES, 'package-lock.json'), 'utf8'));
  const packages = Object.entries(lock.packages as Record<string, Record<string, unknown>>);
  return packages
    .filter(([path, { dev, devOptional, optional }]) => path && !dev && !devOptional && !optional)
    .map(([path]) => path);
}

/** Builds the image `localhost/rechunk` with `builder`: Debian, this Node, and rechunk from its sources. */
export async function buildTool(builder: Builder): Promise<void> {
  const dir = join(builder.dir, 'tool');
  await mkdir(dir);
  const debian = await debianImage();
  await command('cp', ['-r', debian, join(dir, 'debian')]);
  await command('cp', [process.execPath, join(dir, 'node')]);
  const what = ['package.json', 'rechunk', 'registry', ...(await productionPackages())];
  const leave = ['--exclude=*.test.ts', '--exclude=*.conformance.ts'];
  const places = ['-C', SOURCES, '--dereference', '--transform', 's,^,usr/local/lib/rechunk/,'];
  await command('tar', ['-cf', join(dir, 'rechunk.tar'), ...leave, ...places, ...what]);
  const lines = [
    'FROM oci:debian',
    'COPY node /usr/local/bin/',
    'ADD rechunk.tar /',
    'RUN chmod 755 /usr/local/lib/rechunk/rechunk/cli/entry.cjs && ln -s ../lib/rechunk/rechunk/cli/entry.cjs /usr/local/bin/rechunk',
    'ENV NODE_OPTIONS=--disable-warning=ExperimentalWarning PATH=/usr/local/bin:/usr/sbin:/usr/bin',
    'ENTRYPOINT ["rechunk"]',
    // As images of tools are.
    'USER 65534',
  ];
  await writeFile(join(dir, 'Containerfile'), `${lines.join('\n')}\n`);
  await builder.run('buildah build --quiet -t localhost/rechunk .', dir);
  await rm(dir, { recursive: true });
}
