// needs: root, getfattr, setfattr, python3, mount, umount
/** Hostile images unpacked and mounted by the kernel: the very tree that each stands for. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { writeLayout } from '../../test-images/build.ts';
import { CASES, writeCase } from '../../test-images/cases.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import { contentOf, dir, factsOf, file, packLayer, packMembers } from '../../test-images/member.ts';
import { compareListings, listTree } from '../../test-images/oracle.ts';
import { shownOf, unpackTo } from '../../test-images/unpacking.ts';
import type { UnpackedImage } from './unpack.ts';

const work = mkdtempSync('/var/tmp/rechunk-unpack-');
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

/** Where the kernel cannot show it: directories of no layer, whose time the cases leave open, and links between layers. */
const EXPECTED: Readonly<Record<string, readonly RegExp[]>> = {
  'hard link to a lower file': [/"f": links "h" became ""/, /"h": links "f" became ""/],
  'entry below a lower symlink': [/"ln": mtime .* became "0"/],
  'whiteout below a lower symlink': [/"ln": mtime .* became "0"/],
  'directories that no layer defines': [/"x": mtime .* became "0"/, /"x\/y": mtime .* became "0"/],
};

for (const [number, hostile] of CASES.entries()) {
  test(`mounted, nothing is lost: ${hostile.name}`, async () => {
    const layout = join(work, String(number));
    await writeCase(layout, hostile);
    const shown = await shownOf(`${layout}-out`, layout, { resolve: true });
    const found = compareListings(factsOf(hostile.tree), shown, { root: 'ignore' });
    const expected = EXPECTED[hostile.name] ?? [];
    assert.equal(found.length, expected.length, found.join('\n'));
    for (const [i, pattern] of expected.entries()) assert.match(found[i] ?? '', pattern);
  });
}

test('holes stay holes, also of many stretches, before and after data', async () => {
  const layout = join(work, 'holes');
  const stretches = Array.from({ length: 100 }, (_, i): [number, string] => [
    (1 << 20) * (i + 1),
    `${i}`,
  ]);
  const files = [
    { path: 'many', size: 200 << 20, data: stretches },
    { path: 'end', size: 16 << 20, data: [[(16 << 20) - 3, 'end']] as [number, string][] },
    { path: 'empty', size: 8 << 20, data: [] },
  ];
  const tar = await packLayer({ sparse: files, format: '1.0' });
  await writeLayout(layout, [{ layers: [{ tar }] }]);
  const out = `${layout}-out`;
  await unpackTo(out, layout);
  const listing = await listTree(join(out, '001'));
  for (const { path, size, data } of files) {
    const facts = listing.get(path);
    const content = createHash('sha256')
      .update(contentOf({ path, size, data }), 'latin1')
      .digest('hex');
    assert.deepEqual([facts?.size, facts?.sha256], [size, content]);
    const blocks = statSync(join(out, '001', path)).blocks;
    assert.ok(blocks <= data.length * 8 + 8, `${path}: ${blocks} blocks of 512 bytes`);
  }
});

test('what a directory gives to new files in it does not reach the layers', async () => {
  const parent = join(work, 'shared');
  mkdirSync(parent);
  chmodSync(parent, 0o2777);
  // A default ACL for user 1000.
  const acl =
    '0x0200000001000700ffffffff02000700e803000004000700ffffffff10000700ffffffff20000500ffffffff';
  await command('setfattr', ['-n', 'system.posix_acl_default', '-v', acl, parent]);
  const layout = join(work, 'plain');
  const members = [dir('d', { mode: 0o750 }), file('d/f', 'f', { mode: 0o640 }), file('f')];
  await writeLayout(layout, [{ layers: [{ tar: await packMembers(members) }] }]);
  await unpackTo(join(parent, 'out'), layout);
  const listing = await listTree(join(parent, 'out/001'));
  assert.deepEqual(compareListings(factsOf(members), listing, { root: 'ignore' }), []);
  assert.equal(listing.get('')?.xattrs, '');
});

test('attribute names that tar writes in another way, and names of directories that tar must not read', async () => {
  const root = join(work, 'tree');
  mkdirSync(join(root, '-C'), { recursive: true });
  writeFileSync(join(root, '-C', '--help'), '');
  await command('setfattr', ['-n', 'user.a=b%3Dc%', '-v', 'v', join(root, '-C')]);
  const out = join(work, 'tree-out');
  await jsonHere(['unpack', `rootfs:${root}`, out]);
  assert.deepEqual(compareListings(await listTree(root), await listTree(join(out, '001'))), []);
});

test('marks are asked for by option or environment, and can be declined', async () => {
  const layout = join(work, 'marks');
  const tar = await packMembers([file('a/f'), dir('b'), file('b/f')]);
  await writeLayout(layout, [{ layers: [{ tar }, { tar }] }]);
  const env = { RECHUNK_MARK_IMPLIED: 'user' };
  const runs: readonly (readonly [string[], Record<string, string>, string | undefined])[] = [
    [[], {}, undefined],
    [['--mark-implied', 'trusted'], {}, 'trusted'],
    [['--mark-implied', 'trusted'], env, 'trusted'],
    [[], env, 'user'],
    [['--no-mark-implied'], env, undefined],
  ];
  for (const [number, [options, variables, namespace]] of runs.entries()) {
    const out = `${layout}-${number}`;
    const args = ['unpack', `oci:${layout}:latest`, out, ...options];
    const result = await jsonHere<UnpackedImage>(args, { env: variables });
    const listing = await listTree(join(out, '001'));
    const want = namespace ? `${namespace}.overlay.dirmeta_delegate=0x79` : '';
    const found = ['', 'a', 'b'].map((path) => listing.get(path)?.xattrs);
    assert.deepEqual(found, [want, want, '']);
    const counts = result.layers.map(({ entries, implied, marked }) => [entries, implied, marked]);
    assert.deepEqual(counts, Array(2).fill([4, 2, namespace ? 2 : 0]));
    assert.equal(result.mountOptions.endsWith(',userxattr'), namespace === 'user');
  }
});

test('the printed line mounts what was unpacked, wherever it lies', async () => {
  const layout = join(work, 'line');
  await writeLayout(layout, [{ layers: [{ tar: await packMembers([file('f')]) }] }]);
  const out = join(work, "a 'quoted', place:");
  const { stdout } = await runHere(['unpack', `oci:${layout}:latest`, out, '--quiet']);
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  const root = join(work, 'mounted');
  mkdirSync(root);
  await command('sh', ['-c', line.replace('MOUNTPOINT', root)]);
  try {
    assert.deepEqual(readdirSync(root), ['f']);
  } finally {
    await command('umount', [root]);
  }
});

test('no other user can reach what is set-user-id root', async () => {
  const layout = join(work, 'suid');
  const members = [file('su', '', { mode: 0o4755 })];
  await writeLayout(layout, [{ layers: [{ tar: await packMembers(members) }] }]);
  const out = join(work, 'private');
  await jsonHere(['unpack', `oci:${layout}:latest`, out]);
  assert.equal(statSync(out).mode & 0o7777, 0o700);
  assert.equal(statSync(join(out, '001/su')).mode & 0o7777, 0o4755);
});

test.run();
