/** A planned image as its layers, lowest first: what each is for, and what it holds. */
import type { Layer, Source } from '../registry/image.ts';
import { comparePaths } from '../registry/path.ts';
import { whiteoutsOf } from './base.ts';
import type { Below } from './below.ts';
import type { Component } from './components.ts';
import { compressedSizeOf, tarSizeOf } from './estimate.ts';
import { digestContent } from './fingerprint.ts';
import {
  type ParentsPolicy,
  type Skeletons,
  skeletonOf,
  skeletonsAbove,
  surround,
  withSkeletons,
} from './parents.ts';
import type { Plan, PlannedLayer } from './plan.ts';
import { SKELETON_RATE, WHITEOUT_RATE } from './rate.ts';
import type { Entry, Tree } from './tree.ts';

/**
 * What a layer is for: to hold components, or directories for the layers that leave them out, or to hide what the image deletes of
 * its base; or it is one of the base's.
 */
export type LayerRole = 'content' | 'skeleton' | 'whiteouts' | 'base';

/** One layer of a planned image. */
export interface StackedLayer extends Omit<PlannedLayer, 'kept'> {
  readonly role: LayerRole;
  /** All that it holds, in canonical order, hard-link groups whole; made anew each time. Nothing is said of a base's layer. */
  readonly entries: () => readonly Entry[];
  /** A digest of all that decides `entries`, where there is one that is sooner made. */
  readonly digest?: () => string;
  /** The layer as it is, of a base. */
  readonly existing?: ExistingLayer;
}

/** A layer that stays as it is, and where its blob can be read. */
export interface ExistingLayer extends Layer {
  readonly source: Source;
}

/** What decides the layers of an image. */
export interface StackInput {
  readonly tree: Tree;
  readonly components: readonly Component[];
  readonly plan: Plan;
  /** The base whose layers stay; default none. */
  readonly below?: Below | undefined;
}

/** The layers of a planned image, lowest first. A skeleton that comes first and last is one object, twice. */
export function stackLayers(
  { tree, components, plan, below }: StackInput,
  policy: ParentsPolicy,
): readonly StackedLayer[] {
  const byId = new Map(components.map((one) => [one.id, one]));
  const content = plan.layers.map(({ kept, ...planned }): StackedLayer => {
    const members = planned.components.flatMap((id) => byId.get(id) ?? []);
    const entries = (): Entry[] => {
      const own = members.flatMap((one) => one.entries);
      own.sort((a, b) => comparePaths(a.path, b.path));
      return [...surround(policy, tree, own)];
    };
    const digest = (): string => digestContent(tree, members);
    const isWhole = policy.kind === 'full' && !below;
    return { ...planned, role: 'content', entries, ...(isWhole && { digest }) };
  });
  const own = withSkeletons(policy, skeletonsOf(tree, below, policy), content);
  return below ? [...layersBelow(below), ...whiteoutLayers(below, policy), ...own] : own;
}

function skeletonsOf(
  tree: Tree,
  below: Below | undefined,
  policy: ParentsPolicy,
): Skeletons<StackedLayer> {
  const whole = below ? undefined : skeletonOf(tree);
  const { first, last } = below
    ? skeletonsAbove(policy, below.overlay)
    : { first: whole, last: whole };
  const made = layerWithout('skeleton', first ?? [], SKELETON_RATE);
  return {
    first: made,
    last: first === last ? made : layerWithout('skeleton', last ?? [], SKELETON_RATE),
  };
}

/** A layer of no components; undefined where there is nothing to hold. */
export function layerWithout(
  role: LayerRole,
  entries: readonly Entry[],
  changes: number,
): StackedLayer | undefined {
  if (entries.length === 0) return undefined;
  const sum = (size: (entry: Entry) => number): number =>
    entries.reduce((total, entry) => total + size(entry), 0);
  const sizes = { size: sum(compressedSizeOf), tarSize: sum(tarSizeOf) };
  return { role, components: [], ...sizes, changes, entries: () => entries };
}

/** The layers of a base, as they are. */
function layersBelow({ image, loaded, changes }: Below): StackedLayer[] {
  return image.layers.map(
    (layer, i): StackedLayer => ({
      role: 'base',
      components: [],
      size: layer.descriptor.size,
      tarSize: loaded.tarSizes[i] ?? 0,
      changes: changes[i] ?? 0,
      entries: () => [],
      existing: { ...layer, source: image.source },
    }),
  );
}

function whiteoutLayers({ overlay }: Below, policy: ParentsPolicy): StackedLayer[] {
  const whiteouts = whiteoutsOf(overlay);
  const entries = whiteouts.length > 0 ? [...surround(policy, overlay.tree, whiteouts)] : [];
  const layer = layerWithout('whiteouts', entries, WHITEOUT_RATE);
  return layer ? [layer] : [];
}
