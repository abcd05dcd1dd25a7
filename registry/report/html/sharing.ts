/** What the pictures show of layers and the tags that need them; pure, so that tests can check each figure. */
import type { PageData, PageSeries } from './pagedata.ts';

/** Layers that the same tags have, as one row of the presence grid. */
export interface Group {
  /** Indexes of layers. */
  readonly layers: readonly number[];
  readonly size: number;
  /** Runs of positions in the series that have it: first and one past the last. */
  readonly runs: readonly (readonly [number, number])[];
}

function runsOf(positions: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const position of positions) {
    const last = runs.at(-1);
    if (last && last[1] === position) last[1]++;
    else runs.push([position, position + 1]);
  }
  return runs;
}

/**
 * The rows of the presence grid of `images`, one image a column: sorted by the first column that has them, those that stay longest
 * first, so that what every image has is at the top and each update adds its rows below.
 */
export function groupLayers(
  images: readonly (readonly number[])[],
  sizes: readonly number[],
): Group[] {
  const positions = new Map<number, number[]>();
  for (const [column, layers] of images.entries())
    for (const layer of new Set(layers)) {
      const columns = positions.get(layer);
      if (columns) columns.push(column);
      else positions.set(layer, [column]);
    }
  const groups = Map.groupBy(positions, ([, columns]) => columns.join());
  const rows = [...groups.values()].map((members) => {
    const layers = members.map(([layer]) => layer);
    const columns = members[0]?.[1] ?? [];
    return {
      layers,
      size: layers.reduce((sum, layer) => sum + (sizes[layer] ?? 0), 0),
      runs: runsOf(columns),
      first: columns[0] ?? 0,
      count: columns.length,
    };
  });
  rows.sort((a, b) => a.first - b.first || b.count - a.count || b.size - a.size);
  return rows.map(({ layers, size, runs }) => ({ layers, size, runs }));
}

/** `matrix[i][j]`: bytes that a node with image `i` pulls for image `j`. */
export function pullMatrix(
  images: readonly (readonly number[])[],
  sizes: readonly number[],
): number[][] {
  const distinct = images.map((layers) => [...new Set(layers)]);
  const isHeld = new Uint8Array(sizes.length);
  return distinct.map((held) => {
    for (const layer of held) isHeld[layer] = 1;
    const row = distinct.map((wanted) => {
      let bytes = 0;
      for (const layer of wanted) if (isHeld[layer] === 0) bytes += sizes[layer] ?? 0;
      return bytes;
    });
    for (const layer of held) isHeld[layer] = 0;
    return row;
  });
}

/** A cell of a heat map: what updates from one of some tags to one of some others pull. */
export interface Cell {
  /** Positions, the second one past the last. */
  readonly from: readonly [number, number];
  readonly to: readonly [number, number];
  /** Of all pairs of two different tags. */
  readonly mean: number;
  readonly max: number;
}

/** The part of `matrix` from position `start` up to `end` in cells, at most `most` a side. */
export function cellsOf(
  matrix: readonly (readonly number[])[],
  start: number,
  end: number,
  most: number,
): { readonly edges: readonly number[]; readonly cells: readonly Cell[] } {
  const step = Math.max(1, Math.ceil((end - start) / most));
  const edges: number[] = [];
  for (let at = start; at < end; at += step) edges.push(at);
  const span = (at: number): [number, number] => [at, Math.min(end, at + step)];
  const cells = edges.flatMap((row) =>
    edges.map((column) => ({
      from: span(row),
      to: span(column),
      ...summarise(matrix, span(row), span(column)),
    })),
  );
  return { edges, cells };
}

function summarise(
  matrix: readonly (readonly number[])[],
  from: readonly [number, number],
  to: readonly [number, number],
): { mean: number; max: number } {
  let [sum, count, max] = [0, 0, 0];
  for (let i = from[0]; i < from[1]; i++)
    for (let j = to[0]; j < to[1]; j++) {
      if (i === j) continue;
      const bytes = matrix[i]?.[j] ?? 0;
      sum += bytes;
      count++;
      max = Math.max(max, bytes);
    }
  return { mean: count === 0 ? 0 : sum / count, max };
}

/** A part of what is stored: the layers that one repository alone needs, or that several need. */
export interface Holding {
  /** Index of the repository; undefined for what several need. */
  readonly repository: number | undefined;
  readonly store: number;
  /** Most bytes first. */
  readonly layers: readonly {
    readonly layer: number;
    /** Tags that need it, of those that are counted. */
    readonly tags: number;
  }[];
  readonly size: number;
}

/** Who needs what is stored, of the tags for which `isCounted`: each layer once a store; most bytes first. */
export function holdingsOf(data: PageData, isCounted: (tag: number) => boolean): Holding[] {
  const needs = new Map<string, { layer: number; store: number; tags: Set<number> }>();
  for (const { repository, tags, images } of data.series) {
    const store = data.repositories[repository]?.store ?? 0;
    for (const [position, tag] of tags.entries()) {
      if (!isCounted(tag)) continue;
      for (const layer of images[position] ?? []) {
        const key = `${store} ${layer}`;
        const need = needs.get(key) ?? { layer, store, tags: new Set() };
        needs.set(key, need);
        need.tags.add(tag);
      }
    }
  }
  const ownerOf = (tags: ReadonlySet<number>): number | undefined => {
    const owners = new Set([...tags].map((tag) => data.tags[tag]?.repository));
    return owners.size === 1 ? [...owners][0] : undefined;
  };
  const owned = Map.groupBy(needs.values(), ({ store, tags }) => `${store} ${ownerOf(tags)}`);
  const holdings = [...owned.values()].map((all) => {
    const size = (layer: number): number => data.layers.sizes[layer] ?? 0;
    const layers = all.map(({ layer, tags }) => ({ layer, tags: tags.size }));
    layers.sort((a, b) => size(b.layer) - size(a.layer) || a.layer - b.layer);
    return {
      repository: ownerOf(all[0]?.tags ?? new Set()),
      store: all[0]?.store ?? 0,
      layers,
      size: layers.reduce((sum, { layer }) => sum + size(layer), 0),
    };
  });
  return holdings.sort((a, b) => b.size - a.size);
}

/** How many layers, and bytes of them, have at least `least` bytes and less than four times that. */
export interface SizeClass {
  readonly least: number;
  readonly layers: number;
  readonly bytes: number;
}

/** Classes of size of layers, each four times the one before, without gaps. */
export function sizeClasses(sizes: readonly number[]): SizeClass[] {
  const FIRST = 1024;
  const classOf = (size: number): number =>
    Math.max(0, Math.floor(Math.log2(Math.max(1, size) / FIRST) / 2) + 1);
  const counted = new Map<number, { layers: number; bytes: number }>();
  for (const size of sizes) {
    const found = counted.get(classOf(size)) ?? { layers: 0, bytes: 0 };
    counted.set(classOf(size), { layers: found.layers + 1, bytes: found.bytes + size });
  }
  if (counted.size === 0) return [];
  const [low, high] = [Math.min(...counted.keys()), Math.max(...counted.keys())];
  return Array.from({ length: high - low + 1 }, (_, i) => {
    const least = low + i === 0 ? 0 : FIRST * 4 ** (low + i - 1);
    return { least, ...(counted.get(low + i) ?? { layers: 0, bytes: 0 }) };
  });
}

/** The part of `series` whose tags are `isCounted`. */
export function narrow(series: PageSeries, isCounted: (tag: number) => boolean): PageSeries {
  const kept = series.tags.map((tag, at) => [tag, at] as const).filter(([tag]) => isCounted(tag));
  return {
    ...series,
    tags: kept.map(([tag]) => tag),
    images: kept.map(([, at]) => series.images[at] ?? []),
  };
}
