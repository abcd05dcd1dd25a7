import assert from 'node:assert/strict';
import { test } from 'uvu';
import { modeOfAcl, parseAcl } from './acl.ts';

/** What `setfacl -m u:1000:rw FILE` stores on ext4 for a file of mode 0644, read by getfattr. */
const NAMED =
  '0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff';

const hex = (value: Uint8Array | undefined): string | undefined =>
  value && Buffer.from(value).toString('hex');

test('turns every way of writing an ACL into the value that Linux stores', () => {
  const texts = [
    'user::rw-,user:1000:rw-,group::r--,mask::rw-,other::r--',
    'user::rw-\nuser:1000:rw-\ngroup::r--\nmask::rw-\nother::r--\n',
    'user::rw-,user:lisa:rw-:1000,group::r--,mask::rw-,other::r--',
    'other::r--,mask::rw-,group::r--,user:1000:rw-\t#effective:rw-\n,user::rw-',
    'u::rw-,u:1000:rw-,g::r--,m::rw-,o::r--',
  ];
  for (const text of texts) assert.equal(hex(parseAcl(text, 'access')), NAMED, text);
  const asDefault = texts[0]?.replace(/(^|,)/g, '$1default:') as string;
  assert.equal(hex(parseAcl(asDefault, 'default')), NAMED);
});

test('sorts named entries by id, users before groups', () => {
  const text = 'user::rwx,group:7:--x,user:20:r--,user:3:-w-,group::---,mask::rwx,other::---';
  assert.equal(
    hex(parseAcl(text, 'access')),
    '02000000' +
      '01000700ffffffff' +
      '0200020003000000' +
      '0200040014000000' +
      '04000000ffffffff' +
      '0800010007000000' +
      '10000700ffffffff' +
      '20000000ffffffff',
  );
});

test('an access ACL that only repeats the mode is none; a default one is kept', () => {
  const text = 'user::rwx,group::r-x,other::r-x';
  assert.equal(parseAcl(text, 'access'), undefined);
  assert.equal(
    hex(parseAcl(text, 'default')),
    '0200000001000700ffffffff04000500ffffffff20000500ffffffff',
  );
  assert.equal(parseAcl('', 'default'), undefined);
});

test('the mode shows the mask, where there is one, as the permissions of the group', () => {
  const cases: [text: string, mode: number][] = [
    ['user::rwx,user:1:rwx,group::r--,mask::rw-,other::--x', 0o761],
    ['user::rw-,group::r-x,other::r--', 0o654],
  ];
  for (const [text, mode] of cases) {
    assert.equal(modeOfAcl(parseAcl(text, 'default') as Uint8Array), mode);
  }
});

test('refuses what has no such value', () => {
  const valid = 'user::rw-,group::r--,other::r--';
  const texts = [
    `${valid},user:lisa:rw-,mask::rw-`,
    `${valid},user:4294967295:rw-,mask::rw-`,
    `${valid},user:1000:rw-`,
    `${valid},mask::rw-,mask::rw-`,
    `${valid},user:1:rw-,user:1:r--,mask::rw-`,
    'user::rw-,group::r--',
    'user::rw,group::r--,other::r--',
    'user::rw-,group::r--,other:5:r--',
    'owner@:rw-p--aARWcCos:-------:allow',
    'user:lisa:rw-:1000:x,group::r--',
  ];
  for (const text of texts) {
    assert.throws(() => parseAcl(text, 'access'), { code: 'unsupported' }, text);
  }
});

test.run();
