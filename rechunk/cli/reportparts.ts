/** What a report tells people, part by part: tables and sentences, which the terminal and Markdown each set in their own way. */
import { fullName } from '../../registry/report/figures.ts';
import type { Bytes, FilesReport, Report, UpdateReport } from '../../registry/report/report.ts';
import { OTHERS } from '../report/causes.ts';
import { countOf } from './difftext.ts';
import {
  describeBytes,
  describeDeletion,
  describeFiles,
  describeLimits,
  describeMigration,
  describeNode,
  describeScope,
  describeScopeOfFreed,
  describeSeconds,
  describeShare,
  describeThreshold,
  describeUnreferenced,
  describeUpdates,
  describeWhatIf,
} from './reporttext.ts';
import { formatSize, oneLine } from './values.ts';

/** A column: names that strangers chose, words of ours, or numbers. */
export interface Column {
  readonly head: string;
  readonly kind: 'name' | 'text' | 'number';
}

/** A table; `title` and cells are one line each, safe for a terminal. */
export interface TablePart {
  readonly title: string;
  readonly columns: readonly Column[];
  /** The most telling first. */
  readonly rows: readonly (readonly string[])[];
  /** All rows are shown, however few were asked for. */
  readonly whole?: true;
}

/** Sentences, one line each, without a full stop. */
export interface LinesPart {
  readonly lines: readonly string[];
}

/** What a report is made of for people. */
export type Part = TablePart | LinesPart;

const name = (head = ''): Column => ({ head, kind: 'name' });
const text = (head = ''): Column => ({ head, kind: 'text' });
const number = (head: string): Column => ({ head, kind: 'number' });

/** All parts of `report`, in the order in which they are read; parts without content are left out. */
export function partsOf(report: Report): Part[] {
  const updates = describeUpdates(report);
  const crossed = (report.thresholds ?? []).map(describeThreshold);
  const scope = report.tags.length > 0 ? describeScopeOfFreed(report) : undefined;
  const parts: Part[] = [
    { lines: [describeScope(report)] },
    { lines: crossed },
    headlinePart(report),
    repositoriesPart(report),
    tagsPart(report),
    { lines: scope === undefined ? [] : [scope] },
    { lines: updates === undefined ? [] : [updates] },
    updatesPart(report),
    causesPart(report),
    recompressedPart(report),
    ...(report.files ? filesParts(report, report.files) : []),
    ...whatIfParts(report),
    { lines: report.deletion ? [describeDeletion(report.deletion)] : [] },
    ...nodeParts(report),
    { lines: report.unreferenced.flatMap((one) => describeUnreferenced(report, one)) },
    { lines: describeLimits(report) },
  ];
  return parts.filter((part) => ('lines' in part ? part.lines : part.rows).length > 0);
}

/** Bytes as stored and, if any row knows them, as unpacked. */
function byteColumns<T>(
  head: string,
  all: readonly T[],
  of: (one: T) => Bytes,
): { readonly columns: Column[]; readonly cells: (one: T) => string[] } {
  const unpacked = all.some((one) => of(one).uncompressed !== undefined);
  return {
    columns: [number(head), ...(unpacked ? [number('unpacked')] : [])],
    cells: (one) => {
      const { compressed, uncompressed } = of(one);
      const cell = uncompressed === undefined ? '' : formatSize(uncompressed);
      return [formatSize(compressed), ...(unpacked ? [cell] : [])];
    },
  };
}

/** The figures at the top. */
function headlinePart({ headline }: Report): TablePart {
  const { logical, stored, layers, uniqueFiles, rechunked } = headline;
  const rows: [string, Bytes | undefined][] = [
    ['all tags, as if nothing were shared', logical],
    ['stored: each blob once', stored],
    ['of these, layers', layers],
    ['each file once', uniqueFiles],
    ['after rechunking', rechunked],
  ];
  return {
    title: '',
    columns: [text(), number('bytes'), number('of all')],
    rows: rows.flatMap(([what, bytes]) =>
      bytes
        ? [[what, describeBytes(bytes), describeShare(bytes.compressed, logical.compressed)]]
        : [],
    ),
    whole: true,
  };
}

function repositoriesPart({ repositories }: Report): TablePart {
  const sorted = [...repositories].sort((a, b) => b.total.compressed - a.total.compressed);
  const all = byteColumns('all', sorted, ({ total }) => total);
  return {
    title: 'repositories',
    columns: [name(), number('tags'), ...all.columns, number('shared'), number('freed if deleted')],
    rows: sorted.map((one) => [
      oneLine(one.name),
      String(one.tags.length),
      ...all.cells(one),
      formatSize(one.shared.compressed),
      formatSize(one.unique.compressed),
    ]),
  };
}

function tagsPart(report: Report): TablePart {
  const tags = report.tags.map((tag, at) => ({ ...tag, at }));
  const freeing = tags.filter(({ unique }) => unique.compressed > 0);
  freeing.sort((a, b) => b.unique.compressed - a.unique.compressed);
  const all = byteColumns('all', freeing, ({ total }) => total);
  return {
    title: 'tags that free most by themselves',
    columns: [name(), ...all.columns, number('freed if deleted')],
    rows: freeing.map((one) => [
      oneLine(fullName(report, one.at)),
      ...all.cells(one),
      formatSize(one.unique.compressed),
    ]),
  };
}

const updateName = (
  report: Report,
  { from, to }: { readonly from: number; readonly to: number },
): string => `${oneLine(fullName(report, from))} -> ${oneLine(report.tags[to]?.tag ?? '')}`;

function updatesPart(report: Report): TablePart {
  const sorted = [...report.updates].sort((a, b) => b.bytes - a.bytes);
  const floors = sorted.some(({ floor }) => floor !== undefined);
  const floorOf = ({ floor }: UpdateReport): string =>
    floor === undefined ? '' : formatSize(floor);
  return {
    title: 'largest updates',
    columns: [
      name(),
      text('platform'),
      number('pulled'),
      ...(floors ? [number('floor by files')] : []),
      number('new layers'),
      number("Docker's drivers"),
    ],
    rows: sorted.map((update) => [
      updateName(report, update),
      oneLine(update.platform),
      `${formatSize(update.bytes)} of ${formatSize(update.total)}`,
      ...(floors ? [floorOf(update)] : []),
      `${update.layers.new} of ${update.layers.new + update.layers.kept}`,
      formatSize(update.chainBytes),
    ]),
  };
}

function causesPart({ updates }: Report): TablePart {
  const told = updates.flatMap(({ causes = [] }) => causes);
  const whole = told.reduce((sum, { bytes }) => sum + bytes, 0);
  const rows = [...Map.groupBy(told, ({ component }) => component)].map(([component, causes]) => ({
    component,
    why: [...new Set(causes.map(({ why }) => why))].join(', '),
    updates: causes.length,
    bytes: causes.reduce((sum, { bytes }) => sum + bytes, 0),
  }));
  const isRest = (component: string): number => Number(component === OTHERS);
  rows.sort((a, b) => isRest(a.component) - isRest(b.component) || b.bytes - a.bytes);
  return {
    title: 'what updates are put down to',
    columns: [name(), text('why'), number('updates'), number('bytes'), number('of all')],
    rows: rows.map(({ component, why, updates: count, bytes }) => [
      oneLine(component),
      ...[why, String(count), formatSize(bytes), describeShare(bytes, whole)],
    ]),
  };
}

function recompressedPart({ recompressed }: Report): TablePart {
  const sorted = [...recompressed].sort((a, b) => b.wasted - a.wasted);
  return {
    title: 'the same layer in several blobs',
    columns: [name('diffID'), number('blobs'), number('wasted')],
    rows: sorted.map(({ diffId, blobs, wasted }) => [
      diffId,
      String(blobs.length),
      formatSize(wasted),
    ]),
  };
}

/** What the index of files tells. */
function filesParts(report: Report, files: FilesReport): Part[] {
  const metadata = [...files.metadataOnly].sort((a, b) => b.bytes - a.bytes);
  const retarred = [...(report.retarred ?? [])].sort((a, b) => b.wasted - a.wasted);
  return [
    { lines: [describeFiles(files)] },
    {
      title: 'files that waste most by lying in several layers or places (unpacked)',
      columns: [name(), number('size'), number('copies'), number('layers'), number('wasted')],
      rows: files.duplicates.map(({ paths, digest, size, copies, layers, wasted }) => [
        oneLine(paths[0] ?? digest),
        formatSize(size),
        String(copies),
        String(layers.length),
        formatSize(wasted),
      ]),
    },
    {
      title: 'updates that send files again though their content is the same (unpacked)',
      columns: [
        ...[name(), text('platform'), number('files'), number('bytes')],
        ...[number('metadata differs'), number('nothing differs')],
      ],
      rows: metadata.map((one) => [
        updateName(report, one),
        oneLine(one.platform),
        String(one.files),
        formatSize(one.bytes),
        formatSize(one.bytes - one.unchanged.bytes),
        formatSize(one.unchanged.bytes),
      ]),
    },
    {
      title: 'layers with the same files in tars that differ',
      columns: [name(), number('layers'), number('entries'), number('wasted')],
      rows: retarred.map(({ layers, files: entries, wasted }) => [
        report.layers[layers[0] ?? -1]?.digest ?? '',
        String(layers.length),
        String(entries),
        formatSize(wasted),
      ]),
    },
  ];
}

/** What rechunking would come to: figure, now, then, share. */
function whatIfParts({ whatIf }: Report): Part[] {
  if (!whatIf) return [];
  const { storage, mean, p95, updates } = whatIf;
  const rows: [string, typeof mean][] = [['stored', storage]];
  if (updates.length > 0)
    rows.push(['an update, on average', mean], ['an update, 95th percentile', p95]);
  return [
    {
      title: describeWhatIf(whatIf),
      columns: [text(), number('now'), number('then'), number('of now')],
      rows: rows.map(([what, { now, then }]) => [
        what,
        formatSize(now),
        formatSize(then),
        describeShare(then, now),
      ]),
      whole: true,
    },
    { lines: [describeMigration(whatIf)] },
  ];
}

/** What a node pulls, the most first. */
function nodeParts(report: Report): Part[] {
  if (!report.node) return [];
  const sorted = [...report.node.pulls].sort((a, b) => b.bytes - a.bytes);
  return [
    {
      title: describeNode(report, report.node),
      columns: [name(), number('bytes'), number('layers'), number('time')],
      rows: sorted.map(({ tag, bytes, layers, seconds }) => [
        oneLine(fullName(report, tag)),
        formatSize(bytes),
        String(layers),
        seconds === undefined ? '' : describeSeconds(seconds),
      ]),
    },
  ];
}

/** What could not be read, of at most `most` things; `all` is how a user sees the rest. */
export function skippedLines({ skipped = [] }: Report, most: number, all = ''): string[] {
  const more = skipped.length - most;
  return [
    ...skipped
      .slice(0, most)
      .map((one) => `not counted: ${oneLine(one.name)}: ${oneLine(one.why)}`),
    ...(more > 0 ? [`not counted: ${countOf(more, 'thing')} more${all}`] : []),
  ];
}
