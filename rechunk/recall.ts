/** Memory brought to bear on the components of an image: where the previous image had each, and in which updates it changed. */
import type { Component } from './components.ts';
import { type Context, withSpool } from './context.ts';
import { CONTENT_DIGITS, digestComponent } from './fingerprint.ts';
import { translatePlan } from './foreign.ts';
import type { Memory, PastImage } from './memory.ts';
import type { PlanOptions } from './plan.ts';
import { isPrecise, type PlanRecord, type RecordedLayer } from './record.ts';
import {
  type Digests,
  digestsOf,
  findHomes,
  NOTHING_OBSERVED,
  type Observed,
  observe,
  observeHistory,
  type Past,
  recordDigests,
  withObserved,
} from './remember.ts';

/** What memory says of the components of an image. */
export interface Recollection {
  /** Short digests of the components of now, by id. */
  readonly digests: Digests;
  /** Where the plan that is continued has them; undefined where there is none. */
  readonly past: Past | undefined;
  /** For each layer of that plan, the share of the previous images that have it. */
  readonly shares: readonly number[];
  /** Updates up to this image. */
  readonly observed: Observed;
}

/** What the planner is told of the past. */
export function pastOptions({ past, shares, observed }: Recollection): Partial<PlanOptions> {
  return {
    previousLayers: past?.record.layers.map((layer) => layer.components.size),
    previousShares: shares,
    observed: observed.updates,
  };
}

/** Reads the components of an image that records no plan. */
export type ReadComponents = (past: PastImage, context: Context) => Promise<readonly Component[]>;

/** Recalls what `memory` knows of `components`; layers are read, by `read`, only where an image of the history has no record. */
export async function recall(
  components: readonly Component[],
  memory: Memory,
  read: ReadComponents,
  context: Context,
): Promise<Recollection> {
  const digests = digestAll(components);
  const [previous] = memory.previous;
  const history = await observeImages(chainOf(memory), read, context);
  const known = { digests, past: pastOf(components, digests, memory), shares: sharesOf(memory) };
  if (previous?.record) {
    const record = withObserved(previous.record, history.observed);
    return { ...known, observed: observe(findHomes(record, digests), digests) };
  }
  if (!history.last) return { ...known, observed: NOTHING_OBSERVED };
  return { ...known, observed: observe(findHomes(history.last, digests), digests) };
}

function digestAll(components: readonly Component[]): Digests {
  return new Map(components.map((component) => [component.id, digestComponent(component)]));
}

function pastOf(
  components: readonly Component[],
  digests: Digests,
  { previous: [previous], foreign }: Memory,
): Past | undefined {
  if (previous?.record) return findHomes(previous.record, digests);
  return foreign && findHomes(translatePlan(foreign, components), digests);
}

/** How many of the previous images have each layer of the first one's plan, as a share; one that records no plan has none. */
function sharesOf({ previous }: Memory): readonly number[] {
  const nameOf = (layer: RecordedLayer): string => {
    const components = [...layer.components].map(([id, { digest }]) => `${id}=${digest}`);
    return layer.fingerprint || components.sort().join();
  };
  const had = previous.map(({ record }) => new Set(record?.layers.map(nameOf)));
  const layers = previous[0]?.record?.layers ?? [];
  return layers.map((layer) => {
    const count = had.filter((names) => names.has(nameOf(layer))).length;
    return count / previous.length;
  });
}

/** The images to observe, oldest first, each once: the history, then the image whose plan is continued. */
function chainOf({ previous: [previous], history }: Memory): readonly PastImage[] {
  if (history.length === 0) return [];
  const digest = (past: PastImage | undefined): string | undefined =>
    past?.image.manifestDocument.descriptor.digest;
  const before = history.filter((past) => digest(past) !== digest(previous));
  return previous ? [...before, previous] : before;
}

async function observeImages(
  chain: readonly PastImage[],
  read: ReadComponents,
  context: Context,
): Promise<{ observed: Observed; last: PlanRecord | undefined }> {
  const images: { digests: Digests; record: PlanRecord | undefined }[] = [];
  for (const past of chain) {
    const { record } = past;
    const digests =
      record && isPrecise(record) ? digestsOf(record) : await readDigests(past, read, context);
    images.push({ digests, record });
  }
  const observed = observeHistory(images);
  const last = images.at(-1);
  return { observed, last: last && recordDigests(last.digests, observed) };
}

/** Digests of content only: the times in an image that was not made by us are those of its installation. */
async function readDigests(
  past: PastImage,
  read: ReadComponents,
  context: Context,
): Promise<Digests> {
  const { source, manifestDocument } = past.image;
  const name = `${source.reference}@${manifestDocument.descriptor.digest}`;
  context.onNotice?.(`${name} records no plan: its layers are read for what changed`);
  const components = await withSpool(context, (own) => read(past, own));
  return new Map(
    [...digestAll(components)].map(([id, digest]) => [id, digest.slice(0, CONTENT_DIGITS)]),
  );
}
