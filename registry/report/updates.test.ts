/** Which tag is the update of which. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { Fixture } from '../../test-images/surveys.ts';
import { isCrossed, makeReport, type Questions } from './figures.ts';
import type { Report } from './report.ts';

/** A repository of images named as its tags say; each has a layer of its own. */
function reportOn(tags: Readonly<Record<string, string>>, questions: Questions = {}): Report {
  const fixture = new Fixture();
  for (const [i, name] of [...new Set(Object.values(tags))].entries())
    fixture.image(name, [
      ['base', 1000],
      [`own ${name}`, 10 + i],
    ]);
  return makeReport(fixture.survey(fixture.repository('host/a', tags)), questions);
}

function updatesOf({ updates, tags }: Report): string[] {
  return updates.map(({ from, to }) => `${tags[from]?.tag} -> ${tags[to]?.tag}`);
}

test('a name that stands for the newest version does not hide the update to it', () => {
  for (const alias of ['stable', 'LTS', '-latest', 'zz']) {
    const made = reportOn({ '1.0': 'a', '1.1': 'b', [alias]: 'b' }, { maxUpdateBytes: 10 });
    assert.deepEqual(updatesOf(made), ['1.0 -> 1.1'], alias);
    assert.equal(made.thresholds?.[0]?.crossed, true, alias);
    const names = made.matrices[0]?.tags.map((at) => made.tags[at]?.tag);
    assert.deepEqual(names, ['1.0', '1.1'], alias);
  }
});

test('a version that two streams share is an update of both', () => {
  const made = reportOn({ '1.0': 'a', '1.1': 'c', '1.0-slim': 'b', '1.1-slim': 'c' });
  assert.deepEqual(updatesOf(made), ['1.0 -> 1.1', '1.0-slim -> 1.1-slim']);
});

test('of the names of one version the one that tells most counts, and names without a number are updates of nothing', () => {
  const made = reportOn({ '1': 'b', '1.0': 'a', '1.1': 'b', edge: 'c', stable: 'b' });
  assert.deepEqual(updatesOf(made), ['1.0 -> 1.1']);
  assert.deepEqual(updatesOf(reportOn({ bookworm: 'a', trixie: 'b', debug: 'c' })), []);
});

test('a patch of an older line updates that line, and is what limits are held against if it is the newest', () => {
  const fixture = new Fixture();
  const tags = ['1.24.8', '1.24.9', '1.25.0', '1.24.10'];
  for (const [i, name] of tags.entries())
    fixture.image(name, [[`own ${name}`, 10 + i]], { created: `2026-01-0${i + 1}T00:00:00Z` });
  const named = Object.fromEntries(tags.map((tag) => [tag, tag]));
  const survey = fixture.survey(fixture.repository('host/a', named));
  const made = makeReport(survey, { maxUpdateBytes: 12 });
  assert.deepEqual(updatesOf(made), ['1.24.8 -> 1.24.9', '1.24.9 -> 1.24.10', '1.24.10 -> 1.25.0']);
  assert.deepEqual(made.thresholds, [
    {
      ...{ name: 'max-update-bytes', limit: 12, found: 13, crossed: true },
      where: 'host/a:1.24.9 -> 1.24.10 (linux/amd64)',
    },
  ]);
});

test('commits follow each other in time', () => {
  const fixture = new Fixture();
  const tags = ['b3f2a9c', 'a1f2a9c'];
  for (const [i, name] of tags.entries())
    fixture.image(name, [[`own ${name}`, 10]], { created: `2026-01-0${i + 1}T00:00:00Z` });
  const named = Object.fromEntries(tags.map((tag) => [tag, tag]));
  const made = makeReport(fixture.survey(fixture.repository('host/a', named)));
  assert.deepEqual(updatesOf(made), ['b3f2a9c -> a1f2a9c']);
});

test('a limit is not held against the update before one whose tag cannot be read', () => {
  const tags = { '1.0': 'a', '1.1': 'b', '1.0-slim': 'c', '1.1-slim': 'd' };
  const fixture = new Fixture();
  for (const name of Object.values(tags)) fixture.image(name, [[`own ${name}`, 10]]);
  const survey = fixture.survey(fixture.repository('host:5000/a', tags));
  const heldWithout = (tag: string, maxUpdateBytes = 10): object[] | undefined => {
    const skipped = [{ name: `host:5000/a:${tag}`, why: 'its manifest is damaged' }];
    return makeReport({ ...survey, skipped }, { maxUpdateBytes }).thresholds as object[];
  };
  const limit = { name: 'max-update-bytes', limit: 10 };
  for (const tag of ['1.2', '1.1.1-slim', 'v2'])
    assert.deepEqual(heldWithout(tag), [{ ...limit, crossed: true, where: `host:5000/a:${tag}` }]);
  const kept = { found: 10, crossed: false, where: 'host:5000/a:1.0 -> 1.1 (linux/amd64)' };
  for (const tag of ['0.9', '1.0.5', '1.2-alpine', 'latest', '2f3a9bc'])
    assert.deepEqual(heldWithout(tag), [{ ...limit, ...kept }], tag);
  // Its config is gone, so that nobody knows what it updates.
  const config = fixture.documents.get(fixture.image('e', [['own e', 10]]));
  assert.ok(config?.kind === 'manifest');
  fixture.documents.delete(config.config.digest);
  const more = fixture.survey(fixture.repository('host:5000/a', { ...tags, '1.2': 'e' }));
  const [held] = makeReport(more, { maxUpdateBytes: 10 }).thresholds ?? [];
  assert.deepEqual(held, { ...limit, crossed: true, where: 'host:5000/a:1.2' });
  // Of an index that was copied for some platforms, what these update is known.
  fixture.image('f', [['own f', 10]]);
  fixture.index('sparse', [
    { of: 'f', platform: 'linux/amd64' },
    { of: 'absent', platform: 'linux/arm64' },
  ]);
  const sparse = fixture.survey(fixture.repository('host:5000/a', { ...tags, '1.2': 'sparse' }));
  const found = makeReport(sparse, { maxUpdateBytes: 10 });
  assert.equal(found.skipped?.length, 1);
  assert.ok(!isCrossed(found), JSON.stringify(found.thresholds));
  // Of two entries with one name, one cannot be read.
  const twice = [{ name: 'host:5000/a:1.1', why: 'its manifest is not there' }];
  assert.ok(!isCrossed(makeReport({ ...survey, skipped: twice }, { maxUpdateBytes: 10 })));
  // What is known to be too much is told.
  assert.deepEqual(heldWithout('1.2', 9), [{ ...limit, limit: 9, ...kept, crossed: true }]);
});

test('a limit that has no update to be held against does not pass', () => {
  for (const tags of [{ '1.0': 'a' }, { bookworm: 'a', trixie: 'b' }, {}]) {
    const made = reportOn(tags as Record<string, string>, { maxUpdateBytes: 1e9, minShared: 0 });
    assert.deepEqual(made.thresholds, [
      { name: 'max-update-bytes', limit: 1e9, crossed: true },
      { name: 'min-shared', limit: 0, crossed: true },
    ]);
    assert.ok(isCrossed(made));
  }
});

test('an image under two platforms is updated on both, and is stored once', () => {
  const fixture = new Fixture();
  for (const [version, size] of [
    ['1', 10],
    ['2', 20],
  ] as const) {
    fixture.image(`image ${version}`, [[`layer ${version}`, size]]);
    fixture.index(`index ${version}`, [
      { of: `image ${version}`, platform: 'linux/arm/v6' },
      { of: `image ${version}`, platform: 'linux/arm/v7' },
      { of: `image ${version}`, platform: 'linux/arm/v7' },
    ]);
  }
  const tags = { '1': 'index 1', '2': 'index 2' };
  const made = makeReport(fixture.survey(fixture.repository('host/a', tags)));
  assert.deepEqual(
    made.updates.map(({ platform, bytes }) => [platform, bytes]),
    [
      ['linux/arm/v6', 20],
      ['linux/arm/v7', 20],
    ],
  );
  // Two indexes and manifests of 5 bytes, two configs of 10.
  const bytes = 2 * 5 + 2 * 5 + 2 * 10 + 30;
  assert.deepEqual(made.headline.stored.compressed, bytes);
  assert.deepEqual(made.headline.logical.compressed, bytes);
  assert.equal(made.headline.images, 2);
});

test('what an index or a manifest names and was not found is told', () => {
  const fixture = new Fixture();
  const config = fixture.documents.get(fixture.image('image', [['layer', 10]]));
  assert.ok(config?.kind === 'manifest');
  fixture.documents.delete(config.config.digest);
  fixture.index('index', [
    { of: 'image', platform: 'linux/amd64' },
    { of: 'absent', platform: 'linux/arm64' },
  ]);
  const made = makeReport(
    fixture.survey(fixture.repository('host/a', { '1': 'index', '2': 'image' })),
  );
  assert.deepEqual(made.skipped, [
    { name: 'host/a:1', why: '2 manifests or configs that it names are not there' },
    { name: 'host/a:2', why: 'a manifest or config that it names is not there' },
  ]);
  assert.deepEqual(made.tags[0]?.platforms, ['linux/amd64']);
});

test.run();
