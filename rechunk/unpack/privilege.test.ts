import assert from 'node:assert/strict';
import { test } from 'uvu';
import { canSetXattr, parsePrivilege } from './privilege.ts';

const ALL = '         0          0 4294967295\n';
const status = (capabilities: string): string =>
  `Name:\tnode\nCapEff:\t${capabilities}\nSeccomp:\t0\n`;

test('root may set all', () => {
  const root = parsePrivilege(status('000001ffffffffff'), ALL, ALL);
  const { trusted, capabilities, devices, readOnly } = root;
  assert.deepEqual([trusted, capabilities, devices, readOnly], [true, true, true, true]);
  assert.ok(root.isOwner(0) && root.isOwner(4294967294) && root.isGroup(1000));
});

test('a user may set what is its own', () => {
  const user = parsePrivilege(status('0000000000000000'), ALL, ALL);
  const { trusted, capabilities, devices, readOnly } = user;
  assert.deepEqual([trusted, capabilities, devices, readOnly], [false, false, false, false]);
  assert.ok(!user.isOwner(0) && !user.isOwner(1000) && !user.isGroup(0));
});

test('root of a user namespace may set mapped owners and capabilities, and is not trusted', () => {
  const map = '0 1000 1\n1 100000 65536\n';
  const inner = parsePrivilege(status('000001ffffffffff'), map, '0 1000 1\n');
  const { trusted, capabilities, devices, readOnly } = inner;
  assert.deepEqual([trusted, capabilities, devices, readOnly], [false, true, false, true]);
  assert.ok(inner.isOwner(0) && inner.isOwner(65536) && !inner.isOwner(65537));
  assert.ok(inner.isGroup(0) && !inner.isGroup(1));
});

test('root without CAP_SYS_ADMIN or CAP_MKNOD, as in a container, is told apart', () => {
  const { trusted, devices, isOwner } = parsePrivilege(status('0000000000000003'), ALL, ALL);
  assert.deepEqual([trusted, devices, isOwner(7)], [false, false, true]);
});

/** Who may set what where: by xattr, on which types, as whom. */
const XATTRS: readonly (readonly [string, string, 'root' | 'user' | 'both' | 'nobody'])[] = [
  ['user.a', 'file', 'both'],
  ['user.a', 'dir', 'both'],
  ['user.a', 'symlink', 'nobody'],
  ['user.a', 'char', 'nobody'],
  ['trusted.a', 'symlink', 'root'],
  ['security.capability', 'file', 'root'],
  ['security.selinux', 'file', 'root'],
  ['system.posix_acl_access', 'fifo', 'both'],
  ['system.posix_acl_access', 'symlink', 'nobody'],
  ['system.posix_acl_default', 'dir', 'both'],
  ['system.posix_acl_default', 'file', 'nobody'],
];

for (const [name, type, who] of XATTRS) {
  test(`${name} on a ${type} is for ${who}`, () => {
    const root = parsePrivilege(status('000001ffffffffff'), ALL, ALL);
    const user = parsePrivilege(status('0'), ALL, ALL);
    const can = [root, user].map((one) => canSetXattr(one, type as 'file', name));
    const want = {
      root: [true, false],
      user: [false, true],
      both: [true, true],
      nobody: [false, false],
    };
    assert.deepEqual(can, want[who]);
  });
}

test.run();
