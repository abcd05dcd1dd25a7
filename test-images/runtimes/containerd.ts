/** containerd as `ctr image import` drives it: unpacked by a snapshotter, mounted as a view, and removed with its content. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { layerTars, ociArchive } from './image.ts';
import type { Sandbox } from './sandbox.ts';
import { asked, type Look, readView, type ViewEntry } from './view.ts';

/** Longest wait for the daemon to listen, ms. */
const START_TIMEOUT_MS = 20_000;

/** How containerd is set up. */
export interface ContainerdOptions {
  readonly snapshotter: 'overlayfs' | 'native';
}

async function startContainerd({ dir, run, start }: Sandbox): Promise<string> {
  const socket = `${dir}/c.sock`;
  const config = `version = 2
root = "${dir}/containerd"
state = "${dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${socket}"
[ttrpc]
  address = "${socket}.ttrpc"
`;
  await writeFile(`${dir}/config.toml`, config);
  const parameters = ['--config', `${dir}/config.toml`, '--log-level', 'error'];
  const daemon = await start('containerd', 'containerd', parameters);
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await run('ctr', ['--address', socket, 'version']);
      return socket;
    } catch (error) {
      if (daemon.exitCode !== null || Date.now() > deadline) throw error;
      await sleep(100);
    }
  }
}

function sha256(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

/** The name of the snapshot with all layers (image-spec v1.1.1, config.md "Layer ChainID"). */
async function chainId(layout: string): Promise<string> {
  const diffIds = (await layerTars(layout)).map(sha256);
  return diffIds.reduce((chain, diffId) => sha256(`${chain} ${diffId}`));
}

/** containerd in `sandbox`. */
export async function openContainerd(sandbox: Sandbox, options: ContainerdOptions): Promise<Look> {
  const socket = await startContainerd(sandbox);
  const { dir } = sandbox;
  const { snapshotter } = options;
  const ctr = (...parameters: string[]): Promise<string> =>
    sandbox.run('ctr', ['--address', socket, ...parameters]);
  await mkdir(`${dir}/mounted`);
  // `ctr image mount` mounts overlayfs's snapshots, whatever it is told.
  const snapshots = (...parameters: string[]): Promise<string> =>
    ctr('snapshots', '--snapshotter', snapshotter, ...parameters);
  const readSnapshot = async (key: string): Promise<Map<string, ViewEntry>> => {
    const at = `${dir}/mounted`;
    // What it prints is the mount's command.
    const mount = await snapshots('view', '--target', at, 'view', key);
    await sandbox.run('sh', ['-c', mount]);
    try {
      return await readView(sandbox.outside(at));
    } finally {
      await sandbox.run('umount', [at]);
      // Unless it was collected as garbage already.
      await snapshots('rm', 'view').catch(() => {});
    }
  };
  return async (layout) => {
    const archive = `${dir}/image.tar`;
    await ociArchive(layout, archive);
    try {
      await asked(ctr('image', 'import', '--snapshotter', snapshotter, archive));
      return await readSnapshot(await chainId(layout));
    } finally {
      const names = (await ctr('image', 'ls', '-q')).split('\n').filter((name) => name !== '');
      if (names.length > 0) await ctr('image', 'rm', '--sync', ...names);
    }
  };
}
