/** Content that series are made from: kept once, in one file on disk, and found by its digest. */
import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Contents, Inode } from '../../rechunk/tree.ts';

interface Place {
  readonly offset: number;
  readonly size: number;
}

/** Holds content by its sha256. */
export class ContentSpool implements Contents {
  readonly #directory: string;
  readonly #file: number;
  readonly #places = new Map<string, Place>();
  readonly #digests = new Map<string, string>();
  #end = 0;

  /** Makes its file in a new directory below `parent`. */
  constructor(parent: string) {
    this.#directory = mkdtempSync(join(parent, 'series-'));
    this.#file = openSync(join(this.#directory, 'contents'), 'w+');
  }

  /** Keeps `content` and gives its sha256, lower-case hex. */
  add(content: Uint8Array): string {
    const digest = createHash('sha256').update(content).digest('hex');
    if (this.#places.has(digest)) return digest;
    this.#places.set(digest, { offset: this.#end, size: content.length });
    for (let at = 0; at < content.length; ) {
      at += writeSync(this.#file, content, at, content.length - at, this.#end + at);
    }
    this.#end += content.length;
    return digest;
  }

  /** Makes `digest` stand for the content of `original`: a file that changed in a model, but has no other bytes. */
  alias(digest: string, original: string): void {
    const place = this.#places.get(original);
    if (!place) throw new Error(`reading content ${original}: it was never added`);
    this.#places.set(digest, place);
  }

  /** The content with this sha256, which must have been added. */
  get(digest: string): Buffer {
    const place = this.#places.get(digest);
    if (!place) throw new Error(`reading content ${digest}: it was never added`);
    const content = Buffer.allocUnsafe(place.size);
    for (let at = 0; at < content.length; ) {
      at += readSync(this.#file, content, at, content.length - at, place.offset + at);
    }
    return content;
  }

  async read(inode: Inode, limit?: number): Promise<Buffer> {
    const content = this.get(inode.sha256);
    return limit === undefined ? content : content.subarray(0, limit);
  }

  async digests(algorithm: string, inodes: readonly Inode[]): Promise<string[]> {
    return inodes.map(({ sha256 }) => this.#digest(algorithm, sha256));
  }

  #digest(algorithm: string, sha256: string): string {
    const key = `${algorithm} ${sha256}`;
    const known = this.#digests.get(key);
    if (known !== undefined) return known;
    const digest = createHash(algorithm).update(this.get(sha256)).digest('hex');
    this.#digests.set(key, digest);
    return digest;
  }

  /** Removes the file. */
  close(): void {
    closeSync(this.#file);
    rmSync(this.#directory, { recursive: true });
  }
}

/** Runs `work` with a spool below `parent`, which is gone afterwards. */
export async function withSpool<T>(
  parent: string,
  work: (spool: ContentSpool) => Promise<T>,
): Promise<T> {
  const spool = new ContentSpool(parent);
  try {
    return await work(spool);
  } finally {
    spool.close();
  }
}
