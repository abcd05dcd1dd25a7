/** Tables of the page: whole without script, sorted and filtered by it. */
import { type Content, html, Markup } from './markup.ts';

/** One column of a table. */
export interface Column<Row> {
  readonly name: string;
  readonly cell: (row: Row) => Content;
  /** What the column is sorted by; a column of numbers if it gives numbers. */
  readonly sort?: (row: Row) => number | string | undefined;
}

/** What a table shows. */
export interface TableOptions<Row> {
  /** For links within the page, and to read it aloud. */
  readonly caption: string;
  readonly rows: readonly Row[];
  readonly columns: readonly Column<Row>[];
  /** The tag (index) that a row is about: it goes where the filter leaves that tag out. */
  readonly tag?: (row: Row) => number;
  /** The same for repositories. */
  readonly repository?: (row: Row) => number;
}

/** Rows that a table has at most: pages of more are slow, and nobody reads them. */
export const ROW_LIMIT = 2000;

function cellOf<Row>({ cell, sort }: Column<Row>, row: Row, isFirst: boolean): Markup {
  const key = sort?.(row);
  const sorted = key === undefined ? '' : html` data-sort="${key}"`;
  if (isFirst) return html`<th scope="row"${sorted}>${cell(row)}</th>`;
  const kind = typeof key === 'number' ? html` class="n"` : '';
  return html`<td${kind}${sorted}>${cell(row)}</td>`;
}

function isNumeric<Row>(rows: readonly Row[], { sort }: Column<Row>): boolean {
  return sort !== undefined && rows.some((row) => typeof sort(row) === 'number');
}

/** A table in a region of its own that scrolls; columns without any content are left out. */
export function table<Row>({ caption, rows, columns, tag, repository }: TableOptions<Row>): Markup {
  const used = columns.filter(({ cell }, i) => i === 0 || rows.some((row) => !isEmpty(cell(row))));
  const heads = used.map((column, i) => {
    const isNumber = isNumeric(rows, column);
    const kind = isNumber && i > 0 ? html` class="n"` : '';
    return html`<th scope="col"${kind}${isNumber ? html` data-numeric` : ''}>${column.name}</th>`;
  });
  const body = rows.slice(0, ROW_LIMIT).map((row) => {
    const about = [
      tag ? html` data-tag="${tag(row)}"` : '',
      repository ? html` data-repository="${repository(row)}"` : '',
    ];
    const cells = used.map((column, i) => cellOf(column, row, i === 0));
    return html`<tr${about}>${cells}</tr>\n`;
  });
  const more = rows.length - ROW_LIMIT;
  return html`<div class="scroll" role="region" aria-label="${caption}" tabindex="0"><table>
<caption>${caption}</caption>
<thead><tr>${heads}</tr></thead>
<tbody>
${body}</tbody>
</table></div>
${more > 0 ? html`<p class="note">${more} more rows are in the report as JSON.</p>` : ''}`;
}

function isEmpty(content: Content): boolean {
  if (content instanceof Markup) return content.text === '';
  return (
    content === undefined || content === '' || (Array.isArray(content) && content.length === 0)
  );
}
