/**
 * The embedded engine, DuckDB, loaded only when files are counted: one instance in memory that spills to a private directory.
 */
import { createRequire } from 'node:module';
import type { DuckDBConnection, DuckDBInstance, DuckDBValue } from '@duckdb/node-api';
import { describe, RechunkError } from '../../errors.ts';

/** The package that has the engine. */
const PACKAGE = '@duckdb/node-api';
/** The one version whose layout of vectors `append.ts` was tested with. */
const VERSION = '1.5.4-r.1';

/** What `@duckdb/node-api` exports. */
export type DuckDb = typeof import('@duckdb/node-api');

/** How much the engine may take. */
export interface EngineOptions {
  /** Bytes before it spills; default {@link DEFAULT_MEMORY}. */
  readonly memory?: number;
  /** Default: the processors that this process may use. */
  readonly threads?: number;
  /** An existing directory for what it spills. */
  readonly tempDirectory: string;
}

/** What the engine may take where nothing else is said, bytes. */
export const DEFAULT_MEMORY: number = 2 * 2 ** 30;

/** A value of a row: whole numbers are numbers (up to 2^53), bytes are lower-case hex. */
export type Cell = string | number | boolean | null;
/** A row of a query's result by the names of its columns. */
export type Row = Readonly<Record<string, Cell>>;
/** Values for a query's parameters, by name. */
export type Parameters = Readonly<Record<string, string | number>>;

async function loadPackage(): Promise<DuckDb> {
  try {
    return (await import('@duckdb/node-api')) as DuckDb;
  } catch (error) {
    const isThere = isInstalled();
    const found = isThere ? `it does not load: ${(error as Error).message}` : 'it is not installed';
    throw new RechunkError(
      'usage',
      `loading ${PACKAGE}, the engine that counts files: ${found}; install it beside rechunk with \`npm install ${PACKAGE}@${VERSION}\` (reports of manifests do without)`,
      { cause: error },
    );
  }
}

function isInstalled(): boolean {
  try {
    createRequire(import.meta.url).resolve(PACKAGE);
    return true;
  } catch {
    return false;
  }
}

/** `text` as a literal of SQL. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function cellOf(value: DuckDBValue): Cell {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value.toString();
  }
  if (value === null || typeof value !== 'object') return value as Cell;
  if ('bytes' in value && value.bytes instanceof Uint8Array)
    return Buffer.from(value.bytes).toString('hex');
  if ('toDouble' in value && typeof value.toDouble === 'function') return value.toDouble();
  return String(value);
}

function mebibytes(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)}MiB`;
}

/** A running engine; close it when done. */
export class Engine {
  readonly duckdb: DuckDb;
  readonly connection: DuckDBConnection;
  readonly #instance: DuckDBInstance;

  private constructor(duckdb: DuckDb, instance: DuckDBInstance, connection: DuckDBConnection) {
    this.duckdb = duckdb;
    this.#instance = instance;
    this.connection = connection;
  }

  /** Starts the engine; throws `unsupported`, naming the package, where it is not installed. */
  static async start(options: EngineOptions): Promise<Engine> {
    const duckdb = await loadPackage();
    const instance = await duckdb.DuckDBInstance.create(':memory:', {
      memory_limit: mebibytes(options.memory ?? DEFAULT_MEMORY),
      temp_directory: options.tempDirectory,
      // Nothing may be fetched, whatever a query names.
      autoinstall_known_extensions: 'false',
      ...(options.threads === undefined ? {} : { threads: String(options.threads) }),
    });
    const connection = await instance.connect();
    await connection.run('set preserve_insertion_order = false');
    return new Engine(duckdb, instance, connection);
  }

  /** Says anew how many bytes it may take before it spills. */
  async setMemory(bytes: number): Promise<void> {
    await this.run(`SET memory_limit = '${mebibytes(bytes)}'`);
  }

  /** Runs statements of ours. */
  async run(sql: string): Promise<void> {
    try {
      await this.connection.run(sql);
    } catch (error) {
      throw engineError(error);
    }
  }

  /** The rows of a query, in its order; `:name` in it stands for a parameter. */
  async query(sql: string, parameters: Parameters = {}): Promise<Row[]> {
    try {
      const used = [...sql.matchAll(PARAMETER)].map(([, name]) => name as string);
      const values = Object.fromEntries(used.map((name) => [name, argumentOf(parameters, name)]));
      const text = sql.replace(PARAMETER, '$$$1');
      const result = await this.connection.runAndReadAll(text, values);
      const names = result.columnNames();
      return result
        .getRows()
        .map((row) =>
          Object.fromEntries(row.map((value, i) => [names[i] as string, cellOf(value)])),
        );
    } catch (error) {
      throw engineError(error);
    }
  }

  close(): void {
    this.connection.closeSync();
    this.#instance.closeSync();
  }
}

/** `:name`, but neither `::type` nor anything within a comment that a line begins with. */
const PARAMETER = /(?<![:\w]):([a-z_]+)\b/g;

function argumentOf(parameters: Parameters, name: string): string | number | bigint {
  const value = parameters[name];
  if (value === undefined)
    throw new RechunkError('usage', `running a query: the parameter "${name}" is missing`);
  return typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value;
}

/** What the engine says of itself, told from what is ours. */
function engineError(error: unknown): unknown {
  if (error instanceof RechunkError || !(error instanceof Error)) return error;
  const [text = ''] = error.message.split('\n');
  if (/^(IO|Invalid Input) Error/.test(text))
    return new RechunkError('io', `reading or writing the index: ${text}`, { cause: error });
  if (/^Out of Memory Error/.test(text))
    return new RechunkError('limit', `counting files: ${text}`, { cause: error });
  return describe('counting files', error);
}
