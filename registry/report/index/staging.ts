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
  /** Columns of ids, of which the first that is none of nothing tells the partition. */
  readonly partition?: readonly string[];
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
    partition: ['file', 'path'],
  },
  files: {
    staged: { file: 'id', digest: 'bytes', size: 'double' },
    written: 'file AS file_id, digest, size::BIGINT AS size',
    order: 'file',
    partition: ['file'],
  },
  paths: {
    staged: { path: 'id', text: 'text' },
    written: 'path AS path_id, text AS path',
    order: 'text',
    partition: ['path'],
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
      ...{
        layer: 'constant',
        diff_id: 'text',
        blob: 'text',
        origin: 'text',
        uncompressed: 'double',
      },
      ...{ entries: 'double', tree: 'id', metadata: 'id', kept: 'text' },
    },
    written: `layer AS layer_id, diff_id, blob, origin, nullif(uncompressed, -1)::BIGINT AS uncompressed,
      entries::BIGINT AS entries, tree AS tree_id, metadata AS metadata_id, kept`,
    order: 'layer',
  },
};

/** The tables that layers are written to. */
export const TABLE_NAMES: readonly TableName[] = Object.keys(TABLES) as TableName[];

/** How Parquet is written: delta encodings for sorted ids, pages compressed by zstd. */
const FORMAT = 'FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, PARQUET_VERSION v2';

/** Rows that wait to be written: a table of the engine for each partition, so that none is read in vain. */
export class Staging {
  readonly #engine: Engine;
  #appenders: ReadonlyMap<TableName, readonly Appender[]> = new Map();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Makes the tables, empty. */
  async clear(): Promise<void> {
    this.close();
    const made = new Map<TableName, readonly Appender[]>();
    for (const name of TABLE_NAMES) {
      const columns: Columns = TABLES[name].staged;
      const types = Object.entries(columns).map(([column, type]) => `${column} ${STAGED[type]}`);
      const appenders: Appender[] = [];
      for (const table of stagedNames(name)) {
        await this.#engine.run(`CREATE OR REPLACE TABLE ${table} (${types.join(', ')})`);
        appenders.push(await Appender.open(this.#engine, table, Object.values(columns)));
      }
      made.set(name, appenders);
    }
    this.#appenders = made;
  }

  /** Appends the first `length` values of columns in the table's order. */
  append(table: TableName, length: number, columns: readonly ColumnData[]): void {
    const appenders = this.#appenders.get(table) ?? [];
    const { partition, staged } = TABLES[table];
    if (!partition) {
      appenders[0]?.append(length, columns);
      return;
    }
    const names = Object.keys(staged);
    const ids = partition.map((name) => columns[names.indexOf(name)] as IdColumn);
    for (const [i, rows] of rowsByPartition(length, ids).entries())
      if (rows.length > 0) appenders[i]?.appendRows(rows, columns);
  }

  /** Takes the rows of layers back. */
  async remove(layers: readonly bigint[]): Promise<void> {
    this.#flush();
    for (const table of [...stagedNames('entries'), ...stagedNames('layers')])
      await this.#engine.run(`DELETE FROM ${table} WHERE layer IN (${layers.join(', ')})`);
  }

  /** Writes every table below `directory`, whose folders are there (`foldersOf`); gives the files. */
  async write(directory: string): Promise<string[]> {
    this.#flush();
    const files: string[] = [];
    for (const name of TABLE_NAMES) {
      const { written, order, groupRows } = TABLES[name];
      const format = groupRows === undefined ? FORMAT : `${FORMAT}, ROW_GROUP_SIZE ${groupRows}`;
      const folders = partFolders(name);
      for (const [i, table] of stagedNames(name).entries()) {
        const file = join(directory, folders[i] as string, 'part.parquet');
        // Sorted as it waits: what is written of it takes more room.
        const rows = `SELECT ${written} FROM (SELECT * FROM ${table} ORDER BY ${order})`;
        await this.#engine.run(`COPY (${rows}) TO ${literal(file)} (${format})`);
        files.push(file);
      }
    }
    return files;
  }

  #flush(): void {
    for (const appender of [...this.#appenders.values()].flat()) appender.flush();
  }

  close(): void {
    for (const appender of [...this.#appenders.values()].flat()) appender.close();
    this.#appenders = new Map();
  }
}

type IdColumn = Extract<ColumnData, { readonly type: 'id' }>;

/** Rows from 0 to `length` by the partition that the first id that there is tells. */
function rowsByPartition(length: number, columns: readonly IdColumn[]): Uint32Array[] {
  const [{ digests, stride }, rest] = [columns[0] as IdColumn, columns[1]];
  const partitions = new Uint8Array(length);
  const starts = new Uint32Array(PARTITIONS + 1);
  for (let row = 0, at = 0; row < length; row++, at += stride) {
    const isNone = digests.readUInt32LE(at) === 0 && digests.readUInt32LE(at + 4) === 0;
    const { digests: telling } = isNone && rest ? rest : { digests };
    const partition = (telling[at] as number) >>> 4;
    partitions[row] = partition;
    starts[partition + 1] = (starts[partition + 1] as number) + 1;
  }
  for (let i = 0; i < PARTITIONS; i++)
    starts[i + 1] = (starts[i + 1] as number) + (starts[i] as number);
  const places = starts.slice();
  const rows = new Uint32Array(length);
  for (let row = 0; row < length; row++) {
    const partition = partitions[row] as number;
    const place = places[partition] as number;
    rows[place] = row;
    places[partition] = place + 1;
  }
  return Array.from({ length: PARTITIONS }, (_, i) => rows.subarray(starts[i], starts[i + 1]));
}

function isPartitioned(name: TableName): boolean {
  return TABLES[name].partition !== undefined;
}

/** A table's folders within a part, by partition. */
export function partFolders(name: TableName): string[] {
  if (!isPartitioned(name)) return [name];
  return Array.from({ length: PARTITIONS }, (_, i) => `${name}/prefix=${i.toString(16)}`);
}

/** The engine's tables in which rows wait, by partition. */
function stagedNames(name: TableName): string[] {
  return partFolders(name).map((_, i) => `staged_${name}_${i}`);
}

/** The folders that a part has. */
export function foldersOf(): string[] {
  return TABLE_NAMES.flatMap(partFolders);
}
