import assert from 'node:assert/strict';
import { test } from 'uvu';
import { buildahVersion, isDiscarded, mountOf, parseMounts } from './mounts.ts';

/** Lines that containers had: buildah 1.39.3 with and without its overlay, an overlay of containers-storage, one of Docker. */
const DISCARDED =
  '305 240 0:55 / /run/src rw,relatime - overlay overlay rw,lowerdir=/c,upperdir=/var/tmp/buildah94/mounts96/overlay/161/upper,workdir=/var/tmp/buildah94/mounts96/overlay/161/work';
const BOUND = '305 240 254:0 /c /run/src rw,relatime - ext4 /dev/vda rw,discard';
const STORAGE =
  '304 240 0:51 / /run/image ro,relatime - overlay overlay rw,lowerdir=/s/overlay/l/XQ,upperdir=/s/overlay/de32c0/diff,workdir=/s/overlay/de32c0/work';
const DOCKER =
  '300 1 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l/A,upperdir=/var/lib/docker/overlay2/5e/diff,workdir=/w';

test('mounts are parsed, escaped names too', () => {
  assert.deepEqual(
    parseMounts(`${BOUND}\n1 2 0:1 / /a\\040b\\134 rw shared:1 - tmpfs tmpfs rw\n`),
    [
      { point: '/run/src', type: 'ext4', options: 'rw,discard' },
      { point: '/a b\\', type: 'tmpfs', options: 'rw' },
    ],
  );
});

test('a path is held by the nearest mount, the latest of several', () => {
  const mounts = parseMounts([DOCKER, DISCARDED, BOUND, STORAGE].join('\n'));
  assert.equal(mountOf('/run/src/out', mounts)?.type, 'ext4');
  assert.equal(mountOf('/run/srcs', mounts)?.point, '/');
  assert.equal(mountOf('/run/src', mounts)?.point, '/run/src');
  assert.equal(mountOf('/x', []), undefined);
});

test('what buildah lays over a context is discarded, until 1.44', () => {
  const [discarded, bound, storage, docker] = parseMounts(
    [DISCARDED, BOUND, STORAGE, DOCKER].join('\n'),
  );
  assert.ok(discarded && bound && storage && docker);
  for (const version of [
    [1, 33, 12],
    [1, 39, 3],
    [1, 43, 0],
  ])
    assert.ok(isDiscarded(discarded, version));
  for (const version of [
    [1, 44, 0],
    [2, 0, 0],
  ])
    assert.ok(!isDiscarded(discarded, version));
  for (const mount of [bound, storage, docker]) assert.ok(!isDiscarded(mount, [1, 39, 3]));
});

test('the version is that of buildah alone', () => {
  assert.deepEqual(buildahVersion('\nengine="buildah-1.39.3"\nname="x"\n'), [1, 39, 3]);
  assert.deepEqual(buildahVersion('engine="buildah-1.44.0-dev"'), [1, 44, 0]);
  assert.equal(buildahVersion('engine="podman-5.4.2"'), undefined);
  assert.equal(buildahVersion(''), undefined);
});

test.run();
