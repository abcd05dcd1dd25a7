/**
 * A layer's files by its table of contents, and its documents, alone: of zstd:chunked layers, and of eStargz. Only tables whose digest the manifest names
 * are read; what they say of the tar is the word of whoever made the image, as it is for clients that pull in part.
 *
 * Formats: `chunked/toc.ts`; stargz-snapshotter v0.16 docs/estargz.md.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { decompress } from '../../blob.ts';
import { isFooterOf, parseChunkedAnnotations, WHOLE_FOOTER_SIZE } from '../../chunked/footer.ts';
import {
  type EstargzEntry,
  parseEstargz,
  parseToc,
  parseTocTime,
  TOC_LIMIT,
  type TocEntry,
} from '../../chunked/toc.ts';
import { RechunkError } from '../../errors.ts';
import type { Blob, ByteRange } from '../../image.ts';
import type { Digest } from '../../oci.ts';
import { type Path, parsePath } from '../../path.ts';
import { NO_XATTRS, type Xattrs } from '../../tar.ts';
import { TarReader } from '../../tarreader.ts';
import { planDocuments, readDocuments } from './documents.ts';
import { digestBytes } from './ids.ts';
import type { KeepRule } from './kept.ts';
import type { LayerSource, ReadLayer } from './read.ts';
import { checkRow, LayerRows, type RowEntry, splitTime } from './rows.ts';

/** The annotation of a layer by which it is eStargz: the digest of its table. */
export const ESTARGZ_DIGEST = 'containerd.io/snapshot/stargz/toc.digest';
/** Footer of an eStargz blob: an empty gzip member whose extra field says where the table lies. */
const ESTARGZ_FOOTER_SIZE = 51;
const ESTARGZ_FOOTER = /SG\x16\x00([0-9a-f]{16})STARGZ/;
const ESTARGZ_TABLE = 'stargz.index.json';
/** Entries of eStargz that are no files of the image. */
export const ESTARGZ_OWN: ReadonlySet<string> = new Set([
  ...['.prefetch.landmark', '.no.prefetch.landmark', ESTARGZ_TABLE],
]);
const MODE_BITS = 0o7777;

/** The bytes of a stretch; undefined where only the whole blob can be had. */
export async function readPart(
  blob: Blob,
  { offset, size }: ByteRange,
): Promise<Buffer | undefined> {
  if (!blob.file) return blob.part?.({ offset, size });
  const handle = await open(blob.file.path, 'r');
  try {
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await handle.read(bytes, 0, size, blob.file.offset + offset);
    return bytesRead === size ? bytes : undefined;
  } finally {
    await handle.close();
  }
}

async function unpacked(bytes: Buffer): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  const input = (async function* () {
    yield bytes;
  })();
  for await (const part of decompress(input)) {
    size += part.length;
    if (size > TOC_LIMIT) return undefined;
    parts.push(Buffer.from(part));
  }
  return Buffer.concat(parts);
}

function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A table, checked against the digest that the manifest names, and how many bytes were read for it. */
interface Table {
  readonly entries: readonly EstargzEntry[];
  readonly bytesRead: number;
  /** Where in the blob the files' content ends. */
  readonly end: number;
}

async function chunkedTable({ descriptor }: LayerSource, blob: Blob): Promise<Table | undefined> {
  const sections = parseChunkedAnnotations(descriptor.annotations ?? {}, descriptor.size);
  if (!sections || sections.toc.compressedSize > TOC_LIMIT) return undefined;
  const { offset, compressedSize } = sections.toc;
  const bytes = await readPart(blob, { offset, size: compressedSize });
  if (!bytes || sha256(bytes) !== sections.tocDigest) return undefined;
  const footer = await readPart(blob, {
    offset: descriptor.size - WHOLE_FOOTER_SIZE,
    size: WHOLE_FOOTER_SIZE,
  });
  // Annotations are anybody's; what the blob itself calls its table is one thing for all who name the blob.
  if (!footer || !isFooterOf(footer, sections)) return undefined;
  const json = await unpacked(bytes);
  const bytesRead = compressedSize + WHOLE_FOOTER_SIZE;
  return json && { entries: parseToc(json).entries, bytesRead, end: offset };
}

async function estargzTable({ descriptor }: LayerSource, blob: Blob): Promise<Table | undefined> {
  const wanted = descriptor.annotations?.[ESTARGZ_DIGEST];
  const { size } = descriptor;
  if (wanted === undefined || size < ESTARGZ_FOOTER_SIZE) return undefined;
  const footer = await readPart(blob, {
    offset: size - ESTARGZ_FOOTER_SIZE,
    size: ESTARGZ_FOOTER_SIZE,
  });
  const hex = ESTARGZ_FOOTER.exec(footer?.toString('latin1') ?? '')?.[1];
  if (hex === undefined) return undefined;
  const offset = Number.parseInt(hex, 16);
  const length = size - ESTARGZ_FOOTER_SIZE - offset;
  if (length <= 0 || length > TOC_LIMIT) return undefined;
  const bytes = await readPart(blob, { offset, size: length });
  const tar = bytes && (await unpacked(bytes));
  const json = tar && contentOf(tar, ESTARGZ_TABLE);
  if (!json || sha256(json) !== wanted) return undefined;
  const entries = parseEstargz(json).filter(({ name }) => !ESTARGZ_OWN.has(name));
  return { entries, bytesRead: length + ESTARGZ_FOOTER_SIZE, end: offset };
}

function contentOf(tar: Buffer, name: string): Buffer | undefined {
  const parts: Buffer[] = [];
  let inside = false;
  const reader = new TarReader({
    entry: ({ path }) => {
      inside = path === name;
    },
    data: (chunk) => {
      if (inside) parts.push(Buffer.from(chunk));
    },
  });
  reader.push(tar);
  reader.finish();
  return parts.length > 0 ? Buffer.concat(parts) : undefined;
}

const TYPES: Readonly<Record<string, RowEntry['type']>> = {
  ...{ reg: 'file', hardlink: 'link', symlink: 'symlink', dir: 'dir' },
  ...{ char: 'char', block: 'block', fifo: 'fifo' },
};

function latin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

function xattrsOf({ xattrs }: TocEntry): Xattrs {
  const found = Object.entries(xattrs ?? {});
  if (found.length === 0) return NO_XATTRS;
  return new Map(found.map(([name, value]) => [latin1(name), Buffer.from(value, 'base64')]));
}

function rowOf(entry: TocEntry): RowEntry | undefined {
  const type = TYPES[entry.type];
  if (!type) return undefined;
  const link = latin1(entry.linkName ?? '');
  return checkRow({
    type,
    path: entry.name.replace(/[./]/g, '') === '' ? ('' as Path) : parsePath(latin1(entry.name)),
    mode: (entry.mode ?? 0) & MODE_BITS,
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    ...splitTime(parseTocTime(entry.modtime ?? '') ?? 0n),
    size: entry.size ?? 0,
    link: type === 'link' ? parsePath(link) : link,
    devMajor: entry.devMajor ?? 0,
    devMinor: entry.devMinor ?? 0,
    xattrs: xattrsOf(entry),
  });
}

/** Most bytes that one of a blob stands for: zstd's blocks of one byte, repeated (RFC 8878, 3.1.1.2.3), are 4 bytes for 128 KiB. */
const MOST_EXPANDED: number = (128 << 10) / 4;

const EMPTY: Digest = sha256(Buffer.alloc(0));

/** The rows of a table; undefined where it does not say all, or more than `most` bytes of content. */
function rowsOf(entries: readonly TocEntry[], most: number): LayerRows | undefined {
  const rows = new LayerRows();
  let bytes = 0;
  for (const entry of entries) {
    const row = rowOf(entry);
    if (!row) continue;
    bytes += row.size;
    if (bytes > most) return undefined;
    if (row.type !== 'file') {
      rows.add(row);
      continue;
    }
    const digest = entry.digest ?? (row.size === 0 ? EMPTY : undefined);
    if (digest === undefined) return undefined;
    rows.add(row, digestBytes(digest));
  }
  rows.finish();
  return rows;
}

/**
 * The layer by its table of contents; undefined where it has none that the manifest vouches for, where the blob cannot be read in
 * part, or where the table does not say all: then the layer is to be read whole.
 */
export async function readTable(
  source: LayerSource,
  blob: Blob,
  keep?: KeepRule,
): Promise<ReadLayer | undefined> {
  try {
    const table = (await chunkedTable(source, blob)) ?? (await estargzTable(source, blob));
    const rows = table && rowsOf(table.entries, source.descriptor.size * MOST_EXPANDED);
    if (!rows) return undefined;
    const plan = keep && planDocuments(table.entries, table.end, keep);
    const kept = plan && (await readDocuments(plan, (range) => readPart(blob, range)));
    const bytesRead = table.bytesRead + (plan?.size ?? 0);
    const { diffId, descriptor } = source;
    return { diffId, blob: descriptor.digest, rows, origin: 'toc', bytesRead, kept };
  } catch (error) {
    // A damaged table says nothing of the layer, which is then read whole; what cannot be fetched is the caller's.
    const isDamaged =
      error instanceof RechunkError &&
      !['network', 'registry', 'auth', 'io', 'interrupted'].includes(error.code);
    if (isDamaged) return undefined;
    throw error;
  }
}
