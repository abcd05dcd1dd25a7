/**
 * What refers to a manifest by its digest: signatures, SBOMs, attestations. Asked of the referrers API, of the tag that
 * stands in for it on older registries (distribution-spec v1.1.1, "Listing Referrers", "Referrers Tag Schema"), and of
 * the tags that cosign makes.
 */
import * as v from 'valibot';
import { pullScope, type RegistryClient } from './client.ts';
import { RechunkError } from './errors.ts';
import { getManifest, headManifest, putManifest } from './manifest.ts';
import {
  ANNOTATION,
  type Descriptor,
  type Digest,
  digestOf,
  type Index,
  type Manifest,
  MEDIA,
  parseIndex,
  parseManifest,
} from './oci.ts';
import { parsePage, readPages } from './page.ts';

/** Ends of cosign's tags, and what the manifests under them are. */
const COSIGN_TAGS: Readonly<Record<string, string>> = {
  sig: 'application/vnd.dev.cosign.artifact.sig.v1+json',
  att: 'application/vnd.dev.cosign.artifact.att.v1+json',
  sbom: 'application/vnd.dev.cosign.artifact.sbom.v1+json',
};

/** Statuses of registries without the referrers API. */
const UNSUPPORTED: readonly number[] = [400, 404, 405, 406];

const pageSchema: v.GenericSchema<unknown, Record<string, unknown>> = v.looseObject({});

/** The tag that stands in for the referrers API (distribution-spec v1.1.1, "Referrers Tag Schema"). */
export function referrersTag(digest: Digest): string {
  const [algorithm = '', hex = ''] = digest.split(':');
  const safe = (text: string): string => text.replace(/[^a-zA-Z0-9._-]/g, '-');
  return `${safe(algorithm.slice(0, 32))}-${safe(hex.slice(0, 64))}`;
}

/** What the referrers API lists, all pages; undefined where the registry has none. */
export async function listByApi(
  client: RegistryClient,
  repository: string,
  digest: Digest,
): Promise<Descriptor[] | undefined> {
  const found: Descriptor[] = [];
  const request = {
    method: 'GET',
    to: `/v2/${repository}/referrers/${digest}`,
    scopes: [pullScope(repository)],
    want: [200, ...UNSUPPORTED],
    headers: { accept: MEDIA.index },
  } as const;
  for await (const one of readPages(client, request)) {
    const { response } = one;
    const type = response.header('content-type')?.split(';')[0]?.trim();
    if (response.status !== 200 || type !== MEDIA.index) return undefined;
    const page = parsePage(one, pageSchema);
    const what = `the referrers of ${digest} in ${client.host}/${repository}`;
    const bytes = Buffer.from(
      JSON.stringify({ ...page, schemaVersion: 2, manifests: page['manifests'] ?? [] }),
    );
    found.push(...parseIndex(bytes, what).manifests);
  }
  return found;
}

/** The index under the stand-in tag; undefined for none, or where the tag names the subject itself (GitLab). */
async function readFallback(
  client: RegistryClient,
  repository: string,
  digest: Digest,
): Promise<Index | undefined> {
  const tag = referrersTag(digest);
  const head = await headManifest(client, repository, tag);
  if (head?.mediaType !== MEDIA.index || head.digest === digest) return undefined;
  const document = await getManifest(client, repository, tag);
  const parsed = parseManifest(
    document.bytes,
    document.descriptor.mediaType,
    `${client.host}/${repository}:${tag}`,
  );
  return parsed.kind === 'index' ? parsed.index : undefined;
}

async function listCosign(
  client: RegistryClient,
  repository: string,
  digest: Digest,
): Promise<Descriptor[]> {
  const found: Descriptor[] = [];
  for (const [end, artifactType] of Object.entries(COSIGN_TAGS)) {
    const tag = `${referrersTag(digest)}.${end}`;
    const descriptor = await headManifest(client, repository, tag);
    if (descriptor)
      found.push({ ...descriptor, artifactType, annotations: { [ANNOTATION.refName]: tag } });
  }
  return found;
}

/**
 * Every manifest that refers to `digest`, each once: by the API or the stand-in tag, then cosign's tags (whose
 * descriptors name the tag in the annotation `org.opencontainers.image.ref.name`).
 */
export async function listReferrers(
  client: RegistryClient,
  repository: string,
  digest: Digest,
): Promise<Descriptor[]> {
  const listed =
    (await listByApi(client, repository, digest)) ??
    (await readFallback(client, repository, digest))?.manifests ??
    [];
  const all = [...listed, ...(await listCosign(client, repository, digest))];
  return [...new Map(all.map((descriptor) => [descriptor.digest, descriptor])).values()];
}

/** How `manifest` stands in the list of what refers to its subject. */
function referrerOf(descriptor: Descriptor, manifest: Manifest): Descriptor {
  const { mediaType, digest, size } = descriptor;
  const artifactType = manifest.artifactType || manifest.config.mediaType;
  const { annotations } = manifest;
  return { mediaType, digest, size, artifactType, ...(annotations && { annotations }) };
}

/**
 * Adds `manifest` to the index under its subject's stand-in tag, for registries that did not take note of the subject
 * themselves. Two who do so at the same time may lose one entry: the specification knows no remedy.
 */
export async function noteReferrer(
  client: RegistryClient,
  repository: string,
  descriptor: Descriptor,
  manifest: Manifest,
): Promise<void> {
  const subject = manifest.subject?.digest;
  if (!subject) throw new RechunkError('manifest', `${descriptor.digest} has no subject`);
  const empty: Index = { schemaVersion: 2, mediaType: MEDIA.index, manifests: [] };
  const index = (await readFallback(client, repository, subject)) ?? empty;
  if (index.manifests.some(({ digest }) => digest === descriptor.digest)) return;
  const next = { ...index, manifests: [...index.manifests, referrerOf(descriptor, manifest)] };
  const bytes = Buffer.from(JSON.stringify(next));
  const document = {
    bytes,
    descriptor: { mediaType: MEDIA.index, digest: digestOf(bytes), size: bytes.length },
  };
  await putManifest(client, repository, referrersTag(subject), document);
}
