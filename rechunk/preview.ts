/** What rechunking an image would do: its components and planned layers, without anything being written. */
import { openImage, type Source } from '../registry/image.ts';
import { formatPlatform, type Platform } from '../registry/oci.ts';
import type { ComponentInfo } from './components.ts';
import { type RunOptions, withContext } from './context.ts';
import { type GroupOptions, groupImage } from './grouping.ts';
import type { PlannedLayer } from './plan.ts';
import type { Excuse } from './policy.ts';

/** A planned component, for people and scripts. */
export interface PlannedComponent extends ComponentInfo {
  /** Estimated compressed bytes. */
  readonly size: number;
  /** Expected changes in a million updates. */
  readonly rate: number;
  readonly entries: number;
}

/** What a plan says, without anything being written. */
export interface PlanReport {
  readonly source: string;
  readonly platform: string;
  readonly entries: number;
  /** Sorted by id. */
  readonly components: readonly PlannedComponent[];
  /** From most to least stable. */
  readonly layers: readonly PlannedLayer[];
  /** Estimated compressed bytes of the image. */
  readonly size: number;
  /** Estimated compressed bytes that an update pulls. */
  readonly updateBytes: number;
  readonly excuses: readonly Excuse[];
}

/** Reads the image `source` and plans its layers; writes nothing. */
export async function planSource(
  source: Source,
  options: GroupOptions &
    RunOptions & { readonly platform?: Platform; readonly hostPlatform: Platform },
): Promise<PlanReport> {
  return withContext(options, async (context) => {
    const image = await openImage(source, options);
    const { tree, components, items, plan, excuses } = await groupImage(image, options, context);
    const byId = new Map(items.map((item) => [item.id, item]));
    return {
      source: image.manifestDocument.descriptor.digest,
      platform: formatPlatform(image.platform),
      entries: tree.entries.length,
      components: components.map(({ entries, ...info }) => ({
        ...info,
        size: byId.get(info.id)?.size ?? 0,
        rate: byId.get(info.id)?.rate ?? 0,
        entries: entries.length,
      })),
      layers: plan.layers,
      size: items.reduce((sum, item) => sum + item.size, 0),
      updateBytes: plan.updateBytes,
      excuses,
    };
  });
}
