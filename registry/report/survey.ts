/**
 * What the targets of a report hold, as it was found: stores, repositories, tags, and the facts of every document that a tag
 * leads to. `figures.ts` counts it.
 *
 * No blob but configs is read. Whoever surveys a store asks for each document once, and remembers facts by digest in a `Memory`.
 */
import type { Digest } from '../oci.ts';
import type { ClientOptions } from '../remote.ts';
import type { DocumentFacts } from './facts.ts';
import type { Skipped } from './report.ts';

/** What was learnt, kept for the next survey; damaged content must read as none. */
export interface Memory {
  read(key: string): Promise<Uint8Array | undefined>;
  write(key: string, bytes: Uint8Array): void;
}

/** How far a survey is. */
export interface SurveyProgress {
  /** What is looked at. */
  readonly name: string;
  /** Tags that are done, and those known so far. */
  readonly done: number;
  readonly total: number;
}

/** How targets are surveyed. */
export interface SurveyOptions {
  /** How registries are reached. */
  readonly remote: ClientOptions;
  readonly memory?: Memory | undefined;
  /** Requests at a time with one registry; 8 by default. */
  readonly requests?: number;
  /** Whether registries are asked what refers to images; by default they are. */
  readonly referrers?: boolean;
  readonly onProgress?: ((progress: SurveyProgress) => void) | undefined;
  readonly onNotice?: ((notice: string) => void) | undefined;
}

/** Something that says by itself which manifest it belongs to. */
export interface Attachment {
  readonly digest: Digest;
  readonly by: 'referrers' | 'tag';
}

/** One repository as it was found. */
export interface SurveyedRepository {
  /** As reports name it. */
  readonly name: string;
  /** Digests by tag, without the tags of what is attached. */
  readonly tags: ReadonlyMap<string, Digest>;
  /** What is attached, by the digest that it is for. */
  readonly attached: ReadonlyMap<Digest, readonly Attachment[]>;
  /** Tags that stand in for the referrers of a digest: the digest, and the index under the tag. */
  readonly standIns?: ReadonlyMap<Digest, Digest>;
  /** Registries only: what something says that it belongs to, which is there though no tag that was surveyed leads to it. */
  readonly present?: ReadonlySet<Digest>;
  /** Storage only: manifests of the repository, tagged or not. */
  readonly revisions?: ReadonlySet<Digest>;
  /** Storage only: layers that the repository links to. */
  readonly links?: ReadonlySet<Digest>;
}

/** One store as it was found. */
export interface SurveyedStore {
  readonly name: string;
  readonly repositories: readonly SurveyedRepository[];
  /** Facts by digest. */
  readonly documents: ReadonlyMap<Digest, DocumentFacts>;
  /** Where on this machine a blob lies, if it is there; absent for registries. */
  readonly locate?: (digest: Digest) => string;
  /** Every blob that it holds, with its size, bytes; absent where it cannot tell. */
  readonly held?: ReadonlyMap<Digest, number>;
  /** Digests that documents name which could not be understood: what may be needed. */
  readonly claimed?: ReadonlySet<Digest>;
  /** Bytes of files that hold what another file holds too (zot without deduplication). */
  readonly copies?: number;
  /** Storage only: uploads that were begun and not ended, and their bytes. */
  readonly uploads?: { readonly count: number; readonly bytes: number };
  /** Why it cannot be told what nothing needs. */
  readonly unknown?: string;
}

/** All that was found. */
export interface Survey {
  readonly targets: readonly string[];
  readonly stores: readonly SurveyedStore[];
  readonly skipped: readonly Skipped[];
}

/** Tags of what cosign attaches: `sha256-HEX.sig`; those without an end stand in for the referrers API. */
const ATTACHED_TAG = /^sha256-([0-9a-f]{64})(\.(?:sig|att|sbom))?$/;

/** What a tag says that it is attached to; undefined for a tag like any other. */
export function attachedTo(
  tag: string,
): { readonly subject: Digest; readonly isStandIn: boolean } | undefined {
  const [, hex, end] = ATTACHED_TAG.exec(tag) ?? [];
  return hex === undefined ? undefined : { subject: `sha256:${hex}`, isStandIn: end === undefined };
}

/** Does `work` for each of `items`, at most `limit` at a time, in their order; the first error ends it. */
export async function eachOf<T>(
  items: Iterable<T>,
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]();
  let failed = false;
  const run = async (): Promise<void> => {
    for (let next = rest.next(); !next.done && !failed; next = rest.next()) {
      try {
        await work(next.value);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, run));
}
