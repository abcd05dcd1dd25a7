/** From an image to planned layers: read, shape by the policy, find components, plan. */
import { RechunkError } from '../registry/errors.ts';
import type { Image } from '../registry/image.ts';
import type { Path } from '../registry/path.ts';
import { assign, detectAll } from './assign.ts';
import type { Component, ComponentRepo, Detection } from './components.ts';
import type { Context } from './context.ts';
import { compressedSizeOf, tarSizeOf } from './estimate.ts';
import { type Loaded, loadTree } from './load.ts';
import { type Memory, NO_MEMORY, type PastImage } from './memory.ts';
import { editLabels, type MetadataOptions } from './metadata.ts';
import { contentLayers, FULL, noticesOf, ownedBy, type ParentsPolicy } from './parents.ts';
import { DEFAULT_MAX_LAYERS, type Plan, type PlanItem, type PlanOptions, plan } from './plan.ts';
import { applyPolicy, type Excuse, type Policy } from './policy.ts';
import { readPrevious } from './previous.ts';
import { expectChanges } from './rate.ts';
import { pastOptions, type Recollection, recall } from './recall.ts';
import { rememberItems } from './remember.ts';
import { REPOS } from './repos.ts';
import { formatSize } from './size.ts';
import { splitLarge } from './split.ts';
import { type StackedLayer, stackLayers } from './stack.ts';
import type { Entry, Inode, Tree } from './tree.ts';

/** How components are found. */
export interface ComponentOptions {
  /** Further component repos, asked beside the built-in ones (a map file). */
  readonly repos?: readonly ComponentRepo[] | undefined;
  /** Unowned files from this size on are components of their own, bytes. */
  readonly largeFileSize?: number | undefined;
  /** Makes trouble with a package database an error, and `overlay.*` xattrs in an image that is rechunked. */
  readonly strict?: boolean | undefined;
}

/** What decides how files are grouped. */
export interface GroupOptions extends ComponentOptions, PlanOptions, MetadataOptions {
  /** What earlier images tell; default nothing. */
  readonly memory?: Memory | undefined;
  /** What may differ from the source. */
  readonly policy?: Policy | undefined;
  /** What layers hold of the directories that they need; default {@link FULL}. */
  readonly parents?: ParentsPolicy | undefined;
}

/** An image's file system as it will be written, its components and plan. */
export interface Grouping {
  readonly tree: Tree;
  readonly components: readonly Component[];
  readonly items: readonly PlanItem[];
  readonly plan: Plan;
  /** The layers that are written, lowest first: those of the plan, and skeletons. */
  readonly stack: readonly StackedLayer[];
  /** What was known of the components before. */
  readonly recollection: Recollection;
  readonly excuses: readonly Excuse[];
}

/** What component repos found in a tree, and the components of its files. */
export interface Found {
  readonly detections: readonly Detection[];
  /** Sorted by id. */
  readonly components: readonly Component[];
  readonly warnings: readonly string[];
}

/** Reads an image, applies the policy and plans its layers; writes nothing. */
export async function groupImage(
  image: Image,
  options: GroupOptions,
  context: Context,
): Promise<Grouping> {
  const bounds = contentBounds(options);
  tellParents(options, context);
  const prepared = await prepareImage(image, options, context);
  const planned = plan(prepared.items, { ...bounds, ...pastOptions(prepared.recollection) });
  tellOversized(planned, options, context);
  return stackPlan(prepared, planned, options);
}

/** The planner's options for what is no skeleton. Throws `usage` where no layer is left. */
export function contentBounds(options: GroupOptions): PlanOptions {
  const { parents = FULL, maxLayers = DEFAULT_MAX_LAYERS } = options;
  return { ...options, maxLayers: contentLayers(parents, maxLayers) };
}

/** Tells what the parents policy costs and where it is wrong. */
export function tellParents({ parents = FULL }: GroupOptions, context: Context): void {
  for (const notice of noticesOf(parents)) context.onNotice?.(notice);
}

/** A prepared image with its plan, and the layers that come of it. */
export function stackPlan(
  prepared: Prepared,
  planned: Plan,
  { parents = FULL }: GroupOptions,
): Grouping {
  const grouping = { ...prepared, plan: planned };
  return { ...grouping, stack: stackLayers(grouping, parents) };
}

/** Tells of layers over `maxLayerSize`: a file is never cut, and `maxLayers` counts first. */
export function tellOversized(
  { layers }: Plan,
  { maxLayerSize = Number.POSITIVE_INFINITY }: PlanOptions,
  context: Context,
): void {
  const over = layers.filter(({ tarSize }) => tarSize > maxLayerSize);
  if (over.length === 0) return;
  const largest = over.reduce((most, { tarSize }) => Math.max(most, tarSize), 0);
  context.onNotice?.(
    `${over.length} of ${layers.length} layers hold more than --max-layer-size ${formatSize(maxLayerSize)}, up to ${formatSize(largest)}: no file is cut, and --max-layers comes first`,
  );
}

/** An image as it will be written, ready to be planned. */
export type Prepared = Omit<Grouping, 'plan' | 'stack'>;

/** Reads an image, applies the policy and finds its components and what is remembered of them. */
export async function prepareImage(
  image: Image,
  options: GroupOptions,
  context: Context,
): Promise<Prepared> {
  const memory = options.memory ?? NO_MEMORY;
  const shaped = await shapeImage(image, options, context, memory.previous[0]);
  const { tree, components, excuses } = shaped;
  refuseOstree(image, tree, options);
  if (options.strict) refuseOverlay(image, excuses);
  const read = async (past: PastImage, own: Context): Promise<readonly Component[]> =>
    (await shapeImage(past.image, options, { ...own, onNotice: undefined })).components;
  const recollection = await recall(components, memory, read, context);
  const { digests, past, observed } = recollection;
  const items = rememberItems(itemsOf(components), digests, past, observed);
  return { tree, components, items, recollection, excuses };
}

/** An image's file system as the policy shapes it, with what `past` has to inherit, and its components. */
async function shapeImage(
  image: Image,
  options: GroupOptions,
  context: Context,
  past?: PastImage,
): Promise<Pick<Grouping, 'tree' | 'components' | 'excuses'>> {
  const loaded = await loadTree(image, context);
  for (const warning of loaded.warnings) context.onNotice?.(warning);
  const { policy = {}, parents = FULL } = options;
  const plain = await applyPolicy(loaded.tree, policy);
  const found = await findComponents(plain.tree, options);
  for (const warning of [...plain.warnings, ...found.warnings]) context.onNotice?.(warning);
  const limit = options.maxLayerSize ?? Number.POSITIVE_INFINITY;
  const components = splitLarge(plain.tree, ownedBy(parents, found.components), limit);
  const directories = policy.dirMtime === 'keep' ? 'inherit' : 'leave';
  const previous =
    past && policy.inherit !== 'none'
      ? await readPrevious(
          past,
          { ...found, image, tree: plain.tree, components },
          { directories },
          context,
        )
      : undefined;
  // What inheriting changes is nothing that components are found by.
  const { tree, excuses } = previous ? await applyPolicy(loaded.tree, policy, previous) : plain;
  return {
    tree,
    components: previous ? components.map((one) => rebind(one, tree)) : components,
    excuses: [...overlayExcuse(loaded), ...excuses],
  };
}

/** The component with the inodes of `tree`. */
function rebind(component: Component, tree: Tree): Component {
  const entries = component.entries.map(
    ({ path, inode }): Entry => ({ path, inode: tree.get(path) ?? inode }),
  );
  return { ...component, entries };
}

/** Asks every component repo what it finds in `tree` and gives each file to one component. */
export async function findComponents(tree: Tree, options: ComponentOptions): Promise<Found> {
  const { largeFileSize, strict = false } = options;
  const repos = [...REPOS, ...(options.repos ?? [])];
  const { detections, warnings } = await detectAll(tree, repos, { strict });
  const assignment = await assign(
    tree,
    detections,
    largeFileSize === undefined ? {} : { largeFileSize },
  );
  return {
    detections,
    components: assignment.components,
    warnings: [...warnings, ...assignment.warnings],
  };
}

/** The excuse for dropped overlay xattrs, if there were any. */
export function overlayExcuse({ droppedXattrs }: Loaded): Excuse[] {
  if (droppedXattrs === 0) return [];
  return [
    {
      kind: 'overlay-xattr',
      count: droppedXattrs,
      text: `${droppedXattrs} overlay.* xattrs dropped`,
    },
  ];
}

/** What runtimes make of `overlay.*` xattrs in an image differs, so whoever wants to know is told instead of their being dropped. */
function refuseOverlay(image: Image, excuses: readonly Excuse[]): void {
  const found = excuses.find(({ kind }) => kind === 'overlay-xattr');
  if (!found) return;
  throw new RechunkError(
    'unsupported',
    `${image.source.reference}: got ${found.count} overlay.* xattrs, want none with --strict but dirmeta_delegate=y on directories; without it they are dropped`,
  );
}

/** Labels of ostree's encapsulated form that bind the image to its own layers. */
const OSTREE_LABELS = ['ostree.commit', 'ostree.final-diffid'];

/** An image whose files lie in an ostree repository too would keep them twice, and its labels would lie. */
function refuseOstree(image: Image, tree: Tree, options: MetadataOptions): void {
  const labels = OSTREE_LABELS.filter((label) => label in editLabels(image, options));
  const repository = tree.get('sysroot/ostree/repo' as Path) !== undefined;
  if (labels.length === 0 && !repository) return;
  const flags = [
    ...(repository ? ['--prune /sysroot/'] : []),
    ...labels.map((label) => `--label ${label}-`),
  ];
  throw new RechunkError(
    'unsupported',
    `${image.source.reference} is in ostree's encapsulated form; to convert it into a plain image add ${flags.join(' ')}`,
  );
}

/** The planner's view of components; its clock is the newest change in the image. */
function itemsOf(components: readonly Component[]): PlanItem[] {
  const now = components.reduce(
    (newest, { changeTimes }) => (changeTimes ?? []).reduce((a, b) => Math.max(a, b), newest),
    0,
  );
  return components.map((component) => {
    const counted = distinct(component.entries);
    const sum = (size: (entry: Entry) => number): number =>
      counted.reduce((total, entry) => total + size(entry), 0);
    return {
      id: component.id,
      size: sum(compressedSizeOf),
      tarSize: sum(tarSizeOf),
      ...expectChanges(component, now),
    };
  });
}

/** The first name of every inode. */
function distinct(entries: readonly Entry[]): Entry[] {
  const seen = new Set<Inode>();
  return entries.filter(({ inode }) => {
    if (seen.has(inode)) return false;
    seen.add(inode);
    return true;
  });
}
