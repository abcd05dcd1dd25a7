/**
 * The list of files of an installed Python distribution: `RECORD` (PEP 376 and 627), comma-separated rows of path, digest
 * and size, paths relative to the directory that holds the `.dist-info`, or absolute.
 *
 * Text is one char a byte. Rows are told apart as Python's csv module does it, so that what `pip uninstall` would remove is
 * what is read here; damage costs its row, never the rest.
 */
import { posix } from 'node:path';
import { PATH_LIMIT, type Path } from '../../registry/path.ts';
import type { Claim } from '../components.ts';

/** A file as a RECORD lists it. */
export interface RecordedFile {
  /** From the root; `..` at the root stays there. Names that no file system could hold are left out. */
  readonly path: Path;
  readonly digest?: NonNullable<Claim['digest']>;
  /** Bytes. */
  readonly size?: number;
}

/** Fields that a row has at most: path, digest, size. */
const FIELDS_LIMIT = 3;
/** Bytes of a digest by algorithm; of the algorithms that wheels may use (PEP 427) those that a tree can be asked for. */
const DIGEST_BYTES = { md5: 16, sha1: 20, sha256: 32, sha384: 48, sha512: 64 } as const;
const PLAIN = /[^,\r\n]*/y;

/** The index of the first comma, line end or end of the text from `at` on. */
function endOfPlain(text: string, at: number): number {
  PLAIN.lastIndex = at;
  PLAIN.test(text);
  return PLAIN.lastIndex;
}

/** Reads a field behind its opening quote: doubled quotes stand for one, and what follows the closing quote belongs to it. */
function readQuoted(text: string, from: number): { value: string; end: number } {
  const parts: string[] = [];
  for (let at = from; ; ) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return { value: parts.join('') + text.slice(at), end: text.length };
    parts.push(text.slice(at, quote));
    if (text[quote + 1] !== '"') {
      const end = endOfPlain(text, quote + 1);
      return { value: parts.join('') + text.slice(quote + 1, end), end };
    }
    parts.push('"');
    at = quote + 2;
  }
}

function readField(text: string, at: number): { value: string; end: number } {
  if (text[at] === '"') return readQuoted(text, at + 1);
  const end = endOfPlain(text, at);
  return { value: text.slice(at, end), end };
}

/**
 * The rows of comma-separated values, as Python's csv module reads them with its defaults; rows of nothing at all are left
 * out. Of a longer row the fields up to one more than a RECORD has are given. Time is linear in the text.
 */
export function* parseRows(text: string): Generator<string[]> {
  let fields: string[] = [];
  for (let at = 0, ended = text === ''; !ended; ) {
    const { value, end } = readField(text, at);
    if (fields.length <= FIELDS_LIMIT) fields.push(value);
    at = end + (text.startsWith('\r\n', end) ? 2 : 1);
    if (text[end] === ',') continue;
    if (fields.length > 1 || fields[0] !== '') yield fields;
    fields = [];
    ended = at >= text.length;
  }
}

/** The path that a distribution in `directory` lists as `listed`; undefined for what cannot be one. */
export function resolveListed(directory: Path, listed: string): Path | undefined {
  if (listed === '' || listed.length > PATH_LIMIT || listed.includes('\0')) return undefined;
  const path = posix.normalize(listed.startsWith('/') ? listed : `/${directory}/${listed}`);
  return path.replace(/^\/+|\/+$/g, '') as Path;
}

/** `sha256=` and base64 as URLs have it, without padding (PEP 427); undefined for none, and for what is none. */
function parseDigest(field: string): RecordedFile['digest'] {
  const [, name = '', encoded = ''] = /^(\w{3,6})=([\w-]+)=*$/.exec(field) ?? [];
  const algorithm = name.toLowerCase() as keyof typeof DIGEST_BYTES;
  if (!Object.hasOwn(DIGEST_BYTES, algorithm)) return undefined;
  const bytes = Buffer.from(encoded, 'base64url');
  return bytes.length === DIGEST_BYTES[algorithm]
    ? { algorithm, hex: bytes.toString('hex') }
    : undefined;
}

/** Parses one row; undefined where it names no file, or has more than a path, a digest and a size. */
function parseFile(directory: Path, fields: readonly string[]): RecordedFile | undefined {
  const [listed = '', stated = '', length = ''] = fields;
  const path = fields.length > FIELDS_LIMIT ? undefined : resolveListed(directory, listed);
  if (!path) return undefined;
  const digest = parseDigest(stated);
  const size = /^\d{1,15}$/.test(length) ? Number(length) : undefined;
  return { path, ...(digest && { digest }), ...(size !== undefined && { size }) };
}

/**
 * The files that a RECORD lists, of a distribution whose `.dist-info` lies in `directory`; undefined stands for a row that
 * makes no sense. Rows are parsed as they are asked for.
 */
export function* parseRecord(
  text: string,
  directory: Path,
): Generator<RecordedFile | undefined, void> {
  for (const fields of parseRows(text)) yield parseFile(directory, fields);
}
