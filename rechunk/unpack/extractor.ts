/**
 * Writes a directory tree with exact metadata. Node can neither set xattrs nor make devices nor set times to the nanosecond, so
 * GNU tar does it, which every Debian has: it is fed an archive whose entries are canonical. Parents come first, no path comes
 * twice and nothing lies below a symlink, so nothing leaves the directory.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { RechunkError, systemCode } from '../../registry/errors.ts';
import type { Path } from '../../registry/path.ts';
import { type Environment, isProgram } from '../../registry/program.ts';
import {
  BLOCK_SIZE,
  type Extent,
  FIELD,
  paddingOf,
  type TarFields,
  type Xattrs,
} from '../../registry/tar.ts';
import { END_OF_ARCHIVE, encodeEntry } from '../../registry/tarwriter.ts';
import { Gatherer } from '../assemble.ts';
import { readBody } from '../digests.ts';
import type { Body } from '../tree.ts';

/** A name to make. */
export interface Item extends Omit<TarFields, 'path'> {
  readonly path: Path;
  /** The content of a file; absent where there is none. */
  readonly body?: Body | undefined;
}

/** How a tree is written. */
export interface ExtractOptions {
  /** Where GNU tar is looked for. */
  readonly env: Environment;
  /** Whether owners are set; else all belongs to this process. */
  readonly owners: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Told bytes of content and headers as they are written. */
  readonly onBytes?: (bytes: number) => void;
}

const TAR = [
  '--extract',
  '--file=-',
  '--xattrs',
  '--xattrs-include=*',
  '--numeric-owner',
  '--same-permissions',
  '--delay-directory-restore',
  // symlinks are made as they are, not as placeholders first
  '--absolute-names',
  '--warning=no-timestamp',
  '--warning=no-unknown-keyword',
] as const;

/** Characters of tar's complaints that are kept. */
const COMPLAINT_LIMIT = 4096;
/** Bytes read at a time. */
const READ_BYTES = 1 << 20;
/** Places of the old GNU format for sparse files (tar 1.34, src/tar.h). */
const SPARSE = { inHeader: 4, inBlock: 21, isExtended: 504, numberSize: 12 };
const OCTAL_11_MAX = 0o77777777777;

/** Throws `unsupported` where there is no GNU tar. */
export async function checkTar(env: Environment): Promise<void> {
  if (await isProgram('tar', 'GNU tar', env)) return;
  throw new RechunkError(
    'unsupported',
    'GNU tar is needed to set extended attributes, owners and times, and `tar` is not it on this machine; install the package tar',
  );
}

/** Makes `items`, which are in canonical order, below `directory`, which is there. Throws `io` with tar's own words. */
export async function extract(
  directory: string,
  items: Iterable<Item>,
  { env, owners, signal, onBytes }: ExtractOptions,
): Promise<void> {
  signal?.throwIfAborted();
  const child = spawn('tar', [...TAR, owners ? '--same-owner' : '--no-same-owner'], {
    cwd: directory,
    env: { ...env, LC_ALL: 'C', TAR_OPTIONS: undefined },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let complaints = '';
  child.stderr.on('data', (data: Buffer) => {
    if (complaints.length < COMPLAINT_LIMIT) complaints += data.toString('latin1');
    // What it cannot make once it tries again for every entry.
    child.stdin.destroy();
  });
  child.stdin.on('error', () => {});
  const stop = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', stop, { once: true });
  const ended = once(child, 'close') as Promise<[number | null, string | null]>;
  ended.catch(() => {});
  let [code, killer]: [number | null, string | null] = [null, null];
  try {
    await feed(child.stdin, items, onBytes);
  } catch (error) {
    if (!isClosed(error)) {
      stop();
      throw error;
    }
  } finally {
    [code, killer] = await ended;
    signal?.removeEventListener('abort', stop);
  }
  signal?.throwIfAborted();
  if (code === 0 && complaints === '') return;
  throw new RechunkError('io', summarise(complaints) || `tar ended with ${code ?? killer}`);
}

/** What tar says because it was stopped. */
const STOPPED = /: (Unexpected EOF in archive|Error is not recoverable|Exiting with)/;
/** What tar's words mean, where they do not say. */
const HINTS: readonly (readonly [RegExp, string])[] = [
  [/Wrote only \d+ of/, 'no space left, or over a quota'],
  [
    /Cannot mknod: Operation not permitted/,
    'file systems such as the overlayfs of a container hold no deletions; unpack to another one, such as a volume',
  ],
  [/extended attribute.*Operation not supported/, 'this file system holds no such attributes'],
];

/** The first of what tar said, explained. */
function summarise(complaints: string): string {
  const lines = complaints.trim().split('\n');
  return lines
    .filter((line) => !STOPPED.test(line))
    .slice(0, 3)
    .map((line) => {
      const hint = HINTS.find(([pattern]) => pattern.test(line));
      return hint ? `${line} (${hint[1]})` : line;
    })
    .join('; ');
}

/** A `system.posix_acl_default` without entries: the kernel takes the attribute away (posix_acl_xattr.h, version 2). */
const NO_ACL = Buffer.from([2, 0, 0, 0]);

/** Takes from the empty directory `directory` what new files in it would inherit: a default ACL and the set-group-id bit. */
export async function shield(directory: string, options: ExtractOptions): Promise<void> {
  const { uid, gid } = await stat(directory);
  const numbers = { mode: 0o755, uid, gid, mtime: 0n, size: 0, devMajor: 0, devMinor: 0 };
  const xattrs = new Map([['system.posix_acl_default', NO_ACL]]);
  const root: Item = { ...numbers, type: 'dir', path: '' as Path, link: '', xattrs };
  await extract(directory, [root], options).catch((error: unknown) => {
    // A file system without ACLs has none to take away.
    if (!/Operation not supported/.test(String(error))) throw error;
  });
}

/** Whether an error says that the reader of a pipe is gone: what it said itself matters more. */
function isClosed(error: unknown): boolean {
  return /^(EPIPE|ECANCELED|ECONNRESET|ERR_STREAM_DESTROYED)$/.test(systemCode(error) ?? '');
}

async function feed(
  stream: NodeJS.WritableStream,
  items: Iterable<Item>,
  onBytes: ExtractOptions['onBytes'],
): Promise<void> {
  let last: Promise<void> = Promise.resolve();
  const write = async (chunk: Buffer): Promise<void> => {
    // One chunk is on its way while the next is made.
    await last;
    const copy = Buffer.from(chunk);
    last = new Promise((resolve, reject) => {
      stream.write(copy, (error) => (error ? reject(error) : resolve()));
    });
    last.catch(() => {});
    onBytes?.(chunk.length);
  };
  const gatherer = new Gatherer(write);
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  for (const item of items) {
    for (const piece of piecesOf(item, buffer)) {
      gatherer.add(piece);
      if (gatherer.ready) await gatherer.drain();
    }
  }
  gatherer.add(END_OF_ARCHIVE);
  await gatherer.finish();
  await last;
  stream.end();
}

/** An entry's bytes in the archive; a piece is valid until the next is asked for. */
function* piecesOf(item: Item, buffer: Buffer): Generator<Buffer> {
  const { body } = item;
  const fields = { ...item, xattrs: encodeNames(item.xattrs) };
  const extents = body?.extents;
  const stored = extents?.reduce((sum, { size }) => sum + size, 0) ?? item.size;
  if (!body || !extents || stored > OCTAL_11_MAX) {
    yield encodeEntry(fields);
    if (body) yield* readBody(body, item.size, buffer);
  } else {
    yield encodeSparse({ ...fields, size: stored }, extents, item.size);
    for (const { offset, size } of extents)
      yield* readBody({ file: body.file, offset }, size, buffer);
  }
  const padding = body ? paddingOf(stored) : 0;
  if (padding > 0) yield END_OF_ARCHIVE.subarray(0, padding);
}

/** Names as GNU tar reads them: it takes `%3D` for `=` and `%25` for `%` (tar 1.34, xheader.c). */
function encodeNames(xattrs: Xattrs): Xattrs {
  if (![...xattrs.keys()].some((name) => /[%=]/.test(name))) return xattrs;
  return new Map(
    [...xattrs].map(([name, value]) => [name.replace(/%/g, '%25').replace(/=/g, '%3D'), value]),
  );
}

/** Writes a number of twelve bytes: octal digits and a NUL, or in base 256 where it takes more. */
function putNumber(block: Buffer, at: number, value: number): void {
  if (value <= OCTAL_11_MAX) {
    block.write(`${value.toString(8).padStart(SPARSE.numberSize - 1, '0')}\0`, at, 'latin1');
    return;
  }
  block.fill(0, at, at + SPARSE.numberSize);
  block[at] = 0x80;
  block.writeBigUInt64BE(BigInt(value), at + SPARSE.numberSize - 8);
}

/** The header of a sparse file of `size` bytes in the old GNU format, whose maps GNU tar reads whatever comes before them. */
function encodeSparse(stored: TarFields, extents: readonly Extent[], size: number): Buffer {
  const end = extents.at(-1);
  const map = extents.map((extent): [number, number] => [extent.at, extent.size]);
  // A hole at the end is told by an empty stretch.
  if (!end || end.at + end.size < size) map.push([size, 0]);
  const encoded = encodeEntry(stored);
  const header = encoded.subarray(-BLOCK_SIZE);
  header.write('S', FIELD.type[0], 'latin1');
  header.write('ustar  \0', FIELD.magic[0], 'latin1');
  putMap(header, FIELD.gnuSparse[0], map.splice(0, SPARSE.inHeader));
  header[FIELD.gnuIsExtended[0]] = map.length > 0 ? 1 : 0;
  putNumber(header, FIELD.gnuRealSize[0], size);
  putChecksum(header);
  const blocks = [encoded];
  while (map.length > 0) {
    const block = Buffer.alloc(BLOCK_SIZE);
    putMap(block, 0, map.splice(0, SPARSE.inBlock));
    block[SPARSE.isExtended] = map.length > 0 ? 1 : 0;
    blocks.push(block);
  }
  return Buffer.concat(blocks);
}

function putMap(block: Buffer, at: number, map: readonly (readonly [number, number])[]): void {
  map.forEach(([offset, size], i) => {
    putNumber(block, at + 2 * i * SPARSE.numberSize, offset);
    putNumber(block, at + (2 * i + 1) * SPARSE.numberSize, size);
  });
}

function putChecksum(header: Buffer): void {
  const [at, size] = FIELD.checksum;
  header.fill(' ', at, at + size);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(size - 2, '0')}\0 `, at, 'latin1');
}
