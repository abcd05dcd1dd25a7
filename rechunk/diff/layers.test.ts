/** What is said of layers: which are shared, which continues which, and why each differs. Small trees, facts by hand. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { type FileSpec, memoryTree } from '../../test-images/trees.ts';
import type { Component } from '../components.ts';
import {
  changedDirectories,
  type FileCounts,
  NO_FILES,
  pairFiles,
  type Side,
  sideOf,
} from './files.ts';
import {
  type Cause,
  compareLayers,
  DIRECTORIES,
  type LayerChange,
  type LayerFacts,
} from './layers.ts';

/** Files whose components are their first directories: `a/x` is of component `a`. */
function side(specs: readonly FileSpec[]): Side {
  const tree = memoryTree(specs);
  const files = tree.entries.filter(
    ({ path, inode }) => inode.type !== 'dir' || tree.list(path).length === 0,
  );
  const groups = Map.groupBy(files, ({ path }) => path.split('/')[0] ?? '');
  const components = [...groups].map(
    ([id, entries]): Component => ({ id, kind: 'package', entries, size: 0 }),
  );
  return sideOf(tree, components);
}

/** Layers told by one letter each for the diffID; a capital is the same content in another blob. S and T are skeletons, W and V whiteouts. */
function facts(letters: string): LayerFacts[] {
  return [...letters].map((letter) => ({
    digest: `sha256:${letter}`,
    diffId: `sha256:${letter.toLowerCase()}`,
    size: 10,
    ...(/[ST]/.test(letter) ? { role: 'skeleton' } : {}),
    ...(/[WV]/.test(letter) ? { role: 'whiteouts' } : {}),
  }));
}

function compare(
  before: readonly [string, readonly FileSpec[]],
  after: readonly [string, readonly FileSpec[]],
): ReturnType<typeof compareLayers> {
  const sides = { old: side(before[1]), new: side(after[1]) };
  const pairs = pairFiles(sides.old, sides.new);
  const directories = changedDirectories(sides.old, sides.new);
  return compareLayers({
    old: facts(before[0]),
    new: facts(after[0]),
    sides,
    pairs,
    directories,
  });
}

/** What tests look at: number, state, the old layer, the reason. */
const shape = ({ layer, state, old, reason }: LayerChange): unknown => [layer, state, old, reason];

const cause = (component: string, more: Partial<Cause>): Cause => ({
  component,
  files: NO_FILES,
  movedIn: 0,
  from: [],
  movedOut: 0,
  to: [],
  bytes: 0,
  ...more,
});

const A: FileSpec = { path: 'a/one', content: 'one', layer: 0 };
const B: FileSpec = { path: 'b/two', content: 'two', layer: 1 };

test('layers with the same digest are shared wherever they stand, each once', () => {
  const { layers, gone } = compare(['abb', [A, B]], ['bba', [A, B]]);
  assert.deepEqual(layers.map(shape), [
    [1, 'shared', 2, undefined],
    [2, 'shared', 3, undefined],
    [3, 'shared', 1, undefined],
  ]);
  assert.deepEqual(gone, []);
});

test('the same content in another blob is recompressed', () => {
  assert.deepEqual(compare(['ab', [A, B]], ['AB', [A, B]]).layers.map(shape), [
    [1, 'recompressed', 1, undefined],
    [2, 'recompressed', 2, undefined],
  ]);
});

test('a layer that is there more often than before is shared each time', () => {
  assert.deepEqual(compare(['ab', [A, B]], ['aba', [A, B]]).layers.map(shape), [
    [1, 'shared', 1, undefined],
    [2, 'shared', 2, undefined],
    [3, 'shared', 1, undefined],
  ]);
});

/** A directory with nothing in it, which is in a component. */
const VOID: FileSpec = { path: 'void', type: 'dir', layer: 2 };

test('a skeleton continues a skeleton, and its reason is what differs of directories', () => {
  const kinds: readonly (readonly [readonly FileSpec[], string, Partial<FileCounts>])[] = [
    [[A, B, VOID, { path: 'a', type: 'dir', mode: 0o700 }], 'metadata', { metadata: 1 }],
    [[A, B, { ...VOID, mtime: 1n }], 'times', { times: 1 }],
    [[A, B], 'content', { removed: 1 }],
    [[A, B, VOID, { path: 'a/deep/c', layer: 0 }], 'content', { added: 1 }],
    [[A, B, VOID], 'archive', {}],
  ];
  for (const [after, reason, counts] of kinds) {
    const { layers, gone } = compare(['abS', [A, B, VOID]], ['Tab', after]);
    assert.deepEqual(layers.map(shape)[0], [1, 'changed', 3, reason]);
    const files = { ...NO_FILES, ...counts };
    const causes = reason === 'archive' ? [] : [cause(DIRECTORIES, { files })];
    assert.deepEqual([layers[0]?.causes, gone], [causes, []]);
  }
});

test('whiteouts continue whiteouts, and no skeleton', () => {
  const { layers, gone } = compare(['WaS', [{ ...A, layer: 1 }]], ['VTa', [{ ...A, layer: 2 }]]);
  assert.deepEqual(layers.map(shape), [
    [1, 'changed', 1, 'archive'],
    [2, 'changed', 3, 'archive'],
    [3, 'shared', 2, undefined],
  ]);
  assert.deepEqual(gone, []);
});

test('a skeleton is taken for no content, and content for no skeleton', () => {
  const before: FileSpec[] = [A, { ...VOID, layer: 1 }];
  const after: FileSpec[] = [
    { ...A, layer: 1 },
    { ...VOID, layer: 0 },
  ];
  const { layers, gone } = compare(['ax', before], ['Sa', after]);
  assert.deepEqual(layers.map(shape), [
    [1, 'new', undefined, 'archive'],
    [2, 'shared', 1, undefined],
  ]);
  assert.equal(gone.length, 1);
});

test('a layer whose files are all as they were says so', () => {
  const { layers } = compare(['a', [A]], ['x', [A]]);
  assert.deepEqual(layers.map(shape), [[1, 'changed', 1, 'archive']]);
  assert.deepEqual(layers[0]?.causes, []);
});

const KINDS: readonly (readonly [string, Partial<FileSpec>, string, keyof typeof NO_FILES])[] = [
  ['content', { content: 'uno' }, 'content', 'content'],
  ['a mode', { mode: 0o600 }, 'metadata', 'metadata'],
  ['an owner', { uid: 7 }, 'metadata', 'metadata'],
  ['an xattr', { xattrs: new Map([['user.x', Buffer.from('1')]]) }, 'metadata', 'metadata'],
  ['nothing but the time', { mtime: 5n }, 'times', 'times'],
  ['the type', { type: 'fifo', content: '' }, 'content', 'content'],
  ['mode and time', { mode: 0o600, mtime: 5n }, 'metadata', 'metadata'],
];

for (const [what, change, reason, kind] of KINDS) {
  test(`a file that differs in ${what} is the cause, and the reason is ${reason}`, () => {
    const { layers } = compare(['a', [A]], ['x', [{ ...A, ...change }]]);
    assert.deepEqual(layers.map(shape), [[1, 'changed', 1, reason]]);
    assert.deepEqual(layers[0]?.causes, [
      cause('a', { files: { ...NO_FILES, [kind]: 1 }, bytes: change.type === 'fifo' ? 0 : 3 }),
    ]);
  });
}

test('a second name of a file is metadata of the first', () => {
  const { layers } = compare(['a', [A]], ['x', [A, { path: 'a/too', link: 'a/one' }]]);
  const files = { ...NO_FILES, added: 1, metadata: 1 };
  assert.deepEqual(layers[0]?.causes, [cause('a', { files, bytes: 3 })]);
});

test('files added and removed are counted, the largest component first', () => {
  const old = [A, { path: 'a/gone', content: 'gone' }];
  const next = [A, { path: 'c/large', content: 'a large one' }];
  const { layers } = compare(['a', old], ['x', next]);
  assert.deepEqual(layers[0]?.causes, [
    cause('c', { files: { ...NO_FILES, added: 1 }, bytes: 11 }),
    cause('a', { files: { ...NO_FILES, removed: 1 }, bytes: 4 }),
  ]);
});

test('what moved is told on both sides, with the layers it came from and went to', () => {
  const big = { path: 'b/big', content: 'x'.repeat(5000), layer: 1 };
  const old = [A, big, { ...B, path: 'm/moves' }];
  const next = [A, big, { ...B, path: 'm/moves', layer: 0 }];
  const { layers } = compare(['ab', old], ['xy', next]);
  assert.deepEqual(layers.map(shape), [
    [1, 'changed', 1, 'moves'],
    [2, 'changed', 2, 'moves'],
  ]);
  assert.deepEqual(layers[0]?.causes, [cause('m', { movedIn: 1, from: [2], bytes: 3 })]);
  assert.deepEqual(layers[1]?.causes, [cause('m', { movedOut: 1, to: [1], bytes: 3 })]);
});

test('a file that moved and changed is both', () => {
  const old = [A, B, { path: 'b/stays', content: 'x'.repeat(5000), layer: 1 }];
  const next = [A, { ...B, content: 'new', layer: 0 }, ...old.slice(2)];
  const [first] = compare(['ab', old], ['xy', next]).layers;
  const files = { ...NO_FILES, content: 1 };
  assert.deepEqual(first?.causes, [cause('b', { files, movedIn: 1, from: [2], bytes: 3 })]);
  assert.equal(first?.reason, 'content');
});

test('a layer continues the one that it has most bytes in common with, even of other versions', () => {
  const old = [
    { path: 'a/v1', content: 'x'.repeat(9000), layer: 0 },
    { path: 'b/v1', content: 'y'.repeat(5000), layer: 1 },
  ];
  const next = [
    { path: 'b/v2', content: 'z'.repeat(5500), layer: 0 },
    { path: 'a/v2', content: 'x'.repeat(9000), layer: 1 },
  ];
  assert.deepEqual(compare(['ab', old], ['xy', next]).layers.map(shape), [
    [1, 'changed', 2, 'content'],
    [2, 'changed', 1, 'content'],
  ]);
});

test('of a component that lay in two layers, the larger part counts', () => {
  const old = [
    { path: 'a/little', content: 'x'.repeat(100), layer: 0 },
    { path: 'a/much', content: 'x'.repeat(8000), layer: 1 },
  ];
  const next = [{ path: 'a/all', content: 'x'.repeat(9000), layer: 0 }];
  const { layers, gone } = compare(['ab', old], ['x', next]);
  assert.deepEqual(layers.map(shape), [[1, 'changed', 2, 'content']]);
  assert.deepEqual(
    gone.map(({ layer }) => layer),
    [1],
  );
});

test('a layer with nothing in common is new, and what no layer continues is gone', () => {
  const { layers, gone } = compare(['ab', [A, B]], ['ac', [A, { ...B, path: 'c/two' }]]);
  assert.deepEqual(layers.map(shape), [
    [1, 'shared', 1, undefined],
    [2, 'new', undefined, 'content'],
  ]);
  assert.deepEqual(
    gone.map(({ layer, digest }) => [layer, digest]),
    [[2, 'sha256:b']],
  );
});

test('a directory that changed explains every layer that repeats it and has no other cause', () => {
  const directory = (mode: number): FileSpec => ({ path: 'a', type: 'dir', mode, layer: 1 });
  const files = [A, { ...A, path: 'a/two', layer: 1 }];
  const { layers } = compare(
    ['ab', [directory(0o755), ...files]],
    ['xy', [directory(0o700), ...files]],
  );
  const expected = [cause(DIRECTORIES, { files: { ...NO_FILES, metadata: 1 } })];
  assert.deepEqual(
    layers.map(({ reason, causes }) => [reason, causes]),
    [
      ['metadata', expected],
      ['metadata', expected],
    ],
  );
});

test('an empty directory that gets something in it is neither removed nor changed', () => {
  const empty: FileSpec = { path: 'a/d', type: 'dir' };
  const filled = { path: 'a/d/x', content: 'x' };
  const sides = [
    [A, empty],
    [A, filled],
  ].map((specs) => {
    const tree = memoryTree(specs);
    const entries = tree.entries.filter(
      ({ path, inode }) => inode.type !== 'dir' || tree.list(path).length === 0,
    );
    return sideOf(tree, [{ id: 'a', kind: 'package', entries, size: 0 }]);
  });
  const [before, after] = sides as [Side, Side];
  const changes = (old: Side, next: Side): unknown =>
    pairFiles(old, next).flatMap(({ path, change }) => (change ? [[path, change]] : []));
  assert.deepEqual(changes(before, after), [['a/d/x', 'added']]);
  assert.deepEqual(changes(after, before), [['a/d/x', 'removed']]);
  assert.deepEqual([...changedDirectories(before, after)], []);
});

test.run();
