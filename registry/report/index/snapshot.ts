/**
 * Which images there are, and which layers they are made of: written whole at each run, one folder for each set of targets, replaced
 * by one rename. Layers never change; what a tag names does.
 */
import { createHash } from 'node:crypto';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../errors.ts';
import { flushFiles } from '../../flush.ts';
import { makeDirectories, makeIngest } from '../../ingest.ts';
import type { Descriptor, Digest } from '../../oci.ts';
import { Appender, type ColumnData, STAGED } from './append.ts';
import { type Engine, literal } from './engine.ts';
import { digestBytes } from './ids.ts';

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
export const TARGETS = 'targets';

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

/** The tables of a snapshot. */
export const SNAPSHOT_TABLES: readonly string[] = Object.keys(SHAPES);

const DIGEST_BYTES = 32;
const NAME_DIGITS = 20;

function ids(digests: readonly Digest[]): ColumnData {
  return { type: 'id', digests: Buffer.concat(digests.map(digestBytes)), stride: DIGEST_BYTES };
}
function texts(values: readonly string[]): ColumnData {
  return { type: 'text', values };
}
function numbers(values: readonly number[]): ColumnData {
  return { type: 'double', values: Float64Array.from(values) };
}

/** `items` without those whose key came before. */
function distinct<T>(items: readonly T[], keyOf: (item: T) => string): T[] {
  return [...new Map(items.map((item) => [keyOf(item), item])).values()];
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

/**
 * Writes what `targets` (as the user named them) hold: `tags` oldest first within a repository. Replaces what an earlier run said of
 * the same targets.
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
    const files: string[] = [];
    for (const [table, columns] of Object.entries(columnsOf(tags))) {
      const { staged, written } = SHAPES[table] as (typeof SHAPES)[string];
      const types = Object.entries(staged).map(([column, type]) => `${column} ${STAGED[type]}`);
      await engine.run(`CREATE OR REPLACE TABLE snapshot (${types.join(', ')})`);
      const appender = await Appender.open(engine, 'snapshot', Object.values(staged));
      appender.append(lengthOf(columns[0] as ColumnData), columns);
      appender.close();
      const file = join(draft, `${table}.parquet`);
      await engine.run(
        `COPY (SELECT ${written} FROM snapshot ORDER BY ALL) TO ${literal(file)} (FORMAT parquet, COMPRESSION zstd)`,
      );
      files.push(file);
    }
    await engine.run('DROP TABLE snapshot');
    await flushFiles([...files, draft]);
    const name = createHash('sha256')
      .update([...targets].sort().join('\n'))
      .digest('hex');
    await makeDirectories(join(directory, TARGETS));
    await replace(draft, join(directory, TARGETS, name.slice(0, NAME_DIGITS)), ingest.newPath());
  } finally {
    await ingest.remove();
  }
}

/** The folder of what `targets` hold. */
export function snapshotName(targets: readonly string[]): string {
  const text = [...targets].sort().join('\n');
  return createHash('sha256').update(text).digest('hex').slice(0, NAME_DIGITS);
}

/** Puts the directory `draft` in the place of `place`; what was there goes to `aside`. */
async function replace(draft: string, place: string, aside: string): Promise<void> {
  for (;;) {
    try {
      await rename(draft, place);
      return;
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '')) throw error;
    }
    await rename(place, aside).catch(() => undefined);
    await rm(aside, { recursive: true, force: true });
  }
}
