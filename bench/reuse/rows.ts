/** Figures of one series: a row for each way of packing and number of layers. */
import { hindsight } from '../hindsight.ts';
import type { Release } from '../series/series.ts';
import { fileFloor, floorUpdates, packageFloor } from './floors.ts';
import { layersOf, PackedSeries, type Packing, sizeOf, type Update } from './layers.ts';
import { FILE_FLOOR, HINDSIGHT, makersOf, OURS, PACKAGE_FLOOR } from './packings.ts';

/** Means over updates. */
export interface Measure {
  /** Compressed bytes that an update pulls: layers that the client has not. */
  readonly bytes: number;
  /** The same over updates of clients that have the tenth update or a later one. */
  readonly laterBytes: number;
  /** Compressed bytes of the first changed layer and all above it. */
  readonly chainBytes: number;
  /** Share of the new image's bytes that the client has. */
  readonly reused: number;
  /** Layers that are pulled. */
  readonly layers: number;
}

/** Every how many releases a client updates. */
export const STRIDES = [1, 2, 4] as const;

/** A way of packing on a series. */
export interface Row {
  readonly series: string;
  /** Most layers; undefined for floors, and for images whose layers do not depend on it. */
  readonly maxLayers?: number;
  readonly packing: string;
  /** Series of that many seeds, of which the figures are means. */
  readonly runs: number;
  /** Standard deviation of the runs' `every[1].bytes`; 0 of one run. */
  readonly deviation: number;
  /** For clients that take every release, every second, every fourth. */
  readonly every: Readonly<Record<(typeof STRIDES)[number], Measure>>;
  /** Compressed bytes in a registry that keeps all releases; undefined for floors of updates. */
  readonly storage?: number;
  /** Of hindsight: bytes an update that no plan for the whole series goes below. */
  readonly bound?: number;
  /** What ours takes in the same runs, with as many layers. */
  readonly ours?: Pick<Measure, 'bytes' | 'laterBytes'>;
}

/** Updates after which a plan that observes has something to go by. */
const WARM_UP = 10;

const meanOf = <T>(values: readonly T[], pick: (value: T) => number): number =>
  values.reduce((sum, value) => sum + pick(value), 0) / Math.max(1, values.length);

function measure(updates: readonly Update[]): Measure {
  const size = meanOf(updates, (update) => update.size);
  const bytes = meanOf(updates, (update) => update.bytes);
  return {
    bytes,
    laterBytes: meanOf(
      updates.filter(({ from }) => from >= WARM_UP),
      (update) => update.bytes,
    ),
    chainBytes: meanOf(updates, (update) => update.chainBytes),
    reused: size > 0 ? 1 - bytes / size : 0,
    layers: meanOf(updates, (update) => update.layers),
  };
}

function everyStride(updatesOf: (stride: number) => readonly Update[]): Row['every'] {
  const [one, two, four] = STRIDES.map((stride) => measure(updatesOf(stride)));
  return { 1: one as Measure, 2: two as Measure, 4: four as Measure };
}

const ONE_RUN = { runs: 1, deviation: 0 };

/** The floors of a series. */
export function floorRows(series: string, releases: readonly Release[]): Row[] {
  const floors = { [PACKAGE_FLOOR]: packageFloor, [FILE_FLOOR]: fileFloor };
  return Object.entries(floors).map(([packing, floor]) => ({
    series,
    packing,
    ...ONE_RUN,
    every: everyStride((stride) => floorUpdates(floor, releases, stride)),
    ...(packing === PACKAGE_FLOOR && { storage: storageOfStates(releases) }),
  }));
}

/** Each state of each component once: what a registry keeps at least. */
function storageOfStates(releases: readonly Release[]): number {
  return sizeOf(new Set(releases.flatMap(({ components }) => [...components.values()])));
}

/** The rows of a series packed into at most `maxLayers` layers: those of `names`, hindsight among them. */
export function packedRows(
  series: string,
  releases: readonly Release[],
  maxLayers: number,
  names: readonly string[],
): Row[] {
  const makers = Object.entries(makersOf(series)).filter(([name]) => names.includes(name));
  const rowOf = (packing: string, packings: readonly Packing[]): Row => {
    const packed = new PackedSeries(packings);
    const every = everyStride((stride) => packed.updates(stride));
    return { series, maxLayers, packing, ...ONE_RUN, every, storage: packed.storage };
  };
  const rows = makers.map(([name, maker]) => rowOf(name, releases.map(maker(maxLayers))));
  if (names.includes(HINDSIGHT)) {
    const { packings, bound } = packHindsight(releases, maxLayers);
    rows.push({ ...rowOf(HINDSIGHT, packings), bound });
  }
  return besideOurs(rows);
}

/** The hindsight plan of a series, its layers from the one that changes least often to the one that changes most. */
function packHindsight(
  releases: readonly Release[],
  maxLayers: number,
): { packings: readonly Packing[]; bound: number } {
  const { layers, bound } = hindsight(releases, maxLayers);
  const changesOf = (ids: readonly string[]): number =>
    releases.filter((release, i) =>
      ids.some((id) => release.components.get(id) !== releases[i - 1]?.components.get(id)),
    ).length;
  const changes = new Map(layers.map((ids) => [ids, changesOf(ids)]));
  const sorted = [...layers].sort((a, b) => (changes.get(a) ?? 0) - (changes.get(b) ?? 0));
  return { packings: releases.map((release) => layersOf(release, sorted)), bound };
}

/** The rows of one run with what ours takes in it. */
function besideOurs(rows: readonly Row[]): Row[] {
  const ours = rows.find(({ packing }) => packing === OURS)?.every[1];
  if (!ours) return [...rows];
  const { bytes, laterBytes } = ours;
  return rows.map((row) => ({ ...row, ours: { bytes, laterBytes } }));
}

/** One row of the rows of many runs, each of which is one of the same packing and layers. */
export function meanRow(rows: readonly Row[]): Row {
  const [first] = rows as [Row];
  const mean = meanOf(rows, (row) => row.every[1].bytes);
  const variance = meanOf(rows, (row) => (row.every[1].bytes - mean) ** 2);
  const meanMeasure = (stride: (typeof STRIDES)[number]): Measure => ({
    bytes: meanOf(rows, (row) => row.every[stride].bytes),
    laterBytes: meanOf(rows, (row) => row.every[stride].laterBytes),
    chainBytes: meanOf(rows, (row) => row.every[stride].chainBytes),
    reused: meanOf(rows, (row) => row.every[stride].reused),
    layers: meanOf(rows, (row) => row.every[stride].layers),
  });
  return {
    ...first,
    runs: rows.length,
    deviation: Math.sqrt(variance),
    every: { 1: meanMeasure(1), 2: meanMeasure(2), 4: meanMeasure(4) },
    ...(first.storage !== undefined && { storage: meanOf(rows, (row) => row.storage ?? 0) }),
    ...(first.bound !== undefined && { bound: meanOf(rows, (row) => row.bound ?? 0) }),
    ...(first.ours && {
      ours: {
        bytes: meanOf(rows, (row) => row.ours?.bytes ?? 0),
        laterBytes: meanOf(rows, (row) => row.ours?.laterBytes ?? 0),
      },
    }),
  };
}
