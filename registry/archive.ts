/**
 * Image archives: tars that hold an OCI layout (`oci-archive:`) or what `docker save` writes (`docker-archive:`), told
 * apart by content. Only headers are read to index one; blobs are then read in place, by offset. An archive that is
 * compressed, or comes through a pipe, is first written decompressed to a private temporary file.
 */
import { open, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { decompress, detectCompression, fileBlob } from './blob.ts';
import { openDockerStore } from './dockerarchive.ts';
import { describe, during, RechunkError } from './errors.ts';
import type { Source } from './image.ts';
import { LARGE_TEMP_DIR, makeTemporary } from './ingest.ts';
import { indexArchive, type Members, type OpenedArchive } from './members.ts';
import { MANIFEST_LIMIT, parseDigest } from './oci.ts';
import { formatPath } from './reference.ts';
import { openStore, type Store } from './store.ts';

/** What an archive holds. */
export type ArchiveKind = 'oci-archive' | 'docker-archive';

/** How an archive is opened. */
export interface ArchiveOptions {
  /** What it must hold; default: told by content, an OCI layout first where it is both (Docker from 25 on). */
  readonly kind?: ArchiveKind;
  /** How messages name it; default `KIND:FILE[:REF]`. */
  readonly reference?: string;
  /** Where temporary files go; default {@link LARGE_TEMP_DIR}. */
  readonly tempDir?: string;
}

/** Bytes that are read at once from a pipe. */
const READ_SIZE = 1 << 20;
/** Bytes that tell how a file is compressed. */
const HEAD_SIZE = 10;

/** Opens the image `ref` of an archive. Which one that is, see `openStore` for OCI and `openDockerStore` for Docker. */
export async function openArchive(
  file: string,
  ref?: string,
  options: ArchiveOptions = {},
): Promise<Source> {
  const reference = options.reference ?? formatPath(options.kind ?? 'oci-archive', file, ref);
  return during(`reading ${reference}`, async () => {
    const plain = await openPlain(resolve(file), options.tempDir);
    try {
      const members = await indexArchive(plain.path);
      const kind = options.kind ?? tellKind(members);
      const opened = { reference, members, close: plain.remove };
      return await (kind === 'docker-archive'
        ? openDockerStore(opened, ref)
        : openStore(layoutStore(opened), ref));
    } catch (error) {
      await plain.remove();
      throw error;
    }
  });
}

/** A file that is there for as long as it is needed. */
export interface SpooledFile {
  readonly path: string;
  /** Removes the file, if it was made for the purpose. Idempotent; never throws. */
  remove(): Promise<void>;
}

/** Writes a stream, decompressed, to a private temporary file, which the caller removes. */
export async function spoolStdin(
  stream: AsyncIterable<Uint8Array>,
  tempDir: string = LARGE_TEMP_DIR,
): Promise<SpooledFile> {
  const ingest = await makeTemporary(tempDir, 'rechunk-');
  try {
    const path = ingest.newPath();
    const handle = await open(path, 'wx', 0o600);
    try {
      for await (const chunk of decompress(stream)) await handle.writeFile(chunk);
      if ((await handle.stat()).size === 0) {
        const want = 'want an archive; did the program before the pipe fail?';
        throw new RechunkError('unsupported', `nothing came: ${want}`);
      }
    } finally {
      await handle.close();
    }
    return { path, remove: ingest.remove };
  } catch (error) {
    await ingest.remove();
    if (error instanceof RechunkError) throw error; // of what came
    throw describe(`writing a temporary file in ${tempDir}`, error);
  }
}

/** The archive as a seekable tar: itself, or a decompressed copy. */
async function openPlain(path: string, tempDir: string | undefined): Promise<SpooledFile> {
  const found = await stat(path);
  if (found.isDirectory()) throw new RechunkError('unsupported', `${path} is a directory`);
  if (!found.isFile()) return spoolStdin(readPipe(path), tempDir);
  if (detectCompression(await readStart(path)) !== 'none') {
    return spoolStdin(fileBlob(path, 0, found.size).stream(), tempDir);
  }
  return { path, remove: () => Promise.resolve() };
}

async function readStart(path: string): Promise<Buffer> {
  const handle = await open(path);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_SIZE), 0, HEAD_SIZE, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function* readPipe(path: string): AsyncGenerator<Uint8Array> {
  const handle = await open(path);
  try {
    yield* handle.createReadStream({ autoClose: false, highWaterMark: READ_SIZE });
  } finally {
    await handle.close();
  }
}

function tellKind(members: Members): ArchiveKind {
  if (members.has('oci-layout') && members.has('index.json')) return 'oci-archive';
  if (members.has('manifest.json') || members.has('repositories')) return 'docker-archive';
  throw new RechunkError(
    'unsupported',
    'it holds neither index.json (an OCI archive) nor manifest.json (a Docker archive)',
  );
}

function layoutStore({ reference, members, close }: OpenedArchive): Store {
  return {
    reference,
    readFile: (name) => members.read(name, MANIFEST_LIMIT),
    locate: async (digest) => members.locate(`blobs/${parseDigest(digest).replace(':', '/')}`),
    close,
  };
}
