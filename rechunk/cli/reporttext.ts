/** A report's figures in words. */
import { fullName } from '../../registry/report/figures.ts';
import type {
  Bytes,
  Deletion,
  FilesReport,
  NodeReport,
  Report,
  Threshold,
  Unreferenced,
  WhatIf,
} from '../../registry/report/report.ts';
import { parseTarget } from '../../registry/report/target.ts';
import { countOf } from './difftext.ts';
import { formatSize, oneLine } from './values.ts';

/** `1.2 GB`, and unpacked where that is known. */
export function describeBytes({ compressed, uncompressed }: Bytes): string {
  const unpacked = uncompressed === undefined ? '' : ` (${formatSize(uncompressed)} unpacked)`;
  return `${formatSize(compressed)}${unpacked}`;
}

/** `12.3 %`. */
export function describeShare(part: number, whole: number): string {
  return whole === 0 ? '0 %' : `${((100 * part) / whole).toFixed(1)} %`;
}

/** `2 repositories, 40 tags, 40 images, 800 blobs, 300 layers`. */
export function describeScope({ headline, layers, stores }: Report): string {
  const { repositories, tags, images, blobs } = headline;
  const parts = [
    countOf(repositories, 'repository'),
    countOf(tags, 'tag'),
    countOf(images, 'image'),
    countOf(blobs, 'blob'),
    countOf(layers.length, 'layer'),
  ];
  return `${parts.join(', ')}${stores.length > 1 ? ` in ${stores.length} stores` : ''}`;
}

/** Mean and 95th percentile of what updates pull, and of the whole images; undefined where there are none. */
export function describeUpdates({ updates }: Report): string | undefined {
  if (updates.length === 0) return undefined;
  const bytes = updates.map((update) => update.bytes).sort((a, b) => a - b);
  const sum = (all: readonly number[]): number => all.reduce((total, one) => total + one, 0);
  const mean = sum(bytes) / bytes.length;
  const p95 = bytes[Math.ceil(0.95 * bytes.length) - 1] ?? 0;
  const whole = sum(updates.map(({ total }) => total));
  const chain = sum(updates.map(({ chainBytes }) => chainBytes)) / bytes.length;
  return `${countOf(bytes.length, 'update')} from tag to tag: ${formatSize(Math.round(mean))} on average (${describeShare(sum(bytes), whole)} of the image), ${formatSize(p95)} at the 95th percentile; ${formatSize(Math.round(chain))} on average with Docker's graph drivers`;
}

/** What a store holds that nothing needs, a sentence each. */
export function describeUnreferenced(report: Report, one: Unreferenced): string[] {
  const store = oneLine(report.stores[one.store] ?? '');
  const { dangling, blobs, bytes, untagged, untaggedBytes, copies = 0, uploads } = one;
  const lost = dangling.length
    ? [`${store}: ${countOf(dangling.length, 'manifest')} whose subject is gone`]
    : [];
  if (one.unknown !== undefined)
    return [`${store}: unreferenced blobs are unknown (${one.unknown})`, ...lost];
  return [
    `${store}: ${countOf(blobs.length, 'blob')} that no manifest needs, ${formatSize(bytes)}`,
    ...(untagged.length > 0
      ? [
          `${store}: ${countOf(untagged.length, 'manifest')} without a tag, with what only they need ${formatSize(untaggedBytes)}`,
        ]
      : []),
    ...(copies > 0
      ? [`${store}: ${formatSize(copies)} in files that hold what another holds too`]
      : []),
    ...(uploads && uploads.count > 0
      ? [`${store}: ${countOf(uploads.count, 'unfinished upload')}, ${formatSize(uploads.bytes)}`]
      : []),
    ...lost,
  ];
}

/** What was tried. */
export function describeWhatIf({ tags, maxLayers, compression, updates }: WhatIf): string {
  return `rechunked, the last ${countOf(tags, 'tag')} of each stream in at most ${countOf(maxLayers, 'layer')}${compression === undefined ? '' : `, ${compression}`} (${countOf(updates.length, 'update')})`;
}

/** What the switch costs. */
export function describeMigration({ firstMigration }: WhatIf): string {
  return `switching costs nodes that have the newest of these tags ${formatSize(firstMigration)} once, one node of each stream and platform together`;
}

/** What "freed if deleted" does not know: of a registry only some tags or repositories were surveyed. */
export function describeScopeOfFreed({ targets }: Report): string | undefined {
  const parsed = targets.map(parseTarget);
  const whole = new Set(parsed.map((one) => (one.kind === 'registry' ? one.host : undefined)));
  const isPart = parsed.some((one) => one.kind === 'repository' && !whole.has(one.host));
  return isPart
    ? 'freed if deleted: as far as these tags tell; others of the registry may need the same'
    : undefined;
}

/** What a deletion frees. */
export function describeDeletion({ patterns, tags, freed, blobs }: Deletion): string {
  const what = patterns.map(oneLine).join(', ');
  return `deleting ${countOf(tags.length, 'tag')} (${what}) frees ${describeBytes(freed)} in ${countOf(blobs, 'blob')}, once garbage is collected`;
}

/** Who holds what. */
export function describeNode(report: Report, { holds, platform, mbit }: NodeReport): string {
  const names = holds.slice(0, 5).map((tag) => oneLine(fullName(report, tag)));
  const more = holds.length > 5 ? ` and ${holds.length - 5} more` : '';
  return `a ${oneLine(platform)} node that holds ${names.join(', ')}${more} pulls${mbit ? ` (at ${mbit} Mbit/s)` : ''}`;
}

/** `12.3 s`, `4 min`. */
export function describeSeconds(seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** What was found against a limit. */
export function describeThreshold({ name, limit, found, crossed, where }: Threshold): string {
  const show = (value: number): string =>
    name === 'min-shared' ? `${(100 * value).toFixed(1)} %` : formatSize(value);
  if (found === undefined) return `not held: --${name} ${show(limit)}: ${describeUnheld(where)}`;
  const place = where === undefined ? '' : ` for ${oneLine(where)}`;
  return `${crossed ? 'crossed' : 'kept'}: --${name} ${show(limit)}, found ${show(found)}${place}`;
}

/** Why a limit is held against nothing; `where` names a tag that cannot be read. */
function describeUnheld(where: string | undefined): string {
  return where === undefined
    ? 'there is no update from one tag to the next of its stream'
    : `${oneLine(where)}, the newest of its stream, cannot be read (a pattern of tags without it holds the others)`;
}

/** Limits that tags exceed, a sentence each: how many tags, and the worst. */
export function describeLimits(report: Report): string[] {
  return [...Map.groupBy(report.limits ?? [], ({ rule }) => rule).values()].map((group) => {
    const worst = group.reduce((most, one) => (one.found > most.found ? one : most));
    const others = new Set(group.map(({ tag }) => tag)).size - 1;
    const more = others > 0 ? ` and ${others} more` : '';
    return `limit: ${worst.text} (${oneLine(fullName(report, worst.tag))}${more})`;
  });
}

/** How much of what layers hold is copies of what they hold elsewhere. */
export function describeFiles({ references, contents, bytes, uniqueBytes }: FilesReport): string {
  const twice = `${formatSize(bytes - uniqueBytes)} of ${formatSize(bytes)} (${describeShare(bytes - uniqueBytes, bytes)}, unpacked)`;
  return `${countOf(references, 'file')} in the layers have ${countOf(contents, 'content')}: ${twice} are further copies`;
}
