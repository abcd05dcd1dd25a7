/**
 * zstd:chunked, layers of which clients pull only the chunks that they lack: which images can have them, and what becomes of their
 * annotations. A client that is led to pull in part where that cannot work fails, with no way back, so they are left out in doubt.
 */
import { parseChunkedAnnotations, withoutIndex } from '../registry/chunked/footer.ts';
import { OBSTACLES, type ObstacleKind } from '../registry/chunked/rules.ts';
import { compressionFor, type LayerFormat } from '../registry/compress.ts';
import type { Destination } from '../registry/image.ts';
import type { Descriptor } from '../registry/oci.ts';
import type { Context } from './context.ts';
import { FULL, type ParentsPolicy } from './parents.ts';
import type { BuiltLayer } from './writer.ts';

/** What became of an image's layers that were to be zstd:chunked. */
export interface PartialPulls {
  /** Layers that clients can pull in part. */
  readonly layers: number;
  /** Why there are none, or are fewer than were possible. */
  readonly refused?: string;
}

/** Why no layer of `parents` can be pulled in part; undefined where they can. */
function refusedBy(parents: ParentsPolicy): string | undefined {
  const { kind } = parents;
  if (kind === 'shared' || kind === 'implicit')
    return `--parents ${kind} leaves out directories, which partial pulls would make with mode 0`;
  const isTrusted = kind === 'delegate' && (parents.xattr ?? 'trusted') === 'trusted';
  return isTrusted
    ? '--parents delegate marks directories with trusted attributes, which rootless partial pulls cannot set (--delegate-xattr user can be)'
    : undefined;
}

/** The format of an image's layers: plain zstd in place of zstd:chunked where directories are left out or marked so that it would not work. */
export function layerFormat(
  wanted: LayerFormat,
  parents: ParentsPolicy = FULL,
): { readonly format: LayerFormat; readonly refused?: string } {
  const refused = wanted === 'zstd:chunked' ? refusedBy(parents) : undefined;
  return refused === undefined ? { format: wanted } : { format: compressionFor(wanted), refused };
}

/** The layers of one's own that can be pulled in part. */
function annotatedLayers(layers: readonly BuiltLayer[]): BuiltLayer[] {
  return layers.filter(
    ({ role, annotations = {}, size }) =>
      role !== 'base' && parseChunkedAnnotations(annotations, size) !== undefined,
  );
}

/**
 * Asks the destination whether it serves what partial pulls ask for, and takes the annotations away where it does not. All layers were
 * stored before. Tells what came of it.
 */
export async function settlePartialPulls(
  layers: readonly BuiltLayer[],
  destination: Destination,
  { isStored }: { readonly isStored: boolean },
  context: Context,
): Promise<{ readonly layers: readonly BuiltLayer[]; readonly partial: PartialPulls }> {
  tellObstacles(layers, context);
  const annotated = annotatedLayers(layers);
  const refused = await refusedByDestination(annotated, destination, isStored, context);
  if (refused === undefined) return { layers, partial: { layers: annotated.length } };
  context.onNotice?.(
    `no layer can be pulled in part from ${destination.reference}: ${refused}; layers are stored without the annotations of zstd:chunked, as plain zstd (--compression zstd does the same with less work)`,
  );
  const bare = layers.map((layer) =>
    annotated.includes(layer)
      ? { ...layer, annotations: withoutIndex(layer.annotations ?? {}) }
      : layer,
  );
  return { layers: bare, partial: { layers: 0, refused } };
}

async function refusedByDestination(
  annotated: readonly BuiltLayer[],
  destination: Destination,
  isStored: boolean,
  context: Context,
): Promise<string | undefined> {
  const there = annotated.filter(({ reused }) => isStored || reused);
  const [smallest] = there.sort((a, b) => a.size - b.size);
  if (!destination.refusesRanges || annotated.length === 0) return undefined;
  if (!smallest) {
    context.onNotice?.(
      `a dry run does not know whether ${destination.reference} serves parts of blobs; where it does not, layers have no annotations of zstd:chunked, and the digest is another`,
    );
    return undefined;
  }
  const { digest, size, annotations = {} } = smallest;
  const sections = parseChunkedAnnotations(annotations, size);
  if (!sections) throw new Error('the layer has no annotations');
  const descriptor: Descriptor = { mediaType: 'application/octet-stream', digest, size };
  const ranges = [sections.toc, sections.tarSplit].map(({ offset, compressedSize }) => {
    return { offset, size: compressedSize };
  });
  return destination.refusesRanges(descriptor, ranges);
}

/** Layers that are named for an obstacle before they are only counted. */
const SHOWN = 1;

/** Tells once which layers cannot be pulled in part, counted by reason. */
function tellObstacles(layers: readonly BuiltLayer[], context: Context): void {
  const groups = new Map<ObstacleKind, string[]>();
  for (const { obstacle } of layers) {
    if (!obstacle?.kind) continue;
    const texts = groups.get(obstacle.kind) ?? [];
    texts.push(obstacle.text ?? '');
    groups.set(obstacle.kind, texts);
  }
  if (groups.size === 0) return;
  const counted = [...groups].map(([kind, texts]) => {
    const shown = texts.filter(Boolean).slice(0, SHOWN).join('; ');
    return `${texts.length} with ${OBSTACLES[kind]}${shown && ` (${shown})`}`;
  });
  const count = [...groups.values()].reduce((sum, texts) => sum + texts.length, 0);
  const what = `${layers.length === 1 ? 'layer' : 'layers'} ${count === 1 ? 'is' : 'are'}`;
  context.onNotice?.(
    `${count} of ${layers.length} ${what} plain zstd, since partial pulls would fail or go wrong: ${counted.join(', ')}`,
  );
}
