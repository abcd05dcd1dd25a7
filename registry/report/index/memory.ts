/**
 * How the memory that a process may take is shared out while an index is written. Measured (bench/README.md, "Index of files"): beside the
 * engine are the program and the layers that are being read, digests that are known to be written, and rows that the engine has not
 * counted yet.
 */
import { RechunkError } from '../../errors.ts';
import { KEPT_DIGESTS, PART_ENTRIES } from './writer.ts';

const MIB = 2 ** 20;
/** What a process that indexes may take where nothing else is said, bytes. */
export const DEFAULT_INDEX_MEMORY: number = 2048 * MIB;
/** The program, its heap and the layers that are being read, bytes. */
const PROGRAM_BYTES: number = 256 * MIB;
/** Least that there is to share out beside the program, bytes. */
const LEAST_BYTES: number = 128 * MIB;
/** Half for the engine; of the other half, an entry that waits takes this much, and a digest that is remembered less. */
const ENTRY_BYTES = 220;

/** Shares of a process's memory. */
export interface IndexMemory {
  /** Of the engine, before it spills, bytes. */
  readonly engine: number;
  /** Entries after which a part is written. */
  readonly partEntries: number;
  /** Digests of a kind that a run remembers to have written. */
  readonly keptDigests: number;
}

/** Shares `limit` out, bytes of the whole process; throws `usage` for too little. */
export function shareMemory(limit: number = DEFAULT_INDEX_MEMORY): IndexMemory {
  const room = limit - PROGRAM_BYTES;
  if (room < LEAST_BYTES) {
    const [given, least] = [limit, PROGRAM_BYTES + LEAST_BYTES].map(
      (size) => `${Math.floor(size / MIB)}MiB`,
    );
    throw new RechunkError(
      'usage',
      `--memory-limit ${given}: want at least ${least} to index files`,
    );
  }
  const engine = Math.floor(room / 2);
  const partEntries = Math.min(PART_ENTRIES, Math.floor((room - engine) / ENTRY_BYTES));
  return { engine, partEntries, keptDigests: Math.min(KEPT_DIGESTS, 2 * partEntries) };
}

/** Of what a process may take, the engine's share where it only answers queries: joins and groups take a quarter more than it counts. */
const QUERY_SHARE = 0.7;

/** What the engine may take of `limit` where it only answers queries, bytes. */
export function queryMemory(limit: number = DEFAULT_INDEX_MEMORY): number {
  return Math.floor(limit * QUERY_SHARE);
}
