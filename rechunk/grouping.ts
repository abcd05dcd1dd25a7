/** From an image to planned layers: read, shape by the policy, find components, plan. */
import { RechunkError } from '../registry/errors.ts';
import type { Image } from '../registry/image.ts';
import type { Path } from '../registry/path.ts';
import { assign, detectAll } from './assign.ts';
import { componentsAbove, layOver, type Overlay } from './base.ts';
import { type Below, changesBelow } from './below.ts';
import type { Component, ComponentRepo, Detection } from './components.ts';
import type { Context } from './context.ts';
import { compressedSizeOf, tarSizeOf } from './estimate.ts';
import { type LoadContext, type Loaded, loadTree, shareLayers, totalSize } from './load.ts';
import { type Memory, NO_MEMORY, type PastImage } from './memory.ts';
import { editLabels, type MetadataOptions } from './metadata.ts';
import { contentLayers, FULL, noticesOf, ownedBy, type ParentsPolicy } from './parents.ts';
import {
  DEFAULT_MAX_LAYERS,
  type Plan,
  type PlanBounds,
  type PlanItem,
  type PlanOptions,
  plan,
} from './plan.ts';
import { applyPolicy, type Excuse, excuse, type Policy } from './policy.ts';
import { readPrevious } from './previous.ts';
import { expectChanges } from './rate.ts';
import { pastOptions, type Recollection, recall } from './recall.ts';
import { rememberItems } from './remember.ts';
import { REPOS } from './repos.ts';
import { formatSize } from './size.ts';
import { splitLarge } from './split.ts';
import { type StackedLayer, stackLayers } from './stack.ts';
import type { Entry, Tree } from './tree.ts';

/** How components are found. */
export interface ComponentOptions {
  /** Further component repos, asked beside the built-in ones (a map file). */
  readonly repos?: readonly ComponentRepo[] | undefined;
  /** Unowned files from this size on are components of their own, bytes. */
  readonly largeFileSize?: number | undefined;
  /** Makes trouble with a package database an error, and `overlay.*` xattrs in an image that is rechunked. */
  readonly strict?: boolean | undefined;
  /** Whether to tell when components changed; default true. */
  readonly times?: boolean | undefined;
}

/** What decides how files are grouped, as far as a user says it. */
export interface GroupOptions extends ComponentOptions, PlanBounds, MetadataOptions {
  /** What may differ from the source. */
  readonly policy?: Policy | undefined;
  /** What layers hold of the directories that they need; default {@link FULL}. */
  readonly parents?: ParentsPolicy | undefined;
}

/** What decides how files are grouped. */
export interface GroupingOptions extends GroupOptions {
  /** What earlier images tell; default nothing. */
  readonly memory?: Memory | undefined;
  /** An image whose layers stay, the lowest of the result; default none. */
  readonly base?: Image | undefined;
}

/** An image's file system as it will be written, its components and plan. */
export interface Grouping {
  readonly tree: Tree;
  readonly components: readonly Component[];
  readonly items: readonly PlanItem[];
  readonly plan: Plan;
  /** The base below it; absent where there is none. Components, items and plan are then of what lies above. */
  readonly below?: Below | undefined;
  /** The layers of the image, lowest first: those of the base, whiteouts, those of the plan, and skeletons. */
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
  options: GroupingOptions,
  context: Context,
): Promise<Grouping> {
  // Before anything is read.
  contentBounds(options);
  tellParents(options, context);
  const prepared = await prepareImage(image, options, context);
  const bounds = contentBounds(options, prepared.below);
  const planned = plan(prepared.items, { ...bounds, ...pastOptions(prepared.recollection) });
  tellOversized(planned, options, context);
  return stackPlan(prepared, planned, options);
}

/** The planner's options for what is no skeleton, and nothing of a base. Throws `usage` where no layer is left. */
export function contentBounds(options: GroupingOptions, below?: Below): PlanOptions {
  const { parents = FULL, maxLayers = DEFAULT_MAX_LAYERS, base } = options;
  const whiteouts = below && below.overlay.hidden.length > 0 ? 1 : 0;
  const others = (base?.layers.length ?? 0) + whiteouts;
  return { ...options, maxLayers: contentLayers(parents, maxLayers, others) };
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
  options: GroupingOptions,
  context: Context,
): Promise<Prepared> {
  const memory = options.memory ?? NO_MEMORY;
  const { base } = options;
  const images = base && [image, base];
  const shared = images && shareLayers(images);
  const reading = { shared, total: images && totalSize(images), ...context };
  const below = base && (await loadTree(base, reading));
  const shaped = await shapeImage(image, options, reading, {
    base: below?.tree,
    past: memory.previous[0],
  });
  context.onGarbage?.();
  const { tree, components, excuses, overlay } = shaped;
  refuseOstree(image, tree, options);
  if (options.strict) refuseOverlay(image, excuses);
  const read = async (past: PastImage, own: Context): Promise<readonly Component[]> =>
    (await shapeImage(past.image, options, { ...own, onNotice: undefined }, { base: below?.tree }))
      .components;
  const recollection = await recall(components, memory, read, context);
  const { digests, past, observed } = recollection;
  const now = newestChange(shaped.whole);
  const items = rememberItems(itemsOf(tree, components, now), digests, past, observed);
  const prepared = { tree, components, items, recollection, excuses };
  if (!base || !below || !overlay) return prepared;
  const changes = changesBelow(
    base,
    overlay,
    shaped.whole,
    itemsOf(shaped.tree, shaped.whole, now),
  );
  return { ...prepared, below: { image: base, loaded: below, overlay, changes } };
}

/** What an image is shaped by, besides options. */
interface Surroundings {
  /** The file system of the base whose layers stay. */
  readonly base?: Tree | undefined;
  /** What times are inherited from. */
  readonly past?: PastImage | undefined;
}

/** An image's file system as the policy shapes it, and its components. */
interface ShapedImage extends Pick<Grouping, 'tree' | 'components' | 'excuses'> {
  /** What of it lies above the base, and how; `components` have that alone. */
  readonly overlay: Overlay | undefined;
  /** All components, whatever lies above the base. */
  readonly whole: readonly Component[];
}

async function shapeImage(
  image: Image,
  options: GroupingOptions,
  context: Context & LoadContext,
  { base, past }: Surroundings,
): Promise<ShapedImage> {
  const loaded = await loadTree(image, context);
  context.onGarbage?.();
  for (const warning of loaded.warnings) context.onNotice?.(warning);
  const { policy = {} } = options;
  const plain = await applyPolicy(loaded.tree, policy, undefined, base);
  const found = await findComponents(plain.tree, options);
  for (const warning of [...plain.warnings, ...found.warnings]) context.onNotice?.(warning);
  const { components } = arrange(plain.tree, found.components, options, base);
  const directories = policy.dirMtime === 'keep' ? 'inherit' : 'leave';
  const { total, ...alone } = context;
  const previous =
    past && policy.inherit !== 'none'
      ? await readPrevious(
          past,
          { ...found, image, tree: plain.tree, components },
          { directories },
          alone,
        )
      : undefined;
  // What inheriting changes is nothing that components are found by.
  const shaped = previous ? await applyPolicy(loaded.tree, policy, previous, base) : plain;
  const whole = previous
    ? found.components.map((one) => rebind(one, shaped.tree))
    : found.components;
  return {
    ...arrange(shaped.tree, whole, options, base),
    whole,
    excuses: [...overlayExcuse(loaded), ...shaped.excuses],
  };
}

/** What is written of `components`: what lies above the base, as the parents policy lets them own it, in parts that fit. */
function arrange(
  tree: Tree,
  components: readonly Component[],
  { parents = FULL, maxLayerSize = Number.POSITIVE_INFINITY }: GroupOptions,
  base: Tree | undefined,
): Pick<ShapedImage, 'tree' | 'components' | 'overlay'> {
  const overlay = base && layOver(base, tree);
  const own = ownedBy(parents, overlay ? componentsAbove(overlay, components) : components);
  const arranged = overlay?.tree ?? tree;
  return { tree: arranged, components: splitLarge(arranged, own, maxLayerSize), overlay };
}

/** The component with the inodes of `tree`; the same one where they are its own. */
function rebind(component: Component, tree: Tree): Component {
  const inodes = component.entries.map(({ path, inode }) => tree.get(path) ?? inode);
  if (component.entries.every(({ inode }, i) => inode === inodes[i])) return component;
  const entries = component.entries.map(
    (entry, i): Entry => ({ path: entry.path, inode: inodes[i] ?? entry.inode }),
  );
  return { ...component, entries };
}

/** Asks every component repo what it finds in `tree` and gives each file to one component. */
export async function findComponents(tree: Tree, options: ComponentOptions): Promise<Found> {
  const { largeFileSize, strict = false, times } = options;
  const repos = [...REPOS, ...(options.repos ?? [])];
  const { detections, warnings } = await detectAll(tree, repos, { strict, times });
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
  return droppedXattrs === 0 ? [] : [excuse('overlay-xattr', droppedXattrs)];
}

/** What runtimes make of `overlay.*` xattrs in an image differs, so whoever wants to know is told instead of their being dropped. */
function refuseOverlay(image: Image, excuses: readonly Excuse[]): void {
  const found = excuses.find(({ kind }) => kind === 'overlay-xattr');
  if (!found) return;
  throw new RechunkError(
    'unsupported',
    `overlay.* xattrs of ${image.source.reference}: got ${found.count}, want none with --strict but dirmeta_delegate=y on directories; without it they are dropped`,
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

/** The planner's clock: the newest change in an image. */
function newestChange(components: readonly Component[]): number {
  return components.reduce(
    (newest, { changeTimes }) => (changeTimes ?? []).reduce((a, b) => Math.max(a, b), newest),
    0,
  );
}

/** The planner's view of components. */
function itemsOf(tree: Tree, components: readonly Component[], now: number): PlanItem[] {
  return components.map((component) => {
    const counted = tree.distinct(component.entries);
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
