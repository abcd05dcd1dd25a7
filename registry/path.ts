/**
 * Paths are bytes. A {@link Path} is a string with one char a byte (latin1), so that no name is lost whatever its
 * encoding and string order is byte order.
 */

declare const brand: unique symbol;

/** A path in an image: one char a byte, no leading or trailing slash, no empty, `.` or `..` part; '' is the root. */
export type Path = string & { readonly [brand]: never };

/** The path that has these bytes; the caller vouches for the form. */
export function pathOf(bytes: Buffer): Path {
  return bytes.toString('latin1') as Path;
}

/** The path of a text that is written in this program or typed by a user (UTF-8 encoded); slashes at the ends are dropped. */
export function pathFromText(text: string): Path {
  return Buffer.from(text.replace(/^\/+|\/+$/g, ''), 'utf8').toString('latin1') as Path;
}

/** The path as text for people: UTF-8 where it is, else bytes escaped as `\xNN`; control characters are escaped too. */
export function showPath(path: string): string {
  const bytes = Buffer.from(path, 'latin1');
  const text = bytes.toString('utf8');
  const safe = Buffer.from(text, 'utf8').equals(bytes) ? text : undefined;
  const escaped = (char: string): string =>
    `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
  if (safe !== undefined) return safe.replace(/[\x00-\x1f\x7f\\]/g, escaped);
  return path.replace(/[^\x20-\x5b\x5d-\x7e]/g, escaped);
}

/** The path of the directory that holds `path`; the root's is the root. */
export function parentOf(path: Path): Path {
  const slash = path.lastIndexOf('/');
  return (slash < 0 ? '' : path.slice(0, slash)) as Path;
}

/** The last part of `path`. */
export function nameOf(path: Path): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** `directory` and `name` joined. */
export function joinPath(directory: Path, name: string): Path {
  return (directory === '' ? name : `${directory}/${name}`) as Path;
}

/** The ancestors of `path`, topmost first, without the root and without `path` itself. */
export function ancestorsOf(path: Path): Path[] {
  const ancestors: Path[] = [];
  for (let i = path.indexOf('/'); i >= 0; i = path.indexOf('/', i + 1))
    ancestors.push(path.slice(0, i) as Path);
  return ancestors;
}

/** Canonical order: by whole parts, bytewise, parents first (`/` sorts below every other byte). */
export function comparePaths(a: Path, b: Path): number {
  const length = Math.min(a.length, b.length);
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === length) return a.length - b.length;
  const rank = (code: number): number => (code === 0x2f ? -1 : code);
  return rank(a.charCodeAt(i)) - rank(b.charCodeAt(i));
}
