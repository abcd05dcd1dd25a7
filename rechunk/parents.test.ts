import assert from 'node:assert/strict';
import { test } from 'uvu';
import { memoryTree } from '../test-images/trees.ts';
import type { Component } from './components.ts';
import {
  contentLayers,
  FULL,
  noticesOf,
  ownedBy,
  type ParentsPolicy,
  skeletonPlace,
} from './parents.ts';
import type { Plan } from './plan.ts';
import { MODELS } from './runtimes/models.ts';
import { compareRuntimes } from './runtimes/report.ts';
import { type StackedLayer, stackLayers } from './stack.ts';
import type { Entry, Tree } from './tree.ts';
import type { LayerIndex } from './upper.ts';

const NEUTRAL = { kind: 'delegate', fallback: 'neutral' } as const;
const odd = { type: 'dir', mode: 0o2770, uid: 7, gid: 8, mtime: 5n } as const;
const xattrs = new Map([['user.a', Buffer.from('1')]]);

/** Two components in one directory, an empty directory in a third, and an odd root. */
const tree = memoryTree([
  { ...odd, path: '' },
  { ...odd, path: 'usr', xattrs },
  { ...odd, path: 'usr/e' },
  { path: 'usr/e/a' },
  { path: 'usr/b' },
  { ...odd, path: 'void' },
]);

const entriesOf = (some: Tree, ...paths: string[]): Entry[] =>
  some.entries.filter(({ path }) => paths.includes(path));

const component = (id: string, ...paths: string[]): Component => ({
  id,
  kind: 'rest',
  size: 0,
  entries: entriesOf(tree, ...paths),
});
const components = [
  component('a', 'usr/e/a', 'void'),
  component('b', 'usr/b'),
  component('c', 'void'),
];

/** A plan that gives every component a layer. */
function planOf(some: readonly Component[]): Plan {
  const layers = some.map(({ id }) => ({
    components: [id],
    size: 100,
    tarSize: 512,
    changes: 1000,
  }));
  return { layers, updateBytes: 0, pullBytes: 0 };
}

function stack(policy: ParentsPolicy, some: Tree = tree): readonly StackedLayer[] {
  const owned = ownedBy(policy, components);
  return stackLayers({ tree: some, components: owned, plan: planOf(owned) }, policy);
}

/** What layers hold: role, then each path with its mode, and the names of its xattrs. */
const show = (layers: readonly StackedLayer[]): string[] =>
  layers.map(({ role, entries }) =>
    [
      role,
      ...entries().map(({ path, inode: { mode, xattrs: more } }) =>
        [`/${path}`, mode.toString(8), ...more.keys()].join(':'),
      ),
    ].join(' '),
  );

const SKELETON = 'skeleton /:2770 /usr:2770:user.a /usr/e:2770 /void:2770';
const MARK = 'trusted.overlay.dirmeta_delegate';

const policies: readonly (readonly [string, ParentsPolicy, readonly string[]])[] = [
  [
    'full: every ancestor as it is, the root too, and no skeleton',
    FULL,
    [
      'content /:2770 /usr:2770:user.a /usr/e:2770 /usr/e/a:644 /void:2770',
      'content /:2770 /usr:2770:user.a /usr/b:644',
      'content /:2770 /void:2770',
    ],
  ],
  [
    'shared: no directories but in the last layer',
    { kind: 'shared' },
    ['content /usr/e/a:644', 'content /usr/b:644', SKELETON],
  ],
  [
    'implicit: no directories but in the first layer',
    { kind: 'implicit' },
    [SKELETON, 'content /usr/e/a:644', 'content /usr/b:644'],
  ],
  [
    'delegate: ancestors are marked and as they are, the root is not there',
    { kind: 'delegate' },
    [
      SKELETON,
      `content /usr:2770:user.a:${MARK} /usr/e:2770:${MARK} /usr/e/a:644`,
      `content /usr:2770:user.a:${MARK} /usr/b:644`,
    ],
  ],
  [
    'delegate neutral: ancestors are marked and say nothing, unmarked ones lie below and above',
    NEUTRAL,
    [
      SKELETON,
      `content /usr:755:${MARK} /usr/e:755:${MARK} /usr/e/a:644`,
      `content /usr:755:${MARK} /usr/b:644`,
      SKELETON,
    ],
  ],
  [
    'delegate in the other namespace, and the skeleton elsewhere',
    { kind: 'delegate', xattr: 'user', skeleton: 'last' },
    [
      'content /usr:2770:user.a:user.overlay.dirmeta_delegate /usr/e:2770:user.overlay.dirmeta_delegate /usr/e/a:644',
      'content /usr:2770:user.a:user.overlay.dirmeta_delegate /usr/b:644',
      SKELETON,
    ],
  ],
];

for (const [name, policy, wanted] of policies)
  test(name, () => assert.deepEqual(show(stack(policy)), wanted));

test('a neutral directory is owned by root and of no time, whatever the real one is', () => {
  const [, first] = stack(NEUTRAL);
  const found = first?.entries()[0];
  assert.deepEqual([found?.inode.uid, found?.inode.gid, found?.inode.mtime], [0, 0, 0n]);
  assert.deepEqual(found?.inode.xattrs, new Map([[MARK, Buffer.from('y')]]));
});

test('a skeleton that lies twice is one layer, so that it is written once', () => {
  const layers = stack({ kind: 'shared', skeleton: 'both' });
  assert.equal(layers.length, 4);
  assert.equal(layers[0], layers[3]);
});

test('a root that no layer defines stays undefined, and other such directories do not', () => {
  const bare = memoryTree([
    { path: '', type: 'dir', layer: -1 },
    { path: 'usr', type: 'dir', layer: -1 },
    { path: 'usr/b' },
  ]);
  const some = [{ ...component('b'), entries: entriesOf(bare, 'usr/b') }];
  const layersOf = (policy: ParentsPolicy): string[] =>
    show(stackLayers({ tree: bare, components: some, plan: planOf(some) }, policy));
  assert.deepEqual(layersOf(FULL), ['content /usr:755 /usr/b:644']);
  assert.deepEqual(layersOf({ kind: 'shared' }), ['content /usr/b:644', 'skeleton /usr:755']);
});

test('without directories there is no skeleton', () => {
  const flat = memoryTree([{ path: '', type: 'dir', layer: -1 }, { path: 'b' }]);
  const some = [{ ...component('b'), entries: entriesOf(flat, 'b') }];
  const input = { tree: flat, components: some, plan: planOf(some) };
  assert.deepEqual(show(stackLayers(input, { kind: 'shared', skeleton: 'both' })), [
    'content /b:644',
  ]);
});

test('skeletons count as layers, and something must be left for content', () => {
  assert.deepEqual(
    [FULL, { kind: 'shared' } as const, NEUTRAL].map((policy) => contentLayers(policy, 10)),
    [10, 9, 8],
  );
  assert.throws(() => contentLayers(NEUTRAL, 2), /--max-layers 2: want at least 3/);
  assert.equal(contentLayers(FULL, 1), 1);
});

test('what a choice costs, and where it is wrong, is told', () => {
  const told = (policy: ParentsPolicy): string => noticesOf(policy).join('\n');
  assert.equal(told(FULL), '');
  assert.match(told({ kind: 'shared' }), /^--parents shared with the skeleton last only: ostree/);
  assert.match(told({ kind: 'shared', skeleton: 'both' }), /^a first skeleton costs[^\n]*$/);
  assert.match(told({ kind: 'implicit' }), /podman’s overlay.*\n.*chain above/);
  assert.match(told({ ...NEUTRAL, skeleton: 'first' }), /every runtime of today but ostree/);
  assert.match(told({ ...NEUTRAL, skeleton: 'last' }), /ostree shows directories as 0755/);
  assert.match(
    told({ kind: 'delegate', skeleton: 'last' }),
    /^.* stay in ostree .*\nrootless podman/,
  );
  assert.match(told({ kind: 'delegate', xattr: 'user' }), /containers see the markers, but in/);
  assert.equal(skeletonPlace({ kind: 'delegate', fallback: 'exact' }), 'first');
});

/** The layers as they are after reading. */
const indexOf = (all: readonly StackedLayer[]): LayerIndex[] =>
  all.map(({ entries }, number) => ({
    name: `layer ${number}`,
    entries: entries().map(({ path, inode }) => ({
      ...inode,
      path,
      link: inode.target,
      offset: 0,
    })),
    body: () => ({ file: 0, offset: 0 }),
  }));

/** The runtimes that show something else than times, and how. */
function wrongRuntimes(policy: ParentsPolicy): string {
  const views = compareRuntimes(tree, indexOf(stack(policy)));
  return views
    .filter(({ verdict }) => verdict !== 'right' && verdict !== 'time')
    .map(({ id, verdict, differences }) => {
      const isLeak = differences.length > 0 && differences.every(({ what }) => what === 'leaked');
      return `${id}:${isLeak ? 'leaked' : verdict}`;
    })
    .join(' ');
}

/** The runtimes that take a layer's own directories for what is meant, whether there are any or not. */
const ISOLATED = [
  'podman-overlay:wrong podman-overlay-rootless:wrong podman-chunked:wrong podman-chunked-rootless:wrong',
  'podman-composefs:wrong docker-overlay2:wrong containerd-parallel:wrong',
].join(' ');
const SEEN =
  'podman-overlay podman-chunked podman-composefs podman-vfs docker-overlay2 docker-overlay2-rootless containerd containerd-parallel containerd-native containerd-rootless umoci delegating-overlay'
    .split(' ')
    .map((id) => `${id}:leaked`)
    .join(' ');
/** The runtimes that add a directory's xattrs to those that it has. */
const COPIES =
  'podman-vfs:leaked docker-overlay2-rootless:leaked containerd-native:leaked containerd-rootless:leaked';
const both = { skeleton: 'both' } as const;

/** By the models of `runtimes/`: what notices tell of is all that is here, and the other way round. */
const choices: readonly (readonly [ParentsPolicy, string])[] = [
  [FULL, ''],
  [{ kind: 'shared' }, 'ostree:wrong composefs-rs:refused'],
  [{ kind: 'shared', ...both }, ''],
  [{ kind: 'implicit' }, ISOLATED],
  [{ kind: 'implicit', ...both }, ''],
  [{ kind: 'delegate' }, 'podman-chunked-rootless:refused podman-composefs:leaked umoci:leaked'],
  [{ kind: 'delegate', skeleton: 'last' }, 'podman-chunked-rootless:refused ostree:leaked'],
  [{ kind: 'delegate', ...both }, 'podman-chunked-rootless:refused'],
  [{ kind: 'delegate', xattr: 'user' }, SEEN],
  [{ kind: 'delegate', xattr: 'user', skeleton: 'last' }, `${COPIES} ostree:leaked`],
  [{ kind: 'delegate', xattr: 'user', ...both }, COPIES],
  [NEUTRAL, 'podman-chunked-rootless:refused'],
  [{ ...NEUTRAL, skeleton: 'last' }, 'podman-chunked-rootless:refused ostree:wrong'],
  [{ ...NEUTRAL, xattr: 'user' }, COPIES],
  [{ ...NEUTRAL, xattr: 'user', skeleton: 'last' }, `${COPIES} ostree:wrong`],
];

for (const [policy, wanted] of choices) {
  test(`what runtimes show under ${JSON.stringify(policy)}`, () =>
    assert.equal(wrongRuntimes(policy), wanted));
}

test('neutral markers with the skeleton below only: right in ostree, and where the marker is known', () => {
  const ids = wrongRuntimes({ ...NEUTRAL, skeleton: 'first' });
  const right = MODELS.filter(({ id }) => !ids.split(' ').some((one) => one.startsWith(`${id}:`)));
  assert.deepEqual(
    right.map(({ id }) => id),
    ['ostree', 'delegating-overlay'],
  );
});

test.run();
