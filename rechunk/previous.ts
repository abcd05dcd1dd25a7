/**
 * As much of the previous image as there is to inherit from. What its record says to be as it is now is not read: only layers
 * that hold a component with another digest, and what lies above the layers that the record describes. A path of the previous
 * image lies in one of those components, or in one that is as it was, so what was not read cannot have another time. Layers of a base that
 * the record tells of are not read: what is as it was there and lies above a newer base keeps its new time.
 */
import { during } from '../registry/errors.ts';
import type { Image } from '../registry/image.ts';
import type { Path } from '../registry/path.ts';
import { type Component, type Detection, locator } from './components.ts';
import type { Context } from './context.ts';
import { digestComponent } from './fingerprint.ts';
import type { Ancestor } from './inherit.ts';
import { loadTree } from './load.ts';
import type { PastImage } from './memory.ts';
import { isPycName } from './pyc.ts';
import type { PlanRecord } from './record.ts';
import type { Tree } from './tree.ts';

/** What of the previous image is wanted. */
export interface PreviousOptions {
  /** All of it, since directories are compared too, which no component holds. */
  readonly directories: 'inherit' | 'leave';
}

/** What is known of the image that inherits. */
export interface Heir {
  readonly image: Image;
  readonly tree: Tree;
  readonly components: readonly Component[];
  readonly detections: readonly Detection[];
}

/**
 * What there is to inherit from the previous image: its file system without what is known to be as in `heir`; undefined where
 * nothing is left, or it is the same image. Throws where a layer cannot be read.
 */
export async function readPrevious(
  past: PastImage,
  heir: Heir,
  options: PreviousOptions,
  context: Context,
): Promise<Ancestor | undefined> {
  const { layers, source } = past.image;
  const isPartial = past.record !== undefined && options.directories === 'leave';
  const unchanged = isPartial ? unchangedLayers(past.record, heir.components) : new Set<number>();
  const isKnown =
    isSame(past.image, heir.image) || layers.every((_, number) => unchanged.has(number));
  // A directory tree has no layers, and a manifest that does not depend on what is in it.
  if (isKnown && !source.tree) return undefined;
  const own = { ...context, step: 'previous' } as const;
  const doing = `inheriting times from ${source.reference} (--mtime keep and --fresh do without)`;
  const { tree } = await during(doing, () =>
    loadTree(past.image, own, (number) => !unchanged.has(number)),
  );
  return { tree, stated: statedFiles(heir) };
}

/** Compiled files whose content a package states: RPM and apk ship them, so that their databases would be wrong about others. */
function statedFiles({ tree, detections }: Heir): Set<Path> {
  const locate = locator(tree);
  const claims = detections.flatMap((detection) => detection.claims);
  const stated = claims.flatMap(({ path, digest }) => {
    const found = digest && isPycName(path as Path) ? locate(path) : undefined;
    return found === undefined ? [] : [found];
  });
  return new Set(stated);
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
