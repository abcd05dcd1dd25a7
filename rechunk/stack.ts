/** A planned image as its layers, lowest first: what each is for, and what it holds. */
import { comparePaths } from '../registry/path.ts';
import type { Component } from './components.ts';
import { compressedSizeOf, tarSizeOf } from './estimate.ts';
import { type ParentsPolicy, skeletonOf, surround, withSkeletons } from './parents.ts';
import type { Plan, PlannedLayer } from './plan.ts';
import { SKELETON_RATE } from './rate.ts';
import type { Entry, Tree } from './tree.ts';

/** What a layer is for: to hold components, or directories for the layers that leave them out. */
export type LayerRole = 'content' | 'skeleton';

/** One layer of a planned image. */
export interface StackedLayer extends Omit<PlannedLayer, 'kept'> {
  readonly role: LayerRole;
  /** All that it holds, in canonical order, hard-link groups whole; made anew each time. */
  readonly entries: () => readonly Entry[];
}

/** What decides the layers of an image. */
export interface StackInput {
  readonly tree: Tree;
  readonly components: readonly Component[];
  readonly plan: Plan;
}

/** The layers of a planned image, lowest first. A skeleton that comes first and last is one object, twice. */
export function stackLayers(
  { tree, components, plan }: StackInput,
  policy: ParentsPolicy,
): readonly StackedLayer[] {
  const byId = new Map(components.map((one) => [one.id, one]));
  const content = plan.layers.map(({ kept, ...planned }): StackedLayer => {
    const entries = (): Entry[] => {
      const own = planned.components.flatMap((id) => byId.get(id)?.entries ?? []);
      own.sort((a, b) => comparePaths(a.path, b.path));
      return [...surround(policy, tree, own)];
    };
    return { ...planned, role: 'content', entries };
  });
  return withSkeletons(policy, skeletonLayer(skeletonOf(tree)), content);
}

/** A layer of directories; undefined where there is none to hold. */
function skeletonLayer(directories: readonly Entry[]): StackedLayer | undefined {
  if (directories.length === 0) return undefined;
  const sum = (size: (entry: Entry) => number): number =>
    directories.reduce((total, entry) => total + size(entry), 0);
  return {
    role: 'skeleton',
    components: [],
    size: sum(compressedSizeOf),
    tarSize: sum(tarSizeOf),
    changes: SKELETON_RATE,
    entries: () => directories,
  };
}
