/**
 * What runs on worker threads: reading a layer, digests of files, and writing a layer. Each task takes and gives plain
 * data; see {@link Tasks}.
 */
import { parentPort } from 'node:worker_threads';
import { RechunkError, systemCode } from '../registry/errors.ts';
import { assembleLayer, type LayerJob, type LayerResult } from './assemble.ts';
import type { Batch } from './batch.ts';
import { type DigestJob, digestFiles } from './digests.ts';
import {
  type DecodeJob,
  decodeLayer,
  type IngestJob,
  type IngestResult,
  ingestLayer,
} from './ingest.ts';
import type { Reply, SentError } from './pool.ts';

/** The tasks by name: what each takes, sends on the way and gives. */
export interface Tasks {
  readonly ingest: {
    readonly job: IngestJob;
    readonly part: Batch;
    readonly result: IngestResult;
  };
  readonly decode: { readonly job: DecodeJob; readonly part: never; readonly result: undefined };
  readonly digests: { readonly job: DigestJob; readonly part: never; readonly result: string[] };
  readonly assemble: {
    readonly job: LayerJob;
    readonly part: number;
    readonly result: LayerResult;
  };
}

type Send = (part: unknown) => void;
const tasks: {
  [Name in keyof Tasks]: (job: Tasks[Name]['job'], send: Send) => Promise<Tasks[Name]['result']>;
} = {
  ingest: ingestLayer,
  decode: (job) => decodeLayer(job).then(() => undefined),
  digests: (job) => Promise.resolve(digestFiles(job)),
  assemble: assembleLayer,
};

function sendError(error: unknown): SentError {
  const rechunk =
    error instanceof RechunkError ? { code: error.code, details: error.details } : undefined;
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { message, stack, code: systemCode(error), rechunk };
}

const port = parentPort;
if (port) {
  const reply = (message: Reply): void => port.postMessage(message);
  port.on('message', async ({ id, name, job }: { id: number; name: keyof Tasks; job: never }) => {
    try {
      const result = await tasks[name](job, (part) => reply({ id, kind: 'part', part }));
      reply({ id, kind: 'result', result });
    } catch (error) {
      reply({ id, kind: 'error', error: sendError(error) });
    }
  });
}
