import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import {
  formatReference,
  isRefName,
  normalizeName,
  parseReference,
  type Reference,
} from './reference.ts';

const hex = 'ab'.repeat(32);
const docker = { transport: 'docker' } as const;

const good: [string, Reference][] = [
  ['-', { transport: '-' }],
  [
    'docker://127.0.0.1:5000/debian:12',
    { ...docker, host: '127.0.0.1:5000', repository: 'debian', tag: '12' },
  ],
  ['localhost/app', { ...docker, host: 'localhost', repository: 'app' }],
  ['localhost:5000/app', { ...docker, host: 'localhost:5000', repository: 'app' }],
  ['[::1]:5000/app:x', { ...docker, host: '[::1]:5000', repository: 'app', tag: 'x' }],
  ['debian', { ...docker, host: 'docker.io', repository: 'library/debian' }],
  ['debian:12', { ...docker, host: 'docker.io', repository: 'library/debian', tag: '12' }],
  ['user/app', { ...docker, host: 'docker.io', repository: 'user/app' }],
  ['docker.io/debian', { ...docker, host: 'docker.io', repository: 'library/debian' }],
  ['index.docker.io/user/app', { ...docker, host: 'docker.io', repository: 'user/app' }],
  [
    'docker://oci:latest',
    { ...docker, host: 'docker.io', repository: 'library/oci', tag: 'latest' },
  ],
  [
    `quay.io/a/b/c@sha256:${hex}`,
    { ...docker, host: 'quay.io', repository: 'a/b/c', digest: `sha256:${hex}` },
  ],
  [
    `quay.io/a:t@sha256:${hex}`,
    { ...docker, host: 'quay.io', repository: 'a', tag: 't', digest: `sha256:${hex}` },
  ],
  ['quay.io/a__b/c.d-e--f', { ...docker, host: 'quay.io', repository: 'a__b/c.d-e--f' }],
  ['oci:dir', { transport: 'oci', path: 'dir' }],
  ['oci:/a b/dir:', { transport: 'oci', path: '/a b/dir' }],
  ['oci:dir:v1.0', { transport: 'oci', path: 'dir', ref: 'v1.0' }],
  [
    'oci:dir:localhost/foo:bar/baz:1',
    { transport: 'oci', path: 'dir', ref: 'localhost/foo:bar/baz:1' },
  ],
  [`oci:dir:@sha256:${hex}`, { transport: 'oci', path: 'dir', ref: `@sha256:${hex}` }],
  ['oci-archive:x.tar:@0', { transport: 'oci-archive', path: 'x.tar', ref: '@0' }],
  ['docker-archive:/x.tar:app:1', { transport: 'docker-archive', path: '/x.tar', ref: 'app:1' }],
  ['rootfs:/srv/a:b', { transport: 'rootfs', path: '/srv/a:b' }],
  ['dir:/srv/a', { transport: 'dir', path: '/srv/a' }],
  ['docker-daemon:app:1', { transport: 'docker-daemon', name: 'app:1' }],
  [`docker-daemon:sha256:${hex}`, { transport: 'docker-daemon', name: `sha256:${hex}` }],
  [
    'containers-storage:localhost/app:1',
    { transport: 'containers-storage', name: 'localhost/app:1' },
  ],
  [
    `containers-storage:[overlay@/a/b+/run/c:x=y]app@${hex}`,
    { transport: 'containers-storage', store: 'overlay@/a/b+/run/c:x=y', name: `app@${hex}` },
  ],
  [`containers-storage:@${hex}`, { transport: 'containers-storage', name: `@${hex}` }],
];

const bad: [string, 'reference' | 'unsupported', RegExp][] = [
  ['', 'reference', /is no part of a repository name/],
  ['oci:', 'reference', /the path is missing/],
  ['oci::tag', 'reference', /the path is missing/],
  ['oci:dir:a b', 'reference', /'a b' is no name of an image/],
  ['oci:dir:../x', 'reference', /is no name of an image/],
  ['oci:dir:@sha256:abc', 'reference', /is no name of an image/],
  ['rootfs:', 'reference', /the directory is missing/],
  ['Debian', 'reference', /names are lower-case/],
  ['debian:', 'reference', /'' is no tag/],
  [`debian:${'x'.repeat(129)}`, 'reference', /is no tag/],
  ['debian:.x', 'reference', /is no tag/],
  ['debian@sha256:12', 'reference', /want a sha256 or sha512 digest/],
  ['debian@a@b', 'reference', /more than one digest/],
  ['quay.io/', 'reference', /is no part/],
  ['quay.io/a//b', 'reference', /is no part/],
  ['quay.io/../b', 'reference', /'\.\.' is no part/],
  ['user:pw@quay.io/app', 'reference', /^reading the reference '\*\*\*@quay\.io\/app'/],
  ['docker://user:p/w@quay.io/app', 'reference', /^[^/]*'\*\*\*@quay\.io\/app': it holds cred/],
  ['https://user:p@w@quay.io/app', 'reference', /^[^/]*'https:\/\/\*\*\*@quay\.io\/app': no tr/],
  ['docker://user:pw@quay.io/app', 'reference', /'docker:\/\/\*\*\*@quay|'\*\*\*@quay/],
  ['-x.example/app', 'reference', /no host name/],
  [`quay.io/${'a'.repeat(250)}`, 'reference', /more than 255/],
  ['https://quay.io/app', 'reference', /no transport has that form/],
  ['docker:debian', 'reference', /no transport has that form/],
  ['sif:/tmp/x', 'unsupported', /skopeo copy sif:FILE/],
  ['dir:', 'reference', /the directory is missing/],
  ['docker-daemon:', 'reference', /is no part of a repository name/],
  ['docker-daemon:A', 'reference', /names are lower-case/],
  ['containers-storage:', 'reference', /is no part of a repository name/],
  ['containers-storage:[]app', 'reference', /the brackets hold no storage/],
  ['containers-storage:[/a', 'reference', /no host name/],
  ['containers-storage:app@abc', 'reference', /want a sha256 or sha512 digest/],
];

test('parses what skopeo, podman and Docker accept', () => {
  for (const [text, want] of good) assert.deepEqual(parseReference(text), want, text);
});

test('refuses the rest, naming the forms that exist or what to do instead', () => {
  for (const [text, code, message] of bad) {
    assert.throws(() => parseReference(text), { name: 'RechunkError', code, message }, text);
  }
  assert.throws(() => parseReference('http://x/y'), {
    message: /want docker:\/\/.*oci:DIR\[:REF\].*rootfs:DIR or -$/,
  });
});

test('is written as it is read', () => {
  for (const [, reference] of good)
    assert.deepEqual(parseReference(formatReference(reference)), reference);
  assert.equal(
    formatReference(parseReference('debian:12')),
    'docker://docker.io/library/debian:12',
  );
});

test('never throws anything else, whatever the text', () => {
  const text = fc.oneof(
    fc.string(),
    fc.stringMatching(
      /^(oci|docker|rootfs|docker-archive|containers-storage|docker-daemon)?:?\/?\/?[a-z:@./[\]-]*$/,
    ),
  );
  fc.assert(
    fc.property(text, (given) => {
      try {
        const parsed = parseReference(given);
        assert.deepEqual(parseReference(formatReference(parsed)), parsed);
      } catch (error) {
        assert.equal((error as Error).name, 'RechunkError', String(error));
      }
    }),
    { seed: 20261121, numRuns: 5000 },
  );
});

test('completes names as Docker does', () => {
  assert.equal(normalizeName('debian'), 'docker.io/library/debian:latest');
  assert.equal(normalizeName('localhost/a:b'), 'localhost/a:b');
  assert.equal(normalizeName('Not A Name'), undefined);
});

test('knows the names that a layout may use', () => {
  for (const name of ['a', 'v1.0', 'a/b:c', 'a--b', '1+2@x']) assert.ok(isRefName(name), name);
  for (const name of ['', '.', '../a', '/a', 'a/', 'a b', 'a..b', '-a', 'ä'])
    assert.ok(!isRefName(name), name);
});

test.run();
