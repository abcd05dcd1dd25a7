/**
 * What every Destination must do, as tests: called by the test file of each implementation with a way to open one, to
 * read back what it holds, and to list what lies where it writes.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { suite } from 'uvu';
import { readBlob } from './blob.ts';
import { layerMediaType } from './compress.ts';
import {
  type Blob,
  type Compression,
  type Destination,
  type Document,
  openImage,
  type Source,
} from './image.ts';
import { type Descriptor, digestOf, MEDIA } from './oci.ts';
import { packTar } from './tarwriter.ts';

/** A place that a destination writes to, new for each test. */
export interface DestinationFixture {
  /** Opens the place for writing, under the tag or name `tag`. */
  open(tag: string): Promise<Destination>;
  /** Opens what was written under `tag`; throws `not-found` where there is nothing. */
  reopen(tag: string): Promise<Source>;
  /** Names of the files that are there, as far as that can be seen; [] before the first commit. */
  list(): Promise<readonly string[]>;
  remove(): Promise<void>;
}

/** What differs between implementations by design. */
export interface DestinationTraits {
  /** Whether a commit keeps what other runs stored under other tags. Default: yes. */
  readonly keepsOthers?: boolean;
  /** Whether manifests and compressed layers are read back as they were put. Default: yes. */
  readonly keepsManifests?: boolean;
  /** Whether `close` without a commit leaves nothing at all. Default: yes. */
  readonly takesBack?: boolean;
}

/** A small image with random content, so that no two are equal: one layer for each of `compressions`. */
export interface SampleImage {
  readonly layers: readonly { readonly descriptor: Descriptor; readonly bytes: Buffer }[];
  readonly config: Document;
  readonly manifest: Document;
}

function documentOf(mediaType: string, value: unknown): Document {
  const bytes = Buffer.from(JSON.stringify(value));
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
}

function compress(bytes: Buffer, compression: Compression): Buffer {
  if (compression === 'gzip') return zlib.gzipSync(bytes);
  return compression === 'zstd' ? zlib.zstdCompressSync(bytes) : bytes;
}

/** Makes a {@link SampleImage} for the platform linux/amd64. */
export function sampleImage(compressions: readonly Compression[]): SampleImage {
  const tars = compressions.map((_, i) => {
    const content = randomBytes(100_000 + i);
    return packTar([{ path: `file-${i}`, content }]);
  });
  const layers = compressions.map((compression, i) => {
    const bytes = compress(tars[i] as Buffer, compression);
    const mediaType = layerMediaType(compression);
    return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
  });
  const config = documentOf(MEDIA.config, {
    os: 'linux',
    architecture: 'amd64',
    config: { Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
    history: compressions.map(() => ({ created_by: 'a test' })),
  });
  const manifest = documentOf(MEDIA.manifest, {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    config: config.descriptor,
    layers: layers.map(({ descriptor }) => descriptor),
  });
  return { layers, config, manifest };
}

function blobOf(bytes: Buffer): Blob {
  return {
    async *stream() {
      for (let at = 0; at < bytes.length; at += 30_000) yield bytes.subarray(at, at + 30_000);
    },
  };
}

/** Stores all of an image but its manifest, each layer in the other way: as a file, as a blob, as bytes. */
export async function putImage(destination: Destination, image: SampleImage): Promise<void> {
  const spare = await mkdtemp(join(destination.directory ?? tmpdir(), 'put-'));
  const put = async ({ descriptor, bytes }: SampleImage['layers'][number], i: number) => {
    if (i % 3 === 1) return destination.putBlob(descriptor, blobOf(bytes));
    if (i % 3 === 2) return destination.putBytes(descriptor, bytes);
    const path = join(spare, `layer-${i}`);
    await writeFile(path, bytes);
    await destination.putFile(descriptor, path);
    await assert.rejects(stat(path), { code: 'ENOENT' });
  };
  await Promise.all(image.layers.map(put));
  await destination.putBytes(image.config.descriptor, image.config.bytes);
  await rm(spare, { recursive: true, force: true });
}

async function checkImage(
  source: Source,
  image: SampleImage,
  traits: DestinationTraits,
): Promise<void> {
  const opened = await openImage(source, { hostPlatform: { os: 'linux', architecture: 'amd64' } });
  assert.ok(Buffer.from(image.config.bytes).equals(opened.configDocument.bytes), 'config bytes');
  if (traits.keepsManifests !== false) {
    assert.deepEqual(opened.manifestDocument.descriptor.digest, image.manifest.descriptor.digest);
    assert.ok(Buffer.from(image.manifest.bytes).equals(opened.manifestDocument.bytes), 'manifest');
    assert.deepEqual(
      opened.layers.map(({ descriptor }) => descriptor.digest),
      image.layers.map(({ descriptor }) => descriptor.digest),
    );
  }
  for (const { descriptor, diffId } of opened.layers) {
    const bytes = await readBlob(await source.blob(descriptor), descriptor, 1 << 24, 'a layer');
    if (descriptor.digest === diffId) continue;
    assert.ok(image.layers.some((layer) => layer.bytes.equals(bytes)));
  }
  await source.close();
}

/** Defines and runs the tests for one implementation. */
export function testDestination(
  name: string,
  makeFixture: () => Promise<DestinationFixture>,
  traits: DestinationTraits = {},
): void {
  const tests = suite(`${name} as a destination`);
  const test = (title: string, run: (fixture: DestinationFixture) => Promise<void>): void => {
    tests(title, async () => {
      const fixture = await makeFixture();
      try {
        await run(fixture);
      } finally {
        await fixture.remove();
      }
    });
  };

  test('gives back what was stored, byte for byte', async ({ open, reopen }) => {
    const destination = await open('v1');
    const image = sampleImage([...destination.compressions, 'none', 'none', 'none']);
    await putImage(destination, image);
    for (const { descriptor, bytes } of image.layers) {
      assert.equal(await destination.has(descriptor), true);
      const blob = await destination.read(descriptor);
      assert.ok((await readBlob(blob, descriptor, 1 << 24, 'a layer')).equals(bytes));
    }
    await destination.commit(image.manifest, []);
    await destination.close();
    await checkImage(await reopen('v1'), image, traits);
  });

  test('shows nothing before the commit, and without one leaves nothing', async ({
    open,
    reopen,
    list,
  }) => {
    const destination = await open('v1');
    const image = sampleImage(['none', 'none']);
    await putImage(destination, image);
    await destination.putBytes(image.manifest.descriptor, image.manifest.bytes);
    await assert.rejects(reopen('v1'), { name: 'RechunkError', code: 'not-found' });
    await destination.close();
    await assert.rejects(reopen('v1'), { name: 'RechunkError', code: 'not-found' });
    if (traits.takesBack !== false) assert.deepEqual(await list(), []);
  });

  test('does not have what was not stored, or has another size', async ({ open }) => {
    const destination = await open('v1');
    const image = sampleImage(['none']);
    const { descriptor } = image.layers[0] as SampleImage['layers'][number];
    assert.equal(await destination.has(descriptor), false);
    await assert.rejects(destination.read(descriptor), { code: 'not-found' });
    await destination.close();
  });

  test('refuses bytes that are not what the descriptor states', async ({ open }) => {
    const destination = await open('v1');
    const image = sampleImage(['none']);
    const { descriptor, bytes } = image.layers[0] as SampleImage['layers'][number];
    const changed = Buffer.from(bytes);
    changed[700] = (changed[700] as number) ^ 1;
    const cases: [Buffer, RegExp][] = [
      [changed, /^digest-mismatch$/],
      [bytes.subarray(1), /^(size|digest)-mismatch$/],
      [Buffer.concat([bytes, bytes]), /^(size|digest)-mismatch$/],
    ];
    for (const [wrong, code] of cases) {
      await assert.rejects(destination.putBytes(descriptor, wrong), { code });
      await assert.rejects(destination.putBlob(descriptor, blobOf(wrong)), { code });
    }
    assert.equal(await destination.has(descriptor), false);
    await destination.close();
  });

  test('takes the same blob again, also at once', async ({ open, reopen }) => {
    const destination = await open('v1');
    const image = sampleImage(['none', 'none', 'none']);
    await Promise.all([putImage(destination, image), putImage(destination, image)]);
    await putImage(destination, image);
    await destination.commit(image.manifest, []);
    await destination.close();
    await checkImage(await reopen('v1'), image, traits);
  });

  test('tells the progress of a blob, and names itself in errors', async ({ open }) => {
    const destination = await open('v1');
    const image = sampleImage(['none']);
    const { descriptor, bytes } = image.layers[0] as SampleImage['layers'][number];
    let told = 0;
    await destination.putBlob(descriptor, blobOf(bytes), (step) => {
      told += step;
    });
    assert.equal(told, bytes.length);
    const other = { ...descriptor, digest: digestOf('other') };
    await assert.rejects(destination.putBytes(other, bytes), (error: Error) =>
      error.message.includes(destination.reference),
    );
    await destination.close();
  });

  test('writes one image under several tags', async ({ open, reopen }) => {
    const destination = await open('v1');
    const image = sampleImage(['none']);
    await putImage(destination, image);
    await destination.commit(image.manifest, ['v2', 'v3', 'v1']);
    await destination.close();
    for (const tag of ['v1', 'v2', 'v3']) await checkImage(await reopen(tag), image, traits);
  });

  test('moves a tag, and keeps the others', async ({ open, reopen }) => {
    const images = [sampleImage(['none']), sampleImage(['none']), sampleImage(['none'])];
    for (const [i, tag] of ['v1', 'other', 'v1'].entries()) {
      const destination = await open(tag);
      await putImage(destination, images[i] as SampleImage);
      await destination.commit((images[i] as SampleImage).manifest, []);
      await destination.close();
    }
    await checkImage(await reopen('v1'), images[2] as SampleImage, traits);
    if (traits.keepsOthers === false) return;
    await checkImage(await reopen('other'), images[1] as SampleImage, traits);
  });

  test('leaves what is there when a later run fails', async ({ open, reopen, list }) => {
    const first = sampleImage(['none']);
    const one = await open('v1');
    await putImage(one, first);
    await one.commit(first.manifest, []);
    await one.close();
    const before = await list();
    const two = await open('v1');
    await putImage(two, sampleImage(['none', 'none']));
    await two.close();
    if (traits.takesBack !== false) assert.deepEqual(await list(), before);
    await checkImage(await reopen('v1'), first, traits);
  });

  test('holds an index, where it says so', async ({ open, reopen }) => {
    const destination = await open('v1');
    const images = [sampleImage(['none']), sampleImage(['none'])];
    for (const image of images) {
      await putImage(destination, image);
      if (!destination.holdsIndex) continue;
      await destination.putBytes(image.manifest.descriptor, image.manifest.bytes);
    }
    const index = documentOf(MEDIA.index, {
      schemaVersion: 2,
      mediaType: MEDIA.index,
      manifests: images.map(({ manifest }, i) => ({
        ...manifest.descriptor,
        platform: { os: 'linux', architecture: ['arm64', 'amd64'][i] },
      })),
    });
    if (destination.holdsIndex) await destination.commit(index, []);
    else await assert.rejects(destination.commit(index, []), { code: 'unsupported' });
    await destination.close();
    if (destination.holdsIndex) await checkImage(await reopen('v1'), images[1] as SampleImage, {});
  });

  tests.run();
}
