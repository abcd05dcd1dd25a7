/** Characters that are not seen: control characters, those of text direction, those without a width. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** `text` with what is not seen of it written as `\u{202e}`: a name that strangers choose looks like what it is, and a terminal obeys nothing. */
export function visible(text: string): string {
  return text.replace(HIDDEN, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}
