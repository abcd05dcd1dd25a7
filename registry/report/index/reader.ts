/**
 * Reads an index: its tables as views of the engine, and the queries of `queries/`, which are plain SQL in what DuckDB and Spark have
 * in common, so that `spark/run.py` runs the same files.
 */
import { join } from 'node:path';
import { RechunkError } from '../../errors.ts';
import { type Engine, literal, type Parameters, type Row } from './engine.ts';
import { SNAPSHOT_TABLES, snapshotName, TARGETS } from './snapshot.ts';
import { queryText, sqlTexts } from './sql.ts';
import { isPartitioned, TABLE_NAMES } from './staging.ts';
import { listParts, PARTS } from './writer.ts';

/** Parameters that are digests of images. */
const IMAGE_PARAMETERS: readonly string[] = ['image', 'from', 'to'];

/** What leaves out the layers of other targets. */
const OF_TARGETS = 'WHERE layer_id IN (SELECT layer_id FROM image_layers)';

/** Functions of Spark's that the queries use and DuckDB has not. */
const MACROS: readonly string[] = [
  'substring_index(whole, sign, many) AS array_to_string(list_slice(string_split(whole, sign), 1, many), sign)',
];

/** An index that is read. */
export class IndexReader {
  readonly #engine: Engine;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(engine: Engine) {
    this.#engine = engine;
  }

  /**
   * Makes views of what the index holds by now: all of it, or what belongs to the images of `targets`. Throws `not-found` where that is
   * nothing.
   */
  static async open(
    engine: Engine,
    directory: string,
    targets?: readonly string[],
  ): Promise<IndexReader> {
    const parts = await listParts(directory);
    if (parts.length === 0)
      throw new RechunkError('not-found', `reading the index ${directory}: it has no parts`);
    const view = (name: string, files: readonly string[], rest: string): Promise<void> =>
      engine.run(
        `CREATE OR REPLACE VIEW ${name} AS SELECT ${rest.replace('FROM', `FROM read_parquet([${files.map(literal).join(', ')}], hive_partitioning = false)`)}`,
      );
    const folder = targets ? snapshotName(targets) : '*';
    for (const table of SNAPSHOT_TABLES)
      await view(table, [join(directory, TARGETS, folder, `${table}.parquet`)], 'DISTINCT * FROM');
    for (const table of TABLE_NAMES) {
      const below = isPartitioned(table) ? `${table}/prefix=*` : table;
      const files = parts.map((part) => join(directory, PARTS, part, below, 'part.parquet'));
      const isOfLayers = table === 'entries' || table === 'layers';
      const own = targets && isOfLayers ? OF_TARGETS : '';
      await view(table, files, `* FROM ${own}`);
    }
    for (const macro of MACROS) await engine.run(`CREATE OR REPLACE MACRO ${macro}`);
    const reader = new IndexReader(engine);
    await reader.#choose([]);
    return reader;
  }

  /** Runs one of `queries/`; its first lines say what for, `:name` is a parameter. One runs at a time. */
  query(name: string, parameters: Parameters = {}): Promise<Row[]> {
    return this.#alone(async () => {
      const text = queryText(name);
      const named = IMAGE_PARAMETERS.filter((one) => text.includes(`:${one}`));
      const images = named.flatMap((one) => parameters[one] ?? []);
      if (images.length > 0) await this.#choose(images.map(String));
      try {
        return await this.#engine.query(text, parameters);
      } finally {
        if (images.length > 0) await this.#choose([]);
      }
    });
  }

  /** Makes `visible` a view of these images, by digest; of all where there is none. */
  async #choose(images: readonly string[]): Promise<void> {
    const which = images.length > 0 ? `WHERE digest IN (${images.map(literal).join(', ')})` : '';
    await this.#engine.run(`CREATE OR REPLACE VIEW chosen AS SELECT image_id FROM images ${which}`);
    for (const [name, text] of Object.entries(sqlTexts().views))
      await this.#engine.run(`CREATE OR REPLACE VIEW ${name} AS ${text}`);
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Runs a query of the caller's own over the same tables. */
  sql(text: string, parameters: Parameters = {}): Promise<Row[]> {
    return this.#alone(() => this.#engine.query(text, parameters));
  }
}
