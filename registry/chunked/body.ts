/** A file's bytes with the ends of its chunks in their places. */
import { type Chunk, Chunker, HOLE_MINIMUM } from './chunker.ts';

/** Takes the content of a file, chunk by chunk. */
export interface BodySink {
  /** Bytes of the chunk at hand; the caller's memory: to be used before returning. */
  data(bytes: Uint8Array): void;
  /** The chunk at hand, which is this, is complete. */
  end(chunk: Chunk): void;
}

const ZEROS = new Uint8Array(HOLE_MINIMUM);

/** Takes a file's bytes in pieces of any size. Holds back only zeros of which it is not known what they belong to. */
export class BodyCutter {
  readonly #sink: BodySink;
  readonly #chunker = new Chunker();
  /** Bytes of the file that were given out, and the zeros after them that were not. */
  #given = 0;
  #held = 0;

  constructor(sink: BodySink) {
    this.#sink = sink;
  }

  /** Takes the next bytes. */
  push(bytes: Uint8Array): void {
    this.#give(this.#chunker.push(bytes), bytes);
  }

  /** Gives out what is left, at the file's end. */
  finish(): void {
    this.#give(this.#chunker.finish(), ZEROS.subarray(0, 0));
  }

  #give(chunks: readonly Chunk[], bytes: Uint8Array): void {
    const bytesAt = this.#given + this.#held;
    const giveUntil = (end: number): void => {
      if (this.#given < Math.min(end, bytesAt))
        this.#data(ZEROS, this.#given, Math.min(end, bytesAt), this.#given);
      if (this.#given < end) this.#data(bytes, this.#given, end, bytesAt);
    };
    for (const chunk of chunks) {
      giveUntil(chunk.offset + chunk.size);
      this.#sink.end(chunk);
    }
    giveUntil(this.#chunker.decided);
    this.#held = bytesAt + bytes.length - this.#given;
  }

  /** Gives out the file's bytes from `from` to `end`, where `bytes` begin at `at`. */
  #data(bytes: Uint8Array, from: number, end: number, at: number): void {
    this.#sink.data(bytes.subarray(from - at, end - at));
    this.#given = end;
  }
}
