/**
 * buildah as people build with it: that of this machine, and that of another Debian release in a root of its own; and rechunk's own image
 * for them, built of the sources by plugin/image. Builds run with chroot isolation, in storages of their own. Needs root.
 */
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
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

/** What a base with Node is made of here: a little of Debian, and this Node, for whatever architecture it is called. */
const NODE = `FROM scratch
ADD debian.tar /
COPY node /usr/local/bin/
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["node"]
`;

/** Members of Debian's layer that Node, a shell and the reading of attributes by tar need: a fifth of it, as an engine stores it in a quarter of the time. */
const NEEDED =
  `./bin ./lib ./lib64 ./etc/passwd ./etc/group ./usr/bin/dash ./usr/bin/env ./usr/bin/sh ./usr/bin/tar
  ./usr/lib64/ld-linux* ./usr/lib/ld-linux* ./usr/lib/*-linux-gnu/*.so*`.split(/\s+/);

/** Writes those members of `layer` to `dir`/debian.tar. */
async function writeBase(layer: string, dir: string): Promise<void> {
  const root = join(dir, 'root');
  for (const name of ['var/tmp', 'tmp']) await mkdir(join(root, name), { recursive: true });
  const some = ['--wildcards', '--exclude=./usr/lib/*-linux-gnu/*/*', ...NEEDED];
  // Not every architecture has all; tar says so and goes on.
  const script = 'tar -xzpf "$0" -C "$@" 2>/dev/null || :';
  await command('sh', ['-c', script, layer, root, ...some]);
  await command('tar', ['-cf', join(dir, 'debian.tar'), '-C', root, '.']);
  await rm(root, { recursive: true });
}

/** Writes what an image with Node is built of, `Containerfile` included, into the new directory `dir`. */
async function writeNode(dir: string): Promise<void> {
  const debian = await debianImage();
  const read = async (path: string): Promise<{ digest: string }[]> => {
    const { manifests, layers } = JSON.parse(await readFile(join(debian, path), 'utf8'));
    return manifests ?? layers;
  };
  const blob = (digest = ''): string => join('blobs', digest.replace(':', '/'));
  const [manifest] = await read('index.json');
  const [layer] = await read(blob(manifest?.digest));
  await mkdir(dir);
  await writeBase(join(debian, blob(layer?.digest)), dir);
  await command('cp', [process.execPath, join(dir, 'node')]);
  await writeFile(join(dir, 'Containerfile'), NODE);
}

/** Builds the image `localhost/rechunk` with `builder`, as plugin/image says, over Debian with this Node. */
export async function buildTool(builder: Builder): Promise<void> {
  const dir = join(builder.dir, 'tool');
  await writeNode(dir);
  await builder.run('buildah build --quiet -t localhost/node .', dir);
  await command(process.execPath, [join(SOURCES, '.ci/single.ts'), join(dir, 'rechunk.cjs')]);
  await copyFile(join(SOURCES, 'plugin/image/Containerfile'), join(dir, 'Containerfile'));
  const base = '--build-arg BASE=localhost/node';
  await builder.run(`buildah build --quiet ${base} -t localhost/rechunk .`, dir);
  await rm(dir, { recursive: true });
}
