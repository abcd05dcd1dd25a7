/** Removes from an OCI layout what none of its images needs any more. */
import { lstat, readdir, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileBlob, readBlob } from './blob.ts';
import { during } from './errors.ts';
import { makeIngest, otherRuns } from './ingest.ts';
import { locateBlob, readIndex } from './layout.ts';
import { withLock } from './lock.ts';
import {
  type Descriptor,
  isIndexType,
  isManifestType,
  MANIFEST_LIMIT,
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
 * anything is removed, where a manifest cannot be read.
 */
export async function sweepLayout(dir: string): Promise<Swept> {
  return during(`removing what is not needed of ${formatPath('oci', dir, undefined)}`, async () => {
    const ingestDir = join(dir, 'ingest');
    const ingest = await makeIngest(ingestDir);
    try {
      return await withLock(join(ingestDir, 'lock'), ingest, async () => {
        if ((await otherRuns(ingestDir, ingest.name)).length > 0) return NOTHING;
        const needed = new Set<string>();
        const { manifests } = await readIndex(dir);
        for (const entry of manifests) await addNeeded(dir, entry, needed);
        return removeOthers(dir, needed);
      });
    } finally {
      await ingest.remove();
      await rmdir(ingestDir).catch(() => undefined);
    }
  });
}

/** Adds the digests that `entry` leads to; what a manifest is about (its subject) has an entry of its own where it is an image. */
async function addNeeded(dir: string, entry: Descriptor, needed: Set<string>): Promise<void> {
  const { digest, mediaType, size } = entry;
  if (needed.has(digest)) return;
  needed.add(digest);
  if (!isIndexType(mediaType) && !isManifestType(mediaType)) return;
  const place = await locateBlob(dir, digest);
  // An index may name what was never copied, such as images for other platforms.
  if (!place) return;
  const blob = fileBlob(place.path, 0, size);
  const parsed = parseManifest(await readBlob(blob, entry, MANIFEST_LIMIT, digest), mediaType);
  const children =
    parsed.kind === 'index'
      ? parsed.index.manifests
      : [parsed.manifest.config, ...parsed.manifest.layers];
  for (const child of children) await addNeeded(dir, child, needed);
}

async function removeOthers(dir: string, needed: ReadonlySet<string>): Promise<Swept> {
  let { blobs, bytes } = NOTHING;
  for (const algorithm of ALGORITHMS) {
    const parent = join(dir, 'blobs', algorithm);
    const names = await readdir(parent).catch(() => []);
    for (const name of names) {
      if (needed.has(`${algorithm}:${name}`) || !HEX.test(name)) continue;
      const found = await lstat(join(parent, name));
      if (!found.isFile()) continue;
      await unlink(join(parent, name));
      blobs++;
      bytes += found.size;
    }
  }
  return { blobs, bytes };
}
