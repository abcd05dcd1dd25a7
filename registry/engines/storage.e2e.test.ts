// needs: skopeo, podman, buildah, mmdebstrap, root
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import { command, output } from '../../test-images/command.ts';
import { openSandbox } from '../../test-images/runtimes/sandbox.ts';
import { suiteRoot } from '../../test-images/runtimes/suite.ts';
import { readBlob } from '../blob.ts';
import { putImage, sampleImage, testDestination } from '../destination.conformance.ts';
import { openImage, openImageSet, type Source } from '../image.ts';
import { openLayout } from '../layout.ts';
import { type Digest, digestOf } from '../oci.ts';
import type { EngineOptions } from './engine.ts';
import { createStorage, openStorage } from './storage.ts';

const test = suite('containers-storage');
const root = await mkdtemp('/var/tmp/rechunk-storage-');
const host = { hostPlatform: { os: 'linux', architecture: 'amd64' } };
let count = 0;
test.after(() => rm(root, { recursive: true, force: true, maxRetries: 3 }));

const trixie = await suiteRoot('trixie');
const sandbox = await openSandbox(join(root, 'trixie'), { root: trixie });
test.after(() => sandbox.close());

/** A directory whose one program is `name`: of this machine, or of Debian 13. */
async function binOf(release: 'bookworm' | 'trixie', name: string): Promise<string> {
  const bin = join(release === 'trixie' ? sandbox.dir : root, `bin-${name}`);
  await mkdir(bin);
  if (release === 'trixie') await sandbox.wrap(name, join(bin, name));
  else await symlink(`/usr/bin/${name}`, join(bin, name));
  return bin;
}

/** A storage of its own, and what its tools need to find it. */
interface Store {
  readonly dir: string;
  readonly options: EngineOptions & { readonly env: Record<string, string> };
  /** Runs a tool of this machine on the storage. */
  run(program: string, ...parameters: string[]): Promise<string>;
  close(): Promise<void>;
}

async function newStore(bin: string, parent = root): Promise<Store> {
  const dir = join(parent, `store-${count++}`);
  await mkdir(join(dir, 'tmp'), { recursive: true });
  const config = `[storage]\ndriver = "vfs"\ngraphroot = "${dir}/storage"\nrunroot = "${dir}/run"\n`;
  await writeFile(join(dir, 'storage.conf'), config);
  const env = {
    PATH: bin,
    CONTAINERS_STORAGE_CONF: join(dir, 'storage.conf'),
    PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
  };
  const { PATH: _, ...shared } = env;
  return {
    dir,
    options: { env, tempDir: join(dir, 'tmp') },
    run: (program, ...parameters) => output(program, parameters, { env: shared }),
    close: () => rm(dir, { recursive: true, force: true, maxRetries: 3 }),
  };
}

const skopeo = await binOf('bookworm', 'skopeo');
const tools: [string, string, string][] = [
  ['skopeo 1.9', skopeo, root],
  ['podman 4.3', await binOf('bookworm', 'podman'), root],
  ['buildah 1.28', await binOf('bookworm', 'buildah'), root],
  ['skopeo 1.18', await binOf('trixie', 'skopeo'), sandbox.dir],
  ['podman 5.4', await binOf('trixie', 'podman'), sandbox.dir],
];

for (const [name, bin, parent] of tools) {
  testDestination(
    `containers-storage by ${name}`,
    async () => {
      const { dir, options, close } = await newStore(bin, parent);
      return {
        open: (tag) => createStorage({ name: `localhost/app:${tag}` }, options),
        reopen: (tag) => openStorage({ name: `localhost/app:${tag}` }, options),
        list: () => readdir(join(dir, 'tmp')),
        remove: close,
      };
    },
    { keepsManifests: false },
  );
}

/** The digests of all layers, each read and checked. */
async function layersOf(source: Source): Promise<Digest[]> {
  const image = await openImage(source, host);
  for (const { descriptor } of image.layers) {
    await readBlob(await source.blob(descriptor), descriptor, 1 << 24, 'a layer');
  }
  return image.layers.map(({ descriptor }) => descriptor.digest);
}

/** Builds `lines` by buildah. */
async function build(store: Store, name: string, lines: string[], ...flags: string[]) {
  const context = join(root, `context-${count++}`);
  await mkdir(context);
  await writeFile(join(context, 'file'), name);
  await writeFile(join(context, 'Containerfile'), lines.join('\n'));
  await store.run('buildah', 'build', '-q', ...flags, '-t', name, context);
}

const LINES = ['FROM scratch', 'COPY file /file', 'LABEL a=b', 'HEALTHCHECK CMD true'];

for (const [name, bin, parent] of tools.slice(0, 3)) {
  test(`${name} gives what buildah built as it is, in either format`, async () => {
    const store = await newStore(bin, parent);
    for (const format of ['docker', 'oci']) {
      await build(store, `localhost/${format}:1`, LINES, '--format', format);
      const source = await openStorage({ name: `localhost/${format}:1` }, store.options);
      const raw = await store
        .run('skopeo', 'inspect', '--raw', `containers-storage:${format}:1`)
        .catch(() =>
          store.run('skopeo', 'inspect', '--raw', `containers-storage:localhost/${format}:1`),
        );
      assert.equal(Buffer.from(source.root.bytes).toString(), raw);
      const image = await openImage(source, host);
      assert.equal(image.config.config?.Labels?.['a'], 'b');
      const { Healthcheck } = image.config.config as { Healthcheck?: object };
      assert.equal(Healthcheck !== undefined, format === 'docker');
      assert.deepEqual(
        await layersOf(source),
        image.layers.map(({ diffId }) => diffId),
      );
      await source.close();
      assert.deepEqual(await readdir(join(store.dir, 'tmp')), []);
    }
    await store.close();
  });

  test(`${name} gives a list of images whole`, async () => {
    const store = await newStore(bin, parent);
    const lists = name.startsWith('skopeo')
      ? await binOf('bookworm', 'podman').catch(() => bin)
      : bin;
    const env = { ...store.options.env, PATH: `${bin}:${join(root, 'bin-podman')}:${lists}` };
    for (const architecture of ['amd64', 'arm64']) {
      await build(
        store,
        'localhost/one:1',
        LINES,
        '--arch',
        architecture,
        '--manifest',
        'localhost/list:1',
      );
    }
    const source = await openStorage({ name: 'localhost/list:1' }, { ...store.options, env });
    const set = await openImageSet(source);
    assert.deepEqual(
      set?.members.map(({ image }) => image?.platform.architecture),
      ['amd64', 'arm64'],
    );
    await source.close();
    await store.close();
  });
}

test('layers that came compressed come out uncompressed, and are not read before they are wanted', async () => {
  const store = await newStore(skopeo);
  await build(store, 'localhost/app:1', LINES);
  await store.run('buildah', 'push', '-q', 'localhost/app:1', `oci:${store.dir}/gzip:1`);
  await store.run(
    'skopeo',
    'copy',
    '-q',
    `oci:${store.dir}/gzip:1`,
    'containers-storage:localhost/gzip:1',
  );
  const gzip = await openStorage({ name: 'localhost/gzip:1' }, store.options);
  await build(store, 'localhost/other:1', LINES);
  const plain = await openStorage({ name: 'localhost/other:1' }, store.options);
  const [one, other] = [await openImage(gzip, host), await openImage(plain, host)];
  for (const image of [one, other]) {
    assert.deepEqual(
      image.layers.map(({ descriptor }) => descriptor.digest),
      image.layers.map(({ diffId }) => diffId),
    );
  }
  // What was compressed had to be taken out to say what it is, the other was not yet.
  assert.equal((await readdir(join(store.dir, 'tmp'))).length, 1);
  await layersOf(gzip);
  await layersOf(plain);
  await gzip.close();
  await plain.close();
  assert.deepEqual(await readdir(join(store.dir, 'tmp')), []);
  await store.close();
});

for (const [name, bin, parent] of tools.filter(([one]) => !one.startsWith('buildah'))) {
  test(`${name} is not handed layers that the image of that name has, wherever they come to lie`, async () => {
    const store = await newStore(bin, parent);
    const reference = { name: 'localhost/app:1' };
    const first = sampleImage(['none', 'none', 'none']);
    const one = await createStorage(reference, store.options);
    await putImage(one, first);
    await one.commit(first.manifest, []);
    await one.close();
    const fresh = sampleImage(['none']).layers[0] ?? assert.fail();
    const [a, b, c] = first.layers;
    const order = [c, fresh, a, b].map((layer) => layer ?? assert.fail());
    const config = Buffer.from(
      JSON.stringify({
        ...JSON.parse(String(Buffer.from(first.config.bytes))),
        rootfs: { type: 'layers', diff_ids: order.map(({ descriptor }) => descriptor.digest) },
        history: order.map(() => ({ created_by: 'a test' })),
      }),
    );
    const configDescriptor = {
      ...first.config.descriptor,
      digest: digestOf(config),
      size: config.length,
    };
    const manifest = Buffer.from(
      JSON.stringify({
        ...JSON.parse(String(Buffer.from(first.manifest.bytes))),
        config: configDescriptor,
        layers: order.map(({ descriptor }) => descriptor),
      }),
    );
    const two = await createStorage(reference, store.options);
    for (const layer of [a, b, c]) assert.ok(await two.has((layer ?? assert.fail()).descriptor));
    assert.equal(await two.has(fresh.descriptor), false);
    const old = await two.read((b ?? assert.fail()).descriptor);
    assert.ok(
      (await readBlob(old, (b ?? assert.fail()).descriptor, 1 << 24, 'b')).equals(
        (b ?? assert.fail()).bytes,
      ),
    );
    await two.putBytes(fresh.descriptor, fresh.bytes);
    await two.putBytes(configDescriptor, config);
    const descriptor = {
      ...first.manifest.descriptor,
      digest: digestOf(manifest),
      size: manifest.length,
    };
    await two.commit({ descriptor, bytes: manifest }, ['2']);
    await two.close();
    for (const tag of ['1', '2']) {
      const source = await openStorage({ name: `localhost/app:${tag}` }, store.options);
      assert.deepEqual(
        await layersOf(source),
        order.map((layer) => layer.descriptor.digest),
      );
      await source.close();
    }
    assert.deepEqual(await readdir(join(store.dir, 'tmp')), []);
    await store.close();
  });
}

test('a storage can be named in brackets, for each tool, and an image by its id', async () => {
  for (const [, bin] of tools.slice(0, 3)) {
    const store = await newStore(bin);
    const { CONTAINERS_STORAGE_CONF: _, ...env } = store.options.env;
    const options = { ...store.options, env };
    const named = { store: `vfs@${store.dir}/other+${store.dir}/otherrun`, name: 'app:1' };
    const image = sampleImage(['none']);
    const destination = await createStorage(named, options);
    await putImage(destination, image);
    await destination.commit(image.manifest, ['localhost/b:2']);
    await destination.close();
    const flags = ['--root', `${store.dir}/other`, '--runroot', `${store.dir}/otherrun`];
    const listed = await output('podman', [
      ...flags,
      '--storage-driver',
      'vfs',
      'images',
      '--format',
      '{{.Repository}}:{{.Tag}}',
    ]);
    assert.deepEqual(listed.split('\n').sort(), ['docker.io/library/app:1', 'localhost/b:2']);
    const id = image.config.descriptor.digest.slice('sha256:'.length);
    const source = await openStorage({ ...named, name: `@${id}` }, options);
    assert.deepEqual(
      await layersOf(source),
      image.layers.map(({ descriptor }) => descriptor.digest),
    );
    await source.close();
    await store.close();
  }
});

test('says which tools are wanted where there is none, and what a tool says where it fails', async () => {
  const empty = { env: { PATH: '/nowhere' } };
  await assert.rejects(openStorage({ name: 'app' }, empty), {
    code: 'engine',
    message:
      /^reading containers-storage:app: none of skopeo, podman and buildah is installed \(PATH is \/nowhere\); install one of them, or .*oci-archive:FILE$/,
  });
  await assert.rejects(createStorage({ name: 'app' }, empty), {
    code: 'engine',
    message: /^writing to containers-storage:app: none/,
  });
  await assert.rejects(createStorage({ name: `app@${'a'.repeat(64)}` }, empty), {
    code: 'reference',
  });
  for (const [, bin] of tools.slice(0, 3)) {
    const store = await newStore(bin);
    await assert.rejects(openStorage({ name: 'localhost/no:1' }, store.options), {
      code: 'not-found',
      message:
        /^reading containers-storage:localhost\/no:1: .*root and every other user have a storage/,
    });
    await writeFile(
      join(store.dir, 'storage.conf'),
      '[storage]\ndriver = "nonsense"\ngraphroot = "/tmp/x"\nrunroot = "/tmp/y"\n',
    );
    await assert.rejects(openStorage({ name: 'localhost/no:1' }, store.options), {
      code: 'engine',
      message: /nonsense|not supported|driver/,
    });
    assert.deepEqual(await readdir(join(store.dir, 'tmp')), []);
    await store.close();
  }
});

test('an image whose layer is gone from the storage before the commit is refused, and nothing is tagged', async () => {
  const store = await newStore(skopeo);
  const image = sampleImage(['none', 'none']);
  const one = await createStorage({ name: 'localhost/app:1' }, store.options);
  await putImage(one, image);
  await one.commit(image.manifest, []);
  await one.close();
  const two = await createStorage({ name: 'localhost/app:1' }, store.options);
  assert.ok(await two.has((image.layers[0] ?? assert.fail()).descriptor));
  await store.run('podman', 'rmi', '-f', 'localhost/app:1');
  await two.putBytes(image.config.descriptor, image.config.bytes);
  await assert.rejects(two.commit(image.manifest, []), { code: 'engine', message: /no such file/ });
  await two.close();
  assert.equal(await store.run('podman', 'images', '-q'), '');
  assert.deepEqual(await readdir(join(store.dir, 'tmp')), []);
  await store.close();
});

test('a layout is the same from the storage as from its own files', async () => {
  const store = await newStore(skopeo);
  await build(store, 'localhost/app:1', LINES);
  await command(
    'skopeo',
    ['copy', '-q', 'containers-storage:localhost/app:1', `oci:${store.dir}/l:1`],
    {
      env: { CONTAINERS_STORAGE_CONF: store.options.env['CONTAINERS_STORAGE_CONF'] ?? '' },
    },
  );
  const [stored, layout] = [
    await openStorage({ name: 'localhost/app:1' }, store.options),
    await openLayout(`${store.dir}/l`, '1'),
  ];
  const [a, b] = [await openImage(stored, host), await openImage(layout, host)];
  assert.deepEqual(a.config, b.config);
  await stored.close();
  await store.close();
});

test.run();
