/** What a store holds that no tag needs, and links of repositories that lead nowhere. */
import type { Digest } from '../oci.ts';
import type { CountedStore } from './counting.ts';
import { needsOf } from './needs.ts';
import type { RepositoryReport, Sized, Unreferenced } from './report.ts';
import { attachedTo, type SurveyedRepository, type SurveyedStore } from './survey.ts';

/** A manifest that no tag reaches, and what it needs. */
interface Untagged {
  readonly digest: Digest;
  readonly repository: string;
  readonly blobs: readonly Digest[];
}

/** What `counted` holds beyond what its tags need. */
export function unreferencedOf(counted: CountedStore, store: number): Unreferenced {
  const { found } = counted;
  const dangling = found.repositories.flatMap((repository) => danglingOf(repository, found));
  if (!found.held || found.unknown !== undefined) {
    const unknown = found.unknown ?? 'the store does not list its blobs';
    return { store, unknown, blobs: [], bytes: 0, untagged: [], untaggedBytes: 0, dangling };
  }
  const sizes = found.held;
  const sum = (digests: Iterable<Digest>): number =>
    [...digests].reduce((all, digest) => all + (sizes.get(digest) ?? 0), 0);
  const lost = found.repositories.flatMap((repository) => untaggedOf(repository, counted));
  const users = new Map<Digest, number>();
  for (const { blobs } of lost)
    for (const digest of blobs) users.set(digest, (users.get(digest) ?? 0) + 1);
  const untagged = lost.map(({ digest, repository, blobs }) => {
    const bytes = sum(blobs.filter((blob) => users.get(blob) === 1));
    return { digest, size: sizes.get(digest) ?? 0, repository, bytes };
  });
  const isNeeded = (digest: Digest): boolean =>
    counted.users.has(digest) || users.has(digest) || found.claimed?.has(digest) === true;
  const blobs = [...sizes].flatMap(([digest, size]) =>
    isNeeded(digest) ? [] : [{ digest, size }],
  );
  return {
    store,
    blobs: blobs.sort(bySize),
    bytes: blobs.reduce((all, { size }) => all + size, 0),
    ...(found.copies !== undefined && { copies: found.copies }),
    ...(found.uploads !== undefined && { uploads: found.uploads }),
    untagged: untagged.sort((a, b) => b.bytes - a.bytes || bySize(a, b)),
    untaggedBytes: sum(users.keys()),
    dangling,
  };
}

const bySize = (a: Sized, b: Sized): number =>
  b.size - a.size || (a.digest < b.digest ? -1 : a.digest > b.digest ? 1 : 0);

/** Manifests of a repository that neither a tag nor another of them leads to, with the blobs that no tag needs. */
function untaggedOf(repository: SurveyedRepository, { found, users }: CountedStore): Untagged[] {
  const { documents, held } = found;
  const lost = [...(repository.revisions ?? [])].filter((digest) => !users.has(digest));
  const needs = lost.map((digest) => ({
    digest,
    needs: needsOf(digest, { documents, repository, held }),
  }));
  const below = new Set(
    needs.flatMap(({ digest, needs: { blobs } }) =>
      [...blobs.keys()].filter((one) => one !== digest),
    ),
  );
  return needs.flatMap(({ digest, needs: { blobs } }) =>
    below.has(digest)
      ? []
      : [
          {
            digest,
            repository: repository.name,
            blobs: [...blobs.keys()].filter((one) => !users.has(one)),
          },
        ],
  );
}

/** What says that it belongs to a manifest that is not there. */
function danglingOf(
  repository: SurveyedRepository,
  { documents, claimed }: SurveyedStore,
): Unreferenced['dangling'] {
  const { name, tags, attached, present } = repository;
  const claims = [...attached].flatMap(([subject, all]) =>
    all.map(({ digest }) => ({ digest, subject })),
  );
  for (const [tag, digest] of tags) {
    const to = attachedTo(tag);
    if (to) claims.push({ digest, subject: to.subject });
  }
  if (claims.length === 0) return [];
  const there = manifestsOf(repository, documents);
  const isThere = (subject: Digest): boolean =>
    there.has(subject) || present?.has(subject) === true || claimed?.has(subject) === true;
  return claims.flatMap(({ digest, subject }) => {
    const facts = documents.get(digest);
    if (isThere(subject) || !facts || facts.kind === 'config') return [];
    return [{ digest, size: facts.size, repository: name, subject }];
  });
}

/** The manifests and indexes of a repository: those that are tagged or listed, what those lead to, what is attached. */
function manifestsOf(
  { tags, revisions, attached }: SurveyedRepository,
  documents: SurveyedStore['documents'],
): Set<Digest> {
  const found = new Set<Digest>();
  const left = [...tags.values(), ...(revisions ?? [])];
  for (const one of attached.values()) left.push(...one.map(({ digest }) => digest));
  for (let digest = left.pop(); digest !== undefined; digest = left.pop()) {
    const facts = documents.get(digest);
    if (found.has(digest) || !facts) continue;
    found.add(digest);
    if (facts.kind === 'index') for (const entry of facts.entries) left.push(entry.digest);
  }
  return found;
}

/** Links of a repository to layers, of a registry's directory: how many there are, and how many no manifest of it needs. */
export function linksOf(
  repository: SurveyedRepository,
  { documents, held }: SurveyedStore,
): RepositoryReport['links'] {
  const { links, revisions } = repository;
  if (!links) return undefined;
  const needed = new Set<Digest>();
  for (const digest of revisions ?? []) {
    for (const one of needsOf(digest, { documents, repository, held }).blobs.keys())
      needed.add(one);
  }
  const stale = [...links].filter((digest) => !needed.has(digest)).length;
  return { layers: links.size, stale };
}
