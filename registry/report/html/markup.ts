/**
 * HTML from templates. Whatever is put into one is text and is escaped; only what a template made is taken as it stands, so that names of
 * repositories, tags and files, which strangers choose, stay names.
 */
import { visible } from '../../visible.ts';

/** HTML that stands as it is. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** What a template takes. */
export type Content = Markup | string | number | undefined | readonly Content[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function textOf(content: Content): string {
  if (content === undefined) return '';
  if (content instanceof Markup) return content.text;
  if (Array.isArray(content)) return content.map(textOf).join('');
  return visible(String(content)).replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char);
}

/** A template's HTML; attributes are to be in double quotes. */
export function html(parts: TemplateStringsArray, ...values: readonly Content[]): Markup {
  return new Markup(parts.reduce((made, part, i) => made + textOf(values[i - 1]) + part));
}

/** JSON that may stand in a script element: no character of it starts a tag or ends the element. */
export function scriptJson(value: unknown): Markup {
  const escaped = (char: string): string =>
    `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return new Markup(JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, escaped));
}
