import assert from 'node:assert/strict';
import { test } from 'uvu';
import { type FileSpec, memoryTree } from '../test-images/trees.ts';
import { digestComponent, digestContent, fingerprintLayer } from './fingerprint.ts';
import { FULL, surround } from './parents.ts';
import type { Tree } from './tree.ts';

const xattrsOf = (names: readonly string[]): ReadonlyMap<string, Buffer> =>
  new Map(names.map((name) => [name, Buffer.from(name)]));

const filesOf = (tree: Tree): Tree['entries'] =>
  tree.entries.filter(({ inode }) => inode.type !== 'dir');

const component = (tree: Tree): string =>
  digestComponent({ id: 'c', kind: 'rest', size: 0, entries: filesOf(tree) });

const layer = (tree: Tree): string => fingerprintLayer(tree, surround(FULL, tree, filesOf(tree)));

const whole = (tree: Tree): string =>
  digestContent(tree, [{ id: 'c', kind: 'rest', size: 0, entries: filesOf(tree) }]);

const PLAIN: readonly FileSpec[] = [
  { path: 'a', content: 'x', xattrs: xattrsOf(['user.a', 'user.b']) },
  { path: 'b', content: 'x' },
];

test('xattrs count in whatever order a source lists them', () => {
  const other = [{ ...PLAIN[0], xattrs: xattrsOf(['user.b', 'user.a']) } as FileSpec, PLAIN[1]];
  const [one, two] = [memoryTree(PLAIN), memoryTree(other as FileSpec[])];
  assert.equal(component(two), component(one));
  assert.equal(layer(two), layer(one));
  assert.equal(whole(two), whole(one));
});

/** What decides a layer's bytes, and whether it decides a component's digest too. */
const changes: readonly (readonly [string, readonly FileSpec[], boolean])[] = [
  ['content', [{ path: 'b', content: 'y' }], true],
  ['a mode', [{ path: 'b', content: 'x', mode: 0o600 }], true],
  ['an owner', [{ path: 'b', content: 'x', uid: 7 }], true],
  ['a group', [{ path: 'b', content: 'x', gid: 7 }], true],
  ['a time', [{ path: 'b', content: 'x', mtime: 1n }], true],
  ['an xattr', [{ path: 'b', content: 'x', xattrs: xattrsOf(['user.a']) }], true],
  ['a name', [{ path: 'c', content: 'x' }], true],
  [
    'a parent',
    [
      { path: 'b', content: 'x' },
      { path: '', type: 'dir', mode: 0o700 },
    ],
    false,
  ],
];

for (const [name, specs, inComponent] of changes) {
  test(`${name}: another one gives another fingerprint`, () => {
    const [one, two] = [memoryTree(PLAIN), memoryTree([PLAIN[0] as FileSpec, ...specs])];
    assert.notEqual(layer(two), layer(one));
    assert.notEqual(whole(two), whole(one));
    assert.equal(component(two) !== component(one), inComponent);
  });
}

test('a hard link is not a file of equal content', () => {
  const files = (rest: Partial<FileSpec>): Tree =>
    memoryTree([
      { path: 'a', content: 'x' },
      { path: 'b', ...rest },
    ]);
  for (const digest of [layer, whole, component])
    assert.notEqual(digest(files({ link: 'a' })), digest(files({ content: 'x' })));
});

test('what decides the fingerprint of a layer is in the digest of its components and all their parents', () => {
  const specs = (mode: number): FileSpec[] => [
    { path: 'd/e/f', content: 'x' },
    { path: 'd', type: 'dir', mode },
  ];
  const trees = [0o755, 0o700].map((mode) => memoryTree(specs(mode)));
  assert.equal(new Set(trees.map(component)).size, 1);
  for (const digest of [layer, whole]) assert.equal(new Set(trees.map(digest)).size, 2);
  // What lies elsewhere decides nothing.
  const [tree, other] = [memoryTree(specs(0o755)), memoryTree([...specs(0o755), { path: 'g/h' }])];
  const own = { id: 'c', kind: 'rest', size: 0, entries: filesOf(tree) } as const;
  assert.equal(digestContent(other, [own]), digestContent(tree, [own]));
  assert.notEqual(digestContent(tree, [own]), digestContent(tree, []));
});

test('names and xattrs of any bytes are described as ever', () => {
  const odd = 'a"\\\n\x01\x7f\x80\xff';
  const xattrs = new Map([
    ['user."\\', Buffer.from([0, 255])],
    ['user.a\xff', Buffer.alloc(0)],
  ]);
  const tree = memoryTree([
    { path: odd, content: 'x', mtime: -1n, xattrs },
    { path: 'b', type: 'symlink', target: '"\t\xff\\' },
    { path: 'c', link: odd },
  ]);
  assert.equal(component(tree), '2UOEtSZoeBt2');
  assert.equal(layer(tree), '7c7d11b58d3a50f3a49acbaf9dd16f90');
});

test.run();
