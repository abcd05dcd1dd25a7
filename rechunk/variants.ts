/**
 * Variants of one product planned together, so that equal content lands in equal layers: what the same variants have just so is
 * a class, each class is planned alone, and every variant has the layers of its classes. Pure.
 *
 * Layers are dealt out where they save most: each class first gets as many as one image may have, then the pairs whose merging
 * costs least, counted once for each variant that pulls them, are merged until no variant has too many.
 */
import type { Prepared } from './grouping.ts';
import {
  DEFAULT_MAX_LAYERS,
  inOrder,
  type Plan,
  type PlanItem,
  type PlannedLayer,
  type PlanOptions,
  plan,
} from './plan.ts';
import { pastOptions } from './recall.ts';

/** What of an image the plan depends on. */
export type Variant = Pick<Prepared, 'items' | 'recollection'>;

/** Components that exactly these variants have, each with the same content in all of them. */
interface Class {
  /** Numbers of the variants, ascending. */
  readonly variants: readonly number[];
  readonly items: readonly PlanItem[];
}

/** Shared bytes (compressed, as estimated) below which a layer of their own is not worth it. */
const LEAST_SHARED: number = 64 << 10;
const MILLION = 1_000_000;

/** Plans of all `variants`, in their order; `maxLayers` holds for each of them. */
export function planTogether(variants: readonly Variant[], options: PlanOptions): Plan[] {
  const most = options.maxLayers ?? DEFAULT_MAX_LAYERS;
  const classes = fewClasses(variants, most);
  const first = classes.map((one) => planClass(one, variants, options, most));
  const counts = allot(
    classes.map(({ variants: members }, i) => ({
      variants: members,
      layers: first[i]?.layers ?? [],
    })),
    variants.length,
    most,
  );
  const plans = classes.map((one, i) => {
    const planned = first[i] as Plan;
    const count = counts[i] as number;
    return planned.layers.length > count ? planClass(one, variants, options, count) : planned;
  });
  return variants.map((variant, number) => {
    const own = plans.filter((_, i) => classes[i]?.variants.includes(number));
    return joinPlans(own, variant);
  });
}

/** Plans a class as the first of its variants that has an earlier plan remembers it. */
function planClass(
  { variants: members, items }: Class,
  variants: readonly Variant[],
  options: PlanOptions,
  maxLayers: number,
): Plan {
  const [first = 0] = members;
  const teller = members.find((number) => variants[number]?.recollection.past) ?? first;
  const { recollection, items: told } = variants[teller] as Variant;
  const ids = new Set(items.map(({ id }) => id));
  const own = told.filter(({ id }) => ids.has(id));
  return plan(own, { ...options, maxLayers, ...pastOptions(recollection) });
}

function classesOf(variants: readonly Variant[]): Class[] {
  const members = new Map<string, { item: PlanItem; variants: number[] }>();
  variants.forEach(({ items, recollection }, number) => {
    for (const item of items) {
      const key = `${recollection.digests.get(item.id)} ${item.id}`;
      const known = members.get(key);
      if (known) known.variants.push(number);
      else members.set(key, { item, variants: [number] });
    }
  });
  const grouped = Map.groupBy(members.values(), (one) => one.variants.join(' '));
  return [...grouped.values()].map((group) => ({
    variants: group[0]?.variants ?? [],
    items: group.map(({ item }) => item),
  }));
}

const sizeOf = ({ items }: Class): number => items.reduce((sum, { size }) => sum + size, 0);

/** The classes without those that share too little, and no more of them in a variant than it may have layers. */
function fewClasses(variants: readonly Variant[], most: number): Class[] {
  const shared = classesOf(variants).filter(({ variants }) => variants.length > 1);
  const saved = (one: Class): number => sizeOf(one) * (one.variants.length - 1);
  const kept = shared
    .filter((one) => saved(one) >= LEAST_SHARED)
    .sort((a, b) => saved(b) - saved(a));
  const isCrowded = (): boolean =>
    variants.some(
      (_, number) => kept.filter(({ variants }) => variants.includes(number)).length >= most,
    );
  while (kept.length > 0 && isCrowded()) kept.pop();
  const own = variants.map(({ items }, number): Class => {
    const elsewhere = new Set(
      kept
        .filter((one) => one.variants.includes(number))
        .flatMap((one) => one.items.map(({ id }) => id)),
    );
    // Their own items: what a variant had where is its own matter.
    return { variants: [number], items: items.filter(({ id }) => !elsewhere.has(id)) };
  });
  return [...kept, ...own].filter(({ items }) => items.length > 0);
}

/** The layers of one class while they are dealt out. */
interface Share {
  readonly variants: readonly number[];
  readonly layers: readonly Pick<PlannedLayer, 'size' | 'changes'>[];
}

/** Two layers of a class, and what merging them costs an update of every variant that has it. */
interface Merge {
  readonly a: number;
  readonly b: number;
  readonly cost: number;
}

/** How many layers each class may have, so that no variant has more than `most`. */
export function allot(classes: readonly Share[], count: number, most: number): number[] {
  const left = classes.map(({ layers }) => layers.map(({ size, changes }) => ({ size, changes })));
  const next = left.map((layers, i) => cheapestMerge(layers, classes[i]?.variants.length ?? 1));
  const layersOf = (number: number): number =>
    classes.reduce(
      (sum, { variants }, i) => sum + (variants.includes(number) ? (left[i]?.length ?? 0) : 0),
      0,
    );
  for (;;) {
    const crowded = new Set(
      Array.from({ length: count }, (_, i) => i).filter((number) => layersOf(number) > most),
    );
    if (crowded.size === 0) return left.map((layers) => layers.length);
    let best: { merge: Merge; i: number } | undefined;
    next.forEach((merge, i) => {
      const relieves = classes[i]?.variants.some((number) => crowded.has(number));
      if (merge && relieves && (!best || merge.cost < best.merge.cost)) best = { merge, i };
    });
    if (!best) return left.map((layers) => layers.length);
    const { merge, i } = best as { merge: Merge; i: number };
    const layers = left[i] as { size: number; changes: number }[];
    layers[merge.a] = merged(layers, merge);
    layers.splice(merge.b, 1);
    next[i] = cheapestMerge(layers, classes[i]?.variants.length ?? 1);
  }
}

function merged(
  layers: readonly { readonly size: number; readonly changes: number }[],
  { a, b }: { readonly a: number; readonly b: number },
): { size: number; changes: number } {
  const [one, other] = [layers[a], layers[b]];
  if (!one || !other) throw new Error(`no layers ${a} and ${b}`);
  const still = ((MILLION - one.changes) * (MILLION - other.changes)) / MILLION;
  return { size: one.size + other.size, changes: MILLION - still };
}

function cheapestMerge(
  layers: readonly { readonly size: number; readonly changes: number }[],
  weight: number,
): Merge | undefined {
  let best: Merge | undefined;
  layers.forEach((one, a) => {
    for (let b = a + 1; b < layers.length; b++) {
      const other = layers[b] as { size: number; changes: number };
      const both = merged(layers, { a, b });
      const apart = one.size * one.changes + other.size * other.changes;
      const cost = (both.size * both.changes - apart) * weight;
      if (!best || cost < best.cost) best = { a, b, cost };
    }
  });
  return best;
}

/** The layers of all classes of a variant, in the order of any plan. */
function joinPlans(plans: readonly Plan[], { recollection: { past } }: Variant): Plan {
  // What is kept is told by the number that the layer had in this variant.
  const layers = plans.flatMap((one) =>
    one.layers.map(({ kept, ...layer }): PlannedLayer => {
      const home = past?.homes.get(layer.components[0] ?? '')?.layer;
      return kept === undefined || home === undefined ? layer : { ...layer, kept: home };
    }),
  );
  const sum = (pick: (one: Plan) => number): number =>
    plans.reduce((total, one) => total + pick(one), 0);
  return {
    layers: inOrder(
      layers,
      past?.record.layers.map(({ components }) => components.size),
    ),
    updateBytes: sum(({ updateBytes }) => updateBytes),
    pullBytes: sum(({ pullBytes }) => pullBytes),
  };
}
