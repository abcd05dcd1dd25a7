/**
 * The tar-split section (github.com/vbatts/tar-split): what a layer's tar is made of besides the files' contents, so that the
 * same bytes can be put together again from unpacked files. JSON lines: segments of literal bytes, and files in their places.
 */
import { isUtf8 } from 'node:buffer';
import type { LayerHeader } from './header.ts';

const FILE = 1;
const SEGMENT = 2;
/** Bytes after the archive's end in one segment (tar-split `paddingChunk`). */
const PADDING_LIMIT: number = 1 << 20;

/** Names that are no UTF-8 stand as base64. */
function nameField(name: string): object {
  const bytes = Buffer.from(name, 'latin1');
  if (bytes.length === 0) return {};
  return isUtf8(bytes) ? { name: bytes.toString() } : { name_raw: bytes.toString('base64') };
}

/** Writes the section's text, without compression. */
export class TarSplitWriter {
  readonly #take: (text: string) => void;
  #position = 0;
  #literal: Buffer[] = [];
  #size = 0;
  #isPadding = false;

  /** `take` gets each line. */
  constructor(take: (text: string) => void) {
    this.#take = take;
  }

  /** Takes bytes that are no content; they are copied. */
  literal(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const room = this.#isPadding ? PADDING_LIMIT - this.#size : bytes.length;
      const piece = Buffer.from(bytes.subarray(at, at + room));
      this.#literal.push(piece);
      this.#size += piece.length;
      at += piece.length;
      if (this.#isPadding && this.#size === PADDING_LIMIT) this.#segment();
    }
  }

  /**
   * Ends the literal bytes with an entry. `crc` is the CRC-64 of its content, where it has one; the entry must be told after
   * its headers and before what follows its content.
   */
  file({ name, size }: Pick<LayerHeader, 'name' | 'size'>, crc: Uint8Array | undefined): void {
    this.#segment();
    const payload = crc ? Buffer.from(crc).toString('base64') : null;
    this.#line({ type: FILE, ...nameField(name), ...(size > 0 && { size }), payload });
  }

  /** Says that the archive's two blocks of zeros were taken, as the last literal bytes; what follows is padding. */
  tail(): void {
    this.#segment();
    this.#isPadding = true;
  }

  /** Ends the section with the literal bytes that are left. */
  finish(): void {
    if (this.#size > 0) this.#segment();
  }

  #segment(): void {
    const payload = Buffer.concat(this.#literal).toString('base64');
    this.#literal = [];
    this.#size = 0;
    this.#line({ type: SEGMENT, payload });
  }

  #line(fields: object): void {
    this.#take(`${JSON.stringify({ ...fields, position: this.#position++ })}\n`);
  }
}
