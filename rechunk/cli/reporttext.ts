/** A report in words: what the summary for terminals and the Markdown have in common, and the summary. */
import { fullName } from '../../registry/report/figures.ts';
import type {
  Bytes,
  Deletion,
  LimitReport,
  NodeReport,
  Report,
  Threshold,
  Unreferenced,
  UpdateReport,
  WhatIf,
} from '../../registry/report/report.ts';
import { countOf } from './difftext.ts';
import { formatSize, oneLine } from './values.ts';

/** How many rows of each list are shown. */
export interface Shown {
  readonly rows: number;
}

/** `1.2 GB`, and unpacked where that is known. */
export function describeBytes({ compressed, uncompressed }: Bytes): string {
  const unpacked = uncompressed === undefined ? '' : ` (${formatSize(uncompressed)} unpacked)`;
  return `${formatSize(compressed)}${unpacked}`;
}

/** `12.3 %`. */
export function describeShare(part: number, whole: number): string {
  return whole === 0 ? '0 %' : `${((100 * part) / whole).toFixed(1)} %`;
}

/** The figures at the top, a row each. */
export function headlineRows({ headline }: Report): [string, string, string][] {
  const { logical, stored, layers, uniqueFiles, rechunked } = headline;
  const rows: [string, Bytes | undefined][] = [
    ['all tags, as if nothing were shared', logical],
    ['stored: each blob once', stored],
    ['of these, layers', layers],
    ['each file once', uniqueFiles],
    ['after rechunking', rechunked],
  ];
  return rows.flatMap(([what, bytes]): [string, string, string][] =>
    bytes
      ? [[what, describeBytes(bytes), describeShare(bytes.compressed, logical.compressed)]]
      : [],
  );
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

/** The newest update of each repository, platform and stream comes last; largest first. */
export function largestUpdates({ updates }: Report): UpdateReport[] {
  return [...updates].sort((a, b) => b.bytes - a.bytes);
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
  const { dangling, blobs, bytes, untagged, untaggedBytes, copies = 0 } = one;
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
    ...lost,
  ];
}

/** What was tried. */
export function describeWhatIf({ tags, maxLayers, updates }: WhatIf): string {
  return `rechunked, the last ${countOf(tags, 'tag')} of each stream in at most ${countOf(maxLayers, 'layer')} (${countOf(updates.length, 'update')})`;
}

/** What rechunking would come to, a row each: figure, now, then, share. */
export function whatIfRows({ storage, mean, p95, updates }: WhatIf): string[][] {
  const rows: [string, WhatIf['mean']][] = [
    ['stored', storage],
    ...(updates.length > 0
      ? ([
          ['an update, on average', mean],
          ['an update, 95th percentile', p95],
        ] as [string, WhatIf['mean']][])
      : []),
  ];
  return rows.map(([what, { now, then }]) => [
    what,
    formatSize(now),
    formatSize(then),
    describeShare(then, now),
  ]);
}

/** What the switch costs. */
export function describeMigration({ firstMigration }: WhatIf): string {
  return `switching costs nodes that have the newest tag ${formatSize(firstMigration)} once, one node of each stream and platform together`;
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
  return `a ${platform} node that holds ${names.join(', ')}${more} pulls${mbit ? ` (at ${mbit} Mbit/s)` : ''}`;
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
  const place = where === undefined ? '' : ` for ${oneLine(where)}`;
  return `${crossed ? 'crossed' : 'kept'}: --${name} ${show(limit)}, found ${show(found)}${place}`;
}

/** Limits with how many tags exceed each, and the first. */
export function gatherLimits(
  limits: readonly LimitReport[],
): { text: string; first: LimitReport; tags: number }[] {
  return [...Map.groupBy(limits, ({ rule }) => rule)].map(([, group]) => {
    const first = group.reduce((most, one) => (one.found > most.found ? one : most));
    return { text: first.text, first, tags: new Set(group.map(({ tag }) => tag)).size };
  });
}

function align(rows: readonly (readonly string[])[], numbers: ReadonlySet<number>): string[] {
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((cell, i) => Math.max(most[i] ?? 0, cell.length)),
    [],
  );
  return rows.map((row) => {
    const cells = row.map((cell, i) =>
      numbers.has(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
    );
    return `  ${cells.join('  ')}`.trimEnd();
  });
}

function section(
  title: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { rows: most }: Shown,
): string[] {
  if (rows.length === 0) return [];
  const more = rows.length - most;
  const numbers = new Set(head.flatMap((cell, i) => (cell.startsWith('>') ? [i] : [])));
  const titles = head.map((cell) => cell.replace(/^>/, ''));
  return [
    '',
    title,
    ...align([titles, ...rows.slice(0, most)], numbers),
    ...(more > 0 ? [`  … and ${more} more (--all)`] : []),
  ];
}

/** The summary for terminals. */
export function formatText(report: Report, shown: Shown): string {
  const name = (tag: number): string => oneLine(fullName(report, tag));
  const updates = describeUpdates(report);
  const lines = [
    describeScope(report),
    ...align(headlineRows(report), new Set([1, 2])),
    ...section(
      'repositories:',
      ['', '>tags', '>all', '>shared', '>freed if deleted'],
      repositoryRows(report),
      shown,
    ),
    ...section(
      'tags that free most by themselves:',
      ['', '>all', '>freed if deleted'],
      tagRows(report),
      shown,
    ),
    ...(updates === undefined ? [] : ['', updates]),
    ...section(
      'largest updates:',
      ['', '', '>pulled', '>new layers', ">Docker's drivers"],
      updateRows(report),
      shown,
    ),
    ...section(
      'what updates are put down to:',
      ['', '', '>updates', '>bytes', '>of all'],
      causeRows(report),
      shown,
    ),
    ...section(
      'the same layer in several blobs:',
      ['', '>blobs', '>wasted'],
      recompressedRows(report),
      shown,
    ),
    '',
    ...report.unreferenced.flatMap((one) => describeUnreferenced(report, one)),
    ...(report.deletion ? ['', describeDeletion(report.deletion)] : []),
    ...(report.node
      ? section(
          describeNode(report, report.node),
          ['', '>bytes', '>layers', '>time'],
          pullRows(report),
          shown,
        )
      : []),
    ...(report.whatIf
      ? [
          ...section(
            describeWhatIf(report.whatIf),
            ['', '>now', '>then', '>of now'],
            whatIfRows(report.whatIf),
            { rows: Number.POSITIVE_INFINITY },
          ),
          describeMigration(report.whatIf),
        ]
      : []),
    ...gatherLimits(report.limits ?? []).map(
      ({ text, first, tags }) =>
        `limit: ${text} (${name(first.tag)}${tags > 1 ? ` and ${tags - 1} more` : ''})`,
    ),
    ...(report.thresholds ?? []).map(describeThreshold),
    ...skippedLines(report, shown),
  ];
  return `${lines.join('\n').replace(/\n{3,}/g, '\n\n')}\n`;
}

function skippedLines({ skipped = [] }: Report, { rows }: Shown): string[] {
  const more = skipped.length - rows;
  return [
    ...skipped
      .slice(0, rows)
      .map(({ name, why }) => `not counted: ${oneLine(name)}: ${oneLine(why)}`),
    ...(more > 0 ? [`not counted: ${more} more (--all)`] : []),
  ];
}

/** Rows of repositories: name, tags, bytes, shared, freed; the largest first. */
export function repositoryRows({ repositories }: Report): string[][] {
  const sorted = [...repositories].sort((a, b) => b.total.compressed - a.total.compressed);
  return sorted.map(({ name, tags, total, shared, unique }) => [
    oneLine(name),
    String(tags.length),
    ...[total, shared, unique].map(({ compressed }) => formatSize(compressed)),
  ]);
}

/** Rows of tags that free something: name, bytes, freed; the most first. */
export function tagRows(report: Report): string[][] {
  const tags = report.tags.map((tag, at) => ({ ...tag, at }));
  const freeing = tags.filter(({ unique }) => unique.compressed > 0);
  freeing.sort((a, b) => b.unique.compressed - a.unique.compressed);
  return freeing.map(({ at, total, unique }) => [
    oneLine(fullName(report, at)),
    formatSize(total.compressed),
    formatSize(unique.compressed),
  ]);
}

/** Rows of updates: from and to, platform, bytes, layers, chain bytes; the largest first. */
export function updateRows(report: Report): string[][] {
  return largestUpdates(report).map(({ from, to, platform, bytes, chainBytes, layers, total }) => [
    `${oneLine(fullName(report, from))} -> ${oneLine(report.tags[to]?.tag ?? '')}`,
    oneLine(platform),
    `${formatSize(bytes)} of ${formatSize(total)}`,
    `${layers.new} of ${layers.new + layers.kept}`,
    formatSize(chainBytes),
  ]);
}

/** Rows of what updates are put down to: component, why, updates, bytes, share of all that is explained; the most first. */
export function causeRows({ updates }: Report): string[][] {
  const told = updates.flatMap(({ causes = [] }) => causes);
  const whole = told.reduce((sum, { bytes }) => sum + bytes, 0);
  const rows = [...Map.groupBy(told, ({ component }) => component)].map(([component, causes]) => ({
    component,
    why: [...new Set(causes.map(({ why }) => why))].join(', '),
    updates: causes.length,
    bytes: causes.reduce((sum, { bytes }) => sum + bytes, 0),
  }));
  rows.sort((a, b) => b.bytes - a.bytes);
  return rows.map(({ component, why, updates: count, bytes }) => [
    oneLine(component),
    ...[why, String(count), formatSize(bytes), describeShare(bytes, whole)],
  ]);
}

/** Rows of layers that lie in several blobs: diffID, blobs, wasted; the most first. */
export function recompressedRows({ recompressed }: Report): string[][] {
  const sorted = [...recompressed].sort((a, b) => b.wasted - a.wasted);
  return sorted.map(({ diffId, blobs, wasted }) => [
    diffId,
    String(blobs.length),
    formatSize(wasted),
  ]);
}

/** Rows of what a node pulls: tag, bytes, layers, time; the most first. */
export function pullRows(report: Report): string[][] {
  const sorted = [...(report.node?.pulls ?? [])].sort((a, b) => b.bytes - a.bytes);
  return sorted.map(({ tag, bytes, layers, seconds }) => [
    oneLine(fullName(report, tag)),
    formatSize(bytes),
    String(layers),
    seconds === undefined ? '' : describeSeconds(seconds),
  ]);
}
