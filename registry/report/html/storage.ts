/** Sections of the page about what is stored: repositories, tags, layers, what is wasted. */
import { formatSize } from '../../size.ts';
import type { Bytes, Deletion, Report, TagReport, Unreferenced } from '../report.ts';
import { type Content, html, type Markup } from './markup.ts';
import { type Column, table } from './tables.ts';
import { counted, day, digest, percent, ratio, size, sizeBar, tagName } from './words.ts';

const most = (sizes: readonly number[]): number => sizes.reduce((a, b) => Math.max(a, b), 0);

/** Bars of the headline: what there would be without sharing, what is stored, what would do. */
export function headline({ headline: found }: Report): Markup {
  const { logical, stored, uniqueFiles, rechunked } = found;
  const rows: [string, string, Bytes | undefined][] = [
    ['Logical', 'every tag by itself, as if nothing were shared', logical],
    ['Stored', 'each blob once', stored],
    ['Unique files', 'each file’s content once', uniqueFiles],
    ['After rechunking', 'what our planner would store', rechunked],
  ];
  const bars = rows.flatMap(([name, says, bytes]) =>
    bytes === undefined
      ? []
      : [
          html`<div class="figure"><dt>${name} <span>${says}</span></dt>
<dd><b>${size(bytes.compressed)}</b><span class="track"><i style="--v:${ratio(bytes.compressed, logical.compressed)}"></i></span>
${bytes.uncompressed === undefined ? '' : html`<small>${formatSize(bytes.uncompressed)} unpacked</small>`}</dd></div>`,
        ],
  );
  return html`<dl class="bars">${bars}</dl>`;
}

/** What each repository holds. */
export function repositories(report: Report): Markup {
  const largest = most(report.repositories.map(({ total }) => total.compressed));
  type Row = Report['repositories'][number];
  const columns: Column<Row>[] = [
    { name: 'Repository', cell: ({ name }) => name, sort: ({ name }) => name },
    { name: 'Tags', cell: ({ tags }) => tags.length, sort: ({ tags }) => tags.length },
    bytesColumn('Total', ({ total }) => total, largest, 'total'),
    bytesColumn('Freed if deleted', ({ unique }) => unique, largest, 'unique'),
    bytesColumn('Shared', ({ shared }) => shared, largest, 'shared'),
    bytesColumn('Logical', ({ logical }) => logical, 0),
    {
      name: 'Shares most with',
      cell: ({ sharedWith }) =>
        sharedWith
          .slice(0, 3)
          .map(
            ({ repository, bytes }) =>
              html`${report.repositories[repository]?.name} ${size(bytes)}<br>`,
          ),
    },
    {
      name: 'Layer links, stale',
      cell: ({ links }) => links && `${links.layers}, ${links.stale}`,
      sort: ({ links }) => links?.stale,
    },
  ];
  return table({
    caption: 'Repositories',
    rows: report.repositories,
    columns,
    repository: (row) => report.repositories.indexOf(row),
  });
}

function bytesColumn<Row>(
  name: string,
  of: (row: Row) => Bytes,
  largest: number,
  kind?: string,
): Column<Row> {
  return {
    name,
    cell: (row) => (largest === 0 ? size(of(row).compressed) : sizeBar(of(row), largest, kind)),
    sort: (row) => of(row).compressed,
  };
}

/** What each tag needs, and frees. */
export function tags(report: Report): Markup {
  const largest = most(report.tags.map(({ total }) => total.compressed));
  const layersOf = ({ images }: TagReport): number =>
    most(images.map(({ layers }) => layers.length));
  const exceeded = Map.groupBy(report.limits ?? [], ({ tag }) => tag);
  const rows = [...report.tags.keys()];
  const of = (index: number): TagReport => report.tags[index] as TagReport;
  const columns: Column<number>[] = [
    {
      name: 'Tag',
      cell: (index) => tagName(report, index),
      sort: (index) => `${report.repositories[of(index).repository]?.name}:${of(index).tag}`,
    },
    { name: 'Digest', cell: (index) => digest(of(index).digest) },
    {
      name: 'Created',
      cell: (index) => day(of(index).created),
      sort: (index) => of(index).created ?? '',
    },
    { name: 'Platforms', cell: (index) => of(index).platforms.join(', ') },
    { name: 'Layers', cell: (index) => layersOf(of(index)), sort: (index) => layersOf(of(index)) },
    bytesColumn('Total', (index) => of(index).total, largest, 'total'),
    bytesColumn('Freed if deleted', (index) => of(index).unique, largest, 'unique'),
    bytesColumn('Shared here', (index) => of(index).sharedInRepository, 0),
    bytesColumn('Shared with others', (index) => of(index).sharedAcross, 0),
    { name: 'Attached', cell: (index) => of(index).attached?.length || undefined },
    {
      name: 'Too much for',
      cell: (index) =>
        exceeded
          .get(index)
          ?.map(
            ({ rule, found, limit, consumers }) =>
              html`<span class="bad">${consumers.join(', ')}: ${rule} ${found} > ${limit}</span><br>`,
          ),
    },
  ];
  return table({ caption: 'Tags', rows, columns, tag: (index) => index });
}

/** Layers in the list of the largest. */
const LAYER_ROWS = 200;

/** The largest layers. */
export function layers(report: Report): Markup {
  const rows = report.layers.toSorted((a, b) => b.size - a.size).slice(0, LAYER_ROWS);
  const largest = rows[0]?.size ?? 0;
  const columns: Column<Report['layers'][number]>[] = [
    { name: 'Layer', cell: (layer) => digest(layer.digest) },
    {
      name: 'Size',
      cell: ({ size: compressed, uncompressed }) =>
        sizeBar({ compressed, ...(uncompressed !== undefined && { uncompressed }) }, largest),
      sort: ({ size: compressed }) => compressed,
    },
    { name: 'Tags', cell: (layer) => layer.tags.length, sort: (layer) => layer.tags.length },
    { name: 'Type', cell: ({ mediaType }) => mediaType.replace(/^.*\.(?=tar|diff)/, '') },
    { name: 'Created by', cell: ({ createdBy }) => createdBy && html`<code>${createdBy}</code>` },
  ];
  return table({ caption: `Largest ${rows.length} layers`, rows, columns });
}

/** The same layer stored several times: under several compressions, or packed in several ways. */
export function repeated(report: Report): Markup | undefined {
  const { recompressed, retarred = [] } = report;
  if (recompressed.length + retarred.length === 0) return undefined;
  const inOtherForms = table({
    caption: 'One layer, compressed in several ways',
    rows: recompressed,
    columns: [
      { name: 'DiffID', cell: ({ diffId }) => digest(diffId) },
      {
        name: 'Wasted',
        cell: ({ wasted }) => size(wasted),
        sort: ({ wasted }) => wasted,
      },
      {
        name: 'Blobs',
        cell: ({ blobs }) =>
          blobs.map(
            (blob) =>
              html`${digest(blob.digest)} ${size(blob.size)} <span class="dim">${blob.mediaType}</span><br>`,
          ),
      },
    ],
  });
  const inOtherTars = table({
    caption: 'The same files in tars that differ',
    rows: retarred,
    columns: [
      {
        name: 'Layers',
        cell: (row) =>
          row.layers.map((layer) => html`${digest(report.layers[layer]?.digest ?? '')} `),
      },
      { name: 'Files', cell: ({ files }) => files, sort: ({ files }) => files },
      { name: 'Wasted', cell: ({ wasted }) => size(wasted), sort: ({ wasted }) => wasted },
    ],
  });
  return html`${recompressed.length > 0 ? inOtherForms : ''}${retarred.length > 0 ? inOtherTars : ''}`;
}

/** Blobs of a store in the list of those that nothing needs. */
const BLOB_ROWS = 100;

/** What stores hold that no tag needs. */
export function unreferenced(report: Report): Markup | undefined {
  if (report.unreferenced.length === 0) return undefined;
  return html`${report.unreferenced.map((found) => strays(report, found))}`;
}

function strays(report: Report, found: Unreferenced): Markup {
  const store = report.stores[found.store] ?? '';
  if (found.unknown !== undefined)
    return html`<p><b>${store}</b>: not known, ${found.unknown}.</p>`;
  const { blobs, untagged, dangling, copies, uploads } = found;
  const rows = [
    ...untagged.map((one) => ({ ...one, kind: 'manifest without a tag', freed: one.bytes })),
    ...dangling.map((one) => ({ ...one, kind: 'its subject is gone', freed: one.size })),
    ...blobs
      .slice(0, BLOB_ROWS)
      .map((one) => ({ ...one, kind: 'blob', repository: '', freed: one.size })),
  ];
  const words = `${counted(blobs.length, 'blob')} that no manifest needs (${formatSize(found.bytes)}), ${counted(untagged.length, 'manifest')} without a tag (${formatSize(found.untaggedBytes)})`;
  const twice = copies === undefined ? '' : `, ${formatSize(copies)} in second copies`;
  const begun = uploads?.count
    ? `, ${counted(uploads.count, 'unfinished upload')} (${formatSize(uploads.bytes)})`
    : '';
  if (rows.length === 0) return html`<p><b>${store}</b>: nothing${twice}${begun}.</p>`;
  return html`<p><b>${store}</b>: ${words}${twice}${begun}.</p>${table({
    caption: `Not needed in ${store}`,
    rows,
    columns: [
      { name: 'Digest', cell: (row) => digest(row.digest) },
      { name: 'What', cell: ({ kind }) => kind },
      { name: 'Repository', cell: ({ repository }) => repository },
      { name: 'Frees', cell: ({ freed }) => size(freed), sort: ({ freed }) => freed },
    ],
  })}`;
}

/** What deleting the tags that were asked about frees. */
export function deletion(report: Report, found: Deletion): Markup {
  const { freed, patterns, tags: gone, blobs } = found;
  const part = percent(freed.compressed, report.headline.stored.compressed);
  const names: Content[] = gone.map((tag) => html`<li>${tagName(report, tag)}</li>`);
  return html`<p>Deleting ${counted(gone.length, 'tag')} (<code>${patterns.join(' ')}</code>) frees <b>${size(freed.compressed)}</b>, ${part} of what is stored: ${counted(blobs, 'blob')}.</p>
<details><summary>The tags</summary><ul class="names">${names}</ul></details>`;
}
