/** Which tags of a survey follow each other, and their images. */
import { RechunkError } from '../../registry/errors.ts';
import type { Source } from '../../registry/image.ts';
import type { Counting } from '../../registry/report/counting.ts';
import type { SurveyedImage } from '../../registry/report/imagesource.ts';
import type { NeededImage } from '../../registry/report/needs.ts';
import type { Skipped } from '../../registry/report/report.ts';
import { streamsOf } from '../../registry/report/updates.ts';

/** Opens an image of a survey. */
export type OpenSurveyed = (image: SurveyedImage) => Promise<Source>;

/** Tags of one stream for one platform, oldest first. */
export interface Series {
  readonly repository: number;
  readonly platform: string;
  readonly tags: readonly number[];
}

/** The newest `tags` of each stream and platform, or of one platform; tags that are no image are left out. */
export function seriesOf(
  counting: Counting,
  {
    tags: most,
    platform: wanted,
  }: { readonly tags: number; readonly platform?: string | undefined },
): Series[] {
  return counting.repositories.flatMap((_, repository) =>
    streamsOf(counting, repository).flatMap(({ platform, tags }): Series[] => {
      if (platform.startsWith('unknown') || (wanted !== undefined && wanted !== platform))
        return [];
      const images = tags.filter((at) => isImage(imageOf(counting, at, platform)));
      return images.length > 0 ? [{ repository, platform, tags: images.slice(-most) }] : [];
    }),
  );
}

/** A tag's image for a platform. */
export function imageOf(
  counting: Counting,
  tag: number,
  platform: string,
): NeededImage | undefined {
  return counting.tags[tag]?.needs.images.find((one) => one.platform === platform);
}

/** Whether its config says what its layers are; artifacts have none to plan. */
function isImage(image: NeededImage | undefined): boolean {
  return image !== undefined && image.diffIds.length > 0;
}

/** A tag's image for a platform, as it is opened. */
export function surveyed(counting: Counting, tag: number, platform: string): SurveyedImage {
  const { store, repository } = counting.tags[tag] as Counting['tags'][number];
  return {
    store: (counting.stores[store] as Counting['stores'][number]).found,
    repository: (counting.repositories[repository] as Counting['repositories'][number]).found.name,
    manifest: (imageOf(counting, tag, platform) as NeededImage).manifest,
  };
}

/** What ends a report rather than be passed over. */
const TROUBLE: ReadonlySet<string> = new Set([
  ...['usage', 'io', 'auth', 'network', 'registry', 'interrupted'],
]);

/** What to tell of a tag that `error` kept from being read as `purpose` wants; throws what would be no better with the next. */
export function passOver(error: unknown, purpose: string, counting: Counting, at: number): Skipped {
  if (!(error instanceof RechunkError) || TROUBLE.has(error.code)) throw error;
  const { tag, repository = -1 } = counting.tags[at] ?? {};
  const { found } = counting.repositories[repository] ?? {};
  return { name: `${purpose} ${found?.name}:${tag}`, why: error.message };
}
