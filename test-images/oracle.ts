/**
 * An independent comparison of root file systems on disk. It shares no code with the product: what a tree holds is told
 * by GNU find, coreutils' stat and sha256sum, and getfattr.
 */
import { command } from './command.ts';

/** What a tree holds at one path; names and targets have one char a byte. */
export interface Facts {
  /** As `find -printf %y`: f, d, l, c, b, p, s. */
  readonly type: string;
  /** Octal digits, as chmod takes them. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  /** Bytes; of files only, else 0. */
  readonly size: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  /** Target of a symlink, else ''. */
  readonly target: string;
  /** `major:minor` in hex of a device, else ''. */
  readonly device: string;
  /** Lower-case hex of a file's content, else ''. */
  readonly sha256: string;
  /** The other names of the same inode, joined by NUL, in byte order; '' for none. */
  readonly links: string;
  /** `name=0xHEX` in byte order, names as getfattr escapes them, joined by newlines. */
  readonly xattrs: string;
}

const NS_PER_S = 1_000_000_000n;

/** What is compared; all of it by default. */
export interface CompareOptions {
  /** `ignore` leaves the times of directories out: rechunked layers set them to 0. */
  readonly dirMtimes?: 'compare' | 'ignore';
  /** `seconds` for tools that drop the fraction. */
  readonly mtimes?: 'compare' | 'seconds' | 'ignore';
  /** `ignore` leaves the root directory itself out: runtimes set it as they like. */
  readonly root?: 'compare' | 'ignore';
  /** Xattrs (`name=0xHEX`) that are left out on both sides. */
  readonly ignoreXattrs?: RegExp;
  /** Paths that are left out on both sides. */
  readonly ignorePaths?: RegExp;
}

const FIND_FIELDS = ['%P', '%y', '%m', '%U', '%G', '%s', '%T@', '%D:%i', '%n', '%l'] as const;

function chunks(text: string, size: number): string[][] {
  const parts = text.split('\0');
  parts.pop();
  const rows: string[][] = [];
  for (let i = 0; i < parts.length; i += size) rows.push(parts.slice(i, i + size));
  return rows;
}

async function find(root: string, parameters: readonly string[]): Promise<string> {
  return (await command('find', ['.', ...parameters], { cwd: root })).toString('latin1');
}

/** The path below the root of a name as `find .` passes it on. */
function below(name: string): string {
  return name.replace(/^\.\/?/, '');
}

async function digests(root: string): Promise<Map<string, string>> {
  const text = await find(root, ['-type', 'f', '-exec', 'sha256sum', '-z', '--', '{}', '+']);
  return new Map(chunks(text, 1).map(([line = '']) => [below(line.slice(66)), line.slice(0, 64)]));
}

async function devices(root: string): Promise<Map<string, string>> {
  const stat = ['stat', '--printf', '%n\\0%t:%T\\0', '--', '{}', '+'];
  const text = await find(root, ['(', '-type', 'c', '-o', '-type', 'b', ')', '-exec', ...stat]);
  return new Map(chunks(text, 2).map(([name = '', numbers = '']) => [below(name), numbers]));
}

async function xattrs(root: string): Promise<Map<string, string>> {
  const parameters = ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '.'];
  const text = (await command('getfattr', parameters, { cwd: root })).toString('latin1');
  const unquote = (name: string): string =>
    name.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
  return new Map(
    text
      .split('\n\n')
      .filter((block) => block !== '')
      .map((block) => {
        const [name = '', ...lines] = block.split('\n');
        const values = lines.filter((line) => line !== '').sort();
        return [below(unquote(name.slice('# file: '.length))), values.join('\n')];
      }),
  );
}

/** `%T@` as find prints it: seconds rounded down, a point, nanoseconds and a 0, for times before 1970 too. */
function nanoseconds(text: string): bigint {
  const [seconds = '0', fraction = '0'] = text.split('.');
  return BigInt(seconds) * NS_PER_S + BigInt(fraction) / 10n;
}

/** Everything below `root` by path, the root itself as ''. */
export async function listTree(root: string): Promise<Map<string, Facts>> {
  const [listing, sha256, device, xattr] = await Promise.all([
    find(root, ['-printf', FIND_FIELDS.map((field) => `${field}\\0`).join('')]),
    digests(root),
    devices(root),
    xattrs(root),
  ]);
  const rows = chunks(listing, FIND_FIELDS.length);
  const groups = new Map<string, string[]>();
  for (const [path = '', type, , , , , , inode = '', count] of rows) {
    if (type === 'd' || count === '1') continue;
    groups.set(inode, [...(groups.get(inode) ?? []), path].sort());
  }
  return new Map(
    rows.map(
      ([
        path = '',
        type = '',
        mode = '',
        uid,
        gid,
        size,
        mtime = '',
        inode = '',
        ,
        target = '',
      ]) => [
        path,
        {
          type,
          mode,
          uid: Number(uid),
          gid: Number(gid),
          size: type === 'f' ? Number(size) : 0,
          mtime: nanoseconds(mtime),
          target,
          device: device.get(path) ?? '',
          sha256: sha256.get(path) ?? '',
          links: (groups.get(inode) ?? []).filter((name) => name !== path).join('\0'),
          xattrs: xattr.get(path) ?? '',
        },
      ],
    ),
  );
}

/** The time that counts, as text; '' where it does not. */
function timeOf({ type, mtime }: Facts, options: CompareOptions): string {
  if (options.mtimes === 'ignore' || (type === 'd' && options.dirMtimes === 'ignore')) return '';
  return String(options.mtimes === 'seconds' ? mtime / NS_PER_S : mtime);
}

/** The facts that count, as text. */
function relevant(facts: Facts, options: CompareOptions): Record<string, string> {
  const pattern = options.ignoreXattrs;
  const xattrs = facts.xattrs.split('\n').filter((line) => !pattern?.test(line));
  const text = Object.entries(facts).map(([key, value]) => [key, String(value)]);
  return {
    ...Object.fromEntries(text),
    mtime: timeOf(facts, options),
    xattrs: xattrs.join('\n'),
  };
}

function show(text: string): string {
  return JSON.stringify(text);
}

/** Every difference between two listings, one line each, in path order; `a` and `b` name the sides. */
export function compareListings(
  a: ReadonlyMap<string, Facts>,
  b: ReadonlyMap<string, Facts>,
  options: CompareOptions = {},
): string[] {
  const differences: string[] = [];
  const paths = [...new Set([...a.keys(), ...b.keys()])].sort();
  for (const path of paths) {
    if (path === '' && options.root === 'ignore') continue;
    if (options.ignorePaths?.test(path)) continue;
    const [left, right] = [a.get(path), b.get(path)];
    if (!left || !right) {
      differences.push(`/${show(path)}: only in ${left ? 'the first' : 'the second'}`);
      continue;
    }
    const [one, two] = [relevant(left, options), relevant(right, options)];
    for (const key of Object.keys(one)) {
      const [from = '', to = ''] = [one[key], two[key]];
      if (from !== to) differences.push(`/${show(path)}: ${key} ${show(from)} became ${show(to)}`);
    }
  }
  return differences;
}

/** Every difference between the trees at `a` and `b`; empty where they are equal. */
export async function compareTrees(
  a: string,
  b: string,
  options: CompareOptions = {},
): Promise<string[]> {
  const [left, right] = await Promise.all([listTree(a), listTree(b)]);
  return compareListings(left, right, options);
}
