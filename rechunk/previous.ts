/**
 * As much of the previous image as there is to inherit from. What its record says to be as it is now is not read: only layers
 * that hold a component with another digest, and what lies above the layers that the record describes. A path of the previous
 * image lies in one of those components, or in one that is as it was, so what was not read cannot have another time.
 */
import { during } from '../registry/errors.ts';
import type { Image } from '../registry/image.ts';
import type { Component } from './components.ts';
import type { Context } from './context.ts';
import { digestComponent } from './fingerprint.ts';
import { loadTree } from './load.ts';
import type { PastImage } from './memory.ts';
import type { PlanRecord } from './record.ts';
import type { Tree } from './tree.ts';

/** What of the previous image is wanted. */
export interface PreviousOptions {
  /** All of it, since directories are compared too, which no component holds. */
  readonly directories: 'inherit' | 'leave';
}

/**
 * The file system of the previous image, without what is known to be as in `components`; undefined where nothing is left, or the
 * image is `image` itself. Throws where a layer cannot be read.
 */
export async function readPrevious(
  past: PastImage,
  image: Image,
  components: readonly Component[],
  options: PreviousOptions,
  context: Context,
): Promise<Tree | undefined> {
  const { layers, source } = past.image;
  const isPartial = past.record !== undefined && options.directories === 'leave';
  const unchanged = isPartial ? unchangedLayers(past.record, components) : new Set<number>();
  const isKnown = isSame(past.image, image) || layers.every((_, number) => unchanged.has(number));
  // A directory tree has no layers, and a manifest that does not depend on what is in it.
  if (isKnown && !source.tree) return undefined;
  const own = { ...context, step: 'previous' } as const;
  const doing = `inheriting times from ${source.reference} (--mtime keep and --fresh do without)`;
  const { tree } = await during(doing, () =>
    loadTree(past.image, own, (number) => !unchanged.has(number)),
  );
  return tree;
}

function isSame(a: Image, b: Image): boolean {
  return a.manifestDocument.descriptor.digest === b.manifestDocument.descriptor.digest;
}

/** The numbers of the layers that hold nothing but components as they are now. */
function unchangedLayers(record: PlanRecord, components: readonly Component[]): Set<number> {
  const digests = new Map(components.map((one) => [one.id, digestComponent(one)]));
  const numbers = record.layers.map((layer, number) => {
    const isSame = [...layer.components].every(([id, { digest }]) => digests.get(id) === digest);
    return isSame ? number : -1;
  });
  return new Set(numbers);
}
