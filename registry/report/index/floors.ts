/**
 * Floors: what updates have to bring at least where nodes keep files by content. All pairs of images that a report tells of are
 * answered by few queries: contents that lie in the same layers are one class, and whether a node has a class is told by its layers.
 */
import type { Digest } from '../../oci.ts';
import type { ImageReport, Report } from '../report.ts';
import type { Cell, Row } from './engine.ts';
import type { IndexReader } from './reader.ts';

/** Entries of images that one query lays out; the engine takes some 100 bytes for each. */
const BATCH_ENTRIES = 3_000_000;
/** Entries of all images whose floors are told, before repositories are left out: minutes of two cores. */
export const FLOOR_ENTRIES = 200_000_000;

/** A tag and another one of its repository, for a platform that both have. */
interface Pair {
  readonly platform: string;
  /** Indexes into the report's tags. */
  readonly from: number;
  readonly to: number;
}

/** Floors of a report's updates and matrices. */
export interface Floors {
  /** Bytes that an update brings at least, in proportion to its layers' compression; undefined where that is not known. */
  between(pair: Pair): number | undefined;
  /** Repositories (indexes) that were left out, and how many entries their images have. */
  readonly skipped: readonly { readonly repository: number; readonly entries: number }[];
}

/** Entries of each image of which all layers are indexed. */
type Entries = ReadonlyMap<Digest, number>;

/** Asks the index for the floors of all updates and matrices of `report`: of up to `most` entries, small repositories first. */
export async function askFloors(
  report: Report,
  reader: IndexReader,
  most: number = FLOOR_ENTRIES,
): Promise<Floors> {
  const entries = await entriesOf(reader);
  const [kept, skipped] = choose(report, entries, most);
  const ratios = await ratiosOf(reader);
  const series = await seriesOf(reader);
  for (const images of batches(kept.values(), entries)) {
    const classes = groupBySeries(await reader.query('classes', {}, images));
    const shown = groupBySeries(await reader.query('floors', {}, images));
    for (const [at, repository] of kept) {
      const own = series.get(report.repositories[at]?.name ?? '') ?? null;
      repository.add(shown.get(own) ?? [], classes.get(own) ?? [], ratios);
    }
  }
  const between = ({ platform, from, to }: Pair): number | undefined => {
    const [old, next] = [from, to].map((tag) => imageOf(report, tag, platform)?.digest);
    const repository = kept.get(report.tags[to]?.repository ?? -1);
    return old && next && repository?.lacking(old, next);
  };
  return { between, skipped };
}

function imageOf(report: Report, tag: number, platform: string): ImageReport | undefined {
  return report.tags[tag]?.images.find((image) => image.platform === platform);
}

/** Pairs of images whose floors a report tells, by the repository. */
function pairsOf(report: Report): Map<number, Pair[]> {
  const matrices = report.matrices.flatMap(({ tags, platform }) =>
    tags.flatMap((to) => tags.map((from): Pair => ({ platform, from, to }))),
  );
  return Map.groupBy(
    [...matrices, ...report.updates],
    ({ to }) => report.tags[to]?.repository ?? -1,
  );
}

async function entriesOf(reader: IndexReader): Promise<Entries> {
  const rows = await reader.sql(
    `SELECT i.digest, sum(l.entries) AS entries
    FROM images i
    JOIN image_layers il ON il.image_id = i.image_id
    LEFT JOIN layers l ON l.layer_id = il.layer_id
    GROUP BY i.digest
    HAVING count(*) = count(l.layer_id)`,
  );
  return new Map(rows.map((row) => [row['digest'] as Digest, Number(row['entries'])]));
}

async function seriesOf(reader: IndexReader): Promise<Map<string, Cell>> {
  const rows = await reader.sql('SELECT DISTINCT repository, series FROM series');
  return new Map(rows.map((row) => [String(row['repository']), row['series'] as Cell]));
}

function groupBySeries(rows: readonly Row[]): Map<Cell, Row[]> {
  return Map.groupBy(rows, (row) => row['series'] as Cell);
}

/** Compressed bytes a byte of each layer's tar, by diffID. */
async function ratiosOf(reader: IndexReader): Promise<Map<Digest, number>> {
  const rows = await reader.sql('SELECT diff_id, ratio FROM ratios');
  return new Map(rows.map((row) => [row['diff_id'] as Digest, Number(row['ratio'])]));
}

/** The repositories whose images are within `most` entries, and the others. */
function choose(
  report: Report,
  entries: Entries,
  most: number,
): [Map<number, Repository>, Floors['skipped']] {
  const all = [...pairsOf(report)].map(([at, pairs]) => {
    const repository = new Repository(report, pairs, entries);
    const sum = repository.targets.reduce((all, image) => all + (entries.get(image) ?? 0), 0);
    return { at, repository, entries: sum };
  });
  all.sort((a, b) => a.entries - b.entries || a.at - b.at);
  let total = 0;
  const fits = all.filter((one) => {
    total += one.entries;
    return total <= most;
  });
  const rest = all.slice(fits.length);
  return [
    new Map(fits.map(({ at, repository }) => [at, repository])),
    rest.map((one) => ({ repository: one.at, entries: one.entries })),
  ];
}

/** Images to which updates lead, in lots of about {@link BATCH_ENTRIES}. */
function batches(repositories: Iterable<Repository>, entries: Entries): Digest[][] {
  const lots: Digest[][] = [];
  let room = 0;
  for (const image of new Set([...repositories].flatMap(({ targets }) => targets))) {
    if (room <= 0) {
      lots.push([]);
      room = BATCH_ENTRIES;
    }
    lots.at(-1)?.push(image);
    room -= entries.get(image) ?? 0;
  }
  return lots;
}

/** Where nodes come from for an image, and the bytes that each lacks. */
interface Target {
  /** Positions of images, ascending. */
  readonly from: Int32Array;
  readonly lacking: Float64Array;
}

/** The images of one repository whose updates are told. */
class Repository {
  readonly #places: ReadonlyMap<Digest, number>;
  /** Positions of the images that have a layer, by diffID. */
  readonly #having = new Map<Digest, number[]>();
  readonly #targets: ReadonlyMap<Digest, Target>;

  constructor(report: Report, pairs: readonly Pair[], entries: Entries) {
    const images = new Map<Digest, ImageReport>();
    const sources = new Map<Digest, Set<Digest>>();
    for (const { platform, from, to } of pairs) {
      const [old, next] = [from, to].map((tag) => imageOf(report, tag, platform));
      if (!old || !next || !entries.has(old.digest) || !entries.has(next.digest)) continue;
      for (const image of [old, next]) images.set(image.digest, image);
      const known = sources.get(next.digest);
      if (known) known.add(old.digest);
      else sources.set(next.digest, new Set([old.digest]));
    }
    this.#places = new Map([...images.keys()].map((digest, place) => [digest, place]));
    for (const [digest, { layers }] of images) this.#list(report, digest, layers);
    this.#targets = new Map(
      [...sources].map(([to, from]) => {
        const places = Int32Array.from(from, (digest) => this.#places.get(digest) ?? -1).sort();
        return [to, { from: places, lacking: new Float64Array(places.length) }];
      }),
    );
  }

  /** Images to which updates lead. */
  get targets(): Digest[] {
    return [...this.#targets.keys()];
  }

  #list(report: Report, image: Digest, layers: readonly number[]): void {
    const place = this.#places.get(image) ?? -1;
    for (const layer of new Set(layers)) {
      const diffId = report.layers[layer]?.diffId as Digest;
      const having = this.#having.get(diffId);
      if (having) having.push(place);
      else this.#having.set(diffId, [place]);
    }
  }

  /** Adds what images show (`floors.sql`) of each class (`classes.sql`). */
  add(shown: readonly Row[], classes: readonly Row[], ratios: ReadonlyMap<Digest, number>): void {
    const having = new Map<Cell, Uint8Array>();
    for (const row of classes) {
      const key = row['class'] as Cell;
      const has = having.get(key) ?? new Uint8Array(this.#places.size);
      having.set(key, has);
      for (const place of this.#having.get(row['diff_id'] as Digest) ?? []) has[place] = 1;
    }
    for (const row of shown) {
      const target = this.#targets.get(row['image'] as Digest);
      const has = having.get(row['class'] as Cell);
      if (!target || !has) continue;
      const { from, lacking } = target;
      const bytes = Number(row['bytes']) * (ratios.get(row['diff_id'] as Digest) ?? 1);
      for (let i = 0; i < from.length; i++)
        if (has[from[i] as number] === 0) lacking[i] = (lacking[i] as number) + bytes;
    }
  }

  /** Bytes of `to` that a node with `from` lacks. */
  lacking(from: Digest, to: Digest): number | undefined {
    const [target, place] = [this.#targets.get(to), this.#places.get(from)];
    const bytes = target?.lacking[target.from.indexOf(place ?? -1)];
    return bytes === undefined ? undefined : Math.round(bytes);
  }
}
