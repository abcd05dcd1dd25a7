/** podman that pulls from a real registry in part, where it can, and what it read for that. */
import { writeFile } from 'node:fs/promises';
import { type Registry, startRegistry } from '../registry.ts';
import type { Sandbox } from './sandbox.ts';

/** What was read of blobs. */
export interface Pulled {
  /** Of all answers. */
  readonly bytes: number;
  /** Digests of what was read as a whole; the config always is. */
  readonly whole: readonly string[];
  /** Requests that were answered by ranges. */
  readonly parts: number;
}

/** podman with a storage of the sandbox's own. */
export interface PartialPodman {
  /** Runs it. */
  podman(...parameters: string[]): Promise<string>;
  /** Pulls `repository:tag` of the registry. */
  pull(image: string): Promise<Pulled>;
}

/** podman 5.4 falls over its own progress bar now and then when it pulls in part, and is asked again then. */
const TRIES = 4;

/** podman in `sandbox`, whose partial pulls are switched on; the registry is stopped with the sandbox. */
export async function openPartialPodman(
  sandbox: Sandbox,
): Promise<PartialPodman & { readonly registry: Registry }> {
  const { dir } = sandbox;
  const registry = await startRegistry();
  sandbox.defer(() => registry.stop());
  await writeFile(
    `${dir}/storage.conf`,
    `[storage]
driver = "overlay"
graphroot = "${dir}/storage"
runroot = "${dir}/run"
[storage.options]
pull_options = {enable_partial_images = "true", use_hard_links = "false"}
`,
  );
  const env = {
    CONTAINERS_STORAGE_CONF: `${dir}/storage.conf`,
    PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
    // As podman itself runs on in the user namespace that it made.
    ...(sandbox.firstId > 0 && {
      _CONTAINERS_USERNS_CONFIGURED: 'done',
      _CONTAINERS_ROOTLESS_UID: '1000',
    }),
  };
  const start = ['-u', 'STORAGE_OPTS', 'podman', '--tmpdir', `${dir}/tmp`];
  const podman = (...parameters: string[]): Promise<string> =>
    sandbox.run('env', [...start, ...parameters], { env });
  const pull = async (image: string, tries = TRIES): Promise<Pulled> => {
    const before = registry.accessLog().length;
    try {
      await podman('pull', '-q', '--tls-verify=false', `docker://${registry.host}/${image}`);
    } catch (error) {
      if (tries === 1 || !/goroutine \d+/.test((error as Error).message)) throw error;
      return pull(image, tries - 1);
    }
    const log = registry.accessLog().slice(before);
    const reads = log.filter(({ method, path }) => method === 'GET' && path.includes('/blobs/'));
    return {
      bytes: reads.reduce((sum, read) => sum + read.bytes, 0),
      whole: reads
        .filter(({ status }) => status === 200)
        .map(({ path }) => path.slice(path.lastIndexOf('/') + 1)),
      parts: reads.filter(({ status }) => status === 206).length,
    };
  };
  return { podman, pull: (image) => pull(image), registry };
}
