/** Shapes whose layers mark directories to delegate their metadata, or hold other xattrs of overlayfs. */
import { type Attributes, dir, file, type Member } from '../member.ts';
import {
  BASE,
  CHANGED,
  DATA,
  DEEP,
  NEUTRAL,
  NEW,
  overBase,
  SECRET,
  type Shape,
  shape,
  TMP,
  without,
} from './shape.ts';

type Marker = 'trusted' | 'user';

function marked(namespace: Marker, more: Attributes): Attributes {
  return { ...more, xattrs: { ...more.xattrs, [`${namespace}.overlay.dirmeta_delegate`]: 'y' } };
}

/** Those with xattrs of one namespace. */
export function markedShapes(namespace: Marker): readonly Shape[] {
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
