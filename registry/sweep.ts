/** Removes from an OCI layout what none of its images needs any more. */
import { lstat, readdir, rename, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileBlob, readBlob } from './blob.ts';
import { during, RechunkError } from './errors.ts';
import { type Ingest, makeIngest, otherRuns } from './ingest.ts';
import { locateBlob, readIndex, writeAtomic } from './layout.ts';
import { withLock } from './lock.ts';
import {
  ANNOTATION,
  type Descriptor,
  type Index,
  isIndexType,
  isManifestType,
  MANIFEST_LIMIT,
  type ManifestOrIndex,
  parseManifest,
} from './oci.ts';
import { formatPath } from './reference.ts';

/** What was removed. */
export interface Swept {
  readonly blobs: number;
  readonly bytes: number;
}

const NOTHING: Swept = { blobs: 0, bytes: 0 };
const ALGORITHMS = ['sha256', 'sha512'] as const;
/** Names of blobs; whatever else lies beside them is left alone. */
const HEX = /^[0-9a-f]{64,128}$/;

/**
 * Removes the blobs of the layout in `dir` that its index does not lead to, under the lock of its writers; nothing while another run
 * writes there. For layouts that nobody else writes or reads meanwhile: other tools store blobs before they name them. Throws, before
 * anything is removed, where a manifest cannot be read or is of a kind that may need blobs that are not known here, and where the blobs
 * may be those of other layouts too, since a link leads to them. With `only`, the index is to hold nothing but the image of that name
 * first, and what is attached to it.
 */
export async function sweepLayout(dir: string, only?: string): Promise<Swept> {
  return during(`removing what is not needed of ${formatPath('oci', dir, undefined)}`, async () => {
    const ingestDir = join(dir, 'ingest');
    const ingest = await makeIngest(ingestDir);
    try {
      return await withLock(join(ingestDir, 'lock'), ingest, async () => {
        if ((await otherRuns(ingestDir, ingest.name)).length > 0) return NOTHING;
        const needed = new Set<string>();
        const index = await readIndex(dir);
        const kept = only === undefined ? index : await reduceIndex(dir, index, only);
        for (const entry of kept.manifests) await addNeeded(dir, entry, needed);
        const others = await listOthers(dir, needed);
        if (kept.manifests.length < index.manifests.length)
          await writeAtomic({ dir, ingest }, 'index.json', JSON.stringify(kept), 'replace');
        return removeOthers(dir, others, ingest);
      });
    } finally {
      await ingest.remove();
      await rmdir(ingestDir).catch(() => undefined);
    }
  });
}

/** Adds the digests that a manifest leads to; what it is about (its subject) has an entry of its own where it is an image. */
async function addNeeded(dir: string, entry: Descriptor, needed: Set<string>): Promise<void> {
  const { digest, mediaType } = entry;
  if (needed.has(digest)) return;
  needed.add(digest);
  if (!isIndexType(mediaType) && !isManifestType(mediaType))
    throw new RechunkError('unsupported', `what ${digest} (${mediaType}) needs is not known`);
  const parsed = await readEntry(dir, entry);
  if (!parsed) return;
  if (parsed.kind === 'index') {
    for (const child of parsed.index.manifests) await addNeeded(dir, child, needed);
    return;
  }
  for (const child of [parsed.manifest.config, ...parsed.manifest.layers]) needed.add(child.digest);
}

/** The manifest of an entry; undefined where it was never copied, such as those of images for other platforms, or where it is none. */
async function readEntry(dir: string, entry: Descriptor): Promise<ManifestOrIndex | undefined> {
  const { digest, mediaType, size } = entry;
  if (!isIndexType(mediaType) && !isManifestType(mediaType)) return undefined;
  const place = await locateBlob(dir, digest);
  if (!place) return undefined;
  const blob = fileBlob(place.path, 0, size);
  return parseManifest(await readBlob(blob, entry, MANIFEST_LIMIT, digest), mediaType);
}

/** The index with the image `name`, what is attached to it and what cannot be read; as it is where there is no such image. */
async function reduceIndex(dir: string, index: Index, name: string): Promise<Index> {
  const isNamed = (entry: Descriptor): boolean => entry.annotations?.[ANNOTATION.refName] === name;
  const { digest } = index.manifests.find(isNamed) ?? {};
  if (digest === undefined) return index;
  const manifests: Descriptor[] = [];
  for (const entry of index.manifests) {
    const parsed = isNamed(entry) ? undefined : await readEntry(dir, entry);
    const subject = parsed?.kind === 'manifest' ? parsed.manifest.subject : undefined;
    if (!parsed || subject?.digest === digest) manifests.push(entry);
  }
  return { ...index, manifests };
}

/** A blob that is not needed. */
interface Other {
  readonly path: string;
  readonly size: number;
}

/** One that was put aside. */
interface Aside {
  readonly from: string;
  readonly to: string;
  readonly size: number;
}

/** Puts the others aside, which `ingest` removes; back where another run began meanwhile, which may count on them. */
async function removeOthers(dir: string, others: readonly Other[], ingest: Ingest): Promise<Swept> {
  const aside: Aside[] = [];
  try {
    for (const { path, size } of others) {
      const to = ingest.newPath();
      await rename(path, to);
      aside.push({ from: path, to, size });
    }
    if ((await otherRuns(join(dir, 'ingest'), ingest.name)).length > 0) {
      await putBack(aside);
      return NOTHING;
    }
  } catch (error) {
    await putBack(aside).catch(() => undefined);
    throw error;
  }
  return { blobs: aside.length, bytes: aside.reduce((sum, { size }) => sum + size, 0) };
}

async function putBack(aside: readonly Aside[]): Promise<void> {
  for (const { from, to } of aside) await rename(to, from);
}

/** The blobs that are not needed. */
async function listOthers(dir: string, needed: ReadonlySet<string>): Promise<Other[]> {
  const others: Other[] = [];
  await checkOwn(join(dir, 'blobs'));
  for (const algorithm of ALGORITHMS) {
    const parent = join(dir, 'blobs', algorithm);
    await checkOwn(parent);
    const names = await readdir(parent).catch(() => []);
    for (const name of names) {
      if (needed.has(`${algorithm}:${name}`) || !HEX.test(name)) continue;
      const path = join(parent, name);
      const found = await lstat(path);
      if (found.isFile()) others.push({ path, size: found.size });
    }
  }
  return others;
}

/** Throws where a link leads to the directory: layouts may share one. */
async function checkOwn(directory: string): Promise<void> {
  const found = await lstat(directory).catch(() => undefined);
  if (found?.isSymbolicLink())
    throw new RechunkError('unsupported', `${directory} is a link, so other layouts may need it`);
}
