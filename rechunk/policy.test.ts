import assert from 'node:assert/strict';
import { test } from 'uvu';
import { RechunkError } from '../registry/errors.ts';
import type { Path } from '../registry/path.ts';
import { makePyc } from '../test-images/pyc.ts';
import { memoryTree } from '../test-images/trees.ts';
import { applyPolicy, describePolicy, type Policy } from './policy.ts';
import type { Tree } from './tree.ts';

const SECOND = 1_000_000_000n;

function times(tree: Tree): Record<string, string> {
  return Object.fromEntries(
    tree.entries
      .filter(({ path }) => path !== '')
      .map(({ path, inode }) => [path, String(inode.mtime / SECOND)]),
  );
}

const tree = (): Tree =>
  memoryTree([
    { path: 'd', type: 'dir', mtime: 50n * SECOND },
    { path: 'd/new', content: 'x', mtime: 200n * SECOND },
    { path: 'd/old', content: 'y', mtime: 10n * SECOND },
    { path: 'e', type: 'dir', mtime: 60n * SECOND },
    { path: 'e/link', link: 'd/new' },
  ]);

const tables: readonly (readonly [string, Policy, Record<string, string>])[] = [
  [
    'by default files keep their times and directories have 0',
    {},
    { d: '0', 'd/new': '200', 'd/old': '10', e: '0', 'e/link': '200' },
  ],
  [
    'directory times are kept on demand',
    { dirMtime: 'keep' },
    { d: '50', 'd/new': '200', 'd/old': '10', e: '60', 'e/link': '200' },
  ],
  [
    'clamp lowers only what is later',
    { mtime: { kind: 'clamp', time: 100n * SECOND } },
    { d: '0', 'd/new': '100', 'd/old': '10', e: '0', 'e/link': '100' },
  ],
  [
    'a date is for all files',
    { mtime: { kind: 'set', time: 7n * SECOND } },
    { d: '0', 'd/new': '7', 'd/old': '7', e: '0', 'e/link': '7' },
  ],
];

for (const [name, policy, want] of tables) {
  test(name, async () => {
    const shaped = await applyPolicy(tree(), policy);
    assert.deepEqual(times(shaped.tree), want);
    assert.equal(shaped.tree.get('d/new' as Path), shaped.tree.get('e/link' as Path));
  });
}

test('what was changed is counted, each hard-link group once', async () => {
  const { excuses } = await applyPolicy(tree(), { mtime: { kind: 'set', time: 10n * SECOND } });
  assert.deepEqual(
    excuses.map(({ kind, count }) => [kind, count]),
    [
      ['mtime', 1],
      ['dir-mtime', 2],
    ],
  );
});

const pyc = (flags: number, seconds: number): Buffer => makePyc({ seconds, size: 1, flags });

test('a .py keeps its time where a .pyc records it, and only there', async () => {
  const { tree: shaped, excuses } = await applyPolicy(
    memoryTree([
      { path: 'a.py', content: 'a', mtime: 500n * SECOND + 7n },
      { path: '__pycache__/a.cpython-311.pyc', content: pyc(0, 500), mtime: 900n * SECOND },
      { path: 'hashed.py', content: 'h', mtime: 500n * SECOND },
      { path: '__pycache__/hashed.cpython-311.pyc', content: pyc(1, 500), mtime: 900n * SECOND },
      { path: 'stale.py', content: 's', mtime: 500n * SECOND },
      { path: '__pycache__/stale.cpython-311.pyc', content: pyc(0, 499), mtime: 900n * SECOND },
      { path: 'old.py', content: 'o', mtime: 500n * SECOND },
      { path: 'old.pyc', content: pyc(0, 500), mtime: 900n * SECOND },
    ]),
    { mtime: { kind: 'clamp', time: 100n * SECOND } },
  );
  assert.deepEqual(times(shaped), {
    __pycache__: '0',
    '__pycache__/a.cpython-311.pyc': '100',
    '__pycache__/hashed.cpython-311.pyc': '100',
    '__pycache__/stale.cpython-311.pyc': '100',
    'a.py': '500',
    'hashed.py': '100',
    'old.py': '500',
    'old.pyc': '100',
    'stale.py': '100',
  });
  assert.equal(excuses.find(({ kind }) => kind === 'pyc')?.count, 2);
});

test('a .py keeps its time where a .pyc of Python 2 or 3.6 records it', async () => {
  const old = (magic: number, seconds: number): Buffer => {
    const content = Buffer.alloc(20);
    content.writeUInt16LE(magic, 0);
    content.writeUInt16LE(0x0a0d, 2);
    content.writeUInt32LE(seconds, 4);
    return content;
  };
  const python = memoryTree([
    { path: 'a.py', mtime: 500n * SECOND },
    { path: 'a.pyo', content: old(62211, 500) },
    { path: 'b.py', mtime: 500n * SECOND },
    { path: '__pycache__/b.cpython-36.pyc', content: old(3379, 500) },
    { path: 'c.py', mtime: 500n * SECOND },
    { path: 'c.pyc', content: old(62211, 499) },
  ]);
  const shaped = await applyPolicy(python, { mtime: { kind: 'set', time: 100n * SECOND } });
  const { 'a.py': a, 'b.py': b, 'c.py': c } = times(shaped.tree);
  assert.deepEqual([a, b, c], ['500', '500', '100']);
});

test('a path to prune is found however it is written', async () => {
  for (const path of ['d/new', '/d/new', './d/new', '//d//new', '/e/../d/./new', '/d/new/.']) {
    const { tree: pruned, warnings } = await applyPolicy(tree(), { prune: [path] });
    assert.equal(pruned.get('d/new' as Path), undefined, path);
    assert.deepEqual(warnings, [], path);
  }
  for (const path of ['', '/', '.', 'd/..', '../d']) {
    await assert.rejects(applyPolicy(tree(), { prune: [path] }), RechunkError, path);
  }
});

const prunes: readonly (readonly [string, readonly string[]])[] = [
  ['/d', ['e', 'e/link']],
  ['/d/', ['d', 'e', 'e/link']],
  ['d/new', ['d', 'd/old', 'e', 'e/link']],
  ['/e/link', ['d', 'd/new', 'd/old', 'e']],
];

for (const [path, want] of prunes) {
  test(`--prune ${path} leaves out what it names and nothing else`, async () => {
    const shaped = await applyPolicy(tree(), { prune: [path] });
    assert.deepEqual(
      shaped.tree.entries.slice(1).map(({ path }) => path),
      want,
    );
    assert.equal(shaped.excuses.find(({ kind }) => kind === 'prune')?.count, 5 - want.length);
  });
}

test('pruning the root or the content of a file is refused; a path that is not there is told of', async () => {
  await assert.rejects(applyPolicy(tree(), { prune: ['/'] }), /root cannot be pruned/);
  await assert.rejects(
    applyPolicy(tree(), { prune: ['/d/new/'] }),
    /it is a file, want a directory/,
  );
  assert.match((await applyPolicy(tree(), { prune: ['/no'] })).warnings.join(), /no such path/);
});

test('xattrs are dropped by name, with a star for anything', async () => {
  const xattrs = new Map([
    ['user.a', Buffer.from('1')],
    ['user.b.c', Buffer.from('2')],
    ['security.capability', Buffer.from('3')],
  ]);
  const before = memoryTree([{ path: 'f', content: 'x', xattrs }]);
  const names = async (dropXattrs: string[]): Promise<string[]> => {
    const shaped = await applyPolicy(before, { dropXattrs });
    return [...(shaped.tree.get('f' as Path)?.xattrs.keys() ?? [])];
  };
  assert.deepEqual(await names(['user.*']), ['security.capability']);
  assert.deepEqual(await names(['user.a']), ['user.b.c', 'security.capability']);
  assert.deepEqual(await names(['user.']), ['user.a', 'user.b.c', 'security.capability']);
  assert.deepEqual(await names(['*']), []);
});

test('a policy is described by the flags that make it', () => {
  assert.equal(describePolicy({}), '');
  assert.equal(
    describePolicy({
      prune: ['/x/'],
      dropXattrs: ['user.*'],
      dirMtime: 'keep',
      mtime: { kind: 'clamp', time: 5n * SECOND },
    }),
    '--prune /x/ --drop-xattr user.* --dir-mtime keep --mtime clamp 5',
  );
});

test.run();
