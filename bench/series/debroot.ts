/**
 * Lays out a Debian system from packages: their files in a merged `/usr`, and dpkg's database as dpkg writes it. What
 * maintainer scripts make (accounts, caches, alternatives, `.pyc`) is not there.
 */
import { createHash } from 'node:crypto';
import { type Entry, type Inode, Tree } from '../../rechunk/tree.ts';
import { ancestorsOf, type Path } from '../../registry/path.ts';
import { NO_XATTRS } from '../../registry/tar.ts';
import { controlField, type Deb } from './deb.ts';
import type { ContentSpool } from './spool.ts';

const NS_PER_SECOND = 1_000_000_000n;
const MERGED_NAMES = ['bin', 'lib', 'lib64', 'sbin'];
/** Where dpkg keeps its database. */
export const DATABASE: string = 'var/lib/dpkg';
/** Maintainer scripts, which dpkg keeps executable. */
const SCRIPT = /^(pre|post)(inst|rm)$|^config$/;

/** How dpkg names the files that it keeps of a package: with the architecture where several may be installed. */
export function infoName({ name, control, architecture }: Deb): string {
  return controlField(control, 'Multi-Arch') === 'same' ? `${name}:${architecture}` : name;
}

/** What dpkg lists of a package: every name once, parents first, the root as `/.`. */
function fileList({ entries }: Deb): string {
  return entries
    .map(({ listed }) => (listed === '/' ? '/.' : listed))
    .join('\n')
    .concat('\n');
}

/** A package's stanza in the status file: its control file with the state after the name, and its conffiles' digests. */
function statusStanza(deb: Deb, spool: ContentSpool): string {
  const [first, ...rest] = deb.control.split('\n');
  const conffiles = (deb.info.get('conffiles')?.toString() ?? '').split('\n').filter(Boolean);
  const digests = conffiles.flatMap((listed) => {
    const inode = deb.entries.find((entry) => entry.listed === listed)?.inode;
    if (inode?.type !== 'file') return [];
    return [` ${listed} ${createHash('md5').update(spool.get(inode.sha256)).digest('hex')}`];
  });
  const state = 'Status: install ok installed';
  return [first, state, ...rest, ...(digests.length > 0 ? ['Conffiles:', ...digests] : [])].join(
    '\n',
  );
}

/** What a package leaves in the database, by path; kept, since a package is in many releases. */
interface DatabaseRecord {
  readonly stanza: string;
  readonly info: readonly (readonly [path: string, content: Buffer, mode: number])[];
}

const records = new WeakMap<Deb, DatabaseRecord>();

function recordOf(deb: Deb, spool: ContentSpool): DatabaseRecord {
  const known = records.get(deb);
  if (known) return known;
  const prefix = `${DATABASE}/info/${infoName(deb)}.`;
  const info = [...deb.info].map(
    ([name, content]) => [prefix + name, content, SCRIPT.test(name) ? 0o755 : 0o644] as const,
  );
  const list = [`${prefix}list`, Buffer.from(fileList(deb), 'latin1'), 0o644] as const;
  const record = { stanza: statusStanza(deb, spool), info: [list, ...info] };
  records.set(deb, record);
  return record;
}

/** The system that has `debs` installed, all at the moment `date` (seconds): times of the database are that. */
export function layOutSystem(debs: readonly Deb[], date: number, spool: ContentSpool): Tree {
  const sorted = [...debs].sort((a, b) => (a.name < b.name ? -1 : 1));
  const mtime = BigInt(date) * NS_PER_SECOND;
  const blank = { uid: 0, gid: 0, mtime, size: 0, target: '', devMajor: 0, devMinor: 0 };
  const inodes = new Map<Path, Inode>();
  const place = (path: string, part: Pick<Inode, 'type' | 'mode'> & Partial<Inode>): void => {
    inodes.set(path as Path, { ...blank, xattrs: NO_XATTRS, sha256: '', layer: 0, ...part });
  };
  const write = (path: string, content: Buffer, mode = 0o644): void =>
    place(path, { type: 'file', mode, size: content.length, sha256: spool.add(content) });
  for (const { entries } of sorted) {
    for (const { path, inode } of entries) inodes.set(path as Path, inode);
  }
  for (const name of MERGED_NAMES) {
    place(name, { type: 'symlink', mode: 0o777, target: `usr/${name}` });
  }
  const recorded = sorted.map((deb) => recordOf(deb, spool));
  for (const [path, content, mode] of recorded.flatMap(({ info }) => info)) {
    write(path, content, mode);
  }
  write(`${DATABASE}/info/format`, Buffer.from('1\n'));
  write(`${DATABASE}/diversions`, Buffer.alloc(0));
  const status = recorded.map(({ stanza }) => `${stanza}\n\n`).join('');
  write(`${DATABASE}/status`, Buffer.from(status));
  for (const path of [...inodes.keys()].flatMap(ancestorsOf)) {
    if (!inodes.has(path)) place(path, { type: 'dir', mode: 0o755 });
  }
  return new Tree(
    [...inodes].map(([path, inode]): Entry => ({ path, inode })),
    spool,
  );
}
