import assert from 'node:assert/strict';
import { test } from 'uvu';
import { makePyc } from '../test-images/pyc.ts';
import { type FileSpec, memoryTree } from '../test-images/trees.ts';
import type { Policy } from './policy.ts';
import type { Tree } from './tree.ts';
import { compareTrees, showTime } from './verify.ts';

const SECOND = 1_000_000_000n;

const specs: readonly FileSpec[] = [
  { path: 'd', type: 'dir', mode: 0o750, mtime: 9n * SECOND },
  {
    path: 'd/f',
    content: 'content',
    mode: 0o4755,
    uid: 3,
    gid: 4,
    mtime: 5n * SECOND + 1n,
    xattrs: new Map([['user.x', Buffer.from([0, 255])]]),
  },
  { path: 'd/h', link: 'd/f' },
  { path: 'd/other', content: 'content' },
  { path: 'e', type: 'dir' },
  { path: 's', target: '../t' },
  { path: 'tty', type: 'char' },
];

function change(path: string, more: Partial<FileSpec>): FileSpec[] {
  return specs.map((spec) => (spec.path === path ? { ...spec, ...more } : spec));
}

const without = (path: string): FileSpec[] => specs.filter((spec) => spec.path !== path);

test('a tree is equal to itself, times of directories included', async () => {
  const result = await compareTrees(memoryTree(specs), memoryTree(specs), {});
  assert.deepEqual([result.equal, result.differences, result.excuses], [true, [], []]);
});

test('directory times of 0 are excused and counted; others are not', async () => {
  const zero = await compareTrees(memoryTree(specs), memoryTree(change('d', { mtime: 0n })), {});
  assert.deepEqual(
    [zero.equal, zero.excuses.map(({ kind, count }) => [kind, count])],
    [true, [['dir-mtime', 1]]],
  );
  const other = await compareTrees(memoryTree(specs), memoryTree(change('d', { mtime: 1n })), {});
  assert.deepEqual(other.differences, [{ at: '/d', what: 'mtime', want: '0', got: '0.000000001' }]);
  const strict = await compareTrees(memoryTree(specs), memoryTree(change('d', { mtime: 0n })), {
    dirMtime: 'keep',
  });
  assert.equal(strict.equal, false);
});

const mutations: readonly (readonly [string, readonly FileSpec[], readonly string[]])[] = [
  ['a lost file', without('d/other'), ['/d/other missing']],
  ['a lost empty directory', without('e'), ['/e missing']],
  ['a file too many', [...specs, { path: 'new' }], ['/new extra']],
  ['another type', change('s', { type: 'file', target: undefined as never }), ['/s type']],
  ['a lost set-uid bit', change('d/f', { mode: 0o755 }), ['/d/f mode', '/d/h mode']],
  ['another owner', change('d/f', { uid: 0 }), ['/d/f owner', '/d/h owner']],
  [
    'another time, by a nanosecond',
    change('d/f', { mtime: 5n * SECOND }),
    ['/d/f mtime', '/d/h mtime'],
  ],
  [
    'other content of the same size',
    change('d/other', { content: 'CONTENT' }),
    ['/d/other content'],
  ],
  [
    'content of another size',
    change('d/other', { content: 'x' }),
    ['/d/other size', '/d/other content'],
  ],
  ['another symlink target', change('s', { target: '../u' }), ['/s target']],
  ['a lost xattr', change('d/f', { xattrs: new Map() }), ['/d/f xattrs', '/d/h xattrs']],
  [
    'one byte of an xattr',
    change('d/f', { xattrs: new Map([['user.x', Buffer.from([0, 254])]]) }),
    ['/d/f xattrs', '/d/h xattrs'],
  ],
  [
    'a torn hard-link group',
    specs.map((spec) => (spec.path === 'd/h' ? { ...(specs[1] as FileSpec), path: 'd/h' } : spec)),
    ['/d/f links', '/d/h links'],
  ],
  [
    'a link group too large',
    change('d/other', { link: 'd/f' }),
    [
      '/d/other mode',
      '/d/other owner',
      '/d/other xattrs',
      '/d/other mtime',
      '/d/f links',
      '/d/h links',
      '/d/other links',
    ],
  ],
];

for (const [name, changed, want] of mutations) {
  test(`notices ${name}`, async () => {
    const result = await compareTrees(memoryTree(specs), memoryTree(changed), {});
    assert.equal(result.equal, false);
    assert.deepEqual(
      result.differences.map(({ at, what }) => `${at} ${what}`),
      want,
    );
  });
}

test('what a flag asks for is excused, and what it does not ask for is not', async () => {
  const clamped = change('d/f', { mtime: 2n * SECOND });
  const policy = { mtime: { kind: 'clamp', time: 2n * SECOND } } as const;
  const result = await compareTrees(memoryTree(specs), memoryTree(clamped), policy);
  assert.deepEqual([result.equal, result.excuses.map(({ kind }) => kind)], [true, ['mtime']]);
  const wrong = await compareTrees(
    memoryTree(specs),
    memoryTree(change('d/f', { mtime: 3n * SECOND })),
    policy,
  );
  assert.equal(wrong.equal, false);
});

/** A file and a module with what is compiled of it; times in seconds. */
function installed(file: number, py: number, recorded: number, own: number): FileSpec[] {
  return [
    { path: 'f', content: 'f', mtime: BigInt(file) * SECOND },
    { path: 'm.py', content: 'm', mtime: BigInt(py) * SECOND },
    {
      path: 'm.pyc',
      content: makePyc({ seconds: recorded, size: 1 }),
      mtime: BigInt(own) * SECOND,
    },
  ];
}

const [before, now] = [installed(500, 500, 500, 501), installed(900, 900, 900, 901)];

const histories: readonly (readonly [string, readonly FileSpec[], readonly string[]])[] = [
  ['the previous image’s in all', before, []],
  ['the new one in all', now, []],
  ['the previous one of a file, the new ones of a pair', installed(500, 900, 900, 901), []],
  ['a time of neither', installed(600, 900, 900, 901), ['/f mtime']],
  ['the old source with the new compiled file', installed(900, 500, 900, 901), ['/m.pyc content']],
  [
    'the new source with the old compiled file',
    installed(900, 900, 500, 501),
    ['/m.pyc content', '/m.pyc mtime'],
  ],
];

for (const [name, result, want] of histories) {
  test(`with the previous image: ${name}`, async () => {
    const [a, b, p] = [now, result, before].map((list) => memoryTree(list)) as [Tree, Tree, Tree];
    const { differences, unproven, equal } = await compareTrees(a, b, {}, p);
    assert.deepEqual(
      differences.map(({ at, what }) => `${at} ${what}`),
      want,
    );
    assert.deepEqual([equal, unproven], [want.length === 0, 0]);
  });
}

test('what was inherited is excused and counted', async () => {
  const [a, b, p] = [now, before, before].map((list) => memoryTree(list)) as [Tree, Tree, Tree];
  const kinds = async (got: Tree, policy: Policy): Promise<unknown[]> =>
    (await compareTrees(a, got, policy, p)).excuses.map(({ kind, count }) => [kind, count]);
  assert.deepEqual(await kinds(b, {}), [
    ['inherited-time', 2],
    ['pyc-inherited', 1],
  ]);
  assert.deepEqual(await kinds(a, {}), []);
  const strict = await compareTrees(a, b, { inherit: 'times' }, p);
  assert.deepEqual(
    strict.differences.map(({ at, what }) => `${at} ${what}`),
    ['/m.py mtime', '/m.pyc content', '/m.pyc mtime'],
  );
  assert.equal((await compareTrees(a, b, { inherit: 'none' }, p)).differences.length, 4);
});

test('without the previous image, what may be inherited is listed as unproven, and nothing else is', async () => {
  const original = memoryTree([
    ...now,
    { path: 'x' },
    { path: 'd', type: 'dir', mtime: 9n * SECOND },
  ]);
  const result = memoryTree([
    ...before,
    { path: 'x', mode: 0o600, mtime: SECOND },
    { path: 'd', type: 'dir', mtime: 8n * SECOND },
  ]);
  const { differences, unproven, equal } = await compareTrees(original, result, {});
  assert.deepEqual(
    differences.map(({ at, what, unproven: open }) => `${at} ${what}${open ? ' ?' : ''}`),
    [
      '/d mtime',
      '/f mtime ?',
      '/m.py mtime ?',
      '/m.pyc content ?',
      '/m.pyc mtime ?',
      '/x mode',
      '/x mtime',
    ],
  );
  assert.deepEqual([equal, unproven], [false, 4]);
  const off = await compareTrees(original, result, { inherit: 'none' });
  assert.deepEqual([off.differences.length, off.unproven], [7, 0]);
  const modes = now.map((spec) => (spec.path === 'm.pyc' ? { ...spec, mode: 0o600 } : spec));
  const open = await compareTrees(memoryTree(modes), memoryTree(before), {});
  assert.equal(
    open.differences.filter(({ at, unproven }) => at === '/m.pyc' && unproven).length,
    0,
  );
  const dirs = await compareTrees(original, result, { dirMtime: 'keep' });
  assert.deepEqual(dirs.differences[0]?.unproven, true);
  const code = memoryTree(
    installed(900, 900, 900, 901).map((spec) =>
      spec.path === 'm.pyc'
        ? { ...spec, content: makePyc({ seconds: 900, size: 1, code: 'CODE' }) }
        : spec,
    ),
  );
  assert.equal((await compareTrees(memoryTree(now), code, {})).unproven, 0);
});

test('times are shown as decimal seconds', () => {
  assert.deepEqual([0n, 1n, -1n, 1_500_000_000n, -2_000_000_000n].map(showTime), [
    '0',
    '0.000000001',
    '-0.000000001',
    '1.5',
    '-2',
  ]);
});

test.run();
