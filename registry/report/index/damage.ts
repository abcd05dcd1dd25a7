/** Parts of an index that cannot be read: named, with what to do about them. */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { RechunkError } from '../../errors.ts';
import { type Engine, literal, type Parameters, type Row } from './engine.ts';
import { foldersOf } from './staging.ts';

/** Errors that no damaged file makes. */
const OTHERS: ReadonlySet<string> = new Set(['usage', 'limit', 'not-found', 'interrupted']);

/** What `work` gives, which reads the parts in `directory`. Where it fails and a part is damaged, throws `io`, naming that part. */
export async function readParts<T>(
  engine: Engine,
  directory: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RechunkError && OTHERS.has(error.code)) throw error;
    const found = await findDamage(engine, directory);
    if (!found) throw error;
    const remedy = 'remove it, and its layers are read again';
    const message = `reading the index: the part ${found.part} is damaged (${found.why}); ${remedy}`;
    throw new RechunkError('io', message, { cause: error });
  }
}

/** The rows of a query over parts in `directory`; throws as {@link readParts}. */
export function queryParts(
  engine: Engine,
  directory: string,
  sql: string,
  parameters: Parameters = {},
): Promise<Row[]> {
  return readParts(engine, directory, () => engine.query(sql, parameters));
}

/** Reads all of each part until one cannot be. */
async function findDamage(
  engine: Engine,
  directory: string,
): Promise<{ readonly part: string; readonly why: string } | undefined> {
  for (const name of (await readdir(directory)).sort()) {
    const part = join(directory, name);
    const why = await damageOf(engine, part);
    if (why !== undefined) return { part, why };
  }
  return undefined;
}

async function damageOf(engine: Engine, part: string): Promise<string | undefined> {
  const below = await readdir(part, { recursive: true });
  const folders = new Set(below.filter((one) => one.endsWith('.parquet')).map(dirname));
  for (const folder of foldersOf())
    if (!folders.has(folder)) return `${folder}/part.parquet is missing`;
  for (const folder of folders) {
    const file = literal(join(part, folder, 'part.parquet'));
    try {
      await engine.query(`SELECT bit_xor(hash(t)) FROM read_parquet(${file}) t`);
    } catch (error) {
      return `${folder}/part.parquet: ${(error as Error).message}`;
    }
  }
  return undefined;
}
