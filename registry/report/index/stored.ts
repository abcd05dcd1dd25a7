/** The layers and images of a survey as the index wants them: how each layer's blob is opened, wherever its store is. */
import { stat } from 'node:fs/promises';
import { fileBlob } from '../../blob.ts';
import { type ClientOptions, RegistryClient } from '../../client.ts';
import { remoteBlob } from '../../download.ts';
import { RechunkError } from '../../errors.ts';
import type { Blob } from '../../image.ts';
import { getManifest } from '../../manifest.ts';
import { type Annotations, type Descriptor, type Digest, parseManifest } from '../../oci.ts';
import { type CountedRepository, layOut } from '../counting.ts';
import { isForeign, isLayerOfFiles, type ManifestFacts } from '../facts.ts';
import { LocalDocuments } from '../localstore.ts';
import type { NeededImage } from '../needs.ts';
import type { Survey, SurveyedStore } from '../survey.ts';
import type { LayerSource } from './read.ts';
import type { IndexedImage, IndexedTag } from './snapshot.ts';

/** What a survey comes to; close it when the layers are read. */
export interface StoredLayers {
  /** Tags with those of their images that have layers, oldest first. */
  readonly tags: readonly IndexedTag[];
  /** Every layer of every image; one may come several times. */
  readonly layers: readonly LayerSource[];
  /** What the manifest of an image says of its layers, lowest first; `repository` as reports name it. */
  describe(repository: string, manifest: ManifestFacts): Promise<readonly Descriptor[]>;
  close(): Promise<void>;
}

/** The layers of what was surveyed; `remote` says how registries are reached. Nothing is read yet. */
export function storedLayers(survey: Survey, remote: ClientOptions): StoredLayers {
  const counting = layOut(survey);
  const places = new Map<CountedRepository, Place>();
  const layers: LayerSource[] = [];
  const tags = counting.tags.map(({ repository: at, tag, needs }): IndexedTag => {
    const repository = counting.repositories[at] as CountedRepository;
    const store = survey.stores[repository.store] as SurveyedStore;
    const place = places.get(repository) ?? new Place(store, repository.found.name, remote);
    places.set(repository, place);
    const name = `${repository.found.name}:${tag}`;
    const images = needs.images.filter(isImage);
    for (const image of images) layers.push(...sourcesOf(image, name, place));
    return { repository: repository.found.name, tag, images: images.map(imageOf) };
  });
  const byName = new Map([...places].map(([{ found }, place]) => [found.name, place]));
  const describe: StoredLayers['describe'] = async (repository, manifest) =>
    (await byName.get(repository)?.describe(manifest)) ?? [];
  const close = async (): Promise<void> => {
    await Promise.all([...places.values()].map((place) => place.close()));
  };
  return { tags, layers, describe, close };
}

/** Whether the image's config says what its layers are, and they are files'. */
function isImage({ manifest: { layers }, diffIds }: NeededImage): boolean {
  return diffIds.length > 0 && diffIds.length === layers.length && layers.every(isLayerOfFiles);
}

function imageOf({ manifest, platform, created, diffIds }: NeededImage): IndexedImage {
  const layers = manifest.layers.map((descriptor, i) => {
    return { descriptor, diffId: diffIds[i] as Digest };
  });
  return { digest: manifest.digest, platform, layers, ...(created !== undefined && { created }) };
}

function sourcesOf({ manifest, diffIds }: NeededImage, name: string, place: Place): LayerSource[] {
  return manifest.layers.flatMap((descriptor, i) => {
    const diffId = diffIds[i] as Digest;
    if (isForeign(descriptor)) return [];
    return {
      diffId,
      descriptor,
      name: `layer ${i + 1} of ${name}`,
      place: place.name,
      open: () => place.open(descriptor),
      annotations: () => place.annotations(manifest, descriptor.digest),
    };
  });
}

/** One repository of a store. */
class Place {
  readonly name: string;
  readonly #store: SurveyedStore;
  readonly #remote: ClientOptions;
  #client: RegistryClient | undefined;
  readonly #manifests = new Map<Digest, Promise<readonly Descriptor[]>>();

  constructor(store: SurveyedStore, name: string, remote: ClientOptions) {
    this.#store = store;
    this.name = name;
    this.#remote = remote;
  }

  async open(descriptor: Descriptor): Promise<Blob> {
    const { locate } = this.#store;
    if (!locate) return remoteBlob(this.#registry(), this.#repository, descriptor);
    const path = locate(descriptor.digest);
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile()) return fileBlob(path, 0, found.size);
    throw new RechunkError('not-found', `the blob ${descriptor.digest} is not in ${this.name}`);
  }

  /** What the manifest says of a layer beyond what surveys keep. */
  async annotations(manifest: ManifestFacts, layer: Digest): Promise<Annotations> {
    const found = await this.describe(manifest);
    return found.find(({ digest }) => digest === layer)?.annotations ?? {};
  }

  /** The layers as the manifest has them; each manifest is read once. */
  describe(manifest: ManifestFacts): Promise<readonly Descriptor[]> {
    const reading = this.#manifests.get(manifest.digest) ?? this.#read(manifest);
    this.#manifests.set(manifest.digest, reading);
    return reading;
  }

  async #read({ digest, mediaType }: ManifestFacts): Promise<readonly Descriptor[]> {
    const { locate } = this.#store;
    const bytes = locate
      ? await new LocalDocuments(locate).bytes(digest)
      : (await getManifest(this.#registry(), this.#repository, digest)).bytes;
    const parsed = bytes && parseManifest(bytes, mediaType, `${this.name}@${digest}`);
    return parsed?.kind === 'manifest' ? parsed.manifest.layers : [];
  }

  get #repository(): string {
    return this.name.slice(this.#store.name.length + 1);
  }

  #registry(): RegistryClient {
    this.#client ??= new RegistryClient(this.#store.name, this.#repository, this.#remote);
    return this.#client;
  }

  async close(): Promise<void> {
    await this.#client?.close();
  }
}
