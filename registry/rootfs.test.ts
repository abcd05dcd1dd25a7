import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { RechunkError } from './errors.ts';
import { type Image, openImage } from './image.ts';
import { parseConfigFile } from './inspect.ts';
import { digestOf, parsePlatform } from './oci.ts';
import { NO_BLOB, openRootfs, type RootfsOptions } from './rootfs.ts';

const directory = mkdtempSync(join(tmpdir(), 'rechunk-rootfs-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const root = join(directory, 'root');
mkdirSync(join(root, 'bin'), { recursive: true });
writeFileSync(join(root, 'bin/sh'), 'sh');

const hostPlatform = parsePlatform('linux/riscv64');

function open(config?: unknown, more: RootfsOptions = {}): Promise<Image> {
  const configFile = join(directory, 'config.json');
  if (config !== undefined) writeFileSync(configFile, JSON.stringify(config));
  const options = { xattrs: 'none', hostPlatform, ...more } as const;
  return openRootfs(root, config === undefined ? options : { ...options, configFile }).then(
    (source) => openImage(source, { hostPlatform }),
  );
}

async function failure(work: Promise<unknown>): Promise<RechunkError> {
  const error = await work.then(
    () => undefined,
    (reason) => reason,
  );
  assert(error instanceof RechunkError, `got ${error}, want a RechunkError`);
  return error;
}

const RAW = {
  created: '2026-01-02T03:04:05Z',
  author: 'someone',
  architecture: 'arm64',
  os: 'linux',
  variant: 'v8',
  config: {
    Cmd: ['sh'],
    Labels: { a: 'b' },
    Healthcheck: { Test: ['CMD', 'true'] },
    New: { x: 1 },
  },
  rootfs: { type: 'layers', diff_ids: [digestOf('old'), digestOf('older')] },
  history: [{ created_by: 'one' }, { created_by: 'CMD', empty_layer: true }, { created_by: 'two' }],
  'vendor.field': true,
};

const RUNTIME = {
  Cmd: ['sh'],
  Env: ['A=b'],
  Entrypoint: null,
  Hostname: '',
  StopSignal: 'SIGTERM',
};

const DOCKER = {
  Id: digestOf('id'),
  RepoTags: ['debian:12'],
  Parent: '',
  Comment: 'buildkit.dockerfile.v0',
  Created: '2026-01-02T03:04:05.123456789Z',
  DockerVersion: '',
  Author: '',
  Config: RUNTIME,
  Architecture: 'arm64',
  Variant: 'v8',
  Os: 'linux',
  Size: 1,
  GraphDriver: { Name: 'overlay2' },
  RootFS: { Type: 'layers', Layers: [digestOf('old')] },
  Metadata: { LastTagTime: '0001-01-01T00:00:00Z' },
};

const PODMAN = {
  Id: 'ab',
  Digest: digestOf('digest'),
  Created: '2026-01-02T03:04:05Z',
  Config: { Cmd: ['sh'] },
  Author: 'someone',
  Architecture: 'amd64',
  Os: 'linux',
  RootFS: { Type: 'layers', Layers: [digestOf('old')] },
  Labels: { a: 'b' },
  Annotations: { 'org.opencontainers.image.base.name': 'docker.io/library/debian:12' },
  User: '1000',
  History: [
    { created: '2026-01-02T03:04:05Z', created_by: 'ADD' },
    { created_by: 'CMD', empty_layer: true },
  ],
  Healthcheck: { Test: ['CMD', 'true'], Interval: 30_000_000_000 },
};

test('without a config there is one image of one layer for the host, and a notice', async () => {
  const image = await open();
  assert.deepEqual(JSON.parse(Buffer.from(image.configDocument.bytes).toString()), {
    config: {},
    rootfs: { type: 'layers', diff_ids: [NO_BLOB] },
    os: 'linux',
    architecture: 'riscv64',
  });
  assert.equal(image.layers.length, 1);
  assert.equal(image.layers[0]?.diffId, digestOf(''));
  assert.deepEqual(
    image.source.tree?.entries.map(({ type, path, size }) => [type, path, size]),
    [
      ['dir', '', 0],
      ['dir', 'bin', 0],
      ['file', 'bin/sh', 2],
    ],
  );
  assert.equal(image.source.warnings?.length, 3);
  assert.match(image.source.warnings?.[0] ?? '', /^no --config was given/);
});

test('manifest and config have the digests that name them, the same each time', async () => {
  const [one, two] = [await open(RAW), await open(RAW)];
  assert.equal(digestOf(one.manifestDocument.bytes), one.manifestDocument.descriptor.digest);
  assert.equal(digestOf(one.configDocument.bytes), one.manifest.config.digest);
  assert.deepEqual(one.manifestDocument, two.manifestDocument);
});

test('a raw config is kept, unknown fields too; only its layers are replaced', async () => {
  const { config, platform } = await open(RAW);
  assert.deepEqual(config, { ...RAW, rootfs: { type: 'layers', diff_ids: [NO_BLOB] } });
  assert.deepEqual(platform, { os: 'linux', architecture: 'arm64', variant: 'v8' });
});

test('docker inspect of one image is mapped, what describes storage is left out', async () => {
  assert.deepEqual((await open([DOCKER])).config, {
    created: DOCKER.Created,
    architecture: 'arm64',
    variant: 'v8',
    os: 'linux',
    comment: 'buildkit.dockerfile.v0',
    config: RUNTIME,
    rootfs: { type: 'layers', diff_ids: [NO_BLOB] },
  });
});

test('podman inspect keeps history, the health check beside the config, and annotations', async () => {
  const { config, manifest } = await open(PODMAN);
  assert.deepEqual(config.history, PODMAN.History);
  assert.deepEqual(config.config, { Cmd: ['sh'], Healthcheck: PODMAN.Healthcheck });
  assert.deepEqual(manifest.annotations, PODMAN.Annotations);
});

test('buildah inspect of an image gives the config as the image has it, and annotations', async () => {
  const raw = { ...RAW, config: { ...RAW.config, Shell: ['/bin/ash'] } };
  const inspected = {
    Type: 'buildah 0.0.1',
    FromImage: 'localhost/x:latest',
    Config: JSON.stringify(raw),
    Container: '',
    ImageAnnotations: { 'org.example.a': '1' },
    OCIv1: { architecture: 'arm64', os: 'linux', config: { Cmd: ['known'] } },
    Docker: {},
  };
  const { config, manifest } = await open(inspected);
  assert.deepEqual(config, { ...raw, rootfs: { type: 'layers', diff_ids: [NO_BLOB] } });
  assert.deepEqual(manifest.annotations, inspected.ImageAnnotations);
});

test('buildah inspect of a working container gives the config that a commit would have', async () => {
  const { config } = await open({
    Config: JSON.stringify(RAW),
    Container: 'x-working-container',
    ImageAnnotations: null,
    OCIv1: { architecture: 'arm64', os: 'linux', config: { Cmd: ['known'] } },
  });
  assert.deepEqual(config.config, { Cmd: ['known'] });
});

test('several images, containers, manifests and other files are refused with what is wanted', async () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [[DOCKER, PODMAN], /describes 2 images, want one$/],
    [[], /describes 0 images, want one$/],
    [
      [{ Id: 'ab', State: { Status: 'running' }, Config: RUNTIME }],
      /describes a container, want an image/,
    ],
    [{ schemaVersion: 2, layers: [] }, /is a manifest, want the image config/],
    [{ Name: 'x' }, /is neither an image config nor an inspected image$/],
    ['text', /is no JSON object/],
  ];
  for (const [json, message] of cases) {
    const error = await failure(open(json));
    assert.equal(error.code, 'usage');
    assert.match(error.message, message);
    assert.match(error.message, /^reading rootfs:/);
  }
  assert.throws(() => parseConfigFile(Buffer.from('{'), 'file'), /^RechunkError: file is not JSON/);
});

test('a config with wrong types is refused as an image would be', async () => {
  const error = await failure(open({ ...RAW, config: { Env: 'A=b' } }));
  assert.equal(error.code, 'manifest');
  assert.match(error.message, /config\.Env/);
});

test('a config file that is missing is not found', async () => {
  const error = await failure(openRootfs(root, { configFile: join(directory, 'absent') }));
  assert.equal(error.code, 'not-found');
});

test('there is no blob, and no document but the two', async () => {
  const { source, layers } = await open();
  const layer = layers[0]?.descriptor;
  assert(layer);
  assert.equal((await failure(source.blob(layer))).code, 'unsupported');
  assert.equal((await failure(source.document(layer))).code, 'not-found');
  assert.deepEqual(await source.referrers(layer.digest), []);
});

test('an aborted reading ends with the reason', async () => {
  const controller = new AbortController();
  const large = join(directory, 'large');
  mkdirSync(large);
  for (let i = 0; i < 6000; i++) writeFileSync(join(large, `${i}`), '');
  controller.abort(new Error('enough'));
  await assert.rejects(openRootfs(large, { xattrs: 'none', signal: controller.signal }), /enough/);
});

test.run();
