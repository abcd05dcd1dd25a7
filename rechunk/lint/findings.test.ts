import assert from 'node:assert/strict';
import { test } from 'uvu';
import { NO_XATTRS } from '../../registry/tar.ts';
import { type Line, layers } from '../../test-images/layers.ts';
import { flatten } from '../flatten.ts';
import { FindingCollector } from './findings.ts';

/** The findings of layers, a line each: `CODE /PATH LAYERS DETAIL`. */
function findings(...lines: Line[][]): string[] {
  const collector = new FindingCollector();
  flatten(layers(...lines), collector);
  return collector
    .list()
    .map(({ code, path, layers: numbers, detail }) =>
      `${code} /${path} ${numbers.join()} ${detail}`.trim(),
    );
}

const dir = (name: string, more: Partial<{ mode: number; uid: number; mtime: bigint }>): Line => [
  `${name}/`,
  more,
];
const marked = (name: string): Line => [
  `${name}/`,
  { xattrs: new Map([['trusted.overlay.dirmeta_delegate', Buffer.from('y')]]) },
];
const base: Line[] = ['usr/', 'usr/lib/', 'usr/lib/a', 'lib -> usr/lib'];

const cases: readonly (readonly [string, Line[][], string[]])[] = [
  ['a whole image has none', [base, ['usr/', 'usr/lib/', 'usr/lib/b']], []],
  [
    'a sparse layer implies every directory on the way',
    [base, ['usr/lib/b']],
    ['implied-parent /usr 2', 'implied-parent /usr/lib 2'],
  ],
  [
    'layers that do the same are one finding',
    [base, ['usr/b'], ['usr/c']],
    ['implied-parent /usr 2,3'],
  ],
  [
    'a whiteout implies its parents too',
    [base, ['usr/.wh.lib']],
    ['implied-parent /usr 2', 'deletion /usr/lib 2'],
  ],
  ['a whiteout of nothing is no deletion', [base, ['.wh.nothing']], []],
  [
    'an opaque marker deletes every name',
    [base, ['usr/', 'usr/.wh..wh..opq', 'usr/b']],
    ['deletion /usr/lib 2'],
  ],
  [
    'a chain that lacks its upper part is partial',
    [base, ['usr/lib/', 'usr/lib/b']],
    ['partial-chain /usr 2'],
  ],
  [
    'a chain that lacks its lower part is partial',
    [base, ['usr/', 'usr/lib/b']],
    ['partial-chain /usr/lib 2'],
  ],
  ['the root alone makes no chain', [base, ['./', 'usr/b']], ['implied-parent /usr 2']],
  ['a directory after its entries is late', [['d/x', 'd/']], ['late-parent /d 1']],
  ['a path twice', [['f', 'f']], ['duplicate-path /f 1']],
  [
    'an implied directory over a symlink',
    [base, ['lib/b']],
    ['implied-parent /lib 2', 'symlinked-ancestor /lib 2 -> usr/lib'],
  ],
  ['a directory over a symlink', [base, ['lib/']], ['symlinked-ancestor /lib 2 -> usr/lib']],
  ['a directory where a symlink was deleted', [base, ['.wh.lib'], ['lib/']], ['deletion /lib 2']],
  ['an entry below a symlink of its layer', [[...base, 'lib/b']], ['symlinked-ancestor /lib/b 1']],
  [
    'layers that disagree',
    [base, [dir('usr', { mode: 0o700 })], [dir('usr', { mode: 0o700 })]],
    ['directory-disagreement /usr 1,2'],
  ],
  ['times do not count', [base, [dir('usr', { mtime: 5n })]], []],
  ['what a marker hides is no disagreement', [base, [marked('usr')]], ['delegate-marker /usr 2']],
  [
    'an overlay xattr, by name',
    [[['f', { xattrs: new Map([['user.overlay.redirect', Buffer.from('x')]]) }]]],
    ['overlay-xattr /f 1 user.overlay.redirect'],
  ],
  [
    'a hard link to a lower file',
    [base, ['h => usr/lib/a']],
    ['lower-hard-link /h 2 -> /usr/lib/a'],
  ],
];

for (const [name, lines, want] of cases) {
  test(name, () => assert.deepEqual(findings(...lines), want));
}

test('a watched flattening gives the same tree', () => {
  const all: Line[][] = [base, ['usr/lib/b', 'lib/c'], [['usr/', { xattrs: NO_XATTRS }]]];
  const plain = flatten(layers(...all));
  assert.deepEqual(flatten(layers(...all), new FindingCollector()), plain);
});

test.run();
