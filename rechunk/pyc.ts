/**
 * Compiled Python files: which source each belongs to, and what its header records of it. Python takes a compiled file only
 * where the recorded time and size are the source's (or compares digests, PEP 552); else it compiles anew at every start.
 */
import { nameOf, type Path, parentOf } from '../registry/path.ts';
import type { Inode, Tree } from './tree.ts';

/** What a compiled file's header says. */
export type PycHeader =
  /** The source's time (seconds) and size (bytes; not before Python 3.3), both modulo 2³²; `timeAt` is where the time stands. */
  | {
      readonly kind: 'time';
      readonly mtime: number;
      readonly size: number | undefined;
      readonly timeAt: number;
    }
  /** A digest of the source, which Python compares or trusts. */
  | { readonly kind: 'hash' }
  /** Nothing that Python would take. */
  | { readonly kind: 'none' };

/** Bytes that {@link parsePyc} looks at. */
export const PYC_HEADER_BYTES = 16;
/** Bytes of a recorded time. */
const TIME_BYTES = 4;
/** Bytes 2 and 3 of every Python's magic number, as a little-endian word. */
const MAGIC_END = 0x0a0d;
/**
 * The magic numbers with which the header changed (CPython, Lib/importlib/_bootstrap_external.py): below the first are PyPy's,
 * from the last on those of Python 2.
 */
const MAGIC = { python3: 3000, withSize: 3210, withFlags: 3392, python2: 50_000 } as const;
/** Flags of PEP 552: the header holds a digest; it is to be checked. */
const FLAG_BITS = 0b11;

const NONE: PycHeader = { kind: 'none' };

/** What the first bytes of a compiled file say. */
export function parsePyc(header: Buffer): PycHeader {
  if (header.length < PYC_HEADER_BYTES || header.readUInt16LE(2) !== MAGIC_END) return NONE;
  const magic = header.readUInt16LE(0);
  const word = (at: number): number => header.readUInt32LE(at);
  if (magic >= MAGIC.python2 || (magic >= MAGIC.python3 && magic < MAGIC.withSize)) {
    return { kind: 'time', mtime: word(4), size: undefined, timeAt: 4 };
  }
  // PyPy's numbers do not tell; no file is as old as a word of flags would say.
  const isFlagged = magic >= MAGIC.withFlags || (magic < MAGIC.python3 && word(4) <= FLAG_BITS);
  if (!isFlagged) return { kind: 'time', mtime: word(4), size: word(8), timeAt: 4 };
  if (word(4) === 0) return { kind: 'time', mtime: word(8), size: word(12), timeAt: 8 };
  return (word(4) & ~FLAG_BITS) === 0 ? { kind: 'hash' } : NONE;
}

const NS_PER_SECOND = 1_000_000_000n;

/** A time (ns) as Python compares it: the whole part of a double of seconds, modulo 2³². */
function secondsOf(time: bigint): number {
  const fraction = ((time % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  const seconds = Number((time - fraction) / NS_PER_SECOND) + 1e-9 * Number(fraction);
  return Number(BigInt.asUintN(32, BigInt(Math.trunc(seconds))));
}

/** Whether Python takes a compiled file with `header` for a source of that time (ns) and size. */
export function isFresh(
  header: PycHeader,
  source: { readonly mtime: bigint; readonly size: number },
): boolean {
  if (header.kind !== 'time') return false;
  const { mtime, size = source.size % 2 ** 32 } = header;
  return mtime === secondsOf(source.mtime) && size === source.size % 2 ** 32;
}

/** Largest compiled file that is compared, bytes. */
const COMPARE_LIMIT = 64 << 20;

/** A file of a tree. */
export interface TreeFile {
  readonly tree: Tree;
  readonly inode: Inode;
}

/** The header of `twin`, if it is the same compiled file as `pyc` but for the recorded time; undefined for any other. */
export async function compareCode(pyc: TreeFile, twin: TreeFile): Promise<PycHeader | undefined> {
  const { size } = pyc.inode;
  if (twin.inode.size !== size || size > COMPARE_LIMIT) return undefined;
  const a = await pyc.tree.readInode(pyc.inode, size);
  const b = await twin.tree.readInode(twin.inode, size);
  const header = parsePyc(a);
  if (header.kind !== 'time') return undefined;
  const code = header.timeAt + TIME_BYTES;
  const isSame =
    a.subarray(0, header.timeAt).equals(b.subarray(0, header.timeAt)) &&
    a.subarray(code).equals(b.subarray(code));
  return isSame ? parsePyc(b) : undefined;
}

/** Whether a file may be compiled Python, by its name. */
export function isPycName(path: Path): boolean {
  return /\.py[co]$/.test(path);
}

/**
 * The source of a compiled file, if it is there: beside `__pycache__` (PEP 3147, and the longer tags of pytest), or beside the
 * file itself. No directory; a symlink is not followed.
 */
export function sourceOf(tree: Tree, path: Path): Path | undefined {
  return candidates(path).find((source) => {
    const type = tree.get(source)?.type;
    return type !== undefined && type !== 'dir';
  });
}

/** Where the source can be, the longest name first: `a.b.cpython-311.pyc` is of `a.b.py` where that is there, else of `a.py`. */
function candidates(path: Path): Path[] {
  if (!isPycName(path)) return [];
  const directory = parentOf(path);
  if (nameOf(directory) !== '__pycache__') return [path.slice(0, -1) as Path];
  const above = parentOf(directory);
  const parts = nameOf(path).split('.').slice(0, -1);
  return parts
    .map((_, dots) => parts.slice(0, dots + 1).join('.'))
    .reverse()
    .map((module) => `${above === '' ? '' : `${above}/`}${module}.py` as Path);
}
