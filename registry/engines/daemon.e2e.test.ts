// needs: docker, dockerd, containerd, skopeo, mmdebstrap, root
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import { output } from '../../test-images/command.ts';
import { type DockerStore, startDockerd } from '../../test-images/runtimes/docker.ts';
import { openSandbox } from '../../test-images/runtimes/sandbox.ts';
import { type Suite, suiteRoot } from '../../test-images/runtimes/suite.ts';
import { createDockerArchive, createOciArchive } from '../archivewriter.ts';
import { readBlob } from '../blob.ts';
import { putImage, sampleImage, testDestination } from '../destination.conformance.ts';
import { type Destination, openImage } from '../image.ts';
import { createDaemon, openDaemon } from './daemon.ts';
import type { EngineOptions } from './engine.ts';

const test = suite('docker-daemon');
const root = await mkdtemp('/var/tmp/rd-');
const host = { hostPlatform: { os: 'linux', architecture: 'amd64' } };
let count = 0;

/** A daemon that runs, and how it is spoken to. */
interface Daemon {
  readonly name: string;
  readonly store: DockerStore;
  readonly temp: string;
  readonly options: EngineOptions & { readonly env: Record<string, string> };
  docker(...parameters: string[]): Promise<string>;
}

const closing: (() => Promise<void>)[] = [];
test.after(async () => {
  for (const close of closing) await close();
  await rm(root, { recursive: true, force: true, maxRetries: 3 });
});

async function startDaemon(name: string, release: Suite, store: DockerStore): Promise<Daemon> {
  const dir = join(root, `d${count++}`);
  const sandbox = await openSandbox(dir, { root: await suiteRoot(release) });
  closing.push(() => sandbox.close());
  const socket = await startDockerd(sandbox, store);
  const temp = join(root, `temp-${count}`);
  await mkdir(temp);
  const env = { PATH: process.env['PATH'] ?? '', DOCKER_HOST: `unix://${socket}`, HOME: root };
  const docker = (...parameters: string[]): Promise<string> =>
    output('docker', parameters, { env });
  return { name, store, temp, options: { env, tempDir: temp }, docker };
}

const daemons = [
  await startDaemon('dockerd 20.10', 'bookworm', 'graph'),
  await startDaemon('dockerd 26.1', 'trixie', 'graph'),
  await startDaemon('dockerd 26.1 with the containerd store', 'trixie', 'containerd'),
];

for (const { name, store, options, temp } of daemons) {
  testDestination(
    `docker-daemon of ${name}`,
    async () => {
      const repository = `test.invalid/app-${count++}`;
      return {
        open: (tag) => createDaemon(`${repository}:${tag}`, options),
        reopen: (tag) => openDaemon(`${repository}:${tag}`, options),
        list: () => readdir(temp),
        remove: async () => {},
      };
    },
    { keepsManifests: store === 'containerd' },
  );

  test(`${name} shows an image under short names, and gives it back by its id`, async () => {
    const image = sampleImage(['none', 'none']);
    const destination = await createDaemon(`short${count++}`, options);
    assert.deepEqual(
      destination.compressions,
      store === 'graph' ? ['none'] : ['zstd', 'gzip', 'none'],
    );
    await putImage(destination, image);
    await destination.commit(image.manifest, ['two', 'localhost/other:three']);
    await destination.close();
    const name = `short${count - 1}`;
    const inspected = JSON.parse(
      String(spawnSync('docker', ['image', 'inspect', name], { env: options.env }).stdout),
    );
    assert.deepEqual(
      inspected[0].RepoTags.sort(),
      ['localhost/other:three', `${name}:latest`, `${name}:two`].sort(),
    );
    assert.deepEqual(
      inspected[0].RootFS.Layers,
      image.layers.map(({ descriptor }) => descriptor.digest),
    );
    const source = await openDaemon(inspected[0].Id, options);
    const opened = await openImage(source, host);
    for (const { descriptor } of opened.layers)
      await readBlob(await source.blob(descriptor), descriptor, 1 << 24, 'a layer');
    await source.close();
    assert.deepEqual(await readdir(temp), []);
  });

  test(`${name} loads the archives that we write`, async () => {
    const write = async (create: () => Promise<Destination>, kind: 'gzip' | 'zstd' | 'none') => {
      const image = sampleImage([kind, kind]);
      const destination = await create();
      await putImage(destination, image);
      await destination.commit(image.manifest, []);
      await destination.close();
      return JSON.parse(String(Buffer.from(image.config.bytes))).rootfs.diff_ids;
    };
    const file = join(root, 'load.tar');
    const load = async (wanted: string, diffIds: string[]): Promise<void> => {
      assert.equal(await spawnDocker(options, 'load', '-q', '-i', file), `Loaded image: ${wanted}`);
      const said = await spawnDocker(
        options,
        'image',
        'inspect',
        '--format',
        '{{json .RootFS.Layers}}',
        wanted,
      );
      assert.deepEqual(JSON.parse(said), diffIds);
      await rm(file);
    };
    await load(
      'test.invalid/a:1',
      await write(() => createDockerArchive(file, 'test.invalid/a:1'), 'none'),
    );
    await load(
      'test.invalid/b:1',
      await write(() => createOciArchive(file, 'test.invalid/b:1'), 'none'),
    );
    await load(
      'test.invalid/c:1',
      await write(() => createOciArchive(file, 'test.invalid/c:1'), 'gzip'),
    );
    const zstd = async (): Promise<void> => {
      const ids = await write(() => createOciArchive(file, 'test.invalid/d:1'), 'zstd');
      await load('test.invalid/d:1', ids);
    };
    // Before version 23 Docker reads no zstd.
    if (name === 'dockerd 20.10') await assert.rejects(zstd(), /Error processing tar file/);
    else await zstd();
  });

  test(`${name} says so where the image is not there`, async () => {
    await assert.rejects(openDaemon('test.invalid/no:1', options), {
      code: 'not-found',
      message: /^reading docker-daemon:test\.invalid\/no:1: docker: /,
    });
    assert.deepEqual(await readdir(temp), []);
  });
}

async function spawnDocker({ env }: EngineOptions, ...parameters: string[]): Promise<string> {
  return output('docker', parameters, { env: env as Record<string, string> });
}

test('of a run that fails while it is handed over, nothing is loaded', async () => {
  const [, daemon] = daemons as [Daemon, Daemon];
  const image = sampleImage(['none', 'none']);
  const destination = await createDaemon('test.invalid/cut:1', daemon.options);
  // The config is missing, which only shows while the archive is made.
  for (const { descriptor, bytes } of image.layers) await destination.putBytes(descriptor, bytes);
  await assert.rejects(destination.commit(image.manifest, []), { code: 'not-found' });
  await destination.close();
  await assert.rejects(openDaemon('test.invalid/cut:1', daemon.options), { code: 'not-found' });
  assert.deepEqual(await readdir(daemon.temp), []);
});

test('is told to stop, and stops: no process, no file, no image is left', async () => {
  const [, daemon] = daemons as [Daemon, Daemon];
  const controller = new AbortController();
  const options = { ...daemon.options, signal: controller.signal };
  const image = sampleImage(['none', 'none', 'none']);
  const destination = await createDaemon('test.invalid/stopped:1', options);
  await putImage(destination, image);
  controller.abort(new Error('enough'));
  await assert.rejects(destination.commit(image.manifest, []), /enough/);
  await destination.close();
  await assert.rejects(openDaemon('test.invalid/stopped:1', daemon.options), { code: 'not-found' });
  assert.deepEqual(await readdir(daemon.temp), []);
});

test('skopeo reads from a daemon where there is no docker, and says that it cannot write', async () => {
  const [{ options, temp }] = daemons as [Daemon];
  const bin = join(root, 'bin');
  await mkdir(bin);
  await symlink('/usr/bin/skopeo', join(bin, 'skopeo'));
  const only = { ...options, env: { ...options.env, PATH: bin } };
  const image = sampleImage(['none']);
  const destination = await createDaemon('test.invalid/skopeo', options);
  await putImage(destination, image);
  await destination.commit(image.manifest, []);
  await destination.close();
  const source = await openDaemon('test.invalid/skopeo', only);
  const opened = await openImage(source, host);
  assert.ok(Buffer.from(opened.configDocument.bytes).equals(image.config.bytes));
  await source.close();
  await assert.rejects(openDaemon('test.invalid/no', only), { code: 'not-found' });
  await assert.rejects(createDaemon('test.invalid/x', only), {
    code: 'engine',
    message: /docker is not installed; write docker-archive:FILE/,
  });
  assert.deepEqual(await readdir(temp), []);
});

test('says what is wanted where there is no docker, and no daemon', async () => {
  await assert.rejects(openDaemon('app', { env: { PATH: '/nowhere' } }), {
    code: 'engine',
    message:
      /^reading docker-daemon:app: none of docker and skopeo is installed .*docker-archive:FILE$/,
  });
  const [{ options }] = daemons as [Daemon];
  const lost = { ...options, env: { ...options.env, DOCKER_HOST: 'unix:///nowhere/d.sock' } };
  for (const open of [openDaemon, createDaemon])
    await assert.rejects(open('app', lost), {
      code: 'engine',
      message: /Cannot connect to the Docker daemon.*DOCKER_HOST/s,
    });
  await assert.rejects(createDaemon(`app@sha256:${'a'.repeat(64)}`, options), {
    code: 'reference',
  });
});

test.run();
