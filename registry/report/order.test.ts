import assert from 'node:assert/strict';
import { test } from 'uvu';
import { areVersions, compareVersions, inTime, streamOf } from './order.ts';

test('versions are ordered as people read them', () => {
  const wanted = [
    '1.0-rc1',
    '1.0',
    '1.0.1',
    'v1.2',
    '1.9',
    '1.10',
    '2.0-alpha',
    '2.0',
    '20240101',
    'latest',
  ];
  assert.deepEqual([...wanted].reverse().sort(compareVersions), wanted);
});

test('tags are ordered by creation, and by version where that says nothing', () => {
  const names = (tags: { tag: string; created?: string }[]): string[] =>
    inTime(tags).map(({ tag }) => tag);
  const dated = [
    { tag: '1.9', created: '2026-01-03T00:00:00Z' },
    { tag: '2.0', created: '2026-01-01T00:00:00+00:00' },
    { tag: '1.10', created: '2026-01-02T00:00:00Z' },
  ];
  assert.deepEqual(names(dated), ['2.0', '1.10', '1.9']);
  const constant = dated.map(({ tag }) => ({ tag, created: '1970-01-01T00:00:00Z' }));
  assert.deepEqual(names(constant), ['1.9', '1.10', '2.0']);
  // One that tells nothing makes times of no use.
  assert.deepEqual(names([...dated, { tag: '1.11' }]), ['1.9', '1.10', '1.11', '2.0']);
});

test('equal times fall back to versions', () => {
  const created = '2026-01-03T00:00:00Z';
  const tags = ['1.10', '1.9', 'latest'].map((tag) => ({ tag, created }));
  assert.deepEqual(
    inTime(tags).map(({ tag }) => tag),
    ['1.9', '1.10', 'latest'],
  );
});

for (const [stream, tags] of [
  [
    '#',
    ['1', '1.2', 'v1.2.3', '20240101', '40.20240101.3', '1.0-rc1', '3f2a9c1', '1.2-14-g3f2a9c1'],
  ],
  ['#-slim', ['3.19-slim', '3.20.1-slim']],
  ['#-alpine', ['3-alpine']],
  ['stable-#', ['stable-20240101', 'stable-20240102.1']],
  ['#-debian-#', ['1.2.3-debian-12-r5', '1.3-debian-12-r6']],
  ['#', ['1.2.3-ls45', '1.2.3-r3']],
  ['#-jdk8', ['1.0-jdk8', '1.1-jdk8']],
  ['#-jdk11', ['1.0-jdk11']],
  ['#-amd64', ['1.0-amd64', 'v1.1-amd64']],
  ['#-arm64v8', ['1.0-arm64v8']],
  ['app#', ['app1', 'app2']],
  ['', ['latest', 'bookworm', 'old', 'arm64', 'amd64', 'x86_64']],
] as const) {
  test(`the stream ${stream || 'without a number'} has ${tags.join(', ')}`, () => {
    assert.deepEqual(
      tags.map(streamOf),
      tags.map(() => stream),
    );
  });
}

test('commits do not say which came first, versions and dates do', () => {
  assert.ok(areVersions(['1.0', '1.1-rc1', '20240101']));
  assert.ok(!areVersions(['1.0', '3f2a9c1']) && !areVersions(['3f2a9c1']));
});

test.run();
