/**
 * The tables of the index: how rows wait in the engine's memory, and the statements that write them as Parquet.
 *
 * What waits has no NULL, since that costs a call for each value: 0 stands for no id, -1 for an unknown size.
 */
import { join } from 'node:path';
import { Appender, type ColumnData, STAGED } from './append.ts';
import { type Engine, literal } from './engine.ts';
import { PARTITIONS } from './ids.ts';
import { KINDS } from './rows.ts';

type Columns = Readonly<Record<string, ColumnData['type']>>;

/** One table: the columns that wait, what is written of them, in which order, and by which id it is partitioned, if at all. */
interface TableShape {
  readonly staged: Columns;
  /** SELECT list. */
  readonly written: string;
  readonly order: string;
  /** An expression whose upper four bits are the partition. */
  readonly partition?: string;
  /** Rows that a reader takes at once, where the engine's own number would be too many bytes. */
  readonly groupRows?: number;
}

const KIND_LIST = `[${KINDS.map(literal).join(', ')}]`;

/** A table that layers are written to. */
export type TableName =
  | 'entries'
  | 'files'
  | 'paths'
  | 'xattrs'
  | 'documents'
  | 'digests'
  | 'layers';

/** Rows of like content lie together: that makes runs of ids, and a reader of one partition has all copies of a file. */
const TABLES: Readonly<Record<TableName, TableShape>> = {
  entries: {
    staged: {
      ...{ layer: 'constant', file: 'id', path: 'id', link: 'id', xattrs: 'id' },
      ...{ kind: 'byte', superseded: 'byte', mode: 'integer', nanoseconds: 'integer' },
      ...{ size: 'double', uid: 'double', gid: 'double', seconds: 'double', device: 'double' },
    },
    written: `layer AS layer_id, nullif(file, 0) AS file_id, path AS path_id, ${KIND_LIST}[kind + 1] AS kind,
      size::BIGINT AS size, mode, uid::BIGINT AS uid, gid::BIGINT AS gid, seconds::BIGINT AS mtime,
      nanoseconds AS mtime_ns, nullif(link, 0) AS link_id, nullif(xattrs, 0) AS xattrs_id,
      nullif(device, 0)::BIGINT AS device, superseded = 1 AS superseded`,
    order: 'file, path, layer, kind, superseded DESC',
    partition: 'CASE WHEN file <> 0 THEN file ELSE path END',
  },
  files: {
    staged: { file: 'id', digest: 'bytes', size: 'double' },
    written: 'file AS file_id, digest, size::BIGINT AS size',
    order: 'file',
    partition: 'file',
  },
  paths: {
    staged: { path: 'id', text: 'text' },
    written: 'path AS path_id, text AS path',
    order: 'text',
    partition: 'path',
  },
  xattrs: {
    staged: { set: 'id', name: 'text', value: 'bytes' },
    written: 'set AS xattrs_id, name, value',
    order: 'set, name',
  },
  documents: {
    staged: { file: 'id', content: 'bytes' },
    written: 'file AS file_id, content',
    order: 'file',
    groupRows: 2048,
  },
  digests: {
    staged: { file: 'id', md5: 'bytes', sha1: 'bytes' },
    written: 'file AS file_id, md5, sha1',
    order: 'file',
  },
  layers: {
    staged: {
      ...{ layer: 'constant', diff_id: 'text', origin: 'text', uncompressed: 'double' },
      ...{ entries: 'double', tree: 'id', metadata: 'id', kept: 'text' },
    },
    written: `layer AS layer_id, diff_id, origin, nullif(uncompressed, -1)::BIGINT AS uncompressed,
      entries::BIGINT AS entries, tree AS tree_id, metadata AS metadata_id, kept`,
    order: 'layer',
  },
};

/** The tables that layers are written to. */
export const TABLE_NAMES: readonly TableName[] = Object.keys(TABLES) as TableName[];

/** How Parquet is written: delta encodings for sorted ids, pages compressed by zstd. */
const FORMAT = 'FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, PARQUET_VERSION v2';

/** Rows that wait to be written. */
export class Staging {
  readonly #engine: Engine;
  #appenders: ReadonlyMap<TableName, Appender> = new Map();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Makes the tables, empty. */
  async clear(): Promise<void> {
    this.close();
    const appenders = new Map<TableName, Appender>();
    for (const name of TABLE_NAMES) {
      const columns: Columns = TABLES[name].staged;
      const types = Object.entries(columns).map(([column, type]) => `${column} ${STAGED[type]}`);
      await this.#engine.run(`CREATE OR REPLACE TABLE staged_${name} (${types.join(', ')})`);
      appenders.set(
        name,
        await Appender.open(this.#engine, `staged_${name}`, Object.values(columns)),
      );
    }
    this.#appenders = appenders;
  }

  /** Appends the first `length` values of columns in the table's order. */
  append(table: TableName, length: number, columns: readonly ColumnData[]): void {
    this.#appenders.get(table)?.append(length, columns);
  }

  /** Takes the rows of layers back. */
  async remove(layers: readonly bigint[]): Promise<void> {
    this.#flush();
    for (const table of ['entries', 'layers'])
      await this.#engine.run(`DELETE FROM staged_${table} WHERE layer IN (${layers.join(', ')})`);
  }

  /** Writes every table below `directory`, whose folders are there (`foldersOf`); gives the files. */
  async write(directory: string): Promise<string[]> {
    this.#flush();
    const files: string[] = [];
    for (const name of TABLE_NAMES) {
      const { written, order, partition, groupRows } = TABLES[name];
      const format = groupRows === undefined ? FORMAT : `${FORMAT}, ROW_GROUP_SIZE ${groupRows}`;
      for (const [folder, number] of partitionsOf(name)) {
        const file = join(directory, folder, 'part.parquet');
        const where = number === undefined ? '' : `WHERE (${partition}) >> 59 = ${number}`;
        await this.#engine.run(
          `COPY (SELECT ${written} FROM staged_${name} ${where} ORDER BY ${order}) TO ${literal(file)} (${format})`,
        );
        files.push(file);
      }
    }
    return files;
  }

  #flush(): void {
    for (const appender of this.#appenders.values()) appender.flush();
  }

  close(): void {
    for (const appender of this.#appenders.values()) appender.close();
    this.#appenders = new Map();
  }
}

/** Whether a table lies in a folder for each partition. */
export function isPartitioned(name: TableName): boolean {
  return TABLES[name].partition !== undefined;
}

/** A table's folders within a part, each with the number of its partition. */
function partitionsOf(name: TableName): readonly (readonly [string, number | undefined])[] {
  if (!isPartitioned(name)) return [[name, undefined]];
  return Array.from({ length: PARTITIONS }, (_, i) => [`${name}/prefix=${i.toString(16)}`, i]);
}

/** The folders that a part has. */
export function foldersOf(): string[] {
  return TABLE_NAMES.flatMap((name) => partitionsOf(name).map(([folder]) => folder));
}
