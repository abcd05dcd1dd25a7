/** Proves that what was written is what was read, from the destination's own bytes. */
import { type WatchedBlob, watchIndex } from '../registry/chunked/check.ts';
import { parseChunkedAnnotations } from '../registry/chunked/footer.ts';
import { RechunkError } from '../registry/errors.ts';
import {
  type Blob,
  type Destination,
  type Document,
  type Image,
  openImage,
  type Source,
} from '../registry/image.ts';
import type { Descriptor } from '../registry/oci.ts';
import type { Context } from './context.ts';
import { compareListing } from './listing.ts';
import { loadTree } from './load.ts';
import type { MetadataOptions } from './metadata.ts';
import type { Entry, Tree } from './tree.ts';
import { compareConfigs, compareTrees, type Difference } from './verify.ts';

/** An image as it was written, not yet visible. */
export interface Written {
  readonly document: Document;
  readonly config: Document;
  /** Of layers that are no base's. */
  readonly entries: WrittenEntries;
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
  const indexes = new IndexProof(tree, written.entries);
  const source: Source = {
    reference: destination.reference,
    root: written.document,
    document: async () => written.config,
    blob: async (descriptor) => indexes.watch(descriptor, await destination.read(descriptor)),
    referrers: async () => [],
    close: async () => {},
  };
  const result = await openImage(source, { hostPlatform: original.platform });
  const loaded = await loadTree(result, { ...context, step: 'verify', cache: undefined });
  const compared = await compareTrees(tree, loaded.tree, { dirMtime: 'keep' });
  const differences = [
    ...compared.differences,
    ...compareConfigs(original, result, options),
    ...(await indexes.compare()),
  ];
  if (differences.length === 0) return;
  throw new RechunkError(
    'different',
    `the written image is not equal to ${original.source.reference}: ${summarize(differences)}`,
  );
}

/** Entries of the layers as they were written, by the digests of their blobs. */
export type WrittenEntries = ReadonlyMap<string, () => readonly Entry[]>;

/** Tables of contents of zstd:chunked layers, by which clients make files without reading the layer. */
class IndexProof {
  readonly #tree: Tree;
  readonly #entries: WrittenEntries;
  readonly #watched: { readonly blob: WatchedBlob; readonly entries: () => readonly Entry[] }[] =
    [];

  /** Entries are those of `tree`. */
  constructor(tree: Tree, entries: WrittenEntries) {
    this.#tree = tree;
    this.#entries = entries;
  }

  /** The blob, watched as it is read if it is one of ours with a table of contents. */
  watch({ annotations, digest, size }: Descriptor, blob: Blob): Blob {
    const entries = this.#entries.get(digest);
    const sections = entries && parseChunkedAnnotations(annotations ?? {}, size);
    if (!sections) return blob;
    const watched = watchIndex(blob, size, sections);
    this.#watched.push({ blob: watched, entries });
    return watched.blob;
  }

  /** What the tables say otherwise than what was written; throws `manifest` for one that is not its blob's. */
  async compare(): Promise<Difference[]> {
    const differences: Difference[] = [];
    for (const { blob, entries } of this.#watched) {
      const table = (await blob.check())?.entries ?? [];
      const found = compareListing(this.#tree, entries(), table);
      if (found) differences.push(found);
    }
    return differences;
  }
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
