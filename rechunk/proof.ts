/** Proves that what was written is what was read, from the destination's own bytes. */
import { RechunkError } from '../registry/errors.ts';
import {
  type Destination,
  type Document,
  type Image,
  openImage,
  type Source,
} from '../registry/image.ts';
import type { Context } from './context.ts';
import { loadTree } from './load.ts';
import type { MetadataOptions } from './metadata.ts';
import type { Tree } from './tree.ts';
import { compareConfigs, compareTrees, type Difference } from './verify.ts';

/** An image as it was written, not yet visible. */
export interface Written {
  readonly document: Document;
  readonly config: Document;
}

/** Reads back what was written, flattens it and compares it with what was meant; throws `different`. */
export async function proveEqual(
  original: Image,
  tree: Tree,
  written: Written,
  destination: Destination,
  options: MetadataOptions,
  context: Context,
): Promise<void> {
  const source: Source = {
    reference: destination.reference,
    root: written.document,
    document: async () => written.config,
    blob: (descriptor) => destination.read(descriptor),
    referrers: async () => [],
    close: async () => {},
  };
  const result = await openImage(source, { hostPlatform: original.platform });
  const loaded = await loadTree(result, { ...context, step: 'verify', cache: undefined });
  const compared = await compareTrees(tree, loaded.tree, { dirMtime: 'keep' });
  const differences = [...compared.differences, ...compareConfigs(original, result, options)];
  if (differences.length === 0) return;
  throw new RechunkError(
    'different',
    `the written image is not equal to ${original.source.reference}: ${summarize(differences)}`,
  );
}

/** Differences that an error message names before it only counts. */
const SHOWN_DIFFERENCES = 5;

function summarize(differences: readonly Difference[]): string {
  const shown = differences
    .slice(0, SHOWN_DIFFERENCES)
    .map(({ at, what, want, got }) => `${at}: ${what} is ${got}, want ${want}`)
    .join('; ');
  const more = differences.length - SHOWN_DIFFERENCES;
  return more > 0 ? `${shown}; and ${more} more` : shown;
}
