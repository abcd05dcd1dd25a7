/** The rivals as packers of releases: each rule over the components that a tool sees. */
import type { Release } from '../../series/series.ts';
import type { Packer, PackerMaker, Packing } from '../layers.ts';
import { chunkahStability, packChunkah } from './chunkah.ts';
import { type HhdLayers, halfWeeks, packHhd } from './hhd.ts';
import { continueOstree, type OstreeBins, ostreeFrequency, packOstree } from './ostree.ts';
import { chunkahSees, ostreeSees, type See, type Seen, seeOurs } from './seen.ts';

/** Whether a rule is given its own last plan. */
type Memory = 'forgetful' | 'remembering';

/** A component without changelog that a package owns: chunkah's `user.update-interval` is weekly where nobody set it. */
const WEEKLY = Math.exp(-1);

function layersOfNames(seen: readonly Seen[], bins: Iterable<readonly string[]>): Packing {
  const byName = new Map(seen.map((one) => [one.name, one]));
  return [...bins]
    .map((names) => names.flatMap((name) => byName.get(name)?.states ?? []))
    .filter((layer) => layer.length > 0);
}

/** When the newest package was built, which rpm-ostree takes for now. */
function newestBuild(seen: readonly Seen[], release: Release): number {
  const times = seen.flatMap(({ changeTimes }) => changeTimes.at(-1) ?? []);
  return times.length > 0 ? times.reduce((a, b) => Math.max(a, b)) : release.date;
}

function chunkah(makeSee: () => See): PackerMaker {
  return (maxLayers) => {
    const see = makeSee();
    return (release) => {
      const seen = see(release);
      const items = seen.map(({ name, size, owned, changeTimes }) => ({
        name,
        size,
        stability: stabilityOf(owned, changeTimes, release.date),
      }));
      const groups = packChunkah(items, maxLayers);
      return groups.map((group) => group.flatMap((i) => seen[i]?.states ?? []));
    };
  };
}

function stabilityOf(owned: boolean, changeTimes: readonly number[], now: number): number {
  if (!owned) return 0;
  return changeTimes.length > 0 ? chunkahStability(changeTimes, now) : WEEKLY;
}

/** `rpm-ostree` looks at the image that its output names before it is told not to. */
function ostree(makeSee: () => See, memory: Memory): PackerMaker {
  return (maxLayers) => {
    const see = makeSee();
    let previous: OstreeBins | undefined;
    return (release) => {
      const seen = see(release);
      const now = newestBuild(seen, release);
      const items = seen.map(({ name, size, owned, changeTimes }) => ({
        name,
        size,
        frequency: owned ? ostreeFrequency(changeTimes, now) : Number.POSITIVE_INFINITY,
      }));
      const names = items.map(({ name }) => name);
      const bins = previous ? continueOstree(previous, names) : packOstree(items, maxLayers);
      if (memory === 'remembering') previous = bins;
      return layersOfNames(seen, bins);
    };
  };
}

function hhd(makeSee: () => See, memory: Memory): PackerMaker {
  return (maxLayers): Packer => {
    const see = makeSee();
    let previous: HhdLayers | undefined;
    return (release) => {
      const all = see(release);
      const unowned = all.filter(({ owned }) => !owned);
      const size = unowned.reduce((sum, one) => sum + one.size, 0);
      const rest = { name: 'unpackaged', size, states: unowned.flatMap(({ states }) => states) };
      const seen = [
        ...all.filter(({ owned }) => owned),
        ...(unowned.length > 0 ? [{ ...rest, owned: false, changeTimes: [] }] : []),
      ];
      const items = seen.map(({ name, size, owned, changeTimes }) => ({
        name,
        size,
        updates: halfWeeks(changeTimes, release.date),
        dedicated: !owned,
      }));
      const layers = packHhd(items, maxLayers, previous);
      if (memory === 'remembering') previous = layers;
      return layersOfNames(seen, layers);
    };
  };
}

/** The rivals' rules over our components: the fair comparison. */
export const RIVAL_RULES: Readonly<Record<string, PackerMaker>> = {
  "chunkah's rule": chunkah(seeOurs),
  "rpm-ostree's rule, fresh": ostree(seeOurs, 'forgetful'),
  "rpm-ostree's rule, remembering": ostree(seeOurs, 'remembering'),
  "hhd's rule, fresh": hhd(seeOurs, 'forgetful'),
  "hhd's rule, remembering": hhd(seeOurs, 'remembering'),
};

/** Models of the rivals as shipped, with the components that they see; rpm-ostree as it is by default, remembering. */
export const RIVALS_SHIPPED: Readonly<Record<string, PackerMaker>> = {
  'chunkah as shipped': chunkah(chunkahSees),
  'rpm-ostree as shipped': ostree(ostreeSees, 'remembering'),
};
