/**
 * What a transport offers ({@link Source}, {@link Destination}) and what opening an image gives ({@link Image}).
 *
 * A Source hands out bytes by descriptor; every blob that is read through {@link Blob} must be checked by its reader
 * against the descriptor (digest and size). A Destination takes bytes whose digest the caller states, and shows nothing
 * to others before `commit`.
 */
import { createHash } from 'node:crypto';
import { during, RechunkError } from './errors.ts';
import {
  type Descriptor,
  type Digest,
  formatPlatform,
  type ImageConfig,
  type Index,
  isAttestation,
  isImageConfigType,
  isIndexType,
  isManifestType,
  type Manifest,
  matchPlatform,
  type Platform,
  parseConfig,
  parseManifest,
  parsePlatform,
} from './oci.ts';
import type { Path } from './path.ts';
import type { TarEntry } from './tar.ts';

/** Bytes as a transport stores them, not yet checked against a digest. */
export interface Blob {
  /** Where the bytes lie on disk, when they do: readers may then read in place. */
  readonly file?: { readonly path: string; readonly offset: number; readonly size: number };
  /** Streams the bytes from the start; each call starts anew. Chunks may be of any size. */
  stream(signal?: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Reads a stretch alone; undefined where the store hands out whole blobs only. Absent where nothing is gained by it. The reader has
   * to know the stretch's own digest.
   */
  part?(range: ByteRange): Promise<Buffer | undefined>;
}

/** The raw bytes of a manifest, index or config, checked against its digest. */
export interface Document {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

/** An image, or an index of images, where it is stored. Call `close` when done; blobs are invalid after it. */
export interface Source {
  /** The reference as printed in messages: never with credentials. */
  readonly reference: string;
  /** What the reference names: an index or a manifest. */
  readonly root: Document;
  /** Reads a manifest, index or config whole; checks digest, size and the limit. */
  document(descriptor: Descriptor): Promise<Document>;
  /** Opens a layer's blob; throws `not-found` if the source lacks it. The reader checks digest and size. */
  blob(descriptor: Descriptor): Promise<Blob>;
  /** Whether the source has a layer's blob, cheaply; absent where opening it tells. */
  has?(descriptor: Descriptor): Promise<boolean>;
  /** Signatures, SBOMs and attestations that name `digest`; empty where the transport cannot know. */
  referrers(digest: Digest): Promise<readonly Descriptor[]>;
  /** The layers of a source that has no blobs but a directory tree (`rootfs:`), in place of `blob`. */
  readonly tree?: DirectoryTree;
  /** What a user should know about how the source was read, each a sentence. */
  readonly warnings?: readonly string[];
  close(): Promise<void>;
}

/** A directory tree read in place as the only layer of an image. */
export interface DirectoryTree {
  /** Every entry below the root, the root itself first as ''; hard links name the first path of their group. */
  readonly entries: readonly TarEntry[];
  /** The absolute path of an entry's content on this machine (one char a byte). */
  locate(path: Path): string;
}

/** Where a finished image goes. Nothing is visible under a tag before `commit`; `close` without it leaves nothing. */
export interface Destination {
  /** The reference as printed in messages: never with credentials. */
  readonly reference: string;
  /** A directory where files may be made that `putFile` then moves into place without a copy; absent where none is. */
  readonly directory?: string;
  /** Layer compressions that the format can hold, most wanted first. */
  readonly compressions: readonly Compression[];
  /** Whether the destination can hold an index of several images. */
  readonly holdsIndex: boolean;
  /** What the format cannot hold of an image, each a sentence; absent where it holds everything. */
  readonly warnings?: readonly string[];
  /** Whether the blob is there already, so that it need not be sent. */
  has(descriptor: Descriptor): Promise<boolean>;
  /** Stores small bytes (config, manifest); checks them against the descriptor. Idempotent. */
  putBytes(descriptor: Descriptor, bytes: Uint8Array): Promise<void>;
  /**
   * Stores the file at `path`, whose digest and size the descriptor states; the file is gone afterwards (moved, or sent
   * and removed). `onProgress` is told how many bytes went out. Idempotent; may run concurrently.
   */
  putFile(
    descriptor: Descriptor,
    path: string,
    onProgress?: (bytes: number) => void,
  ): Promise<void>;
  /**
   * Stores a layer's blob from another source: mounted or linked where the transport can, else copied and checked.
   */
  putBlob(descriptor: Descriptor, blob: Blob, onProgress?: (bytes: number) => void): Promise<void>;
  /**
   * Stores a manifest whose `subject` is an image of this run, so that it is found among what refers to it; its config and
   * layers were stored before. Absent where the format has no place for such.
   */
  attach?(manifest: Document): Promise<void>;
  /**
   * Asks whether clients can read `ranges` of a stored blob by one request, as partial pulls of zstd:chunked layers do; says why not.
   * Absent where blobs are not read from the destination itself.
   */
  refusesRanges?(descriptor: Descriptor, ranges: readonly ByteRange[]): Promise<string | undefined>;
  /** Opens a blob or document that was stored, for `--verify`. */
  read(descriptor: Descriptor): Promise<Blob>;
  /**
   * Makes the image visible: stores `root` (a manifest or index; its children were stored with `putBytes`) under the
   * reference's own tag and every one of `tags`. The last step, and atomic as far as the transport allows.
   */
  commit(root: Document, tags: readonly string[]): Promise<void>;
  /** Releases what is held; without a `commit` before, takes back what was written, as far as the transport allows. */
  close(): Promise<void>;
}

/** A stretch of a blob, bytes. */
export interface ByteRange {
  readonly offset: number;
  /** At least 1. */
  readonly size: number;
}

/** How a layer is compressed. */
export type Compression = 'zstd' | 'gzip' | 'none';

/** One layer of an image: what its manifest and config say of it. */
export interface Layer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
}

/** One image for one platform, loaded once: plain fields from here on. */
export interface Image {
  readonly source: Source;
  readonly manifestDocument: Document;
  readonly configDocument: Document;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  readonly platform: Platform;
  /** Lowest first. */
  readonly layers: readonly Layer[];
}

/** An index and its images in order, those of inner indexes in their place; `image` is absent for entries that are none (attestations, artifacts). */
export interface ImageSet {
  readonly index: Index;
  readonly members: readonly { readonly descriptor: Descriptor; readonly image?: Image }[];
}

/** Deepest nesting of indexes that is followed. */
const INDEX_DEPTH = 4;
/** Most entries of an index, nested ones included: each may have to be fetched to tell its platform. */
const MEMBER_LIMIT = 10_000;

/** Loads the image that `document` describes; throws `unsupported` for artifacts and `manifest` for disagreements. */
async function loadImage(source: Source, document: Document, manifest: Manifest): Promise<Image> {
  const what = `${source.reference}@${document.descriptor.digest}`;
  if (!isImageConfigType(manifest.config.mediaType)) {
    throw new RechunkError(
      'unsupported',
      `${what} is an artifact of type ${manifest.artifactType ?? manifest.config.mediaType}, not a container image`,
    );
  }
  const configDocument = await during(`reading the config of ${what}`, () =>
    source.document(manifest.config),
  );
  const config = parseConfig(configDocument.bytes, `the config of ${what}`);
  const diffIds = config.rootfs.diff_ids ?? [];
  if (diffIds.length !== manifest.layers.length) {
    throw new RechunkError(
      'manifest',
      `${what}: the config lists ${diffIds.length} diffIDs, but the manifest has ${manifest.layers.length} layers`,
    );
  }
  const layers = manifest.layers.map((descriptor, i) => ({
    descriptor,
    diffId: diffIds[i] as Digest,
  }));
  const platform: Platform = { os: config.os, architecture: config.architecture };
  if (config.variant) platform.variant = config.variant;
  return { source, manifestDocument: document, configDocument, manifest, config, platform, layers };
}

/** Adds every manifest below `index` to `members`, depth first, in order. */
async function listMembers(
  source: Source,
  index: Index,
  members: Descriptor[],
  depth = 1,
): Promise<void> {
  const refuse = (found: string): never => {
    throw new RechunkError('limit', `${source.reference}: ${found}`);
  };
  if (depth > INDEX_DEPTH) refuse(`indexes are nested deeper than ${INDEX_DEPTH}`);
  for (const descriptor of index.manifests) {
    if (members.push(descriptor) > MEMBER_LIMIT) {
      refuse(`its index has more than ${MEMBER_LIMIT} entries`);
    }
    if (!isIndexType(descriptor.mediaType)) continue;
    const document = await source.document(descriptor);
    const parsed = parseManifest(document.bytes, descriptor.mediaType);
    if (parsed.kind === 'index') await listMembers(source, parsed.index, members, depth + 1);
  }
}

/** Whether an entry of an index may be an image, by what its descriptor says. */
function isImage(descriptor: Descriptor): boolean {
  return isManifestType(descriptor.mediaType) && !isAttestation(descriptor);
}

/** Loads the image that an entry of an index names; undefined for an artifact (an SBOM, a signature, a chart). */
async function loadMember(source: Source, descriptor: Descriptor): Promise<Image | undefined> {
  const what = `${source.reference}@${descriptor.digest}`;
  const document = await source.document(descriptor);
  const parsed = parseManifest(document.bytes, descriptor.mediaType, what);
  if (parsed.kind === 'index')
    throw new RechunkError('manifest', `${descriptor.digest} is an index, want a manifest`);
  const { manifest } = parsed;
  return isImageConfigType(manifest.config.mediaType)
    ? loadImage(source, document, manifest)
    : undefined;
}

/** Which image of an index is meant. */
export interface PlatformChoice {
  /** What the image must be for; an image that is for another, alone or in an index, is an error. Default: `hostPlatform`, which picks from an index only. */
  readonly platform?: Platform | undefined;
  /** Whose image of an index is taken where `platform` names none; default Linux on this machine's processor. */
  readonly hostPlatform?: Platform | undefined;
}

/** Linux on this machine's processor. */
export const HOST_PLATFORM: Platform = parsePlatform(process.arch);

/**
 * Loads the image that `source` names, picking `platform` from an index: the best variant that the platform can run, the
 * first of equals. A single image is taken as it is unless `platform` is given and differs.
 */
export async function openImage(source: Source, options: PlatformChoice = {}): Promise<Image> {
  const parsed = parseManifest(
    source.root.bytes,
    source.root.descriptor.mediaType,
    `the manifest of ${source.reference}`,
  );
  if (parsed.kind === 'manifest') {
    const image = await loadImage(source, source.root, parsed.manifest);
    if (options.platform && matchPlatform(image.platform, options.platform) === undefined) {
      throw new RechunkError(
        'platform',
        `${source.reference} is for ${formatPlatform(image.platform)}, want ${formatPlatform(options.platform)}`,
      );
    }
    return image;
  }
  const wanted = options.platform ?? options.hostPlatform ?? HOST_PLATFORM;
  const members: Descriptor[] = [];
  await listMembers(source, parsed.index, members);
  const candidates: { descriptor: Descriptor; platform: Platform; image?: Image }[] = [];
  for (const descriptor of members.filter(isImage)) {
    if (descriptor.platform) {
      candidates.push({ descriptor, platform: descriptor.platform });
      continue;
    }
    const image = await loadMember(source, descriptor);
    if (image) candidates.push({ descriptor, platform: image.platform, image });
  }
  const ranked = candidates
    .map((candidate) => ({ ...candidate, rank: matchPlatform(candidate.platform, wanted) }))
    .filter((candidate) => candidate.rank !== undefined)
    .sort((a, b) => (a.rank ?? 0) - (b.rank ?? 0));
  for (const { image, descriptor } of ranked) {
    const found = image ?? (await loadMember(source, descriptor));
    if (found) return found;
  }
  const there = candidates.map((candidate) => formatPlatform(candidate.platform)).join(', ');
  throw new RechunkError(
    'platform',
    `${source.reference} has no image for ${formatPlatform(wanted)}; it has ${there || 'none'}`,
  );
}

/** Loads every image of the index that `source` names, those of indexes in it too, in order; a single image gives undefined. */
export async function openImageSet(source: Source): Promise<ImageSet | undefined> {
  const parsed = parseManifest(
    source.root.bytes,
    source.root.descriptor.mediaType,
    `the manifest of ${source.reference}`,
  );
  if (parsed.kind === 'manifest') return undefined;
  const listed: Descriptor[] = [];
  await listMembers(source, parsed.index, listed);
  const members: { descriptor: Descriptor; image?: Image }[] = [];
  for (const descriptor of listed.filter(({ mediaType }) => !isIndexType(mediaType))) {
    const image = isImage(descriptor) ? await loadMember(source, descriptor) : undefined;
    members.push(image ? { descriptor, image } : { descriptor });
  }
  return { index: parsed.index, members };
}

/** Checks `bytes` against `descriptor`; throws `size-mismatch` or `digest-mismatch` naming both. */
export function checkDocument(descriptor: Descriptor, bytes: Uint8Array, what: string): Document {
  if (bytes.length !== descriptor.size) {
    throw new RechunkError(
      'size-mismatch',
      `${what} (${descriptor.digest}): got ${bytes.length} bytes, want ${descriptor.size}`,
    );
  }
  const [algorithm = ''] = descriptor.digest.split(':');
  const digest = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
  if (digest !== descriptor.digest) {
    throw new RechunkError(
      'digest-mismatch',
      `${what}: got digest ${digest}, want ${descriptor.digest}`,
    );
  }
  return { descriptor, bytes };
}
