import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'uvu';
import { jsonDocument, sampleImage } from '../test-images/sample.ts';
import { checkDocument, type Document, openImage, openImageSet, type Source } from './image.ts';
import { type Descriptor, type Digest, MEDIA, type Platform } from './oci.ts';

const AMD64: Platform = { os: 'linux', architecture: 'amd64' };

/** A source whose documents lie in memory; counts what is read. */
function sourceOf(root: Document, documents: readonly Document[]): Source & { reads: number } {
  const byDigest = new Map(documents.map((one) => [one.descriptor.digest, one]));
  const source = {
    reference: 'memory',
    root,
    reads: 0,
    document: async ({ digest }: Descriptor) => {
      source.reads++;
      return byDigest.get(digest) as Document;
    },
    blob: () => Promise.reject(new Error('no blobs')),
    referrers: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  };
  return source;
}

const indexOf = (manifests: readonly Descriptor[]): Document =>
  jsonDocument({ schemaVersion: 2, mediaType: MEDIA.index, manifests }, MEDIA.index);

const image = sampleImage({ seed: 'image' });
const empty = jsonDocument({}, MEDIA.empty);
const artifact = jsonDocument(
  {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    artifactType: 'application/spdx+json',
    config: empty.descriptor,
    layers: [],
  },
  MEDIA.manifest,
);
const documents = [image.root, image.config, artifact, empty];

test('an index may hold artifacts beside the image, with and without a platform', async () => {
  const claiming = { ...artifact.descriptor, platform: AMD64 };
  const other = { mediaType: 'text/plain', digest: empty.descriptor.digest, size: 2 };
  const entries = [artifact.descriptor, claiming, other, image.root.descriptor];
  const source = sourceOf(indexOf(entries), documents);
  const found = await openImage(source, { hostPlatform: AMD64 });
  assert.deepEqual(found.manifestDocument, image.root);
  const set = await openImageSet(source);
  assert.deepEqual(
    set?.members.map((member) => [member.descriptor, member.image?.manifestDocument]),
    entries.map((entry) => [entry, entry === image.root.descriptor ? image.root : undefined]),
  );
});

test('an index of artifacts only has no image', async () => {
  const claiming = { ...artifact.descriptor, platform: AMD64 };
  const source = sourceOf(indexOf([claiming]), documents);
  await assert.rejects(openImage(source, { hostPlatform: AMD64 }), {
    code: 'platform',
    message: 'memory has no image for linux/amd64; it has linux/amd64',
  });
});

test('indexes that multiply by nesting end in an error, soon', async () => {
  let last = image.root;
  const nested: Document[] = [];
  for (let depth = 0; depth < 3; depth++) {
    last = indexOf(Array.from({ length: 1000 }, () => last.descriptor));
    nested.push(last);
  }
  const source = sourceOf(indexOf([last.descriptor]), [...documents, ...nested]);
  await assert.rejects(openImage(source, { hostPlatform: AMD64 }), { code: 'limit' });
  assert.ok(source.reads < 100, `${source.reads} documents were read`);
});

test('a document is checked by the algorithm of its digest', () => {
  const bytes = Buffer.from('{}');
  for (const algorithm of ['sha256', 'sha512'] as const) {
    const hex = createHash(algorithm).update(bytes).digest('hex');
    const right = { mediaType: MEDIA.config, digest: `${algorithm}:${hex}` as Digest, size: 2 };
    assert.deepEqual(checkDocument(right, bytes, 'it'), { descriptor: right, bytes });
    assert.throws(() => checkDocument(right, Buffer.from('[]'), 'it'), { code: 'digest-mismatch' });
    assert.throws(() => checkDocument(right, Buffer.from('{'), 'it'), { code: 'size-mismatch' });
  }
});

test.run();
