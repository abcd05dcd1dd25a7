/**
 * Zstandard frames, told apart as bytes pass (RFC 8878, section 3).
 *
 * Node's decoder stops after the first frame of each write on 22 and 24 and accepts cut input on 22, without an error. So
 * the input is cut here into stretches that never cross the end of a frame, skippable frames are dropped, and an end in
 * the midst of a frame is refused. Only headers are held, never a frame: one may be of any size.
 */
import { RechunkError } from './errors.ts';

/** Largest window that is decoded, bytes: `zstd --long=27`, which is what every unpacker accepts (RFC 8878 asks for 8 MiB). */
export const ZSTD_WINDOW_LIMIT: number = 128 << 20;
/** {@link ZSTD_WINDOW_LIMIT} as the decoder takes it. */
export const ZSTD_WINDOW_LOG_LIMIT = 27;

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const SKIPPABLE_MASK = 0xfffffff0;
const MAGIC_SIZE = 4;
const LENGTH_SIZE = 4;
const BLOCK_HEADER_SIZE = 3;
const CHECKSUM_SIZE = 4;
/** Longest frame header after the magic: descriptor, window, dictionary id, content size. */
const HEADER_LIMIT = 14;
/** RFC 8878, section 3.1.1.2.4: no block holds more. */
const BLOCK_LIMIT = 128 << 10;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;
const DICTIONARY_ID_SIZES = [0, 1, 2, 4];
const CONTENT_SIZE_SIZES = [0, 2, 4, 8];

/** Whether `head` begins with a frame that {@link FrameWalker} reads: one with data or a skippable one. */
export function isZstd(head: Uint8Array): boolean {
  if (head.length < MAGIC_SIZE) return false;
  const magic = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
  return magic === FRAME_MAGIC || (magic & SKIPPABLE_MASK) >>> 0 === SKIPPABLE_MAGIC;
}

type Part = 'magic' | 'descriptor' | 'header' | 'block' | 'body' | 'checksum' | 'length' | 'skip';

/** Cuts a zstd stream into stretches of single frames; synchronous, for chunks of any size. */
export class FrameWalker {
  #part: Part = 'magic';
  /** Bytes that the present part still wants. */
  #left = MAGIC_SIZE;
  readonly #field = Buffer.alloc(HEADER_LIMIT);
  #have = 0;
  #checksum = false;
  #lastBlock = false;
  /** Bytes of the stream before the chunk at hand. */
  #position = 0;

  /**
   * The stretches of `chunk` that a decoder should get, one write each: none crosses the end of a frame, skippable frames
   * are left out. Throws `compression` for what is no zstd, `limit` for a window above {@link ZSTD_WINDOW_LIMIT}.
   */
  split(chunk: Uint8Array): Uint8Array[] {
    const stretches: Uint8Array[] = [];
    let at = 0;
    let start = 0;
    while (at < chunk.length) {
      const taken = Math.min(this.#left, chunk.length - at);
      if (this.#isField) this.#field.set(chunk.subarray(at, at + taken), this.#have);
      this.#have += taken;
      this.#left -= taken;
      at += taken;
      while (this.#left === 0) {
        const ended = this.#part;
        this.#advance(this.#position + at);
        if (ended === 'magic' && this.#part === 'descriptor') {
          if (at < MAGIC_SIZE) stretches.push(Buffer.from(this.#field.subarray(0, MAGIC_SIZE)));
          start = at < MAGIC_SIZE ? at : at - MAGIC_SIZE;
        } else if (ended !== 'skip' && ended !== 'length' && this.#part === 'magic') {
          if (at > start) stretches.push(chunk.subarray(start, at));
        }
      }
    }
    if (this.#isData && at > start) stretches.push(chunk.subarray(start, at));
    this.#position += chunk.length;
    return stretches;
  }

  /** To be called at the end of the input: throws `compression` if that is in the midst of a frame. */
  finish(): void {
    if (this.#part === 'magic' && this.#have === 0) return;
    this.#fail(`it ends at byte ${this.#position}, in the midst of a frame`);
  }

  /** Whether the present part is collected, to be looked at when whole. */
  get #isField(): boolean {
    return this.#part !== 'body' && this.#part !== 'skip' && this.#part !== 'checksum';
  }

  /** Whether the present part belongs to a frame with data, whose magic was handed out. */
  get #isData(): boolean {
    return this.#part !== 'magic' && this.#part !== 'length' && this.#part !== 'skip';
  }

  /** Goes on to what follows the part that ended at byte `end`. */
  #advance(end: number): void {
    const part = this.#part;
    if (part === 'magic') this.#startFrame(end);
    else if (part === 'length') this.#expect('skip', this.#field.readUInt32LE(0));
    else if (part === 'descriptor') this.#readDescriptor(end);
    else if (part === 'header') this.#checkWindow(end);
    else if (part === 'block') this.#readBlockHeader(end);
    else if (part === 'body' && !this.#lastBlock) this.#expect('block', BLOCK_HEADER_SIZE);
    else if (part === 'body' && this.#checksum) this.#expect('checksum', CHECKSUM_SIZE);
    else this.#expect('magic', MAGIC_SIZE);
  }

  #expect(part: Part, size: number): void {
    this.#part = part;
    this.#left = size;
    this.#have = 0;
  }

  #startFrame(end: number): void {
    const magic = this.#field.readUInt32LE(0);
    if (magic === FRAME_MAGIC) this.#expect('descriptor', 1);
    else if ((magic & SKIPPABLE_MASK) >>> 0 === SKIPPABLE_MAGIC)
      this.#expect('length', LENGTH_SIZE);
    else {
      const found = this.#field.toString('hex', 0, MAGIC_SIZE);
      this.#fail(`got ${found} at byte ${end - MAGIC_SIZE}, want the start of a frame`);
    }
  }

  /** Reads the descriptor byte, and keeps it as the first byte of the header field. */
  #readDescriptor(end: number): void {
    const descriptor = this.#field[0] as number;
    if (descriptor & 0x08)
      this.#fail(`the frame header at byte ${end - 1} has its reserved bit set`);
    const single = (descriptor >> 5) & 1;
    const sizeFlag = descriptor >> 6;
    this.#checksum = Boolean(descriptor & 0x04);
    const rest =
      1 -
      single +
      (DICTIONARY_ID_SIZES[descriptor & 3] as number) +
      (sizeFlag === 0 ? single : (CONTENT_SIZE_SIZES[sizeFlag] as number));
    this.#part = 'header';
    this.#left = rest;
  }

  #checkWindow(end: number): void {
    this.#expect('block', BLOCK_HEADER_SIZE);
    const descriptor = this.#field[0] as number;
    if (descriptor & 0x20) return; // a single segment: the decoder checks its content size
    const code = this.#field[1] as number;
    const base = 2 ** (10 + (code >> 3));
    const window = base + (base / 8) * (code & 7);
    if (window <= ZSTD_WINDOW_LIMIT) return;
    throw new RechunkError(
      'limit',
      `decompressing zstd: the frame header before byte ${end} asks for a window of ${window} bytes, at most ${ZSTD_WINDOW_LIMIT} are allowed; compress it again without --long or --ultra`,
    );
  }

  #readBlockHeader(end: number): void {
    const header = this.#field.readUIntLE(0, BLOCK_HEADER_SIZE);
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type === BLOCK_RESERVED) this.#fail(`the block before byte ${end} is of the reserved type`);
    if (size > BLOCK_LIMIT) {
      this.#fail(`the block at byte ${end} says ${size} bytes, at most ${BLOCK_LIMIT} are allowed`);
    }
    this.#lastBlock = Boolean(header & 1);
    this.#expect('body', type === BLOCK_RLE ? 1 : size);
  }

  #fail(found: string): never {
    throw new RechunkError('compression', `decompressing zstd: ${found}`);
  }
}
