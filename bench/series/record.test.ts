/** What a recorder writes down of trees. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { test } from 'uvu';
import { node } from '../../rechunk/repos/node.ts';
import { type FileSpec, memoryTree } from '../../test-images/trees.ts';
import { Recorder } from './record.ts';
import type { ComponentFacts, Release } from './series.ts';
import { withSpool } from './spool.ts';

const NS_PER_SECOND = 1_000_000_000n;
const PACKAGE = 'app/node_modules/p';
/** Bytes that compression adds to what it cannot compress, and a tar to a file, at most. */
const FRAME_BYTES = 32;
const TAR_BYTES = 400;

/** Records releases that are given as files. */
async function record(...releases: readonly (readonly FileSpec[])[]): Promise<Release[]> {
  return withSpool(tmpdir(), async (spool) => {
    const recorder = new Recorder([node], (sha256) => spool.get(sha256));
    for (const [i, specs] of releases.entries()) {
      for (const { content } of specs) spool.add(Buffer.from(content ?? ''));
      await recorder.add(`r${i}`, 1000 + i, memoryTree(specs));
    }
    return recorder.releases;
  });
}

const manifest = (version: string): FileSpec => ({
  path: `${PACKAGE}/package.json`,
  content: JSON.stringify({ name: 'p', version }),
  mtime: 77n * NS_PER_SECOND,
});

const stateOf = (releases: readonly Release[], i: number): ComponentFacts =>
  releases[i]?.components.get(`node:/${PACKAGE}`) as ComponentFacts;

test('facts of files: content, size, metadata in a line, times where they are not of installation', async () => {
  const releases = await record([
    manifest('1.0.0'),
    {
      path: `${PACKAGE}/run`,
      content: 'x',
      mode: 0o755,
      uid: 5,
      gid: 6,
      mtime: 1000n * NS_PER_SECOND,
    },
    { path: `${PACKAGE}/same`, link: `${PACKAGE}/run` },
    {
      path: `${PACKAGE}/to`,
      target: 'run',
      mode: 0o777,
      xattrs: new Map([['user.a', Buffer.from('b')]]),
    },
  ]);
  const { files, packages, size } = stateOf(releases, 0);
  assert.deepEqual(packages, ['p@1.0.0']);
  assert.equal(size, 31);
  assert.deepEqual(
    files.map(({ path, metadata, mtime }) => [path.slice(PACKAGE.length + 1), metadata, mtime]),
    [
      ['package.json', 'file 644 0:0', 77],
      ['run', 'file 755 5:6', undefined],
      ['same', `file 755 5:6 link=${PACKAGE}/run`, undefined],
      ['to', 'symlink 777 0:0 -> run xattrs=64dc41039b93f46b', 0],
    ],
  );
  // sha256 of "x" as sha256sum prints it, above that of "user.a", NUL, "1", NUL, "b"
  assert.deepEqual(
    files.map(({ content }) => content),
    [files[0]?.content, '2d711642b726b044', '', ''],
  );
});

test('sizes: of all files, of those that changed, of each alone', async () => {
  const noise = randomBytes(10_000);
  const more = randomBytes(20_000);
  const first = [manifest('1.0.0'), { path: `${PACKAGE}/noise`, content: noise }];
  const second = [manifest('1.0.1'), ...first.slice(1), { path: `${PACKAGE}/more`, content: more }];
  const releases = await record(first, second);
  const near = (actual: number, wanted: number, slack: number): void =>
    assert.ok(actual >= wanted && actual <= wanted + slack, `${actual}, want ${wanted}`);
  near(stateOf(releases, 0).compressedSize, 10_000, TAR_BYTES);
  assert.equal(stateOf(releases, 0).changedSize, stateOf(releases, 0).compressedSize);
  near(stateOf(releases, 1).compressedSize, 30_000, TAR_BYTES);
  near(stateOf(releases, 1).changedSize, 20_000, TAR_BYTES);
  const alone = stateOf(releases, 1).files.find(({ path }) => path.endsWith('noise'));
  near(alone?.compressedSize ?? 0, 10_000, FRAME_BYTES);
});

test('a state that did not change is one object, also where everything was installed anew', async () => {
  const at = (seconds: bigint): FileSpec[] => [
    { path: `${PACKAGE}/package.json`, content: '{"name":"p"}', mtime: seconds * NS_PER_SECOND },
  ];
  const releases = await record(at(1000n), at(1001n), at(5n), at(1003n));
  assert.equal(stateOf(releases, 0), stateOf(releases, 1));
  assert.equal(stateOf(releases, 0), stateOf(releases, 3));
  assert.notEqual(stateOf(releases, 0), stateOf(releases, 2));
  // Only its time changed.
  assert.equal(stateOf(releases, 2).changedSize, 0);
});

test.run();
