/**
 * What images that exist already tell of the one that is built now: where clients have its components, what changed from
 * image to image, and which layers need not be made again. Only manifests, configs and recorded plans are read here.
 */
import { RechunkError } from '../registry/errors.ts';
import { type Image, openImage, type Source } from '../registry/image.ts';
import { type Annotations, formatPlatform, type Platform } from '../registry/oci.ts';
import { readAttachedRecord } from './attached.ts';
import type { Context } from './context.ts';
import { type ForeignPlan, readForeignPlan } from './foreign.ts';
import { labelsOf, OWN, rolesOf } from './metadata.ts';
import {
  isPrecise,
  PLAN_LABEL,
  type PlanRecord,
  parseRecord,
  type RecordedComponent,
  unescapeId,
} from './record.ts';

/** Where memory comes from; the caller opens and closes it. */
export interface MemorySources {
  /** Images that clients have, the one whose plan is continued first. */
  readonly previous?: readonly Source[] | undefined;
  /** Earlier images, of which only the changes from one to the next count. */
  readonly history?: readonly Source[] | undefined;
  /** How many of them count, the newest; default all. With it, sources that hold no image are passed over. */
  readonly historyLimit?: number | undefined;
  /** Continues no plan, also not that of the newest image of the history, which it is where no previous image is given. */
  readonly fresh?: boolean | undefined;
  /** Images whose layers may be used as they are. */
  readonly reuseFrom?: readonly Source[] | undefined;
}

/** An image that exists already. */
export interface PastImage {
  readonly image: Image;
  /** The plan that it records; undefined where it was not made by this program. */
  readonly record: PlanRecord | undefined;
}

/** What is known of earlier images, for one platform. */
export interface Memory {
  /** Images that clients have, the one whose plan is continued first. */
  readonly previous: readonly PastImage[];
  /** Earlier images, oldest first. */
  readonly history: readonly PastImage[];
  /** Every image whose layers may be used as they are. */
  readonly reusable: readonly Image[];
  /** Another tool's plan in the first previous image, where it has none of ours. */
  readonly foreign?: ForeignPlan | undefined;
}

/** Images that are opened at a time. */
const AT_ONCE = 8;

/** Nothing is known. */
export const NO_MEMORY: Memory = { previous: [], history: [], reusable: [] };

/** Reads what `sources` tell for `platform`; what has no image for it tells nothing. */
export async function openMemory(
  sources: MemorySources,
  platform: Platform,
  context: Context,
): Promise<Memory> {
  const open = async (
    list: readonly Source[] | undefined,
    skipped: readonly string[] = ['platform'],
  ): Promise<PastImage[]> => {
    const images: (PastImage | undefined)[] = [];
    for (let i = 0; i < (list ?? []).length; i += AT_ONCE) {
      const some = (list ?? []).slice(i, i + AT_ONCE);
      images.push(...(await Promise.all(some.map((one) => openPast(one, platform, skipped)))));
    }
    return images.filter((image): image is PastImage => image !== undefined);
  };
  const given = await open(sources.previous);
  // Beside images a repository may hold charts, SBOMs and the like: what nobody named is passed over.
  const passed = sources.historyLimit === undefined ? ['platform'] : ['platform', 'unsupported'];
  const found = (await open(sources.history, passed)).sort(byCreation);
  const history = found.slice(-(sources.historyLimit ?? found.length));
  const previous = given.length > 0 || sources.fresh ? given : history.slice(-1);
  const [newest] = given.length === 0 ? previous : [];
  if (newest)
    context.onNotice?.(
      `${newest.image.source.reference}, the newest image of the history, is taken for the previous one`,
    );
  const others = await open(sources.reuseFrom);
  const [first] = previous;
  const foreign = first && !first.record ? readForeignPlan(first.image) : undefined;
  const [named] = sources.previous ?? [];
  if (named && !first?.record) context.onNotice?.(withoutPlan(named, platform, foreign));
  for (const past of [...previous, ...history]) tellUnusable(past, context);
  const reusable = [...previous, ...[...history].reverse(), ...others].map(({ image }) => image);
  return { previous, history, reusable, foreign };
}

/** Tells of a plan that an image records and that cannot be used, unless nothing is lost by it. */
function tellUnusable({ image, record }: PastImage, context: Context): void {
  const label = labelsOf(image.config)[PLAN_LABEL];
  if (label === undefined || readRecord(image) || (record && isPrecise(record))) return;
  const rest = record
    ? 'where its components are is read from its layers’ annotations'
    : 'it is not used';
  context.onNotice?.(
    `${image.source.reference} has a label ${PLAN_LABEL} that is damaged or of other layers: ${rest}`,
  );
}

function withoutPlan(source: Source, platform: Platform, foreign: ForeignPlan | undefined): string {
  const found = foreign ? `only that of ${foreign.key}, which is taken for a start` : '';
  return `${source.reference} holds no plan for ${formatPlatform(platform)}${found && `, ${found}`}: clients that have it may pull every layer once`;
}

/** Oldest first; images that say nothing of when they were made keep their order, before the others. */
function byCreation(a: PastImage, b: PastImage): number {
  const time = ({ image }: PastImage): number => Date.parse(image.config.created ?? '') || 0;
  return time(a) - time(b);
}

/** Opens an image; undefined where that fails with one of the codes `skipped`. */
async function openPast(
  source: Source,
  platform: Platform,
  skipped: readonly string[],
): Promise<PastImage | undefined> {
  try {
    const image = await openImage(source, { platform, hostPlatform: platform });
    return { image, record: await bestRecord(image) };
  } catch (error) {
    if (error instanceof RechunkError && skipped.includes(error.code)) return undefined;
    throw error;
  }
}

/** The record with every digest, where one is attached; else the label's, else what the layers' annotations say. */
async function bestRecord(image: Image): Promise<PlanRecord | undefined> {
  const record = readRecord(image);
  if (record && isPrecise(record)) return record;
  const isOurs = image.manifest.annotations?.[OWN.source] !== undefined;
  return ((isOurs || record) && (await readAttachedRecord(image))) || record || listedRecord(image);
}

/** The plan that an image records in its label. */
export function readRecord(image: Image): PlanRecord | undefined {
  const label = labelsOf(image.config)[PLAN_LABEL];
  const diffIds = image.layers.map(({ diffId }) => diffId);
  return label === undefined ? undefined : parseRecord(label, diffIds);
}

/** What the annotations of our layers list, without digests; undefined where a list is missing or cut. */
function listedRecord(image: Image): PlanRecord | undefined {
  const roles = rolesOf(image);
  const lists = image.layers.map(({ descriptor }, i) =>
    roles[i] === 'content' ? listedIds(descriptor.annotations ?? {}) : roles[i] && [],
  );
  const layers = lists.flatMap((ids) =>
    ids ? [{ fingerprint: '', components: new Map(ids.map((id) => [id, UNKNOWN] as const)) }] : [],
  );
  const ids = lists.flatMap((some = []) => some);
  const isSound = layers.length === lists.length && new Set(ids).size === ids.length;
  return isSound && ids.length > 0 ? { observed: 0, layers } : undefined;
}

const UNKNOWN: RecordedComponent = { digest: '', changes: 0 };

/** The components that a layer's annotations list whole. */
function listedIds(annotations: Annotations): readonly string[] | undefined {
  const { [OWN.components]: list = '' } = annotations;
  return list === '' || /\+\d+$/.test(list) ? undefined : list.split(' ').map(unescapeId);
}
