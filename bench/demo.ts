/**
 * The demo of the README: two weekly releases of a real application image, rechunked into one OCI layout on disk, verified,
 * and what the update from one to the other pulls, before and after. No server, no container engine.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { withContext } from '../rechunk/context.ts';
import { loadTree } from '../rechunk/load.ts';
import { rechunk, verify } from '../rechunk/rechunk.ts';
import { type Image, openImage } from '../registry/image.ts';
import { createLayout, openLayout } from '../registry/layout.ts';
import { buildRelease, RELEASES, type ReleaseDay } from '../test-images/release.ts';

const hostPlatform = { os: 'linux', architecture: 'amd64' };
/**
 * Installers stamp every file with the moment of installation; without one time for all, every file of every release is
 * new. Alpine's own files are older and keep their times.
 */
const policy = {
  mtime: { kind: 'clamp', time: BigInt(Date.parse(RELEASES[0])) * 1_000_000n },
} as const;

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

async function withImage<T>(
  layout: string,
  tag: string,
  work: (image: Image) => Promise<T> | T,
): Promise<T> {
  const source = await openLayout(layout, tag);
  try {
    return await work(await openImage(source, { hostPlatform }));
  } finally {
    await source.close();
  }
}

/** Compressed bytes of the layers of `next` that `previous` does not have. */
async function updateBytes(
  layouts: readonly [string, string],
): Promise<{ readonly bytes: number; readonly layers: number; readonly of: number }> {
  const [previous, next] = await Promise.all(
    layouts.map((layout, i) =>
      withImage(layout, RELEASES[i] as string, (image) => image.manifest.layers),
    ),
  );
  const there = new Set(previous?.map(({ digest }) => digest));
  const pulled = (next ?? []).filter(({ digest }) => !there.has(digest));
  return {
    bytes: pulled.reduce((sum, { size }) => sum + size, 0),
    layers: pulled.length,
    of: next?.length ?? 0,
  };
}

/** Uncompressed bytes of files whose content no file of the first release has. */
async function changedBytes(
  layouts: readonly [string, string],
  run: Parameters<typeof withContext>[0],
): Promise<number> {
  return withContext(run, async (context) => {
    const read = (layout: string, tag: string): ReturnType<typeof loadTree> =>
      withImage(layout, tag, (image) => loadTree(image, context));
    const before = await read(layouts[0], RELEASES[0]);
    const known = new Set(before.tree.entries.map(({ inode }) => inode.sha256));
    const after = await read(layouts[1], RELEASES[1]);
    const fresh = after.tree.entries.filter(({ inode }) => !known.has(inode.sha256));
    return fresh.reduce((sum, { inode }) => sum + inode.size, 0);
  });
}

async function rechunkRelease(
  day: ReleaseDay,
  before: ReleaseDay | undefined,
  from: string,
  to: string,
  temp: string,
): Promise<string> {
  const run = { threads: availableParallelism(), tempDir: temp, hostPlatform, policy };
  const source = await openLayout(from, day);
  const previous = before && (await openLayout(to, before));
  const destination = await createLayout(to, day);
  try {
    const { images } = await rechunk(source, destination, {
      ...run,
      memory: { previous: previous ? [previous] : [] },
    });
    const result = await openLayout(to, day);
    const { equal, entries, excuses } = await verify(source, result, run);
    await result.close();
    if (!equal) throw new Error(`${day}: the rechunked image is not equal to the original`);
    const [image] = images;
    return [
      `${image?.layers.length} layers, ${image?.components} components, ${entries} entries equal to the original`,
      ...excuses.map(({ text }) => `  but for ${text}`),
    ].join('\n');
  } finally {
    await destination.close();
    await previous?.close();
    await source.close();
  }
}

async function main(): Promise<void> {
  const work = await mkdtemp(join(process.env['TMPDIR'] ?? '/var/tmp', 'rechunk-demo-'));
  try {
    console.log(
      `building two releases of a real application (${RELEASES.join(', ')}); this takes a minute …`,
    );
    const originals = RELEASES.map((day) => join(work, `original-${day}`)) as [string, string];
    const rechunked = join(work, 'rechunked');
    await Promise.all(RELEASES.map((day, i) => buildRelease(day, originals[i] as string)));
    for (const [i, day] of RELEASES.entries()) {
      const before = RELEASES[i - 1];
      const told = await rechunkRelease(day, before, originals[i] as string, rechunked, work);
      console.log(`${day}: ${told}`);
    }
    const before = await updateBytes(originals);
    const after = await updateBytes([rechunked, rechunked]);
    const changed = await changedBytes(originals, {
      threads: availableParallelism(),
      tempDir: work,
    });
    console.log(`\nthe update from ${RELEASES[0]} to ${RELEASES[1]} pulls`);
    console.log(
      `  before: ${megabytes(before.bytes).padStart(9)}  (${before.layers} of ${before.of} layers, gzip)`,
    );
    console.log(
      `  after:  ${megabytes(after.bytes).padStart(9)}  (${after.layers} of ${after.of} layers, zstd)`,
    );
    console.log(`  files whose content changed: ${megabytes(changed)}, uncompressed`);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

await main();
