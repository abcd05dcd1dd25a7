/** A small image whose layers disagree about directories, and the parts that such images are made of. */
import { type Attributes, dir, file, type Member } from '../member.ts';

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

/** What a directory has that no layer defines. */
export const IMPLIED: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: '0' };
/** What a mark without metadata of its own has. */
export const NEUTRAL: Attributes = IMPLIED;

/** Modes, owners, xattrs and times that no default gives. */
export const DATA: Attributes = {
  mode: 0o2770,
  uid: 1000,
  gid: 1001,
  mtime: '1500000000.123456789',
  xattrs: { 'user.note': 'data' },
};
/** Of a directory in that one. */
export const DEEP: Attributes = { mode: 0o711, uid: 7, gid: 8, mtime: '1510000000' };
/** What an upper layer makes of a directory. */
export const CHANGED: Attributes = {
  mode: 0o750,
  uid: 30,
  gid: 31,
  mtime: '1520000000.5',
  xattrs: { 'user.other': 'changed' },
};
/** Of a directory that is closed to others. */
export const SECRET: Attributes = { mode: 0o700, uid: 5, gid: 6, mtime: '1530000000' };
export const TMP: Attributes = { mode: 0o1777, mtime: '1540000000' };
/** A file's own owner, which some runtimes give to the directories that they make for it. */
export const OWN: Attributes = { uid: 42, gid: 43 };

/** The layer that most shapes begin with. */
export const BASE: readonly Member[] = [
  dir('data', DATA),
  dir('data/deep', DEEP),
  file('data/deep/low', 'low'),
  dir('secret', SECRET),
  file('secret/key', 'key', { mode: 0o600 }),
  dir('tmp', TMP),
];

/** `tree` with `members` instead of what has their paths. */
export function instead(tree: readonly Member[], ...members: readonly Member[]): readonly Member[] {
  const paths = new Set(members.map(({ path }) => path));
  return [...tree.filter(({ path }) => !paths.has(path)), ...members];
}

/** `tree` without what matches. */
export function without(tree: readonly Member[], paths: RegExp): readonly Member[] {
  return tree.filter(({ path }) => !paths.test(path));
}

/** A shape. */
export function shape(
  name: string,
  layers: readonly (readonly Member[])[],
  intended: readonly Member[],
): Shape {
  return { name, layers, intended };
}

/** A shape of one layer over `BASE`. */
export function overBase(
  name: string,
  layer: readonly Member[],
  intended: readonly Member[],
): Shape {
  return shape(name, [BASE, layer], intended);
}

/** A file that an upper layer puts in. */
export const NEW: Member = file('data/deep/new', 'new', OWN);
