/**
 * Why updates pull what they pull, by component: of each layer that is new, which packages differ in it. A layer's bytes are shared out
 * among them by the uncompressed bytes of their files that differ or moved; the sum of an update's causes is what it pulls.
 */
import { createHash } from 'node:crypto';
import { type Image, openImage, type Source } from '../../registry/image.ts';
import { parsePlatform } from '../../registry/oci.ts';
import { type Counting, layOut } from '../../registry/report/counting.ts';
import type { Cause, Report, Skipped } from '../../registry/report/report.ts';
import type { Memory, Survey } from '../../registry/report/survey.ts';
import { type RunOptions, withContext } from '../context.ts';
import { type Compared, compareRead, type Read, readImage } from '../diff/diff.ts';
import type { FileCounts } from '../diff/files.ts';
import { shareLayers } from '../load.ts';
import { SOURCES } from '../version.ts';
import { type OpenSurveyed, passOver, type Series, seriesOf, surveyed } from './series.ts';

/** What is looked at. */
export interface CausesOptions {
  /** Updates of each stream, the newest; at least 1. */
  readonly updates: number;
  /** Only images for it; default all. */
  readonly platform?: string | undefined;
  /** Opens an image of the survey; it is closed here. */
  readonly open: OpenSurveyed;
  readonly run?: RunOptions;
  /** What earlier reports found, by the digests of both images; default none. */
  readonly memory?: Memory | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Components that are told of one update; what the rest comes to is one cause more. */
const SHOWN = 20;
/** What stands for components that are not told. */
const OTHERS = '(others)';
/** Why a layer is new in which nothing differs that is seen. */
const ARCHIVE = '(archive)';
/** Bytes that a file weighs besides its content. */
const ENTRY_BYTES = 512;
/** Packages of one component whose versions are told. */
const SHOWN_PACKAGES = 3;

/**
 * `report` on `survey` with the causes of the newest updates. Images that cannot be read are told under `skipped`. Throws where a run is
 * interrupted, or a store cannot be reached.
 */
export async function withCauses(
  report: Report,
  survey: Survey,
  options: CausesOptions,
): Promise<Report> {
  const counting = layOut(survey);
  const finder = new Finder(counting, options);
  const all = seriesOf(counting, { ...options, tags: options.updates + 1 });
  const total = all.reduce((sum, { tags }) => sum + tags.length, 0);
  let done = 0;
  for (const series of all) await finder.run(series, () => options.onProgress?.(++done, total));
  const skipped = [...(report.skipped ?? []), ...finder.skipped];
  const updates = report.updates.map((update) => {
    const { platform, from, to } = update;
    const causes = finder.found.get(keyOf(platform, from, to));
    return causes ? { ...update, causes } : update;
  });
  return { ...report, updates, ...(skipped.length > 0 && { skipped }) };
}

const keyOf = (platform: string, from: number, to: number): string => `${from} ${to} ${platform}`;

/** Reads series of images, and keeps the causes of the updates from one to the next. */
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

  /** Finds the causes of the updates of a series that are not remembered. */
  async run({ tags, platform, ...series }: Series, onDone: () => void): Promise<void> {
    const wanted = new Set<number>();
    for (const [i, to] of tags.slice(1).entries()) {
      const from = tags[i] as number;
      const causes = await this.#recall(platform, from, to);
      if (causes) this.found.set(keyOf(platform, from, to), causes);
      else {
        this.#missing.add(keyOf(platform, from, to));
        wanted.add(from).add(to);
      }
    }
    const own = tags.filter((tag) => wanted.has(tag));
    for (let i = own.length; i < tags.length; i++) onDone();
    if (own.length > 0) await this.#read({ ...series, platform, tags: own }, onDone);
  }

  async #recall(platform: string, from: number, to: number): Promise<Cause[] | undefined> {
    const key = this.#memoryKey(platform, from, to);
    const bytes = key === undefined ? undefined : await this.#options.memory?.read(key);
    return bytes && (JSON.parse(Buffer.from(bytes).toString()) as Cause[]);
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

  /** Reads each image once, and each layer that several have once; an image that cannot be read is passed over. */
  async #read({ tags, platform }: Series, onDone: () => void): Promise<void> {
    const hostPlatform = parsePlatform(platform);
    const sources: Source[] = [];
    const images = new Map<number, Image>();
    try {
      for (const tag of tags) {
        await this.#pass(tag, async () => {
          const source = await this.#options.open(surveyed(this.#counting, tag, platform));
          sources.push(source);
          images.set(tag, await openImage(source, { hostPlatform }));
        });
      }
      await withContext(this.#options.run ?? {}, async (context) => {
        const reading = { ...context, shared: shareLayers([...images.values()]) };
        let last: { readonly read: Read | undefined; readonly tag: number } | undefined;
        for (const tag of tags) {
          const image = images.get(tag);
          const read = image && (await this.#pass(tag, () => readImage(image, {}, reading)));
          if (last?.read && read && this.#missing.has(keyOf(platform, last.tag, tag)))
            this.#keep(platform, last.tag, tag, causesOf(compareRead(last.read, read)));
          last = { read, tag };
          onDone();
        }
      });
    } finally {
      for (const source of sources) await source.close();
    }
  }

  /** What `work` gives; undefined, and told, where the tag's image cannot be read. */
  async #pass<T>(tag: number, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      this.skipped.push(passOver(error, 'causes of updates of', this.#counting, tag));
      return undefined;
    }
  }
}

/** What is put down to a component so far. */
interface Share {
  /** Bytes, not rounded. */
  bytes: number;
  files: number;
  /** Whether files of it moved here from another layer. */
  moved: boolean;
}

/** Why layers are new, the most bytes first; their sum is the bytes of the new layers' blobs. */
export function causesOf(compared: Compared): Cause[] {
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
    for (const { component, count, moved, weight } of told) {
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

function asCauses(shares: ReadonlyMap<string, Share>, compared: Compared): Cause[] {
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
function detailOf(id: string, { packages, components }: Compared): string | undefined {
  if (id === ARCHIVE) return 'no file differs, only how they are archived';
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
