/**
 * Small images whose layers disagree, hint or keep quiet about directories: what each runtime makes of them is measured,
 * and the models of `rechunk/runtimes` have to agree. Archives are made by Python's tarfile.
 */
import { writeLayout } from '../build.ts';
import {
  type Attributes,
  dir,
  file,
  link,
  type Member,
  opaque,
  packMembers,
  special,
  symlink,
  whiteout,
} from '../member.ts';

/** An image as the layers that were written. */
export interface Shape {
  /** Lower-case words with hyphens, for files. */
  readonly name: string;
  /** Lowest first; members in the order of the archive. */
  readonly layers: readonly (readonly Member[])[];
  /**
   * The tree that it stands for, the root too where a layer has it (path `.`): a directory is as the topmost layer defines it without a mark; where all
   * marks, as the topmost defines it; where none does, 0755, 0:0, time 0. Overlay xattrs are no part of it.
   */
  readonly intended: readonly Member[];
}

type Marker = 'trusted' | 'user';

function marked(namespace: Marker, more: Attributes): Attributes {
  return { ...more, xattrs: { ...more.xattrs, [`${namespace}.overlay.dirmeta_delegate`]: 'y' } };
}

/** What a directory has that no layer defines. */
const IMPLIED: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: '0' };
const NEUTRAL = IMPLIED;

// Modes, owners, xattrs and times that no default gives.
const DATA: Attributes = {
  mode: 0o2770,
  uid: 1000,
  gid: 1001,
  mtime: '1500000000.123456789',
  xattrs: { 'user.note': 'data' },
};
const DEEP: Attributes = { mode: 0o711, uid: 7, gid: 8, mtime: '1510000000' };
const CHANGED: Attributes = {
  mode: 0o750,
  uid: 30,
  gid: 31,
  mtime: '1520000000.5',
  xattrs: { 'user.other': 'changed' },
};
const SECRET: Attributes = { mode: 0o700, uid: 5, gid: 6, mtime: '1530000000' };
const TMP: Attributes = { mode: 0o1777, mtime: '1540000000' };
/** A file's own owner, which some runtimes give to the directories that they make for it. */
const OWN: Attributes = { uid: 42, gid: 43 };

const BASE: readonly Member[] = [
  dir('data', DATA),
  dir('data/deep', DEEP),
  file('data/deep/low', 'low'),
  dir('secret', SECRET),
  file('secret/key', 'key', { mode: 0o600 }),
  dir('tmp', TMP),
];

function instead(tree: readonly Member[], ...members: readonly Member[]): readonly Member[] {
  const paths = new Set(members.map(({ path }) => path));
  return [...tree.filter(({ path }) => !paths.has(path)), ...members];
}

function without(tree: readonly Member[], paths: RegExp): readonly Member[] {
  return tree.filter(({ path }) => !paths.test(path));
}

function shape(
  name: string,
  layers: readonly (readonly Member[])[],
  intended: readonly Member[],
): Shape {
  return { name, layers, intended };
}

function overBase(name: string, layer: readonly Member[], intended: readonly Member[]): Shape {
  return shape(name, [BASE, layer], intended);
}

const NEW = file('data/deep/new', 'new', OWN);

const SPARSE: readonly Shape[] = [
  overBase(
    'sparse-over-base',
    [NEW, file('tmp/t', 't', OWN)],
    [...BASE, NEW, file('tmp/t', 't', OWN)],
  ),
  shape(
    'sparse-undefined',
    [[file('a/b/c', 'c', OWN)]],
    [dir('a', IMPLIED), dir('a/b', IMPLIED), file('a/b/c', 'c', OWN)],
  ),
  shape(
    'sparse-undefined-twice',
    [[file('a/b/c', 'c', OWN)], [file('a/b/d', 'd', OWN)]],
    [dir('a', IMPLIED), dir('a/b', IMPLIED), file('a/b/c', 'c', OWN), file('a/b/d', 'd', OWN)],
  ),
  shape(
    'sparse-below-definition',
    [[file('data/deep/first', 'first', OWN)], BASE],
    [...BASE, file('data/deep/first', 'first', OWN)],
  ),
  shape(
    'sparse-three-layers',
    [BASE, [NEW], [file('data/deep/newer', 'newer', OWN)]],
    [...BASE, NEW, file('data/deep/newer', 'newer', OWN)],
  ),
  overBase(
    'sparse-new-below-setgid',
    [file('data/made/new', 'new', OWN)],
    [...BASE, dir('data/made', IMPLIED), file('data/made/new', 'new', OWN)],
  ),
  overBase(
    'sparse-by-symlink-fifo-link',
    [
      symlink('data/deep/sym', 'low'),
      special('fifo', 'secret/fifo'),
      file('plain', 'plain'),
      link('tmp/linked', 'plain'),
    ],
    [
      ...BASE,
      symlink('data/deep/sym', 'low'),
      special('fifo', 'secret/fifo'),
      file('plain', 'plain'),
      link('tmp/linked', 'plain'),
    ],
  ),
];

const PARTIAL: readonly Shape[] = [
  overBase(
    'partial-chain-over-base',
    [dir('data/deep', CHANGED), NEW],
    instead(BASE, dir('data/deep', CHANGED), NEW),
  ),
  shape(
    'partial-chain-undefined',
    [[dir('p/q', CHANGED), file('p/q/f', 'f', OWN)]],
    [dir('p', IMPLIED), dir('p/q', CHANGED), file('p/q/f', 'f', OWN)],
  ),
  overBase('partial-chain-missing-middle', [dir('data', DATA), NEW], [...BASE, NEW]),
  shape(
    'partial-chain-late-implied',
    [[dir('u', CHANGED), dir('u/v', DEEP), file('u/v/f', 'f'), file('u/w/x/g', 'g', OWN)]],
    [
      dir('u', CHANGED),
      dir('u/v', DEEP),
      file('u/v/f', 'f'),
      dir('u/w', IMPLIED),
      dir('u/w/x', IMPLIED),
      file('u/w/x/g', 'g', OWN),
    ],
  ),
];

const ORDER: readonly Shape[] = [
  shape(
    'child-before-parent',
    [[file('d/e/f', 'f', OWN), dir('d/e', DEEP), dir('d', CHANGED)]],
    [dir('d', CHANGED), dir('d/e', DEEP), file('d/e/f', 'f', OWN)],
  ),
  overBase(
    'child-before-parent-over-base',
    [NEW, dir('data/deep', CHANGED), dir('data', DATA)],
    instead(BASE, dir('data/deep', CHANGED), NEW),
  ),
  shape(
    'duplicate-directory',
    [[dir('d', CHANGED), file('d/f', 'f'), dir('d', SECRET)]],
    [dir('d', SECRET), file('d/f', 'f')],
  ),
  shape(
    'duplicate-file',
    [[dir('d', CHANGED), file('d/f', 'one'), file('d/f', 'second')]],
    [dir('d', CHANGED), file('d/f', 'second')],
  ),
  shape(
    'duplicate-directory-equal',
    [[dir('d', CHANGED), dir('d', CHANGED), file('d/f', 'f')]],
    [dir('d', CHANGED), file('d/f', 'f')],
  ),
];

const LINKED: readonly Member[] = [
  dir('usr', CHANGED),
  dir('usr/lib', DEEP),
  file('usr/lib/a', 'a'),
  symlink('lib', 'usr/lib'),
];

const ANCESTORS: readonly Shape[] = [
  shape(
    'symlinked-ancestor-implied',
    [LINKED, [file('lib/x', 'x', OWN)]],
    instead(LINKED, dir('lib', IMPLIED), file('lib/x', 'x', OWN)),
  ),
  shape(
    'symlinked-ancestor-explicit',
    [LINKED, [dir('lib', SECRET), file('lib/x', 'x', OWN)]],
    instead(LINKED, dir('lib', SECRET), file('lib/x', 'x', OWN)),
  ),
  shape(
    'symlinked-ancestor-in-layer',
    [[...LINKED, file('lib/x', 'x', OWN)]],
    [...LINKED, file('usr/lib/x', 'x', OWN)],
  ),
  shape(
    'file-becomes-implied-directory',
    [[file('f', 'f')], [file('f/x', 'x', OWN)]],
    [dir('f', IMPLIED), file('f/x', 'x', OWN)],
  ),
  shape(
    'directory-becomes-file-becomes-implied',
    [BASE, [file('data', 'now a file')], [file('data/x', 'x', OWN)]],
    [...without(BASE, /^data/), dir('data', IMPLIED), file('data/x', 'x', OWN)],
  ),
];

const CHANGES: readonly Shape[] = [
  overBase('changed-by-upper', [dir('data', CHANGED)], instead(BASE, dir('data', CHANGED))),
  overBase(
    'changed-by-upper-with-files',
    [dir('data', CHANGED), dir('data/deep', SECRET), NEW],
    instead(BASE, dir('data', CHANGED), dir('data/deep', SECRET), NEW),
  ),
  shape(
    'changed-then-sparse',
    [BASE, [dir('data', CHANGED), dir('data/deep', SECRET)], [NEW]],
    instead(BASE, dir('data', CHANGED), dir('data/deep', SECRET), NEW),
  ),
  overBase('full-parents-same', [dir('data', DATA), dir('data/deep', DEEP), NEW], [...BASE, NEW]),
  overBase(
    'full-parents-whiteout',
    [dir('data', DATA), dir('data/deep', DEEP), whiteout('data/deep/low')],
    without(BASE, /low$/),
  ),
  shape(
    'trusted-and-security-xattrs',
    [
      [
        dir('x', {
          ...CHANGED,
          xattrs: { 'trusted.note': 't', 'security.note': 's', 'user.note': 'u' },
        }),
        file('x/a', 'a'),
      ],
      [file('x/b', 'b')],
    ],
    [
      dir('x', {
        ...CHANGED,
        xattrs: { 'trusted.note': 't', 'security.note': 's', 'user.note': 'u' },
      }),
      file('x/a', 'a'),
      file('x/b', 'b'),
    ],
  ),
];

const REMOVALS: readonly Shape[] = [
  overBase('whiteout-implied-parents', [whiteout('data/deep/low')], without(BASE, /low$/)),
  overBase('whiteout-of-directory-implied-parent', [whiteout('data/deep')], without(BASE, /deep/)),
  shape(
    'whiteout-then-implied',
    [BASE, [whiteout('data/deep')], [NEW]],
    [...without(BASE, /deep/), dir('data/deep', IMPLIED), NEW],
  ),
  overBase(
    'opaque-implied-parents',
    [opaque('data/deep'), NEW],
    [...without(BASE, /deep/), dir('data/deep', IMPLIED), NEW],
  ),
  overBase(
    'opaque-full-parents',
    [dir('data', DATA), dir('data/deep', CHANGED), opaque('data/deep'), NEW],
    [...without(BASE, /deep/), dir('data/deep', CHANGED), NEW],
  ),
  shape(
    'opaque-then-sparse',
    [BASE, [dir('data', CHANGED), opaque('data'), dir('data/deep', SECRET)], [NEW]],
    [...without(BASE, /^data/), dir('data', CHANGED), dir('data/deep', SECRET), NEW],
  ),
  shape(
    'undefined-whiteout',
    [[whiteout('gone/for/good'), file('f', 'f')]],
    [dir('gone', IMPLIED), dir('gone/for', IMPLIED), file('f', 'f')],
  ),
];

function markedShapes(namespace: Marker): readonly Shape[] {
  const mark = (more: Attributes): Attributes => marked(namespace, more);
  const opaqueXattr = { xattrs: { ...DATA.xattrs, [`${namespace}.overlay.opaque`]: 'y' } };
  const neutral = [dir('data', mark(NEUTRAL)), dir('data/deep', mark(NEUTRAL))];
  const exact = [dir('data', mark(DATA)), dir('data/deep', mark(DEEP))];
  const skeleton = BASE.filter(({ type }) => type === 'dir');
  const low = file('data/deep/low', 'low');
  const content = [
    dir('secret', SECRET),
    dir('tmp', TMP),
    file('secret/key', 'key', { mode: 0o600 }),
  ];
  const tree = [...BASE, NEW];
  const wanted = (...members: readonly Member[]): Member[] => [
    ...without(tree, /^(secret|tmp)/),
    ...members,
  ];
  return [
    overBase(`marked-exact-${namespace}`, [...exact, NEW], tree),
    overBase(`marked-neutral-${namespace}`, [...neutral, NEW], tree),
    shape(
      `marked-nobody-defines-${namespace}`,
      [
        [dir('m', mark(DEEP)), file('m/a', 'a')],
        [dir('m', mark(CHANGED)), file('m/b', 'b')],
      ],
      [dir('m', CHANGED), file('m/a', 'a'), file('m/b', 'b')],
    ),
    shape(
      `delegate-exact-skeleton-first-${namespace}`,
      [skeleton, [...exact, low], [...exact, NEW]],
      wanted(dir('secret', SECRET), dir('tmp', TMP)),
    ),
    shape(
      `delegate-neutral-skeleton-both-${namespace}`,
      [skeleton, [...neutral, low], [...neutral, NEW], skeleton],
      wanted(dir('secret', SECRET), dir('tmp', TMP)),
    ),
    shape(
      `delegate-neutral-skeleton-first-${namespace}`,
      [
        [...skeleton, ...content.slice(2)],
        [...neutral, low],
        [...neutral, NEW],
      ],
      wanted(...content),
    ),
    overBase(
      `opaque-xattr-${namespace}`,
      [dir('data', { ...DATA, ...opaqueXattr }), file('data/new', 'new')],
      namespace === 'trusted'
        ? [...without(BASE, /^data/), dir('data', DATA), file('data/new', 'new')]
        : [...BASE, file('data/new', 'new')],
    ),
  ];
}

const SKELETON = BASE.filter(({ type }) => type === 'dir');
const CONTENT: readonly (readonly Member[])[] = [
  [file('data/deep/low', 'low', OWN), file('secret/key', 'key')],
  [file('data/deep/new', 'new', OWN), file('tmp/t', 't', OWN)],
];
const SKELETON_TREE = [...SKELETON, ...CONTENT.flat()];

const SKELETONS: readonly Shape[] = [
  shape('skeleton-first', [SKELETON, ...CONTENT], SKELETON_TREE),
  shape('skeleton-last', [...CONTENT, SKELETON], SKELETON_TREE),
  shape('skeleton-both', [SKELETON, ...CONTENT, SKELETON], SKELETON_TREE),
];

const ROOT = { mode: 0o750, uid: 3, gid: 4, mtime: '1550000000', xattrs: { 'user.root': 'r' } };

const ROOTS: readonly Shape[] = [
  shape(
    'root-entry',
    [[dir('.', ROOT), dir('d', CHANGED), file('d/f', 'f')]],
    [dir('.', ROOT), dir('d', CHANGED), file('d/f', 'f')],
  ),
  shape(
    'root-entry-below',
    [[dir('.', ROOT), dir('d', CHANGED)], [file('d/f', 'f')]],
    [dir('.', ROOT), dir('d', CHANGED), file('d/f', 'f')],
  ),
  shape(
    'root-entry-above',
    [[dir('d', CHANGED)], [dir('.', ROOT), dir('d', CHANGED), file('d/f', 'f')]],
    [dir('.', ROOT), dir('d', CHANGED), file('d/f', 'f')],
  ),
  shape(
    'root-entry-last',
    [[dir('d', CHANGED), file('d/f', 'f'), dir('.', ROOT)]],
    [dir('.', ROOT), dir('d', CHANGED), file('d/f', 'f')],
  ),
];

/** Every shape; names are unique. */
export const SHAPES: readonly Shape[] = [
  ...SPARSE,
  ...PARTIAL,
  ...ORDER,
  ...ANCESTORS,
  ...CHANGES,
  ...REMOVALS,
  ...markedShapes('trusted'),
  ...markedShapes('user'),
  ...SKELETONS,
  ...ROOTS,
];

/** Writes the shape as the one image of an OCI layout at `directory`. */
export async function writeShape(
  directory: string,
  { layers }: Shape,
  compression: 'gzip' | 'zstd' = 'gzip',
): Promise<string> {
  const tars = await Promise.all(layers.map(packMembers));
  await writeLayout(directory, [{ layers: tars.map((tar) => ({ tar, compression })) }]);
  return directory;
}
