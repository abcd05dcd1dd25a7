/** A small image made from numbers, for tests that care about how bytes travel and not what they mean. */
import { createCipheriv, createHash } from 'node:crypto';
import type { Document } from '../registry/image.ts';
import { type Annotations, type Descriptor, digestOf, MEDIA } from '../registry/oci.ts';

/** An image whose every byte is at hand. */
export interface Sample {
  readonly root: Document;
  readonly config: Document;
  readonly layers: readonly Document[];
}

/** `size` bytes that look random and are the same for the same `seed`. */
export function noise(size: number, seed: string): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

/** `bytes` with their descriptor. */
export function documentOf(bytes: Buffer, mediaType: string): Document {
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

/** A JSON document; keys stay in the order given. */
export function jsonDocument(value: object, mediaType: string): Document {
  return documentOf(Buffer.from(JSON.stringify(value)), mediaType);
}

/**
 * An image with layers of the given `sizes`, bytes (uncompressed by type, noise and no tar), told apart by `seed`;
 * `subject` and `annotations` go into its manifest.
 */
export function sampleImage(
  options: {
    readonly sizes?: readonly number[];
    readonly seed?: string;
    readonly subject?: Descriptor;
    readonly annotations?: Annotations;
  } = {},
): Sample {
  const { sizes = [1000], seed = 'sample', subject, annotations } = options;
  const layers = sizes.map((size, i) => documentOf(noise(size, `${seed} ${i}`), MEDIA.layer));
  const config = jsonDocument(
    {
      architecture: 'amd64',
      os: 'linux',
      config: { Env: [`SEED=${seed}`] },
      rootfs: { type: 'layers', diff_ids: layers.map(({ descriptor }) => descriptor.digest) },
      history: layers.map(() => ({ created_by: 'sample' })),
    },
    MEDIA.config,
  );
  const root = jsonDocument(
    {
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config: config.descriptor,
      layers: layers.map(({ descriptor }) => descriptor),
      ...(subject && { subject }),
      ...(annotations && { annotations }),
    },
    MEDIA.manifest,
  );
  return { root, config, layers };
}
