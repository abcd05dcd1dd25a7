/** A layer's bytes read on the pool: on one thread, or on two where others have nothing to do. */
import type { Batch } from './batch.ts';
import type { IngestInput, IngestJob, IngestResult } from './ingest.ts';
import type { Pool } from './pool.ts';
import { makeRing } from './ring.ts';

/** A layer's stored bytes, opened. */
export interface OpenedInput {
  readonly input: IngestInput;
  /** Settles when a streamed input was sent whole. */
  readonly sent?: Promise<void>;
}

/** Threads that a single layer keeps busy: one decompresses, one digests and indexes. */
const THREADS = 2;

/** What a layer is read with. */
export interface ReadingOptions {
  /** Is told of the entries. */
  readonly onPart?: ((batch: Batch) => void) | undefined;
  /** Whether no other layer waits for a thread. */
  readonly isLast?: boolean | undefined;
}

/** Runs `job` on the bytes of `input`. Throws as `ingestLayer` does. */
export function runIngest(
  pool: Pool,
  { input, sent }: OpenedInput,
  job: Omit<IngestJob, 'input' | 'decoded'>,
  { onPart, isLast = false }: ReadingOptions,
): Promise<IngestResult> {
  const ports = input.kind === 'port' ? [input.port] : [];
  const listener = onPart && { onPart };
  // What is read in place is not compressed.
  if (job.spool === undefined || !isLast || pool.free < THREADS)
    return lastOf([sent, pool.run('ingest', { ...job, input }, { ...listener, transfer: ports })]);
  const { writer, reader } = makeRing();
  const { descriptor, name } = job;
  const decoding = { input, descriptor, name, output: writer };
  const indexing = { ...job, decoded: reader };
  return lastOf([
    sent,
    pool.run('decode', decoding, { transfer: [...ports, writer.port] }),
    pool.run('ingest', indexing, { ...listener, transfer: [reader.port] }),
  ]);
}

/** What the last one gives. Each of them fails where one before it does, whose error says more. */
async function lastOf<T>(
  chain: readonly [...(Promise<unknown> | undefined)[], Promise<T>],
): Promise<T> {
  const settled = await Promise.allSettled(chain);
  const failed = settled.find((one) => one.status === 'rejected');
  if (failed) throw failed.reason;
  return chain.at(-1) as Promise<T>;
}
