/**
 * Paths are bytes. A {@link Path} is a string with one char a byte (latin1), so that no name is lost whatever its
 * encoding and string order is byte order.
 */

import { RechunkError } from './errors.ts';

declare const brand: unique symbol;

/** A path in an image: one char a byte, no leading or trailing slash, no empty, `.` or `..` part; '' is the root. */
export type Path = string & { readonly [brand]: never };

/** Longest name of a path's part, bytes (Linux: NAME_MAX). */
export const NAME_LIMIT = 255;
/** Longest path, bytes (Linux: PATH_MAX). */
export const PATH_LIMIT = 4096;
/** Most parts that a path can have: one more and no container file system is known to hold it. */
export const DEPTH_LIMIT = 1024;

/** The path that has these bytes; the caller vouches for the form. */
export function pathOf(bytes: Buffer): Path {
  return bytes.toString('latin1') as Path;
}

/** The path of a text that is written in this program or typed by a user (UTF-8 encoded); slashes at the ends are dropped. */
export function pathFromText(text: string): Path {
  return Buffer.from(text.replace(/^\/+|\/+$/g, ''), 'utf8').toString('latin1') as Path;
}

const SLASH = 0x2f;
const DOT = 0x2e;

/** Whether `raw` is a path as it stands: no part is empty or starts with a dot, no NUL, nothing near a limit. */
function isPlain(raw: string): boolean {
  if (raw.length > NAME_LIMIT) return false;
  let previous = SLASH;
  for (let i = 0; i < raw.length; i++) {
    const code = raw.charCodeAt(i);
    if (code === 0 || (previous === SLASH && (code === SLASH || code === DOT))) return false;
    previous = code;
  }
  return previous !== SLASH;
}

/** The parts of `raw` with `.`, `..` and empty ones resolved by name alone; undefined when they leave the root. */
function resolveParts(raw: string): string[] | undefined {
  const parts: string[] = [];
  for (const part of raw.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts;
}

/** Throws `limit` where no file system could hold a path of these parts. */
function checkLimits(parts: readonly string[]): void {
  const length = parts.reduce((sum, part) => sum + part.length + 1, -1);
  const name = parts.find((part) => part.length > NAME_LIMIT);
  let found: string | undefined;
  if (name !== undefined) found = `a name of ${name.length} bytes, at most ${NAME_LIMIT}`;
  else if (length > PATH_LIMIT) found = `a path of ${length} bytes, at most ${PATH_LIMIT}`;
  else if (parts.length > DEPTH_LIMIT) found = `${parts.length} parts, at most ${DEPTH_LIMIT}`;
  if (found === undefined) return;
  const shown = showPath(parts.join('/').slice(0, NAME_LIMIT));
  throw new RechunkError('limit', `reading the path "${shown}": got ${found} are read`);
}

/**
 * The path that an archive writes as `raw` (one char a byte): leading slashes, `.`, empty parts and a slash at the end are
 * dropped, `..` takes back the part before it. Throws `path` for what is empty, holds a NUL or leaves the root, and `limit`
 * for what is longer or deeper than any file system allows.
 */
export function parsePath(raw: string): Path {
  if (raw !== '' && isPlain(raw)) return raw as Path;
  const refuse = (found: string): RechunkError =>
    new RechunkError('path', `reading the path "${showPath(raw.slice(0, PATH_LIMIT))}": ${found}`);
  if (raw === '') throw refuse('it is empty');
  if (raw.includes('\0')) throw refuse('it holds a NUL byte');
  const parts = resolveParts(raw);
  if (!parts) throw refuse('its ".." leave the root');
  checkLimits(parts);
  return parts.join('/') as Path;
}

/** What is text as it stands: printable ASCII without the backslash. */
const PLAIN_TEXT = /^[\x20-\x5b\x5d-\x7e]*$/;

/** Control characters, those of C1 and of text direction too: they may change what a terminal shows. */
const HIDDEN = /[\p{Cc}\\\u2028-\u202e\u2066-\u2069]/gu;

/** The path as text for people: UTF-8 where it is, else bytes escaped as `\xNN`; control characters are escaped too. */
export function showPath(path: string): string {
  if (PLAIN_TEXT.test(path)) return path;
  const bytes = Buffer.from(path, 'latin1');
  const text = bytes.toString('utf8');
  const escaped = (part: string | Buffer): string =>
    [...Buffer.from(part)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
  if (Buffer.from(text, 'utf8').equals(bytes)) return text.replace(HIDDEN, escaped);
  return path.replace(/[^\x20-\x5b\x5d-\x7e]/g, (char) => escaped(Buffer.from(char, 'latin1')));
}

/** The bytes, one char each, of what {@link showPath} gave. */
export function parseShown(text: string): string {
  if (PLAIN_TEXT.test(text)) return text;
  const bytes = Buffer.from(text, 'utf8').toString('latin1');
  return bytes.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
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
