/** What issue 5 asks of speed and memory, each goal with the figure that was measured. */
import { FLOOR, OURS, OURS_CHUNKED, OURS_VERIFY, SKOPEO, SKOPEO_CHUNKED } from './commands.ts';
import { figure, ratio, rowOf, type Section } from './results.ts';
import { CHANGED, COLD, DOWNLOAD, UNCHANGED } from './warm.ts';

/** Looks up what was measured on an input. */
export type Find = (name: string) => Section | undefined;

/** One goal. */
export interface Goal {
  readonly text: string;
  readonly limit: number;
  /** Whether the limit itself is still good. */
  readonly kind: 'at most' | 'under';
  readonly unit: '' | ' s' | ' MiB' | ' B' | ' layers';
  /** Undefined where something for it was not measured. */
  readonly measure: (find: Find) => number | undefined;
}

function wallOf(section: Section | undefined, command: string): number | undefined {
  const row = rowOf(section, command);
  return row && figure(row, ({ wallSeconds }) => wallSeconds);
}

function peakOf(section: Section | undefined, command: string): number | undefined {
  const row = rowOf(section, command);
  return row && figure(row, ({ peakMiB }) => peakMiB);
}

/** What the peak grows by for each entry more, from the smaller memory input to the larger. */
function bytesPerEntry(find: Find): number | undefined {
  const sections = [find('entries-20k'), find('entries-200k')] as const;
  const [few, many] = sections.map((section) => peakOf(section, OURS));
  const [least, most] = sections.map((section) => section?.entries);
  if (few === undefined || many === undefined || least === undefined || most === undefined)
    return undefined;
  return ((many - few) * 2 ** 20) / (most - least);
}

function fetchedLayers(section: Section | undefined): number | undefined {
  const row = rowOf(section, UNCHANGED);
  return row && Math.max(...row.runs.map(({ fetchedLayers }) => fetchedLayers ?? Number.NaN));
}

/** Bytes from the registry by those of the layer that changed. */
function fetchedRatio(section: Section | undefined): number | undefined {
  const row = rowOf(section, CHANGED);
  if (row === undefined || section?.changedLayerBytes === undefined) return undefined;
  return figure(row, ({ fetchedBytes }) => fetchedBytes) / section.changedLayerBytes;
}

const goal = (
  text: string,
  kind: Goal['kind'],
  limit: number,
  unit: Goal['unit'],
  measure: Goal['measure'],
): Goal => ({ text, kind, limit, unit, measure });

/** All goals, numbered as the issue numbers what is to be shown. */
export const GOALS: readonly Goal[] = [
  goal('1. debian to zstd by skopeo to zstd', 'at most', 1.5, '', (find) =>
    ratio(find('debian'), OURS, SKOPEO),
  ),
  goal('1. debian to zstd:chunked by skopeo to zstd:chunked, level 3', 'at most', 0.5, '', (find) =>
    ratio(find('debian'), OURS_CHUNKED, SKOPEO_CHUNKED),
  ),
  goal('2. small-files by the floor', 'at most', 1.6, '', (find) =>
    ratio(find('small-files'), OURS, FLOOR),
  ),
  goal('2. large-files by the floor', 'at most', 1.6, '', (find) =>
    ratio(find('large-files'), OURS, FLOOR),
  ),
  goal('3. one changed layer of 20, warm by cold', 'at most', 0.15, '', (find) =>
    ratio(find('warm-small-files'), CHANGED, COLD),
  ),
  goal('3. one changed layer of 20, bytes fetched by that layer', 'at most', 1.5, '', (find) =>
    fetchedRatio(find('warm-small-files')),
  ),
  goal(
    '3. changed single layer, warm by its download, decompression and digest',
    'at most',
    1.5,
    '',
    (find) => ratio(find('warm-debian'), CHANGED, DOWNLOAD),
  ),
  goal('3. unchanged debian, warm', 'under', 1, ' s', (find) =>
    wallOf(find('warm-debian'), UNCHANGED),
  ),
  goal('3. unchanged small-files, warm', 'under', 1, ' s', (find) =>
    wallOf(find('warm-small-files'), UNCHANGED),
  ),
  goal('3. unchanged debian, layers fetched', 'at most', 0, ' layers', (find) =>
    fetchedLayers(find('warm-debian')),
  ),
  goal('3. unchanged small-files, layers fetched', 'at most', 0, ' layers', (find) =>
    fetchedLayers(find('warm-small-files')),
  ),
  goal('4. peak of entries-200k to zstd', 'under', 400, ' MiB', (find) =>
    peakOf(find('entries-200k'), OURS),
  ),
  goal('4. peak of entries-200k to zstd:chunked', 'under', 400, ' MiB', (find) =>
    peakOf(find('entries-200k'), OURS_CHUNKED),
  ),
  goal(
    '4. growth of the peak an entry, entries-20k to entries-200k',
    'under',
    800,
    ' B',
    bytesPerEntry,
  ),
  goal('5. debian with --verify by without', 'at most', 1.4, '', (find) =>
    ratio(find('debian'), OURS_VERIFY, OURS),
  ),
];

/** `MISS` also where the figure is not a number. */
export type Verdict = 'PASS' | 'MISS' | 'not measured';

/** Whether a figure meets a goal. */
export function judge(
  { kind, limit }: Pick<Goal, 'kind' | 'limit'>,
  value: number | undefined,
): Verdict {
  if (value === undefined) return 'not measured';
  const isMet = kind === 'under' ? value < limit : value <= limit;
  return isMet ? 'PASS' : 'MISS';
}
