/**
 * What clients of the image whose plan is continued would pull now, measured: layers are written as a build would write them,
 * and stored nowhere. Layers that are as the earlier image records them are not written: what a forged record spoils is the
 * forecast and no more.
 */
import { CHUNKED_ANNOTATION } from '../registry/chunked/footer.ts';
import { compressionOf, type LayerFormat } from '../registry/compress.ts';
import type { Destination, Layer } from '../registry/image.ts';
import type { Digest } from '../registry/oci.ts';
import type { Context } from './context.ts';
import type { Grouping } from './grouping.ts';
import { knownLayers } from './known.ts';
import type { Memory, PastImage } from './memory.ts';
import { OWN } from './metadata.ts';
import type { PlanItem } from './plan.ts';
import type { RecordedLayer } from './record.ts';
import { type BuiltLayer, type Stack, type WriteOptions, writeLayers } from './writer.ts';

/** What clients of the image whose plan is continued pull now, in compressed bytes, measured. */
export interface UpdateNow {
  /** Layers of the plan that they have already. */
  readonly keptLayers: number;
  readonly pullBytes: number;
  /**
   * Of those, what they pull only because components move away from layers that nothing else would change; a layer's bytes are
   * shared out by the estimated sizes of its components.
   */
  readonly movedBytes: number;
  /** What clients with Docker's graph drivers pull: every layer from the first that is not the one that they have there. */
  readonly chainBytes: number;
}

/** A layer as it would be written. */
export interface RehearsedLayer {
  readonly digest: Digest;
  /** Compressed bytes. */
  readonly size: number;
  /** The earlier image's layer that it is, from 0; absent where it is none. */
  readonly previous?: number;
}

/** The outcome: what is pulled, and every layer, lowest first. */
export interface Rehearsal {
  readonly now: UpdateNow;
  readonly layers: readonly RehearsedLayer[];
}

/** Takes everything that is asked about as there already, so that nothing is sent. */
const NOWHERE: Destination = {
  reference: 'nowhere',
  compressions: ['zstd', 'gzip', 'none'],
  holdsIndex: true,
  has: async () => true,
  putBytes: async () => {},
  putFile: async () => {},
  putBlob: async () => {},
  read: () => Promise.reject(new Error('nothing was stored')),
  commit: async () => {},
  close: async () => {},
};

/** Layers as a build would write them, stored nowhere. */
export function measureLayers(
  layers: Stack,
  options: Pick<WriteOptions, 'compression' | 'known' | 'past'>,
  context: Context,
): Promise<BuiltLayer[]> {
  return writeLayers(layers, NOWHERE, { ...options, dryRun: true }, context);
}

/** Measures what clients of the first previous image pull; undefined where no plan is continued. */
export async function rehearse(
  grouping: Grouping,
  memory: Memory,
  context: Context,
): Promise<Rehearsal | undefined> {
  const [past] = memory.previous;
  if (!past || !grouping.recollection.past) return undefined;
  const { image } = past;
  const compression = formatOf(past);
  const trusted = [image.manifestDocument.descriptor.digest];
  const known = knownLayers(memory, { compression, trusted });
  const written = await measureLayers(
    grouping,
    { compression, known, past: memory.previous },
    context,
  );
  const had = image.layers.map(({ descriptor }) => descriptor.digest);
  const layers = written.map(({ digest, size }, i): RehearsedLayer => {
    // A blob may be there twice; at the same place, if so.
    const previous = had[i] === digest ? i : had.indexOf(digest);
    return { digest, size, ...(previous < 0 ? {} : { previous }) };
  });
  const first = written.findIndex(({ diffId }, i) => image.layers[i]?.diffId !== diffId);
  const pulled = layers.filter(({ previous }) => previous === undefined);
  return {
    layers,
    now: {
      keptLayers: layers.length - pulled.length,
      pullBytes: sumSizes(pulled),
      movedBytes: movedBytes(grouping, layers),
      chainBytes: first < 0 ? 0 : sumSizes(layers.slice(first)),
    },
  };
}

/** Bytes of the layers' blobs; one that several have is pulled once. */
function sumSizes(layers: readonly RehearsedLayer[]): number {
  const sizes = new Map(layers.map(({ digest, size }) => [digest, size]));
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

/** How the earlier image's own layers are written. */
function formatOf(past: PastImage): LayerFormat {
  const isChunked = past.image.layers.some(({ descriptor: { annotations } }) => {
    const said = annotations ?? {};
    return said[CHUNKED_ANNOTATION.tocDigest] !== undefined || said[OWN.obstacle] !== undefined;
  });
  const compression = compressionOf(ownLayer(past)?.descriptor.mediaType ?? '');
  return isChunked && compression === 'zstd' ? 'zstd:chunked' : compression;
}

/** A layer that is compressed as the earlier image's own are: not one of its base, nor of a commit on top of it. */
function ownLayer({ image, record }: PastImage): Layer | undefined {
  const isOwn = ({ fingerprint, components }: RecordedLayer): boolean =>
    fingerprint !== '' || components.size > 0;
  return image.layers[record?.layers.findIndex(isOwn) ?? 0];
}

function movedBytes(
  { items, stack, recollection }: Grouping,
  layers: readonly RehearsedLayer[],
): number {
  const byId = new Map(items.map((item) => [item.id, item]));
  const couldStay = wholeLayers(items, recollection.past?.record.layers ?? []);
  const bytes = stack.reduce((sum, { components, size: estimated }, i) => {
    const { size = 0, previous } = layers[i] ?? {};
    if (previous !== undefined || estimated === 0) return sum;
    const moved = components.map((id) => byId.get(id)).filter((item) => isMoved(item, couldStay));
    return sum + (size * moved.reduce((total, item) => total + (item?.size ?? 0), 0)) / estimated;
  }, 0);
  return Math.round(bytes);
}

function isMoved(item: PlanItem | undefined, couldStay: ReadonlySet<number>): boolean {
  return item?.previous !== undefined && couldStay.has(item.previous);
}

/** The layers of the earlier plan all of whose components are there as they were. */
function wholeLayers(
  items: readonly PlanItem[],
  layers: readonly { readonly components: ReadonlyMap<string, unknown> }[],
): ReadonlySet<number> {
  const left = layers.map(({ components }) => components.size);
  for (const { previous, changed } of items) {
    if (previous !== undefined && !changed) left[previous] = (left[previous] ?? 0) - 1;
  }
  return new Set(left.flatMap((count, layer) => (count === 0 ? [layer] : [])));
}
