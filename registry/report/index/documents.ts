/**
 * Documents of a layer that is known by its table of contents: the stretches of the blob that hold them are read, and no more. What is
 * found is checked against the table's digests; a document that is not what they say is not kept.
 */
import { hash } from 'node:crypto';
import { decompress } from '../../blob.ts';
import type { EstargzEntry } from '../../chunked/toc.ts';
import { RechunkError } from '../../errors.ts';
import type { ByteRange } from '../../image.ts';
import { parsePath } from '../../path.ts';
import { digestBytes } from './ids.ts';
import { DOCUMENTS_LIMIT, type Document, isKept, type KeepRule, type Kept } from './kept.ts';

/** A document, and where it lies. */
interface Place extends ByteRange {
  /** sha256, 32 bytes. */
  readonly digest: Buffer;
  /** Bytes of its content, and before it in what the stretch decompresses to. */
  readonly contentSize: number;
  readonly skipped: number;
}

/** Stretches that are nearer to each other than this are read at once, bytes: a request takes as long. */
const GAP_BYTES: number = 64 << 10;

/** Documents of a layer, and the stretches in which they lie, in the blob's order. */
export interface DocumentPlan {
  readonly places: readonly Place[];
  readonly stretches: readonly ByteRange[];
  /** Bytes of all stretches. */
  readonly size: number;
}

/** Most bytes before a document in its stretch, and of a stretch beyond the document: eStargz puts small files together. */
const BESIDE_LIMIT: number = 64 << 20;

/** Bytes before all documents of a layer in their stretches: decompressed for nothing. */
const SKIPPED_LIMIT: number = 8 * 2 ** 30;

/** Paths of a table are UTF-8. */
const pathOf = (name: string): ReturnType<typeof parsePath> =>
  parsePath(Buffer.from(name, 'utf8').toString('latin1'));

/** Finds the documents among a table's entries; content ends at `end` of the blob. */
export function planDocuments(
  entries: readonly EstargzEntry[],
  end: number,
  keep: KeepRule,
): DocumentPlan {
  const offsets = entries.flatMap(({ offset }) => offset ?? []).sort((a, b) => a - b);
  const linked = linkedDocuments(entries, keep);
  const known = new Set<string>();
  let left = DOCUMENTS_LIMIT;
  let skippable = SKIPPED_LIMIT;
  const places = entries.flatMap((entry, i): Place[] => {
    const { type, name, offset, digest, size = 0, innerOffset = 0 } = entry;
    if (type !== 'reg' || size === 0 || offset === undefined || !digest) return [];
    if (!linked.has(name) && !isKept(keep, pathOf(name), size)) return [];
    const last = lastOffset(entries, i) ?? offset;
    const stop = entry.endOffset ?? firstAfter(offsets, last) ?? end;
    if (stop <= offset || stop > end) return [];
    const range = { offset, size: stop - offset };
    const isBounded = innerOffset <= BESIDE_LIMIT && range.size <= size + BESIDE_LIMIT;
    if (!isBounded || size > left || innerOffset > skippable || known.has(digest)) return [];
    known.add(digest);
    left -= size;
    skippable -= innerOffset;
    return [{ ...range, digest: digestBytes(digest), contentSize: size, skipped: innerOffset }];
  });
  places.sort((a, b) => a.offset - b.offset);
  const stretches = joined(places);
  return { places, stretches, size: stretches.reduce((sum, { size }) => sum + size, 0) };
}

/** Names of files that hard links make documents. */
function linkedDocuments(entries: readonly EstargzEntry[], keep: KeepRule): ReadonlySet<string> {
  const links = entries.filter(
    ({ type, name }) => type === 'hardlink' && keep.isDocument(pathOf(name)),
  );
  return new Set(links.flatMap(({ linkName }) => linkName ?? []));
}

/** The first of ascending `offsets` that is greater than `offset`. */
function firstAfter(offsets: readonly number[], offset: number): number | undefined {
  let [low, high] = [0, offsets.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((offsets[middle] as number) > offset) high = middle;
    else low = middle + 1;
  }
  return offsets[low];
}

/** Where the last chunk of the file at `i` begins. */
function lastOffset(entries: readonly EstargzEntry[], i: number): number | undefined {
  let last = entries[i]?.offset;
  for (let at = i + 1; entries[at]?.type === 'chunk'; at++) last = entries[at]?.offset ?? last;
  return last;
}

/** The stretches of `places`, near ones as one. */
function joined(places: readonly Place[]): ByteRange[] {
  const stretches: { offset: number; size: number }[] = [];
  for (const { offset, size } of places) {
    const last = stretches.at(-1);
    const isNear = last && offset - (last.offset + last.size) < GAP_BYTES;
    if (isNear && last.size < BESIDE_LIMIT)
      last.size = Math.max(last.size, offset + size - last.offset);
    else stretches.push({ offset, size });
  }
  return stretches;
}

/** Reads the documents of a plan; `read` gives a stretch, or undefined where it cannot be had. */
export async function readDocuments(
  { places, stretches }: DocumentPlan,
  read: (range: ByteRange) => Promise<Buffer | undefined>,
): Promise<Kept> {
  const documents: Document[] = [];
  let next = 0;
  for (const stretch of stretches) {
    const bytes = await read(stretch);
    for (; next < places.length; next++) {
      const place = places[next] as Place;
      if (place.offset >= stretch.offset + stretch.size) break;
      const from = place.offset - stretch.offset;
      const content = bytes && (await contentOf(bytes.subarray(from, from + place.size), place));
      if (content) documents.push({ digest: place.digest, content });
    }
  }
  return { extent: 'documents', documents, digests: [] };
}

/** The content of one document; undefined where it is not what the table says. */
async function contentOf(
  bytes: Buffer,
  { digest, contentSize, skipped }: Place,
): Promise<Buffer | undefined> {
  const content = Buffer.alloc(contentSize);
  const end = skipped + contentSize;
  let at = 0;
  const input = (async function* () {
    yield bytes;
  })();
  try {
    for await (const part of decompress(input)) {
      const own = part.subarray(Math.max(0, skipped - at), Math.max(0, end - at));
      content.set(own, Math.max(0, at - skipped));
      at += part.length;
      if (at >= end) break;
    }
  } catch (error) {
    if (error instanceof RechunkError) return undefined;
    throw error;
  }
  if (at < end) return undefined;
  return hash('sha256', content, 'buffer').equals(digest) ? content : undefined;
}
