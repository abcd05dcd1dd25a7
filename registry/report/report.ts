/**
 * A layer dedup report as plain data: what registries and layouts hold, what is shared, what an update and a deletion
 * come to. Everything that shows a report (terminal, Markdown, JSON, HTML) takes a `Report` and nothing else.
 *
 * Rules that hold throughout:
 * - Numbers are plain JSON numbers; sizes are bytes, below 2^53. Without further words a size is of stored (compressed) bytes.
 * - `tags`, `repositories`, `layers` and `stores` are referred to by their index in the report's list.
 * - A *store* is what keeps a blob once for all its repositories: one registry host, one layout, one storage directory. What
 *   lies in two stores is stored twice.
 * - A tag's bytes are all that it needs: its index, the manifests, configs and layers of every platform, and what is attached to
 *   them (signatures, SBOMs, attestations).
 * - An optional field is absent where the depth of the survey, or the kind of its target, cannot tell it; never 0 for unknown.
 */
import type { Digest } from '../oci.ts';

/** Number that stands for the shape of a report; grows when a field changes its meaning or goes. */
export const REPORT_VERSION = 1;

/** How deep a survey looked: manifests and configs only, or each unique layer's files too. */
export type Depth = 'manifests' | 'files';

/** Bytes as stored and, only where known of all parts, as unpacked. */
export interface Bytes {
  readonly compressed: number;
  readonly uncompressed?: number;
}

/** The figures that answer most questions; `stored` <= `logical`. */
export interface Headline {
  readonly repositories: number;
  readonly tags: number;
  /** Image manifests by distinct digest. */
  readonly images: number;
  /** Distinct blobs, manifests among them, summed over stores. */
  readonly blobs: number;
  /** All bytes of every tag, as if nothing were shared. */
  readonly logical: Bytes;
  /** Each blob that a tag needs, once for each store. */
  readonly stored: Bytes;
  /** Of `stored`, layers. */
  readonly layers: Bytes;
  /** Each file's content once, over all stores (depth `files`); `compressed` in proportion to the compression of a layer that has it. */
  readonly uniqueFiles?: Bytes;
  /** What would be stored after rechunking (what-if). */
  readonly rechunked?: Bytes;
}

/** Sizes of a set of tags: `total` = `unique` + `shared`, each blob counted once within the set. */
export interface Share {
  readonly total: Bytes;
  /** Bytes that some other tag of the store needs too. */
  readonly shared: Bytes;
  /** Bytes freed if the set is deleted and garbage is collected. */
  readonly unique: Bytes;
}

/** One repository. */
export interface RepositoryReport extends Share {
  /** With its registry's host, as users write it: `host/name`; for a layout, its directory. */
  readonly name: string;
  /** Index into `stores`. */
  readonly store: number;
  /** Indexes into `tags`, oldest first. */
  readonly tags: readonly number[];
  /** All tags as if nothing were shared. */
  readonly logical: Bytes;
  /** The twenty that share most with it, most bytes first; blobs that over 300 repositories need are left out. */
  readonly sharedWith: readonly { readonly repository: number; readonly bytes: number }[];
  /** A storage directory's links of this repository to layers, and of these, links that no manifest needs. */
  readonly links?: { readonly layers: number; readonly stale: number };
}

/** One image of a tag: what one platform pulls. */
export interface ImageReport {
  readonly digest: Digest;
  /** `os/architecture[/variant]`, or `artifact` for what is no container image. */
  readonly platform: string;
  /** Indexes into `layers`, lowest first; a layer that an image has twice is there twice. */
  readonly layers: readonly number[];
  /** Distinct layers, bytes. */
  readonly size: Bytes;
  /** Its manifest, bytes. */
  readonly manifestSize: number;
}

/** Something that belongs to an image without being one: signature, SBOM, attestation. */
export interface AttachedReport {
  readonly digest: Digest;
  /** Its artifact type, else its config's media type. */
  readonly type: string;
  /** How it was found. */
  readonly by: 'referrers' | 'tag' | 'index';
  /** Its manifest, config and layers, bytes. */
  readonly size: number;
}

/** One tag. `total` = `unique` + `sharedInRepository` + `sharedAcross`. */
export interface TagReport {
  readonly repository: number;
  readonly tag: string;
  /** What the tag names: a manifest or an index. */
  readonly digest: Digest;
  /** Newest `created` of its images' configs, RFC 3339; absent if none says so. */
  readonly created?: string;
  /** `os/architecture[/variant]` of its images, in the index's order. */
  readonly platforms: readonly string[];
  readonly images: readonly ImageReport[];
  readonly attached?: readonly AttachedReport[];
  readonly total: Bytes;
  /** Needed by other tags of this repository only. */
  readonly sharedInRepository: Bytes;
  /** Needed by tags of other repositories of the store. */
  readonly sharedAcross: Bytes;
  /** Freed if this tag alone goes; 0 where another tag names the same digest. */
  readonly unique: Bytes;
}

/** One layer blob. The list is sorted by the first tag that has it, then by its place in the image. */
export interface LayerReport {
  readonly digest: Digest;
  readonly diffId?: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly uncompressed?: number;
  /** Indexes into `tags`, ascending. */
  readonly tags: readonly number[];
  /** The stores that hold it (indexes). */
  readonly stores: readonly number[];
  /** The history's `created_by` of the first image that has it; at most 200 characters. */
  readonly createdBy?: string;
}

/** Why bytes of an update are new. */
export interface Cause {
  /** A component's id, such as `rpm:glibc`. */
  readonly component: string;
  readonly why: 'changed' | 'added' | 'moved' | 'metadata' | 'rebuilt';
  /** Compressed bytes of the update that are put down to it. */
  readonly bytes: number;
  readonly files?: number;
  /** What is known beyond that, such as `1.2-3 -> 1.2-4`. */
  readonly detail?: string;
}

/**
 * What a node that has one tag pulls for the next one of the repository, on one platform. Next is next of the same stream (`3.19-slim` and
 * `3.20-slim`, not `3.20-alpine`); of tags with one digest only the name that tells most counts (`1.2.3`, not `1.2` or `latest`). Manifests and configs are not in the bytes.
 */
export interface UpdateReport {
  readonly repository: number;
  readonly platform: string;
  /** Indexes into `tags`. */
  readonly from: number;
  readonly to: number;
  /** Distinct layers of `to`. */
  readonly layers: { readonly kept: number; readonly new: number };
  /** Bytes of new layers: what podman, containerd and bootc pull. */
  readonly bytes: number;
  /** Bytes of all layers above the first one that differs: what Docker's graph drivers pull. */
  readonly chainBytes: number;
  /** All layers of `to`: what a node without anything pulls. */
  readonly total: number;
  /** Bytes of files whose content `from` lacks, in proportion to their layers' compression (depth `files`). */
  readonly floor?: number;
  readonly causes?: readonly Cause[];
}

/** What every tag of a repository costs from every other one, on one platform. */
export interface Matrix {
  readonly repository: number;
  readonly platform: string;
  /** Indexes into `tags`, oldest first; the newest `MATRIX_LIMIT` at most. */
  readonly tags: readonly number[];
  /** `bytes[i][j]`: pulled for `tags[j]` by a node that has `tags[i]`. */
  readonly bytes: readonly (readonly number[])[];
  /** `floor[i][j]`: of `bytes[i][j]`, what files bring whose content `tags[i]` lacks, as `UpdateReport.floor` (depth `files`). */
  readonly floor?: readonly (readonly number[])[];
}

/** Most tags that one matrix holds; fewer where there are many matrices, so that all have a million cells at most. */
export const MATRIX_LIMIT = 500;

/** One diffID that lies under several digests in one store: the same layer compressed in several ways. */
export interface Recompressed {
  readonly diffId: Digest;
  readonly store: number;
  readonly blobs: readonly {
    readonly digest: Digest;
    readonly size: number;
    readonly mediaType: string;
  }[];
  /** All but the smallest, bytes. */
  readonly wasted: number;
}

/** Layers with the same files (content, names, metadata) in tars that differ. */
export interface Retarred {
  /** Indexes into `layers`. */
  readonly layers: readonly number[];
  readonly files: number;
  /** All but the smallest, bytes. */
  readonly wasted: number;
}

/** A blob, or a document, by digest. */
export interface Sized {
  readonly digest: Digest;
  readonly size: number;
}

/** What one store holds that no surveyed tag needs. Only storage directories and layouts can tell. */
export interface Unreferenced {
  readonly store: number;
  /** Why it is not known: a registry's interface cannot list blobs. All below is then empty. */
  readonly unknown?: string;
  /** Blobs that no manifest of the store needs, largest first. Garbage collection frees them. */
  readonly blobs: readonly Sized[];
  /** All of `blobs`, bytes. */
  readonly bytes: number;
  /** Bytes of files that hold what another file holds too (zot without deduplication). */
  readonly copies?: number;
  /** Uploads that were begun and not ended, and what they hold; a registry's directory alone has them. They are in no other figure. */
  readonly uploads?: { readonly count: number; readonly bytes: number };
  /** Manifests that no tag reaches, with the bytes that would be freed with each alone, most first. */
  readonly untagged: readonly (Sized & {
    readonly repository: string;
    readonly bytes: number;
  })[];
  /** Bytes freed if all of `untagged` go. */
  readonly untaggedBytes: number;
  /** Manifests whose subject is not there. */
  readonly dangling: readonly (Sized & {
    readonly repository: string;
    readonly subject: Digest;
  })[];
}

/** What deleting a set of tags frees, all at once; more than the sum of their `unique` where they share. */
export interface Deletion {
  readonly patterns: readonly string[];
  /** Indexes into `tags`. */
  readonly tags: readonly number[];
  readonly freed: Bytes;
  /** Blobs that go, manifests among them. */
  readonly blobs: number;
}

/** What a node that holds some tags pulls for every other one. */
export interface NodeReport {
  /** Indexes into `tags`. */
  readonly holds: readonly number[];
  /** The platform whose images are counted. */
  readonly platform: string;
  /** Megabits (10^6) a second that `seconds` supposes. */
  readonly mbit?: number;
  readonly pulls: readonly {
    readonly tag: number;
    readonly bytes: number;
    readonly layers: number;
    readonly seconds?: number;
  }[];
}

/** A tag beyond what some consumer takes. */
export interface LimitReport {
  readonly tag: number;
  readonly platform?: string;
  /** What is limited, such as `docker-layers` or `registry-layer`. */
  readonly rule: string;
  readonly found: number;
  readonly limit: number;
  /** Who does not take it: names of profiles, or `registries`. */
  readonly consumers: readonly string[];
  /** What breaks, in one sentence. */
  readonly text: string;
}

/** What the index of files tells (depth `files`). */
export interface FilesReport {
  /** Distinct contents. */
  readonly contents: number;
  /** Files over all unique layers. */
  readonly references: number;
  /** Uncompressed bytes of all files of all unique layers, and each content once. */
  readonly bytes: number;
  readonly uniqueBytes: number;
  /** What lies in several places, most wasted first. */
  readonly duplicates: readonly {
    readonly digest: Digest;
    readonly size: number;
    readonly copies: number;
    /** Indexes into `layers`. */
    readonly layers: readonly number[];
    /** (copies - 1) * size, bytes. */
    readonly wasted: number;
    /** Some of its paths, as latin1 names of bytes shown in UTF-8 where they are. */
    readonly paths: readonly string[];
  }[];
  /** Share of contents (0..1, most wasteful first) against share of wasted bytes (0..1), ascending. */
  readonly lorenz: readonly { readonly contents: number; readonly wasted: number }[];
  /** How many contents there are so many times. */
  readonly byCopies: readonly {
    readonly copies: number;
    readonly contents: number;
    readonly bytes: number;
  }[];
  /** Files of an update whose content `from` has at the same path: owner, mode, time or xattrs alone differ, or nothing but the layer. */
  readonly metadataOnly: readonly {
    readonly repository: number;
    readonly platform: string;
    readonly from: number;
    readonly to: number;
    readonly files: number;
    readonly bytes: number;
    /** Of these, files of which nothing differs but the layer that they are in. */
    readonly unchanged: { readonly files: number; readonly bytes: number };
  }[];
}

/** What rechunking would come to, without having pushed anything. */
export interface WhatIf {
  /** Last tags of each stream and platform that were planned. */
  readonly tags: number;
  readonly maxLayers: number;
  /** Of the layers; absent where no tag was planned. */
  readonly compression?: string;
  /** Manifests, configs and layers of those tags’ images, each once for each store, bytes. */
  readonly storage: { readonly now: number; readonly then: number };
  readonly updates: readonly {
    readonly repository: number;
    readonly platform: string;
    readonly from: number;
    readonly to: number;
    readonly now: number;
    readonly then: number;
  }[];
  readonly mean: { readonly now: number; readonly then: number };
  readonly p95: { readonly now: number; readonly then: number };
  /** What a node that has the newest tag of today pulls once when the repository switches, bytes, summed over streams and platforms. */
  readonly firstMigration: number;
}

/** A limit that the user set, and what was found; CI fails where `crossed`, which it is too where there is nothing to hold it against. */
export interface Threshold {
  /** Such as `max-update-bytes`. */
  readonly name: string;
  readonly limit: number;
  /** Absent where there is no update, or the newest is of a tag that cannot be read. */
  readonly found?: number;
  readonly crossed: boolean;
  /** Where `found` was found; without it, the tag that cannot be read. */
  readonly where?: string;
}

/** What could not be read, or is not there: that is in no figure. Of a tag that lacks some blobs the others are. */
export interface Skipped {
  readonly name: string;
  readonly why: string;
}

/** A whole report. */
export interface Report {
  readonly version: typeof REPORT_VERSION;
  readonly depth: Depth;
  /** As the user named them. */
  readonly targets: readonly string[];
  /** When it was made, RFC 3339. */
  readonly generated?: string;
  /** A registry's host, or a directory, by what the targets name. */
  readonly stores: readonly string[];
  readonly headline: Headline;
  readonly repositories: readonly RepositoryReport[];
  /** Repository by repository, oldest first. */
  readonly tags: readonly TagReport[];
  readonly layers: readonly LayerReport[];
  /** Consecutive tags. */
  readonly updates: readonly UpdateReport[];
  readonly matrices: readonly Matrix[];
  readonly recompressed: readonly Recompressed[];
  readonly retarred?: readonly Retarred[];
  readonly unreferenced: readonly Unreferenced[];
  readonly deletion?: Deletion;
  readonly node?: NodeReport;
  readonly limits?: readonly LimitReport[];
  readonly files?: FilesReport;
  readonly whatIf?: WhatIf;
  readonly thresholds?: readonly Threshold[];
  readonly skipped?: readonly Skipped[];
}
