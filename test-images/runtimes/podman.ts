/** containers-storage as podman drives it: each image pulled into a storage of the sandbox's own, mounted, and removed. */
import { writeFile } from 'node:fs/promises';
import { type Registry, startRegistry } from '../registry.ts';
import { ociArchive } from './image.ts';
import type { Sandbox } from './sandbox.ts';
import { asked, type Look, readView } from './view.ts';

/** How the storage is set up, and how images come into it. */
export interface PodmanOptions {
  readonly driver: 'overlay' | 'vfs';
  /**
   * `whole` layers from an archive, or partial pulls from a registry: of layers that were pushed as zstd:chunked, or of gzip
   * layers that podman converts.
   */
  readonly pull: 'whole' | 'chunked' | 'converted';
  /** Layers kept as composefs images; default `off`. */
  readonly composefs?: 'on' | 'off';
}

function configText(dir: string, { driver, pull, composefs }: PodmanOptions): string {
  const partial = `enable_partial_images = "${pull !== 'whole'}"`;
  return `[storage]
driver = "${driver}"
graphroot = "${dir}/storage"
runroot = "${dir}/run"
[storage.options]
pull_options = {${partial}, convert_images = "${pull === 'converted'}", use_hard_links = "false"}
[storage.options.overlay]
${composefs === 'on' ? 'use_composefs = "true"' : ''}
`;
}

/** Runs podman with these parameters. */
export type Podman = (...parameters: string[]) => Promise<string>;

/** podman in `sandbox`, with a storage of the sandbox's own. */
export async function preparePodman(sandbox: Sandbox, options: PodmanOptions): Promise<Podman> {
  const { dir } = sandbox;
  await writeFile(`${dir}/storage.conf`, configText(dir, options));
  const env = {
    CONTAINERS_STORAGE_CONF: `${dir}/storage.conf`,
    PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
    // As podman itself runs on in the user namespace that it made.
    ...(sandbox.firstId > 0 && {
      _CONTAINERS_USERNS_CONFIGURED: 'done',
      _CONTAINERS_ROOTLESS_UID: '1000',
    }),
  };
  // STORAGE_OPTS would take the place of the driver's options, even when it is empty.
  const start = ['-u', 'STORAGE_OPTS', 'podman', '--tmpdir', `${dir}/tmp`];
  return (...parameters) => sandbox.run('env', [...start, ...parameters], { env });
}

/** Pulls the image of an archive and gives the id of a container of it. */
type Create = (archive: string) => Promise<string>;

/** Whether nothing but ranges was read of the layers, as podman falls back to whole layers without a word. */
function checkPartial(registry: Registry, before: number): void {
  const whole = new Set<string>();
  for (const { method, path, status } of registry.accessLog().slice(before)) {
    if (method === 'GET' && /blobs/.test(path) && status === 200) whole.add(path);
  }
  // One is the config.
  if (whole.size > 1) throw new Error(`podman read ${whole.size - 1} whole layers, want ranges`);
}

async function createFromRegistry(
  sandbox: Sandbox,
  podman: Podman,
  { pull }: PodmanOptions,
): Promise<Create> {
  const registry = await startRegistry();
  sandbox.defer(() => registry.stop());
  const image = `docker://${registry.host}/image:latest`;
  const form = pull === 'chunked' ? 'zstd:chunked' : 'gzip';
  const compression = [`--dest-compress-format=${form}`];
  const copy = ['copy', '-q', '--insecure-policy', '--dest-tls-verify=false', ...compression];
  return async (archive) => {
    // Layers of that form cannot be made of all images.
    const push = sandbox.run('skopeo', [...copy, `oci-archive:${archive}`, image]);
    await asked(push, /duplicates of file paths not supported/);
    const before = registry.accessLog().length;
    const id = await asked(
      withoutPanics(() => podman('create', '-q', '--tls-verify=false', image, 'true')),
      /^(?!.*goroutine \d+)/s,
    );
    checkPartial(registry, before);
    return id;
  };
}

/** podman 5.4 falls over its own progress bar now and then when it pulls in part; it is asked again then. */
const MOST_PANICS = 3;

/** What `work` gives, begun anew where podman fell over. */
export async function withoutPanics<Result>(
  work: () => Promise<Result>,
  left: number = MOST_PANICS,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (left === 0 || !/goroutine \d+/.test((error as Error).message)) throw error;
    return withoutPanics(work, left - 1);
  }
}

/** podman in `sandbox`. */
export async function openPodman(sandbox: Sandbox, options: PodmanOptions): Promise<Look> {
  const { dir } = sandbox;
  const podman = await preparePodman(sandbox, options);
  const create: Create =
    options.pull === 'whole'
      ? (archive) => asked(podman('create', '-q', `oci-archive:${archive}`, 'true'))
      : await createFromRegistry(sandbox, podman, options);
  return async (layout) => {
    const archive = `${dir}/image.tar`;
    await ociArchive(layout, archive);
    try {
      // As an image, podman mounts no composefs whose root directory belongs to somebody else than root; for a container it does.
      const id = (await create(archive)).split('\n').at(-1) ?? '';
      return await readView(sandbox, await asked(podman('mount', id)));
    } finally {
      // Containers too.
      await podman('rmi', '--all', '--force');
    }
  };
}
