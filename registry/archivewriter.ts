/**
 * Image archives as destinations. All that a run receives stays in a private directory; `commit` packs it in one fixed order with
 * fixed headers (times, owners 0), so that equal images give equal archives, and delivers the result: a file is renamed into place.
 * Until then the disk holds the layers, and during `commit` the layers and the archive.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { open, realpath, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Pack, pack } from 'tar-stream';
import { DOCKER_FORMAT, type Format, type Member, OCI_FORMAT, staged } from './archiveformat.ts';
import { during, RechunkError } from './errors.ts';
import type { Destination } from './image.ts';
import { type Ingest, makeIngest } from './ingest.ts';
import { formatPath } from './reference.ts';
import { Stage } from './stage.ts';

/** Opens a new OCI archive that `commit` puts at `file`, in place of what is there; `ref` is the image's name in it. */
export function createOciArchive(file: string, ref?: string): Promise<Destination> {
  return createArchive(OCI_FORMAT, file, ref);
}

/**
 * Opens a new Docker archive that `commit` puts at `file`, in place of what is there; `ref` is the image's name in it,
 * completed as Docker does. Layers are stored uncompressed; compressed ones that are put are decompressed and checked
 * against their diffIDs. Tags of `commit` are tags of the same repository, or full names.
 */
export function createDockerArchive(file: string, ref?: string): Promise<Destination> {
  return createArchive(DOCKER_FORMAT, file, ref);
}

async function createArchive(
  format: Format,
  file: string,
  ref: string | undefined,
): Promise<Destination> {
  const reference = formatPath(format.transport, file, ref);
  return during(`writing to ${reference}`, async () => {
    format.names(ref, []);
    const target = await realpath(file).catch(() => file);
    const found = await stat(target).catch(() => undefined);
    if (found && !found.isFile()) {
      throw new RechunkError('exists', `${target} is there and not a regular file`);
    }
    await stat(dirname(target));
    const ingest = await makeIngest(dirname(target), '.rechunk-');
    const deliver = (archive: Readable): Promise<void> =>
      writeFile(archive, ingest.newPath(), target);
    return archiveDestination(format, { reference, ref, ingest, deliver });
  });
}

/** Writes the archive to `path`, and renames it to `target` once it is on the disk. */
async function writeFile(archive: Readable, path: string, target: string): Promise<void> {
  await pipeline(archive, createWriteStream(path, { flags: 'wx' }));
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
  await rename(path, target);
}

/** Where an archive goes that is no file. */
export interface Delivery {
  /** How messages name the destination. */
  readonly reference: string;
  /** The image's name. */
  readonly ref: string | undefined;
  /** Where it waits for the commit; removed by `close`. */
  readonly ingest: Ingest;
  /** Takes the whole archive. Throws where it was refused; then nothing of it may be visible. */
  deliver(archive: Readable): Promise<void>;
}

/** A destination whose `commit` hands the archive over as a stream. */
export function archiveDestination(format: Format, delivery: Delivery): Destination {
  const { reference, ingest } = delivery;
  const stage = new Stage(ingest, reference);
  return {
    reference,
    directory: ingest.directory,
    compressions: format.compressions,
    holdsIndex: format.holdsIndex,
    warnings: format.warnings,
    has: (descriptor) => Promise.resolve(stage.get(descriptor) !== undefined),
    putBytes: (descriptor, bytes) => stage.putBytes(descriptor, bytes),
    putFile: (descriptor, path, onProgress) => stage.putFile(descriptor, path, onProgress),
    putBlob: (descriptor, blob, onProgress) => stage.putBlob(descriptor, blob, onProgress),
    read: async (descriptor) => staged(stage, descriptor),
    commit: (root, more) =>
      during(`writing to ${reference}`, async () => {
        const tags = format.names(delivery.ref, more);
        await stage.putBytes(root.descriptor, root.bytes);
        await packTo(delivery, await format.members({ stage, ingest, root, tags }));
      }),
    close: () => ingest.remove(),
  };
}

async function packTo(delivery: Delivery, members: readonly Member[]): Promise<void> {
  const archive = pack();
  // Its stream type is not Node's, but it is read like one.
  // Told by what fails, also where nobody reads it.
  archive.on('error', () => undefined);
  const written = delivery.deliver(archive as unknown as Readable);
  written.catch(() => undefined);
  try {
    for (const member of members)
      await Promise.race([addMember(archive, member), untilFailed(written)]);
    archive.finalize();
  } catch (error) {
    archive.destroy(error as Error);
    const failure = await written.then(
      () => error,
      (cause: unknown) =>
        (cause as { code?: string }).code === 'ERR_STREAM_PREMATURE_CLOSE' ? error : cause,
    );
    throw failure;
  }
  await written;
}

/** Settles only where `work` fails: whoever takes no more must not be waited for. */
function untilFailed(work: Promise<void>): Promise<never> {
  return new Promise((_, reject) => {
    work.catch(reject);
  });
}

async function addMember(archive: Pack, { name, content }: Member): Promise<void> {
  const isBytes = Buffer.isBuffer(content);
  const size = isBytes ? content.length : (content.file?.size ?? 0);
  const entry = archive.entry({ name, size, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) });
  const ended = new Promise<void>((resolve, reject) => {
    entry.once('error', reject);
    entry.once('close', resolve);
  });
  ended.catch(() => undefined);
  for await (const chunk of isBytes ? [content] : content.stream()) {
    if (!entry.write(chunk)) await Promise.race([once(entry, 'drain'), ended]);
    if (entry.destroyed) throw new RechunkError('io', `packing ${name}: the archive was closed`);
  }
  entry.end(null);
  await ended;
}
