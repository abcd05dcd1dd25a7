/**
 * Which images there are, and which layers they are made of: written whole at each run, one folder for each set of targets, replaced
 * by one rename. Layers never change; what a tag names does.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../errors.ts';
import { flushFiles } from '../../flush.ts';
import { type Ingest, makeDirectories, makeIngest } from '../../ingest.ts';
import type { Descriptor, Digest } from '../../oci.ts';
import { Appender, type ColumnData, STAGED } from './append.ts';
import { type Engine, literal } from './engine.ts';
import { digestBytes } from './ids.ts';
import { INDEX_VERSION } from './writer.ts';

/** One image that a tag names, for one platform. */
export interface IndexedImage {
  readonly digest: Digest;
  readonly platform: string;
  /** RFC 3339. */
  readonly created?: string;
  /** Lowest first. */
  readonly layers: readonly { readonly diffId: Digest; readonly descriptor: Descriptor }[];
}

/** A tag and its images. */
export interface IndexedTag {
  /** With its registry's host, or a layout's directory. */
  readonly repository: string;
  readonly tag: string;
  readonly images: readonly IndexedImage[];
}

/** The folder of an index that says what its targets hold. */
export const TARGETS: string = `targets-${INDEX_VERSION}`;
/** The file that names them. */
const NAMES = 'targets.json';

const SHAPES: Readonly<
  Record<
    string,
    { readonly staged: Readonly<Record<string, ColumnData['type']>>; readonly written: string }
  >
> = {
  tags: {
    staged: { repository: 'text', tag: 'text', place: 'double', image: 'id' },
    written: 'repository, tag, place::BIGINT AS place, image AS image_id',
  },
  images: {
    staged: { image: 'id', digest: 'text', platform: 'text', created: 'text' },
    written: "image AS image_id, digest, platform, nullif(created, '') AS created",
  },
  image_layers: {
    staged: { image: 'id', position: 'double', layer: 'id', diff_id: 'text', digest: 'text' },
    written: 'image AS image_id, position::BIGINT AS position, layer AS layer_id, diff_id, digest',
  },
  blobs: {
    staged: { digest: 'text', layer: 'id', size: 'double', media_type: 'text' },
    written: 'digest, layer AS layer_id, size::BIGINT AS size, media_type',
  },
};

/** The tables of a snapshot by what the engine has them as; `queries/tables` makes the others of what images name. */
export const SNAPSHOT_TABLES: Readonly<Record<string, string>> = {
  ...{ tags: 'tags', images: 'images', image_layers: 'named_image_layers', blobs: 'named_blobs' },
};

const DIGEST_BYTES = 32;
const NAME_DIGITS = 20;
/** How often another run may come between. */
const REPLACE_TRIES = 20;

function ids(digests: readonly Digest[]): ColumnData {
  return { type: 'id', digests: Buffer.concat(digests.map(digestBytes)), stride: DIGEST_BYTES };
}
function texts(values: readonly string[]): ColumnData {
  return { type: 'text', values };
}
function numbers(values: readonly number[]): ColumnData {
  return { type: 'double', values: Float64Array.from(values) };
}

/** The first of `items` for each key. */
function distinct<T>(items: readonly T[], keyOf: (item: T) => string): T[] {
  return [...new Map(items.toReversed().map((item) => [keyOf(item), item])).values()].reverse();
}

/** Columns of each table. */
function columnsOf(tags: readonly IndexedTag[]): Record<string, readonly ColumnData[]> {
  const named = tags.flatMap(({ images, ...tag }, place) =>
    images.map(({ digest }) => ({ ...tag, place, digest })),
  );
  const images = distinct(
    tags.flatMap((tag) => tag.images),
    ({ digest }) => digest,
  );
  const layers = images.flatMap((image) =>
    image.layers.map((layer, position) => ({ ...layer, image: image.digest, position })),
  );
  const blobs = distinct(layers, ({ descriptor }) => descriptor.digest);
  return {
    tags: [
      texts(named.map(({ repository }) => repository)),
      texts(named.map(({ tag }) => tag)),
      numbers(named.map(({ place }) => place)),
      ids(named.map(({ digest }) => digest)),
    ],
    images: [
      ids(images.map(({ digest }) => digest)),
      texts(images.map(({ digest }) => digest)),
      texts(images.map(({ platform }) => platform)),
      texts(images.map(({ created = '' }) => created)),
    ],
    image_layers: [
      ids(layers.map(({ image }) => image)),
      numbers(layers.map(({ position }) => position)),
      ids(layers.map(({ diffId }) => diffId)),
      texts(layers.map(({ diffId }) => diffId)),
      texts(layers.map(({ descriptor }) => descriptor.digest)),
    ],
    blobs: [
      texts(blobs.map(({ descriptor }) => descriptor.digest)),
      ids(blobs.map(({ diffId }) => diffId)),
      numbers(blobs.map(({ descriptor }) => descriptor.size)),
      texts(blobs.map(({ descriptor }) => descriptor.mediaType)),
    ],
  };
}

function lengthOf(column: ColumnData): number {
  if (column.type === 'constant') return 1;
  return column.type === 'id' ? column.digests.length / column.stride : column.values.length;
}

/** Makes the engine's table `name` of what `tags` say for `table`. */
async function fill(
  engine: Engine,
  [table, columns]: readonly [string, readonly ColumnData[]],
  name: string,
): Promise<void> {
  const { staged, written } = SHAPES[table] as (typeof SHAPES)[string];
  const types = Object.entries(staged).map(([column, type]) => `${column} ${STAGED[type]}`);
  await engine.run(`CREATE OR REPLACE TABLE snapshot (${types.join(', ')})`);
  const appender = await Appender.open(engine, 'snapshot', Object.values(staged));
  appender.append(lengthOf(columns[0] as ColumnData), columns);
  appender.close();
  await engine.run(
    `CREATE OR REPLACE TABLE ${name} AS SELECT DISTINCT ${written} FROM snapshot ORDER BY ALL`,
  );
  await engine.run('DROP TABLE snapshot');
}

/** Makes the engine's tables of what `tags` say, for a reader of its own. */
export async function loadSnapshot(engine: Engine, tags: readonly IndexedTag[]): Promise<void> {
  for (const one of Object.entries(columnsOf(tags)))
    await fill(engine, one, SNAPSHOT_TABLES[one[0]] as string);
}

/** Makes the engine's tables of what all targets of an index hold. */
export async function loadSnapshots(engine: Engine, directory: string): Promise<void> {
  for (const [table, name] of Object.entries(SNAPSHOT_TABLES)) {
    const files = literal(join(directory, TARGETS, '*', `${table}.parquet`));
    await engine.run(
      `CREATE OR REPLACE TABLE ${name} AS SELECT DISTINCT * FROM read_parquet(${files})`,
    );
  }
}

/**
 * Writes what `targets` hold, directories among them absolute: `tags` oldest first within a repository. Replaces what an earlier run
 * said of the same targets, or of fewer.
 */
export async function writeSnapshot(
  engine: Engine,
  directory: string,
  targets: readonly string[],
  tags: readonly IndexedTag[],
): Promise<void> {
  const ingest = await makeIngest(join(directory, '.ingest'));
  try {
    const draft = ingest.newPath();
    await mkdir(draft);
    const names = join(draft, NAMES);
    await writeFile(names, JSON.stringify(targets));
    const files = [names];
    for (const one of Object.entries(columnsOf(tags))) {
      const file = join(draft, `${one[0]}.parquet`);
      await fill(engine, one, 'written');
      await engine.run(`COPY written TO ${literal(file)} (FORMAT parquet, COMPRESSION zstd)`);
      files.push(file);
    }
    await engine.run('DROP TABLE written');
    await flushFiles([...files, draft]);
    await makeDirectories(join(directory, TARGETS));
    const name = snapshotName(targets);
    await replace(draft, join(directory, TARGETS, name), ingest);
    for (const other of await readdir(join(directory, TARGETS)))
      if (other !== name && (await isCovered(join(directory, TARGETS, other), targets)))
        await moveAside(join(directory, TARGETS, other), ingest);
  } finally {
    await ingest.remove();
  }
}

/** The folder of what `targets` hold. */
function snapshotName(targets: readonly string[]): string {
  const text = [...targets].sort().join('\n');
  return createHash('sha256').update(text).digest('hex').slice(0, NAME_DIGITS);
}

/** Whether all that the snapshot in `folder` tells of is among `targets`; not where that cannot be told. */
async function isCovered(folder: string, targets: readonly string[]): Promise<boolean> {
  try {
    const names = JSON.parse(await readFile(join(folder, NAMES), 'utf8')) as readonly string[];
    return names.every((name) => targets.some((target) => covers(target, name)));
  } catch {
    return false;
  }
}

/** A registry has its repositories, and a repository its tags. */
function covers(target: string, other: string): boolean {
  if (target === other) return true;
  const isRegistry = /^docker:\/\/[^/]+$/.test(target);
  const isRepository = /^docker:\/\/[^/]+\/[^:@]+$/.test(target);
  return (
    (isRegistry && other.startsWith(`${target}/`)) ||
    (isRepository && other.startsWith(`${target}:`))
  );
}

/** Puts the directory `draft` in the place of `place`. */
async function replace(draft: string, place: string, ingest: Ingest): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await rename(draft, place);
    } catch (error) {
      const isThere = ['ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '');
      if (!isThere || tries === REPLACE_TRIES) throw error;
    }
    await moveAside(place, ingest);
  }
}

/** Takes away a directory, which others may do at the same time. */
async function moveAside(place: string, ingest: Ingest): Promise<void> {
  try {
    await rename(place, ingest.newPath());
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}
