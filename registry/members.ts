/** The members of an archive, found by reading its headers only, and read in place by offset. */
import { type FileHandle, open } from 'node:fs/promises';
import { posix } from 'node:path';
import { fileBlob } from './blob.ts';
import { RechunkError } from './errors.ts';
import { pathFromText, showPath } from './path.ts';
import type { Place } from './store.ts';
import type { TarEntry } from './tar.ts';
import { TarReader, type TarSink } from './tarreader.ts';

/** Bytes that are read at once where headers stand. */
const WINDOW = 64 << 10;
/** Stands for content that is not read; its value is never looked at. */
const UNREAD: Buffer = Buffer.alloc(1 << 20);
/** Most members of an archive: an image has some hundreds, and each is held in memory. */
const MEMBER_LIMIT = 100_000;
/** Links between members that are followed one after another. */
const LINK_LIMIT = 8;

/** An archive that was opened and indexed. */
export interface OpenedArchive {
  readonly reference: string;
  readonly members: Members;
  close(): Promise<void>;
}

/** The members of an archive, by normalised path. */
export class Members {
  readonly #path: string;
  readonly #entries: ReadonlyMap<string, TarEntry>;

  /** `path` is the archive, a plain tar; a later entry of a name has replaced the earlier. */
  constructor(path: string, entries: ReadonlyMap<string, TarEntry>) {
    this.#path = path;
    this.#entries = entries;
  }

  /** Whether there is a member of this name, of any type. */
  has(name: string): boolean {
    return this.#entries.has(pathFromText(name));
  }

  /**
   * Where the content of a regular file lies, links between members followed; undefined where there is none. Throws
   * `path` for a link that leaves the archive, `unsupported` for a sparse member.
   */
  locate(name: string): Place | undefined {
    let at: string = pathFromText(posix.normalize(name));
    for (let hops = 0; hops < LINK_LIMIT; hops++) {
      const entry = this.#entries.get(at);
      if (entry?.extents) {
        throw new RechunkError(
          'unsupported',
          `'${showPath(at)}' is stored as a sparse file; pack it without --sparse`,
        );
      }
      if (entry?.type === 'file') {
        return { path: this.#path, offset: entry.offset, size: entry.size };
      }
      if (entry?.type !== 'symlink' && entry?.type !== 'link') return undefined;
      at = targetOf(entry);
    }
    throw new RechunkError(
      'path',
      `'${showPath(name)}' leads through more than ${LINK_LIMIT} links`,
    );
  }

  /** Reads a member whole; undefined where there is none, `limit` where it is larger than that. */
  async read(name: string, limit: number): Promise<Buffer | undefined> {
    const found = this.locate(name);
    if (!found) return undefined;
    if (found.size > limit) {
      throw new RechunkError(
        'limit',
        `'${showPath(name)}' has ${found.size} bytes, at most ${limit} are read`,
      );
    }
    const chunks: Uint8Array[] = [];
    const blob = fileBlob(found.path, found.offset, found.size);
    for await (const chunk of blob.stream()) chunks.push(chunk);
    return Buffer.concat(chunks);
  }
}

function targetOf(entry: TarEntry): string {
  if (entry.type === 'link') return entry.link;
  const target = posix.join(posix.dirname(entry.path), entry.link);
  if (!target.startsWith('..') && !entry.link.startsWith('/')) return target;
  throw new RechunkError(
    'path',
    `the link '${showPath(entry.path)}' leads out of the archive, to '${showPath(entry.link)}'`,
  );
}

/** Indexes the plain tar at `path`: reads its headers and skips what lies between them. Throws what TarReader throws. */
export async function indexArchive(path: string): Promise<Members> {
  const entries = new Map<string, TarEntry>();
  let last: TarEntry | undefined;
  const sink: TarSink = {
    entry: (entry) => {
      last = entry;
      entries.set(entry.path, entry);
    },
    data: () => undefined,
  };
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const reader = new TarReader(sink, { entries: MEMBER_LIMIT });
    for (let at = 0; at < size; ) {
      at = await readWindow(handle, reader, at);
      const content = last && !last.extents ? last.offset + last.size : 0;
      at = skip(reader, at, Math.min(content, size));
    }
    reader.finish();
  } finally {
    await handle.close();
  }
  return new Members(path, entries);
}

async function readWindow(handle: FileHandle, reader: TarReader, at: number): Promise<number> {
  const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(WINDOW), 0, WINDOW, at);
  if (bytesRead === 0)
    throw new RechunkError('size-mismatch', `it became shorter than ${at} bytes`);
  reader.push(buffer.subarray(0, bytesRead));
  return at + bytesRead;
}

/** Tells the reader of bytes up to `end` without reading them, since they are all content; where it stands then. */
function skip(reader: TarReader, at: number, end: number): number {
  while (at < end) {
    const chunk = UNREAD.subarray(0, Math.min(UNREAD.length, end - at));
    reader.push(chunk);
    at += chunk.length;
  }
  return at;
}
