/**
 * Reads a layer for the index: its tar as it streams by, checked against its digest and diffID, or only its table of contents where
 * it is zstd:chunked or eStargz and the manifest vouches for the table's digest.
 */
import { createHash, type Hash } from 'node:crypto';
import { decompress, verifying } from '../../blob.ts';
import { during, RechunkError } from '../../errors.ts';
import type { Blob } from '../../image.ts';
import type { Annotations, Descriptor, Digest } from '../../oci.ts';
import type { TarEntry } from '../../tar.ts';
import { TarReader } from '../../tarreader.ts';
import { LayerRows, type RowEntry, splitTime } from './rows.ts';
import { readTable } from './tables.ts';

/** A layer to be read: one of the blobs that hold it, and how to open that. */
export interface LayerSource {
  readonly diffId: Digest;
  readonly descriptor: Descriptor;
  /** How messages name it. */
  readonly name: string;
  open(): Promise<Blob>;
  /** What its descriptor's annotations are, where `descriptor` is without them. */
  annotations?(): Promise<Annotations>;
}

/** What was read of a layer. */
export interface ReadLayer {
  readonly diffId: Digest;
  readonly rows: LayerRows;
  /** `tar` if every byte was read and checked, `toc` if the table of contents was taken at the manifest's word. */
  readonly origin: 'tar' | 'toc';
  /** Of the tar; absent where only the table of contents was read. */
  readonly uncompressed?: number;
  /** Bytes that were read of the blob. */
  readonly bytesRead: number;
}

function rowEntry(entry: TarEntry): RowEntry {
  const { type, path, mode, uid, gid, size, link, devMajor, devMinor, xattrs } = entry;
  const owner = { mode, uid, gid, ...splitTime(entry.mtime) };
  return { type, path, ...owner, size, link, devMajor, devMinor, xattrs };
}

/** Turns a tar into rows. */
class RowSink {
  readonly rows = new LayerRows();
  #file: { readonly entry: RowEntry; readonly hash: Hash } | undefined;

  entry(entry: TarEntry): void {
    const row = rowEntry(entry);
    if (entry.type === 'file') this.#file = { entry: row, hash: createHash('sha256') };
    else this.rows.add(row);
  }

  data(chunk: Uint8Array): void {
    this.#file?.hash.update(chunk);
  }

  end(): void {
    if (this.#file) this.rows.add(this.#file.entry, this.#file.hash.digest());
    this.#file = undefined;
  }
}

async function readTar(source: LayerSource, blob: Blob, signal?: AbortSignal): Promise<ReadLayer> {
  const { descriptor, diffId, name } = source;
  const [algorithm = ''] = diffId.split(':');
  const whole = createHash(algorithm);
  const sink = new RowSink();
  const reader = new TarReader(sink);
  let uncompressed = 0;
  for await (const chunk of decompress(verifying(blob.stream(signal), descriptor, name))) {
    uncompressed += chunk.length;
    whole.update(chunk);
    reader.push(chunk);
  }
  reader.finish();
  const found = `${algorithm}:${whole.digest('hex')}`;
  if (found !== diffId) {
    throw new RechunkError('digest-mismatch', `got diffID ${found}, want ${diffId}`);
  }
  sink.rows.finish();
  return { diffId, rows: sink.rows, origin: 'tar', uncompressed, bytesRead: descriptor.size };
}

/**
 * Reads one layer. Throws `digest-mismatch` or `size-mismatch` where blob or diffID are not what the image says, and what reading a
 * tar throws.
 */
export function readLayer(source: LayerSource, signal?: AbortSignal): Promise<ReadLayer> {
  return during(`indexing ${source.name} (${source.descriptor.digest})`, async () => {
    const blob = await source.open();
    const annotations = source.annotations ? await source.annotations() : undefined;
    const told = annotations ? { ...source.descriptor, annotations } : source.descriptor;
    const table = await readTable({ ...source, descriptor: told }, blob);
    return table ?? (await readTar(source, blob, signal));
  });
}
