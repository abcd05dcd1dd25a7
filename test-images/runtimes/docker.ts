/**
 * dockerd with its overlay2 graph driver: images loaded, and the layers' directories mounted by hand as the daemon would
 * mount them for a container, but without the container's own layers, which are about the container.
 */
import { createReadStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { untilUp } from '../daemon.ts';
import { dockerArchive, NAME } from './image.ts';
import type { Sandbox } from './sandbox.ts';
import { asked, type Look, readView } from './view.ts';

/** Longest wait for the daemon to listen, ms. */
const START_TIMEOUT_MS = 60_000;

/** One request to the daemon; `file` is its body. Throws with the daemon's words where it answers with an error. */
async function call(
  socketPath: string,
  method: string,
  path: string,
  file?: string,
): Promise<string> {
  const headers = file ? { 'content-type': 'application/x-tar' } : {};
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const asked = request({ socketPath, method, path, headers }, resolve).on('error', reject);
  if (file) await pipeline(createReadStream(file), asked);
  else asked.end();
  const response = await promise;
  const said = await text(response);
  const failed = (response.statusCode ?? 500) >= 400 || /"errorDetail"/.test(said);
  if (failed) throw new Error(`dockerd: ${method} ${path}: ${said.trim()}`);
  return said;
}

/** How a daemon keeps images: unpacked by its graph driver, or as containerd does. */
export type DockerStore = 'graph' | 'containerd';

/** Starts dockerd in `sandbox` and gives the path of its socket, as this process sees it. */
export async function startDockerd(
  { dir, firstId, run, start, outside }: Sandbox,
  store: DockerStore = 'graph',
): Promise<string> {
  const socket = `${dir}/d.sock`;
  await run('mkdir', [`${dir}/docker`]);
  // It keeps a key there.
  await run('mount', ['-t', 'tmpfs', 'etc-docker', '/etc/docker']);
  const config = { features: { 'containerd-snapshotter': store === 'containerd' } };
  await writeFile(`${dir}/daemon.json`, JSON.stringify(config));
  const places = ['--data-root', `${dir}/docker`, '--exec-root', `${dir}/exec`];
  const files = ['--pidfile', `${dir}/d.pid`, '--host', `unix://${socket}`];
  const network = ['--bridge=none', '--iptables=false', '--ip6tables=false'];
  const driver = store === 'graph' ? ['--storage-driver', 'overlay2'] : [];
  const parameters = [...places, ...files, ...network, ...driver];
  const program = firstId > 0 ? ['dockerd', '--rootless'] : ['dockerd'];
  const configured = ['--config-file', `${dir}/daemon.json`];
  const daemon = start('dockerd', [...program, ...configured, ...parameters]);
  await untilUp(daemon, () => call(outside(socket), 'GET', '/_ping'), START_TIMEOUT_MS);
  return outside(socket);
}

/** The layers' directories, topmost first, by the short names that the driver makes so that mount options stay short. */
async function shortNames({ outside }: Sandbox, data: Record<string, string>): Promise<string[]> {
  const layers = [data['UpperDir'], ...(data['LowerDir'] ?? '').split(':')].filter(Boolean);
  return Promise.all(
    layers.map(async (layer) => `l/${await readFile(outside(`${layer}/../link`), 'utf8')}`),
  );
}

/** dockerd in `sandbox`. */
export async function openDocker(sandbox: Sandbox): Promise<Look> {
  const socket = await startDockerd(sandbox);
  const { dir, run } = sandbox;
  const mounted = `${dir}/mounted`;
  // overlayfs wants two layers where nothing is written.
  const empty = `${dir}/empty`;
  await mkdir(mounted);
  await mkdir(empty);
  return async (layout) => {
    const archive = `${dir}/image.tar`;
    await dockerArchive(layout, archive);
    await asked(call(socket, 'POST', '/images/load?quiet=1', archive));
    try {
      const image = JSON.parse(await call(socket, 'GET', `/images/${NAME}/json`));
      const layers = [...(await shortNames(sandbox, image.GraphDriver.Data)), empty].join(':');
      const rootless = sandbox.firstId > 0 ? ',userxattr' : '';
      const options = `ro,lowerdir=${layers}${rootless}`;
      const mount = ['mount', '-t', 'overlay', 'overlay', '-o', options, mounted];
      // The old system call takes a page of options, the new one 255 bytes each.
      const env = { LIBMOUNT_FORCE_MOUNT2: 'always' };
      await run('env', ['-C', `${dir}/docker/overlay2`, ...mount], { env });
      try {
        return await readView(sandbox, mounted);
      } finally {
        await run('umount', [mounted]);
      }
    } finally {
      await call(socket, 'DELETE', `/images/${NAME}?force=1`);
    }
  };
}
