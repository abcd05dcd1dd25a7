/**
 * The survey laid out for counting: tags in order, layers in order, and for each store which tags need which blob. Every figure
 * is a walk over this.
 */
import type { Digest } from '../oci.ts';
import type { BlobFacts } from './facts.ts';
import { type NeededImage, type Needs, needsOf, type Place } from './needs.ts';
import { inTime } from './order.ts';
import type { Weigh } from './sums.ts';
import type { Survey, SurveyedRepository, SurveyedStore } from './survey.ts';

/** A repository with its place. */
export interface CountedRepository {
  readonly found: SurveyedRepository;
  readonly store: number;
  /** Indexes of its tags, oldest first. */
  readonly tags: readonly number[];
}

/** A tag with what it needs. */
export interface CountedTag {
  readonly repository: number;
  readonly store: number;
  readonly tag: string;
  readonly root: Digest;
  readonly created?: string | undefined;
  readonly needs: Needs;
}

/** A layer with what is known of it. */
export interface CountedLayer {
  readonly blob: BlobFacts;
  readonly diffId?: Digest | undefined;
  readonly createdBy: string;
  readonly tags: number[];
  readonly stores: Set<number>;
}

/** A store with what its tags need. */
export interface CountedStore {
  readonly found: SurveyedStore;
  /** Tags by blob, ascending; blobs that the store is known not to hold are left out. */
  readonly users: ReadonlyMap<Digest, readonly number[]>;
  /** Blobs that tags of several repositories need, with these repositories. */
  readonly across: ReadonlyMap<Digest, readonly number[]>;
  readonly weigh: Weigh;
}

/** All of it. */
export interface Counting {
  readonly stores: readonly CountedStore[];
  readonly repositories: readonly CountedRepository[];
  readonly tags: readonly CountedTag[];
  readonly layers: readonly CountedLayer[];
  /** Indexes into `layers`. */
  readonly layerOf: ReadonlyMap<Digest, number>;
  /** Blobs that tags need and their store has not got: the tag, and how many. */
  readonly missing: readonly { readonly tag: number; readonly blobs: number }[];
}

/** Lays `survey` out; `uncompressed` has sizes of layers by diffID, as far as they are known. */
export function layOut(
  survey: Survey,
  uncompressed: ReadonlyMap<Digest, number> = new Map(),
): Counting {
  const tags: CountedTag[] = [];
  const repositories: CountedRepository[] = [];
  for (const [store, { repositories: all, documents, held }] of survey.stores.entries()) {
    for (const found of all) {
      const place = { documents, repository: found, held };
      const own = tagsOf(found, place, { repository: repositories.length, store });
      repositories.push({ found, store, tags: own.map((_, i) => tags.length + i) });
      tags.push(...own);
    }
  }
  const { layers, layerOf } = listLayers(tags);
  const missing: { tag: number; blobs: number }[] = [];
  const unpacked = (digest: Digest): number | undefined => {
    const layer = layers[layerOf.get(digest) ?? -1];
    if (!layer) return undefined;
    const known = layer.diffId && uncompressed.get(layer.diffId);
    return known ?? (/\.tar$/.test(layer.blob.mediaType) ? layer.blob.size : undefined);
  };
  const stores = survey.stores.map((found, i) =>
    countStore(found, i, { tags, layerOf, unpacked, missing }),
  );
  return { stores, repositories, tags, layers, layerOf, missing };
}

function tagsOf(
  found: SurveyedRepository,
  within: Place,
  place: { readonly repository: number; readonly store: number },
): CountedTag[] {
  const known = new Map<Digest, Needs>();
  const needs = (root: Digest): Needs => {
    const made = known.get(root) ?? needsOf(root, within);
    known.set(root, made);
    return made;
  };
  const tags = [...found.tags].map(([tag, root]) => {
    const need = needs(root);
    return { ...place, tag, root, created: newest(need.images), needs: need };
  });
  return inTime(tags);
}

/** The newest time that images tell; none where none tells one that can be read. */
function newest(images: readonly NeededImage[]): string | undefined {
  const told = images.flatMap(({ created }) =>
    created !== undefined && !Number.isNaN(Date.parse(created)) ? [created] : [],
  );
  return told.sort((a, b) => Date.parse(a) - Date.parse(b)).at(-1);
}

function listLayers(tags: readonly CountedTag[]): Pick<Counting, 'layers' | 'layerOf'> {
  const layers: CountedLayer[] = [];
  const layerOf = new Map<Digest, number>();
  for (const [at, { needs, store }] of tags.entries()) {
    for (const { manifest, diffIds, createdBy } of needs.images) {
      const isTold = diffIds.length === manifest.layers.length;
      for (const [i, blob] of manifest.layers.entries()) {
        const told = isTold
          ? { diffId: diffIds[i], createdBy: createdBy[i] ?? '' }
          : { createdBy: '' };
        const known = layers[layerOf.get(blob.digest) ?? -1];
        const layer = known ?? { blob, ...told, tags: [], stores: new Set<number>() };
        if (!known) layerOf.set(blob.digest, layers.push(layer) - 1);
        if (layer.tags.at(-1) !== at) layer.tags.push(at);
        layer.stores.add(store);
      }
    }
  }
  return { layers, layerOf };
}

function countStore(
  found: SurveyedStore,
  store: number,
  context: {
    readonly tags: readonly CountedTag[];
    readonly layerOf: ReadonlyMap<Digest, number>;
    readonly unpacked: (digest: Digest) => number | undefined;
    readonly missing: { tag: number; blobs: number }[];
  },
): CountedStore {
  const { tags, layerOf, unpacked, missing } = context;
  const { held } = found;
  const users = new Map<Digest, number[]>();
  const sizes = new Map<Digest, number>();
  for (const [at, { needs, store: own }] of tags.entries()) {
    if (own !== store) continue;
    let blobs = 0;
    for (const [digest, size] of needs.blobs) {
      if (held && !held.has(digest)) blobs++;
      else if (users.get(digest)?.push(at) === undefined) users.set(digest, [at]);
      sizes.set(digest, held?.get(digest) ?? size);
    }
    if (blobs > 0) missing.push({ tag: at, blobs });
  }
  const weigh: Weigh = (digest) => {
    const size = sizes.get(digest) ?? 0;
    return { size, uncompressed: layerOf.has(digest) ? unpacked(digest) : size };
  };
  const across = new Map<Digest, readonly number[]>();
  for (const [digest, owners] of users) {
    const repositories = repositoriesOf(owners, tags);
    if (repositories.length > 1) across.set(digest, repositories);
  }
  return { found, users, across, weigh };
}

/** The repositories of some tags, which are listed repository by repository. */
function repositoriesOf(owners: readonly number[], tags: readonly CountedTag[]): number[] {
  const repositories: number[] = [];
  for (const at of owners) {
    const repository = tags[at]?.repository;
    if (repository !== undefined && repository !== repositories.at(-1))
      repositories.push(repository);
  }
  return repositories;
}
