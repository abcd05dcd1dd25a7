/** Debian packages: each .deb is taken apart once, by dpkg-deb, and its content goes to a spool. */
import { open } from 'node:fs/promises';
import type { Inode } from '../../rechunk/tree.ts';
import { unpackTar } from '../../registry/tarreader.ts';
import { command } from '../../test-images/command.ts';
import type { ContentSpool } from './spool.ts';

/** A name that a package ships; names of one hard-link group share their inode. */
export interface DebEntry {
  /** In the merged `/usr`, without a leading slash. */
  readonly path: string;
  /** As the package lists it: `/bin/sh`. */
  readonly listed: string;
  readonly inode: Inode;
}

/** A binary package as its .deb has it. */
export interface Deb {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Name of its source package. */
  readonly source: string;
  /** Its control file, as in the archive, without a newline at the end. */
  readonly control: string;
  /** Files of the control archive but `control`: md5sums, conffiles, maintainer scripts, … */
  readonly info: ReadonlyMap<string, Buffer>;
  readonly entries: readonly DebEntry[];
  /** When it was built, seconds since the epoch: the time of its first `ar` member. */
  readonly built: number;
}

/** Where the first member's time is in an `ar` archive: 16 bytes of name follow the 8 of the magic. */
const TIME_AT = 24;
const TIME_LENGTH = 12;
/** What lies at the root in packages, and below `/usr` on a system with a merged `/usr`. */
const MERGED = /^(bin|sbin|lib|lib32|lib64|libx32)(?=\/|$)/;

/** The value of a field of a control file; continuation lines are left out. */
export function controlField(control: string, field: string): string | undefined {
  return new RegExp(`^${field}: *(.*)$`, 'm').exec(control)?.[1];
}

async function buildTime(file: string): Promise<number> {
  const handle = await open(file);
  try {
    const { buffer } = await handle.read(Buffer.alloc(TIME_LENGTH), 0, TIME_LENGTH, TIME_AT);
    return Number(buffer.toString());
  } finally {
    await handle.close();
  }
}

async function readEntries(file: string, spool: ContentSpool): Promise<DebEntry[]> {
  const inodes = new Map<string, Inode>();
  const archive = await command('dpkg-deb', ['--fsys-tarfile', file]);
  return unpackTar(archive).map(({ entry, content }): DebEntry => {
    const listed = `/${entry.path}`;
    const path = entry.path.replace(MERGED, 'usr/$1');
    if (entry.type === 'link') {
      const inode = inodes.get(entry.link);
      if (!inode)
        throw new Error(
          `reading ${file}: ${entry.path} links to ${entry.link}, which is not there`,
        );
      return { path, listed, inode };
    }
    const { type, mode, uid, gid, mtime, size, link: target, devMajor, devMinor, xattrs } = entry;
    const sha256 = type === 'file' ? spool.add(content) : '';
    const shared = { type, mode, uid, gid, mtime, size, target, devMajor, devMinor, xattrs };
    const inode = { ...shared, sha256, layer: 0 };
    inodes.set(entry.path, inode);
    return { path, listed, inode };
  });
}

/** Takes the package in `file` apart. */
export async function readDeb(file: string, spool: ContentSpool): Promise<Deb> {
  const files = unpackTar(await command('dpkg-deb', ['--ctrl-tarfile', file]));
  const info = new Map(
    files.flatMap(({ entry, content }) => (entry.type === 'file' ? [[entry.path, content]] : [])),
  );
  const control = info
    .get('control' as never)
    ?.toString()
    .trimEnd();
  if (control === undefined) throw new Error(`reading ${file}: it has no control file`);
  info.delete('control' as never);
  const name = controlField(control, 'Package') as string;
  return {
    name,
    version: controlField(control, 'Version') as string,
    architecture: controlField(control, 'Architecture') as string,
    source: controlField(control, 'Source')?.split(' ')[0] ?? name,
    control,
    info,
    entries: await readEntries(file, spool),
    built: await buildTime(file),
  };
}
