/**
 * Root file systems as real tools make them of an image: what a rechunked image must look like to those who run it.
 *
 * Everything that a tool keeps (storage, mounts) is below the directory that is given, and gone after `close`; but for
 * containerd, which is started once and ends with this process. Needs root. What each tool does differently is in this folder's README.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { command, output } from './command.ts';
import { untilUp } from './daemon.ts';

/** A way to unpack an image. */
export type Tool = 'umoci' | 'podman-overlay' | 'podman-vfs' | 'containerd' | 'skopeo+tar';

/** Every tool. */
export const TOOLS: readonly Tool[] = [
  'umoci',
  'podman-overlay',
  'podman-vfs',
  'containerd',
  'skopeo+tar',
];

/** An unpacked image. */
export interface Unpacked {
  /** The root of its file system. */
  readonly root: string;
  /** Unmounts, ends daemons and removes the directory. */
  close(): Promise<void>;
}

/**
 * An image as skopeo names it: `oci:DIR:TAG`, `docker://127.0.0.1:PORT/name:tag`, `docker-archive:FILE`, …; registries
 * are spoken to without TLS.
 */
export type ToolReference = string;

/** Longest wait for containerd to listen, ms. */
const START_TIMEOUT_MS = 20_000;

async function copy(from: string, to: string, ...options: string[]): Promise<void> {
  const insecure = from.startsWith('docker://') ? ['--src-tls-verify=false'] : [];
  await command('skopeo', ['copy', '-q', '--insecure-policy', ...insecure, ...options, from, to]);
}

/** The layout of an `oci:` reference, where it has no other image; with what its manifest says. */
async function loneLayout(
  image: ToolReference,
): Promise<{ readonly layout: string; readonly manifest: string } | undefined> {
  const [, layout] = /^oci:([^:]+):/.exec(image) ?? [];
  if (layout === undefined) return undefined;
  const { manifests } = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8'));
  if (manifests.length !== 1) return undefined;
  const blob = join(layout, 'blobs', manifests[0].digest.replace(':', '/'));
  return { layout, manifest: await readFile(blob, 'utf8') };
}

/** The image as an OCI archive, its blobs as they are. */
async function archiveOf(image: ToolReference, dir: string): Promise<string> {
  const archive = `${dir}/image.tar`;
  const lone = await loneLayout(image);
  if (!lone) await copy(image, `oci-archive:${archive}:image`);
  else {
    const parts = ['oci-layout', 'index.json', 'blobs'];
    await command('tar', ['-cf', archive, '-C', lone.layout, ...parts]);
  }
  return archive;
}

/** The image as an OCI layout without zstd layers, which umoci 0.4.7 does not read. diffIDs stay as they are. */
async function gzipLayout(image: ToolReference, dir: string): Promise<string> {
  const lone = await loneLayout(image);
  if (lone && !lone.manifest.includes('+zstd')) return image.slice('oci:'.length);
  await copy(image, `dir:${dir}/plain`, '--dest-decompress');
  await copy(`dir:${dir}/plain`, `oci:${dir}/layout:image`, '--dest-compress-level', '1');
  return `${dir}/layout:image`;
}

async function unpackUmoci(image: ToolReference, dir: string): Promise<Unpacked> {
  const layout = await gzipLayout(image, dir);
  await command('umoci', ['unpack', '--image', layout, `${dir}/bundle`]);
  return { root: `${dir}/bundle/rootfs`, close: () => remove(dir) };
}

async function remove(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true, maxRetries: 3 });
}

async function unpackPodman(driver: string, image: ToolReference, dir: string): Promise<Unpacked> {
  const config = `[storage]
driver = "${driver}"
graphroot = "${dir}/storage"
runroot = "${dir}/run"
`;
  await writeFile(`${dir}/storage.conf`, config);
  // The machine's own storage must not reach in.
  const env = { CONTAINERS_STORAGE_CONF: `${dir}/storage.conf`, STORAGE_OPTS: '' };
  const podman = (...parameters: string[]): Promise<string> =>
    output('podman', ['--tmpdir', `${dir}/tmp`, ...parameters], { env });
  let root = '';
  const close = async (): Promise<void> => {
    // The storage goes with it, so podman, which takes longer, need not know.
    for (const mounted of [root, `${dir}/storage/${driver}`])
      await command('umount', ['-l', mounted]).catch(() => {});
    await remove(dir);
  };
  try {
    const remote = image.startsWith('docker://');
    // podman makes a name of an `oci:` directory's path, which need not be a valid one; an archive states its own.
    const from = remote ? image : `oci-archive:${await archiveOf(image, dir)}`;
    const tls = remote ? ['--tls-verify=false'] : [];
    const id = (await podman('pull', '-q', ...tls, from)).split('\n').at(-1) ?? '';
    root = await podman('image', 'mount', id);
    return { root, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The one containerd of this process, which ends with it: an image's name and mount are all that is its own. */
let containerd: Promise<string> | undefined;
let images = 0;

/** Starts containerd and gives its socket. */
async function startContainerd(): Promise<string> {
  const dir = await mkdtemp('/var/tmp/containerd-');
  const socket = `${dir}/containerd.sock`;
  const config = `version = 2
root = "${dir}/root"
state = "${dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${socket}"
[ttrpc]
  address = "${socket}.ttrpc"
`;
  await writeFile(`${dir}/config.toml`, config);
  const daemon = spawn('containerd', ['--config', `${dir}/config.toml`, '--log-level', 'error'], {
    stdio: 'ignore',
  });
  // A test that fails half-way must neither hang on the daemon nor leave it.
  daemon.unref();
  process.once('exit', () => {
    daemon.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  });
  await untilUp(daemon, () => output('ctr', ['--address', socket, 'version']), START_TIMEOUT_MS);
  return socket;
}

async function unpackContainerd(image: ToolReference, dir: string): Promise<Unpacked> {
  containerd ??= startContainerd();
  const socket = await containerd;
  const ctr = (...parameters: string[]): Promise<string> =>
    output('ctr', ['--address', socket, ...parameters]);
  const base = `test.invalid/image${++images}`;
  const root = join(dir, 'mounted');
  let name = '';
  const close = async (): Promise<void> => {
    // Lazily: on a busy machine somebody may still look into it.
    await command('umount', ['-l', root]).catch(() => {});
    if (name) await ctr('image', 'rm', name);
    await remove(dir);
  };
  try {
    // The archive keeps blobs as they are, so that containerd unpacks the same compression that a node would pull.
    await ctr('image', 'import', '--base-name', base, await archiveOf(image, dir));
    name = (await ctr('image', 'ls', '-q', `name~=^${base}[:@]`)).split('\n')[0] ?? '';
    await mkdir(root);
    await ctr('image', 'mount', name, root);
    return { root, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The layers extracted one over the other by GNU tar, which knows no whiteouts: for rechunked and other plain images. */
async function unpackTar(image: ToolReference, dir: string): Promise<Unpacked> {
  await copy(image, `dir:${dir}/plain`, '--dest-decompress');
  const manifest = JSON.parse(await readFile(`${dir}/plain/manifest.json`, 'utf8'));
  const root = join(dir, 'root');
  await mkdir(root);
  const exact = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '--same-owner'];
  for (const { digest } of manifest.layers as { digest: string }[]) {
    const blob = join(dir, 'plain', digest.slice('sha256:'.length));
    const listing = await output('tar', ['-tf', blob]);
    if (/(^|\/)\.wh\./m.test(listing)) {
      await remove(dir);
      throw new Error(`${image}: layer ${digest} has whiteouts, which GNU tar does not apply`);
    }
    await command('tar', [...exact, '-xpf', blob, '-C', root]);
  }
  return { root, close: () => remove(dir) };
}

/**
 * Unpacks `image` with `tool` below the new directory `dir` (made; removed by `close`). Throws with the tool's own words
 * where it refuses the image; nothing is left behind then.
 */
export async function unpackWith(tool: Tool, image: ToolReference, dir: string): Promise<Unpacked> {
  await mkdir(dir, { recursive: true });
  try {
    if (tool === 'umoci') return await unpackUmoci(image, dir);
    if (tool === 'podman-overlay') return await unpackPodman('overlay', image, dir);
    if (tool === 'podman-vfs') return await unpackPodman('vfs', image, dir);
    return tool === 'containerd' ? await unpackContainerd(image, dir) : await unpackTar(image, dir);
  } catch (error) {
    await remove(dir);
    throw error;
  }
}
