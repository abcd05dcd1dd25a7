/**
 * What consumers of zstd:chunked layers (c/storage 1.57, podman 5.4) refuse, leave out or make wrong, though they would read the
 * same layer as a plain one. A layer with any of it must not be annotated: most of it fails the pull, with no way back.
 */
import { isUtf8 } from 'node:buffer';
import { RechunkError } from '../errors.ts';
import { showPath } from '../path.ts';
import type { LayerHeader } from './header.ts';

/** Why a layer cannot be pulled in part, in words that follow "they hold". */
export const OBSTACLES = {
  name: 'names that are no UTF-8 or lead upwards',
  xattr: 'extended attributes that rootless partial pulls cannot set',
  device: 'devices or fifos, which partial pulls leave out',
  time: 'times before the year 0 or after 9999',
  duplicate: 'a path twice',
  parent: 'a path whose directory is not in the layer before it',
  archive: 'what is no plain tar entry',
  index: 'too many files for one table of contents',
  chunk: 'a file that is the first chunk of another',
} as const;

/** The kinds of {@link OBSTACLES}. */
export type ObstacleKind = keyof typeof OBSTACLES;

/** Why a layer cannot be pulled in part: the first that was found. */
export interface Obstacle {
  readonly kind: ObstacleKind;
  /** What was found, and where. */
  readonly text: string;
}

/** The obstacle that an error of {@link LayerRules} or of a header stands for. */
export function obstacleOf({ message: text, details }: RechunkError): Obstacle {
  const kind = details['obstacle'] as ObstacleKind | undefined;
  return { kind: kind ?? 'archive', text };
}

/** Where the years that RFC 3339 can write begin and end, nanoseconds. */
const FIRST_NS: bigint = BigInt(Date.parse('0000-01-01T00:00:00Z')) * 1_000_000n;
const END_NS: bigint = BigInt(Date.UTC(10_000, 0)) * 1_000_000n;

function refuse(obstacle: ObstacleKind, found: string): never {
  throw new RechunkError('unsupported', found, { details: { obstacle } });
}

function checkText(text: string, what: string): void {
  if (!isUtf8(Buffer.from(text, 'latin1')))
    refuse('name', `its ${what} "${showPath(text)}" is no UTF-8`);
}

/** The names on the way to the entry; those that mean nothing left out. */
function namesOf(name: string): string[] {
  const names = name.split('/').filter((part) => part !== '' && part !== '.');
  if (names.includes('..')) refuse('name', 'its name leads upwards');
  return names;
}

/** Rootless pulls cannot set these, and end where a whole layer's pull goes on. */
function checkXattr(name: string): void {
  checkText(name, 'xattr');
  const isSecurity = name.startsWith('security.');
  const isSettable = name === 'security.capability' || name === 'security.selinux';
  if (name.startsWith('trusted.') || (isSecurity && !isSettable)) {
    refuse('xattr', `rootless partial pulls cannot set its xattr "${showPath(name)}"`);
  }
}

/** Knows the entries of one layer so far. */
export class LayerRules {
  /** Cleaned names; of directories with a slash at the end besides. */
  readonly #names = new Set<string>(['/']);

  /** Throws `unsupported` where consumers would not make of the entry what it is. */
  check(header: LayerHeader): void {
    const { type, name, link } = header;
    checkText(name, 'name');
    checkText(link, 'target');
    for (const xattr of header.xattrs.keys()) checkXattr(xattr);
    // Left out by partial pulls.
    if (type === 'char' || type === 'block' || type === 'fifo') refuse('device', `it is a ${type}`);
    for (const time of [header.mtime, header.atime, header.ctime]) {
      if (time !== undefined && (time < FIRST_NS || time >= END_NS))
        refuse('time', 'its time has no year');
    }
    this.#checkPlace(namesOf(name), type);
  }

  /** Every name once, parents first: directories that are made along the way have mode 0. */
  #checkPlace(names: readonly string[], type: LayerHeader['type']): void {
    const path = names.join('/');
    if (this.#names.has(path)) refuse('duplicate', 'the layer has it twice');
    const parent = `${names.slice(0, -1).join('/')}/`;
    if (!this.#names.has(parent)) refuse('parent', 'its directory is not in the layer before it');
    this.#names.add(path);
    if (type === 'dir') this.#names.add(`${path}/`);
  }
}
