// needs: root, getfattr, python3
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { CASES } from './cases.ts';
import { command } from './command.ts';
import { factsOf, packLayer } from './member.ts';
import { compareListings, compareTrees, listTree } from './oracle.ts';

const directory = mkdtempSync(join(tmpdir(), 'rechunk-oracle-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const everything = CASES.find(({ name }) => name === 'one of everything');
assert(everything);
const EXACT = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf', '-', '-C'];

async function extract(name: string): Promise<string> {
  const root = join(directory, name);
  assert(everything?.layers[0]);
  await command('mkdir', [root]);
  await command('tar', [...EXACT, root], { input: await packLayer(everything.layers[0]) });
  return root;
}

const original = await extract('original');

/** Shell commands that change one thing, and the only difference that they may make. */
const CHANGES: readonly (readonly [string, string, RegExp])[] = [
  ['a file that is gone', 'rm sizes/0', /^\/"sizes\/0": only in the first$/],
  ['a file that is new', 'touch -d @1600000000 sizes/new', /^\/"sizes\/new": only in the second$/],
  ['an empty directory that is gone', 'rmdir empty', /^\/"empty": only in the first$/],
  [
    'content',
    'printf SU > bin/su; touch -d @1600000000 bin/su; chmod 4755 bin/su',
    /^\/"bin\/su": sha256/,
  ],
  ['a mode', 'chmod 0700 links', /^\/"links": mode "755" became "700"$/],
  ['a sticky bit', 'chmod -t tmp', /^\/"tmp": mode "1777" became "777"$/],
  ['an owner', 'chown -h 7 targets/100', /^\/"targets\/100": uid "0" became "7"$/],
  ['a group', 'chgrp 7 sizes/1', /^\/"sizes\/1": gid "0" became "7"$/],
  [
    'a time, by a nanosecond',
    'touch -d @1.500000001 times/1.5',
    /^\/"times\/1.5": mtime "1500000000" became "1500000001"$/,
  ],
  [
    'a symlink target',
    'ln -sfn b links/s2; touch -hd @1600000000 targets/101; rm links/s2; ln -sf x targets/101; touch -hd @1600000000 targets/101',
    /^\/"targets\/101": target /,
  ],
  [
    'a device number',
    'rm dev/null; mknod -m 620 dev/null c 1 5; chown 1:5 dev/null; touch -d @1600000000 dev/null',
    /^\/"dev\/null": device "1:3" became "1:5"$/,
  ],
  ['a capability', 'setcap -r bin/ping', /^\/"bin\/ping": xattrs "security.capability=/],
  [
    'an ACL',
    'setfattr -x system.posix_acl_default acl',
    /^\/"acl": xattrs "system.posix_acl_default=/,
  ],
  [
    'a binary xattr',
    'setfattr -n user.binary -v 0x0001 xattrs/binary',
    /^\/"xattrs\/binary": xattrs /,
  ],
];

for (const [what, script, wanted] of CHANGES) {
  test(`notices ${what}`, async () => {
    const root = await extract(`changed-${CHANGES.findIndex(([name]) => name === what)}`);
    await command('sh', ['-ec', script], { cwd: root });
    const differences = await compareTrees(original, root, { dirMtimes: 'ignore' });
    assert.equal(differences.length, 1, differences.join('\n'));
    assert.match(differences[0] ?? '', wanted);
  });
}

test('notices a torn link group at each of its names', async () => {
  const root = await extract('torn');
  await command('sh', ['-ec', 'cp -p links/a links/x; mv links/x links/a'], { cwd: root });
  const differences = await compareTrees(original, root, { dirMtimes: 'ignore' });
  assert.deepEqual(differences, [
    '/"links/a": links "links/b\\u0000links/c" became ""',
    '/"links/b": links "links/a\\u0000links/c" became "links/c"',
    '/"links/c": links "links/a\\u0000links/b" became "links/b"',
  ]);
});

test('notices a changed type', async () => {
  const root = await extract('type');
  const script = 'rm dev/pipe; mknod -m 620 dev/pipe c 1 3; chown 1:5 dev/pipe';
  await command('sh', ['-ec', `${script}; touch -d @1600000000 dev/pipe`], { cwd: root });
  assert.deepEqual(await compareTrees(original, root, { dirMtimes: 'ignore' }), [
    '/"dev/pipe": type "p" became "c"',
    '/"dev/pipe": device "" became "1:3"',
  ]);
});

test('leaves out what the options say', async () => {
  const root = await extract('options');
  const script =
    'touch -d @9 . empty times/0; chmod 711 .; setfattr -n user.x -v 1 tmp; rm sizes/1';
  await command('sh', ['-ec', script], { cwd: root });
  const options = {
    root: 'ignore',
    mtimes: 'ignore',
    ignoreXattrs: /^user\.x=/,
    ignorePaths: /^sizes\/1$/,
  } as const;
  assert.deepEqual(await compareTrees(original, root, options), []);
  assert.equal((await compareTrees(original, root, { mtimes: 'ignore' })).length, 3);
});

test('equal trees have no difference, and list what the members say', async () => {
  const again = await extract('again');
  assert.deepEqual(await compareTrees(original, again, { root: 'ignore' }), []);
  const listed = await listTree(again);
  assert.deepEqual(compareListings(factsOf(everything.tree), listed, { root: 'ignore' }), []);
  assert.equal(listed.size, everything.tree.length + 1);
});

test.run();
