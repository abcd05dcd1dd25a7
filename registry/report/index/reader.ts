/**
 * Reads an index: its tables as views of the engine, and the queries of `queries/`, which are plain SQL in what DuckDB and Spark have
 * in common, so that `spark/run.py` runs the same files.
 */
import { join } from 'node:path';
import { RechunkError } from '../../errors.ts';
import { type Engine, literal, type Parameters, type Row } from './engine.ts';
import { SNAPSHOT_TABLES, TARGETS } from './snapshot.ts';
import { queryText, sqlTexts } from './sql.ts';
import { TABLE_NAMES } from './staging.ts';
import { listParts, PARTS } from './writer.ts';

/** An index that is read. */
export class IndexReader {
  readonly #engine: Engine;

  private constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Makes views of what the index holds by now; throws `not-found` where that is nothing. */
  static async open(engine: Engine, directory: string): Promise<IndexReader> {
    const parts = await listParts(directory);
    if (parts.length === 0)
      throw new RechunkError('not-found', `reading the index ${directory}: it has no parts`);
    for (const table of TABLE_NAMES) {
      const folders = table === 'xattrs' || table === 'layers' ? '' : '/prefix=*';
      const files = parts.map((part) =>
        literal(join(directory, PARTS, part, `${table}${folders}`, 'part.parquet')),
      );
      await engine.run(
        `CREATE OR REPLACE VIEW ${table} AS SELECT * FROM read_parquet([${files.join(', ')}], hive_partitioning = false)`,
      );
    }
    for (const table of SNAPSHOT_TABLES) {
      const files = join(directory, TARGETS, '*', `${table}.parquet`);
      await engine.run(
        `CREATE OR REPLACE VIEW ${table} AS SELECT DISTINCT * FROM read_parquet(${literal(files)})`,
      );
    }
    for (const [name, text] of Object.entries(sqlTexts().views))
      await engine.run(`CREATE OR REPLACE VIEW ${name} AS ${text}`);
    return new IndexReader(engine);
  }

  /** Runs one of `queries/`; its parameters are named in its first lines. */
  query(name: string, parameters: Parameters = {}): Promise<Row[]> {
    return this.#engine.query(queryText(name), parameters);
  }

  /** Runs a query of the caller's own over the same tables. */
  sql(text: string, parameters: Parameters = {}): Promise<Row[]> {
    return this.#engine.query(text, parameters);
  }
}
