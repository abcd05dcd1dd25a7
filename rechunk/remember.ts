/**
 * What an earlier plan says of the components of now: where each was, whether it is as it was, and in which updates it changed.
 * Pure.
 */
import type { PlanItem } from './plan.ts';
import { OBSERVED_LIMIT, type PlanRecord, type RecordedComponent } from './record.ts';

/** Short digests of components, by id. */
export type Digests = ReadonlyMap<string, string>;

/** In which of the last updates components changed. */
export interface Observed {
  /** Updates that were observed, at most {@link OBSERVED_LIMIT}. */
  readonly updates: number;
  /** By component id; bit 0 is the last update. */
  readonly changes: ReadonlyMap<string, number>;
}

const MASK = 2 ** OBSERVED_LIMIT - 1;

/** Where the components of now stand in an earlier plan. */
export interface Past {
  readonly record: PlanRecord;
  /** The recorded id and layer of each component of now that was there, under its own name or, as it was, under another. */
  readonly homes: ReadonlyMap<string, Home>;
}

/** Where a component was, and what was recorded of it. */
export interface Home extends RecordedComponent {
  /** The layer's number in the earlier plan. */
  readonly layer: number;
}

/** Finds the components of now in an earlier plan: by id; else by digest (renamed); else a part where the whole was. */
export function findHomes(record: PlanRecord, digests: Digests): Past {
  const byId = new Map<string, Home>();
  const gone = new Map<string, Home>();
  record.layers.forEach(({ components }, layer) => {
    for (const [id, component] of components) {
      const home = { ...component, layer };
      byId.set(id, home);
      if (!digests.has(id) && component.digest !== '') gone.set(component.digest, home);
    }
  });
  const homes = new Map<string, Home>();
  for (const [id, digest] of digests) {
    const home = byId.get(id) ?? gone.get(digest) ?? wholeOf(id, byId);
    if (home) homes.set(id, home);
  }
  return { record, homes };
}

/** Where the component was that `id` is a part of (`ID#1`); its content counts as changed. */
function wholeOf(id: string, byId: ReadonlyMap<string, Home>): Home | undefined {
  const whole = byId.get(id.replace(/#[^#]*$/, ''));
  return whole && { ...whole, digest: `part ${whole.digest}` };
}

/** Whether a component is other than it was, as far as digests of both are known: of content and times, or of content only. */
function isChanged(home: Home | undefined, digest: string): boolean {
  if (home === undefined) return true;
  const known = Math.min(home.digest.length, digest.length);
  return home.digest.slice(0, known) !== digest.slice(0, known);
}

/**
 * What was observed, with the update from the earlier plan to the components of now. An update in which nothing changed is none:
 * building the same again must give the same.
 */
export function observe({ record, homes }: Past, digests: Digests): Observed {
  const before = record.layers.reduce((sum, { components }) => sum + components.size, 0);
  const changed = new Set(
    [...digests].flatMap(([id, digest]) => (isChanged(homes.get(id), digest) ? [id] : [])),
  );
  const isUpdate = changed.size > 0 || homes.size !== before;
  const changes = new Map<string, number>();
  for (const id of digests.keys()) {
    const known = homes.get(id)?.changes ?? 0;
    changes.set(id, isUpdate ? ((known << 1) | Number(changed.has(id))) & MASK : known);
  }
  return { updates: Math.min(OBSERVED_LIMIT, record.observed + Number(isUpdate)), changes };
}

/** Nothing was observed. */
export const NOTHING_OBSERVED: Observed = { updates: 0, changes: new Map() };

/** What was observed from image to image: the digests of each, oldest first, and what each itself recorded, which counts where it looks back further. */
export function observeHistory(
  images: readonly { readonly digests: Digests; readonly record: PlanRecord | undefined }[],
): Observed {
  let observed = NOTHING_OBSERVED;
  let before: PlanRecord | undefined;
  for (const { digests, record } of images) {
    if (before) observed = observe(findHomes(before, digests), digests);
    if (record && record.observed > observed.updates) observed = observedBy(record);
    before = recordDigests(digests, observed);
  }
  return observed;
}

function observedBy(record: PlanRecord): Observed {
  const components = record.layers.flatMap((layer) => [...layer.components]);
  return {
    updates: record.observed,
    changes: new Map(components.map(([id, { changes }]) => [id, changes])),
  };
}

/** A record that holds digests and what was observed up to them, and no layers to speak of. */
export function recordDigests(digests: Digests, { updates, changes }: Observed): PlanRecord {
  const components = new Map(
    [...digests].map(([id, digest]) => [id, { digest, changes: changes.get(id) ?? 0 }]),
  );
  return { observed: updates, layers: [{ fingerprint: '', components }] };
}

/** The record with what was observed up to its image by other means, where that looks back further. */
export function withObserved(record: PlanRecord, observed: Observed): PlanRecord {
  if (record.observed >= observed.updates) return record;
  const layers = record.layers.map(({ fingerprint, components }) => ({
    fingerprint,
    components: new Map(
      [...components].map(([id, component]) => [
        id,
        { ...component, changes: observed.changes.get(id) ?? 0 },
      ]),
    ),
  }));
  return { observed: observed.updates, layers };
}

/** The digests that a record has, by component id. */
export function digestsOf(record: PlanRecord): Digests {
  const components = record.layers.flatMap((layer) => [...layer.components]);
  return new Map(components.map(([id, { digest }]) => [id, digest]));
}

/** The numbers of the observed updates that `mask` has, ascending, the oldest update being 0. */
function eventsOf(mask: number, updates: number): number[] {
  const events: number[] = [];
  for (let bit = updates - 1; bit >= 0; bit--) {
    if (mask & (1 << bit)) events.push(updates - 1 - bit);
  }
  return events;
}

/** The planner's items with what is remembered of them. */
export function rememberItems(
  items: readonly PlanItem[],
  digests: Digests,
  past: Past | undefined,
  observed: Observed,
): PlanItem[] {
  return items.map((item) => {
    const events = eventsOf(observed.changes.get(item.id) ?? 0, observed.updates);
    const home = past?.homes.get(item.id);
    return {
      ...item,
      ...(events.length > 0 && { events }),
      ...(home && { previous: home.layer, changed: isChanged(home, digests.get(item.id) ?? '') }),
    };
  });
}
