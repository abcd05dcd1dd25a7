/** The base that an image is laid over: opened, checked, and its layers as they lie below those that are written. */
import { compressionOf } from '../registry/compress.ts';
import { during, RechunkError } from '../registry/errors.ts';
import { type Destination, type Image, openImage, type Source } from '../registry/image.ts';
import type { Overlay } from './base.ts';
import type { Component, ComponentKind } from './components.ts';
import type { Loaded } from './load.ts';
import type { PlanItem } from './plan.ts';
import { type Entry, isAlike } from './tree.ts';

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

/** Kinds of components that change because others do, or because an image is built: nobody rebuilds a base for their sake. */
const CONSEQUENCES: ReadonlySet<ComponentKind> = new Set([
  'database',
  'generated',
  'config',
  'directories',
  'rest',
]);

/**
 * The chance that an update changes each layer of a base: that one of the components changes of which it shows something, those
 * that change for a reason of their own where there are any. `items` are those of `components`, of the whole image.
 */
export function changesBelow(
  { layers }: Image,
  { kept }: Overlay,
  components: readonly Component[],
  items: readonly PlanItem[],
): number[] {
  const rates = new Map(items.map(({ id, rate }) => [id, rate]));
  const members = layers.map((): Component[] => []);
  for (const component of components) {
    const found = component.entries.map(({ inode }) => kept.get(inode)?.layer ?? -1);
    for (const layer of new Set(found)) members[layer]?.push(component);
  }
  return members.map((all) => {
    const causes = all.filter(({ kind }) => !CONSEQUENCES.has(kind));
    const counted = causes.length > 0 ? causes : all;
    const stays = counted.reduce(
      (chance, { id }) => chance * (1 - (rates.get(id) ?? 0) / MILLION),
      1,
    );
    return Math.round((1 - stays) * MILLION);
  });
}

/** What a person should know of how a base is kept. Sentences. */
export function noticesBelow({ image, loaded, overlay }: Below): string[] {
  const { reference } = image.source;
  const { kept, hidden } = overlay;
  const shown = new Set(kept.values());
  const { entries } = loaded.tree;
  const count = entries.filter(({ inode }) => shown.has(inode)).length;
  const isDocker = image.layers.some(({ descriptor }) => descriptor.mediaType.includes('.docker.'));
  const changed = countChanged(loaded, overlay);
  return [
    `the base ${reference} stays: ${image.layers.length} layers, of which ${count} of ${entries.length} entries show; whiteouts hide ${hidden.length} names`,
    ...(hidden.length > 0
      ? [
          'podman’s composefs storage deletes nothing: what whiteouts hide shows there, and they do too (without --base there are none)',
        ]
      : []),
    ...(changed > 0
      ? [
          `${changed} directories of the base have other metadata above it: ostree shows the base’s, since the lowest layer counts there`,
        ]
      : []),
    ...(isDocker
      ? [
          `the base ${reference} has layers of Docker’s media types, which stay as they are: podman, containerd and skopeo take them in an OCI manifest, umoci and conversions to Docker’s formats do not (a base from \`skopeo copy --format oci\` serves all)`,
        ]
      : []),
  ];
}

/** How many directories of the base have another mode, owner or other xattrs above it. */
function countChanged({ tree: base }: Loaded, { tree, kept }: Overlay): number {
  const isChanged = ({ path, inode }: Entry): boolean => {
    const before = inode.type === 'dir' && !kept.has(inode) ? base.get(path) : undefined;
    return path !== '' && before?.type === 'dir' && !isAlike(inode, before);
  };
  return tree.entries.filter(isChanged).length;
}
