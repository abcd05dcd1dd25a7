import assert from 'node:assert/strict';
import { test } from 'uvu';
import { RechunkError } from '../errors.ts';
import { choose, matcher, parseTarget } from './target.ts';

for (const [text, wanted] of [
  ['docker://localhost:5000', { kind: 'registry', host: 'localhost:5000' }],
  ['docker://127.0.0.1:5000', { kind: 'registry', host: '127.0.0.1:5000' }],
  ['docker://intern:5000/', { kind: 'registry', host: 'intern:5000' }],
  ['ghcr.io', { kind: 'registry', host: 'ghcr.io' }],
  ['docker://ghcr.io/a/b', { kind: 'repository', host: 'ghcr.io', repository: 'a/b' }],
  [
    'localhost:5000/a:1.*',
    { kind: 'repository', host: 'localhost:5000', repository: 'a', pattern: '1.*' },
  ],
  [
    'debian:12',
    { kind: 'repository', host: 'docker.io', repository: 'library/debian', pattern: '12' },
  ],
  ['oci:some/dir', { kind: 'layout', path: 'some/dir' }],
  ['storage:/var/lib/registry', { kind: 'storage', path: '/var/lib/registry' }],
] as const) {
  test(`${text} is a target`, () => assert.deepEqual(parseTarget(text), wanted));
}

for (const [text, found] of [
  ['oci:', /the directory is missing/],
  ['oci:dir:tag', /one image of it/],
  ['oci-archive:file', /nothing that holds several images/],
  ['https://host/repo', /nothing that holds several images/],
  [`host.io/a@sha256:${'0'.repeat(64)}`, /a single image/],
  ['host.io/a:b c', /no pattern of tags/],
  ['docker://user:s3cret@host.io/app', /'docker:\/\/\*\*\*@host.io\/app': got credentials/],
  ['docker://user:s3cret@host.io', /'docker:\/\/\*\*\*@host.io': got credentials/],
  ['https://user:s3cret@host.io/app', /'https:\/\/\*\*\*@host.io\/app': got/],
  [
    'host.io/A',
    /^reading the target 'host\.io\/A': got 'host\.io\/A', which is no name of a repo[^;]*; want docker:\/\/HOST,/,
  ],
  ['docker://', /no name of a repository/],
] as const) {
  test(`${text} is refused`, () => {
    assert.throws(
      () => parseTarget(text),
      (error: unknown) => {
        return (
          error instanceof RechunkError &&
          error.code === 'reference' &&
          found.test(error.message) &&
          !error.message.includes('s3cret')
        );
      },
    );
  });
}

test('a pattern has two signs, and all else is itself', () => {
  assert.ok(matcher('1.*')('1.10') && !matcher('1.*')('110') && matcher('v?')('v1'));
  assert.ok(matcher('a[b]+(c)')('a[b]+(c)') && !matcher('a|b')('a'));
});

test('tags are chosen by themselves or by name', () => {
  const names = [
    { name: 'host/team/app', tag: '1.0' },
    { name: 'host/team/app', tag: '1.1' },
    { name: 'host/other', tag: '1.0' },
  ];
  assert.deepEqual(choose(names, ['1.0']), [0, 2]);
  assert.deepEqual(choose(names, ['app:1.0']), [0]);
  assert.deepEqual(choose(names, ['host/team/*:*', 'other:1.0']), [0, 1, 2]);
  assert.deepEqual(choose(names, ['docker://host/team/app:1.?']), [0, 1]);
  assert.throws(() => choose(names, ['1.0', '2.*']), /no tag is like '2\.\*', of 3/);
});

test.run();
