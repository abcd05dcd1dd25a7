/** A registry's own directory: what is needed there though it does not look so, and what is not what it looks like. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { documentOf, jsonDocument, noise, sampleImage } from '../../test-images/sample.ts';
import {
  documentsOf,
  indexOf,
  named,
  sizeOf,
  writeDistribution,
  writeLayout,
} from '../../test-images/stores.ts';
import { MEDIA } from '../oci.ts';
import { collect } from './collect.ts';
import { makeReport } from './figures.ts';
import type { Report } from './report.ts';

const storage = suite('a registry’s directory');
let work: string;

storage.before.each(() => {
  work = mkdtempSync(join(tmpdir(), 'rechunk-storage-'));
});

storage.after.each(() => rmSync(work, { recursive: true, force: true }));

async function reportOn(target = `storage:${work}`): Promise<Report> {
  return makeReport(await collect([target], { remote: { env: {} } }));
}

const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
const blob = (name: string, size: number) => documentOf(noise(size, name), MEDIA.layer);
const image = sampleImage({ seed: 'image' });
const orphan = blob('orphan', 50);

storage(
  'repositories named blobs are surveyed, in distribution’s directory and in zot’s',
  async () => {
    const tags = { '1.0': image.root.descriptor.digest };
    writeDistribution(work, 'team/blobs', [...documentsOf(image), orphan], tags);
    const report = await reportOn();
    assert.equal(report.repositories[0]?.name, `storage:${work}/team/blobs`);
    assert.equal(report.headline.stored.compressed, sizeOf(image));
    assert.deepEqual(
      report.unreferenced[0]?.blobs.map(({ digest }) => digest),
      [orphan.descriptor.digest],
    );
    const zot = join(work, 'zot');
    writeLayout(join(zot, 'blobs', 'blobs'), documentsOf(image), [named(image, '1.0')]);
    const found = await reportOn(`storage:${zot}`);
    assert.deepEqual(
      found.repositories.map(({ name }) => name),
      [`storage:${zot}/blobs/blobs`],
    );
  },
);

storage('what a manifest needs that is not understood is not garbage', async () => {
  const [layer, inner] = [blob('of schema 1', 3000), blob('below a damaged config', 2000)];
  const schema1 = jsonDocument(
    { schemaVersion: 1, fsLayers: [{ blobSum: layer.descriptor.digest }] },
    SCHEMA_1,
  );
  const config = jsonDocument({}, MEDIA.config);
  const manifest = jsonDocument(
    {
      ...{ schemaVersion: 2, mediaType: MEDIA.manifest },
      ...{ config: config.descriptor, layers: [inner.descriptor] },
    },
    MEDIA.manifest,
  );
  const root = indexOf(manifest.descriptor);
  const all = [...documentsOf(image), schema1, layer, root, manifest, config, inner, orphan];
  writeDistribution(work, 'a', all, { old: schema1.descriptor.digest });
  const [found] = (await reportOn()).unreferenced;
  assert.deepEqual(found?.blobs, [{ digest: orphan.descriptor.digest, size: 50 }]);
});

storage('where a manifest cannot be read at all, what nothing needs is not known', async () => {
  const damaged = documentOf(Buffer.from('{"layers": ['), MEDIA.manifest);
  const tags = { '1.0': image.root.descriptor.digest };
  writeDistribution(work, 'a', [...documentsOf(image), damaged, orphan], tags);
  const [found] = (await reportOn()).unreferenced;
  assert.equal(found?.unknown, `what ${damaged.descriptor.digest} needs cannot be read`);
  assert.deepEqual([found?.blobs, found?.bytes], [[], 0]);
});

storage(
  'what cannot be read is named by its tags, or by its digest where it has none',
  async () => {
    const damaged = ['a tag', 'no tag'].map((name) =>
      documentOf(Buffer.from(name), MEDIA.manifest),
    );
    const [tagged, untagged] = damaged.map(({ descriptor }) => descriptor.digest);
    const absent = blob('absent', 9).descriptor.digest;
    assert.ok(tagged && untagged);
    const tags = { '1.0': image.root.descriptor.digest, '1.1': tagged, '1.2': absent };
    writeDistribution(work, 'a', [...documentsOf(image), ...damaged], tags);
    const { skipped = [], tags: found } = await reportOn();
    assert.deepEqual(
      found.map(({ tag }) => tag),
      ['1.0'],
    );
    const names = skipped.map(({ name }) => name.replace(`storage:${work}/`, ''));
    assert.deepEqual(names, ['a:1.1', 'a:1.2', `a@${untagged}`]);
  },
);

storage(
  'a foreign layer is needed where it is held, and costs nothing where it is not',
  async () => {
    const foreign = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
    const [held, absent] = ['held', 'absent'].map((name) => documentOf(noise(700, name), foreign));
    assert.ok(held && absent);
    const layers = [held.descriptor, absent.descriptor];
    const manifest = jsonDocument(
      { schemaVersion: 2, mediaType: MEDIA.manifest, config: image.config.descriptor, layers },
      MEDIA.manifest,
    );
    const documents = [manifest, image.config, held];
    writeDistribution(work, 'a', documents, { '1.0': manifest.descriptor.digest });
    const report = await reportOn();
    assert.deepEqual(report.unreferenced[0]?.blobs, []);
    const sizes = documents.reduce((sum, { bytes }) => sum + bytes.length, 0);
    assert.equal(report.headline.stored.compressed, sizes);
    assert.equal(report.skipped, undefined);
  },
);

storage(
  'links that lead round in circles or nowhere end nothing, and what is no blob is none',
  async () => {
    const tags = { '1.0': image.root.descriptor.digest };
    writeDistribution(work, 'a', documentsOf(image), tags);
    const repositories = join(work, 'docker/registry/v2/repositories');
    for (const name of ['x', 'y', 'a/z']) symlinkSync('.', join(repositories, name));
    symlinkSync('nowhere', join(repositories, 'gone'));
    assert.equal((await reportOn()).repositories.length, 1);
    const layout = join(work, 'layout');
    writeLayout(layout, documentsOf(image), [named(image, '1.0')]);
    symlinkSync('nowhere', join(layout, 'blobs/sha256', '0'.repeat(64)));
    writeFileSync(join(layout, 'blobs/sha256/abc'), 'no digest');
    const report = await reportOn(`oci:${layout}`);
    assert.deepEqual(report.unreferenced[0]?.blobs, []);
  },
);

storage('an SBOM of one platform of an index is attached, and nothing is missing', async () => {
  const sbom = sampleImage({ seed: 'sbom', subject: image.root.descriptor });
  const root = indexOf(image.root.descriptor);
  const documents = [root, ...documentsOf(image), ...documentsOf(sbom)];
  writeLayout(work, documents, [
    { ...root.descriptor, annotations: { 'org.opencontainers.image.ref.name': '1.0' } },
    sbom.root.descriptor,
  ]);
  const report = await reportOn(`oci:${work}`);
  assert.deepEqual(
    report.tags.map(({ tag, attached }) => [tag, attached?.length]),
    [['1.0', 1]],
  );
  assert.deepEqual(report.unreferenced[0]?.dangling, []);
});

storage('a directory that is no registry’s is not walked to its end', async () => {
  mkdirSync(join(work, 'some/thing'), { recursive: true });
  await assert.rejects(reportOn(), /it holds some; want docker\/registry\/v2/);
});

storage.run();
