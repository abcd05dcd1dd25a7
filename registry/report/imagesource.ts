/** An image of a survey as a {@link Source}, wherever its store is. */
import { stat } from 'node:fs/promises';
import { fileBlob } from '../blob.ts';
import { RechunkError } from '../errors.ts';
import type { Document, Source } from '../image.ts';
import type { Descriptor } from '../oci.ts';
import { openSource, type TransportOptions } from '../transport.ts';
import type { ManifestFacts } from './facts.ts';
import { LocalDocuments } from './localstore.ts';
import type { SurveyedStore } from './survey.ts';

/** Which image. */
export interface SurveyedImage {
  readonly store: SurveyedStore;
  /** As reports name its repository. */
  readonly repository: string;
  readonly manifest: ManifestFacts;
}

/** Opens an image, a registry's by `transport`; the caller closes it. Throws what {@link openSource} throws, and `not-found` for what its store lacks. */
export async function openSurveyed(
  { store, repository, manifest }: SurveyedImage,
  transport: TransportOptions,
): Promise<Source> {
  const { digest, size, mediaType } = manifest;
  const { locate } = store;
  const reference = `${repository}@${digest}`;
  if (!locate) return openSource(`docker://${reference}`, transport);
  const documents = new LocalDocuments(locate);
  const document = async (descriptor: Descriptor): Promise<Document> => {
    const bytes = await documents.bytes(descriptor.digest);
    if (bytes) return { descriptor, bytes };
    throw missing(descriptor, reference);
  };
  return {
    reference,
    root: await document({ digest, size, mediaType }),
    document,
    blob: async (descriptor) => {
      const path = locate(descriptor.digest);
      const found = await stat(path).catch(() => undefined);
      if (found?.isFile()) return fileBlob(path, 0, found.size);
      throw missing(descriptor, reference);
    },
    referrers: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  };
}

function missing({ digest }: Descriptor, reference: string): RechunkError {
  return new RechunkError('not-found', `reading ${reference}: the blob ${digest} is missing`);
}
