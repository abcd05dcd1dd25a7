/** What an image's manifest and config say of its layers; no layer is read. */
import { openImage, type PlatformChoice, type Source } from '../registry/image.ts';
import { type Digest, formatPlatform } from '../registry/oci.ts';
import { OWN, rolesOf } from './metadata.ts';
import { unescapeId } from './record.ts';

/** A layer as the metadata describes it. */
export interface InspectedLayer {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly mediaType: string;
  /** Bytes of the blob. */
  readonly size: number;
  /** What it is for where it holds no components: `skeleton`, directories for the layers that leave them out. */
  readonly role?: string;
  /** The components in it, where this program wrote it; a long list ends in `+N`. */
  readonly components?: readonly string[];
  /** What the history says made it. */
  readonly createdBy?: string;
}

/** An image as its metadata describes it. */
export interface Inspection {
  readonly reference: string;
  readonly digest: Digest;
  readonly platform: string;
  readonly created?: string;
  /** Whether this program wrote it. */
  readonly rechunked: boolean;
  /** The digest of the image that was rechunked. */
  readonly sourceDigest?: string;
  /** Lowest first. */
  readonly layers: readonly InspectedLayer[];
  /** Bytes of all blobs. */
  readonly size: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Reads the manifest and config of an image. */
export async function inspect(source: Source, options: PlatformChoice = {}): Promise<Inspection> {
  const image = await openImage(source, options);
  const made = (image.config.history ?? []).filter((entry) => entry.empty_layer !== true);
  const roles = rolesOf(image);
  const layers = image.layers.map(({ descriptor, diffId }, i): InspectedLayer => {
    const components = descriptor.annotations?.[OWN.components]
      ?.split(' ')
      .filter(Boolean)
      .map(unescapeId);
    const role = roles[i];
    const createdBy = made.length === image.layers.length ? made[i]?.created_by : undefined;
    return {
      digest: descriptor.digest,
      diffId,
      mediaType: descriptor.mediaType,
      size: descriptor.size,
      ...(role === undefined || role === 'content' ? {} : { role }),
      ...(components ? { components } : {}),
      ...(createdBy ? { createdBy } : {}),
    };
  });
  const sourceDigest = image.manifest.annotations?.[OWN.source];
  return {
    reference: source.reference,
    digest: image.manifestDocument.descriptor.digest,
    platform: formatPlatform(image.platform),
    ...(image.config.created ? { created: image.config.created } : {}),
    rechunked: sourceDigest !== undefined,
    ...(sourceDigest === undefined ? {} : { sourceDigest }),
    layers,
    size: layers.reduce((sum, layer) => sum + layer.size, 0),
    labels: image.config.config?.Labels ?? {},
    annotations: image.manifest.annotations ?? {},
  };
}
