import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { suite } from 'uvu';
import { type ArchiveOptions, openArchive, spoolStdin } from './archive.ts';
import { readBlob, verifying } from './blob.ts';
import { putImage, sampleImage } from './destination.conformance.ts';
import { type Image, openImage, type Source } from './image.ts';
import { createLayout } from './layout.ts';
import { digestOf } from './oci.ts';
import { packTar, type TarItem } from './tarwriter.ts';

const test = suite('archives');
const root = await mkdtemp(join(tmpdir(), 'rechunk-archive-'));
const packages = new URL('../test-images/packages/', import.meta.url);
let count = 0;
const newDir = async (): Promise<string> => {
  const dir = join(root, `archive-${count++}`);
  await mkdir(dir);
  return dir;
};
test.after(() => rm(root, { recursive: true }));

const host = { hostPlatform: { os: 'linux', architecture: 'amd64' } };

/** Opens an image and reads every layer against its digest and diffID. */
async function readAll(source: Source): Promise<Image> {
  const image = await openImage(source, host);
  for (const { descriptor, diffId } of image.layers) {
    const bytes = await readBlob(await source.blob(descriptor), descriptor, 1 << 26, 'a layer');
    const plain =
      bytes[0] === 0x1f
        ? zlib.gunzipSync(bytes)
        : bytes[0] === 0x28
          ? zlib.zstdDecompressSync(bytes)
          : bytes;
    assert.equal(digestOf(plain), diffId);
  }
  return image;
}

async function fixture(items: readonly TarItem[], name = 'x.tar'): Promise<string> {
  const path = join(await newDir(), name);
  await writeFile(path, packTar(items));
  return path;
}

const layerA = packTar([{ path: 'a', content: 'A'.repeat(3000) }]);
const layerB = packTar([{ path: 'b', content: 'B'.repeat(5000) }]);
const hex = (bytes: Buffer): string => digestOf(bytes).slice(7);
const configOf = (...layers: Buffer[]): Buffer =>
  Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
    }),
  );
const config = configOf(layerA, layerB, layerA);
const manifestJson = (layers: string[], more: object = {}): TarItem => ({
  path: 'manifest.json',
  content: JSON.stringify([
    { Config: `${hex(config)}.json`, RepoTags: ['app:1'], Layers: layers, ...more },
  ]),
});
const configItem: TarItem = { path: `${hex(config)}.json`, content: config };

const forms: Record<string, { items: TarItem[]; sizes: number[] }> = {
  'ID/layer.tar, the manifest last': {
    items: [
      { path: 'one/layer.tar', content: layerA },
      { path: 'two/', type: 'dir' },
      { path: 'two/layer.tar', content: layerB },
      configItem,
      manifestJson(['one/layer.tar', 'two/layer.tar', 'one/layer.tar']),
      { path: 'repositories', content: '{}' },
    ],
    sizes: [layerA.length, layerB.length, layerA.length],
  },
  'HEX.tar with symlinks': {
    items: [
      manifestJson(['one/layer.tar', 'two/layer.tar', 'three.tar']),
      { path: 'one/layer.tar', type: 'symlink', link: `../${hex(layerA)}.tar` },
      { path: 'two/layer.tar', type: 'symlink', link: '../one/../hop.tar' },
      { path: 'hop.tar', type: 'symlink', link: `${hex(layerB)}.tar` },
      { path: `${hex(layerA)}.tar`, content: layerA },
      { path: `${hex(layerB)}.tar`, content: layerB },
      { path: 'three.tar', type: 'link', link: `${hex(layerA)}.tar` },
      configItem,
    ],
    sizes: [layerA.length, layerB.length, layerA.length],
  },
  'compressed layers': {
    items: [
      configItem,
      { path: 'a.tar', content: zlib.gzipSync(layerA) },
      { path: 'b.tar', content: zlib.zstdCompressSync(layerB) },
      { path: 'c.tar', content: layerA },
      manifestJson(['./a.tar', 'b.tar', 'c.tar']),
    ],
    sizes: [zlib.gzipSync(layerA).length, zlib.zstdCompressSync(layerB).length, layerA.length],
  },
};

for (const [name, { items, sizes }] of Object.entries(forms)) {
  test(`reads a Docker archive with ${name}`, async () => {
    const source = await openArchive(await fixture(items), undefined, { kind: 'docker-archive' });
    const image = await readAll(source);
    assert.deepEqual(
      image.layers.map(({ descriptor }) => descriptor.size),
      sizes,
    );
    assert.deepEqual(
      image.layers.map(({ diffId }) => diffId),
      [layerA, layerB, layerA].map(digestOf),
    );
    assert.ok(config.equals(image.configDocument.bytes));
    assert.equal(digestOf(source.root.bytes), source.root.descriptor.digest);
    assert.deepEqual(await source.referrers(source.root.descriptor.digest), []);
    await source.close();
  });
}

test('reads the Alpine and distroless archives, compressed as they are, and leaves no temporary file', async () => {
  const tempDir = await newDir();
  const cases: [string, string, string[]][] = [
    [
      'apk/alpine-3.10.4-docker.tar.gz',
      'af341ccd2df8b0e2d67cf8dd32e087bfda4e5756ebd1c76bbf3efa0dc246590e',
      ['531743b7098cb2aaf615641007a129173f63ed86ca32fe7b5a246a1c47286028'],
    ],
    [
      'dpkg/distroless-base/docker-archive-emptied.tar.gz',
      'f596dc8e127cd633105b3934586d9a3923bffa950845b6ccae349669cdc87c94',
      [
        'd92879194ba1c23b840306b007bce6568f71f0e954d63625d48504d533749e30',
        'cb3279093e638ddfd56bff4d3d89c5a3ed6dd59dbcfbc2f3107045635996b822',
      ],
    ],
  ];
  for (const [file, id, layers] of cases) {
    const path = new URL(file, packages).pathname;
    const source = await openArchive(path, undefined, { tempDir });
    assert.equal((await readdir(tempDir)).length, 1);
    const image = await readAll(source);
    assert.equal(image.configDocument.descriptor.digest, `sha256:${id}`);
    assert.deepEqual(
      image.layers.map(({ descriptor }) => descriptor.digest.slice(7)),
      layers,
    );
    await source.close();
    assert.deepEqual(await readdir(tempDir), []);
  }
});

test('tells a combined archive: an OCI layout unless a Docker archive is asked for', async () => {
  const dir = await newDir();
  const destination = await createLayout(join(dir, 'layout'), 'v1');
  const image = sampleImage(['none', 'gzip']);
  await putImage(destination, image);
  await destination.commit(image.manifest, []);
  await destination.close();
  const blob = (digest: string): string => `blobs/${digest.replace(':', '/')}`;
  const manifest = [
    {
      Config: blob(image.config.descriptor.digest),
      RepoTags: ['x:v1'],
      Layers: image.layers.map(({ descriptor }) => blob(descriptor.digest)),
    },
  ];
  await writeFile(join(dir, 'layout/manifest.json'), JSON.stringify(manifest));
  const path = join(dir, 'both.tar');
  execFileSync('tar', ['-C', join(dir, 'layout'), '-cf', path, '.']);
  for (const options of [{}, { kind: 'oci-archive' }] as ArchiveOptions[]) {
    const source = await openArchive(path, 'v1', options);
    assert.equal(
      (await readAll(source)).manifestDocument.descriptor.digest,
      image.manifest.descriptor.digest,
    );
    await source.close();
  }
  const docker = await openArchive(path, 'docker.io/library/x:v1', { kind: 'docker-archive' });
  const found = await readAll(docker);
  assert.deepEqual(
    found.layers.map(({ descriptor }) => descriptor),
    image.layers.map(({ descriptor }) => descriptor),
  );
  await docker.close();
});

test('picks one of several images by tag, full name or position', async () => {
  const other = configOf(layerB);
  const images = [
    {
      Config: `${hex(config)}.json`,
      RepoTags: ['app:1', 'quay.io/app:x'],
      Layers: ['a', 'b', 'a'],
    },
    { Config: `${hex(other)}.json`, RepoTags: null, Layers: ['b'] },
  ];
  const path = await fixture([
    { path: 'a', content: layerA },
    { path: 'b', content: layerB },
    configItem,
    { path: `${hex(other)}.json`, content: other },
    { path: 'manifest.json', content: JSON.stringify(images) },
  ]);
  const idOf = async (ref?: string): Promise<string> => {
    const source = await openArchive(path, ref, { kind: 'docker-archive' });
    return (await readAll(source)).configDocument.descriptor.digest;
  };
  for (const ref of ['app:1', 'docker.io/library/app:1', 'quay.io/app:x', '@0']) {
    assert.equal(await idOf(ref), digestOf(config), ref);
  }
  assert.equal(await idOf('@1'), digestOf(other));
  await assert.rejects(idOf(), {
    code: 'reference',
    message: /app:1 = quay\.io\/app:x, untagged /,
  });
  for (const ref of ['app', '@2', 'app:2']) await assert.rejects(idOf(ref), { code: 'not-found' });
});

test('refuses broken Docker archives, each with its own reason', async () => {
  const layers: TarItem[] = [
    { path: 'a', content: layerA },
    { path: 'b', content: layerB },
  ];
  const good = manifestJson(['a', 'b', 'a']);
  const cases: [string, TarItem[], string][] = [
    [
      'from before Docker 1.10',
      [
        { path: 'repositories', content: '{}' },
        { path: 'x/layer.tar', content: layerA },
      ],
      'unsupported',
    ],
    ['nothing known', layers, 'unsupported'],
    ['garbage', [...layers, configItem, { path: 'manifest.json', content: '[{' }], 'manifest'],
    ['no list', [...layers, configItem, { path: 'manifest.json', content: '{}' }], 'manifest'],
    ['no images', [...layers, configItem, { path: 'manifest.json', content: '[]' }], 'not-found'],
    ['missing config', [...layers, good], 'not-found'],
    [
      'changed config',
      [...layers, good, { path: configItem.path, content: `${config} ` }],
      'digest-mismatch',
    ],
    ['missing layer', [...layers.slice(1), configItem, good], 'not-found'],
    ['too few layers', [...layers, configItem, manifestJson(['a', 'b'])], 'manifest'],
    [
      'link out',
      [{ path: 'a', type: 'symlink', link: '../../etc/passwd' }, configItem, good],
      'path',
    ],
    [
      'absolute link',
      [{ path: 'a', type: 'symlink', link: '/etc/passwd' }, configItem, good],
      'path',
    ],
    [
      'link loop',
      [
        { path: 'a', type: 'symlink', link: 'b' },
        { path: 'b', type: 'symlink', link: 'a' },
        configItem,
        good,
      ],
      'path',
    ],
    ['name out', [...layers, configItem, manifestJson(['../a', 'b', 'a'])], 'not-found'],
    [
      'xz layer',
      [
        { path: 'a', content: Buffer.from('\xfd7zXZ\0----------', 'latin1') },
        ...layers.slice(1),
        configItem,
        good,
      ],
      'unsupported',
    ],
  ];
  for (const [name, items, code] of cases) {
    await assert.rejects(openArchive(await fixture(items)), { code }, name);
  }
  await assert.rejects(
    openArchive(await fixture([...layers, configItem, good]), undefined, { kind: 'oci-archive' }),
    { code: 'not-found' },
  );
});

test('refuses a cut archive, a changed layer, and what is no archive', async () => {
  const items = forms['ID/layer.tar, the manifest last']?.items ?? [];
  const whole = packTar(items);
  const dir = await newDir();
  const path = join(dir, 'x.tar');
  await writeFile(path, whole.subarray(0, 5000));
  await assert.rejects(openArchive(path), { code: 'tar' });
  const changed = Buffer.from(whole);
  changed[512 + 600] = 1;
  await writeFile(path, changed);
  await assert.rejects(openArchive(path).then(readAll), { code: 'digest-mismatch' });
  await writeFile(path, zlib.gzipSync(whole).subarray(0, 200));
  await assert.rejects(openArchive(path, undefined, { tempDir: dir }), { code: 'compression' });
  await writeFile(path, 'this is no archive, it is a text');
  await assert.rejects(openArchive(path), { name: 'RechunkError' });
  await writeFile(path, '');
  await assert.rejects(openArchive(path), { name: 'RechunkError' });
  await assert.rejects(openArchive(dir), { code: 'unsupported' });
  await assert.rejects(openArchive(join(dir, 'nope')), { code: 'not-found' });
  assert.deepEqual(await readdir(dir), ['x.tar']);
});

test('reads from a pipe and from a stream, compressed or not', async () => {
  const dir = await newDir();
  const plain = await fixture(forms['compressed layers']?.items ?? []);
  const zstd = join(dir, 'x.tar.zst');
  await writeFile(zstd, zlib.zstdCompressSync(await readFile(plain)));
  for (const path of [plain, zstd]) {
    const spooled = await spoolStdin(createReadStream(path), dir);
    const source = await openArchive(spooled.path);
    await readAll(source);
    await source.close();
    assert.equal((await stat(spooled.path)).mode & 0o777, 0o600);
    await spooled.remove();
  }
  const fifo = join(dir, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const writer = writeFile(fifo, await readFile(plain));
  const source = await openArchive(fifo, undefined, { tempDir: dir });
  await writer;
  await readAll(source);
  await source.close();
  assert.deepEqual((await readdir(dir)).sort(), ['fifo', 'x.tar.zst']);
});

test('reads headers only: an archive of a large layer opens at once', async () => {
  const dir = await newDir();
  const size = 3 * 2 ** 30;
  const big = join(dir, 'big');
  execFileSync('truncate', ['-s', String(size), big]);
  await writeFile(join(dir, 'manifest.json'), JSON.stringify([{ Config: 'c', Layers: ['big'] }]));
  await writeFile(
    join(dir, 'c'),
    JSON.stringify({
      os: 'linux',
      architecture: 'amd64',
      rootfs: { type: 'layers', diff_ids: [digestOf('x')] },
    }),
  );
  // GNU tar writes the header; the content is a hole of the archive file itself
  const header = spawnSync(
    'sh',
    [
      '-c',
      `tar -C ${dir} -cf - c manifest.json | head -c 2048; tar -C ${dir} -cf - big | head -c 512`,
    ],
    { maxBuffer: 1 << 20 },
  ).stdout;
  const path = join(dir, 'x.tar');
  await writeFile(path, header);
  execFileSync('truncate', ['-s', String(header.length + size + 1024), path]);
  const started = performance.now();
  const source = await openArchive(path);
  const image = await openImage(source, host);
  assert.equal(image.layers[0]?.descriptor.size, size);
  const stream = (await source.blob(image.layers[0]?.descriptor ?? assert.fail())).file;
  assert.deepEqual(stream, { path, offset: header.length, size });
  assert.ok(performance.now() - started < 2000);
  await source.close();
});

test('an archive of more members than any image has is refused before it fills the memory', async () => {
  const one = packTar([{ path: 'm' }]).subarray(0, 512);
  const file = join(await mkdtemp(join(root, 'many-')), 'x.tar');
  await writeFile(file, Buffer.concat(Array.from({ length: 100_001 }, () => one)));
  await assert.rejects(openArchive(file), { code: 'limit', message: /more than 100000 entries/ });
});

test('a reader that checks sees a lying size', async () => {
  const { items } = forms['compressed layers'] ?? assert.fail();
  const source = await openArchive(await fixture(items));
  const image = await openImage(source, host);
  const { descriptor } = image.layers[0] ?? assert.fail();
  const lying = { ...descriptor, size: descriptor.size + 1 };
  await assert.rejects(
    async () => {
      for await (const _ of verifying((await source.blob(descriptor)).stream(), lying, 'x'));
    },
    { code: 'size-mismatch' },
  );
});

test.run();
