import assert from 'node:assert/strict';
import { test } from 'uvu';
import { compareVersions, inTime, streamOf } from './order.ts';

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
  ['#', ['1', '1.2', 'v1.2.3', '20240101', '40.20240101.3', '1.0-rc1', '3f2a9c1']],
  ['#-slim', ['3.19-slim', '3.20.1-slim']],
  ['#-alpine', ['3-alpine']],
  ['stable-#', ['stable-20240101', 'stable-20240102.1']],
  ['', ['latest', 'bookworm', 'old']],
] as const) {
  test(`the stream ${stream || 'without a number'} has ${tags.join(', ')}`, () => {
    assert.deepEqual(
      tags.map(streamOf),
      tags.map(() => stream),
    );
  });
}

test.run();
