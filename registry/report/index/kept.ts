/**
 * What an index keeps of content besides sha256 digests: documents, whose content is kept whole, and further digests. Whoever finds out
 * what belongs together in an image needs them (package databases, and the digests that those state) and says of which paths; so a layer
 * that was read once need not be read again.
 */
import { createHash, type Hash } from 'node:crypto';
import type { Path } from '../../path.ts';

/** Of which files something is kept; a function of the path within the layer alone. */
export interface KeepRule {
  /** Whether the content is kept. */
  isDocument(path: Path): boolean;
  /** Whether md5 and sha1 are. */
  isDigested(path: Path): boolean;
}

/** Largest document, bytes: what is larger is not kept. */
export const DOCUMENT_LIMIT: number = 256 << 20;

/** Bytes of all documents of a layer: what comes after these is not kept. */
export const DOCUMENTS_LIMIT: number = 512 << 20;

/** A content that is kept. */
export interface Document {
  /** sha256, 32 bytes. */
  readonly digest: Buffer;
  readonly content: Buffer;
}

/** Further digests of a content. */
export interface FurtherDigests {
  /** sha256, 32 bytes. */
  readonly digest: Buffer;
  readonly md5: Buffer;
  readonly sha1: Buffer;
}

/**
 * How much of what the rule asks for is there: `all`; `documents` where only the table of contents and these were read; `nothing` where
 * no rule was given.
 */
export type KeptExtent = 'all' | 'documents' | 'nothing';

/** What was kept of a layer. */
export interface Kept {
  readonly extent: KeptExtent;
  readonly documents: readonly Document[];
  readonly digests: readonly FurtherDigests[];
}

/** Nothing at all. */
export const NOTHING_KEPT: Kept = { extent: 'nothing', documents: [], digests: [] };

/** Whether the content of a file of `size` bytes at `path` is kept. */
export function isKept(rule: KeepRule, path: Path, size: number): boolean {
  return size <= DOCUMENT_LIMIT && rule.isDocument(path);
}

/** One file that is read. */
interface Reading {
  readonly parts: Buffer[] | undefined;
  readonly hashes: readonly [md5: Hash, sha1: Hash] | undefined;
}

/** Keeps what a rule asks for of a layer that streams by. */
export class Keeper {
  readonly #rule: KeepRule;
  readonly #documents: Document[] = [];
  readonly #digests: FurtherDigests[] = [];
  #reading: Reading | undefined;
  /** Bytes that may yet be kept. */
  #left = DOCUMENTS_LIMIT;

  constructor(rule: KeepRule) {
    this.#rule = rule;
  }

  /** The file at `path` begins. */
  begin(path: Path, size: number): void {
    const parts = size <= this.#left && isKept(this.#rule, path, size) ? [] : undefined;
    if (parts) this.#left -= size;
    const isDigested = size > 0 && this.#rule.isDigested(path);
    const hashes = isDigested ? ([createHash('md5'), createHash('sha1')] as const) : undefined;
    this.#reading = parts || hashes ? { parts, hashes } : undefined;
  }

  /** More of its content. */
  data(chunk: Uint8Array): void {
    if (!this.#reading) return;
    const { parts, hashes } = this.#reading;
    // The chunk is the reader's, who may use it again.
    parts?.push(Buffer.from(chunk));
    for (const hash of hashes ?? []) hash.update(chunk);
  }

  /** It ended, and has this sha256. */
  end(digest: Buffer): void {
    if (!this.#reading) return;
    const { parts, hashes } = this.#reading;
    if (parts) this.#documents.push({ digest, content: Buffer.concat(parts) });
    if (hashes) {
      const [md5, sha1] = hashes;
      this.#digests.push({ digest, md5: md5.digest(), sha1: sha1.digest() });
    }
    this.#reading = undefined;
  }

  /** What was kept. */
  finish(): Kept {
    return { extent: 'all', documents: this.#documents, digests: this.#digests };
  }
}
