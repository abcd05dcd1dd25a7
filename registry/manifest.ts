/** Manifests and indexes on a registry: read by tag or digest, raw bytes kept; written under tags or digests. */
import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { pullScope, pushScope, type RegistryClient } from './client.ts';
import { RechunkError } from './errors.ts';
import { type HttpResponse, showUrl } from './http.ts';
import type { Document } from './image.ts';
import { type Digest, isIndexType, isManifestType, MANIFEST_LIMIT, MEDIA } from './oci.ts';
import { withRetries } from './retry.ts';

/** What is asked for: without it, some registries convert what they have to an older form. */
const ACCEPT: string = [
  MEDIA.index,
  MEDIA.manifest,
  MEDIA.dockerIndex,
  MEDIA.dockerManifest,
  '*/*;q=0.1',
].join(', ');

/** The media type that a manifest's bytes have: what the body says, else what the server says, else by its form. */
function typeOf(bytes: Uint8Array, contentType: string | undefined): string {
  const announced = (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (isManifestType(announced) || isIndexType(announced)) return announced;
  try {
    const json = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown> | null;
    if (typeof json?.['mediaType'] === 'string') return json['mediaType'];
    if (Array.isArray(json?.['manifests'])) return MEDIA.index;
    if (Array.isArray(json?.['layers'])) return MEDIA.manifest;
  } catch {
    // Parsing it will say what is wrong.
  }
  return announced || 'application/octet-stream';
}

/** A manifest is JSON: what is gzip was compressed on the way. */
function decode(response: HttpResponse, bytes: Buffer): Buffer {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: MANIFEST_LIMIT });
  } catch (cause) {
    const what = `GET ${showUrl(response.url)}`;
    throw new RechunkError('registry', `${what}: got a broken gzip encoding, want a manifest`, {
      cause,
    });
  }
}

/**
 * Reads the manifest or index that `reference`, a tag or a digest, names. Throws `not-found`, `digest-mismatch` where the
 * bytes are not those of the digest that was asked for or that the registry states.
 */
export async function getManifest(
  client: RegistryClient,
  repository: string,
  reference: string,
): Promise<Document> {
  // The body belongs to the try: a connection may break in the midst of it.
  const { response, body } = await withRetries(client.policy, async () => {
    const response = await client.request({
      method: 'GET',
      to: `/v2/${repository}/manifests/${reference}`,
      scopes: [pullScope(repository)],
      want: [200],
      headers: { accept: ACCEPT },
      tries: 'once',
    });
    return { response, body: await response.bytes(MANIFEST_LIMIT) };
  });
  const bytes = decode(response, body);
  const wanted = reference.includes(':') ? reference : response.header('docker-content-digest');
  const algorithm = wanted?.startsWith('sha512:') ? 'sha512' : 'sha256';
  const digest: Digest = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
  if (wanted !== undefined && wanted !== digest) {
    const what = `GET ${showUrl(response.url)}`;
    throw new RechunkError('digest-mismatch', `${what}: got digest ${digest}, want ${wanted}`);
  }
  const mediaType = typeOf(bytes, response.header('content-type'));
  return { bytes, descriptor: { mediaType, digest, size: bytes.length } };
}

/**
 * The digest and size of the manifest that `reference` names, without reading it; undefined for none. Where it is still `known`, a
 * registry that looks at `If-None-Match` need not read it either.
 */
export async function headManifest(
  client: RegistryClient,
  repository: string,
  reference: string,
  scope: string = pullScope(repository),
  known?: Document['descriptor'],
): Promise<Document['descriptor'] | undefined> {
  const response = await client.request({
    method: 'HEAD',
    to: `/v2/${repository}/manifests/${reference}`,
    scopes: [scope],
    want: known ? [200, 304, 404] : [200, 404],
    headers: { accept: ACCEPT, ...(known && { 'if-none-match': `"${known.digest}"` }) },
  });
  await response.discard();
  if (response.status === 304) return known;
  if (response.status === 404) return undefined;
  const digest = response.header('docker-content-digest');
  const size = Number(response.header('content-length'));
  const mediaType = response.header('content-type')?.split(';')[0]?.trim();
  if (!digest?.startsWith('sha256:') || !(size > 0) || !mediaType)
    return (await getManifest(client, repository, reference)).descriptor;
  return { mediaType, digest: digest as Digest, size };
}

/** Whether `name` names this very manifest already; false also where the registry will not tell. */
export async function isTagged(
  client: RegistryClient,
  repository: string,
  name: string,
  { descriptor }: Document,
): Promise<boolean> {
  try {
    // Asked with the token that is there for pushing.
    const there = await headManifest(client, repository, name, pushScope(repository));
    return there?.digest === descriptor.digest;
  } catch (error) {
    // Who may only push is refused; whatever else is wrong the push will meet too.
    if (error instanceof RechunkError && error.code !== 'interrupted') return false;
    throw error;
  }
}

/**
 * Stores a manifest or index under `reference`, a tag or its digest. Returns whether the registry took note of its
 * `subject`; throws `digest-mismatch` when it stored something else. Safe to repeat.
 */
export async function putManifest(
  client: RegistryClient,
  repository: string,
  reference: string,
  document: Document,
): Promise<{ readonly subjectNoted: boolean }> {
  const { bytes, descriptor } = document;
  const response = await client.request({
    method: 'PUT',
    to: `/v2/${repository}/manifests/${reference}`,
    scopes: [pushScope(repository)],
    want: [201, 200, 202, 204],
    headers: { 'content-type': descriptor.mediaType },
    body: { size: bytes.length, open: () => bytes },
  });
  await response.discard();
  const stored = response.header('docker-content-digest');
  if (stored !== undefined && stored !== descriptor.digest)
    throw new RechunkError(
      'digest-mismatch',
      `PUT ${showUrl(response.url)}: the registry stored ${stored}, want ${descriptor.digest}`,
    );
  return { subjectNoted: response.header('oci-subject') !== undefined };
}
