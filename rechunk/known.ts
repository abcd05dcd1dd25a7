/**
 * Layers that exist already: what need not be compressed again, nor sent where it is.
 *
 * An earlier image's label says which fingerprint its layers have, and whoever may push can forge it. So a fingerprint only
 * says that it is worth to hash a layer before compressing it: the old blob is used where the diffID that was computed stands
 * in the earlier image's config. An image that the user vouches for by digest is believed without.
 */
import { layerMediaType } from '../registry/compress.ts';
import type { Compression, Destination, Image, Source } from '../registry/image.ts';
import { type Annotations, type Descriptor, type Digest, MEDIA } from '../registry/oci.ts';
import { type Memory, readRecord } from './memory.ts';
import type { WrittenLayer } from './metadata.ts';

/** A layer that exists already. */
export interface KnownLayer {
  readonly diffId: Digest;
  /** Its blob, with a media type of OCI. */
  readonly descriptor: Descriptor;
  readonly annotations: Annotations;
  /** Where the blob can be read. */
  readonly source: Pick<Source, 'reference' | 'blob'>;
  /** Whether it was written in this run, so that it is stored once for all. */
  readonly isSibling?: boolean;
}

/** Which layers count as known. */
export interface KnownOptions {
  /** The compression that is asked for; blobs of any other are not used. */
  readonly compression: Compression;
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
  readonly compression: Compression;
  readonly destination: Pick<Destination, 'reference' | 'read'>;
}

/** `known`, and before it the layers of images that were written in this run, which need not be hashed again. */
export function withSiblings(
  known: KnownLayers,
  siblings: readonly Sibling[],
  compression: Compression,
): KnownLayers {
  const written = new Map<string, KnownLayer>();
  for (const { layers, destination, ...sibling } of siblings) {
    if (sibling.compression !== compression) continue;
    const { reference } = destination;
    const source = { reference, blob: (one: Descriptor) => destination.read(one) };
    for (const { fingerprint, diffId, digest, size, annotations = {} } of layers) {
      const descriptor = { mediaType: layerMediaType(compression), digest, size };
      written.set(fingerprint, { diffId, descriptor, annotations, source, isSibling: true });
    }
  }
  const expect: KnownLayers['expect'] = (fingerprint) => {
    const layer = written.get(fingerprint);
    return layer ? { layer, isTrusted: true } : known.expect(fingerprint);
  };
  return { find: known.find, expect };
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
    const { digest, size, annotations } = descriptor;
    const blob = { mediaType, digest, size };
    const layer = {
      diffId,
      descriptor: blob,
      annotations: annotations ?? {},
      source: image.source,
    };
    if (!byDiffId.has(diffId)) byDiffId.set(diffId, layer);
    const fingerprint = record?.layers[number]?.fingerprint;
    if (!fingerprint) return;
    const before = byFingerprint.get(fingerprint);
    if (!before || (isTrusted && !before.isTrusted))
      byFingerprint.set(fingerprint, { layer, isTrusted });
  });
}
