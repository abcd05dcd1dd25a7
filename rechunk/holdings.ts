/** What is known of open files that hold layers' content; some hold it only once somebody needs it. */
import type { ContentMemo } from './cache/memo.ts';
import type { Body } from './tree.ts';

/** What is known of the layer whose content an open file holds. */
export interface Holding {
  /** Whether the content is in the file. */
  readonly isFilled: boolean;
  /** Bytes that are read to fill it. */
  readonly cost: number;
  /** Whether the file is as it was when its content was checked: what is read in place, others may change. */
  isSound(): boolean;
  /** What was asked of the content before. */
  readonly memo: ContentMemo;
}

/** A holding that may be filled later. */
interface Filling extends Holding {
  isFilled: boolean;
  readonly fill: (() => Promise<void>) | undefined;
  filling?: Promise<void>;
}

/** The holdings of a run, by descriptor. A file that is not among them holds what it should. */
export class Holdings {
  readonly #atOnce: () => number;
  readonly #held: Map<number, Filling> = new Map();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** Fills at most `atOnce` files at a time, which may become fewer: more streams than threads take would stall. */
  constructor(atOnce: () => number) {
    this.#atOnce = atOnce;
  }

  /** Says what `file` holds; with `fill`, what that puts into it once somebody needs it. */
  add(file: number, holding: Omit<Holding, 'isFilled'>, fill?: () => Promise<void>): void {
    this.#held.set(file, { ...holding, isFilled: fill === undefined, fill });
  }

  /** Forgets `file`, which is closed. */
  delete(file: number): void {
    this.#held.delete(file);
  }

  /** What was said of a file. */
  get(file: Body['file']): Holding | undefined {
    return typeof file === 'number' ? this.#held.get(file) : undefined;
  }

  /** Whether a file of a layer is as it was when it was checked; of any other file that is not known. */
  isSound(file: Body['file']): boolean {
    return this.get(file)?.isSound() ?? false;
  }

  /** Whether every file holds its content. */
  get areFilled(): boolean {
    return this.#held.values().every(({ isFilled }) => isFilled);
  }

  /**
   * Waits until `files` hold their content, which is fetched where it is not there yet, once. Throws what fetching it throws, when
   * nothing is fetched for them any more.
   */
  async ready(files: Iterable<Body['file']>): Promise<void> {
    const fetching = [...new Set(files)].map((file) => this.#ready(file));
    await Promise.allSettled(fetching);
    await Promise.all(fetching);
  }

  async #ready(file: Body['file']): Promise<void> {
    const holding = typeof file === 'number' ? this.#held.get(file) : undefined;
    const fill = holding?.fill;
    if (!holding || !fill) return;
    holding.filling ??= this.#inTurn(fill);
    await holding.filling;
    holding.isFilled = true;
  }

  async #inTurn(fill: () => Promise<void>): Promise<void> {
    if (this.#running >= this.#atOnce()) await new Promise<void>((go) => this.#waiting.push(go));
    else this.#running++;
    try {
      await fill();
    } finally {
      const next = this.#running > this.#atOnce() ? undefined : this.#waiting.shift();
      if (next) next();
      else this.#running--;
    }
  }
}
