/** Surveys that are a few lines long. */
import { type Digest, digestOf, MEDIA } from '../registry/oci.ts';
import type { BlobFacts, DocumentFacts } from '../registry/report/facts.ts';
import type { Survey, SurveyedRepository } from '../registry/report/survey.ts';

const CONFIG_SIZE = 10;
const MANIFEST_SIZE = 5;

/** The digest that stands for a name. */
export const digest = (name: string): Digest => digestOf(name);
/** A layer blob that stands for a name. */
export const layer = (
  name: string,
  size: number,
  mediaType: string = MEDIA.layerGzip,
): BlobFacts => ({
  digest: digest(name),
  size,
  mediaType,
});

/** Documents by digest, filled by `image`. A manifest or an index has 5 bytes, a config 10. */
export class Fixture {
  readonly documents: Map<Digest, DocumentFacts> = new Map();

  /** An image of layers; their names are their diffIDs, sizes their bytes. */
  image(
    name: string,
    layers: readonly (readonly [string, number, string?])[],
    more: { platform?: string; created?: string; subject?: string } = {},
  ): Digest {
    const { platform = 'linux/amd64', created, subject } = more;
    const config = { ...layer(`config of ${name}`, CONFIG_SIZE), mediaType: MEDIA.config };
    const diffIds = layers.map(([one, , diffId]) => digest(diffId ?? `tar of ${one}`));
    const facts = { kind: 'config', digest: config.digest, platform, diffIds } as const;
    const createdBy = layers.map(() => 'COPY');
    this.documents.set(config.digest, { ...facts, createdBy, ...(created && { created }) });
    this.documents.set(digest(name), {
      ...{ kind: 'manifest', digest: digest(name), size: MANIFEST_SIZE, mediaType: MEDIA.manifest },
      ...{ config, layers: layers.map(([one, size]) => layer(one, size)), type: config.mediaType },
      ...(subject && { subject: digest(subject) }),
    });
    return digest(name);
  }

  index(
    name: string,
    entries: readonly { of: string; platform?: string; attests?: string }[],
  ): Digest {
    this.documents.set(digest(name), {
      ...{ kind: 'index', digest: digest(name), size: MANIFEST_SIZE, mediaType: MEDIA.index },
      entries: entries.map(({ of, platform, attests }) => ({
        ...{ digest: digest(of), size: MANIFEST_SIZE, mediaType: MEDIA.manifest },
        ...(platform && { platform }),
        ...(attests && { attests: digest(attests) }),
      })),
    });
    return digest(name);
  }

  repository(
    name: string,
    tags: Readonly<Record<string, string>>,
    more: Partial<SurveyedRepository> = {},
  ): SurveyedRepository {
    const named = Object.entries(tags).map(([tag, of]) => [tag, digest(of)] as const);
    return { name, tags: new Map(named), attached: new Map(), ...more };
  }

  survey(...repositories: SurveyedRepository[]): Survey {
    const { documents } = this;
    const store = { name: 'host', repositories, documents, unknown: 'cannot list blobs' };
    return { targets: ['host'], stores: [store], skipped: [] };
  }
}
