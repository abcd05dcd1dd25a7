/** The options that say which directories layers hold: what is refused, and what is told. */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { runHere } from '../../test-images/cli.ts';

const packages = fileURLToPath(new URL('../../test-images/packages/apk/', import.meta.url));
const source = `docker-archive:${packages}alpine-3.11.5-docker.tar.gz`;

const refused: readonly (readonly [readonly string[], RegExp])[] = [
  [
    ['--skeleton', 'last'],
    /--skeleton last: got --parents full, want --parents shared, delegate or implicit/,
  ],
  [
    ['--parents', 'shared', '--delegate-xattr', 'user'],
    /--delegate-xattr user: got --parents shared, want --parents delegate/,
  ],
  [
    ['--delegate-fallback', 'neutral'],
    /--delegate-fallback neutral: got --parents full, want --parents delegate/,
  ],
  [['--parents', 'none'], /--parents.*'none' is invalid.*full, shared, delegate, implicit/],
  [['--parents', 'shared', '--skeleton', 'top'], /'top' is invalid.*first, last, both/],
  [
    ['--parents', 'shared', '--skeleton', 'both', '--max-layers', '2'],
    /--max-layers 2: want at least 3, since --parents shared needs 2 skeletons/,
  ],
];

for (const [options, says] of refused) {
  test(`${options.join(' ')} is refused by build and plan`, async () => {
    for (const args of [
      ['build', source, 'oci:/nowhere:x', '--dry-run'],
      ['plan', source],
    ]) {
      const { status, stderr } = await runHere([...args, ...options]);
      assert.equal(status, 2);
      assert.match(stderr, says);
    }
  });
}

test('plan shows skeletons with their cost, and tells where a choice is wrong', async () => {
  const options = ['--parents', 'implicit', '--max-layers', '5'];
  const { stdout, stderr } = await runHere(['plan', source, ...options]);
  assert.match(stdout, /^ +1 +[\d.]+ kB +50\.0% +prior +\(skeleton: directories\)$/m);
  assert.match(stdout, /, 5 layers$/m);
  assert.match(stderr, /note: --parents implicit with the skeleton first only: podman’s overlay/);
  assert.match(stderr, /note: a first skeleton costs every chain above it/);
});

test('the environment names a policy too', async () => {
  const { stdout } = await runHere(['plan', source, '--max-layers', '5'], {
    env: { RECHUNK_PARENTS: 'shared', RECHUNK_SKELETON: 'both' },
  });
  assert.equal(stdout.match(/skeleton: directories/g)?.length, 2);
});

test.run();
