/** What this process may set on files, as the Linux kernel says it: its capabilities and its user namespace. */
import { readFileSync } from 'node:fs';
import { RechunkError } from '../../registry/errors.ts';
import type { InodeType } from '../tree.ts';

/** What this process may set. */
export interface Privilege {
  /** `trusted.*` and most of `security.*`. */
  readonly trusted: boolean;
  /** `security.capability`. */
  readonly capabilities: boolean;
  /** Device nodes; overlay's whiteouts, 0:0, are for everybody since Linux 5.8. */
  readonly devices: boolean;
  /** Files without write permission. */
  readonly readOnly: boolean;
  isOwner(uid: number): boolean;
  isGroup(gid: number): boolean;
}

/** Bits of `CapEff` (Linux: include/uapi/linux/capability.h). */
const CAP = { chown: 0n, dacOverride: 1n, sysAdmin: 21n, mknod: 27n, setfcap: 31n };
/** How many ids the initial user namespace has. */
const ALL_IDS = 4294967295;

function parseMap(text: string): readonly (readonly [first: number, count: number])[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [first = 0, , count = 0] = line.trim().split(/\s+/).map(Number);
      return [first, count];
    });
}

/** The privilege of a process by its `/proc/self/status`, `uid_map` and `gid_map`. */
export function parsePrivilege(status: string, uidMap: string, gidMap: string): Privilege {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  const has = (bit: bigint): boolean => ((effective >> bit) & 1n) === 1n;
  const [uids, gids] = [parseMap(uidMap), parseMap(gidMap)];
  const isInitial = uids.length === 1 && uids[0]?.[1] === ALL_IDS;
  const isIn = (ranges: typeof uids, id: number): boolean =>
    has(CAP.chown) && ranges.some(([first, count]) => id >= first && id < first + count);
  return {
    trusted: isInitial && has(CAP.sysAdmin),
    capabilities: has(CAP.setfcap),
    devices: isInitial && has(CAP.mknod),
    readOnly: has(CAP.dacOverride),
    isOwner: (uid) => isIn(uids, uid),
    isGroup: (gid) => isIn(gids, gid),
  };
}

/** The privilege of this process. Throws `unsupported` where there is no Linux. */
export function readPrivilege(): Privilege {
  if (process.platform !== 'linux') {
    throw new RechunkError(
      'unsupported',
      `overlay directories are for Linux, and this is ${process.platform}; unpack on a Linux machine`,
    );
  }
  const [status, uids, gids] = ['status', 'uid_map', 'gid_map'].map((name) =>
    readFileSync(`/proc/self/${name}`, 'latin1'),
  ) as [string, string, string];
  return parsePrivilege(status, uids, gids);
}

/** Whether `privilege` is enough for the xattr `name` on a file of this type, and the kernel takes it there at all. */
export function canSetXattr(privilege: Privilege, type: InodeType, name: string): boolean {
  if (name.startsWith('user.')) return type === 'file' || type === 'dir';
  if (name === 'system.posix_acl_access') return type !== 'symlink';
  if (name === 'system.posix_acl_default') return type === 'dir';
  return name === 'security.capability' ? privilege.capabilities : privilege.trusted;
}
