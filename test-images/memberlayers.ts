/** Layers of archive members in memory, as if they had been read from an image. */
import { createHash } from 'node:crypto';
import type { IndexedEntry } from '../rechunk/batch.ts';
import type { LayerIndex } from '../rechunk/upper.ts';
import { type Path, parsePath } from '../registry/path.ts';
import { NO_XATTRS, type Xattrs } from '../registry/tar.ts';
import { type Member, nanoseconds } from './member.ts';

function xattrsOf(xattrs: Member['xattrs']): Xattrs {
  const entries = Object.entries(xattrs ?? {});
  if (entries.length === 0) return NO_XATTRS;
  return new Map(entries.map(([name, value]) => [name, Buffer.from(value, 'latin1')]));
}

/** The entry that reading an archive with `member` gives. */
export function entryOf(member: Member): IndexedEntry {
  const { type, mode, uid, gid, mtime, content = '', target = '', device = [0, 0] } = member;
  const bytes = Buffer.from(content, 'latin1');
  return {
    type,
    path: parsePath(member.path) as Path,
    mode,
    uid,
    gid,
    mtime: nanoseconds(mtime),
    size: type === 'file' ? bytes.length : 0,
    link: type === 'link' ? parsePath(target) : target,
    devMajor: device[0],
    devMinor: device[1],
    xattrs: xattrsOf(member.xattrs),
    offset: 0,
    sha256: type === 'file' ? createHash('sha256').update(bytes).digest('hex') : '',
  };
}

/** Layers, lowest first, of members in archive order; their content cannot be read. */
export function layersOf(layers: readonly (readonly Member[])[]): LayerIndex[] {
  return layers.map((members, number) => ({
    name: `layer ${number + 1}`,
    entries: members.map(entryOf),
    body: () => ({ file: 0, offset: 0 }),
  }));
}
