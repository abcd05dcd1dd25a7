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
  if (!found.held) {
    const unknown = found.unknown ?? 'the store does not list its blobs';
    return { store, unknown, blobs: [], bytes: 0, untagged: [], untaggedBytes: 0, dangling };
  }
  const sizes = new Map(found.held.map(({ digest, size }) => [digest, size]));
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
  const blobs = found.held.filter(({ digest }) => !counted.users.has(digest) && !users.has(digest));
  return {
    store,
    blobs: [...blobs].map(({ digest, size }) => ({ digest, size })).sort(bySize),
    bytes: sum(blobs.map(({ digest }) => digest)),
    ...(found.copies !== undefined && { copies: found.copies }),
    untagged: untagged.sort((a, b) => b.bytes - a.bytes || bySize(a, b)),
    untaggedBytes: sum(users.keys()),
    dangling,
  };
}

const bySize = (a: Sized, b: Sized): number =>
  b.size - a.size || (a.digest < b.digest ? -1 : a.digest > b.digest ? 1 : 0);

/** Manifests of a repository that neither a tag nor another of them leads to, with the blobs that no tag needs. */
function untaggedOf(repository: SurveyedRepository, { found, users }: CountedStore): Untagged[] {
  const { documents } = found;
  const lost = [...(repository.revisions ?? [])].filter((digest) => !users.has(digest));
  const needs = lost.map((digest) => ({
    digest,
    needs: needsOf(digest, { documents, repository }),
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
  { name, tags, attached, revisions }: SurveyedRepository,
  { documents }: SurveyedStore,
): Unreferenced['dangling'] {
  const claims = [...attached].flatMap(([subject, all]) =>
    all.map(({ digest }) => ({ digest, subject })),
  );
  for (const [tag, digest] of tags) {
    const to = attachedTo(tag);
    if (to) claims.push({ digest, subject: to.subject });
  }
  const isThere = (subject: Digest): boolean => revisions?.has(subject) ?? documents.has(subject);
  return claims.flatMap(({ digest, subject }) => {
    const facts = documents.get(digest);
    if (isThere(subject) || !facts || facts.kind === 'config') return [];
    return [{ digest, size: facts.size, repository: name, subject }];
  });
}

/** Links of a repository to layers, of a registry's directory: how many there are, and how many no manifest of it needs. */
export function linksOf(
  repository: SurveyedRepository,
  { documents }: SurveyedStore,
): RepositoryReport['links'] {
  const { links, revisions } = repository;
  if (!links) return undefined;
  const needed = new Set<Digest>();
  for (const digest of revisions ?? []) {
    for (const one of needsOf(digest, { documents, repository }).blobs.keys()) needed.add(one);
  }
  const stale = [...links].filter((digest) => !needed.has(digest)).length;
  return { layers: links.size, stale };
}
