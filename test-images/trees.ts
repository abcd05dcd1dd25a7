/** File systems in memory, for tests of what reads a {@link Tree}. */
import { hash } from 'node:crypto';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { type Contents, type Entry, type FileDigest, type Inode, Tree } from '../rechunk/tree.ts';
import { type Path, parentOf } from '../registry/path.ts';
import { NO_XATTRS } from '../registry/tar.ts';

/** One name of a tree; a file with empty content where nothing else is said. */
export interface FileSpec {
  /** Without a leading slash, one char a byte. */
  readonly path: string;
  /** Default: `symlink` with a target, else `file`. */
  readonly type?: Inode['type'];
  /** Text is UTF-8. */
  readonly content?: string | Buffer;
  readonly target?: string;
  /** A hard link to an earlier path of the list; all else but `path` is ignored. */
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Nanoseconds, default 0. */
  readonly mtime?: bigint;
  readonly layer?: number;
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
  /** Of content that is not at hand: `size` and digests stand in for it, and reading it gives no bytes. */
  readonly absent?: {
    readonly size: number;
    readonly digests: Readonly<Partial<Record<FileDigest | 'sha256', string>>>;
  };
}

const digest = (algorithm: string, content: Buffer): string => hash(algorithm, content, 'hex');

const EMPTY = Buffer.alloc(0);
const EMPTY_SHA256 = digest('sha256', EMPTY);

const sha256Of = (content: Buffer): string =>
  content === EMPTY ? EMPTY_SHA256 : digest('sha256', content);

function inodeOf(spec: FileSpec, content: Buffer): Inode {
  const type = spec.type ?? (spec.target === undefined ? 'file' : 'symlink');
  return {
    type,
    mode: spec.mode ?? (type === 'dir' ? 0o755 : 0o644),
    uid: spec.uid ?? 0,
    gid: spec.gid ?? 0,
    mtime: spec.mtime ?? 0n,
    size: type === 'file' ? (spec.absent?.size ?? content.length) : 0,
    target: spec.target ?? '',
    devMajor: 0,
    devMinor: 0,
    xattrs: spec.xattrs ?? NO_XATTRS,
    sha256: type === 'file' ? (spec.absent?.digests.sha256 ?? sha256Of(content)) : '',
    layer: spec.layer ?? 0,
  };
}

/** Content of all trees by sha256, so that an inode can be read that was made of one of them, or of another tree's. */
const CONTENTS = new Map<string, { readonly spec: FileSpec; readonly content: Buffer }>();

/** A tree of `specs`, the later one of equal paths; directories that nothing defines are made. */
export function memoryTree(specs: Iterable<FileSpec>): Tree {
  const inodes = new Map<Path, Inode>();
  const contents = new Map<Inode, { readonly spec: FileSpec; readonly content: Buffer }>();
  for (const spec of specs) {
    const path = spec.path as Path;
    const linked = spec.link === undefined ? undefined : inodes.get(spec.link as Path);
    if (spec.link !== undefined && !linked) throw new Error(`${path}: no ${spec.link} to link to`);
    const content = spec.content ? Buffer.from(spec.content) : EMPTY;
    const inode = linked ?? inodeOf(spec, content);
    if (!linked) contents.set(inode, { spec, content });
    if (!linked && !spec.absent) CONTENTS.set(inode.sha256, { spec, content });
    inodes.set(path, inode);
  }
  const root = '' as Path;
  if (!inodes.has(root)) inodes.set(root, inodeOf({ path: root, type: 'dir' }, EMPTY));
  for (const path of [...inodes.keys()]) {
    for (let above = parentOf(path); !inodes.has(above); above = parentOf(above))
      inodes.set(above, inodeOf({ path: above, type: 'dir' }, EMPTY));
  }
  const entries = [...inodes].map(([path, inode]): Entry => ({ path, inode }));
  return new Tree(entries, memoryContents(contents));
}

/** What a tree has at `path`; throws where that is nothing. */
export function inodeAt(tree: Tree, path: string): Inode {
  const inode = tree.get(path as Path);
  if (!inode) throw new Error(`no ${path}`);
  return inode;
}

/** The paths of all that is no directory and has the time and content that it has in a tree of `specs`. */
export function equalFiles(tree: Tree, specs: readonly FileSpec[]): Path[] {
  const known = memoryTree(specs);
  const isEqual = ({ path, inode }: Entry): boolean => {
    const other = known.get(path);
    return other?.mtime === inode.mtime && other.sha256 === inode.sha256;
  };
  return tree.entries
    .filter((entry) => entry.inode.type !== 'dir' && isEqual(entry))
    .map(({ path }) => path);
}

function memoryContents(
  contents: ReadonlyMap<Inode, { readonly spec: FileSpec; readonly content: Buffer }>,
): Contents {
  const of = (inode: Inode): { readonly spec: FileSpec; readonly content: Buffer } => {
    const known = contents.get(inode) ?? CONTENTS.get(inode.sha256);
    if (!known) throw new Error('an inode of no tree');
    return known;
  };
  return {
    async read(inode, limit) {
      const { content } = of(inode);
      return limit === undefined ? content : content.subarray(0, limit);
    },
    async digests(algorithm, inodes) {
      return inodes.map((inode) => {
        const { spec, content } = of(inode);
        if (!spec.absent) return digest(algorithm, content);
        const stated = spec.absent.digests[algorithm];
        if (!stated) throw new Error(`the ${algorithm} of ${spec.path} is not at hand`);
        return stated;
      });
    },
  };
}

async function* entriesOf(tar: Buffer): AsyncGenerator<{ header: Header; content: Buffer }> {
  const entries = extract({ filenameEncoding: 'latin1' } as never);
  Readable.from([tar]).pipe(entries);
  for await (const entry of entries) {
    const parts: Buffer[] = [];
    for await (const part of entry) parts.push(part as Buffer);
    yield { header: entry.header, content: Buffer.concat(parts) };
  }
}

const TYPES: Readonly<Record<string, Inode['type']>> = {
  file: 'file',
  'contiguous-file': 'file',
  symlink: 'symlink',
  directory: 'dir',
  'character-device': 'char',
  'block-device': 'block',
  fifo: 'fifo',
};

/** The entries of a tar, gzipped or not, as {@link memoryTree} takes them; read by another codec than the project's own. */
export async function specsOfTar(archive: Buffer, layer = 0): Promise<FileSpec[]> {
  const specs: FileSpec[] = [];
  for await (const { header, content } of entriesOf(unpacked(archive))) {
    const path = header.name.replace(/^(\.?\/)+|\/+$|^\.$/g, '');
    const { mode, uid, gid } = header;
    const mtime = BigInt(header.mtime?.getTime() ?? 0) * 1_000_000n;
    const meta = { path, mode: (mode ?? 0) & 0o7777, uid: uid ?? 0, gid: gid ?? 0, mtime, layer };
    const linkname = header.linkname ?? '';
    if (header.type === 'link') specs.push({ ...meta, link: linkname.replace(/^(\.?\/)+/, '') });
    else if (header.type === 'symlink') specs.push({ ...meta, target: linkname });
    else specs.push({ ...meta, type: TYPES[header.type ?? 'file'] ?? 'file', content });
  }
  return specs;
}

/** The entries of all layers of a docker archive without whiteouts, lowest layer first. */
export async function specsOfDockerArchive(archive: Buffer): Promise<FileSpec[]> {
  const files = new Map<string, Buffer>();
  for await (const { header, content } of entriesOf(unpacked(archive))) {
    const base = header.name.slice(0, header.name.lastIndexOf('/') + 1);
    const target = header.type === 'symlink' && new URL(header.linkname ?? '', `f:///${base}`);
    files.set(header.name, target ? Buffer.from(target.pathname.slice(1)) : content);
  }
  const manifest = JSON.parse(String(files.get('manifest.json'))) as [{ Layers: string[] }];
  const layers = manifest[0].Layers.map(async (name, layer) => {
    const stored = files.get(name) ?? Buffer.alloc(0);
    return specsOfTar(stored.length < 512 ? (files.get(String(stored)) ?? stored) : stored, layer);
  });
  return (await Promise.all(layers)).flat();
}

function unpacked(archive: Buffer): Buffer {
  return archive[0] === 0x1f && archive[1] === 0x8b ? gunzipSync(archive) : archive;
}
