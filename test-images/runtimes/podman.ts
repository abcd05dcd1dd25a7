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

type Podman = (...parameters: string[]) => Promise<string>;

/** Pulls the image of an archive and gives its id. */
type Pull = (archive: string) => Promise<string>;

/** Whether nothing but ranges was read of the layers, as podman falls back to whole layers without a word. */
function checkPartial(registry: Registry, before: number): void {
  const whole = registry
    .accessLog()
    .slice(before)
    .filter(({ method, path, status }) => method === 'GET' && /blobs/.test(path) && status === 200);
  // One is the config.
  if (whole.length > 1)
    throw new Error(`podman read ${whole.length - 1} whole layers, want ranges`);
}

async function pullFromRegistry(
  sandbox: Sandbox,
  podman: Podman,
  { pull }: PodmanOptions,
): Promise<Pull> {
  const registry = await startRegistry();
  sandbox.defer(() => registry.stop());
  const image = `docker://${registry.host}/image:latest`;
  const form = pull === 'chunked' ? 'zstd:chunked' : 'gzip';
  const compression = [`--dest-compress-format=${form}`];
  const copy = ['copy', '-q', '--insecure-policy', '--dest-tls-verify=false', ...compression];
  return async (archive) => {
    // Where no such layers can be made of the image, nobody can pull them either.
    await asked(sandbox.run('skopeo', [...copy, `oci-archive:${archive}`, image]));
    const before = registry.accessLog().length;
    const id = await asked(podman('pull', '-q', '--tls-verify=false', image));
    checkPartial(registry, before);
    return id;
  };
}

/** podman in `sandbox`. */
export async function openPodman(sandbox: Sandbox, options: PodmanOptions): Promise<Look> {
  const { dir } = sandbox;
  await writeFile(`${dir}/storage.conf`, configText(dir, options));
  const env = { CONTAINERS_STORAGE_CONF: `${dir}/storage.conf` };
  // STORAGE_OPTS would take the place of the driver's options, even when it is empty.
  const start = ['-u', 'STORAGE_OPTS', 'podman', '--tmpdir', `${dir}/tmp`];
  const podman: Podman = (...parameters) => sandbox.run('env', [...start, ...parameters], { env });
  const pull: Pull =
    options.pull === 'whole'
      ? (archive) => asked(podman('pull', '-q', `oci-archive:${archive}`))
      : await pullFromRegistry(sandbox, podman, options);
  return async (layout) => {
    const archive = `${dir}/image.tar`;
    await ociArchive(layout, archive);
    const id = (await pull(archive)).split('\n').at(-1) ?? '';
    try {
      const root = await podman('image', 'mount', id);
      return await readView(sandbox.outside(root));
    } finally {
      await podman('image', 'umount', id);
      await podman('rmi', '-f', id);
    }
  };
}
