/** Limits for CI, held against the newest update of every stream: what was pushed long ago cannot be mended. */
import type { Counting } from './counting.ts';
import { streamOf } from './order.ts';
import type { Threshold, UpdateReport } from './report.ts';

/** What must hold. */
export interface Thresholds {
  /** Most bytes that the newest update of anything may pull. */
  readonly maxUpdateBytes?: number;
  /** Least share (0..1) of a newest tag's layers that nodes with the tag before have, by bytes. */
  readonly minShared?: number;
}

/** The limits that were set, and what was found; nothing where no limit was set. */
export function thresholdsOf(
  updates: readonly UpdateReport[],
  counting: Counting,
  { maxUpdateBytes, minShared }: Thresholds,
): Threshold[] {
  const newest = newestOf(updates, counting);
  const worst = (measure: (update: UpdateReport) => number): UpdateReport | undefined =>
    newest.reduce<UpdateReport | undefined>(
      (most, update) => (most && measure(most) >= measure(update) ? most : update),
      undefined,
    );
  const found: Threshold[] = [];
  if (maxUpdateBytes !== undefined) {
    const update = worst(({ bytes }) => bytes);
    const bytes = update?.bytes ?? 0;
    const crossed = bytes > maxUpdateBytes;
    found.push({
      ...{ name: 'max-update-bytes', limit: maxUpdateBytes, found: bytes, crossed },
      ...whereOf(update, counting),
    });
  }
  if (minShared !== undefined) {
    const update = worst((one) => 1 - sharedOf(one));
    const shared = update ? sharedOf(update) : 1;
    const crossed = shared < minShared;
    found.push({
      ...{ name: 'min-shared', limit: minShared, found: shared, crossed },
      ...whereOf(update, counting),
    });
  }
  return found;
}

function sharedOf({ bytes, total }: UpdateReport): number {
  return total === 0 ? 1 : 1 - bytes / total;
}

/** The last update of each stream and platform of a repository. */
function newestOf(updates: readonly UpdateReport[], { tags }: Counting): UpdateReport[] {
  const newest = new Map<string, UpdateReport>();
  for (const update of updates) {
    const stream = streamOf(tags[update.to]?.tag ?? '');
    newest.set(`${update.repository} ${update.platform} ${stream}`, update);
  }
  return [...newest.values()];
}

function whereOf(
  update: UpdateReport | undefined,
  { tags, repositories }: Counting,
): { where?: string } {
  if (!update) return {};
  const name = repositories[update.repository]?.found.name;
  return {
    where: `${name}:${tags[update.from]?.tag} -> ${tags[update.to]?.tag} (${update.platform})`,
  };
}
