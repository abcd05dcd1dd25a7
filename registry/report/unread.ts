/** Newest tags that nobody could read: no limit is held where one is. */
import type { CountedRepository, CountedTag, Counting } from './counting.ts';
import { ARTIFACT } from './needs.ts';
import { areVersions, compareVersions, streamOf } from './order.ts';
import type { Skipped } from './report.ts';

/**
 * `REPOSITORY:TAG` of a tag that cannot be read and is a later version than all others of its stream, of which there must be one; undefined
 * where there is none. Streams whose names are commits have no order by name, so nobody can tell there.
 */
export function unreadNewest(counting: Counting, skipped: readonly Skipped[]): string | undefined {
  const { repositories, tags } = counting;
  const named = skipped.map(({ name }) => name);
  for (const repository of repositories) {
    const prefix = `${repository.found.name}:`;
    const own = repository.tags.flatMap((at) => tags[at] ?? []);
    const read = new Set(own.map(({ tag }) => tag));
    const unread = named
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
      .filter((tag) => !read.has(tag));
    const incomplete = own.filter((tag) => !isKnown(tag)).map(({ tag }) => tag);
    const found = newestOf([...unread, ...incomplete], repository, own);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Whether some image of a tag is known: of an index that was copied for some platforms others are not there. */
function isKnown({ needs }: CountedTag): boolean {
  return needs.missing.length === 0 || needs.images.some(({ platform }) => platform !== ARTIFACT);
}

function newestOf(
  candidates: readonly string[],
  { found }: CountedRepository,
  own: readonly CountedTag[],
): string | undefined {
  if (candidates.length === 0) return undefined;
  const streams = Map.groupBy(
    own.map(({ tag }) => tag),
    streamOf,
  );
  const newest = candidates.find((tag) => {
    const stream = streamOf(tag);
    const others = (streams.get(stream) ?? []).filter((one) => one !== tag);
    if (stream === '' || others.length === 0 || !areVersions([tag, ...others])) return false;
    return others.every((one) => compareVersions(tag, one) > 0);
  });
  return newest === undefined ? undefined : `${found.name}:${newest}`;
}
