// needs: root, skopeo, umoci, getfattr, python3, mount, umount
/** Rechunked images by every parents policy, and layers of other tools, unpacked and mounted: the file system that umoci unpacks of the original. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { type LayerInput, writeLayout } from '../../test-images/build.ts';
import { jsonHere } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import {
  CAPABILITY,
  dir,
  file,
  type Member,
  opaque,
  packMembers,
  symlink,
  whiteout,
} from '../../test-images/member.ts';
import { compareListings, type Facts, listTree } from '../../test-images/oracle.ts';
import { unpackWith } from '../../test-images/runtime.ts';
import { shownOf } from '../../test-images/unpacking.ts';

const policies = suite('policies');
const work = mkdtempSync('/var/tmp/rechunk-policies-');
const layout = join(work, 'odd');
const sparse = join(work, 'sparse');
const map = join(work, 'map');
let original: Map<string, Facts>;

/** Directories of odd metadata, each above files of two components. */
const DIRECTORIES: readonly Member[] = [
  dir('./', { mode: 0o711, mtime: '1500000000.000000001' }),
  dir('group', { mode: 0o2770, uid: 1000, gid: 1000, mtime: '1500000001.123456789' }),
  dir('private', { mode: 0o700, uid: 5, gid: 6, xattrs: { 'user.note': 'n\0\xff' } }),
  dir('private/inner', { mode: 0o555, mtime: '1' }),
  dir('sticky', { mode: 0o1777, mtime: '1400000000.5' }),
  dir('trusted', { xattrs: { 'trusted.t': 't' } }),
  dir('usr', { mtime: '1500000002' }),
  dir('usr/bin', { mtime: '1500000003.000000003' }),
];
const above = DIRECTORIES.slice(1);
const ODD: readonly Member[] = [
  ...DIRECTORIES,
  symlink('bin', 'usr/bin'),
  dir('empty', { mode: 0o750, uid: 7 }),
  ...above.flatMap(({ path }) => ['one', 'two'].map((name) => file(`${path}/${name}`))),
  file('usr/bin/ping', '#!', { mode: 0o755, xattrs: { 'security.capability': CAPABILITY } }),
];

policies.before(async () => {
  await writeLayout(layout, [{ layers: [{ tar: await packMembers(ODD) }] }]);
  writeFileSync(map, '**/one one\n**/two two\n');
  original = await listOriginal(layout);
});

policies.after(() => rmSync(work, { recursive: true, force: true }));

/** The tree of an image as umoci unpacks it. */
async function listOriginal(of: string): Promise<Map<string, Facts>> {
  const unpacked = await unpackWith('umoci', `oci:${of}:latest`, join(work, 'umoci'));
  try {
    return await listTree(unpacked.root);
  } finally {
    await unpacked.close();
  }
}

/** How rechunk is asked, and whether the result is right on kernels that know no delegation without resolving. */
const POLICIES: readonly (readonly [string, boolean])[] = [
  ['--parents full', true],
  ['--parents shared', true],
  ['--parents shared --skeleton first', false],
  ['--parents shared --skeleton both', true],
  ['--parents delegate', true],
  ['--parents delegate --delegate-xattr user', true],
  ['--parents delegate --delegate-fallback neutral', true],
  ['--parents delegate --delegate-fallback neutral --skeleton first', false],
  ['--parents implicit', false],
  ['--parents implicit --skeleton both', true],
];

for (const [number, [policy, isRight]] of POLICIES.entries()) {
  policies(`marked and resolved, the metadata is the original's: ${policy}`, async () => {
    const out = join(work, `out-${number}`);
    const args = ['build', `oci:${layout}:latest`, `oci:${out}:latest`, '--map', map];
    await jsonHere([...args, '--dir-mtime', 'keep', ...policy.split(' ')]);
    const shown = await shownOf(`${out}-root`, out, { markImplied: 'trusted', resolve: true });
    // The kernel hides overlayfs's own attributes, and the tree has none.
    assert.deepEqual(compareListings(original, shown), []);
    const plain = await shownOf(`${out}-root`, out);
    assert.equal(compareListings(original, plain, { root: 'ignore' }).length === 0, isRight);
  });
}

policies(
  'marked and resolved, layers that leave directories out show what umoci shows',
  async () => {
    const stack: readonly (readonly Member[])[] = [
      ODD,
      [file('private/inner/new'), whiteout('group/one'), file('usr/bin/new')],
      [dir('sticky', { mode: 0o1770, gid: 9 }), opaque('sticky'), file('sticky/new')],
      [file('sticky/newer'), whiteout('trusted'), file('bin/x'), whiteout('bin')],
    ];
    const tars = await Promise.all(stack.map((members) => packMembers(members)));
    // A symlink that becomes a directory is deleted first, as umoci follows it otherwise.
    tars[3] = await packMembers([
      whiteout('bin'),
      dir('bin', { mode: 0o700 }),
      file('bin/x'),
      file('sticky/newer'),
      whiteout('trusted'),
    ]);
    await writeLayout(sparse, [{ layers: tars.map((tar): LayerInput => ({ tar })) }]);
    const want = await listOriginal(sparse);
    const shown = await shownOf(join(work, 'sparse-root'), sparse, { resolve: true });
    // umoci touches a directory whose child a layer deletes.
    const found = compareListings(want, shown).filter((line) => !/^\/"(group)?": mtime/.test(line));
    assert.deepEqual(found, []);
    const plain = await shownOf(join(work, 'sparse-root'), sparse);
    assert.ok(
      compareListings(want, plain).some((line) => /"private": mode "700" became "755"/.test(line)),
    );
  },
);

const alpine = fileURLToPath(
  new URL('../../test-images/packages/apk/alpine-3.11.5-docker.tar.gz', import.meta.url),
);

policies('zstd:chunked layers of skopeo are unpacked like any others', async () => {
  const archive = join(work, 'alpine.tar');
  const chunked = join(work, 'chunked');
  await command('sh', ['-c', 'gzip -dc "$1" > "$2"', 'sh', alpine, archive]);
  const copy = ['copy', '-q', '--insecure-policy'];
  const form = ['--dest-compress', '--dest-compress-format', 'zstd:chunked'];
  await command('skopeo', [...copy, ...form, `docker-archive:${archive}`, `oci:${chunked}:latest`]);
  const manifests = await command('sh', [
    '-c',
    'cat "$1"/blobs/sha256/* | tr -d "\\0"',
    'sh',
    chunked,
  ]);
  assert.match(manifests.toString('latin1'), /zstd-chunked.manifest-checksum/);
  const want = await listOriginal(chunked);
  const shown = await shownOf(join(work, 'chunked-root'), chunked, { markImplied: 'trusted' });
  assert.deepEqual(compareListings(want, shown, { root: 'ignore' }), []);
});

policies.run();
