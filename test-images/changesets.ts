/**
 * Hostile images whose layers change one another: whiteouts, opaque markers, type changes, hard links and symlinks over
 * layers. What each stands for follows overlay semantics (image-spec v1.1.1, layer.md "Applying Changesets").
 */
import {
  type ArchiveInput,
  dir,
  file,
  link,
  type Member,
  opaque,
  special,
  symlink,
  whiteout,
} from './member.ts';
import type { Tool } from './runtime.ts';

/** A hostile image. */
export interface Case {
  readonly name: string;
  /** Lowest first. */
  readonly layers: readonly ArchiveInput[];
  /** The whole tree that the layers stand for, without the root; in any order. */
  readonly tree: readonly Member[];
  /** Tools that refuse the image, or unpack something else; measured, see README. */
  readonly known?: Partial<Readonly<Record<Tool, 'fails' | 'differs'>>> | undefined;
}

/** What the layer matrix starts from (formats: "Applying layers"). */
const BASE: readonly Member[] = [
  dir('d'),
  file('d/a'),
  file('d/b'),
  file('f'),
  dir('r'),
  file('r/z'),
  symlink('ln', 'r'),
];

/** The base without the paths, and with what comes instead. */
function baseWith(without: RegExp, ...more: readonly Member[]): readonly Member[] {
  return [...BASE.filter(({ path }) => !without.test(path)), ...more];
}

function over(
  name: string,
  members: readonly Member[],
  tree: readonly Member[],
  known?: Case['known'],
): Case {
  return { name, layers: [{ members: BASE }, { members }], tree, ...(known && { known }) };
}

/** Cases of layers over layers. */
export const CHANGESETS: readonly Case[] = [
  over(
    'whiteout before the new file',
    [whiteout('f'), file('f', 'new')],
    baseWith(/^f$/, file('f', 'new')),
  ),
  over(
    'whiteout after the new file',
    [file('f', 'new'), whiteout('f')],
    baseWith(/^f$/, file('f', 'new')),
    { 'podman-overlay': 'fails', 'podman-vfs': 'differs', containerd: 'fails' },
  ),
  over('whiteout of a file', [whiteout('f')], baseWith(/^f$/)),
  over('whiteout of a directory', [whiteout('d')], baseWith(/^d/)),
  over('whiteout of nothing', [whiteout('absent')], BASE),
  over(
    'whiteout before the new directory',
    [whiteout('d'), dir('d', { mode: 0o711 }), file('d/c')],
    baseWith(/^d/, dir('d', { mode: 0o711 }), file('d/c')),
    { 'podman-overlay': 'differs', containerd: 'differs' },
  ),
  over(
    'whiteout after the new directory',
    [dir('d', { mode: 0o711 }), file('d/c'), whiteout('d')],
    baseWith(/^d/, dir('d', { mode: 0o711 }), file('d/c')),
    { 'podman-overlay': 'fails', 'podman-vfs': 'fails', containerd: 'fails' },
  ),
  over('opaque first', [dir('d'), opaque('d'), file('d/c')], baseWith(/^d\//, file('d/c'))),
  over('opaque last', [dir('d'), file('d/c'), opaque('d')], baseWith(/^d\//, file('d/c'))),
  over('whiteouts of a directory and in it', [whiteout('d'), whiteout('d/a')], baseWith(/^d/), {
    'podman-vfs': 'differs',
    containerd: 'fails',
  }),
  over('file over directory', [file('d', 'now a file')], baseWith(/^d/, file('d', 'now a file'))),
  over('symlink over directory', [symlink('d', 'r')], baseWith(/^d/, symlink('d', 'r'))),
  over('directory over file', [dir('f'), file('f/x')], baseWith(/^f$/, dir('f'), file('f/x'))),
  over(
    'directory over symlink',
    [dir('ln'), file('ln/x')],
    baseWith(/^ln$/, dir('ln'), file('ln/x')),
  ),
  over('fifo over file', [special('fifo', 'f')], baseWith(/^f$/, special('fifo', 'f'))),
  over('hard link to a lower file', [link('h', 'f')], baseWith(/^$/, link('h', 'f')), {
    'podman-overlay': 'fails',
    containerd: 'fails',
  }),
  over('entry below a lower symlink', [file('ln/x')], baseWith(/^ln$/, dir('ln'), file('ln/x')), {
    umoci: 'differs',
    'podman-vfs': 'differs',
  }),
  over('whiteout below a lower symlink', [whiteout('ln/z')], baseWith(/^ln$/, dir('ln')), {
    umoci: 'differs',
    'podman-overlay': 'differs',
    'podman-vfs': 'differs',
    containerd: 'differs',
  }),
  over(
    'directory attributes replaced, children kept',
    [dir('d', { mode: 0o2750, uid: 7, gid: 8, xattrs: { 'user.new': 'n' } })],
    baseWith(/^d$/, dir('d', { mode: 0o2750, uid: 7, gid: 8, xattrs: { 'user.new': 'n' } })),
  ),
  over(
    'the same path twice',
    [file('f', 'first'), file('f', 'second')],
    baseWith(/^f$/, file('f', 'second')),
    { 'podman-overlay': 'fails', 'podman-vfs': 'fails' },
  ),
  over('a layer without entries', [], BASE),
  {
    name: 'xattrs replaced, not merged',
    layers: [
      {
        members: [
          dir('d', { xattrs: { 'user.old': 'o' } }),
          file('f', '1', { xattrs: { 'user.old': 'o' } }),
        ],
      },
      {
        members: [
          dir('d', { xattrs: { 'user.new': 'n' } }),
          file('f', '1', { xattrs: { 'user.new': 'n' } }),
        ],
      },
    ],
    known: { 'podman-vfs': 'differs' },
    tree: [
      dir('d', { xattrs: { 'user.new': 'n' } }),
      file('f', '1', { xattrs: { 'user.new': 'n' } }),
    ],
  },
  {
    name: 'one name of a hard-link group replaced above',
    layers: [
      { members: [file('a', 'same'), link('b', 'a'), link('c', 'a')] },
      { members: [file('b', 'other')] },
      { members: [whiteout('a')] },
    ],
    tree: [file('c', 'same'), file('b', 'other')],
  },
  {
    name: 'deleted and made again two layers above',
    layers: [
      { members: BASE },
      { members: [whiteout('d')] },
      { members: [dir('d'), file('d/b', 'new')] },
    ],
    tree: baseWith(/^d/, dir('d'), file('d/b', 'new')),
  },
  {
    name: 'directories that no layer defines',
    layers: [{ members: [file('x/y/z')] }],
    tree: [dir('x'), dir('x/y'), file('x/y/z')],
  },
];
