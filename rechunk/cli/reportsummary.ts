/** A report as a summary for terminals. */
import type { Report } from '../../registry/report/report.ts';
import { type Column, partsOf, skippedLines, type TablePart } from './reportparts.ts';

/** How many rows of each list are shown. */
export interface Shown {
  readonly rows: number;
}

/** The summary, with a line's end. */
export function formatText(report: Report, { rows }: Shown): string {
  const blocks = partsOf(report).map((part) =>
    'lines' in part ? part.lines : tableOf(part, rows),
  );
  const all = [...blocks, skippedLines(report, rows, ' (--all)')].filter(
    ({ length }) => length > 0,
  );
  return `${all.map((lines) => lines.join('\n')).join('\n\n')}\n`;
}

function tableOf({ title, columns, rows, whole }: TablePart, most: number): string[] {
  const shown = whole ? rows : rows.slice(0, most);
  const more = rows.length - shown.length;
  return [
    ...(title === '' ? [] : [`${title}:`]),
    ...align(title === '' ? shown : [columns.map(({ head }) => head), ...shown], columns),
    ...(more > 0 ? [`  … and ${more} more (--all)`] : []),
  ];
}

/** Cells below each other, numbers to the right. */
function align(rows: readonly (readonly string[])[], columns: readonly Column[]): string[] {
  const widths = columns.map((_, i) =>
    rows.reduce((most, row) => Math.max(most, row[i]?.length ?? 0), 0),
  );
  return rows.map((row) => {
    const cells = row.map((cell, i) =>
      columns[i]?.kind === 'number' ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
    );
    return `  ${cells.join('  ')}`.trimEnd();
  });
}
