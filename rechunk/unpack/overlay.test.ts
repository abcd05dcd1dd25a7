/** What directories for overlayfs hold, by shapes of layers. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { type Line, layers } from '../../test-images/layers.ts';
import { unpackUpper } from '../upper.ts';
import { Overlay, type OverlayOptions } from './overlay.ts';

const MARK = new Map([['trusted.overlay.dirmeta_delegate', Buffer.from('y')]]);
const USER_MARK = new Map([['user.overlay.dirmeta_delegate', Buffer.from('y')]]);
const OTHER = new Map([['trusted.overlay.redirect', Buffer.from('/x')]]);
const dir = (mode: number): Line[1] & object => ({ mode });
const private_ = dir(0o700);

/** Lines for the entries of each layer: name and octal mode of a directory, `-` a deletion, then the markers. */
function show(options: Partial<OverlayOptions>, ...all: Line[][]): string[][] {
  const overlay = new Overlay({ namespace: 'trusted', mark: false, resolve: false, ...options });
  return layers(...all).map((index, number) => {
    const upper = unpackUpper(index, number, overlay.root, () => {});
    return overlay.add(upper.root).entries.map(({ path, inode, markers }) => {
      const kind = inode.type === 'dir' ? `/ ${inode.mode.toString(8)}` : '';
      const name = inode.type === 'char' ? `-${path}` : `${path}${kind}`;
      return [name, ...[...markers.keys()].map((key) => key.replace(/\.overlay\./, ' '))].join(' ');
    });
  });
}

const top = (...lines: string[]): string[] => ['/ 755', ...lines];

test('deletions become devices where they hide something, and are left out where not', () => {
  assert.deepEqual(show({}, ['a', 'd/', 'd/b'], ['.wh.a', '.wh.none', 'd/.wh.b', 'e/.wh.x']), [
    top('a', 'd/ 755', 'd/b'),
    top('-a', 'd/ 755', '-d/b', 'e/ 755'),
  ]);
});

test('a deletion in a layer that makes the path again hides what was below', () => {
  const base = ['a/', 'a/x', 'f'];
  assert.deepEqual(
    show({}, base, ['.wh.a', 'a/', 'a/y', '.wh.f', 'f'])[1],
    top('a/ 755 trusted opaque', 'a/y', 'f'),
  );
  assert.deepEqual(show({}, base, ['.wh.a', 'a/.wh.x'])[1], top('-a'));
});

test('opaque directories are marked in the namespace that is mounted', () => {
  const base = ['a/', 'a/x'];
  const upper = ['a/', 'a/.wh..wh..opq', 'a/y'];
  assert.deepEqual(show({}, base, upper)[1], top('a/ 755 trusted opaque', 'a/y'));
  assert.deepEqual(show({ namespace: 'user' }, base, upper)[1], top('a/ 755 user opaque', 'a/y'));
  assert.deepEqual(show({}, upper), [top('a/ 755', 'a/y')]);
});

test('an opaque root deletes name by name, since overlayfs takes no root as opaque', () => {
  assert.deepEqual(
    show({}, ['a/', 'a/x', 'f', 'g'], ['.wh..wh..opq', 'a/', 'f'])[1],
    top('a/ 755 trusted opaque', 'f', '-g'),
  );
});

test('what a layer deleted is not deleted again above', () => {
  assert.deepEqual(show({}, ['a'], ['.wh.a'], ['.wh.a']), [top('a'), top('-a'), top()]);
});

test('implied directories are marked, whichever order the entries come in; explicit ones are not', () => {
  const mark = { mark: true } as const;
  const root = '/ 755 trusted dirmeta_delegate';
  assert.deepEqual(show(mark, ['a/b/f'])[0], [
    root,
    'a/ 755 trusted dirmeta_delegate',
    'a/b/ 755 trusted dirmeta_delegate',
    'a/b/f',
  ]);
  assert.deepEqual(show(mark, ['a/f', ['a/', private_]])[0], [root, 'a/ 700', 'a/f']);
  assert.deepEqual(show(mark, [['a/', private_], 'a/f'])[0], [root, 'a/ 700', 'a/f']);
  assert.deepEqual(show({ mark: true, namespace: 'user' }, ['./', 'a/f'])[0], [
    '/ 755',
    'a/ 755 user dirmeta_delegate',
    'a/f',
  ]);
});

test('marks that the layer has stay in the namespace that is asked for, or go; other overlay xattrs always go', () => {
  const marked: Line[] = ['./', ['a/', { mode: 0o700, xattrs: USER_MARK }]];
  assert.deepEqual(show({ mark: true }, marked)[0], ['/ 755', 'a/ 700 trusted dirmeta_delegate']);
  assert.deepEqual(show({}, marked)[0], ['/ 755', 'a/ 700']);
  assert.deepEqual(show({ mark: true }, ['./', ['a/', { mode: 0o700, xattrs: OTHER }]])[0], [
    '/ 755',
    'a/ 700',
  ]);
});

test('a late explicit entry without a mark clears the mark of an earlier one', () => {
  const twice: Line[] = [
    './',
    ['a/', { mode: 0o700, xattrs: MARK }],
    'a/f',
    ['a/', { mode: 0o711 }],
  ];
  assert.deepEqual(show({ mark: true }, twice)[0], ['/ 755', 'a/ 711', 'a/f']);
});

/** What the directory `a` of the topmost layer gets with `resolve`, by layers. */
const RESOLVED: readonly (readonly [string, number, Line[][]])[] = [
  [
    'the nearest lower layer that defines it',
    0o711,
    [[['a/', private_]], [['a/', dir(0o711)]], ['a/f']],
  ],
  ['the nearest below layers that imply it', 0o700, [[['a/', private_]], ['a/g'], ['a/f']]],
  ['its own where it is defined', 0o750, [[['a/', private_]], [['a/', dir(0o750)], 'a/f']]],
  [
    'that of below where its own is marked',
    0o700,
    [[['a/', private_]], [['a/', { mode: 0o750, xattrs: MARK }]]],
  ],
  [
    'that below a marked one',
    0o700,
    [[['a/', private_]], [['a/', { mode: 0o750, xattrs: MARK }]], ['a/f']],
  ],
  [
    'that of the topmost where all are marked',
    0o711,
    [[['a/', { mode: 0o750, xattrs: MARK }]], [['a/', { mode: 0o711, xattrs: MARK }]]],
  ],
  [
    'that of the topmost that says something where none is unmarked',
    0o750,
    [[['a/', { mode: 0o750, xattrs: MARK }]], ['a/f']],
  ],
  ['0755 where no layer says anything', 0o755, [['a/g'], ['a/f']]],
  ['nothing from behind a deletion', 0o755, [[['a/', private_]], ['.wh.a'], ['a/f']]],
  [
    'nothing from behind a deletion of its own layer',
    0o755,
    [[['a/', private_]], ['.wh.a', 'a/f']],
  ],
  [
    'nothing from behind an opaque marker',
    0o755,
    [[['a/', private_]], ['a/.wh..wh..opq'], ['a/f']],
  ],
  [
    'what the opaque directory has',
    0o711,
    [[['a/', private_]], [['a/', dir(0o711)], 'a/.wh..wh..opq'], ['a/f']],
  ],
  [
    'nothing from behind an opaque parent',
    0o755,
    [[['a/', private_]], ['.wh..wh..opq', 'b'], ['a/f']],
  ],
  ['nothing from behind a file', 0o755, [[['a/', private_]], ['a'], ['a/f']]],
  ['nothing from behind a symlink', 0o755, [[['a/', private_]], ['a -> b'], ['a/f']]],
];

for (const [name, mode, stack] of RESOLVED) {
  test(`a directory gets ${name}`, () => {
    const lines = show({ resolve: true }, ...stack).at(-1) ?? [];
    const found = lines.find((line) => line.startsWith('a/ '));
    assert.equal(found?.split(' ')[1], mode.toString(8));
  });
}

test('resolved directories are marked too where both are asked for, and counted', () => {
  const both = { mark: true, resolve: true } as const;
  const stack: Line[][] = [['./', ['a/', private_]], ['a/f']];
  assert.deepEqual(show(both, ...stack)[1], [
    '/ 755 trusted dirmeta_delegate',
    'a/ 700 trusted dirmeta_delegate',
    'a/f',
  ]);
  const overlay = new Overlay({ namespace: 'trusted', ...both });
  const counts = layers(...stack).map((index, number) => {
    const { implied, marked, resolved } = overlay.add(
      unpackUpper(index, number, overlay.root, () => {}).root,
    );
    return { implied, marked, resolved };
  });
  assert.deepEqual(counts, [
    { implied: 0, marked: 0, resolved: 0 },
    { implied: 2, marked: 2, resolved: 2 },
  ]);
});

test.run();
