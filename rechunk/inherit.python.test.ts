import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import type { Path } from '../registry/path.ts';
import { makePyc, type PycSpec } from '../test-images/pyc.ts';
import { equalFiles, type FileSpec, inodeAt, memoryTree } from '../test-images/trees.ts';
import { type Inherited, type InheritOptions, inheritTimes } from './inherit.ts';
import { applyPolicy, type Policy } from './policy.ts';
import { isFresh, isPycName, parsePyc, sourceOf } from './pyc.ts';
import type { Tree } from './tree.ts';

const SEED = 20261121;
const SECOND = 1_000_000_000n;
const [OLD, NEW] = [500n * SECOND, 900n * SECOND];
const ALL: InheritOptions = { inherit: 'pyc', directories: 'leave' };

/** A compiled file that records a time (or, with `flags`, a digest) and a source of three bytes. */
const pyc = (time: bigint, more: Partial<PycSpec> = {}): Buffer =>
  makePyc({ seconds: Number(time / SECOND), size: 3, ...more });

const inherit = (
  now: readonly FileSpec[],
  before: readonly FileSpec[],
  options: Partial<InheritOptions> = {},
): Promise<Inherited> =>
  inheritTimes(memoryTree(now), { tree: memoryTree(before) }, { ...ALL, ...options });

const CACHE = '__pycache__/m.cpython-311.pyc';
const OPT = '__pycache__/m.cpython-311.opt-1.pyc';
const source = (mtime: bigint, content = 'src'): FileSpec => ({ path: 'm.py', content, mtime });
const compiled = (mtime: bigint, content: Buffer, path = CACHE): FileSpec => ({
  path,
  content,
  mtime,
});
const pair = (mtime: bigint): FileSpec[] => [source(mtime), compiled(mtime + SECOND, pyc(mtime))];

/** What of a group of files is as before; `before` is a fresh pair from the old moment where nothing else is said. */
const couples: readonly {
  readonly name: string;
  readonly now: readonly FileSpec[];
  readonly before?: readonly FileSpec[];
  readonly options?: Partial<InheritOptions>;
  readonly same: readonly string[];
  readonly pycs?: number;
}[] = [
  {
    name: 'a fresh pair is taken from the previous image',
    now: pair(NEW),
    same: [CACHE, 'm.py'],
    pycs: 1,
  },
  {
    name: 'without leave to take compiled files both keep their new times',
    now: pair(NEW),
    options: { inherit: 'times' },
    same: [],
  },
  {
    name: 'other code keeps both',
    now: [source(NEW), compiled(NEW, pyc(NEW, { code: 'CODE' }))],
    same: [],
  },
  {
    name: 'another recorded size keeps both',
    now: [source(NEW), compiled(NEW, pyc(NEW, { size: 3 }))],
    before: [source(OLD), compiled(OLD, pyc(OLD, { size: 4 }))],
    same: [],
  },
  {
    name: 'a compiled file that is new keeps the source',
    now: pair(NEW),
    before: [source(OLD)],
    same: [],
  },
  {
    name: 'another mode of the compiled file keeps both',
    now: [source(NEW), { ...compiled(NEW, pyc(NEW)), mode: 0o600 }],
    same: [],
  },
  {
    name: 'a changed source keeps both',
    now: [source(NEW, 'SRC'), compiled(NEW, pyc(NEW))],
    same: [],
  },
  {
    name: 'all compiled files of a source are taken',
    now: [...pair(NEW), compiled(NEW, pyc(NEW), OPT), compiled(NEW, pyc(NEW), 'm.pyc')],
    before: [...pair(OLD), compiled(OLD, pyc(OLD), OPT), compiled(OLD, pyc(OLD), 'm.pyc')],
    same: [OPT, CACHE, 'm.py', 'm.pyc'],
    pycs: 3,
  },
  {
    name: 'one that cannot be taken keeps all, one that is equal by chance too',
    now: [
      ...pair(NEW),
      compiled(NEW, pyc(NEW, { code: 'CODE' }), OPT),
      compiled(NEW, pyc(700n * SECOND), 'm.pyc'),
    ],
    before: [
      ...pair(OLD),
      compiled(OLD, pyc(OLD), OPT),
      compiled(OLD, pyc(700n * SECOND), 'm.pyc'),
    ],
    same: [],
  },
  {
    name: 'one that records a digest is no obstacle, whether it changed or not',
    now: [
      source(NEW),
      compiled(NEW, pyc(0n, { flags: 1 })),
      compiled(NEW, pyc(0n, { flags: 3 }), OPT),
    ],
    before: [
      source(OLD),
      compiled(OLD, pyc(0n, { flags: 1 })),
      compiled(OLD, pyc(SECOND, { flags: 3 }), OPT),
    ],
    same: [CACHE, 'm.py'],
  },
  {
    name: 'one that records a digest is like any file where the others keep theirs',
    now: [
      source(NEW),
      compiled(NEW, pyc(0n, { flags: 1 })),
      compiled(NEW, pyc(NEW, { code: 'CODE' }), OPT),
    ],
    before: [source(OLD), compiled(OLD, pyc(0n, { flags: 1 })), compiled(OLD, pyc(OLD), OPT)],
    same: [CACHE],
  },
  {
    name: 'an equal one that fits the new time of the source keeps both',
    now: [source(NEW), compiled(NEW, pyc(NEW))],
    before: [source(OLD), compiled(OLD, pyc(NEW))],
    same: [],
  },
  {
    name: 'a stale one that would fit the old time of the source keeps both',
    now: [source(NEW), compiled(NEW, pyc(OLD))],
    before: [source(OLD), compiled(OLD, pyc(OLD))],
    same: [],
  },
  {
    name: 'a stale one that stays stale is as it was',
    now: [source(NEW), compiled(NEW, pyc(700n * SECOND))],
    before: [source(OLD), compiled(OLD, pyc(600n * SECOND))],
    same: [CACHE, 'm.py'],
    pycs: 1,
  },
  {
    name: 'a stale one does not become fresh by the previous one',
    now: [source(NEW), compiled(NEW, pyc(700n * SECOND))],
    same: ['m.py'],
  },
  {
    name: 'a change within the second needs no other compiled file',
    now: [source(OLD + 5n), compiled(NEW, pyc(OLD))],
    same: [CACHE, 'm.py'],
  },
  {
    name: 'a source whose time is as it was leaves compiled files to themselves',
    now: [source(OLD), compiled(NEW, pyc(OLD)), compiled(NEW, pyc(OLD, { code: 'CODE' }), OPT)],
    before: [...pair(OLD), compiled(OLD, pyc(OLD), OPT)],
    same: [CACHE, 'm.py'],
  },
];

for (const { name, now, before = pair(OLD), options = {}, same: want, pycs = 0 } of couples) {
  test(`compiled Python: ${name}`, async () => {
    const result = await inherit(now, before, options);
    assert.deepEqual(equalFiles(result.tree, before), [...want].sort());
    assert.equal(result.pycs, pycs);
    const sources = result.groups.flatMap((group) => group.sources);
    assert.deepEqual(sources, pycs > 0 ? ['m.py'] : []);
  });
}

test('compiled Python: a source that is a link counts by the file that it stands for', async () => {
  const linked = (mtime: bigint): FileSpec[] => [
    { path: 'real.py', content: 'src', mtime },
    { path: 'm.py', target: 'real.py', mtime },
    compiled(mtime, pyc(mtime)),
  ];
  const result = await inherit(linked(NEW), linked(OLD));
  assert.deepEqual(equalFiles(result.tree, linked(OLD)), [CACHE, 'm.py', 'real.py']);
  const kept = await inherit(linked(NEW), linked(OLD), { inherit: 'times' });
  assert.deepEqual(equalFiles(kept.tree, linked(OLD)), ['m.py']);
});

test('compiled Python: names of one source, and of one compiled file, hang together', async () => {
  const tangle = (mtime: bigint, code: string): FileSpec[] => [
    { path: 'a/x.py', content: 'src', mtime },
    { path: 'b/y.py', link: 'a/x.py' },
    { path: 'a/x.pyc', content: pyc(mtime), mtime },
    { path: 'b/y.pyc', content: pyc(mtime, { code }), mtime },
    { path: 'c/z.py', content: 'SRC', mtime },
    { path: 'c/z.pyc', link: 'b/y.pyc' },
  ];
  const all = await inherit(tangle(NEW, 'code'), tangle(OLD, 'code'));
  assert.deepEqual(
    equalFiles(all.tree, tangle(OLD, 'code')),
    tangle(OLD, '')
      .map(({ path }) => path)
      .sort(),
  );
  assert.deepEqual([all.times, all.pycs, all.groups.length], [2, 2, 1]);
  const none = await inherit(tangle(NEW, 'code'), tangle(OLD, 'CODE'));
  assert.deepEqual(equalFiles(none.tree, tangle(OLD, 'CODE')), []);
});

test('a compiled file whose content a package database states does not become another', async () => {
  const stated = new Set([CACHE as Path]);
  const ancestor = { tree: memoryTree(pair(OLD)), stated };
  const result = await inheritTimes(memoryTree(pair(NEW)), ancestor, ALL);
  assert.deepEqual(equalFiles(result.tree, pair(OLD)), []);
  const unstated = { ...ancestor, stated: new Set(['m.py' as Path]) };
  assert.equal((await inheritTimes(memoryTree(pair(NEW)), unstated, ALL)).pycs, 1);
});

test('a source that inherits is not counted among those that keep their times for a compiled file', async () => {
  const policy: Policy = { mtime: { kind: 'clamp', time: 100n * SECOND } };
  const { excuses } = await applyPolicy(memoryTree(pair(NEW)), policy, {
    tree: memoryTree(pair(OLD)),
  });
  assert.deepEqual(
    excuses.map(({ kind, count }) => [kind, count]),
    [
      ['inherited-time', 1],
      ['pyc-inherited', 1],
    ],
  );
});

/** Trees of a few names, contents and times, so that most kinds of agreement and disagreement occur. */
const time = fc.constantFrom(OLD, NEW, 700n * SECOND, OLD + 5n);
const metadata = fc.record({ mtime: time, mode: fc.constantFrom(0o644, 0o644, 0o644, 0o600) });
const code = fc.record({
  recorded: time,
  code: fc.constantFrom('code', 'code', 'CODE'),
  flags: fc.constantFrom(0, 0, 0, 1),
});
const specs = fc
  .tuple(
    ...['a', 'b'].map((name) =>
      fc.record({
        source: fc.tuple(metadata, fc.constantFrom('src', 'src', 'SRC')),
        cached: fc.option(fc.tuple(metadata, code)),
        beside: fc.option(fc.tuple(metadata, code)),
        name: fc.constant(name),
        shared: fc.boolean(),
      }),
    ),
  )
  .map((modules) =>
    modules.flatMap(({ source: [meta, content], cached, beside, name, shared }): FileSpec[] => {
      const make = (path: string, [own, made]: NonNullable<typeof cached>): FileSpec => ({
        path,
        ...own,
        content: pyc(made.recorded, made),
      });
      const py: FileSpec =
        shared && name === 'b'
          ? { path: 'b.py', link: 'a.py' }
          : { path: `${name}.py`, ...meta, content };
      return [
        py,
        ...(cached ? [make(`__pycache__/${name}.cpython-311.pyc`, cached)] : []),
        ...(beside ? [make(`${name}.pyc`, beside)] : []),
      ];
    }),
  );

const facts = (tree: Tree): unknown[] =>
  tree.entries.map(({ path, inode: { mtime, mode, sha256, size, type } }) => [
    path,
    type,
    mode,
    mtime,
    size,
    sha256,
  ]);

/** Which compiled files Python would take. */
async function taken(tree: Tree): Promise<string[]> {
  const found: string[] = [];
  for (const { path, inode } of tree.entries) {
    const name = isPycName(path) ? sourceOf(tree, path) : undefined;
    const py = name === undefined ? undefined : tree.get(name);
    if (py && isFresh(parsePyc(await tree.readInode(inode, 16)), py)) found.push(path);
  }
  return found;
}

const inheriting = fc.constantFrom<InheritOptions['inherit']>('pyc', 'times');

test('property: twice is once, and what was inherited from oneself is oneself', async () => {
  await fc.assert(
    fc.asyncProperty(specs, specs, inheriting, async (now, before, option) => {
      const [tree, previous] = [memoryTree(now), memoryTree(before)];
      const options: InheritOptions = { inherit: option, directories: 'inherit' };
      const once = await inheritTimes(tree, { tree: previous }, options);
      const twice = await inheritTimes(once.tree, { tree: previous }, options);
      assert.deepEqual(facts(twice.tree), facts(once.tree));
      assert.deepEqual([twice.times, twice.pycs], [0, 0]);
      const self = await inheritTimes(tree, { tree: tree }, options);
      assert.deepEqual(facts(self.tree), facts(tree));
      assert.deepEqual([self.times, self.pycs], [0, 0]);
    }),
    { seed: SEED, numRuns: 1500 },
  );
});

test('property: nothing but times and declared compiled files differs, and Python takes what it took', async () => {
  await fc.assert(
    fc.asyncProperty(specs, specs, inheriting, async (now, before, option) => {
      const [tree, previous] = [memoryTree(now), memoryTree(before)];
      const result = await inheritTimes(
        tree,
        { tree: previous },
        { inherit: option, directories: 'leave' },
      );
      const differing = tree.entries.filter(
        ({ path, inode }) => inodeAt(result.tree, path).sha256 !== inode.sha256,
      );
      const declared = new Set(result.groups.flatMap((group) => group.compiled));
      assert.deepEqual(
        differing.map(({ path }) => path),
        [...declared].sort(),
      );
      assert.equal(differing.length, result.pycs);
      if (option === 'times') assert.equal(result.pycs, 0);
      const strip = (one: Tree): unknown[] =>
        one.entries.map(({ path, inode: { mtime: _, sha256: __, body: ___, ...rest } }) => ({
          path,
          ...rest,
        }));
      assert.deepEqual(strip(result.tree), strip(tree));
      for (const { path, inode } of result.tree.entries) {
        if (inode.mtime !== inodeAt(tree, path).mtime)
          assert.equal(inode.mtime, inodeAt(previous, path).mtime);
      }
      assert.deepEqual(await taken(result.tree), await taken(tree));
    }),
    { seed: SEED, numRuns: 1500 },
  );
});

test.run();
