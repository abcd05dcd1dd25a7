/** What people are told on stderr, the one place where it is written. */
import { visible } from '../../registry/visible.ts';

/** Whose word it is: `note` of what went another way, `rechunk` of what ends a run. */
export type Speaker = 'note' | 'rechunk';

/** What CI hosts take for an order to them, wherever a line is indented to. */
const ORDER = /^\s*(?=::|##\[)/;

/**
 * `text` as it is told, with a line's end. Names that strangers chose may be in it: a terminal would obey their control characters, and
 * a line of theirs could pass for one of ours or for an order to a CI host. A note is one line; of an error, what follows the first line is
 * indented.
 */
export function saying(speaker: Speaker, text: string): string {
  const lines = text.split('\n').map((line) => visible(line.replaceAll('\t', '  ')));
  if (speaker === 'note') return `note: ${lines.map((line) => line.trim()).join(' ')}\n`;
  const told = lines.map((line, i) => {
    if (i === 0) return line;
    return ORDER.test(line) ? line.replace(ORDER, '  | ') : line.replace(/^(?=\S)/, '  ');
  });
  return `rechunk: ${told.join('\n')}\n`;
}

/** Tells people `text`. */
export function say(speaker: Speaker, text: string): void {
  process.stderr.write(saying(speaker, text));
}
