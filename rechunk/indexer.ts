/** A written layer's entries as reading it would give them, recorded while it is written. */
import type { Path } from '../registry/path.ts';
import { type IndexedEntry, packBatch } from './batch.ts';
import type { LayerRecord } from './cache/cache.ts';
import type { Inode } from './tree.ts';

/** Entries that are packed at a time. */
const BATCH_ENTRIES = 2000;

/** Gathers a layer's entries in order and records them in batches. */
export class LayerIndexer {
  readonly #record: Pick<LayerRecord, 'add'>;
  #batch: IndexedEntry[] = [];

  constructor(record: Pick<LayerRecord, 'add'>) {
    this.#record = record;
  }

  /** Adds an entry; `first` is the first name of its hard-link group, `offset` where its content begins in the tar. */
  add(path: Path, inode: Inode, first: Path, offset: number): void {
    const { type, mode, uid, gid, mtime, size, target, devMajor, devMinor, xattrs, sha256 } = inode;
    const own = { path, mode, uid, gid, mtime, xattrs, offset };
    const link = {
      type: 'link',
      size: 0,
      link: first,
      devMajor: 0,
      devMinor: 0,
      sha256: '',
    } as const;
    const whole = { type, size, link: target, devMajor, devMinor, sha256 };
    this.#batch.push(first === path ? { ...own, ...whole } : { ...own, ...link });
    if (this.#batch.length >= BATCH_ENTRIES) this.finish();
  }

  /** Records what was not yet. */
  finish(): void {
    if (this.#batch.length > 0) this.#record.add(packBatch(this.#batch));
    this.#batch = [];
  }
}
