import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../registry/errors.ts';
import { comparePaths, type Path, parentOf } from '../registry/path.ts';
import { type FileSpec, memoryTree } from '../test-images/trees.ts';
import { componentsAbove, directoriesAbove, layOver, lostFiles, whiteoutsOf } from './base.ts';
import type { Component } from './components.ts';
import { flatten } from './flatten.ts';
import { FULL, type ParentsPolicy, surround } from './parents.ts';
import { type Entry, type Inode, Tree } from './tree.ts';
import type { LayerIndex } from './upper.ts';
import { compareTrees } from './verify.ts';

const SEED = 20261121;

/** `d/` a directory, `s -> t` a symlink, `h => f` a hard link, else a file; after `:` its content, or its mode where it is octal. */
function specOf(line: string): FileSpec {
  const [name = '', more] = line.split(':');
  const [path = '', target] = name.split(' -> ');
  const [own = '', link] = path.split(' => ');
  if (link !== undefined) return { path: own, link };
  if (target !== undefined) return { path, target };
  const isMode = more !== undefined && /^0\d+$/.test(more);
  const mode = isMode ? { mode: Number.parseInt(more, 8) } : {};
  if (own.endsWith('/')) return { path: own.slice(0, -1), type: 'dir', ...mode };
  return { path: own, content: isMode ? '' : (more ?? ''), ...mode };
}

const treeOf = (lines: readonly string[]): Tree => memoryTree(lines.map(specOf));

/** The components of a tree as `assign` makes them, all in one: directories only where nothing is in them. */
function componentOf(tree: Tree): Component {
  const entries = tree.entries.filter(
    ({ path, inode }) => inode.type !== 'dir' || (path !== '' && tree.list(path).length === 0),
  );
  return { id: 'all', kind: 'rest', entries, size: 0 };
}

const pathsOf = (entries: readonly Entry[]): string[] => entries.map(({ path }) => path);

interface Shown {
  readonly own: readonly string[];
  readonly directories?: readonly string[];
  readonly whiteouts?: readonly string[];
}

const BASE = [
  'd/',
  'd/a:1',
  'd/b:2',
  'e/',
  'e/x:3',
  'e/y => e/x',
  'l -> d',
  'z/',
  'z/sub/',
  'z/sub/f:4',
];
const without = (...gone: string[]): string[] =>
  BASE.filter((line) => !gone.some((one) => line === one || line.startsWith(`${one}:`)));

const tables: readonly (readonly [string, readonly string[], Shown])[] = [
  ['nothing lies above where nothing differs', BASE, { own: [] }],
  ['a new file lies above', [...BASE, 'd/c:5'], { own: ['d/c'] }],
  ['a changed file lies above', [...without('d/a'), 'd/a:other'], { own: ['d/a'] }],
  ['a deleted file is hidden', without('d/a'), { own: [], whiteouts: ['d/.wh.a'] }],
  [
    'of what is deleted the topmost name is hidden alone',
    without('z/', 'z/sub/', 'z/sub/f'),
    { own: [], whiteouts: ['.wh.z'] },
  ],
  [
    'a directory in place of a symlink is hidden first',
    [...without('l -> d'), 'l/', 'l/new:6'],
    { own: ['l/new'], whiteouts: ['.wh.l'] },
  ],
  [
    'a symlink in place of a directory is hidden first, once',
    [...without('z/', 'z/sub/', 'z/sub/f'), 'z -> d'],
    { own: ['z'], whiteouts: ['.wh.z'] },
  ],
  [
    'a directory in place of a file is hidden first',
    [...without('d/a'), 'd/a/'],
    { own: ['d/a'], whiteouts: ['d/.wh.a'] },
  ],
  ['a file in place of a symlink is not hidden', [...without('l -> d'), 'l:1'], { own: ['l'] }],
  [
    'a group with a new name lies above whole',
    [...BASE, 'd/z => e/x'],
    { own: ['d/z', 'e/x', 'e/y'] },
  ],
  [
    'a group that lost a name is what is left of it',
    without('e/y => e/x'),
    { own: [], whiteouts: ['e/.wh.y'] },
  ],
  [
    'of a group that fell apart one file is what it was',
    [...without('e/y => e/x'), 'e/y:3'],
    { own: ['e/y'] },
  ],
  ['files that became one lie above', [...without('d/b'), 'd/b => d/a'], { own: ['d/a', 'd/b'] }],
  [
    'a directory that differs, with nothing else below it',
    [...BASE, 'd/:0700', 'z/:0711', 'z/sub/:0700'],
    { own: [], directories: ['d', 'z/sub'] },
  ],
  [
    'a directory that differs is held by what is new in it',
    [...BASE, 'd/:0700', 'd/c:5'],
    { own: ['d/c'] },
  ],
  [
    'a directory that differs is held by a whiteout in it',
    [...without('d/a'), 'd/:0700'],
    { own: [], whiteouts: ['d/.wh.a'] },
  ],
  ['a new empty directory lies above', [...BASE, 'd/new/'], { own: ['d/new'] }],
];

for (const [name, lines, { own, directories = [], whiteouts = [] }] of tables) {
  test(name, () => {
    const overlay = layOver(treeOf(BASE), treeOf(lines));
    const above = componentsAbove(overlay, [componentOf(overlay.tree)]);
    const entriesOf = (id: string): string[] =>
      pathsOf(above.find((one) => one.id === id)?.entries ?? []);
    assert.deepEqual(entriesOf('all'), own);
    assert.deepEqual(entriesOf('directories'), directories);
    assert.deepEqual(pathsOf(whiteoutsOf(overlay)), whiteouts);
  });
}

const fields: readonly (readonly [string, Partial<FileSpec>])[] = [
  ['mode', { mode: 0o600 }],
  ['owner', { uid: 5 }],
  ['group', { gid: 5 }],
  ['time', { mtime: 1n }],
  ['attributes', { xattrs: new Map([['user.a', Buffer.from('b')]]) }],
  ['content', { content: 'y' }],
];

for (const [name, change] of fields) {
  test(`a file that differs in its ${name} alone lies above`, () => {
    const spec: FileSpec = { path: 'f', content: 'x' };
    const overlay = layOver(memoryTree([spec]), memoryTree([{ ...spec, ...change }]));
    assert.deepEqual(pathsOf(componentOf(overlay.tree).entries), ['f']);
    assert.equal(overlay.kept.has(overlay.tree.get('f' as Path) as Inode), false);
  });
}

test('sizes of components count what lies above', () => {
  const overlay = layOver(treeOf(['a:1', 'b:22']), treeOf(['a:1', 'b:22', 'c:333', 'd => c']));
  const [all] = componentsAbove(overlay, [componentOf(overlay.tree)]);
  assert.equal(all?.size, 3);
});

test('a component of which nothing lies above is none', () => {
  const tree = treeOf(BASE);
  assert.deepEqual(componentsAbove(layOver(treeOf(BASE), tree), [componentOf(tree)]), []);
});

test('directories that differ join the component of directories', () => {
  const overlay = layOver(treeOf(['a/', 'a/f', 'd/']), treeOf(['a/:0700', 'a/f', 'd/:0700', 'e/']));
  const { entries } = componentOf(overlay.tree);
  const [one, ...none] = componentsAbove(overlay, [
    {
      id: 'directories',
      kind: 'directories',
      entries: entries.filter(({ inode }) => inode.type === 'dir'),
      size: 0,
    },
    {
      id: 'rest',
      kind: 'rest',
      entries: entries.filter(({ inode }) => inode.type !== 'dir'),
      size: 0,
    },
  ]);
  assert.deepEqual(
    [one?.id, pathsOf(one?.entries ?? []), none],
    ['directories', ['a', 'd', 'e'], []],
  );
});

test('a directory that the base implies is defined above, unless the image implies it too', () => {
  const implied = memoryTree([{ path: 'd', type: 'dir', layer: -1 }, { path: 'd/f' }]);
  const defined = treeOf(['d/', 'd/f']);
  assert.deepEqual(pathsOf(directoriesAbove(layOver(implied, defined)).changed), ['d']);
  assert.deepEqual(pathsOf(directoriesAbove(layOver(implied, implied)).changed), []);
  assert.deepEqual(pathsOf(directoriesAbove(layOver(defined, implied)).changed), []);
});

test('the root is defined above where the base has another one', () => {
  const root = (more: Partial<FileSpec>): Tree => memoryTree([{ path: '', type: 'dir', ...more }]);
  const changed = (base: Tree, tree: Tree): string[] =>
    pathsOf(directoriesAbove(layOver(base, tree)).changed);
  assert.deepEqual(changed(root({ mode: 0o700 }), root({ layer: -1 })), ['']);
  assert.deepEqual(changed(root({}), root({ layer: -1 })), []);
  assert.deepEqual(changed(root({ layer: -1 }), root({ mode: 0o700 })), ['']);
  const [only] = componentsAbove(layOver(root({ mode: 0o700 }), root({ layer: -1 })), []);
  assert.deepEqual(pathsOf(only?.entries ?? []), ['']);
});

test('skeletons hold what differs, and ancestors of all that lies above or is hidden', () => {
  const overlay = layOver(
    treeOf(['a/', 'a/b/', 'a/b/f', 'c/', 'c/d/', 'c/d/g', 'k/', 'k/h', 'm/', 'm/n/', 'm/n/i']),
    treeOf([
      'a/',
      'a/b/',
      'a/b/f:new',
      'c/',
      'c/d/',
      'k/',
      'k/h',
      'm/',
      'm/n/:0700',
      'm/n/i',
      'new/',
    ]),
  );
  const { changed, needed } = directoriesAbove(overlay);
  assert.deepEqual(pathsOf(changed), ['m/n', 'new']);
  assert.deepEqual(pathsOf(needed), ['', 'a', 'a/b', 'c', 'c/d', 'm', 'm/n', 'new']);
});

test('there is no skeleton of the root alone', () => {
  assert.deepEqual(directoriesAbove(layOver(treeOf(BASE), treeOf(BASE))).needed, []);
});

test('files of the base that nothing shows are counted with what replaced them', () => {
  const base = treeOf(BASE);
  const lines = [...without('d/a', 'e/y => e/x', 'z/', 'z/sub/', 'z/sub/f'), 'd/a:9', 'z -> d'];
  assert.deepEqual(pathsOf(lostFiles(base, layOver(base, treeOf(lines)))), ['d/a', 'z/sub/f']);
});

test('a name that no whiteout can have is refused', () => {
  const name = 'n'.repeat(252);
  assert.throws(
    () => layOver(treeOf([name]), treeOf([])),
    (error: unknown) =>
      error instanceof RechunkError &&
      error.code === 'limit' &&
      /252 bytes.*251/.test(error.message),
  );
  assert.equal(layOver(treeOf([name.slice(1)]), treeOf([])).hidden.length, 1);
});

/** A layer that holds `entries` of `tree`, as it would be read again. */
function layerOf(tree: Tree, entries: Iterable<Entry>): LayerIndex {
  const seen = new Map<Inode, Path>();
  const indexed = [...entries].map(({ path, inode }) => {
    const link = seen.get(inode);
    if (tree.links.has(inode)) seen.set(inode, link ?? path);
    const type = link === undefined ? inode.type : ('link' as const);
    return { ...inode, type, path, link: link ?? inode.target, offset: 0 };
  });
  return { name: 'a layer', entries: indexed, body: () => ({ file: 0, offset: 0 }) };
}

/** A base, and the layers that make `target` of it, flattened. */
function rebuild(base: Tree, target: Tree, policy: ParentsPolicy): Tree {
  const overlay = layOver(base, target);
  const { tree } = overlay;
  const directories = policy.kind === 'full';
  const own = componentsAbove(overlay, [componentOf(tree)])
    .flatMap(({ entries }) => entries)
    .filter(({ inode }) => directories || inode.type !== 'dir')
    .sort((a, b) => comparePaths(a.path, b.path));
  const layers = [
    layerOf(
      base,
      base.entries.filter(({ path, inode }) => path !== '' || inode.layer >= 0),
    ),
    layerOf(tree, surround(policy, tree, whiteoutsOf(overlay))),
    layerOf(tree, surround(policy, tree, own)),
    ...(directories ? [] : [layerOf(tree, directoriesAbove(overlay).needed)]),
  ];
  return new Tree(flatten(layers).entries, {
    read: async () => Buffer.alloc(0),
    digests: async () => [],
  });
}

const NAMES = ['a', 'b', 'c'];
const node = fc.record({
  kind: fc.constantFrom('file', 'file', 'dir', 'dir', 'symlink', 'link', 'gone'),
  content: fc.constantFrom('x', 'y'),
  mode: fc.constantFrom(0o755, 0o700),
  mtime: fc.constantFrom(0n, 1n),
});
const PATHS = NAMES.flatMap((a) => [
  a,
  ...NAMES.flatMap((b) => [`${a}/${b}`, ...NAMES.map((c) => `${a}/${b}/${c}`)]),
]);
/** Any tree over a few names: what lies below anything but a directory is left out. */
const someTree = fc
  .tuple(fc.boolean(), fc.array(node, { minLength: PATHS.length, maxLength: PATHS.length }))
  .map(([hasRoot, nodes]) => {
    const specs = new Map<string, FileSpec>();
    if (hasRoot) specs.set('', { path: '', type: 'dir' });
    let file: string | undefined;
    for (const [i, path] of PATHS.entries()) {
      const { kind, content, mode, mtime } = nodes[i] as (typeof nodes)[number];
      const parent = parentOf(path as Path);
      if (kind === 'gone' || (parent !== '' && specs.get(parent)?.type !== 'dir')) continue;
      if (kind === 'link' && file !== undefined) specs.set(path, { path, link: file });
      else if (kind === 'dir') specs.set(path, { path, type: 'dir', mode, mtime });
      else if (kind === 'symlink') specs.set(path, { path, target: content, mtime });
      else {
        specs.set(path, { path, content, mode, mtime });
        file ??= path;
      }
    }
    return memoryTree(specs.values());
  });

for (const policy of [
  FULL,
  { kind: 'shared' },
  { kind: 'delegate', fallback: 'neutral' },
] as const) {
  test(`base, whiteouts and what lies above are what was meant (${policy.kind})`, () =>
    fc.assert(
      fc.asyncProperty(someTree, someTree, async (base, target) => {
        const { differences } = await compareTrees(target, rebuild(base, target, policy), {
          dirMtime: 'keep',
        });
        assert.deepEqual(differences, []);
      }),
      { seed: SEED, numRuns: 400 },
    ));
}

test.run();
