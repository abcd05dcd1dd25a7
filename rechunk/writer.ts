/** Writes planned layers on all threads, the largest first, and hands each to the destination as it is finished. */
import { randomBytes } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { layerMediaType } from '../registry/compress.ts';
import { during } from '../registry/errors.ts';
import type { Compression, Destination } from '../registry/image.ts';
import { comparePaths } from '../registry/path.ts';
import type { Context } from './context.ts';
import type { Grouping } from './grouping.ts';
import { compileLayer, withParents } from './layer.ts';
import type { WrittenLayer } from './metadata.ts';
import { sendStream } from './pool.ts';

/** One layer that was built. */
export interface BuiltLayer extends WrittenLayer {
  /** Whether the destination had it before. */
  readonly reused: boolean;
  /** Expected probability that an update changes it, in millionths. */
  readonly changes: number;
}

/** How layers are written. */
export interface WriteOptions {
  readonly compression: Compression;
  /** Default: 3 for zstd, 6 for gzip. */
  readonly level?: number | undefined;
  /** Writes and digests, but stores nothing. */
  readonly dryRun?: boolean | undefined;
}

/** Writes and sends all planned layers; the result is in the plan's order. */
export async function writeLayers(
  grouping: Grouping,
  destination: Destination,
  options: WriteOptions,
  context: Context,
): Promise<BuiltLayer[]> {
  const { tree } = grouping;
  const { layers } = grouping.plan;
  const byId = new Map(grouping.components.map((component) => [component.id, component]));
  const total = layers.reduce((sum, layer) => sum + layer.tarSize, 0);
  const queue = layers
    .map((layer, i) => ({ layer, i }))
    .sort((a, b) => b.layer.tarSize - a.layer.tarSize);
  const directory =
    (!options.dryRun && destination.directory) || (await context.spool.blobDirectory());
  const built: BuiltLayer[] = [];
  const writeNext = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { components, changes, tarSize } = next.layer;
      const entries = components.flatMap((id) => byId.get(id)?.entries ?? []);
      entries.sort((a, b) => comparePaths(a.path, b.path));
      const segments = sendStream(compileLayer(tree, withParents(tree, entries)));
      const job = {
        segments: segments.port,
        compression: options.compression,
        level: options.level,
        path: join(directory, `${process.pid}-${randomBytes(8).toString('hex')}`),
        inFlight: framesFor(tarSize / Math.max(1, total), context.threads),
      };
      const [written] = await during(`writing layer ${next.i + 1} to ${directory}`, () =>
        Promise.all([
          context.pool.run('assemble', job, {
            transfer: [segments.port],
            onPart: (bytes) => context.onProgress?.({ step: 'write', bytes, total }),
          }),
          segments.done,
        ]),
      );
      const reused = await store(written, job.path, destination, options, context);
      built[next.i] = { ...written, components, changes, reused };
    }
  };
  // Twice as many as threads, so that sending overlaps with writing.
  const writers = Array.from({ length: context.threads * 2 }, () =>
    writeNext().catch((error) => {
      queue.length = 0;
      throw error;
    }),
  );
  // All have ended before anything that they use is taken away.
  await Promise.allSettled(writers);
  await Promise.all(writers);
  return built;
}

/**
 * Frames that a layer may have under way: two keep a thread busy, and a large layer gets the share of all threads that it has
 * of the bytes, so that it does not end alone on one core.
 */
function framesFor(share: number, threads: number): number {
  return Math.max(2, Math.ceil((threads + 1) * share));
}

/** Hands a finished blob to the destination, unless it is there already; the file is gone afterwards. */
async function store(
  layer: { readonly digest: WrittenLayer['digest']; readonly size: number },
  path: string,
  destination: Destination,
  options: WriteOptions,
  context: Context,
): Promise<boolean> {
  const { digest, size } = layer;
  const descriptor = { mediaType: layerMediaType(options.compression), digest, size };
  const reused = await destination.has(descriptor);
  if (reused || options.dryRun) await unlink(path);
  else {
    await destination.putFile(descriptor, path, (bytes) =>
      context.onProgress?.({ step: 'send', bytes, total: size }),
    );
  }
  return reused;
}
