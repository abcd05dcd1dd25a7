/** What rechunking an image would do: its components and planned layers, without anything being written. */
import { openImage, type PlatformChoice, type Source } from '../registry/image.ts';
import { formatPlatform } from '../registry/oci.ts';
import { type OpenBase, openBase } from './below.ts';
import type { ComponentInfo } from './components.ts';
import { type RunOptions, withContext } from './context.ts';
import { type RateSource, rateSource } from './evidence.ts';
import { type Grouping, type GroupOptions, groupImage } from './grouping.ts';
import { shareLayers } from './load.ts';
import { type MemorySources, openMemory } from './memory.ts';
import { type PlanItem, type PlanOptions, plan as planItems } from './plan.ts';
import type { Excuse } from './policy.ts';
import { type RehearsedLayer, rehearse, type UpdateNow } from './rehearse.ts';
import type { StackedLayer } from './stack.ts';
import { type BaseReport, weighBase } from './weigh.ts';

/** A planned component, for people and scripts. */
export interface PlannedComponent extends ComponentInfo {
  /** Estimated compressed bytes. */
  readonly size: number;
  /** Expected changes in a million updates, before anything was observed. */
  readonly rate: number;
  /** How many observed updates `rate` counts for; absent where that is the plan's default. */
  readonly weight?: number;
  /** What it is expected to change together with: components of one release process (an npm scope). */
  readonly family?: string;
  /** What `rate` rests on. */
  readonly source: RateSource;
  /** In how many of the observed updates it changed. */
  readonly observed: number;
  /** Probability that an update changes it, in millionths: `rate` and what was observed. */
  readonly changes: number;
  /** The layer that it is in, 1 the lowest. */
  readonly layer: number;
  /** The layer of the image that is continued in which it was, 1 the lowest; absent where it is new. */
  readonly previousLayer?: number;
  readonly entries: number;
}

/** A planned layer; layers are numbered from 1, the lowest. */
export interface ReportedLayer extends Omit<StackedLayer, 'entries' | 'digest' | 'existing'> {
  readonly layer: number;
  /** Compressed bytes, measured; only where a plan is continued. */
  readonly blobSize?: number;
  /** The layer of the image that is continued that this one is; absent where it is none. */
  readonly previousLayer?: number;
}

/** What a plan says, without anything being written. */
export interface PlanReport {
  /** As it was asked for; never with credentials. */
  readonly reference: string;
  /** The digest of the image. */
  readonly source: string;
  readonly platform: string;
  readonly entries: number;
  /** Sorted by id. */
  readonly components: readonly PlannedComponent[];
  /** From most to least stable. */
  readonly layers: readonly ReportedLayer[];
  /** Estimated compressed bytes of the image. */
  readonly size: number;
  /** Estimated compressed bytes that an update pulls. */
  readonly updateBytes: number;
  /** The same with Docker's graph drivers, which pull every layer above the first that changed; layers taken as independent. */
  readonly updateChainBytes: number;
  /** How many earlier updates were observed. */
  readonly observed: number;
  /** Absent where no plan is continued. */
  readonly now?: UpdateNow;
  /** What keeping the base means; absent where none is kept. */
  readonly base?: BaseReport;
  readonly excuses: readonly Excuse[];
}

/** What decides how an image is planned. */
export interface PreviewOptions extends GroupOptions, PlatformChoice {
  /** What earlier images tell. */
  readonly memory?: MemorySources | undefined;
  /** Opens the base whose layers stay; default: there is none. */
  readonly base?: OpenBase | undefined;
}

/** Reads the image `source` and plans its layers; writes nothing. */
export async function plan(
  source: Source,
  options: PreviewOptions & RunOptions = {},
): Promise<PlanReport> {
  return withContext(options, async (context) => {
    const image = await openImage(source, options);
    const memory = await openMemory(options.memory ?? {}, image.platform, context);
    const base = options.base && (await openBase(options.base, image));
    // Each layer is read once, though the image is grouped with its base and without.
    const shared = base && shareLayers([image, image, base]);
    const reading = { ...context, shared };
    const how = { ...options, base, memory };
    const grouping = await groupImage(image, how, reading);
    const { tree, stack, recollection, excuses } = grouping;
    const distinct = [...new Set(stack)];
    const rehearsal = await rehearse(grouping, memory, context);
    const { below } = grouping;
    const weighed = below && (await weighBase(image, { ...grouping, below }, how, reading));
    return {
      reference: source.reference,
      source: image.manifestDocument.descriptor.digest,
      platform: formatPlatform(image.platform),
      entries: tree.entries.length,
      components: describeComponents(grouping, options),
      layers: stack.map((layer, i) => describeLayer(layer, i, rehearsal?.layers[i])),
      size: distinct.reduce((sum, { size }) => sum + size, 0),
      updateBytes: blobBytes(distinct),
      updateChainBytes: chainBytes(stack),
      observed: recollection.observed.updates,
      ...(rehearsal ? { now: rehearsal.now } : {}),
      ...(weighed ? { base: weighed } : {}),
      excuses,
    };
  });
}

function describeLayer(
  { entries, digest, existing, ...layer }: StackedLayer,
  i: number,
  rehearsed: RehearsedLayer | undefined,
): ReportedLayer {
  const { previous, size: blobSize } = rehearsed ?? {};
  return {
    ...layer,
    layer: i + 1,
    ...(blobSize === undefined ? {} : { blobSize }),
    ...(previous === undefined ? {} : { previousLayer: previous + 1 }),
  };
}

function describeComponents(
  { components, items, stack, recollection }: Grouping,
  options: PlanOptions,
): PlannedComponent[] {
  const byId = new Map(items.map((item) => [item.id, item]));
  const layers = new Map(
    stack.flatMap(({ components: ids }, i) => ids.map((id) => [id, i + 1] as const)),
  );
  const { updates: observed } = recollection.observed;
  return components.map(({ entries, ...info }) => {
    const item = byId.get(info.id) as PlanItem;
    return {
      ...info,
      size: item.size,
      rate: item.rate,
      ...(item.weight === undefined ? {} : { weight: item.weight }),
      ...(item.family === undefined ? {} : { family: item.family }),
      source: rateSource(info),
      observed: item.events?.length ?? 0,
      changes: chanceOf(item, { priorUpdates: options.priorUpdates, observed }),
      layer: layers.get(info.id) ?? 0,
      ...(item.previous === undefined ? {} : { previousLayer: item.previous + 1 }),
      entries: entries.length,
    };
  });
}

/** The chance of a component as the planner sees it: of a layer that holds nothing else. */
function chanceOf({ previous, changed, ...alone }: PlanItem, options: PlanOptions): number {
  return planItems([alone], options).layers[0]?.changes ?? 0;
}

const MILLION = 1_000_000;

/** Expected bytes of the layers that change. */
function blobBytes(layers: readonly StackedLayer[]): number {
  const expected = ({ size, changes }: StackedLayer): number => (size * changes) / MILLION;
  return Math.round(layers.reduce((sum, layer) => sum + expected(layer), 0));
}

/** Expected bytes of all layers from the lowest that changes. */
function chainBytes(layers: readonly StackedLayer[]): number {
  let allStay = 1;
  let bytes = 0;
  for (const { size, changes } of layers) {
    allStay *= 1 - changes / MILLION;
    bytes += size * (1 - allStay);
  }
  return Math.round(bytes);
}
