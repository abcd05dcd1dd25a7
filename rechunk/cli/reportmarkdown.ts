/** A report as Markdown, fit for `$GITHUB_STEP_SUMMARY` (which takes 1 MiB), release notes and comments. */
import { fullName } from '../../registry/report/figures.ts';
import type { Report } from '../../registry/report/report.ts';
import { code, table } from './markdown.ts';
import {
  causeRows,
  describeDeletion,
  describeMigration,
  describeNode,
  describeScope,
  describeThreshold,
  describeUnreferenced,
  describeUpdates,
  describeWhatIf,
  gatherLimits,
  headlineRows,
  pullRows,
  recompressedRows,
  repositoryRows,
  type Shown,
  tagRows,
  updateRows,
  whatIfRows,
} from './reporttext.ts';

/** What GitHub takes as a step's summary, bytes; the whole file counts, so a part is left to others. */
const SUMMARY_LIMIT = 1_000_000;
/** Rows of what rechunking would come to: all of them. */
const MOST_WHAT_IF = 10;

/** The report; fewer rows than asked for where it would be too long for a step's summary. */
export function formatMarkdown(report: Report, { rows }: Shown): string {
  for (let most = rows; ; most = Math.min(Math.floor(most / 2), 10_000)) {
    const text = inMarkdown(report, { rows: most });
    if (Buffer.byteLength(text) < SUMMARY_LIMIT || most === 0) return text;
  }
}

function inMarkdown(report: Report, shown: Shown): string {
  const name = (tag: number): string => code(fullName(report, tag));
  const updates = describeUpdates(report);
  const crossed = (report.thresholds ?? []).map((one) => `* ${plain(describeThreshold(one))}`);
  return [
    `### Layers of ${report.targets.map(code).join(', ')}`,
    '',
    `${describeScope(report)}.`,
    ...(crossed.length > 0 ? ['', ...crossed] : []),
    '',
    ...table(['', 'bytes', 'of all'], headlineRows(report), shown.rows),
    ...part(
      'Repositories',
      ['', 'tags', 'all', 'shared', 'freed if deleted'],
      repositoryRows(report),
      shown,
    ),
    ...part(
      'Tags that free most by themselves',
      ['', 'all', 'freed if deleted'],
      tagRows(report),
      shown,
    ),
    ...(updates === undefined ? [] : ['', `${updates}.`]),
    ...part(
      'Largest updates',
      ['', 'platform', 'pulled', 'new layers', 'Docker’s drivers'],
      updateRows(report),
      shown,
    ),
    ...part(
      'What updates are put down to',
      ['', 'why', 'updates', 'bytes', 'of all'],
      causeRows(report),
      shown,
    ),
    ...part(
      'The same layer in several blobs',
      ['diffID', 'blobs', 'wasted'],
      recompressedRows(report),
      shown,
    ),
    ...(report.whatIf
      ? [
          ...['', '#### What if', '', `${plain(describeWhatIf(report.whatIf))}:`, ''],
          ...table(['', 'now', 'then', 'of now'], whatIfRows(report.whatIf), MOST_WHAT_IF),
          ...['', `${plain(describeMigration(report.whatIf))}.`],
        ]
      : []),
    ...(report.deletion ? ['', `${plain(describeDeletion(report.deletion))}.`] : []),
    ...(report.node
      ? part(
          plain(describeNode(report, report.node)),
          ['', 'bytes', 'layers', 'time'],
          pullRows(report),
          shown,
        )
      : []),
    '',
    ...report.unreferenced.flatMap((one) =>
      describeUnreferenced(report, one).map((text) => `* ${plain(text)}`),
    ),
    ...gatherLimits(report.limits ?? []).map(
      ({ text, first, tags }) =>
        `* limit: ${text} (${name(first.tag)}${tags > 1 ? ` and ${tags - 1} more` : ''})`,
    ),
    ...(report.skipped ?? [])
      .slice(0, shown.rows)
      .map((one) => `* not counted: ${code(one.name)}: ${plain(one.why)}`),
    '',
  ].join('\n');
}

function part(
  title: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { rows: most }: Shown,
): string[] {
  if (rows.length === 0 || most === 0) return [];
  // The first cell of every row is a name that somebody chose.
  const safe = rows.slice(0, most + 1).map(([first = '', ...rest]) => [code(first), ...rest]);
  const lines = table(head, safe, most);
  const more = rows.length - most;
  return [
    '',
    `#### ${title}`,
    '',
    ...(more > 0 ? [...lines.slice(0, -1), `… and ${more} more`] : lines),
  ];
}

/** `text` in which nothing is markup, a mention or a link. */
function plain(text: string): string {
  return text.replace(/[\\`*_{}[\]()#+!|<>@~&]/g, (char) => `\\${char}`);
}
