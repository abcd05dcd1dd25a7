/**
 * Temporary files. Spool files have no name: they are unlinked as soon as they are open, so that nothing is left behind
 * however a run ends. Files that must have a name (finished blobs on their way out) lie in one private directory.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { RechunkError, systemCode } from '../registry/errors.ts';
import { type Ingest, makeIngest } from '../registry/ingest.ts';
import { Holdings } from './holdings.ts';

/** Files of one run; `close` closes and removes them all. */
export class Spool {
  readonly #directory: string;
  readonly #open = new Set<number>();
  readonly #inner: Spool[] = [];
  /** What is known of the files; of all spools of the run. */
  readonly holdings: Holdings;
  #blobs: Promise<Ingest> | undefined;

  /** `directory` must exist; it needs room for the uncompressed image and one round of finished layers. */
  constructor(directory: string, holdings: Holdings = new Holdings(() => 1)) {
    this.#directory = directory;
    this.holdings = holdings;
  }

  /** A new file without a name, open for reading and writing. */
  create(): number {
    const path = join(this.#directory, `rechunk-${process.pid}-${randomBytes(8).toString('hex')}`);
    try {
      const fd = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
      this.#open.add(fd);
      return fd;
    } catch (error) {
      throw new RechunkError(
        'io',
        `making a temporary file in ${this.#directory}: ${systemCode(error)}`,
        {
          cause: error,
        },
      );
    }
  }

  /** Opens a file that lies elsewhere, for reading, until the run ends. */
  open(path: string): number {
    const fd = openSync(path, 'r');
    this.#open.add(fd);
    return fd;
  }

  /** The private directory for finished blobs; made when it is first asked for, and gone after a killed run's successor. */
  async blobDirectory(): Promise<string> {
    this.#blobs ??= makeIngest(this.#directory, 'rechunk-');
    return (await this.#blobs).directory;
  }

  /** Files of a part of the run, closed with this spool where not before. */
  makeInner(): Spool {
    const inner = new Spool(this.#directory, this.holdings);
    this.#inner.push(inner);
    return inner;
  }

  async close(): Promise<void> {
    for (const inner of this.#inner) await inner.close();
    for (const fd of this.#open) {
      this.holdings.delete(fd);
      closeSync(fd);
    }
    this.#open.clear();
    const blobs = await this.#blobs?.catch(() => undefined);
    await blobs?.remove();
    this.#blobs = undefined;
  }
}
