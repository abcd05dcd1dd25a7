/**
 * What image archives hold: the members of an OCI archive and of a Docker archive, in one fixed order. An OCI archive of one image
 * has a `manifest.json` too, as Docker writes it from version 25 on, so that every `docker load` takes it.
 */
import { open } from 'node:fs/promises';
import { decompress, detectCompression, fileBlob, verifying } from './blob.ts';
import { describe, RechunkError } from './errors.ts';
import type { Blob, Destination, Document } from './image.ts';
import type { Ingest } from './ingest.ts';
import { LAYOUT_VERSION, NEW_INDEX, tagIndex } from './layout.ts';
import {
  CONFIG_LIMIT,
  type Descriptor,
  type Digest,
  isIndexType,
  isManifestType,
  type Manifest,
  parseConfig,
  parseManifest,
} from './oci.ts';
import { checkRefName, normalizeName, storedNames } from './reference.ts';
import type { Stage } from './stage.ts';

/** A member to be packed: its name, and its bytes or where they lie. */
export interface Member {
  readonly name: string;
  readonly content: Buffer | Blob;
}

/** A committed image, as a format's packer gets it. */
export interface Commit {
  readonly stage: Stage;
  readonly ingest: Ingest;
  readonly root: Document;
  readonly tags: readonly string[];
}

/** What distinguishes the two formats. */
export interface Format {
  readonly transport: 'oci-archive' | 'docker-archive';
  readonly compressions: Destination['compressions'];
  readonly holdsIndex: boolean;
  readonly warnings: readonly string[];
  /** The names that the archive will carry. Throws `reference`. */
  names(ref: string | undefined, tags: readonly string[]): readonly string[];
  members(commit: Commit): Promise<readonly Member[]>;
}

/** Bytes that tell how a blob is compressed. */
const HEAD_SIZE = 10;

/** OCI archives. */
export const OCI_FORMAT: Format = {
  transport: 'oci-archive',
  compressions: ['zstd', 'gzip', 'none'],
  holdsIndex: true,
  warnings: [],
  names: (ref, tags) => {
    const names = [...new Set([...(ref === undefined ? [] : [ref]), ...tags])];
    names.forEach(checkRefName);
    return names;
  },
  members: layoutMembers,
};

/** Docker archives. */
export const DOCKER_FORMAT: Format = {
  transport: 'docker-archive',
  compressions: ['none'],
  holdsIndex: false,
  warnings: [
    'a Docker archive holds no manifest: annotations are lost, and who loads it sees another digest',
  ],
  names: storedNames,
  members: dockerMembers,
};

/** A blob that was received; throws `not-found` where it was not. */
export function staged(stage: Stage, descriptor: Descriptor): Blob {
  const blob = stage.get(descriptor);
  if (blob) return blob;
  throw new RechunkError('not-found', `the blob ${descriptor.digest} was not stored`);
}

async function layoutMembers({ stage, root, tags }: Commit): Promise<readonly Member[]> {
  const order: Digest[] = [];
  await listBlobs(stage, root.descriptor, order);
  const rest = stage.blobs.map(({ digest }) => digest).sort();
  const blobs = [...new Set([...order, ...rest])].flatMap((digest) => {
    const found = stage.find(digest);
    return found ? [{ name: blobName(digest), content: fileBlob(found.path, 0, found.size) }] : [];
  });
  return [
    { name: 'oci-layout', content: Buffer.from(LAYOUT_VERSION) },
    { name: 'index.json', content: Buffer.from(JSON.stringify(tagIndex(NEW_INDEX, root, tags))) },
    ...dockerManifest(root, tags),
    ...blobs,
  ];
}

/** What `docker load` reads where images are kept by graph drivers; it takes one image, and names with a repository. */
function dockerManifest(
  { descriptor, bytes }: Document,
  tags: readonly string[],
): readonly Member[] {
  const parsed = parseManifest(bytes, descriptor.mediaType);
  if (parsed.kind === 'index') return [];
  const { config, layers } = parsed.manifest;
  const names = tags.flatMap((tag) => (/[/:]/.test(tag) ? (normalizeName(tag) ?? []) : []));
  const image = {
    Config: blobName(config.digest),
    RepoTags: names.length > 0 ? names : null,
    Layers: layers.map(({ digest }) => blobName(digest)),
  };
  return [{ name: 'manifest.json', content: Buffer.from(JSON.stringify([image])) }];
}

function blobName(digest: Digest): string {
  return `blobs/${digest.replace(':', '/')}`;
}

/** Adds the digests of an image to `order`: manifest, config, layers, lowest first; of an index one after another. */
async function listBlobs(stage: Stage, descriptor: Descriptor, order: Digest[]): Promise<void> {
  order.push(descriptor.digest);
  const { mediaType } = descriptor;
  if (!isIndexType(mediaType) && !isManifestType(mediaType)) return;
  const blob = stage.get(descriptor);
  if (!blob) return;
  const parsed = parseManifest(await readAll(blob), mediaType);
  if (parsed.kind === 'manifest') {
    order.push(
      parsed.manifest.config.digest,
      ...parsed.manifest.layers.map(({ digest }) => digest),
    );
  } else for (const child of parsed.index.manifests) await listBlobs(stage, child, order);
}

async function readAll(blob: Blob): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob.stream()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function dockerMembers(commit: Commit): Promise<readonly Member[]> {
  const { stage, root, tags } = commit;
  const parsed = parseManifest(root.bytes, root.descriptor.mediaType);
  if (parsed.kind === 'index') {
    throw new RechunkError(
      'unsupported',
      'a Docker archive holds one platform; want an image, not an index',
    );
  }
  const config = await readAll(staged(stage, parsed.manifest.config));
  if (config.length > CONFIG_LIMIT) throw new RechunkError('limit', 'the config is too large');
  const diffIds = parseConfig(config).rootfs.diff_ids ?? [];
  const configName = `${hexOf(parsed.manifest.config.digest)}.json`;
  const layers = diffIds.map((diffId) => `${hexOf(diffId)}.tar`);
  const image = { Config: configName, RepoTags: tags.length > 0 ? tags : null, Layers: layers };
  return [
    { name: configName, content: config },
    ...(await layerMembers(commit, parsed.manifest, diffIds)),
    { name: 'manifest.json', content: Buffer.from(JSON.stringify([image])) },
    { name: 'repositories', content: Buffer.from(JSON.stringify(repositories(tags, diffIds))) },
  ];
}

function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** What Docker before 1.10 reads: repository, tag, topmost layer. */
function repositories(
  tags: readonly string[],
  diffIds: readonly Digest[],
): Record<string, Record<string, string>> {
  const top = diffIds.at(-1);
  const found: Record<string, Record<string, string>> = {};
  for (const name of top === undefined ? [] : tags) {
    const colon = name.lastIndexOf(':');
    const repository = name.slice(0, colon);
    found[repository] = { ...found[repository], [name.slice(colon + 1)]: hexOf(top as Digest) };
  }
  return found;
}

async function layerMembers(
  commit: Commit,
  manifest: Manifest,
  diffIds: readonly Digest[],
): Promise<readonly Member[]> {
  if (manifest.layers.length !== diffIds.length) {
    throw new RechunkError(
      'manifest',
      `the config lists ${diffIds.length} diffIDs, but the manifest ${manifest.layers.length} layers`,
    );
  }
  const members = new Map<Digest, Member>();
  for (const [i, descriptor] of manifest.layers.entries()) {
    const diffId = diffIds[i] as Digest;
    if (members.has(diffId)) continue;
    const content = await plainLayer(commit, descriptor, diffId).catch((error: unknown) => {
      throw describe(`layer ${i}`, error);
    });
    members.set(diffId, { name: `${hexOf(diffId)}.tar`, content });
  }
  return [...members.values()];
}

/** A layer as it is where it is not compressed; else decompressed into the private directory, and checked. */
async function plainLayer(
  { stage, ingest }: Commit,
  descriptor: Descriptor,
  diffId: Digest,
): Promise<Blob> {
  const blob = staged(stage, descriptor);
  if (descriptor.digest === diffId) return blob;
  const place = stage.find(descriptor.digest) as { path: string; size: number };
  const head = await readAll(fileBlob(place.path, 0, Math.min(HEAD_SIZE, place.size)));
  if (detectCompression(head) === 'none') {
    throw new RechunkError(
      'digest-mismatch',
      `got ${descriptor.digest}, want the diffID ${diffId}`,
    );
  }
  const path = ingest.newPath();
  const handle = await open(path, 'wx');
  let size = 0;
  try {
    for await (const chunk of decompress(blob.stream())) {
      await handle.writeFile(chunk);
      size += chunk.length;
    }
  } finally {
    await handle.close();
  }
  const plain = fileBlob(path, 0, size);
  for await (const _ of verifying(
    plain.stream(),
    { digest: diffId, size },
    'the decompressed layer',
  ));
  return plain;
}
