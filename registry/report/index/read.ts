/**
 * Reads a layer for the index: its tar as it streams by, checked against its digest and diffID, or only its table of contents where
 * it is zstd:chunked or eStargz and the manifest vouches for the table's digest.
 */
import { createHash, type Hash } from 'node:crypto';
import { decompress, verifying } from '../../blob.ts';
import { during, RechunkError } from '../../errors.ts';
import type { Blob } from '../../image.ts';
import type { Annotations, Descriptor, Digest } from '../../oci.ts';
import type { Path } from '../../path.ts';
import type { TarEntry } from '../../tar.ts';
import { TarReader } from '../../tarreader.ts';
import { Keeper, type KeepRule, type Kept } from './kept.ts';
import { checkRow, LayerRows, type RowEntry, splitTime } from './rows.ts';
import { ESTARGZ_DIGEST, ESTARGZ_OWN, readTable } from './tables.ts';

/** A layer to be read: one of the blobs that hold it, and how to open that. */
export interface LayerSource {
  readonly diffId: Digest;
  readonly descriptor: Descriptor;
  /** How messages name it. */
  readonly name: string;
  /** The repository or directory that has the blob: what is missing in one may be there in another. */
  readonly place?: string;
  open(): Promise<Blob>;
  /** What its descriptor's annotations are, where `descriptor` is without them. */
  annotations?(): Promise<Annotations>;
}

/** What was read of a layer. */
export interface ReadLayer {
  readonly diffId: Digest;
  /** The blob that was read. */
  readonly blob: Digest;
  readonly rows: LayerRows;
  /** `tar` if every byte was read and checked, `toc` if the table of contents was taken at the manifest's word. */
  readonly origin: 'tar' | 'toc';
  /** Of the tar; absent where only the table of contents was read. */
  readonly uncompressed?: number;
  /** Bytes that were read of the blob. */
  readonly bytesRead: number;
  /** What was kept of its content; default nothing. */
  readonly kept?: Kept | undefined;
}

/** How a layer is read. */
export interface ReadOptions {
  /** What is kept of content; default nothing. */
  readonly keep?: KeepRule | undefined;
  /** `tar` where only that will do, since a table of contents proves no diffID; default either. */
  readonly origin?: 'tar' | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told of stored bytes as they are read. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

function rowEntry(entry: TarEntry): RowEntry {
  const { type, path, mode, uid, gid, size, link, devMajor, devMinor, xattrs } = entry;
  const owner = { mode, uid, gid, ...splitTime(entry.mtime) };
  return checkRow({ type, path, ...owner, size, link, devMajor, devMinor, xattrs });
}

const NONE: ReadonlySet<string> = new Set();

/** Turns a tar into rows. */
class RowSink {
  readonly rows = new LayerRows();
  /** Files that are documents by hard links alone. */
  readonly linked: Set<Path> = new Set();
  readonly #keep: KeepRule | undefined;
  readonly #keeper: Keeper | undefined;
  readonly #ignored: ReadonlySet<string>;
  #file: { readonly entry: RowEntry; readonly hash: Hash } | undefined;

  /** `ignored` are paths of files that are none of the image. */
  constructor(keep: KeepRule | undefined, ignored: ReadonlySet<string>) {
    this.#keep = keep;
    this.#ignored = ignored;
    this.#keeper = keep && new Keeper(keep);
  }

  entry(entry: TarEntry): void {
    if (this.#ignored.has(entry.path)) return;
    const row = rowEntry(entry);
    if (entry.type === 'file') {
      this.#file = { entry: row, hash: createHash('sha256') };
      this.#keeper?.begin(entry.path, entry.size);
      return;
    }
    if (entry.type === 'link') this.#noteLink(entry);
    this.rows.add(row);
  }

  #noteLink({ path, link }: TarEntry): void {
    const target = link as Path;
    if (this.#keep?.isDocument(path) && !this.#keep.isDocument(target)) this.linked.add(target);
  }

  data(chunk: Uint8Array): void {
    this.#file?.hash.update(chunk);
    this.#keeper?.data(chunk);
  }

  end(): void {
    if (!this.#file) return;
    const digest = this.#file.hash.digest();
    this.#keeper?.end(digest);
    this.rows.add(this.#file.entry, digest);
    this.#file = undefined;
  }

  finish(): Pick<ReadLayer, 'rows' | 'kept'> & Pick<RowSink, 'linked'> {
    this.rows.finish();
    return { rows: this.rows, kept: this.#keeper?.finish(), linked: this.linked };
  }
}

/**
 * Reads all of a layer. A hard link can make a document of a file that came before under a name that tells nothing (as in pnpm's store):
 * such a layer is read a second time.
 */
async function readTar(source: LayerSource, blob: Blob, options: ReadOptions): Promise<ReadLayer> {
  const { keep } = options;
  const { linked, ...read } = await readOnce(source, blob, options);
  if (!keep || linked.size === 0) return read;
  const isDocument = (path: Path): boolean => keep.isDocument(path) || linked.has(path);
  const rule = { ...keep, isDocument };
  const { linked: _, ...again } = await readOnce(source, blob, { ...options, keep: rule });
  return { ...again, bytesRead: 2 * read.bytesRead };
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  onBytes: ReadOptions['onBytes'],
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    onBytes?.(chunk.length);
    yield chunk;
  }
}

async function readOnce(
  source: LayerSource,
  blob: Blob,
  { keep, signal, onBytes }: ReadOptions,
): Promise<ReadLayer & Pick<RowSink, 'linked'>> {
  const { descriptor, diffId, name } = source;
  const [algorithm = ''] = diffId.split(':');
  const whole = createHash(algorithm);
  const isStargz = descriptor.annotations?.[ESTARGZ_DIGEST] !== undefined;
  const sink = new RowSink(keep, isStargz ? ESTARGZ_OWN : NONE);
  const reader = new TarReader(sink);
  let uncompressed = 0;
  const stored = counted(blob.stream(signal), onBytes);
  for await (const chunk of decompress(verifying(stored, descriptor, name))) {
    uncompressed += chunk.length;
    whole.update(chunk);
    reader.push(chunk);
  }
  reader.finish();
  const found = `${algorithm}:${whole.digest('hex')}`;
  if (found !== diffId) {
    throw new RechunkError('digest-mismatch', `got diffID ${found}, want ${diffId}`);
  }
  const read = { origin: 'tar', uncompressed, bytesRead: descriptor.size } as const;
  return { diffId, blob: descriptor.digest, ...sink.finish(), ...read };
}

/**
 * Reads one layer. Throws `digest-mismatch` or `size-mismatch` where blob or diffID are not what the image says, and what reading a
 * tar throws.
 */
export function readLayer(source: LayerSource, options: ReadOptions = {}): Promise<ReadLayer> {
  return during(`indexing ${source.name} (${source.descriptor.digest})`, async () => {
    const blob = await source.open();
    const annotations = source.annotations ? await source.annotations() : undefined;
    const told = annotations ? { ...source.descriptor, annotations } : source.descriptor;
    const wantsTable = options.origin === undefined;
    const table =
      wantsTable && (await readTable({ ...source, descriptor: told }, blob, options.keep));
    return table || (await readTar({ ...source, descriptor: told }, blob, options));
  });
}
