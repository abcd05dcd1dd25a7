/** Limits for CI, held against the newest update of every stream: what was pushed long ago cannot be mended. */
import type { Counting } from './counting.ts';
import { streamOf } from './order.ts';
import type { Skipped, Threshold, UpdateReport } from './report.ts';
import { unreadNewest } from './unread.ts';

/** What must hold. */
export interface Thresholds {
  /** Most bytes that the newest update of anything may pull. */
  readonly maxUpdateBytes?: number;
  /** Least share (0..1) of a newest tag's layers that nodes with the tag before have, by bytes. */
  readonly minShared?: number;
}

/**
 * The limits that were set, and what was found; nothing where no limit was set. One that has no update to be held against is crossed, and
 * so is one where the newest version of a stream is among `skipped`: a gate that cannot be checked must not look as if it had been.
 */
export function thresholdsOf(
  updates: readonly UpdateReport[],
  counting: Counting,
  { maxUpdateBytes, minShared, skipped }: Thresholds & { readonly skipped: readonly Skipped[] },
): Threshold[] {
  if (maxUpdateBytes === undefined && minShared === undefined) return [];
  const newest = newestOf(updates, counting);
  const unread = unreadNewest(counting, skipped);
  const worst = (measure: (update: UpdateReport) => number): UpdateReport | undefined =>
    newest.reduce<UpdateReport | undefined>(
      (most, update) => (most && measure(most) >= measure(update) ? most : update),
      undefined,
    );
  const found: Threshold[] = [];
  const hold = (
    { name, limit }: { readonly name: string; readonly limit: number },
    update: UpdateReport | undefined,
    measure: (update: UpdateReport) => { readonly found: number; readonly crossed: boolean },
  ): void => {
    const told = update && { ...measure(update), where: whereOf(update, counting) };
    const unknown = { crossed: true, ...(unread !== undefined && { where: unread }) };
    found.push({ name, limit, ...(told && (told.crossed || !unread) ? told : unknown) });
  };
  if (maxUpdateBytes !== undefined)
    hold(
      { name: 'max-update-bytes', limit: maxUpdateBytes },
      worst(({ bytes }) => bytes),
      ({ bytes }) => ({ found: bytes, crossed: bytes > maxUpdateBytes }),
    );
  if (minShared !== undefined)
    hold(
      { name: 'min-shared', limit: minShared },
      worst((one) => 1 - sharedOf(one)),
      (one) => ({ found: sharedOf(one), crossed: sharedOf(one) < minShared }),
    );
  return found;
}

function sharedOf({ bytes, total }: UpdateReport): number {
  return total === 0 ? 1 : 1 - bytes / total;
}

/** The update of each stream and platform of a repository whose tag is the newest: a patch of an older line may be newer than what follows it. */
function newestOf(updates: readonly UpdateReport[], { tags }: Counting): UpdateReport[] {
  const newest = new Map<string, UpdateReport>();
  for (const update of updates) {
    const stream = `${update.repository} ${update.platform} ${streamOf(tags[update.to]?.tag ?? '')}`;
    const known = newest.get(stream);
    if (!known || known.to < update.to) newest.set(stream, update);
  }
  return [...newest.values()];
}

function whereOf(update: UpdateReport, { tags, repositories }: Counting): string {
  const name = repositories[update.repository]?.found.name;
  return `${name}:${tags[update.from]?.tag} -> ${tags[update.to]?.tag} (${update.platform})`;
}
