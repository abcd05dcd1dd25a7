/**
 * Registry to registry, both in one real docker-registry on this machine: an image and its next release, cold and warm. Each run
 * writes to a repository of its own, empty or a copy of what the first release became, so that no run finds another's blobs.
 */
import { readFileSync, rmSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { output } from '../../test-images/command.ts';
import { cacheDirectory } from '../../test-images/debian.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import { blobFile, type Input, layersOf } from './inputs.ts';
import { measure } from './measure.ts';
import type { RegistryRun, Row } from './results.ts';
import type { Tools } from './tools.ts';

/** Names that goals look for; also the order in a round. */
export const COLD = 'next release, cold';
export const CHANGED = 'next release, warm';
export const CHANGED_PREVIOUS = 'next release, previous image only';
export const UNCHANGED = 'unchanged, warm';
export const UNCHANGED_PREVIOUS = 'unchanged, previous image only';
export const DOWNLOAD = 'floor: curl, gzip -dc, sha256sum';

/** One kind of run. */
interface Kind {
  readonly name: string;
  readonly release: 1 | 2;
  /** Whether the destination holds what the first release became. */
  readonly hasPrevious: boolean;
  /** Whether the cache is as the first release's run left it; else there is none. */
  readonly isWarm: boolean;
  /** In the first round only: no goal depends on it. */
  readonly isOnce?: boolean;
}

const KINDS: readonly Kind[] = [
  { name: COLD, release: 2, hasPrevious: false, isWarm: false },
  { name: CHANGED, release: 2, hasPrevious: true, isWarm: true },
  { name: UNCHANGED, release: 1, hasPrevious: true, isWarm: true },
  { name: CHANGED_PREVIOUS, release: 2, hasPrevious: true, isWarm: false },
  { name: UNCHANGED_PREVIOUS, release: 1, hasPrevious: true, isWarm: false, isOnce: true },
];

/** The registry's last lines come after the client has ended, ms. */
const LOG_PAUSE_MS = 200;
/** Where the registry's file storage keeps repositories. */
const REPOSITORIES = 'docker/registry/v2/repositories';

/** A registry that holds both releases, and what the first one became. */
class Scene {
  readonly #tools: Tools;
  readonly #directory: string;
  readonly #registry: Registry;
  /** Digests of images' configs: all other blobs are layers. */
  readonly #configs = new Set<string>();
  #repositories = 0;

  private constructor(tools: Tools, directory: string, registry: Registry) {
    this.#tools = tools;
    this.#directory = directory;
    this.#registry = registry;
  }

  static async open(tools: Tools): Promise<Scene> {
    const directory = await mkdtemp(join(cacheDirectory(), 'speed-registry-'));
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
    const registry = await startRegistry({ storage: join(directory, 'storage') });
    return new Scene(tools, directory, registry);
  }

  async close(): Promise<void> {
    await this.#registry.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** Puts both releases into the registry. */
  async push({ path, next }: Input): Promise<void> {
    for (const [release, layout] of [path, next as string].entries()) {
      const to = `docker://${this.#registry.host}/app:${release + 1}`;
      const [program = '', ...words] = this.#tools.skopeo;
      const copy = ['copy', '--quiet', '--dest-tls-verify=false', `oci:${layout}:latest`, to];
      await output(program, [...words, ...copy]);
      this.#configs.add(configOf(layout));
    }
  }

  /** The first run of all: an empty destination, an empty cache, which it fills. */
  async first(): Promise<RegistryRun> {
    const run = await this.#observe(this.#build(1, 'built:latest', this.#cache('first')));
    const accept = 'application/vnd.oci.image.manifest.v1+json';
    const url = `http://${this.#registry.host}/v2/built/manifests/latest`;
    const answer = await fetch(url, { headers: { accept } });
    const { config } = (await answer.json()) as { config: { digest: string } };
    this.#configs.add(config.digest);
    return run;
  }

  async run({ release, hasPrevious, isWarm }: Kind): Promise<RegistryRun> {
    const repository = `out-${this.#repositories++}`;
    const at = join(this.#registry.storage, REPOSITORIES);
    if (hasPrevious) await cp(join(at, 'built'), join(at, repository), { recursive: true });
    const cache = join(this.#directory, 'cache');
    await rm(cache, { recursive: true, force: true });
    if (isWarm)
      await cp(join(this.#directory, 'first'), cache, {
        recursive: true,
        preserveTimestamps: true,
      });
    const state = isWarm ? this.#cache('cache') : this.#tools.canCache ? ['--no-cache'] : [];
    return this.#observe(this.#build(release, `${repository}:latest`, state));
  }

  /** Download, decompression and digest of the next release's layers, and nothing else. */
  download(next: string): Promise<RegistryRun> {
    const url = (digest: string): string => `http://${this.#registry.host}/v2/app/blobs/${digest}`;
    const urls = layersOf(next).map(({ digest }) => url(digest));
    const script = 'curl -sfS "$@" | gzip -dc | sha256sum';
    return this.#observe(['sh', '-c', script, 'sh', ...urls]);
  }

  #cache(name: string): readonly string[] {
    return this.#tools.canCache ? ['--cache', join(this.#directory, name)] : [];
  }

  #build(release: 1 | 2, to: string, options: readonly string[]): string[] {
    const { host } = this.#registry;
    const images = [`docker://${host}/app:${release}`, `docker://${host}/${to}`];
    return [...this.#tools.rechunk, 'build', '--quiet', '--insecure', ...options, ...images];
  }

  async #observe(parameters: readonly string[]): Promise<RegistryRun> {
    const before = this.#registry.accessLog().length;
    const run = await measure(parameters);
    await sleep(LOG_PAUSE_MS);
    const log = this.#registry.accessLog().slice(before);
    const fetched = log.filter(({ method, status }) => method === 'GET' && status < 300);
    const blobs = fetched.flatMap(({ path }) => /\/blobs\/(\w+:\w+)/.exec(path)?.[1] ?? []);
    const layers = new Set(blobs.filter((digest) => !this.#configs.has(digest)));
    const fetchedBytes = fetched.reduce((sum, { bytes }) => sum + bytes, 0);
    return { ...run, fetchedBytes, fetchedLayers: layers.size };
  }
}

function configOf(layout: string): string {
  const [entry] = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')).manifests;
  return JSON.parse(readFileSync(blobFile(layout, entry.digest), 'utf8')).config.digest;
}

/** Measures an input that has a next release; `tell` hears of each run. */
export async function measureWarm(
  input: Input,
  rounds: number,
  tools: Tools,
  tell: (command: string, run: RegistryRun) => void,
): Promise<Row[]> {
  const rows = new Map<string, RegistryRun[]>();
  const note = (name: string, run: RegistryRun): void => {
    rows.set(name, [...(rows.get(name) ?? []), run]);
    tell(name, run);
  };
  const scene = await Scene.open(tools);
  try {
    await scene.push(input);
    const isSingle = layersOf(input.path).length === 1;
    note('first release, cold', await scene.first());
    const kinds = KINDS.filter(({ isWarm }) => tools.canCache || !isWarm);
    for (let round = 0; round < rounds; round++) {
      const now = kinds.filter(({ isOnce }) => round === 0 || isOnce !== true);
      for (const kind of now) note(kind.name, await scene.run(kind));
      if (isSingle) note(DOWNLOAD, await scene.download(input.next as string));
    }
  } finally {
    await scene.close();
  }
  return [...rows].map(([name, runs]) => ({ command: name, beside: COLD, runs }));
}
