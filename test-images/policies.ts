/**
 * An image whose directories have everything that runtimes lose, rechunked under every parents policy: what each runtime makes of
 * the results is in the truth table of `rechunk/README.md`.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withContext } from '../rechunk/context.ts';
import { flattenLayers, loadLayers } from '../rechunk/load.ts';
import type { ParentsPolicy } from '../rechunk/parents.ts';
import { rechunk } from '../rechunk/rechunk.ts';
import { parseMap } from '../rechunk/repos/map.ts';
import type { Tree } from '../rechunk/tree.ts';
import type { LayerIndex } from '../rechunk/upper.ts';
import { openImage } from '../registry/image.ts';
import { createLayout, openLayout } from '../registry/layout.ts';
import { writeLayout } from './build.ts';
import { type Attributes, dir, file, link, type Member, packMembers, symlink } from './member.ts';

/** `cap_net_raw=ep`, revision 2 (Linux: struct vfs_cap_data). */
const CAPABILITY = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';

/** What the directory `srv/data` has; a base of another release gives it something else. */
const DATA: Attributes = {
  mode: 0o2770,
  uid: 1000,
  gid: 1001,
  mtime: '1500000000.123456789',
  xattrs: { 'user.note': 'data' },
};

function oddImage(data: Attributes): readonly Member[] {
  return [
    dir('empty', { mode: 0o711, uid: 65534, gid: 65534, mtime: '1500000001.5' }),
    dir('opt', { mode: 0o750, mtime: '1500000002' }),
    dir('opt/app', { uid: 7, gid: 8, mtime: '1500000003.000000001' }),
    file('opt/app/a', 'a'),
    file('opt/app/b', 'b', { uid: 42, gid: 43 }),
    file('opt/app/c', 'c', { mode: 0o755, xattrs: { 'security.capability': CAPABILITY } }),
    dir('root', { mode: 0o700, uid: 5, gid: 6, mtime: '1500000004' }),
    file('root/key', 'key', { mode: 0o600, uid: 5, gid: 6 }),
    file('root/other', 'other', { uid: 42, gid: 43 }),
    dir('srv', { mtime: '1500000005' }),
    dir('srv/data', data),
    dir('srv/data/deep', { mode: 0o770, uid: 1000, gid: 1001, mtime: '1500000006.25' }),
    dir('srv/data/deep/empty', { mode: 0o1770, uid: 3, gid: 4, mtime: '1500000007' }),
    file('srv/data/deep/x', 'x', { uid: 42, gid: 43 }),
    file('srv/data/deep/y', 'y'),
    link('srv/data/deep/z', 'srv/data/deep/y'),
    symlink('srv/link', 'data/deep'),
    dir('tmp', { mode: 0o1777, mtime: '1500000008' }),
    file('tmp/t', 't', { uid: 42, gid: 43 }),
    file('tmp/u', 'u'),
    dir('usr', { mtime: '1500000009' }),
    dir('usr/lib', { mtime: '1500000010', xattrs: { 'user.empty': 'x', 'user.lib': '\xff' } }),
    file('usr/lib/one', 'one'),
    file('usr/lib/two', 'two', { uid: 42, gid: 43 }),
    symlink('lib', 'usr/lib'),
  ];
}

/** The image, or the same on another base. */
export type OddImage = 'odd' | 'other';

/** The image, and the same on a base that gives one directory other metadata. */
const IMAGES: Readonly<Record<OddImage, readonly Member[]>> = {
  odd: oddImage(DATA),
  other: oddImage({ ...DATA, mode: 0o750, uid: 0, xattrs: {} }),
};

/** A row of the truth table. */
export interface PolicyRow {
  /** The options, and what was done by hand. */
  readonly name: string;
  /** Lower-case words with hyphens, for files. */
  readonly id: string;
  readonly parents: ParentsPolicy;
  /** Skeletons are taken away by hand. */
  readonly drop?: 'all' | 'last';
}

/** Rows of the truth table, in its order. */
export const POLICY_ROWS: readonly PolicyRow[] = [
  { id: 'full', name: '`full`', parents: { kind: 'full' } },
  { id: 'bare', name: 'no directories at all', parents: { kind: 'shared' }, drop: 'all' },
  { id: 'implicit', name: '`implicit`', parents: { kind: 'implicit' } },
  { id: 'shared', name: '`shared`', parents: { kind: 'shared' } },
  {
    id: 'shared-first',
    name: '`shared`, skeleton first',
    parents: { kind: 'shared', skeleton: 'first' },
  },
  {
    id: 'shared-both',
    name: '`shared`, skeleton both',
    parents: { kind: 'shared', skeleton: 'both' },
  },
  { id: 'delegate', name: '`delegate`', parents: { kind: 'delegate' } },
  {
    id: 'delegate-user',
    name: '`delegate`, `user`',
    parents: { kind: 'delegate', xattr: 'user' },
  },
  {
    id: 'neutral',
    name: '`delegate`, neutral',
    parents: { kind: 'delegate', fallback: 'neutral' },
  },
  {
    id: 'neutral-user',
    name: '`delegate`, neutral, `user`',
    parents: { kind: 'delegate', fallback: 'neutral', xattr: 'user' },
  },
  {
    id: 'neutral-first',
    name: '`delegate`, neutral, last skeleton taken away',
    parents: { kind: 'delegate', fallback: 'neutral' },
    drop: 'last',
  },
];

/** Each file in one of three components, its neighbours in others. */
function componentsOf(members: readonly Member[]): string {
  const files = members.filter(({ type }) => type !== 'dir' && type !== 'link');
  return files.map(({ path }, i) => `/${path} c${i % 3}\n`).join('');
}

const PLATFORM = { os: 'linux', architecture: 'amd64' } as const;
/** So small that each component has a layer, bytes. */
const MAX_LAYER_SIZE = 8192;

/** Writes the image to the layout `dir`, as one layer. */
export async function writeOdd(dir: string, image: OddImage = 'odd'): Promise<void> {
  await writeLayout(dir, [{ layers: [{ tar: await packMembers(IMAGES[image]) }] }]);
}

/** Rechunks the image in the layout `from` as `row` says, into the layout `to`; times of directories are kept. */
export async function buildRow(
  from: string,
  to: string,
  row: PolicyRow,
  tempDir: string,
): Promise<void> {
  await rm(to, { recursive: true, force: true });
  const [source, destination] = [await openLayout(from), await createLayout(to)];
  try {
    await rechunk(source, destination, {
      hostPlatform: PLATFORM,
      threads: 1,
      tempDir,
      maxLayerSize: MAX_LAYER_SIZE,
      compression: 'gzip',
      policy: { dirMtime: 'keep' },
      repos: [parseMap(componentsOf(IMAGES.odd), 'map')],
      parents: row.parents,
    });
  } finally {
    await source.close();
    await destination.close();
  }
  if (row.drop) await dropSkeletons(to, row.drop);
}

/** The layers of the image in the layout, as they are read, and the tree that they give; content cannot be read. */
export async function readLayout(
  layout: string,
  tempDir: string,
): Promise<{ readonly layers: readonly LayerIndex[]; readonly tree: Tree }> {
  const source = await openLayout(layout);
  try {
    return await withContext({ threads: 1, tempDir }, async (context) => {
      const image = await openImage(source, { hostPlatform: PLATFORM });
      const loaded = await loadLayers(image, context);
      return { layers: loaded.layers, tree: flattenLayers(loaded).tree };
    });
  } finally {
    await source.close();
  }
}

interface Described {
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

const isSkeleton = ({ annotations }: Described): boolean =>
  annotations?.['dev.rechunk.role'] === 'skeleton';

const blobAt = (layout: string, digest: string): string =>
  join(layout, 'blobs', digest.replace(':', '/'));

async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8'));
}

async function writeBlob<T extends object>(
  layout: string,
  descriptor: Described,
  json: T,
): Promise<Described> {
  const bytes = Buffer.from(JSON.stringify(json));
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  await mkdir(join(layout, 'blobs/sha256'), { recursive: true });
  await writeFile(blobAt(layout, digest), bytes);
  return { ...descriptor, digest, size: bytes.length } as Described;
}

/** The layers of the one image of a layout: whether each is a skeleton, and its digest. */
export async function layersOfLayout(
  layout: string,
): Promise<{ readonly digest: string; readonly isSkeleton: boolean }[]> {
  const { manifests } = await readJson<{ manifests: Described[] }>(join(layout, 'index.json'));
  const { layers } = await readJson<{ layers: Described[] }>(
    blobAt(layout, (manifests[0] as Described).digest),
  );
  return layers.map((layer) => ({ digest: layer.digest, isSkeleton: isSkeleton(layer) }));
}

/** Takes the skeletons, or the last of them, out of the one image of a layout. */
async function dropSkeletons(layout: string, which: 'all' | 'last'): Promise<void> {
  const index = await readJson<{ manifests: Described[] }>(join(layout, 'index.json'));
  const [entry] = index.manifests as [Described];
  const manifest = await readJson<{ layers: Described[]; config: Described }>(
    blobAt(layout, entry.digest),
  );
  const config = await readJson<{ rootfs: { diff_ids: string[] }; history?: unknown }>(
    blobAt(layout, manifest.config.digest),
  );
  const last = manifest.layers.findLastIndex(isSkeleton);
  const isKept = (layer: Described, i: number): boolean =>
    which === 'all' ? !isSkeleton(layer) : i !== last;
  const kept = manifest.layers.map(isKept);
  const { history: _, rootfs, ...rest } = config;
  const diffIds = rootfs.diff_ids.filter((_id, i) => kept[i]);
  const newConfig = await writeBlob(layout, manifest.config, {
    ...rest,
    rootfs: { ...rootfs, diff_ids: diffIds },
  });
  const layers = manifest.layers.filter((_layer, i) => kept[i]);
  const newManifest = await writeBlob(layout, entry, { ...manifest, config: newConfig, layers });
  await writeFile(
    join(layout, 'index.json'),
    JSON.stringify({ ...index, manifests: [newManifest] }),
  );
}
