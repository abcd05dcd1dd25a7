/**
 * OCI layouts as directories (image-spec v1.1.1, image-layout.md).
 *
 * Reading: blobs are read in place; a blob may be a symlink (build systems make such layouts) if it leads to a regular
 * file of the stated size, since its digest is checked anyway.
 *
 * Writing: all that a run receives stays in `ingest/RUN/` until `commit`, which moves it to `blobs/` and then replaces
 * `index.json`, under a lock. So a failed or killed run leaves nothing but its own ingest directory, which the next run
 * removes, and two runs at once keep each other's tags.
 */
import {
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rmdir,
  stat,
  unlink,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileBlob } from './blob.ts';
import { during, RechunkError, systemCode } from './errors.ts';
import { Flusher, flushFiles } from './flush.ts';
import type { Destination, Document, Source } from './image.ts';
import { type Ingest, makeDirectories, makeIngest, otherRuns } from './ingest.ts';
import { withLock } from './lock.ts';
import {
  ANNOTATION,
  type Descriptor,
  type Digest,
  type Index,
  MANIFEST_LIMIT,
  MEDIA,
  parseDigest,
  parseIndex,
  parseManifest,
} from './oci.ts';
import { checkRefName, formatPath } from './reference.ts';
import { moveFile, Stage } from './stage.ts';
import { openStore, type Place } from './store.ts';

/** What `oci-layout` holds. */
export const LAYOUT_VERSION = '{"imageLayoutVersion":"1.0.0"}';

/** An index without images. */
export const NEW_INDEX: Index = { schemaVersion: 2, mediaType: MEDIA.index, manifests: [] };

/** Opens the image `ref` of the layout in `dir`; which one that is, see `openStore`. */
export function openLayout(dir: string, ref?: string): Promise<Source> {
  const store = {
    reference: formatPath('oci', dir, ref),
    readFile: (name: string) => readSmall(join(dir, name)),
    locate: (digest: Digest) => locateBlob(dir, digest),
    close: () => Promise.resolve(),
  };
  return openStore(store, ref);
}

/** The path of a blob in a layout; the digest is checked again, so that no other text becomes a path. */
function blobPath(dir: string, digest: Digest): string {
  const [algorithm = '', hex = ''] = parseDigest(digest).split(':');
  return join(dir, 'blobs', algorithm, hex);
}

/** The names that a layout gives to images, in the order of its index; none where there is no layout. */
export async function listNames(dir: string): Promise<string[]> {
  const { manifests } = await during(`reading ${formatPath('oci', dir, undefined)}`, () =>
    readIndex(dir),
  );
  const names = manifests.map(({ annotations }) => annotations?.[ANNOTATION.refName]);
  return [...new Set(names.filter((name) => name !== undefined))];
}

/** Where a blob lies; undefined where it is missing. */
export async function locateBlob(dir: string, digest: Digest): Promise<Place | undefined> {
  const path = blobPath(dir, digest);
  const found = await statFile(path);
  return found && { path, offset: 0, size: found.size };
}

/** What `path` leads to, if that is there; throws `unsupported` unless it is a regular file. */
async function statFile(path: string): Promise<{ size: number } | undefined> {
  const found = await stat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  });
  if (!found || found.isFile()) return found;
  throw new RechunkError('unsupported', `${path} is not a regular file`);
}

async function readSmall(path: string): Promise<Buffer | undefined> {
  const found = await statFile(path);
  if (!found) return undefined;
  if (found.size <= MANIFEST_LIMIT) return readFile(path);
  throw new RechunkError(
    'limit',
    `${path} has ${found.size} bytes, at most ${MANIFEST_LIMIT} are read`,
  );
}

/**
 * Opens the layout in `dir` for writing, or a new one where there is none; `ref` is the tag that `commit` sets, besides
 * others. Tags, order and unknown fields of an existing index are kept. An image without a tag is added to the index; if
 * all that the index holds is one untagged image, it takes its place. Blobs are trusted by their size in `has`.
 */
export async function createLayout(dir: string, ref?: string): Promise<Destination> {
  const reference = formatPath('oci', dir, ref);
  if (ref !== undefined) checkRefName(ref);
  return during(`writing to ${reference}`, async () => {
    await checkTarget(dir);
    const made = await makeDirectories(dir);
    try {
      const ingest = await makeIngest(join(dir, 'ingest'));
      return layoutDestination({ dir, ref, reference, made, ingest });
    } catch (error) {
      await removeEmpty(dir, made);
      throw error;
    }
  });
}

/** Refuses a directory that holds something else than a layout. */
async function checkTarget(dir: string): Promise<void> {
  const found = await stat(dir).catch(() => undefined);
  if (!found) return;
  if (!found.isDirectory()) throw new RechunkError('exists', `${dir} is not a directory`);
  const names = await readdir(dir);
  if (names.includes('oci-layout') || names.every((n) => n === 'ingest' || n === 'blobs')) return;
  throw new RechunkError('exists', `${dir} holds other files, and no OCI layout`);
}

interface Target {
  readonly dir: string;
  readonly ref: string | undefined;
  readonly reference: string;
  /** The topmost directory that was made for the layout, if any. */
  readonly made: string | undefined;
  readonly ingest: Ingest;
}

function layoutDestination(target: Target): Destination {
  const { dir, reference, ingest } = target;
  const flusher = new Flusher();
  const stage = new Stage(ingest, reference, (path) => flusher.add(path));
  const attached: Document[] = [];
  let committed = false;
  const isStored = async ({ digest, size }: Descriptor): Promise<boolean> =>
    (await locateBlob(dir, digest))?.size === size;
  return {
    reference,
    directory: ingest.directory,
    compressions: ['zstd', 'gzip', 'none'],
    holdsIndex: true,
    has: async (descriptor) => Boolean(stage.get(descriptor)) || isStored(descriptor),
    putBytes: (descriptor, bytes) => stage.putBytes(descriptor, bytes),
    putFile: (descriptor, path, onProgress) => stage.putFile(descriptor, path, onProgress),
    putBlob: (descriptor, blob, onProgress) => stage.putBlob(descriptor, blob, onProgress),
    attach: async (manifest) => {
      await stage.putBytes(manifest.descriptor, manifest.bytes);
      attached.push(manifest);
    },
    read: async (descriptor) => {
      const staged = stage.get(descriptor);
      if (staged) return staged;
      if (await isStored(descriptor)) {
        return fileBlob(blobPath(dir, descriptor.digest), 0, descriptor.size);
      }
      throw new RechunkError('not-found', `${reference}: the blob ${descriptor.digest} is missing`);
    },
    commit: async (root, tags) => {
      const names = [...new Set([...(target.ref === undefined ? [] : [target.ref]), ...tags])];
      names.forEach(checkRefName);
      await during(`writing to ${reference}`, () =>
        commit(target, stage, flusher, { root, names, attached }),
      );
      committed = true;
    },
    close: async () => {
      await ingest.remove();
      await rmdir(join(dir, 'ingest')).catch(() => undefined);
      if (!committed) await removeEmpty(dir, target.made);
    },
  };
}

/** Removes `dir` and its parents up to `made`, as far as they are empty. */
async function removeEmpty(dir: string, made: string | undefined): Promise<void> {
  if (made === undefined) return;
  await rmdir(join(dir, 'ingest')).catch(() => undefined);
  const top = resolve(made);
  for (let at = resolve(dir); at.startsWith(top); at = dirname(at)) {
    const removed = await rmdir(at).then(
      () => true,
      () => false,
    );
    if (!removed) return;
  }
}

/** What is to become visible. */
interface Committed {
  readonly root: Document;
  readonly names: readonly string[];
  /** Manifests that refer to images of this run. */
  readonly attached: readonly Document[];
}

/** The index with what is attached to its images, each once, so that readers find it by its subject. */
function listAttached(index: Index, attached: readonly Document[]): Index {
  const known = new Set(index.manifests.map(({ digest }) => digest));
  const entries = attached
    .filter(({ descriptor }) => !known.has(descriptor.digest))
    .map(({ descriptor, bytes }) => {
      const parsed = parseManifest(bytes, descriptor.mediaType);
      const artifactType = parsed.kind === 'manifest' ? parsed.manifest.artifactType : undefined;
      return { ...descriptor, ...(artifactType === undefined ? {} : { artifactType }) };
    });
  return { ...index, manifests: [...index.manifests, ...entries] };
}

async function commit(
  target: Target,
  stage: Stage,
  flusher: Flusher,
  { root, names, attached }: Committed,
): Promise<void> {
  await stage.putBytes(root.descriptor, root.bytes);
  await flusher.finish();
  const ingestDir = join(target.dir, 'ingest');
  await withLock(join(ingestDir, 'lock'), target.ingest, async () => {
    const moved: string[] = [];
    try {
      await publishBlobs(target.dir, stage, moved);
      await flushFiles(['', 'sha256', 'sha512'].map((name) => join(target.dir, 'blobs', name)));
      await writeAtomic(target, 'oci-layout', LAYOUT_VERSION, 'keep');
      const index = await readIndex(target.dir);
      await writeAtomic(
        target,
        'index.json',
        JSON.stringify(listAttached(tagIndex(index, root, names), attached)),
        'replace',
      );
    } catch (error) {
      // another run may already count on what was moved; then it stays, whole
      const others = await otherRuns(ingestDir, target.ingest.name).catch(() => ['unknown']);
      if (others.length === 0) await takeBack(target, moved);
      throw error;
    }
  });
  await flushFiles([target.dir]);
}

/** Moves what was staged into `blobs`; the paths that were not there before are added to `moved`. */
async function publishBlobs(dir: string, stage: Stage, moved: string[]): Promise<void> {
  for (const { digest, path } of stage.blobs) {
    const to = blobPath(dir, digest);
    await mkdir(dirname(to), { recursive: true });
    const isNew = !(await lstat(to).catch(() => undefined));
    await moveFile(path, to);
    if (isNew) moved.push(to);
  }
}

async function takeBack(target: Target, moved: readonly string[]): Promise<void> {
  for (const path of moved) await unlink(path).catch(() => undefined);
  if (target.made === undefined) return;
  await unlink(join(target.dir, 'oci-layout')).catch(() => undefined);
  for (const name of ['blobs/sha256', 'blobs/sha512', 'blobs']) {
    await rmdir(join(target.dir, name)).catch(() => undefined);
  }
}

/** The index of a layout as it stands there; an empty one where there is no layout. */
export async function readIndex(dir: string): Promise<Index> {
  const bytes = await readSmall(join(dir, 'index.json'));
  if (!bytes) return NEW_INDEX;
  parseIndex(bytes, `${dir}/index.json`);
  return JSON.parse(bytes.toString()) as Index; // as it came: the order of fields is kept
}

/** The index with `root` under every one of `tags`: in the place of the entry that had the tag, else at the end. */
export function tagIndex(index: Index, root: Document, tags: readonly string[]): Index {
  const { refName, containerdName } = ANNOTATION;
  const entryOf = (tag: string | undefined): Descriptor => {
    const {
      [refName]: _,
      [containerdName]: __,
      ...annotations
    } = root.descriptor.annotations ?? {};
    const named = tag === undefined ? annotations : { ...annotations, [refName]: tag };
    const { annotations: ___, ...bare } = root.descriptor;
    return Object.keys(named).length > 0 ? { ...bare, annotations: named } : bare;
  };
  let manifests = index.manifests;
  const replace = (isOld: (entry: Descriptor) => boolean, entry: Descriptor): void => {
    const at = manifests.findIndex(isOld);
    manifests = manifests.filter((old, i) => i === at || !isOld(old));
    manifests = at < 0 ? [...manifests, entry] : manifests.with(at, entry);
  };
  for (const tag of tags) replace((old) => old.annotations?.[refName] === tag, entryOf(tag));
  if (tags.length === 0) {
    const [only, ...others] = manifests;
    const isAlone = others.length === 0 && only?.annotations?.[refName] === undefined;
    const { digest } = root.descriptor;
    const isOld = (old: Descriptor): boolean => isAlone || old.digest === digest;
    if (!manifests.some((old) => old.digest === digest)) replace(isOld, entryOf(undefined));
  }
  return { ...index, manifests };
}

/** Writes the file `name` of a layout: whole, or not at all. */
export async function writeAtomic(
  target: Pick<Target, 'dir' | 'ingest'>,
  name: string,
  text: string,
  existing: 'keep' | 'replace',
): Promise<void> {
  const path = join(target.dir, name);
  if (existing === 'keep' && (await statFile(path))) return;
  const temporary = target.ingest.newPath();
  const handle = await open(temporary, 'wx');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
}
