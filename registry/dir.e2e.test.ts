// needs: skopeo
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { command } from '../test-images/command.ts';
import { readBlob } from './blob.ts';
import { putImage, sampleImage } from './destination.conformance.ts';
import { openDir } from './dir.ts';
import { openImage, openImageSet } from './image.ts';
import { createLayout, openLayout } from './layout.ts';
import { digestOf, MEDIA } from './oci.ts';

const root = await mkdtemp(join(tmpdir(), 'rechunk-dir-'));
const host = { hostPlatform: { os: 'linux', architecture: 'amd64' } };
test.after(() => rm(root, { recursive: true, force: true }));

/** A layout with an index of two images under `1`, and one of them under `one`; what `skopeo copy` makes of each. */
async function copied(): Promise<void> {
  const images = [sampleImage(['gzip', 'none']), sampleImage(['zstd'])] as const;
  const manifests = images.map(({ manifest }, i) => ({
    ...manifest.descriptor,
    platform: { os: 'linux', architecture: ['amd64', 'arm64'][i] },
  }));
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.index, manifests }),
  );
  const index = { mediaType: MEDIA.index, digest: digestOf(bytes), size: bytes.length };
  for (const [tag, document] of [
    ['1', { descriptor: index, bytes }],
    ['one', images[0].manifest],
  ] as const) {
    const layout = await createLayout(join(root, 'layout'), tag);
    for (const image of images) {
      await putImage(layout, image);
      await layout.putBytes(image.manifest.descriptor, image.manifest.bytes);
    }
    await layout.commit(document, []);
    await layout.close();
    const how = ['copy', '-q', '--all', '--insecure-policy', '--preserve-digests'];
    await command('skopeo', [...how, `oci:${root}/layout:${tag}`, `dir:${root}/${tag}`]);
  }
}

await copied();

test('reads what skopeo wrote: the same documents and blobs', async () => {
  const [dir, layout] = [
    await openDir(join(root, 'one')),
    await openLayout(`${root}/layout`, 'one'),
  ];
  assert.equal(dir.root.descriptor.digest, layout.root.descriptor.digest);
  assert.equal(dir.root.descriptor.mediaType, layout.root.descriptor.mediaType);
  const image = await openImage(dir, host);
  for (const { descriptor } of image.layers)
    await readBlob(await dir.blob(descriptor), descriptor, 1 << 24, 'a layer');
  assert.equal(dir.reference, `dir:${root}/one`);
  await dir.close();
});

test('reads an index with its images', async () => {
  const dir = await openDir(join(root, '1'));
  const set = await openImageSet(dir);
  assert.deepEqual(
    set?.members.map(({ image }) => image?.layers.length),
    [2, 1],
  );
  await dir.close();
});

test('says what is missing or damaged', async () => {
  await assert.rejects(openDir(join(root, 'none')), {
    code: 'not-found',
    message: /^reading dir:.*none: .*manifest\.json/,
  });
  const dir = await openDir(join(root, 'one'));
  const image = await openImage(dir, host);
  const [{ descriptor } = assert.fail()] = image.layers;
  await rm(join(root, 'one', descriptor.digest.slice('sha256:'.length)));
  await assert.rejects(dir.blob(descriptor), { code: 'not-found' });
  await writeFile(join(root, 'one', 'manifest.json'), '{"schemaVersion": 2}');
  await assert.rejects(openDir(join(root, 'one')), { code: 'manifest' });
});

test.run();
