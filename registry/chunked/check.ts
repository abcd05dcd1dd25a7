/**
 * Whether a blob is what the annotations of a zstd:chunked layer say of it. Annotations come from manifests, which anybody may have
 * written; a blob that is right in itself can hold any table of contents.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { decompress } from '../blob.ts';
import { during, RechunkError } from '../errors.ts';
import type { Blob } from '../image.ts';
import { encodeFooter, type Section, type Sections } from './footer.ts';
import { parseToc, TOC_LIMIT, type Toc } from './toc.ts';

function refuse(found: string): never {
  throw new RechunkError('manifest', found);
}

/** Takes a blob's bytes in order and keeps what lies in one stretch of it: its bytes, or only their digest. */
class Stretch {
  readonly #start: number;
  readonly #end: number;
  readonly #hash: Hash = createHash('sha256');
  readonly #kept: Buffer[] | undefined;

  constructor({ offset, compressedSize }: Section, keep: 'bytes' | 'digest') {
    this.#start = offset;
    this.#end = offset + compressedSize;
    this.#kept = keep === 'bytes' ? [] : undefined;
  }

  /** Takes the bytes that lie at `at` in the blob. */
  push(bytes: Uint8Array, at: number): void {
    if (at >= this.#end || at + bytes.length <= this.#start) return;
    const part = bytes.subarray(Math.max(0, this.#start - at), this.#end - at);
    this.#hash.update(part);
    this.#kept?.push(Buffer.from(part));
  }

  finish(): { readonly digest: string; readonly bytes: Buffer } {
    return {
      digest: `sha256:${this.#hash.digest('hex')}`,
      bytes: Buffer.concat(this.#kept ?? []),
    };
  }
}

/** A blob that passes: {@link watchIndex}. */
export interface WatchedBlob {
  /** The same bytes; what is told by its stream is what {@link WatchedBlob.check} looks at. */
  readonly blob: Blob;
  /**
   * The blob's table of contents, once it was read; undefined where it was not (mounted, or there already). Throws `manifest` where
   * the blob is not what its annotations say.
   */
  check(): Promise<Toc | undefined>;
}

/** Watches `blob`, of `size` bytes, whose annotations say `sections`. One that lies on disk is read there, and only what is needed. */
export function watchIndex(blob: Blob, size: number, sections: Sections): WatchedBlob {
  if (sections.toc.compressedSize > TOC_LIMIT || sections.toc.size > TOC_LIMIT)
    refuse(`its table of contents has more than ${TOC_LIMIT} bytes`);
  let watch: IndexWatch | undefined;
  const { file } = blob;
  if (file) {
    const check = async (): Promise<Toc> => {
      const start = Math.max(0, Math.min(sections.toc.offset, sections.tarSplit.offset));
      const own = new IndexWatch(size, sections, start);
      const [from, end] = [file.offset + start, file.offset + size - 1];
      for await (const part of createReadStream(file.path, { start: from, end }))
        own.push(part as Buffer);
      return own.check();
    };
    return { blob, check };
  }
  const stream = async function* (signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const own = new IndexWatch(size, sections, 0);
    for await (const part of blob.stream(signal)) {
      own.push(part);
      if (own.isWhole) watch = own;
      yield part;
    }
  };
  return { blob: { ...blob, stream }, check: async () => watch?.check() };
}

/** What is looked at of a blob's bytes, which come in order from `start` on. */
class IndexWatch {
  readonly #size: number;
  readonly #sections: Sections;
  readonly #toc: Stretch;
  readonly #tarSplit: Stretch;
  readonly #footer: Stretch;
  readonly #wantedFooter: Buffer;
  #at: number;

  constructor(size: number, sections: Sections, start: number) {
    this.#size = size;
    this.#sections = sections;
    this.#at = start;
    this.#wantedFooter = encodeFooter(sections);
    this.#toc = new Stretch(sections.toc, 'bytes');
    this.#tarSplit = new Stretch(sections.tarSplit, 'digest');
    const { length } = this.#wantedFooter;
    this.#footer = new Stretch({ offset: size - length, compressedSize: length, size: 0 }, 'bytes');
  }

  push(bytes: Uint8Array): void {
    for (const stretch of [this.#toc, this.#tarSplit, this.#footer]) stretch.push(bytes, this.#at);
    this.#at += bytes.length;
  }

  get isWhole(): boolean {
    return this.#at === this.#size;
  }

  /** Throws `manifest` and nothing else. */
  async check(): Promise<Toc> {
    try {
      return await this.#read();
    } catch (error) {
      if (!(error instanceof RechunkError)) throw error;
      throw new RechunkError('manifest', error.message, { cause: error });
    }
  }

  async #read(): Promise<Toc> {
    const { tocDigest, toc } = this.#sections;
    if (!this.#footer.finish().bytes.equals(this.#wantedFooter))
      refuse("the blob's footer is not what its annotations say");
    const { digest, bytes } = this.#toc.finish();
    if (digest !== tocDigest)
      refuse(`its table of contents has digest ${digest}, want ${tocDigest}`);
    const parsed = parseToc(await inflate(bytes, toc.size));
    const tarSplit = this.#tarSplit.finish().digest;
    if (parsed.tarSplitDigest !== tarSplit)
      refuse(`its tar-split section has digest ${tarSplit}, want ${parsed.tarSplitDigest}`);
    return parsed;
  }
}

/** `bytes` decompressed; throws `manifest` unless that gives `size` bytes. */
async function inflate(bytes: Buffer, size: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let have = 0;
  const input = (async function* () {
    yield bytes;
  })();
  await during('reading its table of contents', async () => {
    for await (const part of decompress(input)) {
      have += part.length;
      if (have > size) break;
      parts.push(Buffer.from(part));
    }
  });
  if (have !== size) refuse(`its table of contents has not the ${size} bytes that are stated`);
  return Buffer.concat(parts);
}
