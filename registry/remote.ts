/**
 * Images on a registry, read and written by its API (distribution-spec v1.1.1).
 *
 * A tag is written last and by one request each: until then nothing is visible but by digest. Blobs and untagged
 * manifests of a run that failed stay until the registry collects its garbage: the API has no way to take back what
 * others may have come to rely on.
 */
import { rm, stat } from 'node:fs/promises';
import { explained, fileBlob, readBlob } from './blob.ts';
import { type ClientOptions, pullScope, RegistryClient } from './client.ts';
import { blobContent } from './content.ts';
import { isHub } from './credentials.ts';
import { isRemoteBlob, remoteBlob } from './download.ts';
import { during, RechunkError } from './errors.ts';
import {
  type Blob,
  type ByteRange,
  type Compression,
  checkDocument,
  type Destination,
  type Document,
  type Source,
} from './image.ts';
import { getManifest, headManifest, isTagged, putManifest } from './manifest.ts';
import {
  CONFIG_LIMIT,
  type Descriptor,
  type Digest,
  isIndexType,
  isManifestType,
  MANIFEST_LIMIT,
  parseDigest,
  parseManifest,
} from './oci.ts';
import { refusesRanges } from './ranges.ts';
import { listReferrers, noteReferrer } from './referrers.ts';
import { checkPush, hasBlob, mountBlob, uploadBlob } from './upload.ts';

export type { ClientOptions } from './client.ts';
export type { Credentials } from './credentials.ts';
export type { RemoteEvent } from './retry.ts';

/** An image on a registry: `host/repository[:tag][@digest]`. */
export interface RemoteReference {
  /** With a port where it is not the scheme's own; `docker.io` for Docker Hub. */
  readonly host: string;
  readonly repository: string;
  /** `latest` where there is neither a tag nor a digest. */
  readonly tag?: string | undefined;
  /** Decides over the tag when read; must be the image's when written. */
  readonly digest?: Digest | undefined;
}

/** How registries are reached, and what may be mounted. */
export interface RemoteOptions extends ClientOptions {
  /** Repositories that may hold what is written already; those on the destination's host are tried. */
  readonly mountFrom?: readonly RemoteReference[];
  /** `chunked` sends blobs in chunks from the start; by default only where whole ones are refused. */
  readonly upload?: 'whole' | 'chunked';
}

/** `<name>` of distribution-spec v1.1.1, "Pulling manifests". */
const REPOSITORY = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
/** Longest host and repository together, chars (distribution-spec v1.1.1: many clients end there). */
const NAME_LIMIT = 255;

function checkTag(tag: string): string {
  if (TAG.test(tag)) return tag;
  throw new RechunkError(
    'reference',
    `got tag '${tag}', want at most 128 letters, digits, '_', '.' and '-'`,
  );
}

/** `reference` in full: Docker Hub's `library/`, the tag `latest`; throws `reference` for names that cannot be. */
export function complete(reference: RemoteReference): RemoteReference {
  const { tag, digest } = reference;
  const host = isHub(reference.host) ? 'docker.io' : reference.host;
  const short = host === 'docker.io' && !reference.repository.includes('/');
  const repository = short ? `library/${reference.repository}` : reference.repository;
  if (!REPOSITORY.test(repository) || host.length + repository.length >= NAME_LIMIT)
    throw new RechunkError(
      'reference',
      `got repository '${repository}', want lower-case names with '/' between them`,
    );
  if (digest !== undefined) parseDigest(digest);
  if (tag !== undefined) return { host, repository, tag: checkTag(tag), digest };
  return { host, repository, digest, tag: digest === undefined ? 'latest' : undefined };
}

/** `docker://host/repository[:tag][@digest]`, as messages show it. */
export function formatRemote(reference: RemoteReference): string {
  const { host, repository, tag, digest } = reference;
  return `docker://${host}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

function isDocument(descriptor: Descriptor): boolean {
  return isManifestType(descriptor.mediaType) || isIndexType(descriptor.mediaType);
}

async function readDocument(
  client: RegistryClient,
  repository: string,
  descriptor: Descriptor,
): Promise<Document> {
  const what = `${client.host}/${repository}@${descriptor.digest}`;
  if (!isDocument(descriptor)) {
    const blob = remoteBlob(client, repository, descriptor);
    return { descriptor, bytes: await readBlob(blob, descriptor, CONFIG_LIMIT, what) };
  }
  if (descriptor.size > MANIFEST_LIMIT)
    throw new RechunkError(
      'limit',
      `${what}: ${descriptor.size} bytes, want at most ${MANIFEST_LIMIT}`,
    );
  const { bytes } = await getManifest(client, repository, descriptor.digest);
  return checkDocument(descriptor, bytes, what);
}

/** What refers to `digest`; where the registry will not tell, people are told that. */
async function referrersOf(
  client: RegistryClient,
  repository: string,
  digest: Digest,
): Promise<readonly Descriptor[]> {
  try {
    return await listReferrers(client, repository, digest);
  } catch (error) {
    if (!(error instanceof RechunkError) || error.code === 'interrupted') throw error;
    client.notice(`signatures and the like of ${digest} could not be listed: ${error.message}`);
    return [];
  }
}

/**
 * Opens the image at `reference` for reading; what it names is read at once and checked. Blobs are fetched when they are
 * read, at most four at a time, and survive broken connections; one that is missing is `not-found` when it is read.
 * Throws `not-found`, `auth`, `registry`, `network`, `digest-mismatch`.
 */
export async function openRemote(
  reference: RemoteReference,
  options: RemoteOptions,
): Promise<Source> {
  const full = complete(reference);
  const { repository } = full;
  const name = formatRemote(full);
  const client = new RegistryClient(full.host, repository, options);
  const reading = <T>(work: () => Promise<T>): Promise<T> => during(`reading ${name}`, work);
  let root: Document;
  try {
    root = await reading(() =>
      getManifest(client, repository, full.digest ?? full.tag ?? 'latest'),
    );
  } catch (error) {
    await client.close();
    throw error;
  }
  return {
    reference: name,
    root,
    document: (descriptor) => reading(() => readDocument(client, repository, descriptor)),
    blob: async (descriptor) =>
      explained(remoteBlob(client, repository, descriptor), `reading ${name}`),
    has: (descriptor) =>
      reading(() =>
        hasBlob(client, repository, descriptor.digest, { scope: pullScope(repository) }),
      ),
    referrers: (digest) => referrersOf(client, repository, digest),
    close: () => client.close(),
  };
}

/**
 * Opens `reference` for writing, and makes sure that we may. Blobs go out at most four at a time; one that the
 * repository has is not sent, one that `mountFrom` or the blob's own repository on the same host has is mounted.
 * `close` without `commit` sets no tag; see the head of this file for what stays. Throws `auth`, `registry`, `network`.
 */
export async function createRemote(
  reference: RemoteReference,
  options: RemoteOptions,
): Promise<Destination> {
  const full = complete(reference);
  const client = new RegistryClient(full.host, full.repository, options);
  try {
    await during(`writing ${formatRemote(full)}`, () => checkPush(client, full.repository));
  } catch (error) {
    await client.close();
    throw error;
  }
  return new RemoteDestination(full, client, options);
}

/** A repository that is written to, and what is known to be in it. */
class RemoteDestination implements Destination {
  readonly reference: string;
  readonly compressions: readonly Compression[] = ['zstd', 'gzip', 'none'];
  readonly holdsIndex = true;
  readonly #target: RemoteReference;
  readonly #client: RegistryClient;
  readonly #options: RemoteOptions;
  /** Blobs that were looked for: whether they are there by now. */
  readonly #known: Map<Digest, boolean> = new Map();
  /** `repository digest` of mounts that did not work. */
  readonly #refused: Set<string> = new Set();

  constructor(target: RemoteReference, client: RegistryClient, options: RemoteOptions) {
    this.reference = formatRemote(target);
    this.#target = target;
    this.#client = client;
    this.#options = options;
  }

  has(descriptor: Descriptor): Promise<boolean> {
    return this.#writing(async () => {
      if (!isDocument(descriptor)) return this.#have(descriptor.digest);
      const found = await headManifest(this.#client, this.#target.repository, descriptor.digest);
      return found !== undefined;
    });
  }

  putBytes(descriptor: Descriptor, bytes: Uint8Array): Promise<void> {
    return this.#writing(async () => {
      const document = checkDocument(descriptor, bytes, descriptor.mediaType);
      if (isDocument(descriptor)) await this.#putManifest(descriptor.digest, document);
      else if (!(await this.#have(descriptor.digest)))
        await this.#send(descriptor, { stream: () => onePart(bytes) });
    });
  }

  putFile(
    descriptor: Descriptor,
    path: string,
    onProgress?: (bytes: number) => void,
  ): Promise<void> {
    return this.#writing(async () => {
      const { size } = await stat(path);
      if (size !== descriptor.size)
        throw new RechunkError(
          'size-mismatch',
          `${descriptor.digest} in '${path}': got ${size} bytes, want ${descriptor.size}`,
        );
      if (await this.#have(descriptor.digest)) onProgress?.(size);
      else await this.#send(descriptor, fileBlob(path, 0, size), onProgress);
      await rm(path, { force: true });
    });
  }

  putBlob(descriptor: Descriptor, blob: Blob, onProgress?: (bytes: number) => void): Promise<void> {
    return this.#writing(async () => {
      const sources =
        isRemoteBlob(blob) && blob.origin.host === this.#target.host
          ? [blob.origin.repository]
          : [];
      if (await this.#have(descriptor.digest, sources)) onProgress?.(descriptor.size);
      else await this.#send(descriptor, blob, onProgress);
    });
  }

  attach({ descriptor, bytes }: Document): Promise<void> {
    return this.putBytes(descriptor, bytes);
  }

  refusesRanges(descriptor: Descriptor, ranges: readonly ByteRange[]): Promise<string | undefined> {
    const { repository } = this.#target;
    return this.#writing(() => refusesRanges(this.#client, repository, descriptor, ranges));
  }

  async read(descriptor: Descriptor): Promise<Blob> {
    const { repository } = this.#target;
    const doing = `reading back ${this.reference}`;
    if (!isDocument(descriptor)) {
      const present = await during(doing, () => this.#have(descriptor.digest));
      if (!present)
        throw new RechunkError('not-found', `${doing}: ${descriptor.digest} is not there`);
      return explained(remoteBlob(this.#client, repository, descriptor), doing);
    }
    const { bytes } = await during(doing, () => readDocument(this.#client, repository, descriptor));
    return { stream: () => onePart(bytes) };
  }

  commit(root: Document, tags: readonly string[]): Promise<void> {
    return this.#writing(async () => {
      const { tag, digest } = this.#target;
      if (digest !== undefined && digest !== root.descriptor.digest)
        throw new RechunkError(
          'digest-mismatch',
          `the image has digest ${root.descriptor.digest}, want ${digest}`,
        );
      const all = new Set([tag, ...tags].filter((one) => one !== undefined).map(checkTag));
      checkDocument(root.descriptor, root.bytes, root.descriptor.mediaType);
      await this.#tag(root, all.size > 0 ? [...all] : [root.descriptor.digest]);
    });
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  async #tag(root: Document, names: readonly string[]): Promise<void> {
    for (const [i, name] of names.entries()) {
      const before = i === 0 ? '' : ` (already set: ${names.slice(0, i).join(', ')})`;
      await during(`tagging ${name}${before}`, async () => {
        const isSet = await isTagged(this.#client, this.#target.repository, name, root);
        if (!isSet) await this.#putManifest(name, root);
      });
    }
  }

  #writing<T>(work: () => Promise<T>): Promise<T> {
    return during(`writing ${this.reference}`, work);
  }

  /** Whether the repository has the blob, maybe after a mount from one of `sources` or `mountFrom`. */
  async #have(digest: Digest, sources: readonly string[] = []): Promise<boolean> {
    const { host, repository } = this.#target;
    if (!this.#known.has(digest))
      this.#known.set(digest, await hasBlob(this.#client, repository, digest));
    const others = (this.#options.mountFrom ?? []).map(complete).filter((one) => one.host === host);
    for (const source of new Set([...sources, ...others.map((one) => one.repository)])) {
      if (this.#known.get(digest)) return true;
      if (source !== repository) this.#known.set(digest, await this.#mount(source, digest));
    }
    return this.#known.get(digest) === true;
  }

  /** Mounts the blob; a registry that refuses, for whatever reason, only means that it is sent. */
  async #mount(source: string, digest: Digest): Promise<boolean> {
    const key = `${source} ${digest}`;
    if (this.#refused.has(key)) return false;
    try {
      if (await mountBlob(this.#client, this.#target.repository, source, digest)) return true;
    } catch (error) {
      if (!(error instanceof RechunkError) || error.code === 'interrupted') throw error;
    }
    this.#refused.add(key);
    return false;
  }

  async #send(
    descriptor: Descriptor,
    blob: Blob,
    onProgress?: (bytes: number) => void,
  ): Promise<void> {
    const content = blobContent(blob, descriptor, this.#options.signal);
    const { repository } = this.#target;
    const mode = this.#options.upload;
    await uploadBlob(content, { client: this.#client, repository, mode, onProgress });
    this.#known.set(descriptor.digest, true);
  }

  async #putManifest(name: string, document: Document): Promise<void> {
    const { repository } = this.#target;
    const { descriptor, bytes } = document;
    const { subjectNoted } = await putManifest(this.#client, repository, name, document);
    if (subjectNoted || !isManifestType(descriptor.mediaType)) return;
    const parsed = parseManifest(bytes, descriptor.mediaType);
    if (parsed.kind === 'manifest' && parsed.manifest.subject)
      await noteReferrer(this.#client, repository, descriptor, parsed.manifest);
  }
}

async function* onePart(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
