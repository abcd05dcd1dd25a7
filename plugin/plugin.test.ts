import assert from 'node:assert/strict';
import { test } from 'uvu';
import { argvOf } from './plugin.ts';

const cases: readonly (readonly [string, Parameters<typeof argvOf>[1], readonly string[]])[] = [
  [
    'places come first, in order',
    { destination: 'oci:b', source: 'oci:a' },
    ['build', 'oci:a', 'oci:b'],
  ],
  [
    'texts become option and value',
    { source: 'oci:a', 'max-layers': '64' },
    ['build', 'oci:a', '--max-layers', '64'],
  ],
  [
    'true is a bare option, false and empty are none',
    { verify: 'true', 'dry-run': 'false', label: '' },
    ['build', '--verify'],
  ],
  [
    'lines are repeated options',
    { tag: ' v1 \n\nlatest\n' },
    ['build', '--tag', 'v1', '--tag', 'latest'],
  ],
  ['absent inputs are not given', { source: undefined }, ['build']],
];

for (const [name, inputs, want] of cases) {
  test(name, () => assert.deepEqual(argvOf('build', inputs), want));
}

test.run();
