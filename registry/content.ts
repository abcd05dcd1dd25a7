/** A blob as content to upload: any part of it, again if need be, checked as it passes. */
import { fileBlob, verifying } from './blob.ts';
import type { Blob } from './image.ts';
import type { Descriptor } from './oci.ts';
import type { UploadContent } from './upload.ts';

/**
 * The bytes of `blob` for sending. A file is read in place and left to the registry to check; a stream is read once from
 * front to back as long as its parts are asked for in order (begun anew otherwise) and checked against `descriptor`.
 */
export function blobContent(
  blob: Blob,
  descriptor: Descriptor,
  signal: AbortSignal | undefined,
): UploadContent {
  const { digest, size } = descriptor;
  const { file } = blob;
  if (file) {
    const open = (start: number, end: number): AsyncIterable<Uint8Array> =>
      fileBlob(file.path, file.offset + start, end - start).stream(signal);
    return { digest, size, open };
  }
  const tape = new Tape(() => verifying(blob.stream(signal), descriptor, `${digest} on its way`));
  return { digest, size, open: (start, end) => tape.read(start, end), close: () => tape.close() };
}

/** A stream that remembers where it is, so that the next part goes on from there. */
class Tape {
  readonly #begin: () => AsyncIterable<Uint8Array>;
  #chunks: AsyncIterator<Uint8Array> | undefined;
  #at = 0;
  /** Bytes that were read beyond the last part. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(begin: () => AsyncIterable<Uint8Array>) {
    this.#begin = begin;
  }

  async *read(start: number, end: number): AsyncGenerator<Uint8Array> {
    if (!this.#chunks || this.#at > start) await this.#rewind();
    for (let part = await this.#take(end); part.length > 0; part = await this.#take(end)) {
      const skipped = Math.max(0, start - (this.#at - part.length));
      if (skipped < part.length) yield part.subarray(skipped);
    }
  }

  /** Lets the stream go; reading begins anew. */
  async close(): Promise<void> {
    await this.#chunks?.return?.();
    this.#chunks = undefined;
  }

  async #rewind(): Promise<void> {
    await this.close();
    this.#chunks = this.#begin()[Symbol.asyncIterator]();
    this.#at = 0;
    this.#rest = new Uint8Array(0);
  }

  /** The next bytes, none from `end` on. */
  async #take(end: number): Promise<Uint8Array> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks?.next();
      if (next?.done !== false) break;
      this.#rest = next.value;
    }
    const part = this.#rest.subarray(0, Math.max(0, end - this.#at));
    this.#rest = this.#rest.subarray(part.length);
    this.#at += part.length;
    return part;
  }
}
