/** What people are told on stderr, the one place where it is written. */
import { visible } from '../../registry/visible.ts';

/** Whose word it is: `note` of what went another way, `rechunk` of what ends a run. */
export type Speaker = 'note' | 'rechunk';

/**
 * `text` as it is told, with a line's end. Names that strangers chose may be in it: a terminal would obey their control characters, and
 * a line of theirs could pass for one of ours, so what follows the first line is indented.
 */
export function saying(speaker: Speaker, text: string): string {
  const lines = text.split('\n').map((line) => visible(line.replaceAll('\t', '  ')));
  const told = lines.map((line, i) => (i === 0 || /^\s/.test(line) ? line : `  ${line}`));
  return `${speaker}: ${told.join('\n')}\n`;
}

/** Tells people `text`. */
export function say(speaker: Speaker, text: string): void {
  process.stderr.write(saying(speaker, text));
}
