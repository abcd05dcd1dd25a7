/**
 * Which layers two images share, which layer continues which, and why a layer is other than it was: what differs of the files
 * in it, what moved in from other layers and out to them. A layer is told by the files of the final tree that come from it;
 * what a later layer hides is not seen. A skeleton is told by the image's directories.
 */
import { ancestorsOf, type Path } from '../../registry/path.ts';
import {
  compareDirectories,
  countFiles,
  type FileChangeKind,
  type FileCounts,
  type FilePair,
  type Place,
  type Side,
} from './files.ts';

/** A layer as its image describes it. */
export interface LayerFacts {
  readonly digest: string;
  readonly diffId: string;
  /** Bytes of the blob; 0 for a directory tree. */
  readonly size: number;
  /** What it is for, where it says so: a `skeleton` holds directories only, `whiteouts` hide names of a base; neither is content. */
  readonly role?: string;
}

const isContent = (facts: LayerFacts | undefined): boolean => facts?.role === undefined;

/** What differs of one component in a layer. */
export interface Cause {
  /** A component's id, or {@link DIRECTORIES}. */
  readonly component: string;
  /** Files that differ; of those that moved in too. */
  readonly files: FileCounts;
  /** Files that lay in other layers of the old image, and in which. */
  readonly movedIn: number;
  readonly from: readonly number[];
  /** Files that lie in other layers of the new image, and in which. */
  readonly movedOut: number;
  readonly to: readonly number[];
  /** Uncompressed bytes of all these files. */
  readonly bytes: number;
}

/** The most telling reason why a layer is not as it was; `archive`: no visible file differs, but how they are archived. */
export type LayerReason = 'content' | 'moves' | 'metadata' | 'times' | 'archive';

/** A layer of the new image, and what it has of the old one. */
export interface LayerChange extends LayerFacts {
  /** Its number, 1 the lowest. */
  readonly layer: number;
  /**
   * `shared`: the very blob of a layer of the old image. `recompressed`: the same content in another blob. `changed`: it
   * continues the layer of the old image that has most in common with it. `new`: nothing in common with any.
   */
  readonly state: 'shared' | 'recompressed' | 'changed' | 'new';
  /** The old image's layer that it is or continues, 1 the lowest. */
  readonly old?: number;
  /** Why it is other than that; of changed and new layers. */
  readonly reason?: LayerReason;
  /** Sorted by bytes, the most first. */
  readonly causes: readonly Cause[];
}

/** A layer of the old image that no layer of the new one is or continues. */
export interface GoneLayer extends LayerFacts {
  readonly layer: number;
}

/** Stands for directories with something in them, which are in no component. */
export const DIRECTORIES = '(directories)';

/** Bytes that a file weighs besides its content when layers are compared: its header. */
const ENTRY_BYTES = 512;

/** What is compared: both images' layers and files. */
export interface LayerInput {
  readonly old: readonly LayerFacts[];
  readonly new: readonly LayerFacts[];
  readonly sides: { readonly old: Side; readonly new: Side };
  readonly pairs: readonly FilePair[];
  readonly directories: ReadonlyMap<Path, FileChangeKind>;
}

/** Says of every layer of the new image what it has of the old one and why it differs, the lowest first. */
export function compareLayers(input: LayerInput): { layers: LayerChange[]; gone: GoneLayer[] } {
  const matches = matchLayers(input);
  const causesOf = explainer(input);
  const layers = input.new.map((facts, i): LayerChange => {
    const match = matches.get(i);
    const base = { ...facts, layer: i + 1, ...(match ? { old: match.old + 1 } : {}) };
    if (match?.state === 'shared' || match?.state === 'recompressed')
      return { ...base, state: match.state, causes: [] };
    const causes =
      facts.role === 'skeleton'
        ? explainSkeleton(input.sides)
        : causesOf(i + 1, match && match.old + 1);
    return { ...base, state: match?.state ?? 'new', reason: reasonOf(causes), causes };
  });
  const continued = new Set([...matches.values()].map(({ old }) => old));
  const gone = input.old.flatMap((facts, i) =>
    continued.has(i) ? [] : [{ ...facts, layer: i + 1 }],
  );
  return { layers, gone };
}

interface Match {
  readonly old: number;
  readonly state: 'shared' | 'recompressed' | 'changed';
}

/** For layers of the new image, by index, the old one's that they are, or that they alone continue. */
function matchLayers(input: LayerInput): Map<number, Match> {
  const matches = new Map<number, Match>();
  const all = [...input.old.keys()];
  const free = new Set(all);
  const take = (next: number, old: number, state: Match['state']): void => {
    free.delete(old);
    matches.set(next, { old, state });
  };
  for (const [key, state] of [
    ['digest', 'shared'],
    ['diffId', 'recompressed'],
  ] as const) {
    for (const [i, facts] of input.new.entries()) {
      const same = (old: number): boolean => input.old[old]?.[key] === facts[key];
      if (matches.has(i)) continue;
      // At the same place, if there; one that is there more often than before is the same layer again.
      const found = free.has(i) && same(i) ? i : ([...free].find(same) ?? all.find(same));
      if (found !== undefined) take(i, found, state);
    }
  }
  for (const [i, facts] of input.new.entries()) {
    const old = [...free].find((number) => input.old[number]?.role === facts.role);
    if (!isContent(facts) && !matches.has(i) && old !== undefined) take(i, old, 'changed');
  }
  for (const { next, old } of rankOverlaps(input)) {
    if (free.has(old) && !matches.has(next)) take(next, old, 'changed');
  }
  return matches;
}

interface Overlap {
  readonly next: number;
  readonly old: number;
  readonly bytes: number;
}

/** For every two layers the bytes that each has of the components of both, the most first. */
function rankOverlaps(input: LayerInput): Overlap[] {
  const { sides } = input;
  const before = weighComponents(sides.old);
  const overlaps: Overlap[] = [];
  const sums = new Map<string, number>();
  for (const [component, layers] of weighComponents(sides.new)) {
    for (const [next, size] of layers) {
      for (const [old, had] of before.get(component) ?? []) {
        const key = `${next} ${old}`;
        sums.set(key, (sums.get(key) ?? 0) + Math.min(size, had));
      }
    }
  }
  for (const [key, bytes] of sums) {
    const [next = 0, old = 0] = key.split(' ').map(Number);
    if (
      next === 0 ||
      old === 0 ||
      !isContent(input.new[next - 1]) ||
      !isContent(input.old[old - 1])
    )
      continue;
    overlaps.push({ next: next - 1, old: old - 1, bytes });
  }
  return overlaps.sort((a, b) => b.bytes - a.bytes || a.next - b.next || a.old - b.old);
}

/** How many bytes of each component lie in which layer. */
function weighComponents({ files }: Side): Map<string, Map<number, number>> {
  const weights = new Map<string, Map<number, number>>();
  for (const { component, layer, size } of files.values()) {
    const layers = weights.get(component) ?? new Map<number, number>();
    weights.set(component, layers);
    layers.set(layer, (layers.get(layer) ?? 0) + size + ENTRY_BYTES);
  }
  return weights;
}

/** A cause while it is added up. */
class Tally {
  readonly changes: FileChangeKind[] = [];
  readonly from = new Set<number>();
  readonly to = new Set<number>();
  movedIn = 0;
  movedOut = 0;
  bytes = 0;

  describe(component: string): Cause {
    const ascending = (layers: Set<number>): number[] => [...layers].sort((a, b) => a - b);
    const { movedIn, movedOut, bytes } = this;
    const [from, to] = [ascending(this.from), ascending(this.to)];
    return { component, files: countFiles(this.changes), movedIn, from, movedOut, to, bytes };
  }
}

/** The causes of one layer, by component. */
class Tallies {
  readonly #byComponent = new Map<string, Tally>();

  of(component: string): Tally {
    const tally = this.#byComponent.get(component) ?? new Tally();
    this.#byComponent.set(component, tally);
    return tally;
  }

  get isEmpty(): boolean {
    return this.#byComponent.size === 0;
  }

  describe(): Cause[] {
    return [...this.#byComponent]
      .map(([component, tally]) => tally.describe(component))
      .sort((a, b) => b.bytes - a.bytes || (a.component < b.component ? -1 : 1));
  }
}

/** Makes the function that says why a layer differs from the old image's layer that it continues, if there is one. */
function explainer(input: LayerInput): (layer: number, old: number | undefined) => Cause[] {
  const byNew = Map.groupBy(input.pairs, (pair) => pair.new?.layer ?? 0);
  const byOld = Map.groupBy(input.pairs, (pair) => pair.old?.layer ?? 0);
  return (layer, old) => {
    const tallies = new Tallies();
    for (const pair of byNew.get(layer) ?? []) addFound(tallies, pair, old);
    for (const pair of (old === undefined ? undefined : byOld.get(old)) ?? [])
      addLeft(tallies, pair, layer);
    addDirectories(tallies, input, layer, byNew.get(layer) ?? []);
    return tallies.describe();
  };
}

/** Why a skeleton differs: what differs of all directories. */
function explainSkeleton({ old, new: next }: LayerInput['sides']): Cause[] {
  const tallies = new Tallies();
  for (const change of compareDirectories(old.tree, next.tree))
    tallies.of(DIRECTORIES).changes.push(change);
  return tallies.describe();
}

/** Adds what a file of a layer has to say, where the layer continues `old`. */
function addFound(tallies: Tallies, pair: FilePair, old: number | undefined): void {
  const place = pair.new as Place;
  const hasMoved = pair.old !== undefined && pair.old.layer !== old;
  if (!pair.change && !hasMoved) return;
  const tally = tallies.of(place.component);
  tally.bytes += place.size;
  if (pair.change) tally.changes.push(pair.change);
  if (!hasMoved) return;
  tally.movedIn++;
  tally.from.add(pair.old?.layer ?? 0);
}

/** Adds what a file of the old layer has to say, if it is in `layer` no more. */
function addLeft(tallies: Tallies, { old, new: next, change }: FilePair, layer: number): void {
  const place = old as Place;
  if (next?.layer === layer) return;
  const tally = tallies.of(place.component);
  tally.bytes += place.size;
  if (next) {
    tally.movedOut++;
    tally.to.add(next.layer);
  } else if (change) tally.changes.push(change);
}

/**
 * Adds the changed directories that come from `layer`; where nothing else tells why it changed, also those above its files,
 * which rechunked layers repeat.
 */
function addDirectories(
  tallies: Tallies,
  { directories, sides }: LayerInput,
  layer: number,
  files: readonly FilePair[],
): void {
  if (directories.size === 0) return;
  const own = [...directories].filter(
    ([path]) => (sides.new.tree.get(path)?.layer ?? -1) + 1 === layer,
  );
  const found = new Map(own);
  if (tallies.isEmpty) {
    for (const path of new Set(files.flatMap((file) => ['' as Path, ...ancestorsOf(file.path)]))) {
      const change = directories.get(path);
      if (change) found.set(path, change);
    }
  }
  for (const change of found.values()) tallies.of(DIRECTORIES).changes.push(change);
}

function reasonOf(causes: readonly Cause[]): LayerReason {
  const some = (has: (cause: Cause) => number): boolean => causes.some((cause) => has(cause) > 0);
  if (some(({ files }) => files.content + files.added + files.removed)) return 'content';
  if (some(({ movedIn, movedOut }) => movedIn + movedOut)) return 'moves';
  if (some(({ files }) => files.metadata)) return 'metadata';
  return some(({ files }) => files.times) ? 'times' : 'archive';
}
