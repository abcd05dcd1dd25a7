/**
 * Hand-made hostile images: what layers may hold and tools get wrong. Every case states the tree that its layers stand
 * for, by overlay semantics (image-spec v1.1.1, layer.md; where runtimes disagree, what overlay runtimes do), and which
 * real tools are known to see it otherwise or to refuse it. The archives are made by Python's tarfile and GNU tar.
 */
import { type BuiltImage, writeLayout } from './build.ts';
import { type Case, CHANGESETS } from './changesets.ts';
import {
  type Attributes,
  CAPABILITY,
  contentOf,
  dir,
  file,
  link,
  type Member,
  packLayer,
  type SparseFile,
  special,
  symlink,
} from './member.ts';

/** An ACL for user 1000 (posix_acl_xattr.h). */
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
    // The last name's attributes count for Docker, podman and containerd, which set them through the new name.
    tree: [file('a', 'same', { mode: 0o644, uid: 3, gid: 4, mtime: '1500000000' }), link('b', 'a')],
    known: { umoci: 'differs', 'skopeo+tar': 'differs' },
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
    // containerd changes the owner through the link, which clears capabilities, and sets the link entry's own xattrs.
    known: { containerd: 'differs' },
  },
  {
    name: 'capability repeated at each hard link',
    layers: [
      {
        members: [
          file('a', 'same', { mode: 0o4755, xattrs: { 'security.capability': CAPABILITY } }),
          link('b', 'a', { mode: 0o4755, xattrs: { 'security.capability': CAPABILITY } }),
        ],
      },
    ],
    tree: [
      file('a', 'same', { mode: 0o4755, xattrs: { 'security.capability': CAPABILITY } }),
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
    layers: [{ globals: { comment: 'of git archive', uid: '1234' }, members: [file('g', 'g')] }],
    tree: [file('g', 'g')],
    known: { umoci: 'fails', 'skopeo+tar': 'differs' },
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

export type { Case } from './changesets.ts';

/** Every case. */
export const CASES: readonly Case[] = [...ARCHIVES, ...SPARSE_FORMS.map(sparseCase), ...CHANGESETS];

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
