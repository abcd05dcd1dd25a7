/** A written layer's entries as reading it would give them, recorded while it is written. */
import type { Path } from '../registry/path.ts';
import { Batcher } from './batch.ts';
import type { LayerRecord } from './cache/cache.ts';
import type { Inode } from './tree.ts';

/** Gathers a layer's entries in order and records them in batches. */
export class LayerIndexer {
  readonly #batcher: Batcher;

  constructor(record: Pick<LayerRecord, 'add'>) {
    this.#batcher = new Batcher((batch) => record.add(batch));
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
    this.#batcher.add(first === path ? { ...own, ...whole } : { ...own, ...link });
  }

  /** Records what was not yet. */
  finish(): void {
    this.#batcher.finish();
  }
}
