/** What is attached to images on a registry, and what is wrong with it. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { jsonDocument, sampleImage } from '../../test-images/sample.ts';
import {
  type Answers,
  documentsOf,
  hold,
  indexOf,
  serving,
  tagFor,
} from '../../test-images/stores.ts';
import { MEDIA } from '../oci.ts';
import { collect } from './collect.ts';
import { makeReport } from './figures.ts';
import type { Report } from './report.ts';

async function reportOn(answers: Answers): Promise<{ report: Report; host: string }> {
  let made: { report: Report; host: string } | undefined;
  await serving(answers, async (host) => {
    const remote = { env: {}, retryDelayMs: 1, retries: 1 };
    made = { report: makeReport(await collect([`docker://${host}`], { remote })), host };
  });
  return made as { report: Report; host: string };
}

const image = sampleImage({ seed: 'image' });
const config = jsonDocument({}, MEDIA.config);
const broken = jsonDocument(
  { schemaVersion: 2, mediaType: MEDIA.manifest, config: config.descriptor, layers: [] },
  MEDIA.manifest,
);

test('what is attached and cannot be read is told, and the image counts', async () => {
  const signature = tagFor(image, '.sig');
  const failing = tagFor(image, '.att');
  const { report, host } = await reportOn({
    ...hold('a', [...documentsOf(image), broken, config]),
    '/v2/_catalog': ['a'],
    '/v2/a/tags/list': ['1.0', signature, failing],
    '/v2/a/manifests/1.0': image.root,
    [`/v2/a/manifests/${signature}`]: broken,
    [`/v2/a/manifests/${failing}`]: (response) => response.writeHead(500).end(),
    [`/v2/a/referrers/${image.root.descriptor.digest}`]: indexOf(broken.descriptor),
  });
  assert.deepEqual(
    report.tags.map(({ tag, attached }) => [tag, attached]),
    [['1.0', undefined]],
  );
  const told = (report.skipped ?? []).map(({ name, why }) => `${name}: ${why}`).sort();
  assert.equal(told.length, 3, told.join('\n'));
  assert.ok(told[0]?.startsWith(`${host}/a:${failing}: `) && / 500/.test(told[0]), told[0]);
  assert.ok(told[1]?.startsWith(`${host}/a:${signature}: `) && /rootfs/.test(told[1]), told[1]);
  assert.ok(told[2]?.startsWith(`${host}/a@${broken.descriptor.digest}: `), told[2]);
});

test('what is attached is told in one order, whichever way the registry lists it', async () => {
  const subject = image.root.descriptor;
  const sboms = ['a', 'b', 'c'].map((seed) => sampleImage({ seed, subject }));
  const signature = sampleImage({ seed: 'signature' });
  const orders = [sboms, sboms.toReversed()].map(async (listed) => {
    const { report } = await reportOn({
      ...hold('a', [image, signature, ...sboms].flatMap(documentsOf)),
      '/v2/_catalog': ['a'],
      '/v2/a/tags/list': ['1.0', tagFor(image, '.sig')],
      '/v2/a/manifests/1.0': image.root,
      [`/v2/a/manifests/${tagFor(image, '.sig')}`]: signature.root,
      [`/v2/a/referrers/${subject.digest}`]: indexOf(...listed.map(({ root }) => root.descriptor)),
    });
    return report.tags[0]?.attached?.map(({ digest }) => digest);
  });
  const digests = sboms.map(({ root }) => root.descriptor.digest).sort();
  for (const order of await Promise.all(orders))
    assert.deepEqual(order, [...digests, signature.root.descriptor.digest]);
});

test('a signature’s image is gone only where the registry has not got it, and neither case is an update', async () => {
  const [moved, gone] = [sampleImage({ seed: 'moved' }), sampleImage({ seed: 'gone' })];
  const [first, second] = [sampleImage({ seed: 'first' }), sampleImage({ seed: 'second' })];
  const { report } = await reportOn({
    ...hold('a', [image, moved, first, second].flatMap(documentsOf)),
    '/v2/_catalog': ['a'],
    '/v2/a/tags/list': ['1.0', tagFor(moved, '.sig'), tagFor(gone, '.sig')],
    '/v2/a/manifests/1.0': image.root,
    [`/v2/a/manifests/${tagFor(moved, '.sig')}`]: first.root,
    [`/v2/a/manifests/${tagFor(gone, '.sig')}`]: second.root,
  });
  assert.deepEqual(
    report.unreferenced[0]?.dangling.map(({ digest, subject }) => [digest, subject]),
    [[second.root.descriptor.digest, gone.root.descriptor.digest]],
  );
  assert.equal(report.tags.length, 3);
  assert.deepEqual([report.updates, report.matrices], [[], []]);
});

test.run();
