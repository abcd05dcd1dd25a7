/**
 * Our planner on a series of releases, with as much memory as `build` has: the only place where the bench calls `plan()`. What is
 * remembered goes through the same functions as in `build`; a state's number stands for the component's digest.
 */
import { type PlanItem, type PlanOptions, plan } from '../../rechunk/plan.ts';
import { expectChanges } from '../../rechunk/rate.ts';
import type { PlanRecord } from '../../rechunk/record.ts';
import {
  type Digests,
  findHomes,
  NOTHING_OBSERVED,
  type Observed,
  observe,
  rememberItems,
} from '../../rechunk/remember.ts';
import type { ComponentFacts, Release } from '../series/series.ts';
import { layersOf, type PackerMaker, type Packing } from './layers.ts';

/** What is remembered: nothing, the last plan, or also which components changed in each of the last updates. */
export type Memory = 'nothing' | 'plan' | 'history';

function itemsOf(release: Release): PlanItem[] {
  return [...release.components].map(([id, facts]) => ({
    id,
    size: facts.compressedSize,
    tarSize: facts.size,
    ...expectChanges(facts, release.date),
  }));
}

function packPlanned(release: Release, items: readonly PlanItem[], options: PlanOptions): Packing {
  const { layers } = plan(items, options);
  return layersOf(
    release,
    layers.map(({ components }) => components),
  );
}

/** Numbers states. */
class States {
  readonly #numbers = new Map<ComponentFacts, string>();

  digestsOf({ components }: Release): Digests {
    return new Map([...components].map(([id, state]) => [id, this.#digestOf(state)]));
  }

  #digestOf(state: ComponentFacts): string {
    const digest = this.#numbers.get(state) ?? String(this.#numbers.size).padStart(8, '0');
    this.#numbers.set(state, digest);
    return digest;
  }
}

function recordOf(packing: Packing, digests: Digests, { updates, changes }: Observed): PlanRecord {
  const layers = packing.map((layer) => ({
    fingerprint: '',
    components: new Map(
      layer.map(({ id }) => [id, { digest: digests.get(id) ?? '', changes: changes.get(id) ?? 0 }]),
    ),
  }));
  return { observed: updates, layers };
}

/** Packs as `build` does with this much memory. */
export function packOurs(memory: Memory): PackerMaker {
  return (maxLayers) => {
    const states = new States();
    let record: PlanRecord | undefined;
    return (release) => {
      const digests = states.digestsOf(release);
      const past = record && findHomes(record, digests);
      const observed = past && memory === 'history' ? observe(past, digests) : NOTHING_OBSERVED;
      const packing = packPlanned(
        release,
        rememberItems(itemsOf(release), digests, past, observed),
        {
          maxLayers,
          observed: observed.updates,
          previousLayers: past?.record.layers.map(({ components }) => components.size),
        },
      );
      if (memory !== 'nothing') record = recordOf(packing, digests, observed);
      return packing;
    };
  };
}
