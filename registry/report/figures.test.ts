/** Figures against sums that are written out by hand, on surveys that are a few lines long. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { digest, Fixture, layer } from '../../test-images/surveys.ts';
import type { Digest } from '../oci.ts';
import { isCrossed, makeReport } from './figures.ts';
import type { Report } from './report.ts';
import type { Attachment } from './survey.ts';

const tagNamed = (report: Report, name: string): Report['tags'][0] =>
  report.tags.find(({ tag }) => tag === name) as Report['tags'][0];

test('a tag is unique, shared inside and shared across, each blob counted once', () => {
  const fixture = new Fixture();
  fixture.image('a1', [
    ['base', 100],
    ['one', 40],
    ['one', 40],
  ]);
  fixture.image('a2', [
    ['base', 100],
    ['inside', 7],
    ['two', 30],
  ]);
  fixture.image('a3', [
    ['base', 100],
    ['inside', 7],
  ]);
  fixture.image('b1', [['base', 100]]);
  const report = makeReport(
    fixture.survey(
      fixture.repository('host/a', { '1': 'a1', '2': 'a2', '3': 'a3' }),
      fixture.repository('host/b', { one: 'b1' }),
    ),
  );
  const { total, unique, sharedInRepository, sharedAcross } = tagNamed(report, '2');
  assert.deepEqual(
    [total, unique, sharedInRepository, sharedAcross].map(({ compressed }) => compressed),
    [152, 45, 7, 100],
  );
  assert.equal(tagNamed(report, '1').total.compressed, 155);
  const [a, b] = report.repositories;
  assert.deepEqual([a?.unique.compressed, a?.shared.compressed], [40 + 30 + 7 + 45, 100]);
  assert.deepEqual([b?.unique.compressed, b?.shared.compressed], [15, 100]);
  assert.deepEqual(a?.sharedWith, [{ repository: 1, bytes: 100 }]);
  const { headline } = report;
  assert.deepEqual(
    [headline.repositories, headline.tags, headline.images, headline.blobs],
    [2, 4, 4, 4 + 8],
  );
  assert.equal(headline.logical.compressed, 155 + 152 + 122 + 115);
  assert.equal(headline.stored.compressed, 100 + 40 + 7 + 30 + 4 * 15);
  assert.equal(headline.layers.compressed, 177);
});

test('two tags of one digest free nothing alone, and all together', () => {
  const fixture = new Fixture();
  fixture.image('image', [['layer', 100]]);
  const survey = fixture.survey(fixture.repository('host/a', { '1.0': 'image', latest: 'image' }));
  const report = makeReport(survey, { ifDeleted: ['*'] });
  assert.deepEqual(
    report.tags.map(({ unique }) => unique.compressed),
    [0, 0],
  );
  assert.deepEqual(report.deletion?.freed.compressed, 115);
  assert.deepEqual(report.deletion?.blobs, 3);
  assert.deepEqual(report.updates, []);
});

test('a deletion frees what only its tags share', () => {
  const fixture = new Fixture();
  fixture.image('1', [
    ['both', 100],
    ['a', 1],
  ]);
  fixture.image('2', [
    ['both', 100],
    ['kept', 10],
  ]);
  fixture.image('3', [['kept', 10]]);
  const survey = fixture.survey(fixture.repository('host/a', { '1': '1', '2': '2', '3': '3' }));
  const report = makeReport(survey, { ifDeleted: ['1', 'a:2'] });
  assert.equal(report.deletion?.freed.compressed, 100 + 1 + 30);
});

test('an update pulls new layers, and with graph drivers all above the first that differs', () => {
  const fixture = new Fixture();
  fixture.image('1', [
    ['base', 100],
    ['old', 10],
    ['top', 5],
  ]);
  fixture.image('2', [
    ['base', 100],
    ['new', 20],
    ['top', 5],
  ]);
  fixture.image('3', [
    ['base', 100],
    ['new', 20],
    ['top', 5],
    ['more', 1],
  ]);
  const survey = fixture.survey(fixture.repository('host/a', { '1': '1', '2': '2', '3': '3' }));
  const { updates, matrices } = makeReport(survey);
  assert.deepEqual(
    updates.map(({ from, to, bytes, chainBytes, total, layers }) => [
      from,
      to,
      bytes,
      chainBytes,
      total,
      layers,
    ]),
    [
      [0, 1, 20, 25, 125, { kept: 2, new: 1 }],
      [1, 2, 1, 1, 126, { kept: 3, new: 1 }],
    ],
  );
  assert.deepEqual(matrices[0]?.bytes, [
    [0, 20, 21],
    [10, 0, 1],
    [10, 0, 0],
  ]);
});

test('updates stay within a stream and a platform', () => {
  const fixture = new Fixture();
  const arm = { platform: 'linux/arm64' };
  fixture.image('a', [['a', 1]]);
  fixture.image('a arm', [['a arm', 2]], arm);
  fixture.index('first', [
    { of: 'a', platform: 'linux/amd64' },
    { of: 'a arm', platform: 'linux/arm64' },
  ]);
  fixture.image('slim', [['slim', 4]]);
  fixture.image('b arm', [['b arm', 8]], arm);
  fixture.index('second', [
    { of: 'a', platform: 'linux/amd64' },
    { of: 'b arm', platform: 'linux/arm64' },
  ]);
  const tags = { '1.0': 'first', '1.0-slim': 'slim', '1.1': 'second' };
  const { updates, tags: all } = makeReport(fixture.survey(fixture.repository('host/a', tags)));
  assert.deepEqual(
    updates.map(({ platform, from, to, bytes }) => [platform, all[from]?.tag, all[to]?.tag, bytes]),
    [
      ['linux/amd64', '1.0', '1.1', 0],
      ['linux/arm64', '1.0', '1.1', 8],
    ],
  );
});

test('what is attached counts with its image, wherever it says so', () => {
  const fixture = new Fixture();
  fixture.image('image', [['layer', 100]]);
  fixture.image('attestation', [['statement', 11]], { platform: 'unknown/unknown' });
  fixture.index('root', [
    { of: 'image', platform: 'linux/amd64' },
    { of: 'attestation', platform: 'unknown/unknown', attests: 'image' },
  ]);
  fixture.image('signature', [['signed', 13]]);
  fixture.image('sbom', [['bom', 17]], { subject: 'root' });
  const attached = new Map<Digest, Attachment[]>([
    [digest('root'), [{ digest: digest('sbom'), by: 'referrers' }]],
    [digest('image'), [{ digest: digest('signature'), by: 'tag' }]],
  ]);
  const report = makeReport(
    fixture.survey(fixture.repository('host/a', { '1': 'root' }, { attached })),
  );
  const tag = tagNamed(report, '1');
  assert.equal(tag.total.compressed, 5 + (100 + 15) + (11 + 15) + (13 + 15) + (17 + 15));
  assert.deepEqual(tag.platforms, ['linux/amd64']);
  assert.deepEqual(tag.attached?.map(({ by, size }) => [by, size]).sort(), [
    ['index', 26],
    ['referrers', 32],
    ['tag', 28],
  ]);
});

test('one diffID in several blobs is waste, but for the smallest', () => {
  const fixture = new Fixture();
  fixture.image('1', [
    ['gzip', 100, 'tar'],
    ['other', 1],
  ]);
  fixture.image('2', [['zstd', 80, 'tar']]);
  const survey = fixture.survey(fixture.repository('host/a', { '1': '1', '2': '2' }));
  const { recompressed } = makeReport(survey);
  assert.deepEqual(
    recompressed.map(({ diffId, wasted, blobs }) => [diffId, wasted, blobs.length]),
    [[digest('tar'), 100, 2]],
  );
});

test('unpacked sizes are told as soon as all are known', () => {
  const fixture = new Fixture();
  fixture.image('1', [
    ['a', 100],
    ['b', 50],
  ]);
  const survey = fixture.survey(fixture.repository('host/a', { '1': '1' }));
  const some = new Map([[digest('tar of a'), 1000]]);
  assert.equal(makeReport(survey, { uncompressed: some }).headline.stored.uncompressed, undefined);
  const all = new Map([...some, [digest('tar of b'), 500] as const]);
  assert.deepEqual(makeReport(survey, { uncompressed: all }).headline.stored, {
    compressed: 165,
    uncompressed: 1515,
  });
});

test('a node pulls what it has not got', () => {
  const fixture = new Fixture();
  fixture.image('1', [
    ['base', 1_000_000],
    ['a', 5],
  ]);
  fixture.image('2', [
    ['base', 1_000_000],
    ['b', 2_000_000],
  ]);
  const survey = fixture.survey(fixture.repository('host/a', { '1': '1', '2': '2' }));
  const { node } = makeReport(survey, { holds: ['1'], mbit: 8 });
  assert.deepEqual(node, {
    ...{ holds: [0], platform: 'linux/amd64', mbit: 8 },
    pulls: [{ tag: 1, bytes: 2_000_000, layers: 1, seconds: 2 }],
  });
});

test('limits are held against the newest update of each stream', () => {
  const fixture = new Fixture();
  fixture.image('1', [['a', 1000]]);
  fixture.image('2', [['b', 1000]]);
  fixture.image('3', [
    ['b', 1000],
    ['c', 250],
  ]);
  const survey = fixture.survey(fixture.repository('host/a', { '1': '1', '2': '2', '3': '3' }));
  const kept = makeReport(survey, { maxUpdateBytes: 250, minShared: 0.8 });
  assert.ok(!isCrossed(kept), JSON.stringify(kept.thresholds));
  const crossed = makeReport(survey, { maxUpdateBytes: 249, minShared: 0.81 });
  assert.deepEqual(
    crossed.thresholds?.map(({ name, found, crossed: is }) => [name, found, is]),
    [
      ['max-update-bytes', 250, true],
      ['min-shared', 0.8, true],
    ],
  );
});

test('layers that no registry stores cost nothing there', () => {
  const fixture = new Fixture();
  fixture.image('1', [['mine', 10]]);
  const manifest = fixture.documents.get(digest('1'));
  assert.ok(manifest?.kind === 'manifest');
  const foreign = layer(
    'windows',
    1_000,
    'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  );
  fixture.documents.set(digest('1'), { ...manifest, layers: [foreign, ...manifest.layers] });
  const report = makeReport(fixture.survey(fixture.repository('host/a', { '1': '1' })));
  assert.deepEqual(
    [report.headline.stored.compressed, report.headline.logical.compressed],
    [25, 25],
  );
});

test('a store that knows its blobs tells those that nothing needs, and those that are missing', () => {
  const fixture = new Fixture();
  fixture.image('tagged', [['layer', 100]]);
  fixture.image('untagged', [
    ['layer', 100],
    ['lost', 30],
  ]);
  fixture.image('signature', [['signed', 3]], { subject: 'gone' });
  const revisions = new Set(['tagged', 'untagged', 'signature'].map(digest));
  const repository = fixture.repository(
    'host/a',
    { '1': 'tagged' },
    {
      revisions,
      attached: new Map([[digest('gone'), [{ digest: digest('signature'), by: 'referrers' }]]]),
      links: new Set(['layer', 'lost', 'stale'].map(digest)),
    },
  );
  const { stores, ...rest } = fixture.survey(repository);
  const blobs = [
    ...['config of tagged', 'config of untagged', 'config of signature'].map((name) => ({
      digest: digest(name),
      size: 10,
    })),
    ...['tagged', 'untagged', 'signature'].map((name) => ({ digest: digest(name), size: 5 })),
    ...[
      ['lost', 30],
      ['signed', 3],
      ['orphan', 7],
    ].map(([name, size]) => ({ digest: digest(String(name)), size: Number(size) })),
  ];
  const held = new Map(blobs.map((one) => [one.digest, one.size]));
  const known = stores.map(({ unknown: _, ...store }) => ({ ...store, held }));
  const report = makeReport({ ...rest, stores: known });
  const [found] = report.unreferenced;
  assert.deepEqual(found?.blobs, [{ digest: digest('orphan'), size: 7 }]);
  assert.deepEqual([found?.bytes, found?.untaggedBytes], [7, 45 + 18]);
  assert.deepEqual(
    found?.untagged.map(({ digest: one, bytes }) => [one, bytes]),
    [
      [digest('untagged'), 45],
      [digest('signature'), 18],
    ],
  );
  assert.deepEqual(
    found?.dangling.map(({ subject }) => subject),
    [digest('gone')],
  );
  assert.deepEqual(report.repositories[0]?.links, { layers: 3, stale: 1 });
  assert.deepEqual(report.skipped, [
    { name: 'host/a:1', why: 'a blob that it needs is not there' },
  ]);
  assert.equal(report.headline.stored.compressed, 15);
});

test('a repository without tags, and no repository at all, make a report', () => {
  const empty = makeReport(new Fixture().survey());
  assert.deepEqual([empty.headline.stored.compressed, empty.matrices], [0, []]);
  const none = new Fixture();
  assert.equal(makeReport(none.survey(none.repository('host/a', {}))).repositories.length, 1);
});

test.run();
