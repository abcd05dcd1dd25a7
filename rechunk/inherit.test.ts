import assert from 'node:assert/strict';
import { test } from 'uvu';
import { equalFiles, type FileSpec, inodeAt, memoryTree } from '../test-images/trees.ts';
import { type Inherited, type InheritOptions, inheritTimes } from './inherit.ts';
import { applyPolicy, type Policy } from './policy.ts';

const SECOND = 1_000_000_000n;
const [OLD, NEW] = [500n * SECOND, 900n * SECOND];
/** Far more than thousands of files take on a busy machine. */
const LONGEST_MS = 20_000;
const ALL: InheritOptions = { inherit: 'pyc', directories: 'leave' };

const inherit = (
  now: readonly FileSpec[],
  before: readonly FileSpec[],
  options: Partial<InheritOptions> = {},
): Promise<Inherited> =>
  inheritTimes(memoryTree(now), { tree: memoryTree(before) }, { ...ALL, ...options });

/** What one file is in both images, and whether its time is inherited. */
const files: readonly (readonly [string, Partial<FileSpec>, Partial<FileSpec>, boolean])[] = [
  ['an equal file', { content: 'x' }, { content: 'x' }, true],
  ['other content of the same size', { content: 'x' }, { content: 'y' }, false],
  ['another mode', { mode: 0o644 }, { mode: 0o600 }, false],
  ['another owner', { uid: 0 }, { uid: 1 }, false],
  ['another group', { gid: 0 }, { gid: 1 }, false],
  ['an equal symlink', { target: 't' }, { target: 't' }, true],
  ['another target', { target: 't' }, { target: 'u' }, false],
  ['another type', { target: 't' }, { content: 't' }, false],
  ['an equal device', { type: 'char' }, { type: 'char' }, true],
  ['another kind of device', { type: 'char' }, { type: 'block' }, false],
  [
    'equal xattrs',
    { xattrs: new Map([['user.a', Buffer.from('1')]]) },
    { xattrs: new Map([['user.a', Buffer.from('1')]]) },
    true,
  ],
  [
    'another xattr value',
    { xattrs: new Map([['user.a', Buffer.from('1')]]) },
    { xattrs: new Map([['user.a', Buffer.from('2')]]) },
    false,
  ],
  [
    'another xattr name',
    { xattrs: new Map([['user.a', Buffer.from('1')]]) },
    { xattrs: new Map([['user.b', Buffer.from('1')]]) },
    false,
  ],
  ['a new xattr', {}, { xattrs: new Map([['user.a', Buffer.from('1')]]) }, false],
  ['a lost xattr', { xattrs: new Map([['user.a', Buffer.from('1')]]) }, {}, false],
];

for (const [name, now, before, isInherited] of files) {
  test(`${name}: the time is ${isInherited ? 'inherited' : 'the new one'}`, async () => {
    const { tree, times } = await inherit(
      [{ path: 'f', mtime: NEW, ...now }],
      [{ path: 'f', mtime: OLD, ...before }],
    );
    assert.equal(inodeAt(tree, 'f').mtime, isInherited ? OLD : NEW);
    assert.equal(times, isInherited ? 1 : 0);
  });
}

test('what the previous image did not have keeps its time', async () => {
  const { tree, times } = await inherit([{ path: 'd/f', mtime: NEW }], []);
  assert.deepEqual([inodeAt(tree, 'd/f').mtime, times], [NEW, 0]);
});

const f = (mtime: bigint): FileSpec => ({ path: 'f', content: 'x', mtime });
const links: readonly (readonly [string, readonly FileSpec[], bigint])[] = [
  ['the same names', [f(OLD), { path: 'g', link: 'f' }, { path: 'h', link: 'f' }], OLD],
  [
    'a name fewer',
    [f(OLD), { path: 'g', link: 'f' }, { path: 'h', content: 'x', mtime: OLD }],
    NEW,
  ],
  [
    'a name more',
    [f(OLD), { path: 'g', link: 'f' }, { path: 'h', link: 'f' }, { path: 'i', link: 'f' }],
    NEW,
  ],
  ['another name', [f(OLD), { path: 'g', link: 'f' }, { path: 'i', link: 'f' }], NEW],
  ['no other name', [f(OLD)], NEW],
];

for (const [name, before, want] of links) {
  test(`a hard-link group inherits as a whole: ${name}`, async () => {
    const now = [f(NEW), { path: 'g', link: 'f' }, { path: 'h', link: 'f' }];
    const { tree, times } = await inherit(now, before);
    assert.equal(inodeAt(tree, 'f').mtime, want);
    assert.equal(inodeAt(tree, 'f'), inodeAt(tree, 'h'));
    assert.equal(times, want === OLD ? 1 : 0);
  });
}

test('directories inherit only on demand, where metadata and names of children are equal', async () => {
  const dirs = (mtime: bigint, more: string): FileSpec[] => [
    { path: 'same', type: 'dir', mtime },
    { path: 'same/f', content: String(mtime) },
    { path: 'grown', type: 'dir', mtime },
    { path: `grown/${more}` },
    { path: 'shrunk', type: 'dir', mtime },
    ...(mtime === OLD ? [{ path: 'shrunk/f' }] : []),
    { path: 'mode', type: 'dir', mtime, mode: mtime === OLD ? 0o700 : 0o755 },
  ];
  const paths = ['same', 'grown', 'shrunk', 'mode'];
  const left = await inherit(dirs(NEW, 'a'), dirs(OLD, 'b'));
  assert.deepEqual(
    paths.map((path) => inodeAt(left.tree, path).mtime),
    [NEW, NEW, NEW, NEW],
  );
  const kept = await inherit(dirs(NEW, 'a'), dirs(OLD, 'b'), { directories: 'inherit' });
  assert.deepEqual(
    paths.map((path) => inodeAt(kept.tree, path).mtime),
    [OLD, NEW, NEW, NEW],
  );
  const implied = memoryTree([{ path: 'same', type: 'dir', mtime: OLD, layer: -1 }]);
  const now = memoryTree([{ path: 'same', type: 'dir', mtime: NEW }]);
  const result = await inheritTimes(now, { tree: implied }, { ...ALL, directories: 'inherit' });
  assert.equal(inodeAt(result.tree, 'same').mtime, NEW);
});

test('a jar that an archive of shared classes names keeps its time; others do not', async () => {
  const java = (mtime: bigint): FileSpec[] => [
    { path: 'app/app.jar', content: 'jar', mtime },
    { path: 'app/other.jar', content: 'jar 2', mtime },
    { path: 'app/link.jar', target: 'linked', mtime },
    { path: 'app/linked', content: 'jar 3', mtime },
    { path: 'app/app.jsa', content: '\x01\0/app/app.jar:link.jar\0another.jar\0', mtime },
  ];
  const { tree } = await inherit(java(NEW), java(OLD));
  assert.equal((await inherit(java(NEW), java(NEW))).settled.size, 5);
  assert.deepEqual(equalFiles(tree, java(OLD)), ['app/app.jsa', 'app/link.jar', 'app/other.jar']);
});

test('a compiled file of thousands of names, each beside a source, is settled without delay', async () => {
  const python = (mtime: bigint): FileSpec[] => [
    { path: 'm/0.pyc', content: 'no header', mtime },
    ...Array.from({ length: 40_000 }, (_, i): FileSpec[] => [
      { path: `m/${i}.py`, content: '', mtime },
      ...(i > 0 ? [{ path: `m/${i}.pyc`, link: 'm/0.pyc' }] : []),
    ]).flat(),
  ];
  const start = performance.now();
  const { times } = await inherit(python(NEW), python(OLD));
  assert.equal(times, 40_001);
  // By the square of the names it takes a minute.
  assert.ok(performance.now() - start < LONGEST_MS);
});

test('a Ruby file that Bootsnap’s cache holds keeps its time; others do not', async () => {
  const key = Buffer.alloc(64 + 4);
  key.writeBigUInt64LE(3n, 16);
  key.writeBigUInt64LE(NEW / SECOND, 24);
  const ruby = (mtime: bigint): FileSpec[] => [
    { path: 'app/held.rb', content: '1+1', mtime },
    { path: 'app/longer.rb', content: '1+11', mtime },
    { path: 'app/cache/bootsnap/compile-cache-iseq/a0/1', content: key, mtime },
    { path: 'app/cache/bootsnap/compile-cache-iseq/a0/2', content: 'no key', mtime },
  ];
  const { tree } = await inherit(ruby(NEW), ruby(OLD));
  const kept = ruby(OLD)
    .map(({ path }) => path)
    .filter((path) => path !== 'app/held.rb');
  assert.deepEqual(equalFiles(tree, ruby(OLD)), kept.sort());
  assert.equal((await inherit(ruby(NEW), ruby(NEW))).settled.size, 4);
  const elsewhere = (mtime: bigint): FileSpec[] =>
    ruby(mtime).map((spec) => ({ ...spec, path: spec.path.replace('bootsnap', 'b') }));
  const all = await inherit(elsewhere(NEW), elsewhere(OLD));
  assert.equal(equalFiles(all.tree, elsewhere(OLD)).length, 4);
});

test('a policy clamps what was not inherited, and nothing that was', async () => {
  const now = memoryTree([
    { path: 'a', content: 'a', mtime: NEW },
    { path: 'b', content: 'b', mtime: NEW },
  ]);
  const before = memoryTree([{ path: 'a', content: 'a', mtime: OLD }]);
  const policy: Policy = { mtime: { kind: 'clamp', time: 100n * SECOND } };
  const { tree, excuses } = await applyPolicy(now, policy, { tree: before });
  assert.deepEqual([inodeAt(tree, 'a').mtime, inodeAt(tree, 'b').mtime], [OLD, 100n * SECOND]);
  assert.deepEqual(
    excuses.map(({ kind, count }) => [kind, count]),
    [
      ['inherited-time', 1],
      ['mtime', 1],
    ],
  );
  const again = await applyPolicy(now, policy, { tree: now });
  assert.equal(inodeAt(again.tree, 'a').mtime, NEW);
  const off = await applyPolicy(now, { ...policy, inherit: 'none' }, { tree: before });
  assert.equal(inodeAt(off.tree, 'a').mtime, 100n * SECOND);
});

test('xattrs count as the policy leaves them', async () => {
  const xattrs = new Map([['user.build', Buffer.from('2')]]);
  const now = memoryTree([{ path: 'a', content: 'a', mtime: NEW, xattrs }]);
  const before = memoryTree([{ path: 'a', content: 'a', mtime: OLD }]);
  const shaped = await applyPolicy(now, { dropXattrs: ['user.*'] }, { tree: before });
  assert.equal(inodeAt(shaped.tree, 'a').mtime, OLD);
});

test.run();
