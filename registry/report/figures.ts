/**
 * The figures of a report, counted from a survey: pure, a function of what was found and asked. Each is a sum that a script over the
 * manifests can check.
 */
import { RechunkError } from '../errors.ts';
import type { Digest } from '../oci.ts';
import {
  type CountedLayer,
  type CountedRepository,
  type CountedStore,
  type CountedTag,
  type Counting,
  layOut,
} from './counting.ts';
import { ARTIFACT } from './needs.ts';
import {
  type Bytes,
  type Deletion,
  type Headline,
  type ImageReport,
  type LayerReport,
  REPORT_VERSION,
  type Recompressed,
  type Report,
  type RepositoryReport,
  type Skipped,
  type TagReport,
  type Threshold,
} from './report.ts';
import { Sum, sumOf } from './sums.ts';
import type { Survey } from './survey.ts';
import { choose } from './target.ts';
import { type Thresholds, thresholdsOf } from './thresholds.ts';
import { linksOf, unreferencedOf } from './unreferenced.ts';
import { matricesOf, nodeOf, updatesOf } from './updates.ts';

/** What is asked beyond the figures that every report has. */
export interface Questions extends Thresholds {
  /** Patterns of tags, `NAME:TAG` or `TAG`: what goes if all of them are deleted. */
  readonly ifDeleted?: readonly string[];
  /** Patterns of tags that a node holds. */
  readonly holds?: readonly string[];
  /** Whose images the node pulls; by default the platform that most tags have. */
  readonly platform?: string;
  /** Megabits a second of the node's network. */
  readonly mbit?: number;
  /** Uncompressed bytes of layers by diffID, as far as they are known. */
  readonly uncompressed?: ReadonlyMap<Digest, number>;
}

/** Repositories whose sharing is told of each. */
const SHARED_WITH = 20;
/** Repositories that need a blob before who shares it with whom is no news. */
const POPULAR = 300;

/** The report on `survey`, at the depth of manifests. Throws `not-found` where a pattern matches no tag. */
export function makeReport(survey: Survey, questions: Questions = {}): Report {
  const counting = layOut(survey, questions.uncompressed);
  const updates = updatesOf(counting);
  const thresholds = thresholdsOf(updates, counting, { ...questions, skipped: survey.skipped });
  const skipped = [...survey.skipped, ...missingOf(counting)];
  return {
    version: REPORT_VERSION,
    depth: 'manifests',
    targets: survey.targets,
    stores: survey.stores.map(({ name }) => name),
    headline: headlineOf(counting),
    repositories: counting.repositories.map((one, i) => repositoryOf(counting, one, i)),
    tags: counting.tags.map((tag) => tagOf(counting, tag)),
    layers: counting.layers.map((layer) => layerOf(layer, counting)),
    updates,
    matrices: matricesOf(counting),
    recompressed: recompressedOf(counting),
    unreferenced: counting.stores.map(unreferencedOf),
    ...answers(counting, questions),
    ...(thresholds.length > 0 && { thresholds }),
    ...(skipped.length > 0 && { skipped }),
  };
}

/** Throws `not-found` where a pattern of `questions` matches no tag of `survey`, or no image is for its platform, before layers are read for the report. */
export function checkQuestions(
  survey: Survey,
  { ifDeleted = [], holds = [], platform }: Questions,
): void {
  const patterns = [...ifDeleted, ...holds];
  if (patterns.length === 0 && platform === undefined) return;
  const counting = layOut(survey);
  tagsLike(counting, patterns);
  if (platform === undefined) return;
  const images = counting.tags.flatMap(({ needs }) => needs.images);
  const platforms = new Set(images.map((image) => image.platform));
  platforms.delete(ARTIFACT);
  if (platforms.has(platform)) return;
  const there = [...platforms].sort().join(', ') || 'none';
  throw new RechunkError('not-found', `no image is for ${platform}; there are: ${there}`);
}

/** Digests of the layers that some store holds: not of foreign ones, nor of those that are not there. */
export function heldLayers(survey: Survey): ReadonlySet<Digest> {
  const { stores, layerOf } = layOut(survey);
  return new Set(
    stores.flatMap(({ users }) => [...users.keys()].filter((digest) => layerOf.has(digest))),
  );
}

/** `NAME:TAG` of a tag. */
export function fullName(report: Pick<Report, 'repositories' | 'tags'>, tag: number): string {
  const found = report.tags[tag];
  return `${report.repositories[found?.repository ?? -1]?.name}:${found?.tag}`;
}

function missingOf({ missing, tags, repositories, stores }: Counting): Skipped[] {
  const tell = (at: number, count: number, one: string, many: string): Skipped => {
    const { repository, tag } = tags[at] as CountedTag;
    const why = count === 1 ? `a ${one} is not there` : `${count} ${many} are not there`;
    return { name: `${repositories[repository]?.found.name}:${tag}`, why };
  };
  const documents = tags.flatMap(({ needs, store }, at) => {
    const isHeld = stores[store]?.found.held !== undefined;
    // Of a store that lists its blobs these are among the blobs.
    const lost = needs.missing.filter((digest) => !isHeld || !needs.blobs.has(digest));
    const [one, many] = ['manifest or config that it names', 'manifests or configs that it names'];
    return lost.length === 0 ? [] : [tell(at, lost.length, one, many)];
  });
  const blobs = missing.map(({ tag, blobs: count }) =>
    tell(tag, count, 'blob that it needs', 'blobs that it needs'),
  );
  return [...blobs, ...documents];
}

function headlineOf({ stores, repositories, tags, layerOf }: Counting): Headline {
  const logical = new Sum();
  const [stored, layers] = [new Sum(), new Sum()];
  const images = new Set(
    tags.flatMap(({ needs }) => needs.images.map((one) => one.manifest.digest)),
  );
  for (const { store, needs } of tags) addLogical(logical, needs, stores[store] as CountedStore);
  for (const { users, weigh } of stores) {
    for (const digest of users.keys()) {
      stored.add(weigh(digest));
      if (layerOf.has(digest)) layers.add(weigh(digest));
    }
  }
  return {
    repositories: repositories.length,
    tags: tags.length,
    images: images.size,
    blobs: stores.reduce((sum, { users }) => sum + users.size, 0),
    logical: logical.bytes(),
    stored: stored.bytes(),
    layers: layers.bytes(),
  };
}

/** Adds all bytes of a tag, each image by itself. */
function addLogical(sum: Sum, needs: CountedTag['needs'], { weigh }: CountedStore): void {
  let images = 0;
  for (const manifest of new Set(needs.images.map((one) => one.manifest))) {
    for (const digest of new Set(manifest.layers.map((layer) => layer.digest))) {
      const weight = weigh(digest);
      sum.add(weight);
      images += weight.size;
    }
  }
  // Documents and what is attached are stored as they are.
  const rest = needs.logical - images;
  sum.add({ size: rest, uncompressed: rest });
}

function repositoryOf(
  counting: Counting,
  { found, store, tags }: CountedRepository,
  repository: number,
): RepositoryReport {
  const counted = counting.stores[store] as CountedStore;
  const { users, across, weigh } = counted;
  const [logical, total, shared, unique] = [new Sum(), new Sum(), new Sum(), new Sum()];
  const others = new Map<number, number>();
  const blobs = new Set<Digest>();
  for (const at of tags) {
    const { needs } = counting.tags[at] as CountedTag;
    addLogical(logical, needs, counted);
    for (const digest of needs.blobs.keys()) if (users.has(digest)) blobs.add(digest);
  }
  for (const digest of blobs) {
    const weight = weigh(digest);
    total.add(weight);
    const owners = across.get(digest);
    (owners ? shared : unique).add(weight);
    if (!owners || owners.length > POPULAR) continue;
    for (const other of owners)
      if (other !== repository) others.set(other, (others.get(other) ?? 0) + weight.size);
  }
  const links = linksOf(found, counted.found);
  return {
    name: found.name,
    store,
    tags,
    logical: logical.bytes(),
    total: total.bytes(),
    shared: shared.bytes(),
    unique: unique.bytes(),
    sharedWith: [...others]
      .map(([other, bytes]) => ({ repository: other, bytes }))
      .sort((a, b) => b.bytes - a.bytes || a.repository - b.repository)
      .slice(0, SHARED_WITH),
    ...(links && { links }),
  };
}

function tagOf(counting: Counting, tag: CountedTag): TagReport {
  const { users, across: many, weigh } = counting.stores[tag.store] as CountedStore;
  const [total, unique, inside, across] = [new Sum(), new Sum(), new Sum(), new Sum()];
  for (const digest of tag.needs.blobs.keys()) {
    const owners = users.get(digest);
    if (!owners) continue;
    const weight = weigh(digest);
    total.add(weight);
    (owners.length === 1 ? unique : many.has(digest) ? across : inside).add(weight);
  }
  const { attached, images } = tag.needs;
  return {
    repository: tag.repository,
    tag: tag.tag,
    digest: tag.root,
    ...(tag.created !== undefined && { created: tag.created }),
    platforms: images.map(({ platform }) => platform),
    images: images.map((image): ImageReport => {
      const layers = image.manifest.layers.map(({ digest }) => digest);
      return {
        digest: image.manifest.digest,
        platform: image.platform,
        layers: layers.map((digest) => counting.layerOf.get(digest) as number),
        size: sumOf(new Set(layers), weigh),
        manifestSize: image.manifest.size,
      };
    }),
    ...(attached.length > 0 && { attached }),
    total: total.bytes(),
    sharedInRepository: inside.bytes(),
    sharedAcross: across.bytes(),
    unique: unique.bytes(),
  };
}

function layerOf(layer: CountedLayer, counting: Counting): LayerReport {
  const { blob, diffId, createdBy, tags, stores } = layer;
  const [store = 0] = stores;
  const uncompressed = counting.stores[store]?.weigh(blob.digest).uncompressed;
  return {
    digest: blob.digest,
    ...(diffId && { diffId }),
    mediaType: blob.mediaType,
    size: blob.size,
    ...(uncompressed !== undefined && { uncompressed }),
    tags,
    stores: [...stores],
    ...(createdBy && { createdBy }),
  };
}

function recompressedOf({ stores, layers }: Counting): Recompressed[] {
  return stores.flatMap((_, store) => {
    const here = layers.filter((layer) => layer.diffId && layer.stores.has(store));
    const groups = Map.groupBy(here, ({ diffId }) => diffId as Digest);
    return [...groups].flatMap(([diffId, group]) => {
      if (group.length < 2) return [];
      const blobs = group.map(({ blob: { digest, size, mediaType } }) => ({
        digest,
        size,
        mediaType,
      }));
      const sizes = blobs.map(({ size }) => size);
      const wasted = sizes.reduce((sum, size) => sum + size, 0) - Math.min(...sizes);
      return [{ diffId, store, blobs, wasted }];
    });
  });
}

/** What was asked of certain tags. */
function answers(counting: Counting, questions: Questions): Pick<Report, 'deletion' | 'node'> {
  const { ifDeleted, holds, mbit } = questions;
  const deletion = ifDeleted && deletionOf(counting, ifDeleted);
  const platform = questions.platform ?? commonPlatform(counting);
  const held = holds && tagsLike(counting, holds);
  const node = held && nodeOf(counting, held, { platform, mbit });
  return { ...(deletion && { deletion }), ...(node && { node }) };
}

function tagsLike({ tags, repositories }: Counting, patterns: readonly string[]): number[] {
  const names = tags.map(({ repository, tag }) => {
    const name = repositories[repository]?.found.name ?? '';
    return { name, tag };
  });
  return choose(names, patterns);
}

function deletionOf(counting: Counting, patterns: readonly string[]): Deletion {
  const tags = tagsLike(counting, patterns);
  const chosen = new Set(tags);
  const freed = new Sum();
  let blobs = 0;
  for (const { users, weigh } of counting.stores) {
    for (const [digest, owners] of users) {
      if (!owners.every((at) => chosen.has(at))) continue;
      freed.add(weigh(digest));
      blobs++;
    }
  }
  const bytes: Bytes = freed.bytes();
  return { patterns, tags, freed: bytes, blobs };
}

function commonPlatform({ tags }: Counting): string {
  const counts = new Map<string, number>();
  for (const { needs } of tags)
    for (const { platform } of needs.images) counts.set(platform, (counts.get(platform) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0]?.[0] ?? '';
}

/** Whether a limit that was set is crossed. */
export function isCrossed({ thresholds }: Pick<Report, 'thresholds'>): boolean {
  return (thresholds ?? []).some(({ crossed }: Threshold) => crossed);
}
