/** What is bound to the digest of an image that is rechunked: signatures, SBOMs, attestations. It is told of. */
import type { Image, Source } from '../registry/image.ts';
import {
  ANNOTATION,
  type Descriptor,
  type Digest,
  isAttestation,
  parseManifest,
} from '../registry/oci.ts';
import { RECORD_TYPE } from './attached.ts';
import type { Context } from './context.ts';

/** Tells what is bound to `image` of `source`, and to the index that it was chosen from. */
export async function noticeImage(source: Source, image: Image, context: Context): Promise<void> {
  const { digest } = image.manifestDocument.descriptor;
  const { digest: root } = source.root.descriptor;
  if (digest !== root) await noticeReferrers(source, root, context);
  await noticeReferrers(source, digest, context);
}

function kindOf(descriptor: Descriptor): string {
  if (isAttestation(descriptor)) return 'attestation';
  return descriptor.artifactType ?? descriptor.mediaType;
}

/**
 * Signatures and the like are bound to the old digest, of an image or of the index that it is in: named, never copied.
 * BuildKit's attestations stand beside the image in the index.
 */
export async function noticeReferrers(
  source: Source,
  digest: Digest,
  context: Context,
): Promise<void> {
  const { bytes, descriptor: root } = source.root;
  const parsed = parseManifest(bytes, root.mediaType, `the manifest of ${source.reference}`);
  const beside = parsed.kind === 'index' ? parsed.index.manifests : [];
  const bound = [
    ...beside.filter(({ annotations }) => annotations?.[ANNOTATION.attestationSubject] === digest),
    ...(await source.referrers(digest)).filter(({ artifactType }) => artifactType !== RECORD_TYPE),
  ];
  for (const descriptor of new Map(bound.map((one) => [one.digest, one])).values()) {
    noticeBound(descriptor, digest, context);
  }
}

/** Names one thing that is bound to the digest `subject`. */
export function noticeBound(descriptor: Descriptor, subject: string, context: Context): void {
  const name = descriptor.annotations?.[ANNOTATION.refName] ?? descriptor.digest;
  context.onNotice?.(
    `${kindOf(descriptor)} ${name} belongs to ${subject} and is not copied: make it anew for the new digest`,
  );
}
