/**
 * Compares two images as an update from the old to the new one: packages, components and files that differ, which layers are
 * shared and why the others are not, what a node that has the old one pulls, and the least that it could pull.
 *
 * Images are compared as they are, whether this program wrote them or not. Nothing is written but temporary files.
 */
import {
  type Image,
  type Layer,
  openImage,
  type PlatformChoice,
  type Source,
} from '../../registry/image.ts';
import { formatPlatform } from '../../registry/oci.ts';
import { type Path, showPath } from '../../registry/path.ts';
import { type Context, type RunOptions, withContext } from '../context.ts';
import { type ComponentOptions, type Found, findComponents } from '../grouping.ts';
import { type LoadContext, type Loaded, loadTree, shareLayers } from '../load.ts';
import { OWN } from '../metadata.ts';
import type { Tree } from '../tree.ts';
import {
  changedDirectories,
  countFiles,
  type FileChangeKind,
  type FileCounts,
  type FilePair,
  pairFiles,
  type Side,
  sideOf,
} from './files.ts';
import { compareLayers, type GoneLayer, type LayerChange, type LayerFacts } from './layers.ts';
import { type ComponentChange, compareKnown, type PackageChange } from './packages.ts';
import { type Floor, measureFloor, measureUpdate, type UpdateBytes } from './pull.ts';

/** One of the two images. */
export interface ComparedImage {
  readonly reference: string;
  readonly digest: string;
  readonly platform: string;
  readonly layers: number;
  /** Bytes of all blobs; 0 for a directory tree. */
  readonly size: number;
}

/** A file that differs, or that lies in a layer that does not continue its old one. */
export interface FileChange {
  /** For people, with a leading slash; bytes that are no UTF-8 are escaped. */
  readonly path: string;
  readonly change: FileChangeKind;
  /** Component on the new side, or on the old one where it was removed; absent for a directory with something in it. */
  readonly component?: string;
  /** Layers, 1 the lowest. */
  readonly oldLayer?: number;
  readonly newLayer?: number;
  /** Bytes of content on the new side, or on the old one where it was removed. */
  readonly size: number;
}

/** What an update from one image to another is made of. */
export interface DiffReport {
  readonly old: ComparedImage;
  readonly new: ComparedImage;
  /** Sorted by what became of them, then by name. */
  readonly packages: readonly PackageChange[];
  /** Sorted by bytes, the most first. */
  readonly components: readonly ComponentChange[];
  /** How many files differ in each way, directories with something in them left out. */
  readonly fileCounts: FileCounts;
  /** Sorted by path; directories too. */
  readonly files: readonly FileChange[];
  /** All layers of the new image, the lowest first. */
  readonly layers: readonly LayerChange[];
  /** Layers of the old image that no layer of the new one continues. */
  readonly goneLayers: readonly GoneLayer[];
  /** Absent where one side is a directory tree. */
  readonly update?: UpdateBytes;
  readonly floor: Floor;
}

/** What decides how images are compared. */
export interface DiffOptions extends ComponentOptions, PlatformChoice {}

/** An image as it is compared: what its layers are, and what is in it. */
export interface Comparable {
  /** Lowest first. */
  readonly layers: readonly LayerFacts[];
  readonly found: Found;
  readonly side: Side;
}

/** An image that was read for comparison. */
interface Read extends Comparable {
  readonly image: Image;
  readonly warnings: readonly string[];
}

/** Compares the images `old` and `next`; the caller closes both. */
export async function diff(
  old: Source,
  next: Source,
  options: DiffOptions & RunOptions = {},
): Promise<DiffReport> {
  const { platform, hostPlatform } = options;
  const choice = { platform, hostPlatform };
  const images = [await openImage(old, choice), await openImage(next, choice)] as const;
  return withContext(options, async (run) => {
    const context = { ...run, shared: shareLayers(images) };
    const [a, b] = [
      await readImage(images[0], options, context),
      await readImage(images[1], options, context),
    ];
    const warnings = [...a.warnings, ...b.warnings, ...noticePlain(images[1])];
    for (const warning of new Set(warnings)) context.onNotice?.(warning);
    return compareImages(a, b, context);
  });
}

/** Says so where what is pulled cannot be told from the size of blobs. */
function noticePlain({ layers, source }: Image): string[] {
  const isPlain = ({ descriptor }: Image['layers'][number]): boolean =>
    !/gzip|zstd/.test(descriptor.mediaType);
  if (source.tree || !layers.some(isPlain)) return [];
  return [`${source.reference} holds uncompressed layers: from a registry less would be pulled`];
}

/** Reads an image: its files, and which component each is in. */
async function readImage(
  image: Image,
  options: DiffOptions,
  context: Context & LoadContext,
): Promise<Read> {
  const loaded: Loaded = await loadTree(image, context);
  const comparable = await takeApart(factsOf(image), loaded.tree, options);
  const warnings = [...loaded.warnings, ...comparable.found.warnings];
  return { ...comparable, image, warnings };
}

/** An image of these layers, whose files are those of `tree`; finds which component each is in. */
export async function takeApart(
  layers: readonly LayerFacts[],
  tree: Tree,
  options: ComponentOptions,
): Promise<Comparable> {
  const found = await findComponents(tree, { ...options, times: false });
  return { layers, found, side: sideOf(tree, found.components) };
}

/** What differs between two images that were read. */
export interface Compared {
  readonly sides: { readonly old: Side; readonly new: Side };
  readonly pairs: readonly FilePair[];
  readonly directories: ReadonlyMap<Path, FileChangeKind>;
  readonly packages: readonly PackageChange[];
  readonly components: readonly ComponentChange[];
  readonly layers: readonly LayerChange[];
  readonly gone: readonly GoneLayer[];
}

/** Compares packages, components, files and layers; reads no content that reading the images did not. */
export function compareRead(old: Comparable, next: Comparable): Compared {
  const sides = { old: old.side, new: next.side };
  const pairs = pairFiles(sides.old, sides.new);
  const directories = changedDirectories(sides.old, sides.new);
  const known = compareKnown(old.found, next.found, pairs);
  const layers = compareLayers({ old: old.layers, new: next.layers, sides, pairs, directories });
  return { sides, pairs, directories, ...known, ...layers };
}

async function compareImages(old: Read, next: Read, context: Context): Promise<DiffReport> {
  const compared = compareRead(old, next);
  const { sides, pairs, directories, packages, components } = compared;
  const changed = new Set(components.map(({ id }) => id));
  const update = measureUpdate(old.image, next.image);
  return {
    old: describeImage(old.image),
    new: describeImage(next.image),
    packages,
    components,
    fileCounts: countFiles(pairs.map(({ change }) => change)),
    files: listFiles(pairs, directories, next.side),
    layers: compared.layers,
    goneLayers: compared.gone,
    ...(update ? { update } : {}),
    floor: await measureFloor(sides, pairs, directories, changed, context),
  };
}

/** What comparing needs to know of an image's layers. */
export function factsOf({ layers }: { readonly layers: readonly Layer[] }): LayerFacts[] {
  return layers.map(({ descriptor: { digest, size, annotations }, diffId }) => {
    const role = annotations?.[OWN.role];
    return { digest, diffId, size, ...(role === undefined ? {} : { role }) };
  });
}

function describeImage(image: Image): ComparedImage {
  return {
    reference: image.source.reference,
    digest: image.manifestDocument.descriptor.digest,
    platform: formatPlatform(image.platform),
    layers: image.layers.length,
    size: image.layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0),
  };
}

/** Everything that differs, sorted by path. */
function listFiles(
  pairs: readonly FilePair[],
  directories: ReadonlyMap<string, FileChangeKind>,
  next: Side,
): FileChange[] {
  const files = pairs.flatMap((pair): (FileChange & { at: string })[] => {
    const { path, old, new: now, change } = pair;
    const place = now ?? old;
    if (!change || !place) return [];
    return [
      {
        at: path,
        path: `/${showPath(path)}`,
        change,
        component: place.component,
        ...(old ? { oldLayer: old.layer } : {}),
        ...(now ? { newLayer: now.layer } : {}),
        size: place.size,
      },
    ];
  });
  for (const [path, change] of directories) {
    const newLayer = (next.tree.get(path as never)?.layer ?? -1) + 1;
    files.push({ at: path, path: `/${showPath(path)}`, change, newLayer, size: 0 });
  }
  files.sort((a, b) => (a.at < b.at ? -1 : 1));
  return files.map(({ at, ...file }) => file);
}
