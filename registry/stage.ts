/** Blobs that a destination has received and nobody else sees yet: files in a private directory, by digest. */
import { constants } from 'node:fs';
import { copyFile, open, rename, stat, unlink } from 'node:fs/promises';
import { fileBlob, verifying } from './blob.ts';
import { describe, RechunkError, systemCode } from './errors.ts';
import type { Blob } from './image.ts';
import type { Ingest } from './ingest.ts';
import type { Descriptor, Digest } from './oci.ts';

/** A blob that lies in a file of its own. */
export interface StagedBlob {
  readonly digest: Digest;
  readonly path: string;
  readonly size: number;
}

/** Receives blobs for one run, each checked; what is here vanishes with the private directory. */
export class Stage {
  readonly #ingest: Ingest;
  readonly #reference: string;
  readonly #blobs = new Map<Digest, StagedBlob>();
  readonly #onBlob: ((path: string) => void) | undefined;

  /** `reference` is how messages name the destination; `onBlob` is told where each blob lies once it is whole. */
  constructor(ingest: Ingest, reference: string, onBlob?: (path: string) => void) {
    this.#onBlob = onBlob;
    this.#ingest = ingest;
    this.#reference = reference;
  }

  /** What was received, in the order in which it was complete. */
  get blobs(): readonly StagedBlob[] {
    return [...this.#blobs.values()];
  }

  /** The blob with this digest and size, if it was received. */
  get(descriptor: Pick<Descriptor, 'digest' | 'size'>): Blob | undefined {
    const staged = this.#blobs.get(descriptor.digest);
    return staged?.size === descriptor.size ? fileBlob(staged.path, 0, staged.size) : undefined;
  }

  /** Where a blob lies, by digest alone. */
  find(digest: Digest): StagedBlob | undefined {
    return this.#blobs.get(digest);
  }

  /** Stores bytes; throws `size-mismatch` or `digest-mismatch` if they are not what the descriptor states. */
  putBytes(descriptor: Descriptor, bytes: Uint8Array): Promise<void> {
    return this.#write(descriptor, [bytes]);
  }

  /** Stores a copy of a blob, checked; `onProgress` is told the bytes of each step. */
  putBlob(descriptor: Descriptor, blob: Blob, onProgress?: (bytes: number) => void): Promise<void> {
    return this.#write(descriptor, blob.stream(), onProgress);
  }

  /** Moves a file in; its size is checked, its digest is what the caller computed when writing it. */
  async putFile(
    descriptor: Descriptor,
    path: string,
    onProgress?: (bytes: number) => void,
  ): Promise<void> {
    try {
      const { size } = await stat(path);
      if (size !== descriptor.size) {
        throw new RechunkError(
          'size-mismatch',
          `${descriptor.digest}: the file has ${size} bytes, want ${descriptor.size}`,
        );
      }
      const target = this.#ingest.newPath();
      await moveFile(path, target);
      await this.#add({ digest: descriptor.digest, path: target, size });
      onProgress?.(size);
    } catch (error) {
      throw describe(`writing to ${this.#reference}`, error);
    }
  }

  async #write(
    descriptor: Descriptor,
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    onProgress?: (bytes: number) => void,
  ): Promise<void> {
    const path = this.#ingest.newPath();
    try {
      const handle = await open(path, 'wx');
      try {
        for await (const chunk of verifying(chunks, descriptor, 'a blob')) {
          await handle.writeFile(chunk);
          onProgress?.(chunk.length);
        }
      } finally {
        await handle.close();
      }
      await this.#add({ digest: descriptor.digest, path, size: descriptor.size });
    } catch (error) {
      await unlink(path).catch(() => undefined);
      throw describe(`writing to ${this.#reference}`, error);
    }
  }

  /** The first of equal blobs stays; the others are dropped. */
  async #add(blob: StagedBlob): Promise<void> {
    if (this.#blobs.has(blob.digest)) await unlink(blob.path);
    else {
      this.#blobs.set(blob.digest, blob);
      this.#onBlob?.(blob.path);
    }
  }
}

/** Renames a file; copies it where that would cross file systems. */
export async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (systemCode(error) !== 'EXDEV') throw error;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
    await unlink(from);
  }
}
