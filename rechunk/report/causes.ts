/**
 * Why updates pull what they pull, by component: of each layer that is new, which packages differ in it. A layer's bytes are shared out
 * among them by the uncompressed bytes of their files that differ or moved; the sum of an update's causes is what it pulls.
 */
import { createHash } from 'node:crypto';
import type { Descriptor, Digest } from '../../registry/oci.ts';
import { type Counting, layOut } from '../../registry/report/counting.ts';
import type { SurveyedImage } from '../../registry/report/imagesource.ts';
import type { IndexReader } from '../../registry/report/index/reader.ts';
import { countEntries } from '../../registry/report/index/recall.ts';
import type { Cause, Report, Skipped } from '../../registry/report/report.ts';
import type { Memory, Survey } from '../../registry/report/survey.ts';
import { DIRECTORIES } from '../assign.ts';
import { type Comparable, type Compared, compareRead, factsOf, takeApart } from '../diff/diff.ts';
import type { FileCounts } from '../diff/files.ts';
import { DIRECTORIES as PARENTS } from '../diff/layers.ts';
import { SOURCES } from '../version.ts';
import { IndexedLayers } from './indexed.ts';
import { imageOf, passOver, type Series, seriesOf, surveyed } from './series.ts';

/** What is looked at. */
export interface CausesOptions {
  /** Updates of each stream, the newest; at least 1. */
  readonly updates: number;
  /** Only images for it; default all. */
  readonly platform?: string | undefined;
  /** The index of files, which has the layers of what was surveyed. */
  readonly reader: IndexReader;
  /** What the manifest of an image says of its layers. */
  readonly describe: (image: SurveyedImage) => Promise<readonly Descriptor[]>;
  /** What earlier reports found, by the digests of both images; default none. */
  readonly memory?: Memory | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Entries of layers that are in memory at a time, unless one series of images has more. */
const ENTRIES_AT_ONCE = 500_000;

/** Components that are told of one update; what the rest comes to is one cause more. */
const SHOWN = 20;
/** What stands for components that are not told. */
export const OTHERS = '(others)';
/** Why a layer is new in which nothing differs that is seen. */
const ARCHIVE = '(archive)';
/** Bytes that a file weighs besides its content. */
const ENTRY_BYTES = 512;
/** Packages of one component whose versions are told. */
const SHOWN_PACKAGES = 3;

/**
 * `report` on `survey` with the causes of the newest updates, all from the index of files. Images that it does not have whole are told under
 * `skipped`.
 */
export async function withCauses(
  report: Report,
  survey: Survey,
  options: CausesOptions,
): Promise<Report> {
  const counting = layOut(survey);
  const finder = new Finder(counting, options);
  await finder.run(seriesOf(counting, { ...options, tags: options.updates + 1 }));
  const skipped = [...(report.skipped ?? []), ...finder.skipped];
  const updates = report.updates.map((update) => {
    const { platform, from, to } = update;
    const causes = finder.found.get(keyOf(platform, from, to));
    return causes ? { ...update, causes } : update;
  });
  return { ...report, updates, ...(skipped.length > 0 && { skipped }) };
}

const keyOf = (platform: string, from: number, to: number): string => `${from} ${to} ${platform}`;

/** Compares the images of series, and keeps the causes of the updates from one to the next. */
class Finder {
  readonly found: Map<string, readonly Cause[]> = new Map();
  readonly skipped: Skipped[] = [];
  /** Updates that are not remembered. */
  readonly #missing: Set<string> = new Set();
  readonly #counting: Counting;
  readonly #options: CausesOptions;

  constructor(counting: Counting, options: CausesOptions) {
    this.#counting = counting;
    this.#options = options;
  }

  /** Finds the causes of the updates of all `series`. */
  async run(series: readonly Series[]): Promise<void> {
    const wanted: Series[] = [];
    for (const one of series) {
      const tags = await this.#recall(one);
      if (tags.length > 0) wanted.push({ ...one, tags });
    }
    const total = this.#missing.size;
    let left = total;
    for (const group of await this.#grouped(wanted)) {
      const layers = await IndexedLayers.load(
        this.#options.reader,
        group.flatMap((one) => this.#layersOf(one)),
      );
      for (const one of group) {
        await this.#compare(one, layers);
        left -= pairsOf(one.tags).filter(([from, to]) => this.#isMissing(one, from, to)).length;
        this.#options.onProgress?.(total - left, total);
      }
    }
  }

  #isMissing({ platform }: Series, from: number, to: number): boolean {
    return this.#missing.has(keyOf(platform, from, to));
  }

  /** Takes what is remembered of a series; gives the tags whose images are to be compared. */
  async #recall({ tags, platform }: Series): Promise<readonly number[]> {
    const wanted = new Set<number>();
    for (const [from, to] of pairsOf(tags)) {
      const key = this.#memoryKey(platform, from, to);
      const bytes = key === undefined ? undefined : await this.#options.memory?.read(key);
      if (bytes) {
        const causes = JSON.parse(Buffer.from(bytes).toString()) as Cause[];
        this.found.set(keyOf(platform, from, to), causes);
        continue;
      }
      this.#missing.add(keyOf(platform, from, to));
      wanted.add(from).add(to);
    }
    return tags.filter((tag) => wanted.has(tag));
  }

  #keep(platform: string, from: number, to: number, causes: readonly Cause[]): void {
    this.found.set(keyOf(platform, from, to), causes);
    const key = this.#memoryKey(platform, from, to);
    if (key !== undefined) this.#options.memory?.write(key, Buffer.from(JSON.stringify(causes)));
  }

  /** What an update's causes are remembered by; undefined where the program may change between runs. */
  #memoryKey(platform: string, from: number, to: number): string | undefined {
    const [old, next] = [from, to].map((tag) => {
      return surveyed(this.#counting, tag, platform).manifest.digest;
    });
    const text = `causes ${SOURCES} ${old} ${next}`;
    return SOURCES && createHash('sha256').update(text).digest('hex');
  }

  #layersOf({ tags, platform }: Series): readonly Digest[] {
    return tags.flatMap((tag) => imageOf(this.#counting, tag, platform)?.diffIds ?? []);
  }

  /** Series whose layers are loaded together: asking for those of many takes little longer than for those of one. */
  async #grouped(all: readonly Series[]): Promise<Series[][]> {
    const diffIds = new Set(all.flatMap((one) => this.#layersOf(one)));
    const counts = await countEntries(this.#options.reader, [...diffIds]);
    const groups: Series[][] = [];
    let entries = 0;
    for (const one of all) {
      const own = [...new Set(this.#layersOf(one))];
      const count = own.reduce((sum, diffId) => sum + (counts.get(diffId) ?? 0), 0);
      if (groups.length === 0 || entries + count > ENTRIES_AT_ONCE) {
        groups.push([]);
        entries = 0;
      }
      groups.at(-1)?.push(one);
      entries += count;
    }
    return groups;
  }

  /** Takes each image apart once; one that cannot be is passed over. */
  async #compare(series: Series, layers: IndexedLayers): Promise<void> {
    const { tags, platform } = series;
    let last: { readonly image: Comparable | undefined; readonly tag: number } | undefined;
    for (const tag of tags) {
      this.#options.signal?.throwIfAborted();
      const image = await this.#pass(tag, () => this.#takeApart(tag, platform, layers));
      if (last?.image && image && this.#isMissing(series, last.tag, tag))
        this.#keep(platform, last.tag, tag, causesOf(compareRead(last.image, image)));
      last = { image, tag };
    }
  }

  async #takeApart(tag: number, platform: string, layers: IndexedLayers): Promise<Comparable> {
    const image = surveyed(this.#counting, tag, platform);
    const diffIds = imageOf(this.#counting, tag, platform)?.diffIds ?? [];
    const tree = await layers.tree({
      name: `${image.repository}:${this.#counting.tags[tag]?.tag}`,
      diffIds,
    });
    const described = await this.#options.describe(image);
    const own = described.map((descriptor, i) => {
      return { descriptor, diffId: diffIds[i] as Digest };
    });
    return takeApart(factsOf({ layers: own }), tree, {});
  }

  /** What `work` gives; undefined, and told, where the tag's image cannot be taken apart. */
  async #pass<T>(tag: number, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      this.skipped.push(passOver(error, 'causes of updates of', this.#counting, tag));
      return undefined;
    }
  }
}

/** Each and the next. */
function pairsOf(tags: readonly number[]): (readonly [number, number])[] {
  return tags.slice(1).map((to, i) => [tags[i] as number, to] as const);
}

/** What is put down to a component so far. */
interface Share {
  /** Bytes, not rounded. */
  bytes: number;
  files: number;
  /** Whether files of it moved here from another layer. */
  moved: boolean;
}

/** What of a comparison causes are told by. */
type Described = Pick<Compared, 'layers' | 'packages' | 'components'>;

/** Why layers are new, the most bytes first; their sum is the bytes of the new layers' blobs. */
export function causesOf(compared: Described): Cause[] {
  const shares = new Map<string, Share>();
  const blobs = new Set<string>();
  for (const { state, digest, size, causes } of compared.layers) {
    if (state === 'shared' || blobs.has(digest)) continue;
    blobs.add(digest);
    const weighed = causes.map(({ component, files, movedIn, movedOut, bytes }) => {
      const count = countAll(files) + movedIn + movedOut;
      return {
        component,
        count,
        moved: movedIn + movedOut > 0,
        weight: bytes + ENTRY_BYTES * count,
      };
    });
    const whole = weighed.reduce((sum, { weight }) => sum + weight, 0);
    const told = whole > 0 ? weighed : [{ component: ARCHIVE, count: 0, moved: false, weight: 1 }];
    for (const { component: id, count, moved, weight } of told) {
      // To those who ask for causes, directories that layers hold for others' sake are directories like the rest.
      const component = id === PARENTS ? DIRECTORIES.id : id;
      const share = shares.get(component) ?? { bytes: 0, files: 0, moved: false };
      share.bytes += (size * weight) / (whole || 1);
      share.files += count;
      share.moved ||= moved;
      shares.set(component, share);
    }
  }
  return asCauses(shares, compared);
}

const countAll = (files: FileCounts): number =>
  Object.values(files).reduce((sum, count) => sum + count, 0);

function asCauses(shares: ReadonlyMap<string, Share>, compared: Described): Cause[] {
  const sorted = [...shares].sort(([a, x], [b, y]) => y.bytes - x.bytes || (a < b ? -1 : 1));
  const rest = sorted.slice(SHOWN);
  const shown = rest.length > 1 ? sorted.slice(0, SHOWN) : sorted;
  const changes = new Map(compared.components.map(({ id, change }) => [id, change]));
  const causes = shown.map(([component, { bytes, files, moved }]): Cause => {
    const detail = detailOf(component, compared);
    return {
      ...{ component, why: whyOf(component, changes.get(component), moved), bytes, files },
      ...(detail !== undefined && { detail }),
    };
  });
  if (shown.length < sorted.length) {
    const sum = (of: (share: Share) => number): number =>
      rest.reduce((all, [, share]) => all + of(share), 0);
    const detail = `${rest.length} components`;
    const totals = { bytes: sum(({ bytes }) => bytes), files: sum(({ files }) => files) };
    causes.push({ component: OTHERS, why: 'changed', ...totals, detail });
  }
  return inWholeBytes(causes);
}

/** The same in whole bytes, with the same sum. */
function inWholeBytes(causes: readonly Cause[]): Cause[] {
  let [exact, told] = [0, 0];
  return causes.map((cause) => {
    exact += cause.bytes;
    const bytes = Math.round(exact) - told;
    told += bytes;
    return { ...cause, bytes };
  });
}

function whyOf(
  component: string,
  change: Compared['components'][number]['change'] | undefined,
  moved: boolean,
): Cause['why'] {
  if (component === ARCHIVE) return 'rebuilt';
  switch (change) {
    case undefined:
      return moved ? 'moved' : 'metadata';
    case 'added':
    case 'rebuilt':
    case 'metadata':
      return change;
    case 'times':
      return 'metadata';
    default:
      return 'changed';
  }
}

/** The versions of a component's packages; that it is gone, if so. */
function detailOf(id: string, { packages, components }: Described): string | undefined {
  if (id === ARCHIVE)
    return 'no visible file differs, but how they are archived or what later layers hide';
  const own = packages.filter(
    ({ component, from, to }) =>
      component === id && from !== undefined && to !== undefined && from !== to,
  );
  const versions = own.map(({ name, from, to }) =>
    own.length === 1 ? `${from} -> ${to}` : `${name} ${from} -> ${to}`,
  );
  const more = versions.length - SHOWN_PACKAGES;
  if (versions.length > 0)
    return `${versions.slice(0, SHOWN_PACKAGES).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  return components.some((one) => one.id === id && one.change === 'removed')
    ? 'removed'
    : undefined;
}
