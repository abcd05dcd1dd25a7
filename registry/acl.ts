/**
 * POSIX ACLs: the text that star, GNU tar and bsdtar put into PAX headers, turned into the xattr value that Linux
 * stores (`system.posix_acl_access`, `…_default`; linux/posix_acl_xattr.h, version 2).
 */
import { RechunkError } from './errors.ts';
import { showPath } from './path.ts';
import { ID_LIMIT } from './tar.ts';

const VERSION = 2;
const VERSION_SIZE = 4;
const ENTRY_SIZE = 8;
/** Entries of an ACL that is no more than a mode. */
const MODE_ENTRIES = 3;
const NO_ID = 0xffffffff;
/** Tags of entries, in the order in which the kernel wants them. */
const TAG = { user: 0x01, namedUser: 0x02, group: 0x04, namedGroup: 0x08, mask: 0x10, other: 0x20 };
const PERMISSION = { r: 4, w: 2, x: 1 };

interface AclEntry {
  readonly tag: number;
  readonly permissions: number;
  readonly id: number;
}

function refuse(entry: string, found: string): never {
  throw new RechunkError('unsupported', `reading the ACL entry "${showPath(entry)}": ${found}`);
}

function tagOf(entry: string, type: string, isNamed: boolean): number {
  if (type === 'user' || type === 'u') return isNamed ? TAG.namedUser : TAG.user;
  if (type === 'group' || type === 'g') return isNamed ? TAG.namedGroup : TAG.group;
  if (!isNamed && (type === 'mask' || type === 'm')) return TAG.mask;
  if (!isNamed && (type === 'other' || type === 'o')) return TAG.other;
  return refuse(entry, 'want user, group, mask or other');
}

function parsePermissions(entry: string, text: string): number {
  if (!/^[r-][w-][x-]$/.test(text)) refuse(entry, `got permissions "${showPath(text)}"`);
  return [...text].reduce((sum, char) => sum + (PERMISSION[char as 'r'] ?? 0), 0);
}

/** The id of a named entry: a fourth part (star's extension), or a name that is a number. */
function parseId(entry: string, name: string, id: string | undefined): number {
  const text = id ?? name;
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= ID_LIMIT)) refuse(entry, 'it names a user or group, want a numeric id');
  return number;
}

function parseEntry(entry: string): AclEntry {
  const [type = '', name = '', permissions = '', id, ...rest] = entry.split(':');
  if (rest.length > 0) refuse(entry, 'it has too many parts');
  const tag = tagOf(entry, type, name !== '');
  const isNamed = tag === TAG.namedUser || tag === TAG.namedGroup;
  return {
    tag,
    permissions: parsePermissions(entry, permissions),
    id: isNamed ? parseId(entry, name, id) : NO_ID,
  };
}

/** Throws unless the kernel would take the entries: the three of the mode once, a mask where a name needs one. */
function checkEntries(text: string, entries: readonly AclEntry[]): void {
  const count = (tag: number): number => entries.filter((entry) => entry.tag === tag).length;
  const isNamed = count(TAG.namedUser) + count(TAG.namedGroup) > 0;
  const isValid =
    count(TAG.user) === 1 &&
    count(TAG.group) === 1 &&
    count(TAG.other) === 1 &&
    count(TAG.mask) <= 1 &&
    (!isNamed || count(TAG.mask) === 1) &&
    new Set(entries.map(({ tag, id }) => `${tag} ${id}`)).size === entries.length;
  if (!isValid) refuse(text, 'its entries make no valid ACL');
}

/**
 * The xattr value of an ACL written as text (`user::rwx,user:lisa:rw-:1000,…`; entries end in a comma or newline, `#`
 * begins a comment). Undefined for an empty one, and for an access ACL that says no more than the mode does: the kernel
 * keeps neither. Throws `unsupported` for what has no such value: NFSv4 ACLs, names without a numeric id.
 */
export function parseAcl(text: string, kind: 'access' | 'default'): Uint8Array | undefined {
  const entries = text
    .split(/[,\n]/)
    .map((entry) =>
      entry
        .replace(/#.*$/s, '')
        .replace(/\s/g, '')
        .replace(/^default:/, ''),
    )
    .filter((entry) => entry !== '')
    .map(parseEntry);
  if (entries.length === 0) return undefined;
  checkEntries(text, entries);
  if (kind === 'access' && entries.length === MODE_ENTRIES) return undefined;
  return encodeAcl(entries.sort((a, b) => a.tag - b.tag || a.id - b.id));
}

function encodeAcl(entries: readonly AclEntry[]): Uint8Array {
  const value = new Uint8Array(VERSION_SIZE + entries.length * ENTRY_SIZE);
  const view = new DataView(value.buffer);
  view.setUint32(0, VERSION, true);
  entries.forEach(({ tag, permissions, id }, i) => {
    const at = VERSION_SIZE + i * ENTRY_SIZE;
    view.setUint16(at, tag, true);
    view.setUint16(at + 2, permissions, true);
    view.setUint32(at + 4, id, true);
  });
  return value;
}

/** The permission bits of a file with the access ACL `value`: Linux shows the mask, where there is one, as the group's. */
export function modeOfAcl(value: Uint8Array): number {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const permissions = new Map<number, number>();
  for (let at = VERSION_SIZE; at + ENTRY_SIZE <= value.length; at += ENTRY_SIZE) {
    permissions.set(view.getUint16(at, true), view.getUint16(at + 2, true));
  }
  const of = (tag: number): number => permissions.get(tag) ?? 0;
  const group = permissions.has(TAG.mask) ? TAG.mask : TAG.group;
  return (of(TAG.user) << 6) | (of(group) << 3) | of(TAG.other);
}
