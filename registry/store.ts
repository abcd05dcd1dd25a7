/**
 * An OCI image layout as a Source, wherever its files lie (image-spec v1.1.1, image-layout.md): `oci-layout`,
 * `index.json` and blobs by digest. A directory and an archive differ only in how they find a file.
 */
import { fileBlob, readBlob } from './blob.ts';
import { describe, during, RechunkError } from './errors.ts';
import type { Document, Source } from './image.ts';
import {
  ANNOTATION,
  CONFIG_LIMIT,
  type Descriptor,
  type Digest,
  isAttestation,
  isIndexType,
  isManifestType,
  MANIFEST_LIMIT,
  parseIndex,
  parseManifest,
} from './oci.ts';
import { normalizeName } from './reference.ts';

/** Where a blob lies on this machine. */
export interface Place {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
}

/** The files of a layout. */
export interface Store {
  /** The reference as printed in messages. */
  readonly reference: string;
  /** Reads a small file of the layout; undefined where there is none. */
  readFile(name: 'oci-layout' | 'index.json'): Promise<Buffer | undefined>;
  /** Where a blob lies; undefined where there is none. The digest's form was checked. */
  locate(digest: Digest): Promise<Place | undefined>;
  close(): Promise<void>;
}

/** Annotated tags that cosign gives to what it attaches to an image (`sha256-HEX.sig`). */
const COSIGN_PATTERN = /^sha256-([0-9a-f]{64})\.(sig|att|sbom)$/;
/** Index entries whose manifests are read for `referrers`. */
const REFERRERS_LIMIT = 1000;

/**
 * Opens the image `ref` of a layout: a name (`org.opencontainers.image.ref.name`, or the full name that containerd and
 * podman write), `@DIGEST`, or `@N`, the N-th entry of the index. Of several entries with one name the first is taken, as
 * skopeo and podman do. Without `ref` the layout must hold one image. Closes the store where it throws.
 */
export async function openStore(store: Store, ref: string | undefined): Promise<Source> {
  try {
    await checkVersion(store);
    const entries = await readEntries(store);
    const entry = ref === undefined ? onlyEntry(store, entries) : findEntry(store, entries, ref);
    const root = await during('reading its manifest', () => readDocument(store, entry));
    return {
      reference: store.reference,
      root,
      document: (descriptor) => readDocument(store, descriptor),
      blob: async (descriptor) => {
        const { path, offset, size } = await place(store, descriptor);
        return fileBlob(path, offset, size);
      },
      referrers: (digest) => findReferrers(store, entries, digest),
      close: () => store.close(),
    };
  } catch (error) {
    await store.close();
    throw describe(`reading ${store.reference}`, error);
  }
}

async function checkVersion(store: Store): Promise<void> {
  const bytes = await store.readFile('oci-layout');
  if (!bytes) {
    throw new RechunkError('not-found', 'there is no file oci-layout, so this is no OCI layout');
  }
  let version: unknown;
  try {
    version = (JSON.parse(bytes.toString()) as { imageLayoutVersion?: unknown }).imageLayoutVersion;
  } catch (error) {
    throw new RechunkError('manifest', `oci-layout is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (typeof version === 'string' && /^1\./.test(version)) return;
  throw new RechunkError(
    'unsupported',
    `the layout is of version ${JSON.stringify(version) ?? 'none'}, want 1.0.0`,
  );
}

async function readEntries(store: Store): Promise<readonly Descriptor[]> {
  const bytes = await store.readFile('index.json');
  if (!bytes) throw new RechunkError('not-found', 'the layout has no index.json');
  return parseIndex(bytes, 'index.json').manifests;
}

/** How an entry is named to people. */
function nameOf(entry: Descriptor): string {
  return entry.annotations?.[ANNOTATION.refName] ?? `@${entry.digest}`;
}

/** Whether an entry is something attached to an image rather than one. */
function isAttached(entry: Descriptor): boolean {
  return (
    isAttestation(entry) ||
    entry.artifactType !== undefined ||
    COSIGN_PATTERN.test(entry.annotations?.[ANNOTATION.refName] ?? '')
  );
}

function onlyEntry(store: Store, entries: readonly Descriptor[]): Descriptor {
  const images = entries.filter((entry) => !isAttached(entry));
  const candidates = images.length > 0 ? images : entries;
  const [first] = candidates;
  if (!first) throw new RechunkError('not-found', 'the layout holds no image');
  if (candidates.every(({ digest }) => digest === first.digest)) return first;
  const names = candidates.map(nameOf).join(', ');
  throw new RechunkError(
    'reference',
    `it holds ${candidates.length} images, so one must be named (${store.reference}:REF): ${names}`,
  );
}

function findEntry(store: Store, entries: readonly Descriptor[], ref: string): Descriptor {
  const selector = ref.startsWith('@') ? ref.slice(1) : undefined;
  const full = normalizeName(ref);
  const candidates = [
    selector === undefined ? undefined : selectEntry(entries, selector),
    entries.find(({ annotations }) => annotations?.[ANNOTATION.refName] === ref),
    entries.find(({ annotations }) => annotations?.[ANNOTATION.containerdName] === ref),
    entries.find((entry) => full !== undefined && fullNameOf(entry) === full),
  ];
  const found = candidates.find((entry) => entry !== undefined);
  if (found) return found;
  const names = entries.map(nameOf).join(', ') || 'nothing';
  throw new RechunkError(
    'not-found',
    `${store.reference}: no image is named '${ref}'; it holds ${names}`,
  );
}

function selectEntry(entries: readonly Descriptor[], selector: string): Descriptor | undefined {
  return /^\d+$/.test(selector)
    ? entries[Number(selector)]
    : entries.find(({ digest }) => digest === selector);
}

/** The full name of an entry: containerd's, or a ref.name that has a repository in it. */
function fullNameOf(entry: Descriptor): string | undefined {
  const refName = entry.annotations?.[ANNOTATION.refName] ?? '';
  const name =
    entry.annotations?.[ANNOTATION.containerdName] ?? (/[/:]/.test(refName) ? refName : '');
  return name === '' ? undefined : normalizeName(name);
}

/** Finds a blob and checks its size; throws `not-found` or `size-mismatch`. */
async function place(store: Store, descriptor: Descriptor): Promise<Place> {
  const found = await store.locate(descriptor.digest);
  if (!found) {
    throw new RechunkError(
      'not-found',
      `${store.reference}: the blob ${descriptor.digest} is missing`,
    );
  }
  if (found.size === descriptor.size) return found;
  throw new RechunkError(
    'size-mismatch',
    `${store.reference}: the blob ${descriptor.digest} has ${found.size} bytes, want ${descriptor.size}`,
  );
}

async function readDocument(store: Store, descriptor: Descriptor): Promise<Document> {
  const { mediaType } = descriptor;
  const limit = isIndexType(mediaType) || isManifestType(mediaType) ? MANIFEST_LIMIT : CONFIG_LIMIT;
  const { path, offset, size } = await place(store, descriptor);
  const what = `${store.reference}@${descriptor.digest}`;
  return {
    descriptor,
    bytes: await readBlob(fileBlob(path, offset, size), descriptor, limit, what),
  };
}

/** What the index, and the indexes in it, say is attached to `digest`. */
async function findReferrers(
  store: Store,
  entries: readonly Descriptor[],
  digest: Digest,
): Promise<readonly Descriptor[]> {
  const found = new Map<Digest, Descriptor>();
  const tag = digest.replace(':', '-');
  for (const entry of entries.slice(0, REFERRERS_LIMIT)) {
    const name = entry.annotations?.[ANNOTATION.refName] ?? '';
    if (COSIGN_PATTERN.test(name) && name.startsWith(`${tag}.`)) found.set(entry.digest, entry);
    for (const referrer of await referrersOf(store, entry, name === tag, digest)) {
      found.set(referrer.digest, referrer);
    }
  }
  return [...found.values()];
}

/** What `entry` says of `digest`: itself by its subject, or children of it; nothing where it cannot be read. */
async function referrersOf(
  store: Store,
  entry: Descriptor,
  isReferrersTag: boolean,
  digest: Digest,
): Promise<readonly Descriptor[]> {
  if (!isIndexType(entry.mediaType) && !isManifestType(entry.mediaType)) return [];
  const parsed = await readDocument(store, entry)
    .then(({ bytes }) => parseManifest(bytes, entry.mediaType))
    .catch(() => undefined);
  if (!parsed) return [];
  if (parsed.kind === 'manifest') return parsed.manifest.subject?.digest === digest ? [entry] : [];
  if (isReferrersTag) return parsed.index.manifests;
  return parsed.index.manifests.filter(
    (child) => child.annotations?.[ANNOTATION.attestationSubject] === digest,
  );
}
