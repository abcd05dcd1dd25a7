/**
 * Where in a zstd:chunked blob its table of contents and tar-split section lie: as the annotations of the layer's descriptor say,
 * which consumers read, and as the footer repeats.
 */
import { RechunkError } from '../errors.ts';
import { type Annotations, type Digest, parseDigest } from '../oci.ts';

/** A section of the blob: compressed bytes from `offset` on, and their size when decompressed. */
export interface Section {
  readonly offset: number;
  readonly compressedSize: number;
  readonly size: number;
}

/** Both sections, and the digest of the compressed table of contents. */
export interface Sections {
  readonly toc: Section;
  readonly tocDigest: Digest;
  readonly tarSplit: Section;
}

/** The annotations' keys (c/storage 1.57 `pkg/chunked/internal/minimal/compression.go`). */
export const CHUNKED_ANNOTATION = {
  tocDigest: 'io.github.containers.zstd-chunked.manifest-checksum',
  tocPosition: 'io.github.containers.zstd-chunked.manifest-position',
  tarSplitPosition: 'io.github.containers.zstd-chunked.tarsplit-position',
} as const;

/**
 * Annotations that say where in a blob a table of contents lies, by the beginnings of their keys: true of one blob only, and what
 * consumers make of the layer rests on them. c/storage before 1.44 had another name, and fails where there is one of eStargz too.
 */
const INDEX_ANNOTATIONS: readonly string[] = [
  'io.github.containers.zstd-chunked.',
  'io.containers.zstd-chunked.',
  'containerd.io/snapshot/stargz/',
  'io.containers.estargz.',
];

/** `annotations` of a layer without those that say where its table of contents lies. */
export function withoutIndex(annotations: Annotations): Annotations {
  const kept = Object.entries(annotations).filter(
    ([key]) => !INDEX_ANNOTATIONS.some((start) => key.startsWith(start)),
  );
  return Object.fromEntries(kept);
}

/** The kind of table of contents. */
const TYPE = 1;
const MAGIC = 'GNUlInUx';
const FOOTER_SIZE = 64;
const SKIPPABLE_MAGIC = 0x184d2a50;
const SKIPPABLE_HEADER_SIZE = 8;

/** What stands before a section: the header of a zstd frame that decompressors skip, for `size` bytes. */
export function skippableHeader(size: number): Buffer {
  const header = Buffer.alloc(SKIPPABLE_HEADER_SIZE);
  header.writeUInt32LE(SKIPPABLE_MAGIC, 0);
  header.writeUInt32LE(size, 4);
  return header;
}

/** The footer with its header, the blob's last bytes. */
export function encodeFooter({ toc, tarSplit }: Sections): Buffer {
  const footer = Buffer.alloc(FOOTER_SIZE);
  const numbers = [
    ...[toc.offset, toc.compressedSize, toc.size, TYPE],
    ...[tarSplit.offset, tarSplit.compressedSize, tarSplit.size],
  ];
  numbers.forEach((number, i) => {
    footer.writeBigUInt64LE(BigInt(number), 8 * i);
  });
  footer.write(MAGIC, FOOTER_SIZE - MAGIC.length, 'latin1');
  return Buffer.concat([skippableHeader(FOOTER_SIZE), footer]);
}

/** Bytes of the footer with its header. */
export const WHOLE_FOOTER_SIZE: number = SKIPPABLE_HEADER_SIZE + FOOTER_SIZE;

/** Whether the last bytes of a blob say of its table of contents what `sections` does; older footers have no tar-split. */
export function isFooterOf(bytes: Buffer, { toc }: Sections): boolean {
  const footer = bytes.subarray(-FOOTER_SIZE);
  const numbers = [toc.offset, toc.compressedSize, toc.size, TYPE];
  const isSame = numbers.every((number, i) => footer.readBigUInt64LE(8 * i) === BigInt(number));
  return isSame && footer.toString('latin1', FOOTER_SIZE - MAGIC.length) === MAGIC;
}

function position({ offset, compressedSize, size }: Section): string {
  return `${offset}:${compressedSize}:${size}`;
}

/** What the layer's descriptor has to say for the blob to be pulled in part. */
export function chunkedAnnotations({ toc, tocDigest, tarSplit }: Sections): Annotations {
  return {
    [CHUNKED_ANNOTATION.tocDigest]: tocDigest,
    [CHUNKED_ANNOTATION.tocPosition]: `${position(toc)}:${TYPE}`,
    [CHUNKED_ANNOTATION.tarSplitPosition]: position(tarSplit),
  };
}

function refuse(found: string): never {
  throw new RechunkError('manifest', `reading the annotations of a zstd:chunked layer: ${found}`);
}

function parsePosition(annotations: Annotations, key: string, numbers: number): number[] {
  const text = annotations[key] ?? refuse(`${key} is missing`);
  const parts = text.split(':');
  const values = parts.map((part) => (/^\d{1,16}$/.test(part) ? Number(part) : Number.NaN));
  if (values.length === numbers && values.every(Number.isSafeInteger)) return values;
  return refuse(`got "${text.slice(0, 100)}" as ${key}, want ${numbers} numbers`);
}

/**
 * What the annotations of a layer of `blobSize` bytes say; undefined where they name no table of contents. Throws `manifest` for
 * annotations that are damaged or lead out of the blob.
 */
export function parseChunkedAnnotations(
  annotations: Annotations,
  blobSize: number,
): Sections | undefined {
  const digest = annotations[CHUNKED_ANNOTATION.tocDigest];
  if (digest === undefined) return undefined;
  const [type, ...toc] = parsePosition(annotations, CHUNKED_ANNOTATION.tocPosition, 4).reverse();
  if (type !== TYPE) refuse(`got a table of contents of type ${type}, want ${TYPE}`);
  const tarSplit = parsePosition(annotations, CHUNKED_ANNOTATION.tarSplitPosition, 3);
  const section = ([offset = 0, compressedSize = 0, size = 0]: readonly number[]): Section => {
    if (offset + compressedSize <= blobSize) return { offset, compressedSize, size };
    return refuse(`byte ${offset + compressedSize} is beyond the blob's ${blobSize}`);
  };
  return {
    toc: section(toc.reverse()),
    tocDigest: parseDigest(digest),
    tarSplit: section(tarSplit),
  };
}
