/**
 * A plan's record beside the image: where a label has no room for every component's digest, the whole record is stored as an
 * artifact that refers to the image (image-spec v1.1.1, "Guidelines for Artifact Usage"). Losing it costs precision only.
 */
import { type ErrorCode, RechunkError } from '../registry/errors.ts';
import type { Document, Image } from '../registry/image.ts';
import { type Descriptor, digestOf, MEDIA, parseManifest } from '../registry/oci.ts';
import { formatJson } from './json.ts';
import { type PlanRecord, parseRecord } from './record.ts';

/** The type of the artifact and of its only layer. */
export const RECORD_TYPE = 'application/vnd.dev.rechunk.plan.v1';
/** Longest record that is attached or read, bytes: 200,000 components. */
export const ATTACHED_LIMIT: number = 4 << 20;

function documentOf(mediaType: string, bytes: Uint8Array): Document {
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

/** What is wrong with an artifact that is not ours, or of which a part is gone. */
const DAMAGED: ReadonlySet<ErrorCode> = new Set([
  'not-found',
  'manifest',
  'unsupported',
  'limit',
  'size-mismatch',
  'digest-mismatch',
]);

/** The documents of an artifact that holds `text` and refers to the manifest `subject`; the manifest comes last. */
export function attachedRecord(text: string, subject: Descriptor): [Document, Document, Document] {
  const record = documentOf(RECORD_TYPE, Buffer.from(text));
  const config = documentOf(MEDIA.empty, Buffer.from('{}'));
  const { mediaType, digest, size } = subject;
  const manifest = formatJson({
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    artifactType: RECORD_TYPE,
    config: config.descriptor,
    layers: [record.descriptor],
    subject: { mediaType, digest, size },
  });
  return [record, config, documentOf(MEDIA.manifest, manifest)];
}

/** The record that is attached to an image; undefined where there is none, or none that is whole and of this image. */
export async function readAttachedRecord(image: Image): Promise<PlanRecord | undefined> {
  const { source, manifestDocument, layers } = image;
  try {
    const referrers = await source.referrers(manifestDocument.descriptor.digest);
    const found = referrers.find(({ artifactType }) => artifactType === RECORD_TYPE);
    if (!found) return undefined;
    const parsed = parseManifest((await source.document(found)).bytes, found.mediaType);
    const [layer] = parsed.kind === 'manifest' ? parsed.manifest.layers : [];
    if (!layer || layer.size > ATTACHED_LIMIT) return undefined;
    const text = Buffer.from((await source.document(layer)).bytes).toString('latin1');
    const diffIds = layers.map(({ diffId }) => diffId);
    return parseRecord(text, diffIds, ATTACHED_LIMIT);
  } catch (error) {
    // What is no such artifact, or gone, costs precision only; what could not be asked is trouble.
    if (error instanceof RechunkError && DAMAGED.has(error.code)) return undefined;
    throw error;
  }
}
