/**
 * How an entry comes from a header and the extensions before it (PAX, GNU long names). Where the readers of the world
 * differ, this reads as Go's archive/tar does, since Docker, podman, containerd and buildah are built on it; what would be
 * lost silently there is refused.
 */
import { modeOfAcl, parseAcl } from './acl.ts';
import { RechunkError } from './errors.ts';
import { PATH_LIMIT, type Path, parsePath, showPath } from './path.ts';
import type { PaxRecords } from './pax.ts';
import {
  type EntryType,
  FIELD,
  type Field,
  ID_LIMIT,
  NO_XATTRS,
  type TarEntry,
  type Xattrs,
} from './tar.ts';
import { parseNumber, parseText, prefixOf, readNumber, refuseNumber } from './tarheader.ts';

/** What stands before a header and changes what it says. */
export interface Extensions {
  /** Records of the PAX header. */
  readonly pax?: PaxRecords | undefined;
  /** GNU long name and long link target. */
  readonly longName?: string | undefined;
  readonly longLink?: string | undefined;
  /** Called with a sentence for what is read differently elsewhere, or not kept. */
  readonly warn: (warning: string) => void;
}

const DIRECTORY_FLAG = 0x35;
const MODE_BITS = 0o7777;
const NS_PER_SECOND = 1_000_000_000n;
const NS_DIGITS = 9;

/** The size of what follows the header, as the header or its PAX record states it. */
export function parseSize(block: Buffer, at: number, pax: PaxRecords | undefined): number {
  return numberOf(block, at, FIELD.size, pax?.fields.get('size'), 'the size');
}

function numberOf(
  block: Buffer,
  at: number,
  [field, size]: Field,
  record: string | undefined,
  what: string,
): number {
  if (!record) return parseNumber(block, at + field, size, what);
  const value = /^\d{1,16}$/.test(record) ? Number(record) : Number.NaN;
  return Number.isSafeInteger(value) ? value : refuseNumber(what, `"${showPath(record)}"`);
}

function idOf(
  block: Buffer,
  at: number,
  field: Field,
  record: string | undefined,
  what: string,
): number {
  const id = numberOf(block, at, field, record, what);
  return id <= ID_LIMIT ? id : refuseNumber(what, String(id));
}

/** Nanoseconds of a PAX time, `SECONDS[.FRACTION]`; digits finer than a nanosecond are dropped, as file systems do. */
function parseTime(record: string): bigint {
  const parts = /^(-?)(\d{1,16})(?:\.(\d*))?$/.exec(record);
  if (!parts || !Number.isSafeInteger(Number(parts[2]))) {
    return refuseNumber('the time', `"${showPath(record)}"`) as never;
  }
  const fraction = (parts[3] ?? '').slice(0, NS_DIGITS).padEnd(NS_DIGITS, '0');
  const ns = BigInt(parts[2] as string) * NS_PER_SECOND + BigInt(fraction);
  return parts[1] ? -ns : ns;
}

function mtimeOf(block: Buffer, at: number, record: string | undefined): bigint {
  if (record) return parseTime(record);
  const [field, size] = FIELD.mtime;
  const seconds = readNumber(block, at + field, size);
  if (Number.isSafeInteger(seconds)) return BigInt(seconds) * NS_PER_SECOND;
  return refuseNumber('the time', String(seconds)) as never;
}

/** The name as the archive writes it, extensions applied, not yet normalised. */
export function rawNameOf(block: Buffer, at: number, extensions: Extensions): string {
  const fields = extensions.pax?.fields;
  const name =
    extensions.longName || (fields && (fields.get('GNU.sparse.name') || fields.get('path')));
  if (name) return name;
  const prefix = prefixOf(block, at);
  const short = parseText(block, at + FIELD.name[0], FIELD.name[1]);
  return prefix === '' ? short : `${prefix}/${short}`;
}

/** The entry type of a type flag; undefined for flags that are no file's. */
function typeOf(flag: string): EntryType | undefined {
  switch (flag) {
    case '0':
    case '\0':
    case '7':
    case 'S':
      return 'file';
    case '1':
      return 'link';
    case '2':
      return 'symlink';
    case '3':
      return 'char';
    case '4':
      return 'block';
    case '5':
      return 'dir';
    case '6':
      return 'fifo';
    default:
      return undefined;
  }
}

/** What type flags that are known but not read stand for. */
const REFUSED_TYPES: Readonly<Record<string, string>> = {
  D: 'a GNU directory dump (an incremental backup)',
  M: 'a part of a file that began in another volume',
  V: 'a volume label',
  N: 'an old GNU long name',
  X: 'a Solaris extended header',
  A: 'a Solaris ACL',
  E: 'a Solaris extended attribute',
  I: 'inode metadata of star',
};

function parseType(flag: string, rawName: string): EntryType {
  // The old flag alone: for '0' container runtimes make a file whatever its name (umoci and podman do).
  if (flag === '\0' && rawName.endsWith('/')) return 'dir';
  const type = typeOf(flag);
  if (type) return type;
  const what = REFUSED_TYPES[flag];
  const found = what ? `type ${flag}, ${what}` : `the unknown type "${showPath(flag)}"`;
  throw new RechunkError('unsupported', `got ${found}; want a file, link, directory or device`);
}

/** The target of a link: of a hard link a path of the archive, of a symlink text that the kernel reads. */
function linkOf(type: EntryType, raw: string): string {
  if (type === 'link') {
    const target = parsePath(raw);
    if (target !== '') return target;
    throw new RechunkError('path', 'got the root as target of a hard link, want a file');
  }
  if (type !== 'symlink') return '';
  if (raw.length >= PATH_LIMIT) {
    const found = `a symlink target of ${raw.length} bytes`;
    throw new RechunkError('limit', `got ${found}, want less than ${PATH_LIMIT}`);
  }
  if (raw !== '' && !raw.includes('\0')) return raw;
  throw new RechunkError('path', `got the symlink target "${showPath(raw)}", want one without NUL`);
}

function rawLinkOf(block: Buffer, at: number, extensions: Extensions): string {
  const long = extensions.longLink || extensions.pax?.fields.get('linkpath');
  return long || parseText(block, at + FIELD.link[0], FIELD.link[1]);
}

function pathOfEntry(raw: string, type: EntryType): Path {
  const path = parsePath(raw);
  if (path !== '' || type === 'dir') return path;
  throw new RechunkError('path', `got the root "${showPath(raw)}" as a ${type}, want a directory`);
}

const LIBARCHIVE_XATTR = 'LIBARCHIVE.xattr.';

function decodeLibarchive(key: string, value: string): readonly [string, Uint8Array] {
  const name = key
    .slice(LIBARCHIVE_XATTR.length)
    .replace(/%([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value)) {
    throw new RechunkError('tar', `got an xattr "${showPath(name)}" that is not base64`);
  }
  return [name, new Uint8Array(Buffer.from(value, 'base64'))];
}

/** Keys whose loss would change the files, and what to do instead. */
const REFUSED_KEYS: readonly (readonly [string, string])[] = [
  ['MSWINDOWS.', 'Windows layers cannot be rewritten'],
  ['SCHILY.acl.ace', 'NFSv4 ACLs cannot be kept on Linux'],
  ['SCHILY.realsize', 'sparse files of star are not read; write them with GNU tar'],
  ['SCHILY.offset', 'archives in several volumes are not read'],
];

/** Xattrs that other records than `SCHILY.xattr.*` hold; each only where the plain form is not there. */
function convertXattr(key: string, value: string): readonly [string, Uint8Array] | undefined {
  if (key.startsWith(LIBARCHIVE_XATTR)) return decodeLibarchive(key, value);
  if (key === 'RHT.security.selinux') {
    return ['security.selinux', new Uint8Array(Buffer.from(`${value}\0`, 'latin1'))];
  }
  if (key !== 'SCHILY.acl.access' && key !== 'SCHILY.acl.default') return undefined;
  const kind = key === 'SCHILY.acl.access' ? 'access' : 'default';
  const acl = parseAcl(value, kind);
  return acl && [`system.posix_acl_${kind}`, acl];
}

function xattrsOf({ fields, xattrs }: PaxRecords, warn: (warning: string) => void): Xattrs {
  const all = new Map(xattrs);
  for (const [key, value] of fields) {
    const refused = REFUSED_KEYS.find(([start]) => key.startsWith(start));
    if (refused) throw new RechunkError('unsupported', `got the record "${key}": ${refused[1]}`);
    if (key === 'SCHILY.fflags') warn('file flags (SCHILY.fflags) are not kept: no runtime does');
    if (!key.startsWith('LIBARCHIVE.') && !key.startsWith('SCHILY.') && !key.startsWith('RHT.'))
      continue;
    const converted = convertXattr(key, value);
    if (!converted || all.has(converted[0])) continue;
    warn(
      `${key.replace(/xattr\..*/s, 'xattr.*')} is kept as an xattr; container runtimes ignore it`,
    );
    all.set(...converted);
  }
  if (all.size === 0) return NO_XATTRS;
  return new Map([...all].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Device numbers; star and bsdtar put those that need more than seven digits into records. */
function devicesOf(
  block: Buffer,
  at: number,
  fields?: ReadonlyMap<string, string>,
): [number, number] {
  const major = fields?.get('SCHILY.devmajor');
  const minor = fields?.get('SCHILY.devminor');
  return [
    numberOf(block, at, FIELD.devMajor, major, 'the major device number'),
    numberOf(block, at, FIELD.devMinor, minor, 'the minor device number'),
  ];
}

/** Throws for a directory by its trailing slash only that has content: one of the two is wrong. */
function checkDirectory(block: Buffer, at: number, pax: PaxRecords | undefined): void {
  if (block[at + FIELD.type[0]] === DIRECTORY_FLAG) return;
  const size = parseSize(block, at, pax);
  if (size === 0) return;
  throw new RechunkError('tar', `got ${size} bytes of content in a file named as a directory`);
}

const ACCESS_ACL = 'system.posix_acl_access';
const PERMISSION_BITS = 0o777;

/** The mode; bsdtar writes the group's own permissions into it where Linux shows the mask of the ACL. */
function modeOf(block: Buffer, at: number, pax: PaxRecords | undefined, xattrs: Xattrs): number {
  const mode = parseNumber(block, at + FIELD.mode[0], FIELD.mode[1], 'the mode') & MODE_BITS;
  const isConverted = pax?.fields.has('SCHILY.acl.access') && !pax.xattrs.has(ACCESS_ACL);
  const acl = isConverted ? xattrs.get(ACCESS_ACL) : undefined;
  return acl ? (mode & ~PERMISSION_BITS) | modeOfAcl(acl) : mode;
}

const NO_DEVICES: readonly [number, number] = [0, 0];

/**
 * The entry of the header at `at`, named `rawName`, whose content begins at `offset`; a sparse file as if it were dense.
 * Throws `path`, `limit`, `unsupported` or `tar`; the caller adds which entry it was.
 */
export function parseEntry(
  block: Buffer,
  at: number,
  rawName: string,
  extensions: Extensions,
  offset: number,
): TarEntry {
  const { pax, warn } = extensions;
  const fields = pax?.fields;
  const type = parseType(String.fromCharCode(block[at + FIELD.type[0]] as number), rawName);
  if (type === 'dir') checkDirectory(block, at, pax);
  const xattrs = pax ? xattrsOf(pax, warn) : NO_XATTRS;
  const isDevice = type === 'char' || type === 'block';
  const [devMajor, devMinor] = isDevice ? devicesOf(block, at, fields) : NO_DEVICES;
  return {
    type,
    path: pathOfEntry(rawName, type),
    mode: modeOf(block, at, pax, xattrs),
    uid: idOf(block, at, FIELD.uid, fields?.get('uid'), 'the user id'),
    gid: idOf(block, at, FIELD.gid, fields?.get('gid'), 'the group id'),
    mtime: mtimeOf(block, at, fields?.get('mtime')),
    size: type === 'file' ? parseSize(block, at, pax) : 0,
    link:
      type === 'link' || type === 'symlink' ? linkOf(type, rawLinkOf(block, at, extensions)) : '',
    devMajor,
    devMinor,
    xattrs,
    offset,
  };
}
