/** Sections of the page about what updates pull. */
import { formatSize } from '../../size.ts';
import type { Cause, FilesReport, NodeReport, Report, UpdateReport, WhatIf } from '../report.ts';
import { html, type Markup } from './markup.ts';
import { type Column, table } from './tables.ts';
import {
  counted,
  digest,
  duration,
  grouped,
  percent,
  ratio,
  size,
  sizeBar,
  tagName,
} from './words.ts';

/** Causes named in a row of the table. */
const SHOWN_CAUSES = 3;

/** Each update with what it pulls, at least, and why. */
export function updates(report: Report): Markup {
  const largest = report.updates.reduce((most, { bytes }) => Math.max(most, bytes), 0);
  const platforms = new Set(report.updates.map(({ platform }) => platform));
  const optional = (
    of: (row: UpdateReport) => number | undefined,
  ): Partial<Column<UpdateReport>> => ({
    cell: (row) => {
      const bytes = of(row);
      return bytes === undefined ? undefined : size(bytes);
    },
    sort: of,
  });
  const columns: Column<UpdateReport>[] = [
    { name: 'To', cell: ({ to }) => tagName(report, to), sort: ({ to }) => to },
    { name: 'From', cell: ({ from }) => report.tags[from]?.tag },
    { name: 'Platform', cell: ({ platform }) => (platforms.size > 1 ? platform : undefined) },
    {
      name: 'Pulled',
      cell: ({ bytes }) => sizeBar(bytes, largest, 'unique'),
      sort: ({ bytes }) => bytes,
    },
    {
      name: 'Of the image',
      cell: ({ bytes, total }) => percent(bytes, total),
      sort: ({ bytes, total }) => (total === 0 ? 0 : bytes / total),
    },
    {
      name: 'New layers',
      cell: ({ layers }) => `${layers.new} of ${layers.new + layers.kept}`,
      sort: ({ layers }) => layers.new,
    },
    {
      name: 'By Docker’s graph drivers',
      cell: ({ chainBytes }) => size(chainBytes),
      sort: ({ chainBytes }) => chainBytes,
    },
    { name: 'Floor by files', cell: () => '', ...optional(({ floor }) => floor) },
    { name: 'Why', cell: ({ causes = [] }) => causes.slice(0, SHOWN_CAUSES).map(causeOf) },
  ];
  return table({ caption: 'Updates', rows: report.updates, columns, tag: ({ to }) => to });
}

function causeOf({ component, why, bytes, detail }: Cause): Markup {
  return html`${component} <span class="dim">${detail ?? why}</span> ${size(bytes)}<br>`;
}

/** Tags of a matrix that the page shows as a table. */
const MATRIX_TAGS = 10;

/** What every one of the newest tags costs from every other one, and at least, where that is known. */
export function matrices(report: Report): Markup {
  return html`${report.matrices.map((matrix) => {
    const start = Math.max(0, matrix.tags.length - MATRIX_TAGS);
    const shown = matrix.tags.slice(start);
    const cells = matrix.bytes.slice(start).map((row) => row.slice(start));
    const largest = cells.flat().reduce((a, b) => Math.max(a, b), 0);
    const name = report.repositories[matrix.repository]?.name;
    const least = (i: number, j: number): Markup | undefined => {
      const bytes = matrix.floor?.[start + i]?.[start + j];
      return bytes === undefined
        ? undefined
        : html`<br><span class="dim">${formatSize(bytes)}</span>`;
    };
    const floors = matrix.floor ? '; below it the floor by files' : '';
    const caption = `${name}, ${matrix.platform}: from each (rows) of the newest ${shown.length} tags to each other${floors}`;
    return html`<div class="scroll" role="region" aria-label="${caption}" tabindex="0" data-repository="${matrix.repository}"><table class="heat"><caption>${caption}</caption>
<thead><tr><th scope="col">from \\ to</th>${shown.map((tag) => html`<th scope="col">${report.tags[tag]?.tag}</th>`)}</tr></thead>
<tbody>${shown.map(
      (tag, i) =>
        html`<tr><th scope="row">${report.tags[tag]?.tag}</th>${cells[i]?.map(
          (bytes, j) =>
            html`<td style="--v:${ratio(bytes, largest)}">${i === j ? '' : html`${formatSize(bytes)}${least(i, j)}`}</td>`,
        )}</tr>`,
    )}</tbody></table></div>`;
  })}`;
}

/** What a node that holds some tags pulls for the others. */
export function node(report: Report, { holds, platform, mbit, pulls }: NodeReport): Markup {
  const largest = pulls.reduce((most, { bytes }) => Math.max(most, bytes), 0);
  const speed = mbit === undefined ? '' : ` Times suppose ${mbit} Mbit/s.`;
  const held = holds.map((tag) => html`${tagName(report, tag)} `);
  return html`<p>A node (${platform}) holds ${held}and pulls this for others.${speed}</p>${table({
    caption: 'Pulled by a node',
    rows: pulls,
    tag: ({ tag }) => tag,
    columns: [
      { name: 'Tag', cell: ({ tag }) => tagName(report, tag), sort: ({ tag }) => tag },
      { name: 'Pulled', cell: ({ bytes }) => sizeBar(bytes, largest), sort: ({ bytes }) => bytes },
      { name: 'Layers', cell: ({ layers }) => layers, sort: ({ layers }) => layers },
      {
        name: 'Time',
        cell: ({ seconds }) => (seconds === undefined ? undefined : duration(seconds)),
        sort: ({ seconds }) => seconds,
      },
    ],
  })}`;
}

/** What rechunking would come to. */
export function whatIf(found: WhatIf): Markup {
  const { tags, maxLayers, compression, storage, mean, p95, firstMigration } = found;
  const stored = compression === undefined ? '' : `, ${compression}`;
  const rows: [string, { readonly now: number; readonly then: number }][] = [
    ['Stored', storage],
    ['A usual update (mean)', mean],
    ['A large update (95th percentile)', p95],
  ];
  return html`<p>The last ${counted(tags, 'tag')} of each stream, rechunked for trial with at most ${maxLayers} layers${stored}. Switching costs a node of each stream and platform ${size(firstMigration)} once, all together.</p>${table(
    {
      caption: 'Rechunked',
      rows,
      columns: [
        { name: 'What', cell: ([name]) => name },
        { name: 'Now', cell: ([, { now }]) => size(now), sort: ([, { now }]) => now },
        {
          name: 'Then',
          cell: ([, { now, then }]) => sizeBar(then, now, 'shared'),
          sort: ([, { then }]) => then,
        },
        { name: 'Of now', cell: ([, { now, then }]) => percent(then, now) },
      ],
    },
  )}`;
}

/** What the index of files tells: duplicates, and files whose metadata alone changed. */
export function files(report: Report, found: FilesReport): Markup {
  const largest = found.duplicates[0]?.wasted ?? 0;
  const twice = found.bytes - found.uniqueBytes;
  const duplicates = table({
    caption: 'Files that lie in several places',
    rows: found.duplicates,
    columns: [
      {
        name: 'Wasted',
        cell: ({ wasted }) => sizeBar(wasted, largest, 'unique'),
        sort: ({ wasted }) => wasted,
      },
      { name: 'Copies', cell: ({ copies }) => copies, sort: ({ copies }) => copies },
      { name: 'Size', cell: (file) => size(file.size), sort: (file) => file.size },
      { name: 'Layers', cell: ({ layers }) => layers.length, sort: ({ layers }) => layers.length },
      { name: 'Content', cell: (file) => digest(file.digest) },
      {
        name: 'Some paths',
        cell: ({ paths }) => paths.map((path) => html`<code>${path}</code><br>`),
      },
    ],
  });
  const metadata = table({
    caption:
      'Files that are sent again though their content is the same: only owner, mode, time or attributes differ, or nothing but the layer',
    rows: found.metadataOnly,
    tag: ({ to }) => to,
    columns: [
      { name: 'To', cell: ({ to }) => tagName(report, to), sort: ({ to }) => to },
      { name: 'From', cell: ({ from }) => report.tags[from]?.tag },
      { name: 'Files', cell: (row) => row.files, sort: (row) => row.files },
      { name: 'Bytes', cell: ({ bytes }) => size(bytes), sort: ({ bytes }) => bytes },
      {
        name: 'Of these, nothing differs',
        cell: ({ unchanged }) => size(unchanged.bytes),
        sort: ({ unchanged }) => unchanged.bytes,
      },
    ],
  });
  return html`<p>${grouped(found.references)} files have ${grouped(found.contents)} contents: ${size(twice)} of ${size(found.bytes)} (unpacked) are further copies.</p>
${duplicates}${found.metadataOnly.length > 0 ? metadata : ''}`;
}
