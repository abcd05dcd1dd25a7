/**
 * Reads an index: its tables as views of the engine, and the queries of `queries/`, which are plain SQL in what DuckDB and Spark have
 * in common, so that `spark/run.py` runs the same files.
 */
import { join } from 'node:path';
import { RechunkError } from '../../errors.ts';
import type { Digest } from '../../oci.ts';
import { queryParts, readParts } from './damage.ts';
import { type Engine, literal, type Parameters, type Row } from './engine.ts';
import { type IndexedTag, loadSnapshot, loadSnapshots } from './snapshot.ts';
import { queryText, sqlTexts } from './sql.ts';
import { partFolders, TABLE_NAMES } from './staging.ts';
import { listParts, PARTS } from './writer.ts';

/** Parameters that are digests of images. */
const IMAGE_PARAMETERS: readonly string[] = ['image', 'from', 'to'];

/** Tables of which a report's own layers are taken. */
const OF_LAYERS: readonly string[] = ['layers', 'entries'];

/** Functions of Spark's that the queries use and DuckDB has not. */
const MACROS: readonly string[] = [
  'substring_index(whole, sign, many) AS array_to_string(list_slice(string_split(whole, sign), 1, many), sign)',
];

/** An index that is read. */
export class IndexReader {
  readonly #engine: Engine;
  /** Where the parts are. */
  readonly #directory: string;
  readonly #parts: readonly string[];
  #last: Promise<unknown> = Promise.resolve();

  private constructor(engine: Engine, directory: string, parts: readonly string[]) {
    this.#engine = engine;
    this.#directory = join(directory, PARTS);
    this.#parts = parts;
  }

  /**
   * Makes views of what the index holds by now: all of it, or what belongs to the images of `tags`. What others write later changes
   * nothing. Throws `not-found` where it has no parts.
   */
  static async open(
    engine: Engine,
    directory: string,
    tags?: readonly IndexedTag[],
  ): Promise<IndexReader> {
    const parts = await listParts(directory);
    if (parts.length === 0)
      throw new RechunkError('not-found', `reading the index ${directory}: it has no parts`);
    if (tags) await loadSnapshot(engine, tags);
    else await loadSnapshots(engine, directory);
    const reader = new IndexReader(engine, directory, parts);
    await readParts(engine, reader.#directory, () => reader.#makeViews(tags));
    return reader;
  }

  async #makeViews(tags: readonly IndexedTag[] | undefined): Promise<void> {
    const engine = this.#engine;
    for (const table of TABLE_NAMES) {
      // Partition by partition, so that what is counted of one content is counted at one time.
      const files = partFolders(table).flatMap((below) =>
        this.#parts.map((part) => literal(join(this.#directory, part, below, 'part.parquet'))),
      );
      const name = OF_LAYERS.includes(table) ? `indexed_${table}` : table;
      await engine.run(
        `CREATE OR REPLACE VIEW ${name} AS SELECT * FROM read_parquet([${files.join(', ')}], hive_partitioning = false)`,
      );
    }
    for (const [name, text] of Object.entries(sqlTexts().tables))
      await engine.run(`CREATE OR REPLACE VIEW ${name} AS ${text}`);
    const own = await this.#own(tags ? 'image_layers' : 'layers');
    for (const table of OF_LAYERS)
      await engine.run(`CREATE OR REPLACE VIEW ${table} AS SELECT * FROM indexed_${table} ${own}`);
    for (const macro of MACROS) await engine.run(`CREATE OR REPLACE MACRO ${macro}`);
    await this.#choose([]);
  }

  /** Makes `own_layers`, those that the view names; gives what leaves out the others, if there are some. */
  async #own(view: string): Promise<string> {
    await this.#engine.run(
      `CREATE OR REPLACE TABLE own_layers AS SELECT DISTINCT layer_id FROM ${view}`,
    );
    const own = '(SELECT layer_id FROM own_layers)';
    const [others] = await this.#engine.query(
      `SELECT count(*) AS count FROM indexed_layers WHERE layer_id NOT IN ${own}`,
    );
    return others?.['count'] === 0 ? '' : `WHERE layer_id IN ${own}`;
  }

  /**
   * Runs one of `queries/`; its first lines say what for, `:name` is a parameter. One runs at a time. Those that rest on `chosen` tell of
   * `images`, by digest: by default of those that parameters name, else of all.
   */
  query(name: string, parameters: Parameters = {}, chosen?: readonly Digest[]): Promise<Row[]> {
    return this.#alone(async () => {
      const text = queryText(name);
      const named = IMAGE_PARAMETERS.filter((one) => text.includes(`:${one}`));
      const images = chosen ?? named.flatMap((one) => parameters[one] ?? []);
      if (images.length > 0) await this.#choose(images.map(String));
      try {
        return await queryParts(this.#engine, this.#directory, text, parameters);
      } finally {
        if (images.length > 0) await this.#choose([]);
      }
    });
  }

  /** Makes `visible` a view of these images, by digest; of all where there is none. */
  async #choose(images: readonly string[]): Promise<void> {
    const which = images.length > 0 ? `WHERE digest IN (${images.map(literal).join(', ')})` : '';
    await this.#engine.run(`CREATE OR REPLACE VIEW chosen AS SELECT image_id FROM images ${which}`);
    await this.#hold(images.length > 0);
    for (const [name, text] of Object.entries(sqlTexts().views))
      await this.#engine.run(`CREATE OR REPLACE VIEW ${name} AS ${text}`);
  }

  /** Makes `held`: the entries of the layers of `chosen` (read once, and no part that has none of them), or all. */
  async #hold(isChosen: boolean): Promise<void> {
    const rows = isChosen ? await this.#chosenEntries() : 'FROM entries WHERE false';
    await this.#engine.run(`CREATE OR REPLACE TABLE chosen_entries AS SELECT * ${rows}`);
    const held = isChosen ? 'chosen_entries' : 'entries';
    await this.#engine.run(`CREATE OR REPLACE VIEW held AS SELECT * FROM ${held}`);
  }

  async #chosenEntries(): Promise<string> {
    const file = (part: string, below: string): string =>
      join(this.#directory, part, below, 'part.parquet');
    const lists = this.#parts.map((part) => literal(file(part, 'layers')));
    const found = await this.#engine.query(
      `SELECT l.layer_id, l.filename FROM read_parquet([${lists.join(', ')}], filename = true) l
      WHERE l.layer_id IN (SELECT il.layer_id FROM image_layers il JOIN chosen c ON c.image_id = il.image_id)`,
    );
    if (found.length === 0) return 'FROM entries WHERE false';
    const names = new Set(found.map(({ filename }) => filename));
    const parts = this.#parts.filter((part) => names.has(file(part, 'layers')));
    const files = parts.map((part) => literal(file(part, 'entries/prefix=*')));
    const layers = [...new Set(found.map(({ layer_id }) => layer_id))];
    return `FROM read_parquet([${files.join(', ')}], hive_partitioning = false) WHERE layer_id IN (${layers.join(', ')})`;
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }

  /** Runs a query of the caller's own over the same tables. */
  sql(text: string, parameters: Parameters = {}): Promise<Row[]> {
    return this.#alone(() => queryParts(this.#engine, this.#directory, text, parameters));
  }
}
