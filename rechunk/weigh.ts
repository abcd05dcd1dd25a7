/**
 * What it costs to keep a base, and what it saves, against flattening: measured by writing the layers of both, which are stored
 * nowhere. How often layers change is an estimate in both.
 */
import type { Image } from '../registry/image.ts';
import { lostFiles } from './base.ts';
import type { Below } from './below.ts';
import type { Context } from './context.ts';
import { type Grouping, type GroupingOptions, groupImage } from './grouping.ts';
import { knownLayers } from './known.ts';
import { NO_MEMORY } from './memory.ts';
import { measureLayers } from './rehearse.ts';
import { layerWithout } from './stack.ts';
import { contentSize } from './tree.ts';
import type { BuiltLayer } from './writer.ts';

/** One way to build an image; bytes are compressed. */
export interface Way {
  readonly layers: number;
  /** Of all layers. */
  readonly size: number;
  /** What a node pulls now that has the base and nothing else. */
  readonly pullBytes: number;
  /** What an update is expected to pull: of an image that keeps its base, the base's layers too, where it changes. */
  readonly updateBytes: number;
}

/** What keeping a base means. */
export interface BaseReport {
  /** As it was asked for; never with credentials. */
  readonly reference: string;
  readonly digest: string;
  readonly layers: number;
  /** Compressed bytes of its layers. */
  readonly size: number;
  /** Files of the base that the image deletes or replaces; nodes pull and store them all the same. */
  readonly hidden: {
    readonly files: number;
    /** Bytes of their content. */
    readonly bytes: number;
    /** Compressed bytes of a layer of them alone. */
    readonly compressedBytes: number;
  };
  /** With `--base`. */
  readonly keep: Way;
  /** Without. */
  readonly flatten: Way;
}

const MILLION = 1_000_000;

/** Weighs the base of `image` that `grouping` keeps. The layers of both should be in `context.shared`, or they are read again. */
export async function weighBase(
  image: Image,
  { below, ...grouping }: Grouping & { readonly below: Below },
  options: GroupingOptions,
  context: Context,
): Promise<BaseReport> {
  const { image: base, loaded, overlay } = below;
  const known = knownLayers(options.memory ?? NO_MEMORY, { compression: 'zstd' });
  const how = { compression: 'zstd', known } as const;
  const quiet = { ...context, onNotice: undefined };
  const flat = await groupImage(image, { ...options, base: undefined }, quiet);
  const kept = await measureLayers(grouping, how, quiet);
  const flattened = await measureLayers(flat, how, quiet);
  const lost = lostFiles(loaded.tree, overlay);
  const layer = layerWithout('content', lost, 0);
  const stack = layer ? [layer] : [];
  const [measured] = await measureLayers({ tree: loaded.tree, stack }, how, quiet);
  return {
    reference: base.source.reference,
    digest: base.manifestDocument.descriptor.digest,
    layers: base.layers.length,
    size: bytesOf(base.layers.map(({ descriptor }) => descriptor)),
    hidden: {
      files: new Set(lost.map(({ inode }) => inode)).size,
      bytes: contentSize(lost),
      compressedBytes: measured?.size ?? 0,
    },
    keep: wayOf(kept),
    flatten: wayOf(flattened),
  };
}

/** Bytes of blobs, each counted once. */
function bytesOf(blobs: readonly { readonly digest: string; readonly size: number }[]): number {
  const sizes = new Map(blobs.map(({ digest, size }) => [digest, size]));
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

function wayOf(layers: readonly BuiltLayer[]): Way {
  const distinct = [...new Map(layers.map((layer) => [layer.digest, layer])).values()];
  const expected = distinct.reduce((sum, { size, changes }) => sum + (size * changes) / MILLION, 0);
  return {
    layers: layers.length,
    size: bytesOf(layers),
    pullBytes: bytesOf(layers.filter(({ role }) => role !== 'base')),
    updateBytes: Math.round(expected),
  };
}
