/**
 * Hand-made hostile images: what layers may hold and tools get wrong. Every case states the tree that its layers stand
 * for, by overlay semantics (image-spec v1.1.1, layer.md; where runtimes disagree, what overlay runtimes do), and which
 * real tools are known to see it otherwise or to refuse it. The archives are made by Python's tarfile and GNU tar.
 */
import { type BuiltImage, writeLayout } from './build.ts';
import {
  type ArchiveInput,
  type Attributes,
  contentOf,
  dir,
  file,
  link,
  type Member,
  opaque,
  packLayer,
  type SparseFile,
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

/** `cap_net_raw=ep`, revision 2 (Linux: struct vfs_cap_data), and an ACL for user 1000 (posix_acl_xattr.h). */
const CAPABILITY = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';
const ACL =
  '\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x06\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x06\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff';

/** One layer with one of everything that a file system holds. */
const EVERYTHING: readonly Member[] = [
  dir('acl', { xattrs: { 'system.posix_acl_default': ACL } }),
  file('acl/file', 'acl', { mode: 0o664, xattrs: { 'system.posix_acl_access': ACL } }),
  dir('bin'),
  file('bin/ping', '#!ping', { mode: 0o755, xattrs: { 'security.capability': CAPABILITY } }),
  file('bin/sgid', 'sgid', { mode: 0o2755, gid: 42 }),
  file('bin/su', 'su', { mode: 0o4755 }),
  dir('dev'),
  special('block', 'dev/loop', [7, 300]),
  special('char', 'dev/null', [1, 3]),
  special('char', 'dev/large', [4095, 1048575]),
  special('fifo', 'dev/pipe'),
  dir('empty', { mode: 0o700, uid: 65534, gid: 65534, mtime: '1' }),
  dir('links'),
  file('links/a', 'linked'),
  link('links/b', 'links/a'),
  link('links/c', 'links/b'),
  symlink('links/s', 'a'),
  link('links/t', 'links/s', { mode: 0o777 }),
  dir('names'),
  file('names/caf\xe9'),
  file('names/caf\xc3\xa9'),
  file('names/cafe\xcc\x81'),
  file('names/new\nline'),
  file(`names/q"uote's <&> \\ back`),
  file('names/ tab\tand space '),
  file('names/=equals='),
  file('names/\x01control'),
  ...[93, 94, 95, 149, 150, 255].map((length) => file(`names/${'n'.repeat(length)}`)),
  dir(`names/${'d'.repeat(93)}`),
  dir(`names/${'d'.repeat(93)}/${'e'.repeat(200)}`),
  file(`names/${'d'.repeat(93)}/${'e'.repeat(200)}/${'f'.repeat(250)}`),
  dir('owners'),
  ...[2097151, 2097152, 300000, 4294967294].map((id) =>
    file(`owners/${id}`, `${id}`, { uid: id, gid: id }),
  ),
  dir('sizes'),
  ...[0, 1, 511, 512, 513, 100_000].map((size) =>
    file(`sizes/${size}`, '\0\xff'.repeat(size).slice(0, size)),
  ),
  dir('targets'),
  symlink('targets/100', 't'.repeat(100)),
  symlink('targets/101', 't'.repeat(101)),
  symlink('targets/4000', `${'t'.repeat(200)}/`.repeat(20).slice(0, 4000)),
  symlink('targets/absolute', '/../../etc//passwd/'),
  symlink('targets/latin1', 'caf\xe9\n'),
  dir('times'),
  ...['0', '1.5', '1600000000.000000001', '2147483648', '8589934592'].map((mtime) =>
    file(`times/${mtime}`, mtime, { mtime }),
  ),
  dir('tmp', { mode: 0o1777 }),
  dir('xattrs', { xattrs: { 'user.dir': 'd' } }),
  file('xattrs/binary', '', { xattrs: { 'user.binary': '\0\x01\xfe\xff\n\0' } }),
  file('xattrs/large', '', { xattrs: { 'user.large': 'v\0'.repeat(1500) } }),
  file('xattrs/many', '', { xattrs: { 'user.b': '2', 'user.a': '1' } }),
  file('xattrs/caf\xe9', '', { xattrs: { 'user.caf\xc3\xa9 x': 'name' } }),
];

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

const LAYERED: readonly Case[] = [
  over(
    'whiteout before the new file',
    [whiteout('f'), file('f', 'new')],
    baseWith(/^f$/, file('f', 'new')),
  ),
  over(
    'whiteout after the new file',
    [file('f', 'new'), whiteout('f')],
    baseWith(/^f$/, file('f', 'new')),
  ),
  over('whiteout of a file', [whiteout('f')], baseWith(/^f$/)),
  over('whiteout of a directory', [whiteout('d')], baseWith(/^d/)),
  over('whiteout of nothing', [whiteout('absent')], BASE),
  over(
    'whiteout before the new directory',
    [whiteout('d'), dir('d', { mode: 0o711 }), file('d/c')],
    baseWith(/^d/, dir('d', { mode: 0o711 }), file('d/c')),
  ),
  over(
    'whiteout after the new directory',
    [dir('d', { mode: 0o711 }), file('d/c'), whiteout('d')],
    baseWith(/^d/, dir('d', { mode: 0o711 }), file('d/c')),
  ),
  over('opaque first', [dir('d'), opaque('d'), file('d/c')], baseWith(/^d\//, file('d/c'))),
  over('opaque last', [dir('d'), file('d/c'), opaque('d')], baseWith(/^d\//, file('d/c'))),
  over('whiteouts of a directory and in it', [whiteout('d'), whiteout('d/a')], baseWith(/^d/)),
  over('file over directory', [file('d', 'now a file')], baseWith(/^d/, file('d', 'now a file'))),
  over('symlink over directory', [symlink('d', 'r')], baseWith(/^d/, symlink('d', 'r'))),
  over('directory over file', [dir('f'), file('f/x')], baseWith(/^f$/, dir('f'), file('f/x'))),
  over(
    'directory over symlink',
    [dir('ln'), file('ln/x')],
    baseWith(/^ln$/, dir('ln'), file('ln/x')),
  ),
  over('fifo over file', [special('fifo', 'f')], baseWith(/^f$/, special('fifo', 'f'))),
  over('hard link to a lower file', [link('h', 'f')], baseWith(/^$/, link('h', 'f'))),
  over('entry below a lower symlink', [file('ln/x')], baseWith(/^ln$/, dir('ln'), file('ln/x'))),
  over('whiteout below a lower symlink', [whiteout('ln/z')], baseWith(/^ln$/, dir('ln'))),
  over(
    'directory attributes replaced, children kept',
    [dir('d', { mode: 0o2750, uid: 7, gid: 8, xattrs: { 'user.new': 'n' } })],
    baseWith(/^d$/, dir('d', { mode: 0o2750, uid: 7, gid: 8, xattrs: { 'user.new': 'n' } })),
  ),
  over(
    'the same path twice',
    [file('f', 'first'), file('f', 'second')],
    baseWith(/^f$/, file('f', 'second')),
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

/** What only base-256 numbers can hold. */
const GNU_ATTRIBUTES: Attributes = { uid: 4294967294, gid: 2097152, mtime: '8589934592' };

const OLD_TIMES: readonly Member[] = ['-5', '-1.5', '-0.000000001'].map((mtime) =>
  file(`times${mtime}`, mtime, { mtime }),
);

const EMPTY_VALUE: readonly Member[] = [file('empty', '', { xattrs: { 'user.empty': '' } })];

const TRUSTED: readonly Member[] = [
  file('trusted', '', { xattrs: { 'trusted.t': '\xff' } }),
  symlink('symlink', 'nowhere', { xattrs: { 'trusted.link': 'l' } }),
];

const ARCHIVES: readonly Case[] = [
  {
    name: 'times before 1970',
    layers: [{ members: OLD_TIMES }],
    tree: OLD_TIMES,
    known: { 'podman-overlay': 'differs', 'podman-vfs': 'differs', containerd: 'differs' },
  },
  {
    name: 'xattr with an empty value',
    layers: [{ members: EMPTY_VALUE }],
    tree: EMPTY_VALUE,
    known: { umoci: 'differs', 'podman-overlay': 'differs', 'podman-vfs': 'differs' },
  },
  {
    name: 'trusted xattrs',
    layers: [{ members: TRUSTED }],
    tree: TRUSTED,
    known: { containerd: 'differs' },
  },
  {
    name: 'hard link entry with attributes of its own',
    layers: [
      {
        members: [
          file('a', 'same', { mode: 0o600, uid: 1, gid: 2 }),
          link('b', 'a', { mode: 0o644, uid: 3, gid: 4, mtime: '1500000000' }),
        ],
      },
    ],
    tree: [file('a', 'same', { mode: 0o600, uid: 1, gid: 2 }), link('b', 'a')],
  },
  {
    name: 'capability through a hard link',
    layers: [
      {
        members: [
          file('a', 'same', { mode: 0o755, xattrs: { 'security.capability': CAPABILITY } }),
          link('b', 'a', { mode: 0o755 }),
        ],
      },
    ],
    tree: [
      file('a', 'same', { mode: 0o755, xattrs: { 'security.capability': CAPABILITY } }),
      link('b', 'a'),
    ],
  },
  { name: 'one of everything', layers: [{ members: EVERYTHING }], tree: EVERYTHING },
  {
    name: 'names with ./ and / before them',
    layers: [
      {
        members: [
          dir('./'),
          dir('./d'),
          file('./d/a', 'a'),
          dir('/e/'),
          file('//e//b', 'b'),
          link('./e/c', './d/a'),
        ],
      },
    ],
    tree: [dir('d'), file('d/a', 'a'), dir('e'), file('e/b', 'b'), link('e/c', 'd/a')],
  },
  {
    name: 'GNU long names and base-256 numbers',
    layers: [
      {
        format: 'gnu',
        members: [
          dir('l'),
          file(`l/${'n'.repeat(180)}`, 'n', GNU_ATTRIBUTES),
          symlink('l/s', 't'.repeat(300)),
          link(`l/${'m'.repeat(120)}`, `l/${'n'.repeat(180)}`, GNU_ATTRIBUTES),
        ],
      },
    ],
    tree: [
      dir('l'),
      file(`l/${'n'.repeat(180)}`, 'n', GNU_ATTRIBUTES),
      symlink('l/s', 't'.repeat(300)),
      link(`l/${'m'.repeat(120)}`, `l/${'n'.repeat(180)}`, GNU_ATTRIBUTES),
    ],
  },
  {
    name: 'PAX global header',
    layers: [{ globals: { comment: 'of git archive' }, members: [file('g', 'g')] }],
    tree: [file('g', 'g')],
    known: { umoci: 'fails' },
  },
  {
    name: 'ustar prefix',
    layers: [
      {
        format: 'ustar',
        members: [
          dir('p'),
          dir(`p/${'q'.repeat(90)}`),
          file(`p/${'q'.repeat(90)}/${'r'.repeat(90)}`, 'r'),
        ],
      },
    ],
    tree: [
      dir('p'),
      dir(`p/${'q'.repeat(90)}`),
      file(`p/${'q'.repeat(90)}/${'r'.repeat(90)}`, 'r'),
    ],
  },
];

const GNU_SPARSE_REFUSED: Case['known'] = {
  umoci: 'fails',
  'podman-overlay': 'fails',
  'podman-vfs': 'fails',
  containerd: 'fails',
};

const SPARSE_FORMS = ['gnu', '0.0', '0.1', '1.0'] as const;

function sparseFile(form: string, size: number): SparseFile {
  const data: [number, string][] = [
    [0, 'head'],
    [1 << 20, 'middle'],
    ...Array.from({ length: 30 }, (_, i): [number, string] => [
      (2 << 20) + i * 65536,
      `piece ${i}`,
    ]),
  ];
  return { path: `sparse-${form}`, size, data };
}

function sparseCase(form: (typeof SPARSE_FORMS)[number]): Case {
  const sparse = sparseFile(form, 5 << 20);
  return {
    name: `sparse file in the form ${form}`,
    layers: [{ sparse: [sparse], format: form }],
    tree: [file(sparse.path, contentOf(sparse))],
    // Go programs read PAX's forms only; Docker's and podman's unpackers refuse the old one.
    ...(form === 'gnu' && { known: GNU_SPARSE_REFUSED }),
  };
}

/** Every case. */
export const CASES: readonly Case[] = [...ARCHIVES, ...SPARSE_FORMS.map(sparseCase), ...LAYERED];

/** Writes `hostile` as the image `latest` of an OCI layout at `directory`; every second layer is zstd, the others gzip. */
export async function writeCase(directory: string, hostile: Case): Promise<BuiltImage> {
  const tars = await Promise.all(hostile.layers.map(packLayer));
  const layers = tars.map((tar, i) => ({
    tar,
    compression: i % 2 === 0 ? ('gzip' as const) : ('zstd' as const),
  }));
  const [image] = await writeLayout(directory, [{ layers }]);
  return image as BuiltImage;
}
