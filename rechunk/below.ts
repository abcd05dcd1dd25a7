/** The base that an image is laid over: opened, checked, and its layers as they lie below those that are written. */
import { compressionOf } from '../registry/compress.ts';
import { during, RechunkError } from '../registry/errors.ts';
import { type Destination, type Image, openImage, type Source } from '../registry/image.ts';
import type { Overlay } from './base.ts';
import type { Component } from './components.ts';
import type { Loaded } from './load.ts';
import type { PlanItem } from './plan.ts';
import type { Inode } from './tree.ts';

/** Opens the base of an image; whoever made it closes what it opened. Asked once for each image that is built. */
export type OpenBase = (image: Image) => Promise<Source>;

/** A base, read, and what of it an image keeps. */
export interface Below {
  readonly image: Image;
  readonly loaded: Loaded;
  readonly overlay: Overlay;
  /** For each of its layers, the expected probability that an update changes it, in millionths. */
  readonly changes: readonly number[];
}

/** Opens the base for the platform of `image`. Throws `usage` for what has no layers that could stay. */
export async function openBase(open: OpenBase, image: Image): Promise<Image> {
  const source = await open(image);
  if (source.tree)
    throw new RechunkError(
      'usage',
      `--base ${source.reference}: got a directory tree, want an image, whose layers stay as they are`,
    );
  const { platform } = image;
  return during(`opening the base of ${image.source.reference}`, () =>
    openImage(source, { platform, hostPlatform: platform }),
  );
}

/** Throws `usage` where `destination` cannot hold the layers of `base` as they are. */
export function checkBase(base: Image, destination: Destination): void {
  const { reference, compressions } = destination;
  for (const { descriptor } of base.layers) {
    const found = compressionOf(descriptor.mediaType);
    if (compressions.includes(found)) continue;
    throw new RechunkError(
      'usage',
      `--base ${base.source.reference}: got layers compressed by ${found}, ${reference} holds only ${compressions.join(', ')}`,
    );
  }
}

const MILLION = 1_000_000;

/**
 * The chance that an update changes each layer of a base: that one of the components changes of which it shows something. `items`
 * are those of `components`, of the whole image.
 */
export function changesBelow(
  { layers }: Image,
  { kept }: Overlay,
  components: readonly Component[],
  items: readonly PlanItem[],
): number[] {
  const rates = new Map(items.map(({ id, rate }) => [id, rate]));
  const stays = layers.map(() => 1);
  for (const { id, entries } of components) {
    const found = entries.map(({ inode }: { inode: Inode }) => kept.get(inode)?.layer ?? -1);
    for (const layer of new Set(found)) {
      if (layer >= 0) stays[layer] = (stays[layer] ?? 1) * (1 - (rates.get(id) ?? 0) / MILLION);
    }
  }
  return stays.map((chance) => Math.round((1 - chance) * MILLION));
}

/** What a person should know of how a base is kept. */
export function describeBelow({ image, loaded, overlay }: Below): string {
  const { kept, hidden } = overlay;
  const shown = new Set(kept.values());
  const entries = loaded.tree.entries.filter(({ inode }) => shown.has(inode)).length;
  return `the base ${image.source.reference}: ${image.layers.length} layers stay; ${entries} of ${loaded.tree.entries.length} entries show as they are, ${hidden.length} are hidden by whiteouts`;
}
