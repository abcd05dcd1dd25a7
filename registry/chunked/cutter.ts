/**
 * Cuts a layer's tar, as it passes, into header bytes and contents. What cannot be told apart so that zstd:chunked's consumers
 * would agree is an obstacle, not an error: from there on all bytes pass as if they were header bytes.
 */
import { describe, RechunkError } from '../errors.ts';
import { showPath } from '../path.ts';
import { BLOCK_SIZE, FIELD, paddingOf } from '../tar.ts';
import { rawNameOf } from '../tarentry.ts';
import { type ExtensionFlag, isExtension, TarExtensions } from '../tarextensions.ts';
import { isChecksumRight, sumBlock } from '../tarheader.ts';
import { type LayerHeader, parseHeader } from './header.ts';
import { LayerRules, type Obstacle, obstacleOf } from './rules.ts';

/** Takes the parts of a layer in order; bytes are the caller's memory: to be used before returning. */
export interface LayerSink {
  /** Bytes that are no content: padding, headers, the archive's end. */
  literal(bytes: Uint8Array): void;
  /** The entry whose header blocks were the last literal bytes. */
  entry(header: LayerHeader): void;
  /** Content of the last entry. */
  content(bytes: Uint8Array): void;
  /** Its content is complete; not called for an empty one. */
  end(): void;
  /** The last literal bytes were the two blocks of zeros that end the archive; padding may follow. */
  tail(): void;
  /** Why the layer can be no zstd:chunked layer; called once at most, and then only `literal`. */
  obstacle(why: Obstacle): void;
}

type State = 'header' | 'extension' | 'content' | 'padding' | 'tail' | 'passing';

/** Zeros that end an archive, bytes. */
const TAIL_MINIMUM: number = 2 * BLOCK_SIZE;

/** Takes a tar stream in chunks of any size; memory is bounded by the largest extended header that is read. */
export class LayerCutter {
  readonly #sink: LayerSink;
  readonly #extensions = new TarExtensions(() => {});
  readonly #rules = new LayerRules();
  #state: State = 'header';
  /** The blocks of the entry's headers that are whole, and the one that comes, of which `have` bytes are there. */
  #group: Buffer[] = [];
  #block = Buffer.alloc(BLOCK_SIZE);
  #have = 0;
  #flag: ExtensionFlag = 'x';
  #extensionSize = 0;
  /** Bytes of content or padding that come, or of the tail that came. */
  #left = 0;
  #padding = 0;
  #tail = 0;

  constructor(sink: LayerSink) {
    this.#sink = sink;
  }

  /** Takes the next bytes. */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += this.#takeSome(bytes.subarray(at));
  }

  /** Says that no byte follows; an archive without its end is an obstacle. */
  finish(): void {
    if (this.#state === 'passing') return;
    const isWhole =
      this.#state === 'tail' && this.#tail >= TAIL_MINIMUM && this.#tail % BLOCK_SIZE === 0;
    if (!isWhole)
      this.#pass({ kind: 'archive', text: 'the archive does not end in two blocks of zeros' });
  }

  /** How many of the bytes were taken. */
  #takeSome(bytes: Uint8Array): number {
    if (this.#state === 'header' || this.#state === 'extension') return this.#gather(bytes);
    if (this.#state === 'content' || this.#state === 'padding') return this.#takeBody(bytes);
    if (this.#state === 'tail') return this.#takeTail(bytes);
    this.#sink.literal(bytes);
    return bytes.length;
  }

  #takeTail(bytes: Uint8Array): number {
    const isMarker = this.#tail < TAIL_MINIMUM;
    const part = isMarker ? bytes.subarray(0, TAIL_MINIMUM - this.#tail) : bytes;
    if (!isZeros(part))
      this.#pass({ kind: 'archive', text: 'bytes follow the end of the archive' });
    this.#tail += part.length;
    this.#sink.literal(part);
    if (isMarker && this.#tail === TAIL_MINIMUM) this.#sink.tail();
    return part.length;
  }

  #takeBody(bytes: Uint8Array): number {
    const part = bytes.subarray(0, this.#left);
    this.#left -= part.length;
    if (this.#state === 'padding') this.#sink.literal(part);
    else this.#sink.content(part);
    if (this.#left > 0) return part.length;
    if (this.#state === 'content') this.#sink.end();
    this.#left = this.#state === 'content' ? this.#padding : 0;
    if (this.#left > 0) this.#state = 'padding';
    else this.#await('header', BLOCK_SIZE);
    return part.length;
  }

  #await(state: State, size: number): void {
    this.#state = state;
    this.#block = Buffer.allocUnsafe(size);
    this.#have = 0;
  }

  #gather(bytes: Uint8Array): number {
    const part = bytes.subarray(0, this.#block.length - this.#have);
    this.#block.set(part, this.#have);
    this.#have += part.length;
    if (this.#have === this.#block.length) this.#takeBlock();
    return part.length;
  }

  #takeBlock(): void {
    const block = this.#block;
    try {
      if (this.#state === 'extension') this.#takeExtension(block);
      else this.#takeHeader(block);
    } catch (error) {
      if (!(error instanceof RechunkError)) throw error;
      this.#pass(obstacleOf(error));
    }
  }

  /** Gives out what was gathered, and from now on all that comes. */
  #pass(why: Obstacle): void {
    const isGathering = this.#state === 'header' || this.#state === 'extension';
    const gathered = isGathering ? [...this.#group, this.#block.subarray(0, this.#have)] : [];
    this.#group = [];
    this.#state = 'passing';
    this.#sink.obstacle(why);
    for (const bytes of gathered) if (bytes.length > 0) this.#sink.literal(bytes);
  }

  #takeHeader(block: Buffer): void {
    const sum = sumBlock(block, 0);
    if (sum === 0) {
      if (this.#extensions.isPending) throw new RechunkError('tar', 'an extended header is last');
      this.#state = 'tail';
      this.#tail = BLOCK_SIZE;
      this.#sink.literal(block);
      return;
    }
    if (!isChecksumRight(block, 0, sum)) {
      throw new RechunkError('tar', "a header's checksum is wrong");
    }
    const flag = String.fromCharCode(block[FIELD.type[0]] as number);
    if (isExtension(flag)) this.#startExtension(flag, block);
    else this.#takeEntry(block);
  }

  #startExtension(flag: ExtensionFlag, block: Buffer): void {
    if (flag === 'g') throw new RechunkError('unsupported', 'it has a global extended header');
    const size = this.#extensions.start(flag, block, 0);
    this.#group.push(block);
    this.#flag = flag;
    this.#extensionSize = size;
    this.#await('extension', size + paddingOf(size));
    if (size === 0) this.#takeExtension(this.#block);
  }

  #takeExtension(body: Buffer): void {
    this.#extensions.take(this.#flag, body.subarray(0, this.#extensionSize));
    this.#group.push(body);
    this.#await('header', BLOCK_SIZE);
  }

  #takeEntry(block: Buffer): void {
    const name = rawNameOf(block, 0, this.#extensions);
    const header = this.#locate(name, () => {
      const parsed = parseHeader(block, this.#extensions);
      this.#rules.check(parsed);
      return parsed;
    });
    this.#extensions.clear();
    for (const part of this.#group) this.#sink.literal(part);
    this.#sink.literal(block);
    this.#group = [];
    this.#sink.entry(header);
    this.#left = header.size;
    this.#padding = paddingOf(header.size);
    if (header.size > 0) this.#state = 'content';
    else this.#await('header', BLOCK_SIZE);
  }

  #locate<T>(name: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw describe(`the entry "${showPath(name)}"`, error);
    }
  }
}

function isZeros(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
