/** What a tag needs of its store: every blob once, the images that it offers, what is attached to them. */
import { type Digest, isIndexType, isManifestType } from '../oci.ts';
import {
  type BlobFacts,
  type DocumentFacts,
  hasImageConfig,
  isForeign,
  type ManifestFacts,
} from './facts.ts';
import type { AttachedReport } from './report.ts';
import type { SurveyedRepository } from './survey.ts';

/** One image as a tag offers it. */
export interface NeededImage {
  readonly manifest: ManifestFacts;
  /** `os/architecture[/variant]`, or `artifact` for what is no container image. */
  readonly platform: string;
  readonly created?: string | undefined;
  readonly diffIds: readonly Digest[];
  readonly createdBy: readonly string[];
  /** Manifest, config and distinct layers, bytes. */
  readonly size: number;
}

/** What a digest leads to. */
export interface Needs {
  /** Sizes by digest, layers that no registry stores left out. */
  readonly blobs: ReadonlyMap<Digest, number>;
  /** Of `blobs`, layers. */
  readonly layers: ReadonlySet<Digest>;
  readonly images: readonly NeededImage[];
  readonly attached: readonly AttachedReport[];
  /** Manifests and configs that it names and that were not found, or lie too deep below indexes. */
  readonly missing: readonly Digest[];
  /** Bytes as if its images shared nothing. */
  readonly logical: number;
}

/** What an image is called that runs on no platform. */
export const ARTIFACT = 'artifact';

/** What is looked up while a digest is followed. */
export interface Place {
  readonly documents: ReadonlyMap<Digest, DocumentFacts>;
  readonly repository: Pick<SurveyedRepository, 'attached' | 'standIns'>;
  /** What the store is known to hold, by which foreign layers that were pushed are told from others. */
  readonly held?: ReadonlyMap<Digest, number> | undefined;
}

/** What `root` leads to in a repository; documents that are missing need nothing. */
export function needsOf(root: Digest, place: Place): Needs {
  const gathering = new Gathering(place);
  gathering.add(root);
  return gathering;
}

class Gathering implements Needs {
  readonly blobs: Map<Digest, number> = new Map();
  readonly layers: Set<Digest> = new Set();
  readonly images: NeededImage[] = [];
  readonly attached: AttachedReport[] = [];
  logical = 0;
  readonly #place: Place;
  readonly #seen: Set<Digest> = new Set();
  readonly #missing: Set<Digest> = new Set();

  constructor(place: Place) {
    this.#place = place;
  }

  get missing(): readonly Digest[] {
    return [...this.#missing];
  }

  /** Follows an image or an index of images. */
  add(digest: Digest, platform?: string): void {
    const facts = this.#place.documents.get(digest);
    if (!facts) this.#missing.add(digest);
    if (!facts || facts.kind === 'config') return;
    if (this.#seen.has(digest)) {
      this.#addPlatform(digest, platform);
      return;
    }
    this.#seen.add(digest);
    if (facts.kind === 'manifest') {
      this.#addImage(facts, platform);
    } else {
      this.#keep(facts);
      this.logical += facts.size;
      for (const entry of facts.entries) {
        if (!isManifestType(entry.mediaType) && !isIndexType(entry.mediaType)) continue;
        if (entry.attests === undefined) this.add(entry.digest, entry.platform);
        else this.#attach(entry.digest, 'index');
      }
    }
    this.#attachAll(digest);
  }

  /** Adds an image once more where an index offers it for another platform, too: what it needs is counted. */
  #addPlatform(digest: Digest, platform: string | undefined): void {
    const known = this.images.filter(({ manifest }) => manifest.digest === digest);
    const [first] = known;
    if (!first || !platform || first.platform === ARTIFACT) return;
    if (known.every((one) => one.platform !== platform)) this.images.push({ ...first, platform });
  }

  #addImage(manifest: ManifestFacts, platform: string | undefined): void {
    const config = this.#place.documents.get(manifest.config.digest);
    const told = config?.kind === 'config' ? config : undefined;
    const isImage = told !== undefined || hasImageConfig(manifest);
    if (isImage && !told) this.#missing.add(manifest.config.digest);
    const size = this.#keepManifest(manifest);
    this.logical += size;
    this.images.push({
      manifest,
      // An artifact's config says nothing, and indexes name a platform for want of a better word.
      platform: (isImage && (platform ?? told?.platform)) || ARTIFACT,
      created: told?.created,
      diffIds: told?.diffIds ?? [],
      createdBy: told?.createdBy ?? [],
      size,
    });
  }

  #attachAll(subject: Digest): void {
    const { attached, standIns } = this.#place.repository;
    const standIn = standIns?.get(subject);
    if (standIn !== undefined) this.#attach(standIn, 'tag');
    // Registries, directories and layouts list them in orders of their own.
    const all = [...(attached.get(subject) ?? [])].sort(
      (a, b) => compare(a.by, b.by) || compare(a.digest, b.digest),
    );
    for (const { digest, by } of all) this.#attach(digest, by);
  }

  #attach(digest: Digest, by: AttachedReport['by']): void {
    const facts = this.#place.documents.get(digest);
    if (!facts || facts.kind === 'config' || this.#seen.has(digest)) return;
    this.#seen.add(digest);
    if (facts.kind === 'manifest') {
      const size = this.#keepManifest(facts);
      this.logical += size;
      this.attached.push({ digest, type: facts.type, by, size });
    } else {
      this.#keep(facts);
      this.logical += facts.size;
      this.attached.push({ digest, type: facts.mediaType, by, size: facts.size });
      for (const entry of facts.entries) this.#attach(entry.digest, 'referrers');
    }
    this.#attachAll(digest);
  }

  /** Keeps a manifest and all that it names; its bytes, each blob once. */
  #keepManifest(manifest: ManifestFacts): number {
    const own = new Map<Digest, number>();
    const isStored = (blob: BlobFacts): boolean =>
      !isForeign(blob) || this.#place.held?.has(blob.digest) === true;
    for (const blob of [manifest, manifest.config, ...manifest.layers]) {
      if (isStored(blob)) own.set(blob.digest, blob.size);
    }
    for (const [digest, size] of own) this.blobs.set(digest, size);
    for (const layer of manifest.layers) if (isStored(layer)) this.layers.add(layer.digest);
    return [...own.values()].reduce((sum, size) => sum + size, 0);
  }

  #keep({ digest, size }: BlobFacts): void {
    this.blobs.set(digest, size);
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
