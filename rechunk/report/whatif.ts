/**
 * What rechunking would come to: the last tags of each stream are rechunked in order, each continuing the plan of the one before,
 * into a layout of temporary files that holds one image at a time. Nothing is sent anywhere. Sizes are measured, not estimated: the layers
 * are the ones that a build would make.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openImage, type Source } from '../../registry/image.ts';
import { LARGE_TEMP_DIR, makeTempDirectory } from '../../registry/ingest.ts';
import { createLayout, openLayout } from '../../registry/layout.ts';
import { type Digest, parsePlatform } from '../../registry/oci.ts';
import { type Counting, layOut } from '../../registry/report/counting.ts';
import { isForeign } from '../../registry/report/facts.ts';
import { layoutBlobs } from '../../registry/report/localstore.ts';
import type { Report, Skipped, WhatIf } from '../../registry/report/report.ts';
import type { Survey } from '../../registry/report/survey.ts';
import { sweepLayout } from '../../registry/sweep.ts';
import type { RunOptions } from '../context.ts';
import { DEFAULT_MAX_LAYERS } from '../plan.ts';
import { type BuildOptions, rechunk } from '../rechunk.ts';
import { type OpenSurveyed, passOver, type Series, seriesOf, surveyed } from './series.ts';

/** What is tried. */
export interface WhatIfOptions {
  /** Tags of each stream that are planned, the newest; at least 1. */
  readonly tags: number;
  /** Only images for it; default all. */
  readonly platform?: string | undefined;
  /** How images would be rechunked. */
  readonly build?: Omit<
    BuildOptions,
    | 'memory'
    | 'base'
    | 'platform'
    | 'hostPlatform'
    | 'allPlatforms'
    | 'tags'
    | 'trusted'
    | 'dryRun'
    | 'request'
  >;
  readonly run?: RunOptions;
  /** Opens an image of the survey; it is closed here. */
  readonly open: OpenSurveyed;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** The answer, and what could not be rechunked. */
export interface WhatIfResult {
  readonly whatIf: WhatIf;
  /** Whether every image of the survey was rechunked, so that `storage` is of all of them. */
  readonly isWhole: boolean;
  readonly skipped: readonly Skipped[];
}

/** Sizes of blobs by digest. */
type Sizes = ReadonlyMap<Digest, number>;

/** An image as it is and as it would be. */
interface Planned {
  readonly tag: number;
  /** Layers now and then. */
  readonly now: Sizes;
  readonly then: Sizes;
}

/** Rechunks for trial; tags are numbered as in the report on `survey`. Throws where a run is interrupted, or its store cannot be reached. */
export async function whatIf(survey: Survey, options: WhatIfOptions): Promise<WhatIfResult> {
  const counting = layOut(survey);
  const trial = new Trial(counting, options);
  const all = seriesOf(counting, options);
  const total = all.reduce((sum, { tags }) => sum + tags.length, 0);
  let done = 0;
  const updates: WhatIf['updates'][number][] = [];
  let firstMigration = 0;
  for (const series of all) {
    const planned = await trial.run(series, () => options.onProgress?.(++done, total));
    updates.push(...updatesOf(series, planned));
    const newest = planned.at(-1);
    if (newest) firstMigration += pulled(newest.now, newest.then);
  }
  const { skipped, storage, isWhole, compression } = trial;
  const { maxLayers = DEFAULT_MAX_LAYERS } = options.build ?? {};
  const found = {
    ...{ tags: options.tags, maxLayers, storage, updates, firstMigration },
    ...(compression !== undefined && { compression }),
  };
  return { whatIf: { ...found, ...averages(updates) }, isWhole, skipped };
}

/** `report` with the answer. What all tags would be stored in is told where every image was planned. */
export function withWhatIf(report: Report, result: WhatIfResult): Report {
  const { whatIf: found, isWhole } = result;
  const skipped = [...(report.skipped ?? []), ...result.skipped];
  const { now, then } = found.storage;
  const rechunked = { compressed: report.headline.stored.compressed - now + then };
  return {
    ...report,
    headline: { ...report.headline, ...(isWhole && { rechunked }) },
    whatIf: found,
    ...(skipped.length > 0 && { skipped }),
  };
}

/** Where the trial's images lie, one after the other. */
const NAME = 'trial';

/** Rechunks series, and keeps what all of it would store. */
class Trial {
  readonly skipped: Skipped[] = [];
  /** Of the layers that were made. */
  compression: string | undefined;
  readonly #counting: Counting;
  readonly #options: WhatIfOptions;
  /** Blobs by store. */
  readonly #now: Map<Digest, number>[];
  readonly #then: Map<Digest, number>[];

  constructor(counting: Counting, options: WhatIfOptions) {
    this.#counting = counting;
    this.#options = options;
    this.#now = counting.stores.map(() => new Map());
    this.#then = counting.stores.map(() => new Map());
  }

  /** What the planned tags store: manifests, configs and layers of their images, each once for each store. */
  get storage(): WhatIf['storage'] {
    const sum = (stores: readonly Sizes[]): number =>
      stores.reduce((all, sizes) => all + sumOf(sizes), 0);
    return { now: sum(this.#now), then: sum(this.#then) };
  }

  /** Whether every image was rechunked. */
  get isWhole(): boolean {
    return this.#counting.tags.every(({ store, needs }) =>
      needs.images.every(({ manifest }) => this.#now[store]?.has(manifest.digest)),
    );
  }

  /** Rechunks the tags in order; one that cannot be is passed over. */
  async run(series: Series, onDone: () => void): Promise<Planned[]> {
    const { tempDir = LARGE_TEMP_DIR, signal } = this.#options.run ?? {};
    const work = await makeTempDirectory(tempDir, 'rechunk-what-if-');
    const planned: Planned[] = [];
    try {
      for (const tag of series.tags) {
        signal?.throwIfAborted();
        try {
          planned.push(await this.#plan(join(work, 'layout'), series, tag, planned.length > 0));
        } catch (error) {
          this.skipped.push(passOver(error, 'rechunking', this.#counting, tag));
        }
        onDone();
      }
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    return planned;
  }

  async #plan(layout: string, series: Series, tag: number, goesOn: boolean): Promise<Planned> {
    const store = this.#counting.tags[tag]?.store ?? 0;
    const image = surveyed(this.#counting, tag, series.platform);
    const { manifest } = image;
    const source = await this.#options.open(image);
    try {
      await this.#rechunk(source, layout, series.platform, goesOn);
    } finally {
      await source.close();
    }
    await sweepLayout(layout);
    const then = await layersIn(layout);
    const own = [manifest, manifest.config, ...manifest.layers].filter((one) => !isForeign(one));
    for (const { digest, size } of own) this.#now[store]?.set(digest, size);
    for (const { digest, size } of await layoutBlobs(join(layout, 'blobs')))
      this.#then[store]?.set(digest, size);
    return { tag, now: new Map(manifest.layers.map(({ digest, size }) => [digest, size])), then };
  }

  async #rechunk(source: Source, layout: string, platform: string, goesOn: boolean): Promise<void> {
    const { build, run } = this.#options;
    const previous = goesOn ? [await openLayout(layout, NAME)] : [];
    const destination = await createLayout(layout, NAME);
    try {
      const { images } = await rechunk(source, destination, {
        ...build,
        ...run,
        // Of Windows, a release is told with it.
        hostPlatform: parsePlatform(platform.replace(/\(.*\)/, '')),
        memory: { previous },
        // Made a moment ago, by this very program.
        trusted: previous.map(({ root }) => root.descriptor.digest),
      });
      this.compression = images[0]?.compression;
    } finally {
      await destination.close();
      for (const one of previous) await one.close();
    }
  }
}

/** Layers of the trial's image. */
async function layersIn(layout: string): Promise<Sizes> {
  const source = await openLayout(layout, NAME);
  const { layers } = await openImage(source, {});
  await source.close();
  return new Map(layers.map(({ descriptor: { digest, size } }) => [digest, size]));
}

function sumOf(sizes: Sizes): number {
  let sum = 0;
  for (const size of sizes.values()) sum += size;
  return sum;
}

/** Bytes of the layers of `next` that a node with `has` lacks. */
function pulled(has: Sizes, next: Sizes): number {
  let sum = 0;
  for (const [digest, size] of next) if (!has.has(digest)) sum += size;
  return sum;
}

function updatesOf(
  { repository, platform }: Series,
  planned: readonly Planned[],
): WhatIf['updates'] {
  return planned.slice(1).map((to, i) => {
    const from = planned[i] as Planned;
    const [now, then] = [pulled(from.now, to.now), pulled(from.then, to.then)];
    return { repository, platform, from: from.tag, to: to.tag, now, then };
  });
}

const PERCENTILE = 0.95;

function averages(updates: WhatIf['updates']): Pick<WhatIf, 'mean' | 'p95'> {
  const of = (figure: (bytes: readonly number[]) => number): WhatIf['mean'] => ({
    now: figure(updates.map(({ now }) => now)),
    then: figure(updates.map(({ then }) => then)),
  });
  const mean = (bytes: readonly number[]): number =>
    Math.round(bytes.reduce((sum, one) => sum + one, 0) / Math.max(1, bytes.length));
  const p95 = (bytes: readonly number[]): number =>
    [...bytes].sort((a, b) => a - b)[Math.ceil(PERCENTILE * bytes.length) - 1] ?? 0;
  return { mean: of(mean), p95: of(p95) };
}
