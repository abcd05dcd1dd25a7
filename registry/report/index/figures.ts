/** What a report says of files: asked of the index by the queries, put into the report's words. */
import type { Digest } from '../../oci.ts';
import type { FilesReport, Matrix, Report, Retarred, Skipped, UpdateReport } from '../report.ts';
import type { Row } from './engine.ts';
import { askFloors, FLOOR_ENTRIES, type Floors } from './floors.ts';
import type { IndexReader } from './reader.ts';

/** Contents that are listed, and paths of each. */
const DUPLICATES = 50;
const PLACES = 5;
/** Numbers of copies that are told one by one; the rest are one row. */
const COPIES = 50;

/** What may differ between two files of one content. */
const DIFFERENCES = ['other_mode', 'other_owner', 'other_time', 'other_xattrs'] as const;

const number = (row: Row | undefined, name: string): number => Number(row?.[name] ?? 0);

/** Uncompressed sizes of the layers whose tars were read, by diffID. */
export async function uncompressedSizes(reader: IndexReader): Promise<Map<Digest, number>> {
  const rows = await reader.sql(
    'SELECT diff_id, uncompressed FROM layers WHERE uncompressed IS NOT NULL',
  );
  return new Map(rows.map((row) => [row['diff_id'] as Digest, number(row, 'uncompressed')]));
}

/**
 * `report` with what the index tells of files; `reader` reads what belongs to the report's targets, `held` are the layers that their
 * stores hold. Layers that the index lacks count whole in what each file once comes to, and in no other figure; updates from or to their
 * images have no floor.
 */
export async function withFiles(
  report: Report,
  reader: IndexReader,
  held: ReadonlySet<Digest>,
): Promise<Report> {
  const [headline] = await reader.query('headline');
  const floors = await askFloors(report, reader);
  const whole = new Set((await reader.query('whole')).map((row) => row['digest']));
  const metadata = await Promise.all(
    report.updates.map((update) => metadataOf(report, update, reader, whole)),
  );
  const bytes = number(headline, 'bytes');
  const uniqueBytes = number(headline, 'content_bytes');
  const unread = await unreadBytes(report, reader, held);
  const uniqueFiles = {
    compressed: number(headline, 'content_compressed') + unread,
    // Nobody knows what layers unpack to that were not read.
    ...(unread === 0 && { uncompressed: uniqueBytes }),
  };
  const skipped = [...(report.skipped ?? []), ...skippedFloors(report, floors)];
  return {
    ...report,
    depth: 'files',
    ...(skipped.length > 0 && { skipped }),
    headline: { ...report.headline, uniqueFiles },
    updates: report.updates.map((update) => withFloor(update, floors)),
    matrices: report.matrices.map((matrix) => withFloors(matrix, floors)),
    retarred: await retarredOf(report, reader),
    files: {
      contents: number(headline, 'contents'),
      references: number(headline, 'files'),
      bytes,
      uniqueBytes,
      duplicates: await duplicatesOf(report, reader),
      lorenz: lorenzOf(await reader.query('lorenz')),
      byCopies: byCopies(await reader.query('copies')),
      metadataOnly: metadata.flat(),
    },
  };
}

/** Bytes of the layers that are held and that the index lacks: those of no files, and those that cannot be read. */
async function unreadBytes(
  { layers }: Report,
  reader: IndexReader,
  held: ReadonlySet<Digest>,
): Promise<number> {
  const rows = await reader.sql(
    'SELECT DISTINCT i.digest FROM image_layers i JOIN layers l ON l.layer_id = i.layer_id',
  );
  const read = new Set(rows.map((row) => row['digest']));
  const unread = layers.filter(({ digest }) => held.has(digest) && !read.has(digest));
  return unread.reduce((sum, { size }) => sum + size, 0);
}

/** The layers of a report by diffID, the first blob of each. */
function layersByDiffId(report: Report): Map<string, number> {
  const found = new Map<string, number>();
  for (const [at, { diffId }] of report.layers.entries())
    if (diffId !== undefined && !found.has(diffId)) found.set(diffId, at);
  return found;
}

async function duplicatesOf(
  report: Report,
  reader: IndexReader,
): Promise<FilesReport['duplicates']> {
  const limits = { limit: DUPLICATES, places: PLACES };
  const rows = await reader.query('duplicates', limits);
  const content = (row: Row): string => `${row['file_id']} ${row['size']}`;
  const places = Map.groupBy(await reader.query('places', limits), content);
  const holders = Map.groupBy(await reader.query('holders', limits), content);
  const layers = layersByDiffId(report);
  return rows.map((row) => ({
    digest: `sha256:${row['digest']}` as const,
    size: number(row, 'size'),
    copies: number(row, 'copies'),
    wasted: number(row, 'wasted'),
    layers: (holders.get(content(row)) ?? [])
      .flatMap(({ diff_id }) => layers.get(diff_id as string) ?? [])
      .sort((a, b) => a - b),
    paths: (places.get(content(row)) ?? []).map(({ path }) => String(path)),
  }));
}

/** Points of the curve, as shares, from (0, 0) to (1, 1). */
function lorenzOf(classes: readonly Row[]): FilesReport['lorenz'] {
  const sum = (name: string): number => classes.reduce((all, row) => all + number(row, name), 0);
  const [contents, wasted] = [sum('contents'), sum('wasted')];
  if (contents === 0 || wasted === 0) return [];
  let [some, lost] = [0, 0];
  const points = classes.map((row) => {
    some += number(row, 'contents');
    lost += number(row, 'wasted');
    return { contents: some / contents, wasted: lost / wasted };
  });
  return [{ contents: 0, wasted: 0 }, ...points];
}

/** One row for each number of copies up to {@link COPIES}; the last has what there is more often, under the least such number. */
function byCopies(rows: readonly Row[]): FilesReport['byCopies'] {
  const told = rows.map((row) => {
    const [copies, contents] = [number(row, 'copies'), number(row, 'contents')];
    return { copies, contents, bytes: number(row, 'bytes') };
  });
  const rest = told.slice(COPIES);
  const sum = (name: 'contents' | 'bytes'): number => rest.reduce((all, row) => all + row[name], 0);
  if (rest.length === 0) return told;
  const { copies = 0 } = rest[0] ?? {};
  return [...told.slice(0, COPIES), { copies, contents: sum('contents'), bytes: sum('bytes') }];
}

async function retarredOf(report: Report, reader: IndexReader): Promise<Retarred[]> {
  const layers = layersByDiffId(report);
  const rows = (await reader.query('retarred')).filter((row) =>
    layers.has(row['diff_id'] as string),
  );
  const groups = [...Map.groupBy(rows, (row) => row['metadata_id']).values()];
  return groups.flatMap((group) => {
    if (group.length < 2) return [];
    const own = group.map((row) => layers.get(row['diff_id'] as string) as number);
    const sizes = own.map((at) => report.layers[at]?.size ?? 0);
    const wasted = sizes.reduce((sum, size) => sum + size, 0) - Math.min(...sizes);
    return { layers: own.sort((a, b) => a - b), files: number(group[0], 'entries'), wasted };
  });
}

/** In proportion to its layers a file may come to more than the layers that are new. */
function withFloor(update: UpdateReport, floors: Floors): UpdateReport {
  const floor = floors.between(update);
  return floor === undefined ? update : { ...update, floor: Math.min(update.bytes, floor) };
}

/** With floors where those of all cells are known. */
function withFloors(matrix: Matrix, floors: Floors): Matrix {
  const { tags, platform, bytes } = matrix;
  const floor = tags.map((from, i) =>
    tags.map((to, j) => {
      const least = floors.between({ platform, from, to });
      return least === undefined ? Number.NaN : Math.min(least, bytes[i]?.[j] ?? 0);
    }),
  );
  return floor.some((row) => row.some(Number.isNaN)) ? matrix : { ...matrix, floor };
}

/** Repositories whose floors were left out. */
function skippedFloors(report: Report, { skipped }: Floors): Skipped[] {
  return skipped.map(({ repository, entries }) => ({
    name: `floors of ${report.repositories[repository]?.name}`,
    why: `its images have ${entries} files, of ${FLOOR_ENTRIES} at most in a report; name fewer tags`,
  }));
}

/** What an update sends again for its metadata alone; none where an image is not in the index as a whole. */
async function metadataOf(
  report: Report,
  { repository, platform, from, to }: UpdateReport,
  reader: IndexReader,
  whole: ReadonlySet<unknown>,
): Promise<FilesReport['metadataOnly']> {
  const [old, next] = [from, to].map(
    (tag) => report.tags[tag]?.images.find((image) => image.platform === platform)?.digest,
  );
  if (old === undefined || next === undefined || !whole.has(old) || !whole.has(next)) return [];
  const same = await reader.query('metadata', { from: old, to: next });
  const sums = (rows: readonly Row[]): { readonly files: number; readonly bytes: number } => ({
    files: rows.reduce((sum, row) => sum + number(row, 'files'), 0),
    bytes: rows.reduce((sum, row) => sum + number(row, 'bytes'), 0),
  });
  const all = sums(same);
  const unchanged = sums(same.filter((row) => !DIFFERENCES.some((name) => row[name] === true)));
  return all.files > 0 ? [{ repository, platform, from, to, ...all, unchanged }] : [];
}
