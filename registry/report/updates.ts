/** What nodes pull: from tag to tag, from every tag to every other, and with what they hold. */
import type { CountedTag, Counting } from './counting.ts';
import { areVersions, compareVersions, streamOf } from './order.ts';
import { MATRIX_LIMIT, type Matrix, type NodeReport, type UpdateReport } from './report.ts';
import { attachedTo } from './survey.ts';

/** Cells of all matrices of a report together. */
const CELL_LIMIT = 1_000_000;
const BITS_PER_MEGABIT = 1e6;
const BITS_PER_BYTE = 8;

/** Layers of a tag's image for one platform, as indexes, lowest first; undefined where it has none. */
export function layersOf(counting: Counting, tag: number, platform: string): number[] | undefined {
  const image = counting.tags[tag]?.needs.images.find((one) => one.platform === platform);
  return image?.manifest.layers.map(({ digest }) => counting.layerOf.get(digest) as number);
}

/** Platforms of a tag, each once, in the order of its images. */
export function platformsOf({ needs }: CountedTag): string[] {
  return [...new Set(needs.images.map(({ platform }) => platform))];
}

/** Tags of one stream that have an image for a platform, each after the one that it updates, each digest under one name. */
export interface Stream {
  readonly platform: string;
  readonly tags: readonly number[];
}

/** A repository's tags without those of signatures and the like, whose image has no tag or is gone. */
function imageTagsOf({ repositories, tags }: Counting, repository: number): number[] {
  const all = repositories[repository]?.tags ?? [];
  return all.filter((at) => !attachedTo(tags[at]?.tag ?? ''));
}

/**
 * The streams of a repository, each in the order of its versions where its names are versions, else oldest first: patches of an older line
 * are made after the next. A name without a number (`latest`) is a stream of its own, or in none where it stands for what a numbered tag names.
 */
export function streamsOf(counting: Counting, repository: number): Stream[] {
  const tags = imageTagsOf(counting, repository);
  const nameOf = (at: number): string => counting.tags[at]?.tag ?? '';
  const { '': unnumbered = [], ...numbered } = Object.groupBy(tags, (at) => streamOf(nameOf(at)));
  const streams = Object.values(numbered).map((all = []) => {
    const own = distinct(counting, all);
    if (!areVersions(own.map(nameOf))) return own;
    return own.toSorted((a, b) => compareVersions(nameOf(a), nameOf(b)));
  });
  const known = new Set(streams.flat().map((at) => counting.tags[at]?.root));
  const others = distinct(counting, unnumbered).filter((at) => !known.has(counting.tags[at]?.root));
  return [...streams, ...others.map((at) => [at])].flatMap((own) => byPlatform(counting, own));
}

/** `tags` with each digest once, under the name that tells most (`1.2.3` rather than `1.2` or `latest`), the first of equals. */
function distinct(counting: Counting, tags: readonly number[]): number[] {
  const numbersIn = (at: number): number => counting.tags[at]?.tag.match(/\d+/g)?.length ?? 0;
  const best = new Map<string, number>();
  for (const at of tags) {
    const { root } = counting.tags[at] as CountedTag;
    const known = best.get(root);
    if (known === undefined || numbersIn(at) > numbersIn(known)) best.set(root, at);
  }
  return tags.filter((at) => best.get(counting.tags[at]?.root ?? '') === at);
}

function byPlatform(counting: Counting, tags: readonly number[]): Stream[] {
  const found = new Map<string, number[]>();
  for (const at of tags) {
    for (const platform of platformsOf(counting.tags[at] as CountedTag)) {
      const own = found.get(platform);
      if (own) own.push(at);
      else found.set(platform, [at]);
    }
  }
  return [...found].map(([platform, own]) => ({ platform, tags: own }));
}

function sizeOf(counting: Counting, layers: Iterable<number>): number {
  let sum = 0;
  for (const layer of layers) sum += counting.layers[layer]?.blob.size ?? 0;
  return sum;
}

/** Every update of every repository from one tag to the next of its stream; those of a stream follow each other. */
export function updatesOf(counting: Counting): UpdateReport[] {
  return counting.repositories.flatMap((_, repository) =>
    streamsOf(counting, repository).flatMap(({ platform, tags }) =>
      tags.slice(1).map((to, i) => {
        const from = tags[i] as number;
        const pull = pullOf(counting, { from, to, platform });
        return { repository, platform, from, to, ...pull };
      }),
    ),
  );
}

function pullOf(
  counting: Counting,
  { from, to, platform }: { readonly from: number; readonly to: number; readonly platform: string },
): Pick<UpdateReport, 'layers' | 'bytes' | 'chainBytes' | 'total'> {
  const old = layersOf(counting, from, platform) ?? [];
  const next = layersOf(counting, to, platform) ?? [];
  const has = new Set(old);
  const wanted = new Set(next);
  const news = [...wanted].filter((layer) => !has.has(layer));
  const first = next.findIndex((layer, i) => layer !== old[i]);
  const above = new Set(first < 0 ? [] : next.slice(first));
  return {
    layers: { kept: wanted.size - news.length, new: news.length },
    bytes: sizeOf(counting, news),
    chainBytes: sizeOf(counting, above),
    total: sizeOf(counting, wanted),
  };
}

/** What every tag costs from every other, for repositories with two tags or more. */
export function matricesOf(counting: Counting): Matrix[] {
  const wanted = counting.repositories.flatMap((_, repository) =>
    byPlatform(counting, distinct(counting, imageTagsOf(counting, repository))).flatMap((one) =>
      one.tags.length < 2 ? [] : [{ repository, ...one }],
    ),
  );
  const most = Math.min(MATRIX_LIMIT, Math.floor(Math.sqrt(CELL_LIMIT / wanted.length)));
  return wanted.map(({ repository, platform, tags }) => {
    const shown = tags.slice(-Math.max(most, 2));
    return { repository, platform, tags: shown, bytes: pulls(counting, shown, platform) };
  });
}

function pulls(counting: Counting, tags: readonly number[], platform: string): number[][] {
  const sizes = counting.layers.map(({ blob }) => blob.size);
  const wanted = tags.map((tag) => [...new Set(layersOf(counting, tag, platform))]);
  const has = new Uint8Array(sizes.length);
  return wanted.map((held) => {
    for (const layer of held) has[layer] = 1;
    const row = wanted.map((layers) => {
      let bytes = 0;
      for (const layer of layers) if (has[layer] === 0) bytes += sizes[layer] as number;
      return bytes;
    });
    for (const layer of held) has[layer] = 0;
    return row;
  });
}

/** What a node that holds `holds` pulls for every other tag that has an image for `platform`. */
export function nodeOf(
  counting: Counting,
  holds: readonly number[],
  { platform, mbit }: { readonly platform: string; readonly mbit?: number | undefined },
): NodeReport {
  const has = new Set(holds.flatMap((tag) => layersOf(counting, tag, platform) ?? []));
  const pulled = counting.tags.flatMap((_, tag) => {
    const layers = holds.includes(tag) ? undefined : layersOf(counting, tag, platform);
    if (!layers) return [];
    const news = [...new Set(layers)].filter((layer) => !has.has(layer));
    const bytes = sizeOf(counting, news);
    const seconds = mbit && (bytes * BITS_PER_BYTE) / (mbit * BITS_PER_MEGABIT);
    return [{ tag, bytes, layers: news.length, ...(seconds !== undefined && { seconds }) }];
  });
  return { holds, platform, ...(mbit !== undefined && { mbit }), pulls: pulled };
}
