/** Images that are open while something is done with them, and closed whatever happens. */
import { RechunkError } from './errors.ts';
import type { Destination, Source } from './image.ts';
import { listReferences, openDestination, openSource, type TransportOptions } from './transport.ts';

/** Opens images, which {@link withImages} closes. Errors are those of {@link openSource} and {@link openDestination}. */
export interface Opener {
  /** Opens the image that `reference` names. */
  source(reference: string): Promise<Source>;
  /** Opens those of the images that exist, in order. That one is `not-found` is no error, all else is. */
  existing(...references: readonly string[]): Promise<Source[]>;
  /** Opens the place that `reference` names for writing; what is not committed is taken back. */
  destination(reference: string): Promise<Destination>;
  /** References of all tags, or names in a layout, beside `reference`, its own too; see {@link listReferences}. */
  beside(reference: string): Promise<string[]>;
}

/**
 * Runs `work`, which opens images as it needs them, and closes them afterwards, the last first; gives what `work` gives. Where `work`
 * fails, trouble while closing does not hide its error. `options.onNotice` is told what a user should know of what is opened.
 */
export async function withImages<T>(
  options: TransportOptions,
  work: (open: Opener) => Promise<T>,
): Promise<T> {
  const opened: (Source | Destination)[] = [];
  const keep = <Opened extends Source | Destination>(one: Opened): Opened => {
    opened.unshift(one);
    for (const warning of one.warnings ?? []) options.onNotice?.(warning);
    return one;
  };
  const source = async (reference: string): Promise<Source> =>
    keep(await openSource(reference, options));
  const open: Opener = {
    source,
    existing: async (...references) => {
      const found: Source[] = [];
      for (const reference of references) {
        const one = await unlessMissing(source(reference));
        if (one) found.push(one);
      }
      return found;
    },
    destination: async (reference) => keep(await openDestination(reference, options)),
    beside: (reference) => listReferences(reference, options),
  };
  try {
    const result = await work(open);
    for (let next = opened.shift(); next; next = opened.shift()) await next.close();
    return result;
  } finally {
    // Only after an error is anything left; what closing it says matters less than what went wrong.
    await Promise.allSettled(opened.map((one) => one.close()));
  }
}

async function unlessMissing<T>(opening: Promise<T>): Promise<T | undefined> {
  try {
    return await opening;
  } catch (error) {
    if (error instanceof RechunkError && error.code === 'not-found') return undefined;
    throw error;
  }
}
