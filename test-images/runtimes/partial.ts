/** podman that pulls from a real registry in part, where it can, and what it read for that. */
import { type Registry, startRegistry } from '../registry.ts';
import { type Podman, preparePodman, withoutPanics } from './podman.ts';
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
  readonly podman: Podman;
  /** Pulls `repository:tag` of the registry. */
  pull(image: string): Promise<Pulled>;
}

/** podman in `sandbox`, whose partial pulls are switched on; the registry is stopped with the sandbox. */
export async function openPartialPodman(
  sandbox: Sandbox,
): Promise<PartialPodman & { readonly registry: Registry }> {
  const registry = await startRegistry();
  sandbox.defer(() => registry.stop());
  const podman = await preparePodman(sandbox, { driver: 'overlay', pull: 'chunked' });
  const pull = async (image: string): Promise<Pulled> => {
    let before = 0;
    await withoutPanics(() => {
      before = registry.accessLog().length;
      return podman('pull', '-q', '--tls-verify=false', `docker://${registry.host}/${image}`);
    });
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
  return { podman, pull, registry };
}
