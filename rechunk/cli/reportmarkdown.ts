/** A report as Markdown, fit for `$GITHUB_STEP_SUMMARY` (which takes 1 MiB), release notes and comments. */
import type { Report } from '../../registry/report/report.ts';
import { code, table } from './markdown.ts';
import { type Part, partsOf, skippedLines, type TablePart } from './reportparts.ts';
import type { Shown } from './reportsummary.ts';

/** What GitHub takes as a step's summary, bytes; the whole file counts, so a part is left to others. */
const SUMMARY_LIMIT = 1_000_000;

/** The report; fewer rows than asked for where it would be too long for a step's summary. */
export function formatMarkdown(report: Report, { rows }: Shown): string {
  const parts = partsOf(report);
  for (let most = rows; ; most = Math.min(Math.floor(most / 2), 10_000)) {
    const text = inMarkdown(report, parts, most);
    if (Buffer.byteLength(text) < SUMMARY_LIMIT || most === 0) return text;
  }
}

function inMarkdown(report: Report, parts: readonly Part[], most: number): string {
  const skipped = skippedLines(report, most);
  return [
    `### Layers of ${report.targets.map(code).join(', ')}`,
    ...parts.flatMap((part) => ('lines' in part ? list(part.lines) : tableOf(part, most))),
    ...list(skipped),
    '',
  ].join('\n');
}

/** One sentence as a paragraph, several as a list. */
function list(lines: readonly string[]): string[] {
  if (lines.length === 0) return [];
  const safe = lines.map(plain);
  return [
    '',
    ...(safe.length === 1 ? safe.map((line) => `${line}.`) : safe.map((line) => `* ${line}`)),
  ];
}

function tableOf({ title, columns, rows, whole }: TablePart, most: number): string[] {
  if (most === 0 && !whole) return [];
  const shown = whole ? rows.length : most;
  const safe = rows
    .slice(0, shown)
    .map((row) => row.map((cell, i) => (columns[i]?.kind === 'name' ? code(cell) : plain(cell))));
  const lines = table(
    columns.map(({ head }) => plain(head)),
    safe,
    shown,
  );
  const more = rows.length - shown;
  return [
    ...(title === '' ? [] : ['', `#### ${plain(capital(title))}`]),
    '',
    ...lines,
    ...(more > 0 ? ['', `… and ${more} more`] : []),
  ];
}

/** `text` in which nothing is markup, a mention or a link. */
function plain(text: string): string {
  return (
    text
      .replace(/[\\`*_{}[\]#+!|<>@~&]/g, (char) => `\\${char}`)
      .replace(/:(?=\/\/)|(?<=www)\./gi, (char) => `\\${char}`)
      // GitHub takes what stands between two for mathematics, and no backslash for an answer.
      .replaceAll('$', '<span>$</span>')
  );
}

/** A title begins with a word of ours. */
function capital(title: string): string {
  return title.charAt(0).toUpperCase() + title.slice(1);
}
