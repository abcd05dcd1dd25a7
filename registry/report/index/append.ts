/**
 * Rows from typed arrays into the engine, 2048 at a time, column by column: object by object an entry costs microseconds.
 */
import type { DuckDBAppender, DuckDBDataChunk, DuckDBType } from '@duckdb/node-api';
import type { Engine } from './engine.ts';

/** Rows that a data chunk holds (DuckDB's vector size). */
const CHUNK_ROWS = 2048;
/** Bytes of text that a chunk holds before it is sent, though it is not full. */
const CHUNK_BYTES: number = 1 << 20;

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

/** A column of a chunk; `items` is not public, which is why the package's version is pinned. */
interface Vector<T = never> {
  readonly items: T;
  setItem(at: number, value: unknown): void;
  flush(): void;
}

/** Appends columns to a table. Rows wait until a chunk is full: half-empty ones cost as much. */
export class Appender {
  readonly #appender: DuckDBAppender;
  readonly #types: readonly DuckDBType[];
  readonly #engine: Engine;
  /** Whether a chunk may be filled anew: text that it holds stays with it. */
  readonly #isFixed: boolean;
  #chunk: DuckDBDataChunk | undefined;
  #vectors: readonly Vector[] = [];
  #filled = 0;
  /** Of text and bytes in the chunk. */
  #bytes = 0;

  private constructor(
    engine: Engine,
    appender: DuckDBAppender,
    columns: readonly ColumnData['type'][],
  ) {
    const { BIGINT, DOUBLE, INTEGER, UTINYINT, VARCHAR, BLOB } = engine.duckdb;
    const types: Readonly<Record<string, DuckDBType>> = {
      ...{ BIGINT, DOUBLE, INTEGER, UTINYINT, VARCHAR, BLOB },
    };
    this.#engine = engine;
    this.#appender = appender;
    this.#types = columns.map((column) => types[STAGED[column]] as DuckDBType);
    this.#isFixed = !columns.some((column) => column === 'text' || column === 'bytes');
  }

  /** An appender to `table`, which has these columns. */
  static async open(
    engine: Engine,
    table: string,
    columns: readonly ColumnData['type'][],
  ): Promise<Appender> {
    return new Appender(engine, await engine.connection.createAppender(table), columns);
  }

  /** Appends the first `length` values of each column. */
  append(length: number, columns: readonly ColumnData[]): void {
    const rows = new Uint32Array(length);
    for (let row = 0; row < length; row++) rows[row] = row;
    this.appendRows(rows, columns);
  }

  /** Appends these rows of the columns. */
  appendRows(rows: Uint32Array, columns: readonly ColumnData[]): void {
    for (let from = 0; from < rows.length; ) {
      if (!this.#chunk) this.#begin();
      const taken = rows.subarray(from, from + CHUNK_ROWS - this.#filled);
      columns.forEach((column, i) => {
        fill(this.#vectors[i] as Vector, this.#filled, column, taken);
        if (column.type === 'text' || column.type === 'bytes')
          for (const row of taken) this.#bytes += (column.values[row] as ArrayLike<unknown>).length;
      });
      this.#filled += taken.length;
      from += taken.length;
      if (this.#filled === CHUNK_ROWS || this.#bytes > CHUNK_BYTES) this.#send();
    }
  }

  /** Makes what was appended visible. */
  flush(): void {
    if (this.#filled > 0) this.#send();
    this.#appender.flushSync();
  }

  /** Makes what was appended visible, and ends. */
  close(): void {
    if (this.#filled > 0) this.#send();
    this.#appender.closeSync();
  }

  #begin(): void {
    const chunk = this.#engine.duckdb.DuckDBDataChunk.create(this.#types, CHUNK_ROWS);
    this.#vectors = this.#types.map((_, i) => chunk.getColumnVector(i) as unknown as Vector);
    this.#chunk = chunk;
  }

  #send(): void {
    const chunk = this.#chunk as DuckDBDataChunk;
    for (const vector of this.#vectors) vector.flush();
    chunk.rowCount = this.#filled;
    this.#appender.appendDataChunk(chunk);
    this.#filled = 0;
    this.#bytes = 0;
    if (!this.#isFixed) this.#chunk = undefined;
  }
}

/** Puts the values of `rows` into the vector, from `at` on. */
function fill(vector: Vector, at: number, column: ColumnData, rows: Uint32Array): void {
  const { items } = vector as Vector<unknown>;
  if (column.type === 'id') {
    fillIds(items as BigInt64Array, at, column, rows);
  } else if (column.type === 'constant') {
    (items as BigInt64Array).fill(column.value, at, at + rows.length);
  } else if (column.type === 'text') {
    for (const row of rows) vector.setItem(at++, column.values[row]);
  } else if (column.type === 'bytes') {
    for (const row of rows) vector.setItem(at++, { bytes: column.values[row] });
  } else {
    gather(items as Float64Array, at, column.values, rows);
  }
}

function gather(
  items: Float64Array | Int32Array | Uint8Array,
  at: number,
  values: Float64Array | Int32Array | Uint8Array,
  rows: Uint32Array,
): void {
  for (let i = 0; i < rows.length; i++) items[at + i] = values[rows[i] as number] as number;
}

/** The first 63 bits of each digest, as {@link idOf} gives them, without an object for each. */
function fillIds(
  items: BigInt64Array,
  from: number,
  { digests, stride }: { readonly digests: Buffer; readonly stride: number },
  rows: Uint32Array,
): void {
  const words = new Uint32Array(items.buffer, items.byteOffset + from * 8, rows.length * 2);
  for (let i = 0; i < rows.length; i++) {
    const at = (rows[i] as number) * stride;
    const high = digests.readUInt32BE(at);
    words[2 * i] = ((high & 1) << 31) | (digests.readUInt32BE(at + 4) >>> 1);
    words[2 * i + 1] = high >>> 1;
  }
}
