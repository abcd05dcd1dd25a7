/**
 * The extended attributes of a whole directory tree, read by a program of the machine, since Node has no call for them:
 * `getfattr` (of the package `attr`), or GNU tar, which reads all content on the way.
 *
 * Values are the kernel's own bytes, ACLs (`system.posix_acl_*`) and capabilities included. Without privilege the kernel
 * does not list `trusted.*`.
 */
import { RechunkError } from './errors.ts';
import { type Environment, isProgram, runProgram } from './program.ts';
import type { Xattrs } from './tar.ts';
import { TarReader } from './tarreader.ts';

/** Which program reads xattrs; `auto` takes getfattr, else GNU tar, and fails without both; `none` reads none. */
export type XattrReader = 'getfattr' | 'tar' | 'none' | 'auto';

/** Xattrs by path below the root (one char a byte, '' for the root); paths without any are absent. */
export type XattrMap = ReadonlyMap<string, Xattrs>;

/** Longest line that getfattr may write: two digits for each byte of the largest value (Linux: 64 KiB), and the names. */
const LINE_LIMIT = 1 << 20;

const GETFATTR = ['getfattr', '-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '.'] as const;
const TAR = ['tar', '--format=posix', '--xattrs', '--xattrs-include=*', '-cf', '-', '.'] as const;

/** Undoes the octal escapes of getfattr (attr 2.4 and 2.5: backslash, newline, carriage return; in names also `=`). */
function unquote(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/** The path below the root that a program names `.` or `./path`. */
function relative(name: string): string {
  return name === '.' ? '' : name.replace(/^\.\//, '');
}

/** Parses the output of `getfattr -d -e hex` as it comes. */
class DumpParser {
  readonly xattrs = new Map<string, Xattrs>();
  /** Equal sets are one object: a labelled file system has few different ones. */
  readonly #sets = new Map<string, Xattrs>();
  #rest = '';
  #path: string | undefined;
  #lines: string[] = [];

  push(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString('latin1')).split('\n');
    this.#rest = lines.pop() as string;
    for (const line of lines) this.#line(line);
    if (this.#rest.length > LINE_LIMIT) this.#fail(this.#rest);
  }

  finish(): void {
    if (this.#rest !== '') this.#line(this.#rest);
    this.#close();
  }

  #fail(line: string): never {
    const shown = JSON.stringify(line.slice(0, 80));
    throw new RechunkError('io', `getfattr wrote ${shown}, want name=0xHEX or '# file: NAME'`);
  }

  #line(line: string): void {
    if (line.startsWith('# file: ')) {
      this.#close();
      this.#path = relative(unquote(line.slice('# file: '.length)));
    } else if (line !== '') {
      if (this.#path === undefined) this.#fail(line);
      this.#lines.push(line);
    }
  }

  #close(): void {
    if (this.#path !== undefined && this.#lines.length > 0) {
      const key = this.#lines.join('\n');
      const known = this.#sets.get(key) ?? this.#parse(this.#lines);
      this.#sets.set(key, known);
      this.xattrs.set(this.#path, known);
    }
    this.#path = undefined;
    this.#lines = [];
  }

  #parse(lines: readonly string[]): Xattrs {
    const pairs = lines.map((line): [string, Uint8Array] => {
      const found = /^([^=]+)(?:=(?:0x((?:[0-9a-f]{2})*))?)?$/.exec(line);
      if (!found) this.#fail(line);
      return [unquote(found[1] as string), Buffer.from(found[2] ?? '', 'hex')];
    });
    return new Map(pairs.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

async function readByGetfattr(directory: string, env: Environment): Promise<XattrMap> {
  const parser = new DumpParser();
  await runProgram(GETFATTR, { directory, env, take: (chunk) => parser.push(chunk) });
  parser.finish();
  return parser.xattrs;
}

/** Undoes what GNU tar does to xattr names that a PAX record's key cannot hold (tar 1.34, xheader.c). */
function decodeKeywords(xattrs: Xattrs): Xattrs {
  const pairs = [...xattrs].map(([name, value]): [string, Uint8Array] => [
    name.replace(/%(3D|25)/g, (_, code) => (code === '3D' ? '=' : '%')),
    value,
  ]);
  return new Map(pairs.sort(([a], [b]) => (a < b ? -1 : 1)));
}

async function readByTar(directory: string, env: Environment): Promise<XattrMap> {
  const xattrs = new Map<string, Xattrs>();
  const reader = new TarReader({
    entry: (entry) => {
      if (entry.xattrs.size > 0) xattrs.set(entry.path, decodeKeywords(entry.xattrs));
    },
    data: () => {},
  });
  await runProgram(TAR, { directory, env, take: (chunk) => reader.push(chunk) });
  reader.finish();
  return xattrs;
}

async function choose(reader: XattrReader, env: Environment): Promise<'getfattr' | 'tar'> {
  const wanted = (name: XattrReader): boolean => reader === 'auto' || reader === name;
  if (wanted('getfattr') && (await isProgram('getfattr', 'getfattr', env))) return 'getfattr';
  if (wanted('tar') && (await isProgram('tar', 'GNU tar', env))) return 'tar';
  const missing = reader === 'auto' ? 'neither getfattr nor GNU tar is' : `${reader} is not`;
  throw new RechunkError(
    'unsupported',
    `extended attributes (capabilities, ACLs) cannot be read: ${missing} on this machine; install Debian's package attr, or leave them out with --no-xattrs`,
  );
}

/**
 * Reads the xattrs of every entry of the tree at `directory` (absolute, no symlink). Symlinks are not followed; an
 * attribute that cannot be read is an `io` error. A hard link may be listed under any of its names. Throws
 * `unsupported` where no program can read them.
 */
export async function readXattrs(
  directory: string,
  reader: XattrReader,
  env: Environment,
): Promise<XattrMap> {
  if (reader === 'none') return new Map();
  const program = await choose(reader, env);
  return program === 'tar' ? readByTar(directory, env) : readByGetfattr(directory, env);
}
