/** containerd as `ctr` drives it: unpacked by a snapshotter, mounted as for a container, and removed with its content. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { command } from '../command.ts';
import { untilUp } from '../daemon.ts';
import { startRegistry } from '../registry.ts';
import { layerTars, ociArchive } from './image.ts';
import type { Sandbox } from './sandbox.ts';
import { asked, type Look, readView, type ViewEntry } from './view.ts';

/** Longest wait for the daemon to listen, ms. */
const START_TIMEOUT_MS = 20_000;

/** How containerd is set up. */
export interface ContainerdOptions {
  readonly snapshotter: 'overlayfs' | 'native';
  /** `parallel`: layers are unpacked at once, which 2.2 and later do where they are told to, and pull. Default `sequential`. */
  readonly unpack?: 'sequential' | 'parallel';
  /** Where the programs are; by default as the system finds them. */
  readonly bin?: string;
}

const PARALLEL = `[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_unpacks = 4
`;

type Ctr = (...parameters: string[]) => Promise<string>;

async function startContainerd(
  { dir, run, start }: Sandbox,
  { bin, unpack }: ContainerdOptions,
): Promise<Ctr> {
  const program = (name: string): string => (bin ? `${bin}/${name}` : name);
  const socket = `${dir}/c.sock`;
  const isParallel = unpack === 'parallel';
  const config = `version = ${isParallel ? 3 : 2}
root = "${dir}/containerd"
state = "${dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${socket}"
[ttrpc]
  address = "${socket}.ttrpc"
${isParallel ? PARALLEL : ''}`;
  await writeFile(`${dir}/config.toml`, config);
  const parameters = [
    '--config',
    `${dir}/config.toml`,
    '--log-level',
    isParallel ? 'debug' : 'error',
  ];
  const daemon = start('containerd', [program('containerd'), ...parameters]);
  const ctr: Ctr = (...more) => run(program('ctr'), ['--address', socket, ...more]);
  await untilUp(daemon, () => ctr('version'), START_TIMEOUT_MS);
  return ctr;
}

function sha256(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

/** The name of the snapshot with all layers (image-spec v1.1.1, config.md "Layer ChainID"). */
async function chainId(layout: string): Promise<string> {
  const diffIds = (await layerTars(layout)).map(sha256);
  return diffIds.reduce((chain, diffId) => sha256(`${chain} ${diffId}`));
}

/** Puts the image of an archive into containerd. */
type Bring = (archive: string) => Promise<void>;

async function pullFromRegistry(sandbox: Sandbox, ctr: Ctr): Promise<Bring> {
  const registry = await startRegistry();
  sandbox.defer(() => registry.stop());
  const name = `${registry.host}/image:latest`;
  const copy = ['copy', '-q', '--insecure-policy', '--dest-tls-verify=false'];
  let pulls = 0;
  return async (archive) => {
    await command('skopeo', [...copy, `oci-archive:${archive}`, `docker://${name}`]);
    await asked(ctr('image', 'pull', '--snapshotter', 'overlayfs', '--plain-http', name));
    const log = await readFile(`${sandbox.dir}/containerd.log`, 'utf8');
    pulls++;
    const parallel = log.match(/image unpacked.*parallel=true/g)?.length ?? 0;
    if (parallel < pulls) throw new Error(`containerd unpacked one layer after the other`);
  };
}

/** containerd in `sandbox`. */
export async function openContainerd(sandbox: Sandbox, options: ContainerdOptions): Promise<Look> {
  const ctr = await startContainerd(sandbox, options);
  const { dir } = sandbox;
  const { snapshotter, unpack } = options;
  const bring: Bring =
    unpack === 'parallel'
      ? await pullFromRegistry(sandbox, ctr)
      : async (archive) => {
          await asked(ctr('image', 'import', '--snapshotter', snapshotter, archive));
        };
  await mkdir(`${dir}/mounted`);
  // `ctr image mount` mounts overlayfs's snapshots, whatever it is told.
  const snapshots = (...parameters: string[]): Promise<string> =>
    ctr('snapshots', '--snapshotter', snapshotter, ...parameters);
  const places = `${dir}/containerd/io.containerd.snapshotter.v1.${snapshotter}/snapshots`;
  const readSnapshot = async (key: string): Promise<Map<string, ViewEntry>> => {
    const at = `${dir}/mounted`;
    // What it prints is the mount's command; short paths, since options have to fit into a page.
    const mount = await snapshots('prepare', '--target', at, 'container', key);
    const short = mount.replaceAll(`${places}/`, '');
    // The old system call takes a page of options, the new one 255 bytes each.
    const env = { LIBMOUNT_FORCE_MOUNT2: 'always' };
    await sandbox.run('env', ['-C', places, 'sh', '-c', short], { env });
    try {
      return await readView(sandbox, at);
    } finally {
      await sandbox.run('umount', [at]);
      // Unless it was collected as garbage already.
      await snapshots('rm', 'container').catch(() => {});
    }
  };
  return async (layout) => {
    const archive = `${dir}/image.tar`;
    await ociArchive(layout, archive);
    try {
      await bring(archive);
      return await readSnapshot(await chainId(layout));
    } finally {
      const names = (await ctr('image', 'ls', '-q')).split('\n').filter((name) => name !== '');
      if (names.length > 0) await ctr('image', 'rm', '--sync', ...names);
    }
  };
}
