/**
 * Small images whose layers disagree, hint or keep quiet about directories: what each runtime makes of them is measured,
 * and the models of `rechunk/runtimes` have to agree. Archives are made by Python's tarfile.
 */
import { writeLayout } from '../build.ts';
import {
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
import { markedShapes } from './markedshapes.ts';
import {
  BASE,
  CHANGED,
  DATA,
  DEEP,
  IMPLIED,
  instead,
  NEW,
  OWN,
  overBase,
  SECRET,
  type Shape,
  shape,
  without,
} from './shape.ts';

export type { Shape } from './shape.ts';

const SPECIAL: readonly Member[] = [
  special('char', 'special/null', [1, 3]),
  special('block', 'special/loop', [7, 0]),
  special('fifo', 'special/pipe'),
];

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
  shape(
    'devices-and-fifo',
    [[dir('special', CHANGED), ...SPECIAL]],
    [dir('special', CHANGED), ...SPECIAL],
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
    'root-entry-of-root',
    [[dir('.', { ...ROOT, uid: 0, gid: 0 }), dir('d', CHANGED), file('d/f', 'f')]],
    [dir('.', { ...ROOT, uid: 0, gid: 0 }), dir('d', CHANGED), file('d/f', 'f')],
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
