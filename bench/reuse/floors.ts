/** What no layout goes below: changed components once, changed files once. */
import type { ComponentFacts, Release } from '../series/series.ts';
import { sizeOf, type Update } from './layers.ts';

/** States of the later release that the earlier has not. */
export function changedStates(before: Release, after: Release): ComponentFacts[] {
  const known = new Set(before.components.values());
  return [...after.components.values()].filter((state) => !known.has(state));
}

/** Bytes that an update of releases from one to a later pulls at least, by their indices. */
export type Floor = (releases: readonly Release[], from: number, to: number) => number;

/** Compressed bytes of each changed component, whole: what packing whole components cannot go below. */
export const packageFloor: Floor = (releases, from, to) =>
  sizeOf(changedStates(releases[from] as Release, releases[to] as Release));

/** Contents of each release, collected once. */
const contents = new WeakMap<Release, ReadonlySet<string>>();

function contentsOf(release: Release): ReadonlySet<string> {
  const known = contents.get(release);
  if (known) return known;
  const all = new Set<string>();
  for (const { files } of release.components.values()) for (const f of files) all.add(f.content);
  contents.set(release, all);
  return all;
}

/** Bytes of what changed in a component, from each of its states to the next, as the series states them. */
function changedSizes(releases: readonly Release[], from: number, to: number, id: string): number {
  const states = releases.slice(from, to + 1).map(({ components }) => components.get(id));
  return states.reduce((sum, state, i) => {
    const isNew = i > 0 && state !== undefined && state !== states[i - 1];
    return isNew ? sum + state.changedSize : sum;
  }, 0);
}

/**
 * Compressed bytes of files whose content the earlier release has nowhere, each content once, without tar headers: what no
 * sharing of whole files goes below. Small files of one component weigh less together than alone; where the series' figure
 * for them (`changedSize`) is the smaller, it counts.
 */
export const fileFloor: Floor = (releases, from, to) => {
  const [before, after] = [releases[from] as Release, releases[to] as Release];
  const known = contentsOf(before);
  const seen = new Set<string>();
  let sum = 0;
  for (const state of changedStates(before, after)) {
    let alone = 0;
    for (const { content, compressedSize } of state.files) {
      if (content === '' || known.has(content) || seen.has(content)) continue;
      seen.add(content);
      alone += compressedSize;
    }
    sum += Math.min(alone, changedSizes(releases, from, to, state.id));
  }
  return sum;
};

/** The floor as if it were a packing: by chain no less, and no layers to speak of. */
export function floorUpdates(floor: Floor, releases: readonly Release[], stride: number): Update[] {
  return releases.slice(stride).map((release, from) => {
    const bytes = floor(releases, from, from + stride);
    return {
      from,
      bytes,
      chainBytes: bytes,
      layers: 0,
      size: sizeOf(release.components.values()),
    };
  });
}
