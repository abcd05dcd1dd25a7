/** What a layer's table of contents must say: clients make files, with all their metadata, of its word alone. */
import { parseTocTime, type TocEntry } from '../registry/chunked/toc.ts';
import { type Path, pathFromText, showPath } from '../registry/path.ts';
import type { Xattrs } from '../registry/tar.ts';
import { EMPTY_SHA256 } from './ingest.ts';
import type { Entry, Inode, Tree } from './tree.ts';
import { type Difference, showTime } from './verify.ts';

/** What can be wrong of an entry; each is compared as text, which a message shows. */
type Said = Readonly<
  Record<
    'type' | 'target' | 'mode' | 'owner' | 'mtime' | 'size' | 'content' | 'device' | 'xattrs',
    string
  >
>;

/** Where a table of contents first says otherwise than the `entries` of a layer of `tree`, in their order, each whole; undefined if nowhere. */
export function compareListing(
  tree: Tree,
  entries: readonly Entry[],
  table: readonly TocEntry[],
): Difference | undefined {
  const listed = table.filter(({ type }) => type !== 'chunk');
  for (let i = 0; i < Math.max(listed.length, entries.length); i++) {
    const found = compareEntry(tree, entries[i], listed[i]);
    if (found) return { at: `entry ${i + 1} of a table of contents`, ...found };
  }
  return undefined;
}

function compareEntry(
  tree: Tree,
  entry: Entry | undefined,
  listed: TocEntry | undefined,
): Omit<Difference, 'at'> | undefined {
  const want = entry ? entry.path : undefined;
  const got = listed ? cleanPath(listed.name) : undefined;
  if (!entry || !listed || want !== got) {
    return { what: 'content', want: showName(want), got: showName(got) };
  }
  const wanted = sayWritten(entry, tree.links.get(entry.inode)?.[0] ?? entry.path);
  const found = sayListed(listed);
  const what = (Object.keys(wanted) as (keyof Said)[]).find((key) => wanted[key] !== found[key]);
  if (what === undefined) return undefined;
  const at = showName(want);
  return { what, want: `${showPath(wanted[what])} (${at})`, got: showPath(found[what]) };
}

function showName(path: Path | undefined): string {
  if (path === undefined) return 'nothing';
  return path === '' ? 'the root' : showPath(path);
}

/** As clients clean it; whatever else they would clean is nothing that is written. */
function cleanPath(name: string): Path {
  return pathFromText(name.replace(/^\.\//, ''));
}

/** Names are quoted: those of a table can hold whatever separates them. */
function sayXattrs(xattrs: Xattrs): string {
  return [...xattrs]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${JSON.stringify(name)}=${Buffer.from(value).toString('hex')}`)
    .join(' ');
}

/** Text of JSON as a path has it, one char a byte. */
function bytesOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

const LISTED_TYPES: Readonly<Record<Inode['type'], TocEntry['type']>> = {
  file: 'reg',
  dir: 'dir',
  symlink: 'symlink',
  char: 'char',
  block: 'block',
  fifo: 'fifo',
};

/** `first` is the first name of its hard-link group; further names have the metadata, but no content (`layer.ts`). */
function sayWritten({ path, inode }: Entry, first: Path): Said {
  const { mode, uid, gid, mtime, xattrs } = inode;
  const shared = {
    mode: mode.toString(8),
    owner: `${uid}:${gid}`,
    mtime: showTime(mtime),
    xattrs: sayXattrs(xattrs),
  };
  if (first !== path) {
    const nothing = { size: '0', content: 'none', device: '0:0' };
    return { type: 'hardlink', target: first, ...shared, ...nothing };
  }
  const { type, target, size, sha256, devMajor, devMinor } = inode;
  return {
    type: LISTED_TYPES[type],
    target,
    ...shared,
    size: String(size),
    content: type === 'file' ? `sha256:${sha256}` : 'none',
    device: `${devMajor}:${devMinor}`,
  };
}

function sayListed(entry: TocEntry): Said {
  const { type, linkName = '', mode = 0, uid = 0, gid = 0, size = 0 } = entry;
  const { devMajor = 0, devMinor = 0, xattrs = {}, digest } = entry;
  const values = Object.entries(xattrs).map(([name, value]) => {
    return [bytesOf(name), Buffer.from(value, 'base64')] as const;
  });
  return {
    type,
    target: type === 'hardlink' ? cleanPath(linkName) : bytesOf(linkName),
    mode: mode.toString(8),
    owner: `${uid}:${gid}`,
    mtime: sayTimes(entry),
    xattrs: sayXattrs(new Map(values)),
    size: String(size),
    content: digest ?? (type === 'reg' ? `sha256:${EMPTY_SHA256}` : 'none'),
    device: `${devMajor}:${devMinor}`,
  };
}

/** The time; others too where there are any, which no written layer has. */
function sayTimes({ modtime, accesstime, changetime }: TocEntry): string {
  const time = modtime === undefined ? undefined : parseTocTime(modtime);
  const others = [accesstime && `accessed ${accesstime}`, changetime && `changed ${changetime}`];
  return [
    time === undefined ? `"${modtime ?? ''}"` : showTime(time),
    ...others.filter(Boolean),
  ].join(', ');
}
