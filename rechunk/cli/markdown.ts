/** Markdown (GFM) of text that images bring. */
import { oneLine } from './values.ts';

/** `text` as code: nothing in it is markup, a mention or a link. */
export function code(text: string): string {
  const plain = oneLine(text).replaceAll('|', '\\|');
  const longest = (plain.match(/`+/g) ?? []).reduce((most, run) => Math.max(most, run.length), 0);
  const fence = '`'.repeat(longest + 1);
  const space = longest > 0 ? ' ' : '';
  return plain === '' ? '' : `${fence}${space}${plain}${space}${fence}`;
}

/** A table of at most `most` rows, and how many more there are. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  most: number,
): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const more = rows.length - most;
  return [
    line(head),
    line(head.map(() => '---')),
    ...rows.slice(0, most).map(line),
    ...(more > 0 ? ['', `… and ${more} more`] : []),
  ];
}
