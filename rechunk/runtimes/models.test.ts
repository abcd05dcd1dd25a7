/** What each model makes of a directory, by the shape of the layers; measured ones are held against real runtimes besides. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import {
  type Attributes,
  dir,
  file,
  link,
  type Member,
  opaque,
  symlink,
  whiteout,
} from '../../test-images/member.ts';
import { layersOf } from '../../test-images/memberlayers.ts';
import { showTime } from '../verify.ts';
import { find } from './layering.ts';
import { MODELS, modelOf } from './models.ts';
import { isolateLayers } from './stack.ts';
import { type ViewNode, viewOf } from './view.ts';

const BASE: Attributes = { mode: 0o2770, uid: 1, gid: 2, mtime: '5.5', xattrs: { 'user.a': 'a' } };
const OTHER: Attributes = { mode: 0o700, uid: 3, gid: 4, mtime: '7' };
const NEUTRAL: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: '0' };

function mark(namespace: string, { xattrs, ...rest }: Attributes): Attributes {
  return { ...rest, xattrs: { ...xattrs, [`${namespace}.overlay.dirmeta_delegate`]: 'y' } };
}

const child = file('d/f', 'f', { uid: 8, gid: 9 });
const full = '2770 1:2 5.5 user.a';
const other = '0700 3:4 7';

/** `d` as a runtime shows it: mode, owner, time, xattrs (those of overlay in brackets). */
function show(node: ViewNode | undefined): string {
  if (!node) return 'nothing';
  const { inode, isNow, leaked } = node;
  if (inode.type !== 'dir') return inode.type;
  const mode = inode.mode.toString(8).padStart(4, '0');
  const time = isNow ? 'now' : showTime(inode.mtime);
  const xattrs = [...inode.xattrs.keys(), ...[...leaked.keys()].map((name) => `[${name}]`)];
  return [mode, `${inode.uid}:${inode.gid}`, time, ...xattrs].join(' ');
}

/** Expected of every model that has no line of its own. */
interface Case {
  readonly name: string;
  readonly layers: readonly (readonly Member[])[];
  readonly all: string;
  readonly but: Readonly<Record<string, string>>;
}

const CHUNKED = ['podman-chunked', 'podman-chunked-rootless'];
const DELEGATING = ['delegating-overlay', 'delegating-overlay-rootless'];
const IN_PLACE = [
  'podman-vfs',
  'docker-overlay2-rootless',
  'containerd-native',
  'containerd-rootless',
];
const ROOTLESS = MODELS.map(({ id }) => id).filter((id) => id.endsWith('overlay-rootless'));

function each(ids: readonly string[], shown: string): Record<string, string> {
  return Object.fromEntries(ids.map((id) => [id, shown]));
}

const COMMON = { ostree: '2770 1:2 0 user.a', 'composefs-rs': '2770 1:2 5' };
const LEAK = '[trusted.overlay.dirmeta_delegate]';

const cases: readonly Case[] = [
  {
    name: 'a directory that a lower layer has and an upper one implies',
    layers: [[dir('d', BASE)], [child]],
    all: '0755 0:0 now',
    but: {
      ...COMMON,
      ...each(CHUNKED, '0000 0:0 now'),
      ...each([...IN_PLACE, 'containerd'], '2770 1:2 now user.a'),
      ...each(['umoci', ...DELEGATING], full),
      'podman-composefs': '0755 0:0 0',
    },
  },
  {
    name: 'a directory that no layer defines',
    layers: [[child], [file('d/g', 'g')]],
    all: '0755 0:0 now',
    but: {
      ...each(CHUNKED, '0000 0:0 now'),
      'podman-composefs': '0755 0:0 0',
      ostree: '0755 8:9 0',
      'composefs-rs': 'refused /d',
    },
  },
  {
    name: 'a directory that every layer defines, parents first',
    layers: [[dir('d', BASE)], [dir('d', BASE), child]],
    all: full,
    but: { ...COMMON, ...each([...CHUNKED, 'containerd-native'], '2770 1:2 now user.a') },
  },
  {
    name: 'a directory that an upper layer changes',
    layers: [[dir('d', BASE)], [dir('d', OTHER)]],
    all: other,
    but: { ostree: COMMON.ostree, ...each(IN_PLACE, '0700 3:4 7 user.a') },
  },
  {
    name: 'a directory that comes after what it holds',
    layers: [[child, dir('d', OTHER)]],
    all: other,
    but: {
      'podman-composefs': 'refused /d',
      'composefs-rs': 'refused /d',
      ...each([...CHUNKED, 'containerd-native'], '0700 3:4 now'),
      ostree: '0700 3:4 0',
    },
  },
  {
    name: 'an ancestor that is defined before an entry lacks its parents',
    layers: [[dir('d', OTHER), file('d/e/f', 'f', { uid: 8, gid: 9 })]],
    all: other,
    but: {
      ...each([...CHUNKED, 'containerd-native'], '0700 3:4 now'),
      umoci: '0700 3:4 now',
      ostree: '0755 8:9 0',
      'composefs-rs': 'refused /d/e',
    },
  },
  {
    name: 'a path that is listed twice',
    layers: [[dir('d', BASE), dir('d', OTHER)]],
    all: other,
    but: {
      ...each(
        MODELS.map(({ id }) => id).filter((id) => /podman|docker|delegating/.test(id)),
        'refused /d',
      ),
      ...each(
        ['containerd', 'containerd-parallel', 'containerd-native', 'containerd-rootless'],
        '0700 3:4 7 user.a',
      ),
      ostree: '0700 3:4 0',
    },
  },
  {
    name: 'an exact directory with a mark in trusted.*',
    layers: [[dir('d', BASE)], [dir('d', mark('trusted', BASE)), child]],
    all: full,
    but: {
      ...COMMON,
      'podman-chunked': '2770 1:2 now user.a',
      'podman-chunked-rootless': 'refused /d',
      'containerd-native': '2770 1:2 now user.a',
      ...each(['podman-composefs', 'umoci'], `${full} ${LEAK}`),
    },
  },
  {
    name: 'a neutral directory with a mark in trusted.*',
    layers: [[dir('d', BASE)], [dir('d', mark('trusted', NEUTRAL)), child]],
    all: '0755 0:0 0',
    but: {
      ostree: COMMON.ostree,
      'delegating-overlay': full,
      'podman-chunked': '0755 0:0 now',
      'podman-chunked-rootless': 'refused /d',
      'containerd-native': '0755 0:0 now user.a',
      ...each(
        ['podman-vfs', 'docker-overlay2-rootless', 'containerd-rootless'],
        '0755 0:0 0 user.a',
      ),
      ...each(['podman-composefs', 'umoci'], `0755 0:0 0 ${LEAK}`),
    },
  },
  {
    name: 'a neutral directory with a mark in user.*',
    layers: [[dir('d', BASE)], [dir('d', mark('user', NEUTRAL)), child]],
    all: '0755 0:0 0 [user.overlay.dirmeta_delegate]',
    but: {
      ostree: COMMON.ostree,
      'composefs-rs': '0755 0:0 0',
      'delegating-overlay-rootless': full,
      ...each(
        ROOTLESS.filter((id) => !id.startsWith('delegating')),
        '0755 0:0 0',
      ),
      'podman-chunked': '0755 0:0 now [user.overlay.dirmeta_delegate]',
      'podman-chunked-rootless': '0755 0:0 now',
      ...each(IN_PLACE, '0755 0:0 0 user.a [user.overlay.dirmeta_delegate]'),
      'containerd-native': '0755 0:0 now user.a [user.overlay.dirmeta_delegate]',
    },
  },
  {
    name: 'marks on all layers: the topmost counts',
    layers: [[dir('d', mark('trusted', BASE))], [dir('d', mark('trusted', OTHER))]],
    all: other,
    but: {
      ostree: `2770 1:2 0 user.a ${LEAK}`,
      'podman-chunked-rootless': 'refused /d',
      ...each(IN_PLACE, '0700 3:4 7 user.a'),
      ...each(['podman-composefs', 'umoci'], `${other} ${LEAK}`),
    },
  },
  {
    name: 'an unmarked directory above a marked one',
    layers: [[dir('d', BASE)], [dir('d', mark('trusted', NEUTRAL))], [dir('d', OTHER)]],
    all: other,
    but: {
      ostree: COMMON.ostree,
      'podman-chunked-rootless': 'refused /d',
      ...each(IN_PLACE, '0700 3:4 7 user.a'),
    },
  },
  {
    name: 'a directory that is deleted and implied again by a further layer',
    layers: [[dir('d', BASE)], [whiteout('d')], [child]],
    all: '0755 0:0 now',
    but: {
      ...each(CHUNKED, '0000 0:0 now'),
      'podman-composefs': '0755 0:0 0',
      ostree: '0755 8:9 0',
      'composefs-rs': 'refused /d',
    },
  },
  {
    name: 'an entry below a lower symlink',
    layers: [[dir('t', BASE), symlink('d', 't')], [child]],
    all: '0755 0:0 now',
    but: {
      ...each(CHUNKED, '0000 0:0 now'),
      'podman-composefs': '0755 0:0 0',
      containerd: '2770 1:2 now user.a',
      ...each(['umoci', ...IN_PLACE], 'symlink'),
      ostree: '0755 8:9 0',
      'composefs-rs': 'refused /d',
    },
  },
  {
    name: 'a file in place of which a directory is implied',
    layers: [[file('d')], [child]],
    all: '0755 0:0 now',
    but: {
      ...each(CHUNKED, '0000 0:0 now'),
      'podman-composefs': '0755 0:0 0',
      ...each(['umoci', 'composefs-rs', ...IN_PLACE], 'refused /d'),
      ostree: '0755 8:9 0',
    },
  },
];

for (const { name, layers, all, but } of cases) {
  // Without it composefs-rs takes no image.
  const stack = isolateLayers(layersOf([[dir('usr')], ...layers]));
  for (const model of MODELS) {
    test(`${model.id}: ${name}`, () => {
      const { refused, root } = viewOf(model, stack);
      const shown = refused ? `refused /${refused.path}` : show(find(root, 'd' as never));
      assert.equal(shown, but[model.id] ?? all);
    });
  }
}

test('a directory in a set-group-id one takes what the runtime lets it', () => {
  const shown = (...members: Member[]): string[] =>
    ['podman-overlay', 'containerd', 'podman-vfs', 'podman-composefs'].map((id) => {
      const { refused, root } = viewOf(modelOf(id) as never, isolateLayers(layersOf([members])));
      return refused ? 'refused' : show(find(root, 'd/e' as never));
    });
  const inner = file('d/e/f');
  assert.deepEqual(shown(dir('d', BASE), inner), [
    '2755 0:0 now',
    '0755 0:2 now',
    '2755 0:2 now',
    '0755 0:0 0',
  ]);
  const late = ['0755 0:0 now', '0755 0:0 now', '0755 0:0 now', 'refused'];
  assert.deepEqual(shown(inner, dir('d', BASE)), late);
});

test('a live opaque marker among the xattrs hides what lies below, where it is obeyed', () => {
  const opaqueXattr = { xattrs: { 'trusted.overlay.opaque': 'y' } };
  const stack = isolateLayers(layersOf([[dir('d'), file('d/a')], [dir('d', opaqueXattr)]]));
  const hides = MODELS.filter((model) => !find(viewOf(model, stack).root, 'd/a' as never)).map(
    ({ id }) => id,
  );
  assert.deepEqual(hides, [
    'podman-overlay',
    'podman-chunked',
    'docker-overlay2',
    'delegating-overlay',
  ]);
});

test('podman’s composefs deletes nothing, and shows the deletion', () => {
  const stack = isolateLayers(
    layersOf([
      [dir('d'), file('d/a')],
      [dir('d'), whiteout('d/a')],
    ]),
  );
  const { root } = viewOf(modelOf('podman-composefs') as never, stack);
  assert.deepEqual([...(find(root, 'd' as never)?.children?.keys() ?? [])], ['a', '.wh.a']);
});

test('a hard link to a file of a lower layer is refused where layers are unpacked apart', () => {
  const stack = isolateLayers(layersOf([[dir('usr'), file('a')], [link('b', 'a')]]));
  const takes = MODELS.filter((model) => !viewOf(model, stack).refused).map(({ id }) => id);
  assert.deepEqual(takes, [...IN_PLACE, 'umoci', 'composefs-rs']);
});

test('what a layer puts beside its own opaque marker stays; composefs-rs loses what came first, podman’s composefs hides nothing', () => {
  const members = [dir('d'), file('d/own'), opaque('d')];
  const stack = isolateLayers(layersOf([[dir('d'), file('d/low')], members]));
  for (const model of MODELS) {
    const found = [...(find(viewOf(model, stack).root, 'd' as never)?.children?.keys() ?? [])];
    const wanted: Readonly<Record<string, readonly string[]>> = {
      'composefs-rs': [],
      'podman-composefs': ['low', 'own', '.wh..wh..opq'],
    };
    assert.deepEqual(found, wanted[model.id] ?? ['own'], model.id);
  }
});

test.run();
