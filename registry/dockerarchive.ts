/**
 * What `docker save` writes, as a Source: `manifest.json` names config and layers, which may be `ID/layer.tar`,
 * `HEX.tar` or blobs of an OCI layout, symlinks to one another, compressed or not. There is no manifest with digests in
 * it, so an OCI manifest is made up from the stored bytes; the config is taken as it is.
 */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { detectCompression, fileBlob } from './blob.ts';
import { layerMediaType } from './compress.ts';
import { describe, RechunkError } from './errors.ts';
import type { Document, Source } from './image.ts';
import type { OpenedArchive } from './members.ts';
import {
  CONFIG_LIMIT,
  type Descriptor,
  type Digest,
  digestOf,
  MANIFEST_LIMIT,
  type Manifest,
  MEDIA,
  parseConfig,
} from './oci.ts';
import { normalizeName } from './reference.ts';
import type { Place } from './store.ts';

/** Bytes that tell how a layer is compressed. */
const HEAD_SIZE = 10;
/** Layers that an image may have: what Docker can stack (127), with room. */
const LAYER_LIMIT = 10_000;

const imageSchema = v.looseObject({
  Config: v.string(),
  RepoTags: v.nullish(v.array(v.string())),
  Layers: v.nullish(v.pipe(v.array(v.string()), v.maxLength(LAYER_LIMIT))),
});
const imagesSchema = v.array(imageSchema);
/** One image in `manifest.json` (moby image/tarexport). */
type DockerImage = v.InferOutput<typeof imageSchema>;

/** A layer and where it lies. */
interface StoredLayer {
  readonly descriptor: Descriptor;
  readonly place: Place;
}

/**
 * Opens the image `ref`: one of its RepoTags, in short or full form, or `@N`, the N-th image. Without `ref` the archive
 * must hold one image. Throws `unsupported` for archives from before Docker 1.10. Closes the archive where it throws.
 */
export async function openDockerStore(
  archive: OpenedArchive,
  ref: string | undefined,
): Promise<Source> {
  try {
    const images = await readImages(archive);
    return await openDockerImage(archive, pickImage(archive, images, ref));
  } catch (error) {
    await archive.close();
    throw error;
  }
}

async function readImages({ members }: OpenedArchive): Promise<readonly DockerImage[]> {
  const bytes = await members.read('manifest.json', MANIFEST_LIMIT);
  if (!bytes && members.has('repositories')) {
    throw new RechunkError(
      'unsupported',
      'it has no manifest.json, so it was written by Docker before 1.10; load it into Docker or podman, and save it again',
    );
  }
  if (!bytes)
    throw new RechunkError('not-found', 'it has no manifest.json, so it is no Docker archive');
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString());
  } catch (error) {
    throw new RechunkError('manifest', `manifest.json is not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const result = v.safeParse(imagesSchema, json);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new RechunkError(
    'manifest',
    `manifest.json is not valid: ${v.getDotPath(issue) ?? 'the document'}: ${issue.message}`,
  );
}

function nameOf(image: DockerImage): string {
  return image.RepoTags?.join(' = ') || `untagged ${image.Config}`;
}

function pickImage(
  archive: OpenedArchive,
  images: readonly DockerImage[],
  ref: string | undefined,
): DockerImage {
  const names = images.map(nameOf).join(', ') || 'nothing';
  if (ref === undefined) {
    const [first, ...others] = images;
    if (first && others.every(({ Config }) => Config === first.Config)) return first;
    const found = first
      ? `it holds ${images.length} images, so one must be named`
      : 'it holds no image';
    throw new RechunkError(
      first ? 'reference' : 'not-found',
      `${found} (${archive.reference}:REF): ${names}`,
    );
  }
  const full = normalizeName(ref);
  const image = ref.startsWith('@')
    ? images[Number(ref.slice(1))]
    : images.find((candidate) =>
        candidate.RepoTags?.some((tag) => tag === ref || (full && normalizeName(tag) === full)),
      );
  if (image) return image;
  throw new RechunkError('not-found', `no image is named '${ref}'; it holds ${names}`);
}

async function openDockerImage(archive: OpenedArchive, image: DockerImage): Promise<Source> {
  const config = await readConfig(archive, image);
  const layers = await findLayers(archive, image, config);
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    config: config.descriptor,
    layers: layers.map(({ descriptor }) => descriptor),
  };
  const root = documentOf(MEDIA.manifest, Buffer.from(JSON.stringify(manifest)));
  const documents = new Map([root, config].map((doc) => [doc.descriptor.digest, doc]));
  const places = new Map(layers.map(({ descriptor, place }) => [descriptor.digest, place]));
  const missing = (digest: Digest): RechunkError =>
    new RechunkError('not-found', `${archive.reference}: the blob ${digest} is missing`);
  return {
    reference: archive.reference,
    root,
    document: async ({ digest }) => {
      const document = documents.get(digest);
      if (!document) throw missing(digest);
      return document;
    },
    blob: async ({ digest }) => {
      const place = places.get(digest);
      if (!place) throw missing(digest);
      return fileBlob(place.path, place.offset, place.size);
    },
    referrers: () => Promise.resolve([]),
    close: () => archive.close(),
  };
}

function documentOf(mediaType: string, bytes: Buffer): Document {
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
}

/** Reads the config; where its name is its digest, as all Docker versions write it, they must agree. */
async function readConfig({ members }: OpenedArchive, image: DockerImage): Promise<Document> {
  const bytes = await members.read(image.Config, CONFIG_LIMIT);
  if (!bytes) throw new RechunkError('not-found', `the config '${image.Config}' is missing`);
  const document = documentOf(MEDIA.config, bytes);
  const [, hex] = /(?:^|\/)([0-9a-f]{64})(?:\.json)?$/.exec(image.Config) ?? [];
  if (hex === undefined || document.descriptor.digest === `sha256:${hex}`) return document;
  throw new RechunkError(
    'digest-mismatch',
    `the config '${image.Config}': got ${document.descriptor.digest}, want sha256:${hex}`,
  );
}

async function findLayers(
  archive: OpenedArchive,
  image: DockerImage,
  config: Document,
): Promise<readonly StoredLayer[]> {
  const names = image.Layers ?? [];
  const diffIds = parseConfig(config.bytes, `the config '${image.Config}'`).rootfs.diff_ids ?? [];
  if (names.length !== diffIds.length) {
    throw new RechunkError(
      'manifest',
      `manifest.json lists ${names.length} layers, but the config ${diffIds.length} diffIDs`,
    );
  }
  const known = new Map<string, StoredLayer>();
  const layers: StoredLayer[] = [];
  for (const [i, name] of names.entries()) {
    const place = archive.members.locate(name);
    if (!place) throw new RechunkError('not-found', `layer ${i} ('${name}') is missing`);
    const key = `${place.offset} ${diffIds[i]}`;
    const layer = known.get(key) ?? (await describeLayer(place, diffIds[i] as Digest, i));
    known.set(key, layer);
    layers.push(layer);
  }
  return layers;
}

/** An uncompressed layer has its diffID as digest, which its reader checks; a compressed one is digested here. */
async function describeLayer(place: Place, diffId: Digest, i: number): Promise<StoredLayer> {
  const head = await readHead(place);
  try {
    const compression = detectCompression(head);
    const digest = compression === 'none' ? diffId : await digestPlace(place);
    const mediaType = layerMediaType(compression);
    return { descriptor: { mediaType, digest, size: place.size }, place };
  } catch (error) {
    throw describe(`reading layer ${i}`, error);
  }
}

async function readHead({ path, offset, size }: Place): Promise<Buffer> {
  const length = Math.min(HEAD_SIZE, size);
  for await (const chunk of fileBlob(path, offset, length).stream()) return Buffer.from(chunk);
  return Buffer.alloc(0);
}

async function digestPlace({ path, offset, size }: Place): Promise<Digest> {
  const hash = createHash('sha256');
  for await (const chunk of fileBlob(path, offset, size).stream()) hash.update(chunk);
  return `sha256:${hash.digest('hex')}`;
}
