/**
 * Archive members as plain data, and archives made of them by Python's tarfile and GNU tar: implementations of tar that the
 * product has no part in.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command } from './command.ts';
import type { Facts } from './oracle.ts';

/** One archive member, or one path of the tree that a case stands for; text has one char a byte. */
export interface Member {
  readonly type: 'file' | 'link' | 'symlink' | 'dir' | 'char' | 'block' | 'fifo';
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the epoch, with a fraction of up to nine digits. */
  readonly mtime: string;
  readonly content?: string;
  /** Of a symlink or a hard link. */
  readonly target?: string;
  /** Major and minor number. */
  readonly device?: readonly [number, number];
  readonly xattrs?: Readonly<Record<string, string>>;
}

/** A sparse file, packed by GNU tar in one of its four forms. */
export interface SparseFile {
  readonly path: string;
  /** Bytes, holes included. */
  readonly size: number;
  /** Data by position. */
  readonly data: readonly (readonly [number, string])[];
}

/** What one layer's archive holds, and in which format it is written. */
export type ArchiveInput =
  | {
      readonly members: readonly Member[];
      readonly format?: 'pax' | 'gnu' | 'ustar';
      /** Records of a PAX global header. */
      readonly globals?: Readonly<Record<string, string>>;
    }
  | { readonly sparse: readonly SparseFile[]; readonly format: 'gnu' | '0.0' | '0.1' | '1.0' };

/** What a member has besides its type, name and content. */
export type Attributes = Partial<Pick<Member, 'mode' | 'uid' | 'gid' | 'mtime' | 'xattrs'>>;

/** Seconds since the epoch, where no other time is given. */
const TIME = '1600000000';

/** The value of `security.capability` for `cap_net_raw=ep`, revision 2 (Linux: struct vfs_cap_data). */
export const CAPABILITY = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';

/** A regular file. */
export function file(path: string, content: string = path, more: Attributes = {}): Member {
  return { type: 'file', path, mode: 0o644, uid: 0, gid: 0, mtime: TIME, content, ...more };
}

/** A directory. */
export function dir(path: string, more: Attributes = {}): Member {
  return { type: 'dir', path, mode: 0o755, uid: 0, gid: 0, mtime: TIME, ...more };
}

/** A symlink. */
export function symlink(path: string, target: string, more: Attributes = {}): Member {
  return { type: 'symlink', path, mode: 0o777, uid: 0, gid: 0, mtime: TIME, target, ...more };
}

/** A hard link to `target`, a path of the archive; its attributes should be those of the target. */
export function link(path: string, target: string, more: Attributes = {}): Member {
  return { type: 'link', path, mode: 0o644, uid: 0, gid: 0, mtime: TIME, target, ...more };
}

/** A device or fifo. */
export function special(
  type: 'char' | 'block' | 'fifo',
  path: string,
  device: readonly [number, number] = [0, 0],
): Member {
  return { type, path, mode: 0o620, uid: 1, gid: 5, mtime: TIME, device };
}

/** The marker that hides `path` of lower layers. */
export function whiteout(path: string): Member {
  return file(path.replace(/([^/]*)$/, '.wh.$1'), '');
}

/** The marker that hides all that lower layers have in the directory. */
export function opaque(path: string): Member {
  return file(`${path}/.wh..wh..opq`, '');
}

/** The content of a sparse file, holes as zeros; in memory, so for small ones only. */
export function contentOf({ size, data }: SparseFile): string {
  const bytes = Buffer.alloc(size);
  for (const [at, text] of data) bytes.write(text, at, 'latin1');
  return bytes.toString('latin1');
}

async function writeSparse(directory: string, { path, size, data }: SparseFile): Promise<void> {
  const handle = await open(join(directory, path), 'w', 0o644);
  await handle.truncate(size);
  for (const [at, text] of data) await handle.write(text, at, 'latin1');
  await handle.utimes(Number(TIME), Number(TIME));
  await handle.close();
}

/** Sparse files packed by GNU tar: `gnu` is the old form (type `S`), the numbers are those of PAX. */
export async function packSparse(
  files: readonly SparseFile[],
  format: 'gnu' | '0.0' | '0.1' | '1.0',
): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'rechunk-sparse-'));
  try {
    for (const sparse of files) await writeSparse(directory, sparse);
    const form =
      format === 'gnu' ? ['--format=gnu'] : ['--format=posix', `--sparse-version=${format}`];
    const owner = ['--owner=0', '--group=0', '--numeric-owner', '--mode=644'];
    const names = files.map(({ path }) => path);
    return await command('tar', [
      ...form,
      '--sparse',
      ...owner,
      '-C',
      directory,
      '-cf',
      '-',
      ...names,
    ]);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** The tar of one layer. */
export function packLayer(layer: ArchiveInput): Promise<Buffer> {
  if ('sparse' in layer) return packSparse(layer.sparse, layer.format);
  const script = fileURLToPath(new URL('archive.py', import.meta.url));
  const { members, globals = {}, format = 'pax' } = layer;
  const input = Buffer.from(JSON.stringify({ members, globals }));
  // Without what is installed beside it, Python starts in two thirds of the time.
  return command('python3', ['-I', '-S', script, format], { input });
}

/** The tar of one layer that holds `members`. */
export function packMembers(members: readonly Member[]): Promise<Buffer> {
  return packLayer({ members });
}

const TYPE_LETTERS = {
  file: 'f',
  dir: 'd',
  symlink: 'l',
  char: 'c',
  block: 'b',
  fifo: 'p',
} as const;

/** Nanoseconds of a decimal number of seconds. */
export function nanoseconds(text: string): bigint {
  const [whole = '0', fraction = ''] = text.replace('-', '').split('.');
  const size = BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
  return text.startsWith('-') ? -size : size;
}

function xattrText(xattrs: Readonly<Record<string, string>>): string {
  const lines = Object.entries(xattrs).map(
    ([name, value]) => `${name}=0x${Buffer.from(value, 'latin1').toString('hex')}`,
  );
  return lines.sort().join('\n');
}

function factsOfMember(member: Member, links: readonly string[]): Facts {
  const { type, mode, uid, gid, mtime, content = '', device = [0, 0], xattrs = {} } = member;
  const bytes = Buffer.from(content, 'latin1');
  return {
    type: type === 'link' ? '' : TYPE_LETTERS[type],
    mode: mode.toString(8),
    uid,
    gid,
    size: bytes.length,
    mtime: nanoseconds(mtime),
    target: member.target ?? '',
    device: type === 'char' || type === 'block' ? device.map((n) => n.toString(16)).join(':') : '',
    sha256: type === 'file' ? createHash('sha256').update(bytes).digest('hex') : '',
    links: links.join('\0'),
    xattrs: xattrText(xattrs),
  };
}

/**
 * What the oracle should list for a tree of these members (paths without slashes at the ends); hard links have the facts of
 * the member that they name. The root is not among them.
 */
export function factsOf(tree: readonly Member[]): Map<string, Facts> {
  const byPath = new Map(tree.map((member) => [member.path, member]));
  const named = (member: Member): Member => {
    const target = member.type === 'link' ? byPath.get(member.target ?? '') : undefined;
    return target ? named(target) : member;
  };
  const names = new Map<Member, string[]>();
  for (const member of tree) {
    const inode = named(member);
    names.set(inode, [...(names.get(inode) ?? []), member.path].sort());
  }
  return new Map(
    tree.map((member) => {
      const inode = named(member);
      const others = (names.get(inode) ?? []).filter((path) => path !== member.path);
      return [member.path, factsOfMember(inode, others)];
    }),
  );
}
