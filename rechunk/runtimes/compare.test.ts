/** What counts as a difference between a runtime's view and the tree that was meant, and what no image can change. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { type Attributes, dir, file, type Member, special } from '../../test-images/member.ts';
import { layersOf } from '../../test-images/memberlayers.ts';
import { flatten } from '../flatten.ts';
import { type Contents, Tree } from '../tree.ts';
import { type ComparedView, canBeRight, compareViews, type TimesOf } from './compare.ts';
import { MODELS, modelOf } from './models.ts';
import { compareRuntimes, parseRuntimes } from './report.ts';
import { isolateLayers } from './stack.ts';
import { viewOf } from './view.ts';

const NO_CONTENTS: Contents = {
  read: () => Promise.reject(new Error('no content')),
  digests: () => Promise.reject(new Error('no content')),
};

type Members = readonly (readonly Member[])[];

/** The runtime `id` shows `got`; meant is `want` flattened. */
function compare(id: string, want: Members, got: Members, timesOf?: TimesOf): ComparedView {
  const model = modelOf(id);
  if (!model) throw new Error(id);
  const tree = new Tree(flatten(layersOf(want)).entries, NO_CONTENTS);
  return compareViews(tree, viewOf(model, isolateLayers(layersOf(got))), timesOf);
}

/** The differences as lines, those that no image can change in brackets; the root's left out. */
function lines({ verdict, differences, unfixable }: ComparedView): string[] {
  const fixable = differences.map(({ at, what, want, got }) => `${at} ${what} ${want} -> ${got}`);
  const others = unfixable
    .filter(({ at }) => at !== '/')
    .map(({ at, what, unfixable: why }) => `[${at} ${what}: ${why}]`);
  return [verdict, ...fixable, ...others];
}

const ODD: Attributes = {
  mode: 0o2770,
  uid: 1,
  gid: 2,
  mtime: '5.5',
  xattrs: { 'user.a': 'a', 'trusted.t': 't' },
};
const full: Members = [
  [dir('usr')],
  [dir('d', ODD), file('d/f', 'f')],
  [dir('d', ODD), file('d/g', 'g')],
];
const sparse: Members = [[dir('usr')], [dir('d', ODD), file('d/f', 'f')], [file('d/g', 'g')]];

const cases: readonly (readonly [string, Members, Members, readonly string[]])[] = [
  ['podman-overlay', full, full, ['right']],
  [
    'podman-overlay',
    full,
    sparse,
    [
      'wrong',
      '/d mode 2770 -> 0755',
      '/d owner 1:2 -> 0:0',
      '/d xattrs trusted.t=74 user.a=61 -> ',
      '/d time 5.5 -> when it was unpacked',
    ],
  ],
  [
    'containerd',
    full,
    sparse,
    ['time', '/d time 5.5 -> when it was unpacked', '[/d xattrs: trusted.* is not set]'],
  ],
  [
    'podman-chunked',
    full,
    full,
    ['right', '[/d time: a directory’s time is set before it is filled]'],
  ],
  [
    'podman-chunked',
    full,
    [...sparse.slice(0, 2), [dir('d', { ...ODD, mode: 0 })]],
    ['wrong', '/d mode 2770 -> 0000', '/d/g missing file -> nothing'],
  ],
  ['umoci', full, sparse, ['right']],
  [
    'composefs-rs',
    full,
    sparse,
    [
      'right',
      '[/d xattrs: only security.capability is kept]',
      '[/d time: times are whole seconds]',
    ],
  ],
  [
    'ostree',
    full,
    full,
    [
      'right',
      '[/usr time: ostree keeps no times]',
      '[/d time: ostree keeps no times]',
      '[/d/f time: ostree keeps no times]',
      '[/d/g time: ostree keeps no times]',
    ],
  ],
  [
    'umoci',
    full,
    [
      ...full,
      [
        dir('d', { ...ODD, xattrs: { ...ODD.xattrs, 'trusted.overlay.dirmeta_delegate': 'y' } }),
        file('more'),
      ],
    ],
    ['wrong', '/d leaked  -> trusted.overlay.dirmeta_delegate=79', '/more extra nothing -> file'],
  ],
  [
    'umoci',
    full,
    [[dir('usr'), dir('d', ODD), dir('d/f'), file('d/g', 'G')]],
    [
      'wrong',
      '/d/f type file -> dir',
      '/d/g content cd0aa9856147b6c5b4ff2b7dfee5da20aa38253099ef1b4a64aced233c9afe29 (1 bytes) -> 333e0a1e27815d0ceee55c473fe3dc93d56c63e3bee2b3b4aee8eed6d70191a3 (1 bytes)',
    ],
  ],
];

for (const [id, want, got, found] of cases) {
  test(`${id}: ${found.join(', ').slice(0, 100)}`, () => {
    assert.deepEqual(lines(compare(id, want, got)), found);
  });
}

test('a path may have any of the times that it is given', () => {
  const zero = [
    [dir('usr'), dir('d', { ...ODD, mtime: '0' }), file('d/f', 'f')],
    [file('d/g', 'g')],
  ];
  assert.equal(compare('umoci', full, zero).verdict, 'time');
  assert.equal(
    compare('umoci', full, zero, () => [1n, 0n, 1_600_000_000_000_000_000n]).verdict,
    'right',
  );
});

test('a refused image has a reason and no differences', () => {
  const { verdict, refused, differences } = compare('composefs-rs', full, [
    [dir('usr')],
    [file('d/f', 'f')],
  ]);
  assert.deepEqual(
    [verdict, refused?.at, refused?.layer, differences],
    ['refused', '/d', 'layer 2', []],
  );
});

test('an image that a runtime cannot take whatever its layers are is not to be mended', () => {
  const bare = compare('composefs-rs', full, [[file('d', 'f')]]);
  assert.deepEqual(
    [bare.refused?.at, bare.refused?.reason],
    ['/usr', 'there is no such directory'],
  );
  const fifo = compare('ostree', full, [[special('fifo', 'f')]]);
  assert.equal(fifo.refused?.reason, 'a fifo cannot be stored');
  const device = [dir('usr'), dir('dev'), special('char', 'dev/console', [5, 1])];
  assert.equal(compare('ostree', [device], [device]).verdict, 'right');
  const sparser = compare('composefs-rs', full, [[file('d/f', 'f')]]);
  const wrong = compare('podman-overlay', full, sparse);
  const right = compare('podman-overlay', full, full);
  assert.deepEqual([bare, fifo, right, sparser, wrong].map(canBeRight), [
    false,
    false,
    false,
    true,
    true,
  ]);
});

test('what lies below /run is lost in composefs-rs, whatever its layers are', () => {
  const members = [dir('usr', { mtime: '9' }), dir('run', { mtime: '7' }), file('run/x')];
  assert.deepEqual(lines(compare('composefs-rs', [members], [members])), [
    'right',
    '[/run time: /run is emptied]',
    '[/run/x missing: /run is emptied]',
  ]);
});

test('all runtimes are compared where no others are named, and an unknown one is an error', () => {
  const tree = new Tree(flatten(layersOf(full)).entries, NO_CONTENTS);
  assert.deepEqual(
    compareRuntimes(tree, layersOf(full)).map(({ id, verdict }) => [id, verdict]),
    // Of `trusted.*`.
    MODELS.map(({ id }) => [id, id === 'podman-chunked-rootless' ? 'refused' : 'right']),
  );
  assert.deepEqual(
    parseRuntimes('umoci, ostree').map(({ id }) => id),
    ['umoci', 'ostree'],
  );
  assert.throws(
    () => parseRuntimes('umoci,podman'),
    /got 'podman', want all, or some of podman-overlay, /,
  );
});

test.run();
