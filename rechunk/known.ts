/**
 * Layers that exist already: what need not be compressed again, nor sent where it is.
 *
 * An earlier image's label says which fingerprint its layers have, and whoever may push can forge it. So a fingerprint only
 * says that it is worth to hash a layer before compressing it: the old blob is used where the diffID that was computed stands
 * in the earlier image's config. An image that the user vouches for by digest is believed without.
 */
import {
  chunkedAnnotations,
  parseChunkedAnnotations,
  withoutIndex,
} from '../registry/chunked/footer.ts';
import { OBSTACLES, type Obstacle, type ObstacleKind } from '../registry/chunked/rules.ts';
import { type LayerFormat, layerMediaType } from '../registry/compress.ts';
import { RechunkError } from '../registry/errors.ts';
import type { Destination, Image, Source } from '../registry/image.ts';
import { type Annotations, type Descriptor, type Digest, MEDIA } from '../registry/oci.ts';
import { type Memory, readRecord } from './memory.ts';
import { OWN, type WrittenLayer } from './metadata.ts';

/** A layer that exists already. */
export interface KnownLayer {
  readonly diffId: Digest;
  /** Its blob, with a media type of OCI. */
  readonly descriptor: Descriptor;
  readonly annotations: Annotations;
  /** Why it has none for partial pulls, where those were asked for. */
  readonly obstacle?: Partial<Obstacle> | undefined;
  /** Where the blob can be read. */
  readonly source: Pick<Source, 'reference' | 'blob'>;
  /** Whether it was written in this run, so that it is stored once for all. */
  readonly isSibling?: boolean;
}

/** Which layers count as known. */
export interface KnownOptions {
  /** The compression that is asked for; blobs of any other are not used, nor plain zstd ones for zstd:chunked. */
  readonly compression: LayerFormat;
  /** Uses no blob of an earlier image. */
  readonly recompress?: boolean | undefined;
  /** Digests of manifests whose records are believed. */
  readonly trusted?: readonly string[] | undefined;
}

/** The layers of earlier images by what they hold. */
export interface KnownLayers {
  /** The layer with this diffID. */
  find(diffId: Digest): KnownLayer | undefined;
  /** The layer that is said to have this fingerprint; `isTrusted` where the user vouches for who says so. */
  expect(
    fingerprint: string,
  ): { readonly layer: KnownLayer; readonly isTrusted: boolean } | undefined;
}

const OCI_TYPES: Readonly<Record<string, string>> = {
  [MEDIA.dockerLayer]: MEDIA.layer,
  [MEDIA.dockerLayerGzip]: MEDIA.layerGzip,
};

/** The layers of the images that `memory` lets be used, the first image that has one counts. */
export function knownLayers(memory: Memory, options: KnownOptions): KnownLayers {
  const byDiffId = new Map<Digest, KnownLayer>();
  const byFingerprint = new Map<string, { layer: KnownLayer; isTrusted: boolean }>();
  if (!options.recompress) {
    for (const image of memory.reusable) addImage(image, options, byDiffId, byFingerprint);
  }
  return {
    find: (diffId) => byDiffId.get(diffId),
    expect: (fingerprint) => byFingerprint.get(fingerprint),
  };
}

/** An image that was written in this run. */
export interface Sibling {
  readonly layers: readonly (WrittenLayer & { readonly fingerprint: string })[];
  readonly compression: LayerFormat;
  readonly destination: Pick<Destination, 'reference' | 'read'>;
}

/** `known`, and before it the layers of images that were written in this run, which need not be hashed again. */
export function withSiblings(
  known: KnownLayers,
  siblings: readonly Sibling[],
  compression: LayerFormat,
): KnownLayers {
  const written = new Map<string, KnownLayer>();
  for (const { layers, destination, ...sibling } of siblings) {
    if (sibling.compression !== compression) continue;
    const { reference } = destination;
    const source = { reference, blob: (one: Descriptor) => destination.read(one) };
    for (const { fingerprint, diffId, digest, size, annotations = {}, obstacle } of layers) {
      const descriptor = { mediaType: layerMediaType(compression), digest, size };
      const layer = { diffId, descriptor, annotations, obstacle, source, isSibling: true };
      written.set(fingerprint, layer);
    }
  }
  const expect: KnownLayers['expect'] = (fingerprint) => {
    const layer = written.get(fingerprint);
    return layer ? { layer, isTrusted: true } : known.expect(fingerprint);
  };
  return { find: known.find, expect };
}

/**
 * What is kept of what an earlier manifest says of a blob; undefined where the blob does not serve. Where a table of contents lies is
 * handed on only for zstd:chunked, and only if it lies within the blob; else clients could be led anywhere.
 */
function describeBlob(
  { annotations: stated, size }: Descriptor,
  compression: LayerFormat,
): Pick<KnownLayer, 'annotations' | 'obstacle'> | undefined {
  const annotations = stated ?? {};
  const { [OWN.obstacle]: kind, ...plain } = withoutIndex(annotations);
  if (compression !== 'zstd:chunked') return { annotations: plain };
  if (kind !== undefined)
    return isObstacle(kind) ? { annotations: plain, obstacle: { kind } } : undefined;
  try {
    const sections = parseChunkedAnnotations(annotations, size);
    return sections && { annotations: { ...plain, ...chunkedAnnotations(sections) } };
  } catch (error) {
    if (error instanceof RechunkError) return undefined;
    throw error;
  }
}

function isObstacle(kind: string): kind is ObstacleKind {
  return Object.hasOwn(OBSTACLES, kind);
}

function addImage(
  image: Image,
  { compression, trusted = [] }: KnownOptions,
  byDiffId: Map<Digest, KnownLayer>,
  byFingerprint: Map<string, { layer: KnownLayer; isTrusted: boolean }>,
): void {
  const isTrusted = trusted.includes(image.manifestDocument.descriptor.digest);
  const record = readRecord(image);
  image.layers.forEach(({ descriptor, diffId }, number) => {
    const mediaType = OCI_TYPES[descriptor.mediaType] ?? descriptor.mediaType;
    // A layer that is hosted elsewhere (`urls`) is nobody's to hand on.
    if (mediaType !== layerMediaType(compression) || descriptor.urls) return;
    const described = describeBlob(descriptor, compression);
    if (!described) return;
    const { digest, size } = descriptor;
    const { source } = image;
    const layer = { diffId, descriptor: { mediaType, digest, size }, ...described, source };
    if (!byDiffId.has(diffId)) byDiffId.set(diffId, layer);
    const fingerprint = record?.layers[number]?.fingerprint;
    if (!fingerprint) return;
    const before = byFingerprint.get(fingerprint);
    if (!before || (isTrusted && !before.isTrusted))
      byFingerprint.set(fingerprint, { layer, isTrusted });
  });
}
