/**
 * Reads tar as it streams by, in chunks of any size: headers become entries, content goes on without a copy.
 *
 * Everything that Docker, podman, BuildKit, kaniko, GNU tar, bsdtar, star, Python and v7 write is read; what cannot be
 * kept is refused, never dropped. The reader takes turns between gathering whole blocks (headers, extensions, sparse
 * maps), handing on content, and skipping padding. Memory is bounded by EXTENSION_LIMIT, whatever the archive claims.
 */
import { describe, type ErrorCode, RechunkError } from './errors.ts';
import { showPath } from './path.ts';
import {
  extentsOf,
  GnuSparseMap,
  PaxSparseMap,
  parseSparseForm,
  type SparseForm,
  type SparseMap,
} from './sparse.ts';
import { BLOCK_SIZE, type Extent, FIELD, paddingOf, type TarEntry } from './tar.ts';
import { parseEntry, rawNameOf } from './tarentry.ts';
import { type ExtensionFlag, isExtension, TarExtensions } from './tarextensions.ts';
import { isChecksumRight, parseNumber, sumBlock } from './tarheader.ts';

/** Where a {@link TarReader} puts what it reads. What a callback throws comes out of `push` as it is. */
export interface TarSink {
  /** Called for each entry, in the archive's order. */
  entry(entry: TarEntry): void;
  /** The content of the last entry, a file, holes as zeros; the chunk is the caller's memory: use it before returning. */
  data(chunk: Uint8Array): void;
  /** Called when the content of a file, even an empty one, is complete. */
  end?(): void;
}

/** Bounds on what an archive may ask of the reader. */
export interface TarLimits {
  /** Most entries; default {@link ENTRY_LIMIT}. */
  readonly entries?: number;
  /** Most bytes of holes in sparse files, all together; default {@link HOLE_LIMIT}. */
  readonly holes?: number;
}

/** Most entries that are read: some ten times the largest image known. */
export const ENTRY_LIMIT = 10_000_000;
/** Most bytes of holes that are expanded: a small archive can claim 2^53, and hashing 64 GiB takes a minute. */
export const HOLE_LIMIT: number = 64 * 2 ** 30;
/** Most warnings that are kept. */
const WARNING_LIMIT = 100;
/** Holes are given out in pieces of this many bytes. */
const ZEROS: Buffer = Buffer.alloc(1 << 18);

/** What the reader waits for. */
type State = 'header' | 'extension' | 'map' | 'body' | 'padding' | 'ended';

/** An entry whose sparse map is gathered. */
interface PendingEntry {
  readonly entry: TarEntry;
  readonly map: GnuSparseMap | PaxSparseMap;
  /** Bytes of the expanded file. */
  readonly size: number;
}

/** A streaming reader; after a throw it is spent. Call `push` for each chunk, then `finish` once. */
export class TarReader {
  readonly #sink: TarSink;
  readonly #entryLimit: number;
  readonly #warnings = new Set<string>();

  #state: State = 'header';
  /** Bytes of the stream consumed, so where the next byte stands. */
  #position = 0;
  #entries = 0;
  #holesLeft: number;
  #zeroBlocks = 0;

  /** Bytes that the state wants whole, and those that came so far when they do not lie in one chunk. */
  #want = BLOCK_SIZE;
  #have = 0;
  #scratch: Buffer = Buffer.alloc(BLOCK_SIZE);

  readonly #extensions: TarExtensions = new TarExtensions((warning) => {
    if (this.#warnings.size < WARNING_LIMIT) this.#warnings.add(warning);
  });
  /** The extension that is gathered: its type flag and its size without padding. */
  #flag: ExtensionFlag = 'x';
  #extensionSize = 0;
  /** Where the header, or the first extension, of the current entry stands; its name as the archive writes it. */
  #entryAt = 0;
  #name: string | undefined;
  #pending: PendingEntry | undefined;

  /** Bytes to come before the next hole or the end of the content; or of padding. */
  #left = 0;
  #padding = 0;
  /** Of a sparse file: its data, the next stretch of it, and how far the file was given out. */
  #extents: readonly Extent[] | undefined;
  #extent = 0;
  #fileAt = 0;
  #fileSize = 0;

  constructor(sink: TarSink, limits: TarLimits = {}) {
    this.#sink = sink;
    this.#entryLimit = limits.entries ?? ENTRY_LIMIT;
    this.#holesLeft = limits.holes ?? HOLE_LIMIT;
  }

  /** What was read but is wrong or read differently elsewhere, each a sentence, once. */
  get warnings(): readonly string[] {
    return [...this.#warnings];
  }

  /** Reads the next bytes; throws {@link RechunkError} `tar`, `path`, `limit` or `unsupported`. */
  push(chunk: Uint8Array): void {
    const bytes = Buffer.isBuffer(chunk)
      ? chunk
      : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let at = 0; at < bytes.length; ) {
      if (this.#state === 'body') at = this.#takeBody(bytes, at);
      else if (this.#state === 'padding') at = this.#takePadding(bytes, at);
      else if (this.#state === 'ended') at = this.#takeTrailer(bytes, at);
      else at = this.#gather(bytes, at);
    }
  }

  /** Says that no byte follows; throws `tar` if the archive stops in the midst of an entry. */
  finish(): void {
    if (this.#state === 'ended') return;
    const isHeader = this.#state === 'header' && !this.#extensions.isPending;
    const isBetween = isHeader && this.#have === 0;
    const isUnpadded = this.#state === 'padding' && this.#left === this.#padding;
    if (isHeader) this.#startHeader(this.#position - this.#have);
    if (!isBetween && !isUnpadded) {
      throw this.#error('tar', `the archive ends within it, at byte ${this.#position}`);
    }
    if (this.#zeroBlocks === 0) this.#extensions.warn('the end marker is missing');
    else this.#extensions.warn('the end marker is one block of zeros, want two');
  }

  get #doing(): string {
    const name = this.#name === undefined ? '' : ` "${showPath(this.#name)}"`;
    return `reading the tar entry${name} at byte ${this.#entryAt}`;
  }

  #error(code: ErrorCode, found: string): RechunkError {
    return new RechunkError(code, `${this.#doing}: ${found}`);
  }

  /** Runs `parse`; what it throws then says which entry was read. */
  #locate<T>(parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      throw describe(this.#doing, error);
    }
  }

  /** Takes bytes until the wanted ones are there, in place where the chunk holds them all. */
  #gather(bytes: Buffer, at: number): number {
    const rest = this.#want - this.#have;
    if (this.#have === 0 && bytes.length - at >= rest) {
      this.#position += rest;
      this.#take(bytes, at);
      return at + rest;
    }
    const count = Math.min(rest, bytes.length - at);
    this.#reserve();
    bytes.copy(this.#scratch, this.#have, at, at + count);
    this.#have += count;
    this.#position += count;
    if (this.#have === this.#want) {
      this.#have = 0;
      this.#take(this.#scratch, 0);
    }
    return at + count;
  }

  /** Makes room for the wanted bytes, which EXTENSION_LIMIT bounds. */
  #reserve(): void {
    if (this.#scratch.length < this.#want) this.#scratch = Buffer.alloc(this.#want);
  }

  #await(state: State, want: number): void {
    this.#state = state;
    this.#want = want;
  }

  #take(block: Buffer, at: number): void {
    if (this.#state === 'header') this.#takeHeader(block, at);
    else if (this.#state === 'map') this.#takeMap(block, at);
    else this.#takeExtension(block.subarray(at, at + this.#extensionSize));
  }

  #startHeader(at: number): void {
    if (this.#extensions.isPending) return;
    this.#entryAt = at;
    this.#name = undefined;
  }

  #takeHeader(block: Buffer, at: number): void {
    const start = this.#position - BLOCK_SIZE;
    const sum = sumBlock(block, at);
    this.#startHeader(start);
    if (sum === 0) {
      this.#takeZeroBlock();
      return;
    }
    if (this.#zeroBlocks > 0) throw this.#error('tar', 'a single block of zeros stands before it');
    if (!isChecksumRight(block, at, sum)) {
      throw this.#error('tar', `the checksum of the header at byte ${start} is wrong`);
    }
    const flag = String.fromCharCode(block[at + FIELD.type[0]] as number);
    if (isExtension(flag)) this.#startExtension(flag, block, at);
    else this.#startEntry(flag === 'S', block, at);
  }

  #takeZeroBlock(): void {
    if (this.#extensions.isPending)
      throw this.#error('tar', 'no entry follows its extended header');
    if (++this.#zeroBlocks === 2) this.#state = 'ended';
  }

  #startExtension(flag: ExtensionFlag, block: Buffer, at: number): void {
    const size = this.#locate(() => this.#extensions.start(flag, block, at));
    this.#flag = flag;
    this.#extensionSize = size;
    this.#await('extension', size + paddingOf(size));
    if (size === 0) this.#takeExtension(ZEROS.subarray(0, 0));
  }

  #takeExtension(body: Buffer): void {
    this.#await('header', BLOCK_SIZE);
    this.#locate(() => this.#extensions.take(this.#flag, body));
  }

  #startEntry(isGnuSparse: boolean, block: Buffer, at: number): void {
    if (++this.#entries > this.#entryLimit) {
      throw this.#error('limit', `the archive has more than ${this.#entryLimit} entries`);
    }
    const entry = this.#parse(block, at);
    const fields = this.#extensions.pax?.fields;
    this.#extensions.clear();
    if (entry.type !== 'file') this.#sink.entry(entry);
    else if (isGnuSparse) this.#startGnuMap(entry, block, at);
    else this.#startFile(entry, fields && this.#locate(() => parseSparseForm(fields)));
  }

  #parse(block: Buffer, at: number): TarEntry {
    const rawName = rawNameOf(block, at, this.#extensions);
    this.#name = rawName;
    return this.#locate(() => parseEntry(block, at, rawName, this.#extensions, this.#position));
  }

  #startFile(entry: TarEntry, form: SparseForm | undefined): void {
    if (!form) this.#startContent(entry, entry.size);
    else if (form.map) this.#startSparse(entry, form.map, form.size, entry.size);
    else this.#awaitMap({ entry, map: new PaxSparseMap(), size: form.size });
  }

  #startGnuMap(entry: TarEntry, block: Buffer, at: number): void {
    const map = new GnuSparseMap();
    const [field, length] = FIELD.gnuRealSize;
    const size = this.#locate(() => {
      map.takeHeader(block, at);
      return parseNumber(block, at + field, length, 'the expanded size');
    });
    this.#awaitMap({ entry, map, size });
  }

  /** Awaits blocks of the map, or goes on where it is complete. */
  #awaitMap(pending: PendingEntry): void {
    this.#pending = pending;
    if (pending.map.more) {
      this.#await('map', BLOCK_SIZE);
      return;
    }
    const { entry, map, size } = pending;
    this.#startSparse(entry, map.numbers, size, entry.size - map.contentBytes);
  }

  #takeMap(block: Buffer, at: number): void {
    const pending = this.#pending as PendingEntry;
    this.#locate(() => pending.map.takeBlock(block, at));
    this.#awaitMap(pending);
  }

  #startSparse(entry: TarEntry, map: SparseMap, size: number, stored: number): void {
    const offset = this.#position;
    const extents = this.#locate(() => extentsOf(map, size, stored, offset));
    this.#holesLeft -= size - stored;
    if (this.#holesLeft < 0) {
      const found = `it is sparse and takes ${size} bytes expanded, of which ${stored} are stored`;
      throw this.#error('limit', `${found}: more holes than are expanded`);
    }
    const expanded = { ...entry, size, offset };
    this.#startContent(stored === size ? expanded : { ...expanded, extents }, stored);
  }

  #startContent(entry: TarEntry, stored: number): void {
    this.#state = 'body';
    this.#padding = paddingOf(stored);
    this.#extents = entry.extents;
    this.#extent = 0;
    this.#fileAt = 0;
    this.#fileSize = entry.size;
    this.#left = entry.extents ? 0 : stored;
    this.#sink.entry(entry);
    if (this.#left === 0) this.#nextStretch();
  }

  /** Goes on where a stretch of content ended: gives out the hole that follows, then awaits data or padding. */
  #nextStretch(): void {
    const extent = this.#extents?.[this.#extent++];
    if (this.#extents) this.#giveHole(extent?.at ?? this.#fileSize);
    if (extent) {
      this.#left = extent.size;
      this.#fileAt = extent.at + extent.size;
      return;
    }
    this.#left = this.#padding;
    if (this.#padding > 0) this.#state = 'padding';
    else this.#await('header', BLOCK_SIZE);
    this.#sink.end?.();
  }

  #giveHole(end: number): void {
    for (let rest = end - this.#fileAt; rest > 0; rest -= ZEROS.length) {
      this.#sink.data(rest < ZEROS.length ? ZEROS.subarray(0, rest) : ZEROS);
    }
  }

  #takeBody(bytes: Buffer, at: number): number {
    const end = Math.min(at + this.#left, bytes.length);
    this.#left -= end - at;
    this.#position += end - at;
    this.#sink.data(end - at === bytes.length ? bytes : bytes.subarray(at, end));
    if (this.#left === 0) this.#nextStretch();
    return end;
  }

  #takePadding(bytes: Buffer, at: number): number {
    const end = Math.min(at + this.#left, bytes.length);
    this.#left -= end - at;
    this.#position += end - at;
    if (this.#left === 0) this.#await('header', BLOCK_SIZE);
    return end;
  }

  /** Ignores what follows the end marker: zeros, as many writers add them, else with a warning. */
  #takeTrailer(bytes: Buffer, at: number): number {
    const end = Math.min(at + ZEROS.length, bytes.length);
    if (ZEROS.compare(bytes, at, end, 0, end - at) !== 0) {
      this.#extensions.warn('bytes after the end marker are ignored');
    }
    this.#position += end - at;
    return end;
  }
}

/** An entry with its content, holes expanded. */
export interface TarFile {
  readonly entry: TarEntry;
  /** Empty unless the entry is a file. */
  readonly content: Buffer;
}

/** Reads a whole archive in memory, for small archives and tests; throws as {@link TarReader} does. */
export function unpackTar(archive: Uint8Array, limits: TarLimits = {}): TarFile[] {
  const files: TarFile[] = [];
  let parts: Buffer[] = [];
  const reader = new TarReader(
    {
      entry: (entry) => files.push({ entry, content: Buffer.alloc(0) }),
      data: (chunk) => parts.push(Buffer.from(chunk)),
      end: () => {
        const { entry } = files.pop() as TarFile;
        files.push({ entry, content: Buffer.concat(parts) });
        parts = [];
      },
    },
    limits,
  );
  reader.push(archive);
  reader.finish();
  return files;
}
