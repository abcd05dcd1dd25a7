/**
 * Rows from typed arrays into the engine, 2048 at a time, whole columns by one copy each: object by object an entry costs microseconds.
 */
import type { DuckDBAppender, DuckDBDataChunk, DuckDBType } from '@duckdb/node-api';
import type { Engine } from './engine.ts';

/** Rows that a data chunk holds (DuckDB's vector size). */
const CHUNK_ROWS = 2048;

/** A column's values, from which a stretch is taken; `id` has digests of which the first eight bytes count. */
export type ColumnData =
  | { readonly type: 'id'; readonly digests: Buffer; readonly stride: number }
  | { readonly type: 'constant'; readonly value: bigint }
  | { readonly type: 'double'; readonly values: Float64Array }
  | { readonly type: 'integer'; readonly values: Int32Array }
  | { readonly type: 'byte'; readonly values: Uint8Array }
  | { readonly type: 'text'; readonly values: readonly string[] }
  | { readonly type: 'bytes'; readonly values: readonly Uint8Array[] };

/** The type of a column in a staging table. */
export const STAGED: Readonly<Record<ColumnData['type'], string>> = {
  id: 'BIGINT',
  constant: 'BIGINT',
  double: 'DOUBLE',
  integer: 'INTEGER',
  byte: 'UTINYINT',
  text: 'VARCHAR',
  bytes: 'BLOB',
};

/** A vector over fixed-size items; `items` is not public, which is why the package's version is pinned. */
interface Fixed<T> {
  readonly items: T;
  flush(): void;
}

/** Appends columns to a table. */
export class Appender {
  readonly #appender: DuckDBAppender;
  readonly #types: readonly DuckDBType[];
  readonly #engine: Engine;

  private constructor(engine: Engine, appender: DuckDBAppender, types: readonly DuckDBType[]) {
    this.#engine = engine;
    this.#appender = appender;
    this.#types = types;
  }

  /** An appender to `table`, which has these columns. */
  static async open(
    engine: Engine,
    table: string,
    columns: readonly ColumnData['type'][],
  ): Promise<Appender> {
    const { BIGINT, DOUBLE, INTEGER, UTINYINT, VARCHAR, BLOB } = engine.duckdb;
    const types: Readonly<Record<string, DuckDBType>> = {
      ...{ BIGINT, DOUBLE, INTEGER, UTINYINT, VARCHAR, BLOB },
    };
    const appender = await engine.connection.createAppender(table);
    return new Appender(
      engine,
      appender,
      columns.map((column) => types[STAGED[column]] as DuckDBType),
    );
  }

  /** Appends the first `length` values of each column. */
  append(length: number, columns: readonly ColumnData[]): void {
    for (let from = 0; from < length; from += CHUNK_ROWS) {
      const to = Math.min(length, from + CHUNK_ROWS);
      const chunk = this.#engine.duckdb.DuckDBDataChunk.create(this.#types, to - from);
      columns.forEach((column, i) => {
        fill(chunk, i, column, from, to);
      });
      this.#appender.appendDataChunk(chunk);
    }
  }

  /** Makes what was appended visible. */
  flush(): void {
    this.#appender.flushSync();
  }

  close(): void {
    this.#appender.closeSync();
  }
}

function fill(
  chunk: DuckDBDataChunk,
  index: number,
  column: ColumnData,
  from: number,
  to: number,
): void {
  const vector = chunk.getColumnVector(index);
  const fixed = vector as unknown as Fixed<never>;
  if (column.type === 'id') {
    fillIds((fixed as Fixed<BigInt64Array>).items, column, from);
  } else if (column.type === 'constant') {
    (fixed as Fixed<BigInt64Array>).items.fill(column.value);
  } else if (column.type === 'text') {
    for (let row = from; row < to; row++) setItem(vector, row - from, column.values[row] as string);
  } else if (column.type === 'bytes') {
    const blob = (bytes: Uint8Array): unknown => ({ bytes });
    for (let row = from; row < to; row++)
      setItem(vector, row - from, blob(column.values[row] as Uint8Array));
  } else {
    (fixed as Fixed<Float64Array>).items.set(column.values.subarray(from, to));
  }
  fixed.flush();
}

function setItem(vector: unknown, at: number, value: unknown): void {
  (vector as { setItem(at: number, value: unknown): void }).setItem(at, value);
}

/** The first 63 bits of each digest, as {@link idOf} gives them, without an object for each. */
function fillIds(
  items: BigInt64Array,
  { digests, stride }: { readonly digests: Buffer; readonly stride: number },
  from: number,
): void {
  const words = new Uint32Array(items.buffer, items.byteOffset, items.length * 2);
  for (let row = 0; row < items.length; row++) {
    const at = (from + row) * stride;
    const high = digests.readUInt32BE(at);
    words[2 * row] = ((high & 1) << 31) | (digests.readUInt32BE(at + 4) >>> 1);
    words[2 * row + 1] = high >>> 1;
  }
}
