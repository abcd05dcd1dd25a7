/**
 * What clients pull for a second build of the same content (`../series/noise.ts`). Here times count, as each tool writes them:
 * what the image has (no rechunker), 0 (rpm-ostree and hhd, by ostree), at most the layer's newest build day, or the image's
 * own day where a member has none (chunkah), or those of the previous image where nothing else changed (ours).
 */
import { createHash } from 'node:crypto';
import { codeOf, compiled, rebuild } from '../series/noise.ts';
import { type ComponentFacts, type FileFacts, isSameFile, type Release } from '../series/series.ts';
import { type Layer, type Packing, sizeOf } from './layers.ts';
import { makersOf, OURS, OURS_PLAN } from './packings.ts';

/**
 * Sorts of noise: `installed`: new times where the installer stamps them; `compiled`: Python compiled again, too; `order`:
 * databases in another order, too; `copied`: all that, and every file has a new time.
 */
export const NOISES = ['installed', 'compiled', 'order', 'copied'] as const;
/** A sort of noise. */
export type Noise = (typeof NOISES)[number];

/** What a rebuild costs clients. */
export interface NoiseRow {
  readonly series: string;
  readonly maxLayers: number;
  readonly packing: string;
  /** Compressed bytes that are pulled, by noise. */
  readonly bytes: Readonly<Record<Noise, number>>;
  /** Components in pulled layers that are no package database, by any noise; undefined but for ours. */
  readonly strangers?: readonly string[];
}

/** How a tool writes times. */
type Times = 'built' | 'zero' | 'clamped' | 'inherited';

const DAY_SECONDS = 86_400;
const ORDER_SEED = 7;
/** Releases before the one that is built twice, for what remembers. */
const RELEASES_BEFORE = 6;

function timesOf(packing: string): Times {
  if (packing === OURS || packing === OURS_PLAN) return 'inherited';
  if (/^(rpm-ostree|hhd)/.test(packing)) return 'zero';
  return packing.startsWith('chunkah') ? 'clamped' : 'built';
}

/**
 * The second build with the times, and the compiled code, of the first where nothing but times differs. Its date is the
 * first's, so that what keeps its state keeps its time.
 */
export function inherit(before: Release, after: Release): Release {
  const states = [...after.components.values()].map((state) => {
    const old = before.components.get(state.id);
    return old ? inheritState(old, state, after.date) : state;
  });
  const components = new Map(states.map((state) => [state.id, state]));
  return { ...after, date: before.date, components };
}

function inheritState(old: ComponentFacts, state: ComponentFacts, date: number): ComponentFacts {
  const known = new Map(old.files.map((file) => [file.path, file]));
  const isTimeless = (file: FileFacts, was: FileFacts): boolean =>
    isSameFile(file, was) ||
    (file.metadata === was.metadata && codeOf(file) !== undefined && codeOf(file) === codeOf(was));
  const isSame = (file: FileFacts): boolean => {
    const was = known.get(file.path);
    return was !== undefined && isTimeless(file, was);
  };
  if (state.files.length === old.files.length && state.files.every(isSame)) return old;
  const files = state.files.map((file) => {
    const was = known.get(file.path);
    return was && isSame(file) ? was : { ...file, mtime: file.mtime ?? date };
  });
  return { ...state, files };
}

/** What a layer is as written; equal texts are equal blobs. */
function writtenLayer(layer: Layer, release: Release, times: Times): string {
  const clamp = clampOf(layer, release.date);
  const timeOf = ({ mtime = release.date }: FileFacts): number => {
    if (times === 'zero') return 0;
    return times === 'clamped' ? Math.min(mtime, clamp) : mtime;
  };
  const lines = layer.flatMap(({ files }) =>
    files.map((file) => JSON.stringify([file.path, file.content, file.metadata, timeOf(file)])),
  );
  return createHash('sha256').update(lines.sort().join('\n')).digest('hex');
}

/** The newest build day of a layer's packages; the image's where a member has none. */
function clampOf(layer: Layer, date: number): number {
  return Math.max(...layer.map(({ changeTimes }) => changeTimes?.at(-1) ?? date));
}

/** Layers of the second build that the first has not, as written. */
function pulledLayers(
  [before, first]: readonly [Release, Packing],
  [after, second]: readonly [Release, Packing],
  times: Times,
): Layer[] {
  const known = new Set(first.map((layer) => writtenLayer(layer, before, times)));
  return second.filter((layer) => !known.has(writtenLayer(layer, after, times)));
}

/** Builds of the last release of a series: the first, with the releases before it, and the second. */
function buildsOf(releases: readonly Release[], noise: Noise): [Release[], Release] {
  const latest = releases.slice(-1 - RELEASES_BEFORE);
  const firsts = noise === 'installed' ? latest : latest.map(compiled);
  const last = firsts.at(-1) as Release;
  const second = rebuild(last, {
    date: last.date + DAY_SECONDS,
    times: noise === 'copied' ? 'all' : 'installed',
    ...((noise === 'order' || noise === 'copied') && { order: ORDER_SEED }),
  });
  return [firsts, second];
}

/** The rows of a series packed into at most `maxLayers` layers. */
export function noiseRows(
  series: string,
  releases: readonly Release[],
  maxLayers: number,
): NoiseRow[] {
  const rows = new Map<string, { bytes: Record<Noise, number>; strangers: Set<string> }>();
  const makers = Object.entries(makersOf(series));
  for (const noise of NOISES) {
    const [firsts, second] = buildsOf(releases, noise);
    const last = firsts.at(-1) as Release;
    const inherited = inherit(last, second);
    for (const [name, maker] of makers) {
      const times = timesOf(name);
      const after = times === 'inherited' ? inherited : second;
      const pack = maker(maxLayers);
      const packing = firsts.map(pack).at(-1) as Packing;
      const pulled = pulledLayers([last, packing], [after, pack(after)], times);
      const row = rows.get(name) ?? {
        bytes: { installed: 0, compiled: 0, order: 0, copied: 0 },
        strangers: new Set(),
      };
      row.bytes[noise] = sizeOf(pulled.flat());
      for (const { id, kind } of pulled.flat()) if (kind !== 'database') row.strangers.add(id);
      rows.set(name, row);
    }
  }
  return [...rows].map(([packing, { bytes, strangers }]) => ({
    series,
    maxLayers,
    packing,
    bytes,
    ...(timesOf(packing) === 'inherited' && { strangers: [...strangers].sort() }),
  }));
}
