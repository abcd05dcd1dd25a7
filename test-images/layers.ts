/** Layers as they are after reading, in memory, for tests of what lays them on each other. */
import type { IndexedEntry } from '../rechunk/batch.ts';
import type { LayerIndex } from '../rechunk/upper.ts';
import type { Path } from '../registry/path.ts';
import { type EntryType, NO_XATTRS } from '../registry/tar.ts';

/** An entry as a line, see {@link layers}, and fields of it that are other than the line's. */
export type Line = string | [string, Partial<IndexedEntry>];

/** An entry by one line: `d/` a directory, `s -> t` a symlink, `h => f` a hard link, `c!` device 0:0, else a file. */
function entryOf(line: string, sha256: string, more: Partial<IndexedEntry> = {}): IndexedEntry {
  const [, name = '', kind = '', link = ''] =
    /^(.*?)(\/| -> | => |!)?(?:(?<=> )(.*))?$/.exec(line) ?? [];
  const types: Record<string, EntryType> = {
    '/': 'dir',
    ' -> ': 'symlink',
    ' => ': 'link',
    '!': 'char',
  };
  const type = types[kind] ?? 'file';
  return {
    type,
    path: (name === '.' ? '' : name) as Path,
    mode: type === 'dir' ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    mtime: 0n,
    size: 0,
    link,
    devMajor: 0,
    devMinor: 0,
    xattrs: NO_XATTRS,
    offset: 0,
    sha256: type === 'file' ? sha256 : '',
    ...more,
  };
}

/** A layer of lines; the sha256 of each file is `LAYER.LINE`, so that a result says where a file came from. */
export function layers(...all: Line[][]): LayerIndex[] {
  return all.map((lines, number) => ({
    name: `layer ${number}`,
    entries: lines.map((line, i) => {
      const [text, more] = typeof line === 'string' ? [line, {}] : line;
      return entryOf(text, `${number}.${i}`, more);
    }),
    body: () => ({ file: 0, offset: 0 }),
  }));
}
