/**
 * Image archives as destinations. All that a run receives stays in a private directory beside the target; `commit` packs
 * it in one fixed order with fixed headers (times, owners 0), so that equal images give equal archives, and renames the
 * result into place. Until then the disk holds the layers, and during `commit` the layers and the archive.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { open, realpath, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Pack, pack } from 'tar-stream';
import { decompress, detectCompression, fileBlob, verifying } from './blob.ts';
import { describe, during, RechunkError } from './errors.ts';
import type { Blob, Destination, Document } from './image.ts';
import { type Ingest, makeIngest } from './ingest.ts';
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
import {
  checkRefName,
  formatPath,
  formatRepository,
  normalizeName,
  parseRepository,
} from './reference.ts';
import { Stage } from './stage.ts';

/** A member to be packed: its name, and its bytes or where they lie. */
interface Member {
  readonly name: string;
  readonly content: Buffer | Blob;
}

/** A committed image, as a format's packer gets it. */
interface Commit {
  readonly stage: Stage;
  readonly ingest: Ingest;
  readonly root: Document;
  readonly tags: readonly string[];
}

/** What distinguishes the two formats. */
interface Format {
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

/** Opens a new OCI archive that `commit` puts at `file`, in place of what is there; `ref` is the image's name in it. */
export function createOciArchive(file: string, ref?: string): Promise<Destination> {
  return createArchive(OCI_FORMAT, file, ref);
}

/**
 * Opens a new Docker archive that `commit` puts at `file`, in place of what is there; `ref` is the image's name in it,
 * completed as Docker does. Layers are stored uncompressed; compressed ones that are put are decompressed and checked
 * against their diffIDs. Tags of `commit` are tags of the same repository, or full names.
 */
export function createDockerArchive(file: string, ref?: string): Promise<Destination> {
  return createArchive(DOCKER_FORMAT, file, ref);
}

const OCI_FORMAT: Format = {
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

const DOCKER_FORMAT: Format = {
  transport: 'docker-archive',
  compressions: ['none'],
  holdsIndex: false,
  warnings: [
    'a Docker archive holds no manifest: annotations are lost, and who loads it sees another digest',
  ],
  names: repoTags,
  members: dockerMembers,
};

async function createArchive(
  format: Format,
  file: string,
  ref: string | undefined,
): Promise<Destination> {
  const reference = formatPath(format.transport, file, ref);
  return during(`writing to ${reference}`, async () => {
    format.names(ref, []);
    const target = await realpath(file).catch(() => file);
    const found = await stat(target).catch(() => undefined);
    if (found && !found.isFile()) {
      throw new RechunkError('exists', `${target} is there and not a regular file`);
    }
    await stat(dirname(target));
    const ingest = await makeIngest(dirname(target), '.rechunk-');
    return archiveDestination(format, { reference, target, ref, ingest });
  });
}

function archiveDestination(
  format: Format,
  place: { reference: string; target: string; ref: string | undefined; ingest: Ingest },
): Destination {
  const { reference, ingest } = place;
  const stage = new Stage(ingest, reference);
  return {
    reference,
    directory: ingest.directory,
    compressions: format.compressions,
    holdsIndex: format.holdsIndex,
    warnings: format.warnings,
    has: (descriptor) => Promise.resolve(stage.get(descriptor) !== undefined),
    putBytes: (descriptor, bytes) => stage.putBytes(descriptor, bytes),
    putFile: (descriptor, path, onProgress) => stage.putFile(descriptor, path, onProgress),
    putBlob: (descriptor, blob, onProgress) => stage.putBlob(descriptor, blob, onProgress),
    read: async (descriptor) => staged(stage, descriptor),
    commit: (root, more) =>
      during(`writing to ${reference}`, async () => {
        const tags = format.names(place.ref, more);
        await stage.putBytes(root.descriptor, root.bytes);
        const members = await format.members({ stage, ingest, root, tags });
        const temporary = ingest.newPath();
        await writeTar(temporary, members);
        await rename(temporary, place.target);
      }),
    close: () => ingest.remove(),
  };
}

function staged(stage: Stage, descriptor: Descriptor): Blob {
  const blob = stage.get(descriptor);
  if (blob) return blob;
  throw new RechunkError('not-found', `the blob ${descriptor.digest} was not stored`);
}

async function writeTar(path: string, members: readonly Member[]): Promise<void> {
  const archive = pack();
  const written = pipeline(archive, createWriteStream(path, { flags: 'wx' }));
  written.catch(() => undefined);
  try {
    for (const member of members) await addMember(archive, member);
    archive.finalize();
  } catch (error) {
    archive.destroy(error as Error);
    const failure = await written.then(
      () => error,
      (cause: unknown) =>
        (cause as { code?: string }).code === 'ERR_STREAM_PREMATURE_CLOSE' ? error : cause,
    );
    throw failure;
  }
  await written;
  const handle = await open(path, 'r');
  await handle.sync().finally(() => handle.close());
}

async function addMember(archive: Pack, { name, content }: Member): Promise<void> {
  const isBytes = Buffer.isBuffer(content);
  const size = isBytes ? content.length : (content.file?.size ?? 0);
  const entry = archive.entry({ name, size, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) });
  const ended = new Promise<void>((resolve, reject) => {
    entry.once('error', reject);
    entry.once('close', resolve);
  });
  ended.catch(() => undefined);
  for await (const chunk of isBytes ? [content] : content.stream()) {
    if (!entry.write(chunk)) await Promise.race([once(entry, 'drain'), ended]);
    if (entry.destroyed) throw new RechunkError('io', `packing ${name}: the archive was closed`);
  }
  entry.end(null);
  await ended;
}

async function layoutMembers({ stage, root, tags }: Commit): Promise<readonly Member[]> {
  const order: Digest[] = [];
  await listBlobs(stage, root.descriptor, order);
  const rest = stage.blobs.map(({ digest }) => digest).sort();
  const blobs = [...new Set([...order, ...rest])].flatMap((digest) => {
    const found = stage.find(digest);
    const name = `blobs/${digest.replace(':', '/')}`;
    return found ? [{ name, content: fileBlob(found.path, 0, found.size) }] : [];
  });
  return [
    { name: 'oci-layout', content: Buffer.from(LAYOUT_VERSION) },
    { name: 'index.json', content: Buffer.from(JSON.stringify(tagIndex(NEW_INDEX, root, tags))) },
    ...blobs,
  ];
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

/** The full names for `RepoTags`: Docker's form of `ref`, and of each tag, in the same repository or a full name. */
function repoTags(ref: string | undefined, tags: readonly string[]): readonly string[] {
  const base = ref === undefined ? undefined : parseRepository(ref);
  if (base?.digest) throw new RechunkError('reference', `'${ref}' has a digest, want NAME[:TAG]`);
  const names = base ? [formatRepository({ ...base, tag: base.tag ?? 'latest' })] : [];
  for (const tag of tags) {
    const name = /[/:]/.test(tag) ? normalizeName(tag) : base && formatRepository({ ...base, tag });
    if (name === undefined) {
      throw new RechunkError('reference', `the tag '${tag}' needs a repository; want NAME:TAG`);
    }
    names.push(name);
  }
  return [...new Set(names)];
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
