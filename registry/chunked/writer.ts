/**
 * Writes a layer as a zstd:chunked blob: a tar, compressed in frames that begin and end where the files' chunks do, and after it
 * what consumers need to fetch only some of them. Whoever does not know of that reads an ordinary zstd layer.
 *
 * Format 2, frozen like that of `compress.ts`, whose frames it has: one ends where content begins or ends, at each end of a chunk (`chunker.ts`), and
 * after 8 MiB. From the first obstacle on only after 8 MiB, and nothing follows the tar. Frames of up to 1 KiB that are no content, and of
 * up to 64 bytes, are made by `runs.ts`. The tar-split section is cut into frames after each line that fills 1 MiB, the
 * table of contents after 8 MiB. Format 1 had frames that were fed through a buffer.
 */
import { createHash, hash as digestAtOnce, type Hash } from 'node:crypto';
import type { Compressor, CompressorOptions } from '../compress.ts';
import { type Annotations, type Digest, digestOf } from '../oci.ts';
import { BodyCutter } from './body.ts';
import { type Chunk, chunksOf } from './chunker.ts';
import { Crc64, crc64 } from './crc64.ts';
import { LayerCutter } from './cutter.ts';
import { chunkedAnnotations, encodeFooter, type Section, skippableHeader } from './footer.ts';
import { FrameBuilder, FrameQueue } from './frames.ts';
import type { LayerHeader } from './header.ts';
import type { Obstacle } from './rules.ts';
import { RUNS_LIMIT } from './runs.ts';
import { TarSplitWriter } from './tarsplit.ts';
import { type StoredChunk, type StoredFile, TOC_LIMIT, tocEntries, tocFrame } from './toc.ts';

/** Number of the rules above. */
export const CHUNKED_FORMAT = 2;

/** Text that is gathered, and that is in one frame of the tar-split section; bytes, but for the line that fills it. */
const TEXT_SIZE: number = 1 << 20;

/** What became of a layer: annotations for its descriptor, or why there must be none. */
export type ChunkedResult = { readonly annotations: Annotations } | { readonly obstacle: Obstacle };

/** A {@link Compressor} that can say what the layer's descriptor needs. */
export interface ChunkedCompressor extends Compressor {
  /** To be called after `finish`. */
  result(): ChunkedResult;
}

/** A section that is compressed as its text comes, in memory. */
class SectionBuilder {
  readonly #blob: Buffer[] = [];
  readonly #queue: FrameQueue;
  readonly #frames: FrameBuilder;
  readonly #cut: 'lines' | 'bytes';
  #size = 0;
  #texts: string[] = [];
  #waiting = 0;

  /** Frames end after a text that fills {@link TEXT_SIZE}, or like all others. */
  constructor(cut: 'lines' | 'bytes', level: number | undefined, inFlight: number) {
    this.#cut = cut;
    this.#queue = new FrameQueue(level, {
      inFlight,
      write: (frame) => {
        this.#blob.push(Buffer.from(frame));
      },
    });
    this.#frames = new FrameBuilder(this.#queue);
  }

  add(text: string): void {
    this.#texts.push(text);
    this.#waiting += Buffer.byteLength(text);
    if (this.#waiting < TEXT_SIZE) return;
    this.#pass();
    if (this.#cut === 'lines') this.#frames.end();
  }

  #pass(): void {
    this.#frames.append(Buffer.from(this.#texts.join('')));
    this.#size += this.#waiting;
    this.#texts = [];
    this.#waiting = 0;
  }

  room(): void | Promise<void> {
    return this.#queue.room();
  }

  /** Bytes of the text so far. */
  get size(): number {
    return this.#size + this.#waiting;
  }

  async finish(): Promise<{ readonly bytes: Buffer; readonly size: number }> {
    this.#pass();
    this.#frames.end();
    await this.#queue.drain();
    return { bytes: Buffer.concat(this.#blob), size: this.#size };
  }
}

/** 52 bits of a digest: two that differ are the same once in some 200,000 layers of 200,000 files, which then get no annotations. */
function keyOf(digest: Digest): number {
  return Number.parseInt(digest.slice(DIGEST_START, DIGEST_START + KEY_DIGITS), 16);
}

const DIGEST_START: number = 'sha256:'.length;
const KEY_DIGITS = 13;

/** The table of contents as it grows; entries are added when the places of their chunks are known. */
class TocBuilder {
  readonly #section: SectionBuilder;
  #separator = '';
  /** Of files, and of the first of several chunks. */
  readonly #files = new Set<number>();
  readonly #firstChunks = new Set<number>();

  constructor(level: number | undefined, inFlight: number) {
    this.#section = new SectionBuilder('bytes', level, inFlight);
    this.#section.add(tocFrame(NO_DIGEST)[0]);
  }

  add(header: LayerHeader, stored?: StoredFile): void {
    if (this.#isTooLarge) return;
    const [first, ...more] = stored?.chunks ?? [];
    if (stored) this.#files.add(keyOf(stored.digest));
    if (first && more.length > 0) this.#firstChunks.add(keyOf(first.digest));
    for (const entry of tocEntries(header, stored)) {
      this.#section.add(this.#separator + JSON.stringify(entry));
      this.#separator = ',';
    }
  }

  room(): void | Promise<void> {
    return this.#section.room();
  }

  get #isTooLarge(): boolean {
    return this.#section.size + tocFrame(NO_DIGEST)[1].length > TOC_LIMIT;
  }

  /**
   * Why consumers would fail on it. podman 5.4 looks for files by digest among chunks too: whoever has the layer and meets the
   * small file again copies the large one (c/storage `findFileInOtherLayers`).
   */
  get obstacle(): Obstacle | undefined {
    if (this.#isTooLarge)
      return { kind: 'index', text: `its table of contents is larger than ${TOC_LIMIT} bytes` };
    for (const key of this.#firstChunks) {
      if (!this.#files.has(key)) continue;
      const digest = `sha256:${key.toString(16).padStart(KEY_DIGITS, '0')}…`;
      return { kind: 'chunk', text: `a file is the first chunk of another one (${digest})` };
    }
    return undefined;
  }

  finish(tarSplitDigest: Digest): Promise<{ readonly bytes: Buffer; readonly size: number }> {
    this.#section.add(tocFrame(tarSplitDigest)[1]);
    return this.#section.finish();
  }
}

/** As long as every digest. */
const NO_DIGEST: Digest = digestOf('');

/** A chunk whose place and digest are told later. */
type OpenChunk = { -readonly [Key in keyof StoredChunk]: StoredChunk[Key] };

/** The content of a file that passes in pieces. */
interface OpenFile {
  readonly hash: Hash;
  readonly crc: Crc64;
  readonly body: BodyCutter;
  readonly chunks: OpenChunk[];
  /** Of the chunk at hand, unless it is the first, whose digest is that of the file so far. */
  chunkHash: Hash | undefined;
  isWithinChunk: boolean;
}

/** A file whose content passed: its CRC-64, and what the table of contents says of it. */
interface TakenFile {
  readonly crc: Buffer;
  readonly digest: Digest;
  readonly chunks: readonly StoredChunk[];
}

function sha256(hash: Hash): Digest {
  return `sha256:${hash.digest('hex')}`;
}

/** Without the object that a digest of pieces needs, which costs more than a small file's. */
function sha256Of(bytes: Uint8Array): Digest {
  return `sha256:${digestAtOnce('sha256', bytes)}`;
}

class ChunkedWriter implements ChunkedCompressor {
  readonly #queue: FrameQueue;
  readonly #frames: FrameBuilder;
  readonly #cutter: LayerCutter;
  #toc: TocBuilder | undefined;
  #tarSplit: TarSplitWriter | undefined;
  #tarSplitSection: SectionBuilder | undefined;
  /** Of the file whose content passes; either it comes in pieces, or it was taken at once. */
  #header: LayerHeader | undefined;
  #file: OpenFile | undefined;
  #taken: TakenFile | undefined;
  #isEmpty = true;
  #result: ChunkedResult | undefined;

  constructor(level: number | undefined, options: CompressorOptions) {
    this.#queue = new FrameQueue(level, options);
    this.#frames = new FrameBuilder(this.#queue);
    this.#toc = new TocBuilder(level, options.inFlight);
    const section = new SectionBuilder('lines', level, options.inFlight);
    this.#tarSplitSection = section;
    this.#tarSplit = new TarSplitWriter((line) => section.add(line));
    this.#cutter = new LayerCutter({
      literal: (bytes) => this.#literal(bytes),
      entry: (header) => this.#entry(header),
      content: (bytes) => this.#content(bytes),
      end: () => this.#endFile(),
      tail: () => this.#tarSplit?.tail(),
      obstacle: (why) => this.#stop(why),
    });
  }

  push(bytes: Uint8Array): void | Promise<void> {
    if (bytes.length > 0) this.#isEmpty = false;
    this.#cutter.push(bytes);
    const waits = [this.#tarSplitSection?.room(), this.#toc?.room(), this.#queue.room()];
    return waits.some(Boolean) ? Promise.all(waits).then(() => {}) : undefined;
  }

  async finish(): Promise<void> {
    this.#cutter.finish();
    this.#frames.end(RUNS_LIMIT);
    if (this.#isEmpty) this.#queue.add(Buffer.alloc(0));
    const size = await this.#queue.drain();
    if (!this.#result) await this.#writeSections(size);
    await this.#queue.drain();
  }

  result(): ChunkedResult {
    if (!this.#result) throw new Error('the layer is not finished');
    return this.#result;
  }

  /** The layer cannot be pulled in part: nothing more is remembered of it. */
  #stop(obstacle: Obstacle): void {
    this.#result = { obstacle };
    this.#toc = undefined;
    this.#tarSplit = undefined;
    this.#tarSplitSection = undefined;
  }

  #literal(bytes: Uint8Array): void {
    this.#frames.append(bytes);
    this.#tarSplit?.literal(bytes);
  }

  #entry(header: LayerHeader): void {
    if (header.size > 0) {
      this.#startFile(header);
      return;
    }
    this.#tarSplit?.file(header, undefined);
    this.#queue.mark(() => this.#toc?.add(header));
  }

  #startFile(header: LayerHeader): void {
    this.#frames.end(RUNS_LIMIT);
    this.#header = header;
    this.#file = undefined;
    this.#taken = undefined;
  }

  #content(bytes: Uint8Array): void {
    const header = this.#header as LayerHeader;
    if (!this.#file && bytes.length === header.size) {
      this.#taken = this.#takeWhole(bytes);
      return;
    }
    this.#file ??= this.#open();
    this.#file.crc.update(bytes);
    this.#file.body.push(bytes);
  }

  /** Takes the content of a file that is there at once, as most are. */
  #takeWhole(bytes: Uint8Array): TakenFile {
    const digest = sha256Of(bytes);
    const cuts = chunksOf(bytes);
    const chunks = cuts.map(({ offset: chunkOffset, size, type }) => {
      const part = bytes.subarray(chunkOffset, chunkOffset + size);
      const own = cuts.length === 1 ? digest : sha256Of(part);
      const chunk: OpenChunk = { offset: 0, chunkOffset, size, type, digest: own };
      this.#queue.mark((offset) => {
        chunk.offset = offset;
      });
      this.#frames.whole(part);
      return chunk;
    });
    return { crc: crc64(bytes), digest, chunks };
  }

  #open(): OpenFile {
    const body = new BodyCutter({
      data: (bytes) => this.#data(bytes),
      end: (chunk) => this.#endChunk(chunk),
    });
    const sums = { hash: createHash('sha256'), crc: new Crc64(), chunkHash: undefined };
    return { body, ...sums, chunks: [], isWithinChunk: false };
  }

  #data(bytes: Uint8Array): void {
    const file = this.#file as OpenFile;
    if (!file.isWithinChunk) this.#startChunk(file);
    file.hash.update(bytes);
    file.chunkHash?.update(bytes);
    this.#frames.append(bytes);
  }

  #startChunk(file: OpenFile): void {
    file.isWithinChunk = true;
    if (file.chunks.length > 0) file.chunkHash = createHash('sha256');
    const digest: Digest = 'sha256:';
    const chunk: OpenChunk = { offset: 0, chunkOffset: 0, size: 0, type: 'data', digest };
    file.chunks.push(chunk);
    this.#queue.mark((offset) => {
      chunk.offset = offset;
    });
  }

  #endChunk({ offset, size, type }: Chunk): void {
    const file = this.#file as OpenFile;
    const header = this.#header as LayerHeader;
    file.isWithinChunk = false;
    this.#frames.end();
    const chunk = file.chunks.at(-1) as OpenChunk;
    Object.assign(chunk, { chunkOffset: offset, size, type });
    // An only chunk is told by the file's digest.
    if (size < header.size) chunk.digest = sha256(file.chunkHash ?? file.hash.copy());
  }

  #endFile(): void {
    const header = this.#header as LayerHeader;
    const { crc, digest, chunks } = this.#taken ?? this.#finishFile(this.#file as OpenFile);
    this.#tarSplit?.file(header, crc);
    this.#queue.mark((endOffset) => this.#toc?.add(header, { digest, endOffset, chunks }));
  }

  #finishFile({ hash, crc, body, chunks }: OpenFile): TakenFile {
    body.finish();
    return { crc: crc.digest(), digest: sha256(hash), chunks };
  }

  /** Writes what follows the tar, which ended at byte `end`. */
  async #writeSections(end: number): Promise<void> {
    this.#tarSplit?.finish();
    const tarSplit = await this.#tarSplitSection?.finish();
    const obstacle = this.#toc?.obstacle;
    if (!tarSplit || !this.#toc || obstacle) {
      this.#stop(obstacle ?? { kind: 'archive', text: 'it is not finished' });
      return;
    }
    const toc = await this.#toc.finish(digestOf(tarSplit.bytes));
    let at = end;
    const put = ({ bytes, size }: { readonly bytes: Buffer; readonly size: number }): Section => {
      const header = skippableHeader(bytes.length);
      this.#queue.addRaw(header);
      this.#queue.addRaw(bytes);
      const offset = at + header.length;
      at = offset + bytes.length;
      return { offset, compressedSize: bytes.length, size };
    };
    const tocDigest = digestOf(toc.bytes);
    const sections = { toc: put(toc), tocDigest, tarSplit: put(tarSplit) };
    this.#queue.addRaw(encodeFooter(sections));
    this.#result = { annotations: chunkedAnnotations(sections) };
  }
}

/**
 * A compressor of layers as zstd:chunked. What it takes is a tar; any other bytes come out as plain zstd, and the result says why.
 * The same input gives the same bytes for any `inFlight` and any chunking. Memory is twice 8 MiB for each in flight, and both
 * sections, compressed. `level` is zstd's, 3 by default.
 */
export function createChunkedCompressor(
  level: number | undefined,
  options: CompressorOptions,
): ChunkedCompressor {
  return new ChunkedWriter(level, options);
}
