/** Tags whose images are beyond what registries or runtimes take. */
import type { LimitReport, Report } from '../../registry/report/report.ts';
import { type LimitId, measureLimits, PROFILES } from '../limits.ts';

/** Every limit that an image of a tag exceeds, in the order of the tags. */
export function limitsOf({ tags, layers }: Pick<Report, 'tags' | 'layers'>): LimitReport[] {
  return tags.flatMap(({ images }, tag) =>
    images.flatMap(({ platform, manifestSize, layers: own }) => {
      const measured = { layers: own.flatMap((at) => layers[at] ?? []), manifestSize };
      return measureLimits(measured).map(({ limit, found, most, text }) => ({
        ...{ tag, platform, rule: limit, found, limit: most, consumers: consumersOf(limit), text },
      }));
    }),
  );
}

function consumersOf(limit: LimitId): string[] {
  if (limit.startsWith('registry-')) return ['registries'];
  return PROFILES.filter(({ refuses }) => refuses.includes(limit)).map(({ name }) => name);
}
