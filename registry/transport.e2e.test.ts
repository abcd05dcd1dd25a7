// needs: root, skopeo, umoci, podman, docker-registry
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { startRegistry } from '../test-images/registry.ts';
import { decompress, readBlob } from './blob.ts';
import { createCompressor, layerMediaType } from './compress.ts';
import { type Image, openImage } from './image.ts';
import { type Descriptor, type Digest, digestOf, MEDIA } from './oci.ts';
import { packTar } from './tarwriter.ts';
import { openDestination, openSource } from './transport.ts';

const root = await mkdtemp(join(tmpdir(), 'rechunk-transport-'));
test.after(() => rm(root, { recursive: true }));
const alpine = new URL('../test-images/packages/apk/alpine-3.11.5-docker.tar.gz', import.meta.url)
  .pathname;
const host = { hostPlatform: { os: 'linux', architecture: 'amd64' } };
const env = { ...process.env, LC_ALL: 'C' };

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 28,
  });
}

/** Copies an image as it is, with nothing but Source and Destination. */
async function copy(from: string, to: string, tags: readonly string[] = []): Promise<Image> {
  const source = await openSource(from);
  const destination = await openDestination(to);
  try {
    const image = await openImage(source, host);
    for (const { descriptor } of image.layers) {
      if (!(await destination.has(descriptor))) {
        await destination.putBlob(descriptor, await source.blob(descriptor));
      }
    }
    await destination.putBytes(image.configDocument.descriptor, image.configDocument.bytes);
    await destination.commit(image.manifestDocument, tags);
    return image;
  } finally {
    await destination.close();
    await source.close();
  }
}

/** What an image is, however it is stored: its config's digest, and the digests of its layers' content. */
async function contentOf(reference: string): Promise<{ config: Digest; layers: Digest[] }> {
  const source = await openSource(reference);
  try {
    const image = await openImage(source, host);
    const layers: Digest[] = [];
    for (const { descriptor } of image.layers) {
      const bytes = await readBlob(await source.blob(descriptor), descriptor, 1 << 28, 'a layer');
      const plain: Buffer[] = [];
      for await (const chunk of decompress(single(bytes))) plain.push(chunk);
      layers.push(digestOf(Buffer.concat(plain)));
    }
    assert.deepEqual(
      layers,
      image.layers.map(({ diffId }) => diffId),
    );
    return { config: image.configDocument.descriptor.digest, layers };
  } finally {
    await source.close();
  }
}

function describe(mediaType: string, bytes: Buffer): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

async function* single(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

const want = await contentOf(`docker-archive:${alpine}`);

/** The content of what skopeo makes of an image, in its plainest form. */
async function throughSkopeo(reference: string): Promise<{ config: Digest; layers: Digest[] }> {
  const dir = await mkdtemp(join(root, 'skopeo-'));
  run('skopeo', 'copy', '-q', reference, `oci:${dir}/l:x`);
  return contentOf(`oci:${dir}/l:x`);
}

for (const [name, to] of [
  ['a layout', `oci:${root}/out:v1`],
  ['a layout under a full name', `oci:${root}/out:localhost/app:v1`],
  ['an OCI archive', `oci-archive:${root}/out.oci.tar:v1`],
  ['a Docker archive', `docker-archive:${root}/out.docker.tar:app:v1`],
] as const) {
  test(`skopeo inspects and copies ${name} that we write, and we read it back`, async () => {
    await copy(`docker-archive:${alpine}`, to);
    assert.deepEqual(await contentOf(to), want);
    assert.equal(digestOf(run('skopeo', 'inspect', '--config', '--raw', to)), want.config);
    const copied = await throughSkopeo(to);
    // skopeo rewrites the config of a Docker archive
    assert.deepEqual(copied, to.startsWith('docker-') ? { ...want, config: copied.config } : want);
  });
}

test('we read what skopeo writes, in each form', async () => {
  const archive = join(root, 'plain.tar');
  execFileSync('sh', ['-c', `gunzip -c '${alpine}' > '${archive}'`]);
  for (const form of [
    'oci:sk-oci:x',
    'oci-archive:sk-oci.tar:x',
    'docker-archive:sk-docker.tar:app:x',
  ]) {
    const to = form.replace(':sk', `:${root}/sk`);
    run('skopeo', 'copy', '-q', `docker-archive:${archive}`, to);
    const found = await contentOf(to);
    assert.deepEqual(found.layers, want.layers, form);
  }
  run(
    'skopeo',
    'copy',
    '-q',
    '--dest-compress-format',
    'zstd',
    '--dest-compress',
    `docker-archive:${archive}`,
    `oci:${root}/sk-zstd:x`,
  );
  const source = await openSource(`oci:${root}/sk-zstd:x`);
  const image = await openImage(source, host);
  assert.deepEqual(
    image.layers.map(({ descriptor }) => descriptor.mediaType),
    [layerMediaType('zstd')],
  );
  assert.deepEqual((await contentOf(`oci:${root}/sk-zstd:x`)).layers, want.layers);
});

test('skopeo decompresses layers of several frames or blocks that we compress to their diffIDs', async () => {
  const noise = Buffer.from('a line that is like no other: '.repeat(700_000)); // 21 MB: three zstd frames
  for (let at = 0; at < noise.length; at += 97) noise[at] = Math.imul(at, 2654435761) >>> 24;
  const tar = packTar([{ path: 'file', content: noise }]);
  for (const compression of ['zstd', 'gzip'] as const) {
    const chunks: Buffer[] = [];
    const write = (chunk: Buffer): void => void chunks.push(Buffer.from(chunk));
    const compressor = createCompressor(compression, undefined, { inFlight: 2, write });
    await compressor.push(tar);
    await compressor.finish();
    const rootfs = { type: 'layers', diff_ids: [digestOf(tar)] };
    const config = Buffer.from(JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs }));
    const layer = describe(layerMediaType(compression), Buffer.concat(chunks));
    const configDescriptor = describe(MEDIA.config, config);
    const manifest = { schemaVersion: 2, config: configDescriptor, layers: [layer] };
    const bytes = Buffer.from(JSON.stringify(manifest));
    const destination = await openDestination(`oci:${root}/ours:${compression}`);
    await destination.putBytes(layer, Buffer.concat(chunks));
    await destination.putBytes(configDescriptor, config);
    await destination.commit({ descriptor: describe(MEDIA.manifest, bytes), bytes }, []);
    await destination.close();
    const storage = join(root, `storage-${compression}`);
    const name = `containers-storage:[vfs@${storage}+${storage}-run]a:b`;
    run('skopeo', 'copy', '-q', `oci:${root}/ours:${compression}`, name);
    const layers = JSON.parse(run('cat', join(storage, 'vfs-layers/layers.json'))) as object[];
    const digests = layers.map((found) => (found as Record<string, unknown>)['diff-digest']);
    assert.deepEqual(digests, [digestOf(tar)], compression);
  }
});

test('podman loads our archives, and we read those that it saves', async () => {
  const storage = [
    '--root',
    join(root, 'storage'),
    '--runroot',
    join(root, 'run'),
    '--storage-driver',
    'vfs',
    '--cgroup-manager',
    'cgroupfs',
    '--events-backend',
    'file',
  ];
  const podman = (...args: string[]): string => run('podman', ...storage, ...args);
  await copy(`docker-archive:${alpine}`, `docker-archive:${root}/load.tar:localhost/loaded:1`);
  assert.match(podman('load', '-i', join(root, 'load.tar')), /localhost\/loaded:1/);
  assert.equal(
    `sha256:${podman('image', 'inspect', '--format', '{{.Id}}', 'localhost/loaded:1').trim()}`,
    want.config,
  );
  await copy(`docker-archive:${alpine}`, `oci-archive:${root}/load.oci.tar:localhost/loaded:2`);
  podman('load', '-i', join(root, 'load.oci.tar'));
  for (const format of ['oci-archive', 'docker-archive']) {
    podman(
      'save',
      '-q',
      '--format',
      format,
      '-o',
      join(root, `saved.${format}`),
      'localhost/loaded:1',
    );
    assert.deepEqual((await contentOf(`${format}:${root}/saved.${format}`)).layers, want.layers);
    assert.deepEqual(
      (await contentOf(`${format}:${root}/saved.${format}:localhost/loaded:1`)).layers,
      want.layers,
    );
  }
  podman('rmi', '-af');
});

test('umoci lists and unpacks a layout that we write', async () => {
  await copy(`docker-archive:${alpine}`, `oci:${root}/umoci:v1`, ['v2']);
  assert.deepEqual(run('umoci', 'ls', '--layout', join(root, 'umoci')).trim().split('\n').sort(), [
    'v1',
    'v2',
  ]);
  run(
    'umoci',
    'raw',
    'unpack',
    '--rootless',
    '--image',
    `${root}/umoci:v2`,
    join(root, 'unpacked'),
  );
  assert.ok((await readdir(join(root, 'unpacked'))).includes('etc'));
});

test('copies between a registry and a layout', async () => {
  const registry = await startRegistry();
  try {
    const remote = `docker://${registry.host}/alpine:3.11`;
    const sent = await copy(`docker-archive:${alpine}`, remote);
    const got = await copy(remote, `oci:${root}/pulled:x`);
    assert.equal(got.manifestDocument.descriptor.digest, sent.manifestDocument.descriptor.digest);
    assert.deepEqual(await contentOf(`${registry.host}/alpine:3.11`), want);
  } finally {
    await registry.stop();
  }
});

test('reads - as an archive from a stream, and refuses to write there', async () => {
  const tempDir = await mkdtemp(join(root, 'temp-'));
  const source = await openSource('-', { stdin: createReadStream(alpine), tempDir });
  const image = await openImage(source, host);
  assert.equal(image.configDocument.descriptor.digest, want.config);
  await source.close();
  assert.deepEqual(await readdir(tempDir), []);
  await assert.rejects(openSource('-', { stdin: createReadStream('/etc/passwd'), tempDir }), {
    name: 'RechunkError',
  });
  assert.deepEqual(await readdir(tempDir), []);
  await assert.rejects(openSource('-'), { code: 'usage' });
  await assert.rejects(openDestination('-'), { code: 'reference' });
  await assert.rejects(openDestination('rootfs:/x'), { code: 'reference' });
});

test('reads a directory tree', async () => {
  const dir = join(root, 'tree');
  await mkdir(join(dir, 'etc'), { recursive: true });
  await writeFile(join(dir, 'etc/hostname'), 'x');
  const source = await openSource(`rootfs:${dir}`, { rootfs: { hostPlatform: host.hostPlatform } });
  assert.deepEqual(
    source.tree?.entries.map(({ path }) => path),
    ['', 'etc', 'etc/hostname'],
  );
  await source.close();
});

test('a full disk is an error that says so; what was there stays, nothing else does', async () => {
  const disk = join(root, 'disk');
  await mkdir(disk);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=9m', 'tmpfs', disk], {
    encoding: 'utf8',
  });
  assert.equal(mounted.status, 0, `needs root: ${mounted.stderr}`);
  try {
    await copy(`docker-archive:${alpine}`, `oci:${disk}/l:first`); // 5.9 MB
    await cp(alpine, join(disk, 'mine')); // 2.7 MB
    const list = async (): Promise<string[]> => (await readdir(disk, { recursive: true })).sort();
    const before = await list();
    const other = alpine.replace('3.11.5', '3.10.4');
    for (const to of [
      `oci:${disk}/l:second`,
      `oci:${disk}/new/l:x`,
      `oci-archive:${disk}/x.tar:x`,
      `docker-archive:${disk}/y.tar:x`,
    ]) {
      await assert.rejects(
        copy(`docker-archive:${other}`, to),
        { code: 'io', message: /ENOSPC/ },
        to,
      );
      assert.deepEqual(await list(), before, to);
    }
    const source = openSource(`docker-archive:${alpine}`, { tempDir: disk });
    await assert.rejects(source, { code: 'io', message: /ENOSPC/ });
    assert.deepEqual(await list(), before);
    assert.deepEqual(await contentOf(`oci:${disk}/l:first`), want);
  } finally {
    run('umount', disk);
  }
});

test('packing an archive onto a full disk leaves the old one', async () => {
  const disk = join(root, 'disk2');
  await mkdir(disk);
  run('mount', '-t', 'tmpfs', '-o', 'size=10m', 'tmpfs', disk);
  try {
    const path = join(disk, 'x.tar');
    await writeFile(path, 'old');
    // the layers fit, but not the layers and the archive
    await assert.rejects(copy(`docker-archive:${alpine}`, `oci-archive:${path}:x`), {
      code: 'io',
      message: /ENOSPC/,
    });
    assert.deepEqual(await readdir(disk), ['x.tar']);
    assert.equal(run('cat', path), 'old');
  } finally {
    run('umount', disk);
  }
});

test.run();
