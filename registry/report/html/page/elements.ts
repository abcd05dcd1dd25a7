/** Elements made from text, never from HTML: names are names. */

/** An element with `content`. */
export function element(name: string, ...content: readonly (Node | string)[]): HTMLElement {
  const made = document.createElement(name);
  made.append(...content);
  return made;
}

/** A tooltip: a title and lines. */
export function tip(title: string, lines: readonly string[]): HTMLElement {
  const made = element('div', element('b', title));
  made.className = 'tip';
  for (const line of lines) made.append(element('div', line));
  return made;
}

/** A title and a list, the first `most` of it. */
export function told(title: string, lines: readonly string[], most: number): HTMLElement {
  const shown = lines.slice(0, most).map((line) => element('li', line));
  const left = lines.length - shown.length;
  const rest = left > 0 ? [element('li', `and ${left} more`)] : [];
  return element('div', element('b', title), element('ul', ...shown, ...rest));
}
