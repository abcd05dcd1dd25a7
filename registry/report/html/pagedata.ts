/**
 * What the page's pictures are drawn from: a report's facts without what can be computed from them, layers as columns. It travels in the page,
 * so it is small: 500 tags with 60 layers each take 2 MB as a report and 0.3 MB here.
 */
import { visible } from '../../visible.ts';
import type { Cause, FilesReport, Report, TagReport } from '../report.ts';

/** An update, as `UpdateReport`; `series` is an index. */
export interface PageUpdate {
  readonly series: number;
  readonly from: number;
  readonly to: number;
  readonly kept: number;
  readonly added: number;
  readonly bytes: number;
  readonly chain: number;
  readonly total: number;
  readonly floor?: number;
  /** What it would be after rechunking. */
  readonly after?: number;
  readonly causes?: readonly Cause[];
}

/** The images of one repository for one platform, oldest first: what nodes update along. */
export interface PageSeries {
  readonly repository: number;
  readonly platform: string;
  /** Indexes into `tags`, and of each the layers of its image. */
  readonly tags: readonly number[];
  readonly images: readonly (readonly number[])[];
  /** Floors from tag to tag, in the order of `floorTags` (indexes into `tags` of the page). */
  readonly floor?: readonly (readonly number[])[];
  readonly floorTags?: readonly number[];
}

/** All that pictures need. Sizes are compressed bytes. */
export interface PageData {
  readonly repositories: readonly { readonly name: string; readonly store: number }[];
  readonly stores: readonly string[];
  readonly tags: readonly { readonly repository: number; readonly name: string }[];
  readonly series: readonly PageSeries[];
  readonly layers: {
    /** The first 12 hex digits. */
    readonly digests: readonly string[];
    readonly sizes: readonly number[];
    /** Indexes into `commands`. */
    readonly commands: readonly number[];
  };
  readonly commands: readonly string[];
  readonly updates: readonly PageUpdate[];
  readonly files?: Pick<FilesReport, 'lorenz' | 'byCopies'>;
}

const SHORT_DIGEST = 12;

/** The first hex digits of a digest, as container tools show it. */
export function shortDigest(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, SHORT_DIGEST);
}

interface Keyed {
  readonly repository: number;
  readonly platform: string;
}

const keyOf = ({ repository, platform }: Keyed): string => `${repository} ${platform}`;

/** The series of a report: repository by repository, of each the platform with most tags first. */
function seriesOf(report: Report): PageSeries[] {
  const found = new Map<string, { tags: number[]; images: (readonly number[])[] } & Keyed>();
  for (const [index, { repository, images }] of report.tags.entries())
    for (const { platform, layers } of images) {
      const key = keyOf({ repository, platform });
      const series = found.get(key) ?? { repository, platform, tags: [], images: [] };
      found.set(key, series);
      if (series.tags.at(-1) === index) continue;
      series.tags.push(index);
      series.images.push(layers);
    }
  const matrices = new Map(report.matrices.map((matrix) => [keyOf(matrix), matrix]));
  const sorted = [...found.values()].sort(
    (a, b) => a.repository - b.repository || b.tags.length - a.tags.length,
  );
  return sorted.map((series) => {
    const matrix = matrices.get(keyOf(series));
    if (!matrix?.floor) return series;
    return { ...series, floor: matrix.floor, floorTags: matrix.tags };
  });
}

function updatesOf(report: Report, series: readonly PageSeries[]): PageUpdate[] {
  const indexes = new Map(series.map((one, index) => [keyOf(one), index]));
  const pair = (update: Keyed & { readonly from: number; readonly to: number }): string =>
    `${keyOf(update)} ${update.from} ${update.to}`;
  const then = new Map(report.whatIf?.updates.map((update) => [pair(update), update.then]));
  return report.updates.flatMap((update) => {
    const index = indexes.get(keyOf(update));
    if (index === undefined) return [];
    const { from, to, layers, bytes, chainBytes, total, floor, causes } = update;
    const after = then.get(pair(update));
    return [
      {
        ...{ series: index, from, to, kept: layers.kept, added: layers.new, bytes, total },
        chain: chainBytes,
        ...(floor !== undefined && { floor }),
        ...(after !== undefined && { after }),
        ...(causes && {
          causes: causes.map((cause) => ({
            ...cause,
            component: visible(cause.component),
            ...(cause.detail !== undefined && { detail: visible(cause.detail) }),
          })),
        }),
      },
    ];
  });
}

/** What the pictures of `report` need. */
export function pageData(report: Report): PageData {
  const commands = new Map<string, number>([['', 0]]);
  const commandOf = (text = ''): number => {
    const shown = visible(text);
    if (!commands.has(shown)) commands.set(shown, commands.size);
    return commands.get(shown) ?? 0;
  };
  const series = seriesOf(report);
  const nameOf = ({ tag, repository }: TagReport): PageData['tags'][number] => ({
    repository,
    name: visible(tag),
  });
  return {
    repositories: report.repositories.map(({ name, store }) => ({ name: visible(name), store })),
    stores: report.stores.map(visible),
    tags: report.tags.map(nameOf),
    series,
    layers: {
      digests: report.layers.map(({ digest }) => shortDigest(digest)),
      sizes: report.layers.map(({ size }) => size),
      commands: report.layers.map(({ createdBy }) => commandOf(createdBy)),
    },
    commands: [...commands.keys()],
    updates: updatesOf(report, series),
    ...(report.files && {
      files: { lorenz: report.files.lorenz, byCopies: report.files.byCopies },
    }),
  };
}
