import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'uvu';
import type { Path } from '../registry/path.ts';
import { inodeAt, memoryTree } from '../test-images/trees.ts';
import { type Contents, type Inode, Tree } from './tree.ts';

const tree = memoryTree([
  { path: 'd/a', content: 'x', mtime: 1n },
  { path: 'd/b', link: 'd/a' },
  { path: 'e', content: 'y', mtime: 2n },
]);

test('a tree of other inodes has the same names, hard links too', () => {
  for (const isAsked of [false, true]) {
    if (isAsked) assert.equal(tree.links.size, 1);
    let asked = 0;
    const other = tree.map((inode) => {
      asked++;
      return inode.mtime === 1n ? { ...inode, mtime: 7n } : inode;
    });
    assert.equal(asked, tree.entries.length - 1);
    assert.deepEqual(
      other.entries.map(({ path }) => path),
      tree.entries.map(({ path }) => path),
    );
    const [first, second] = ['d/a', 'd/b'].map((path) => other.get(path as Path));
    assert.equal(first, second);
    assert.equal(first?.mtime, 7n);
    assert.equal(other.get('e' as Path), tree.get('e' as Path));
    assert.deepEqual([...other.links], [[first, ['d/a', 'd/b']]]);
    assert.deepEqual(other.list('d' as Path), ['d/a', 'd/b']);
  }
});

test('a tree in which nothing changes is the same one', () => {
  assert.equal(
    tree.map((inode) => inode),
    tree,
  );
});

const PATHS = ['a', 'b', 'c', 'd'];
const SAMPLE = memoryTree(PATHS.map((path) => ({ path, content: path })));
const [A, B, C, D] = PATHS.map((path) => inodeAt(SAMPLE, path)) as [Inode, Inode, Inode, Inode];
const md5 = (content: string): string => createHash('md5').update(content).digest('hex');

/** The sample, and what is asked of its contents. */
function watched(fails = false): { tree: Tree; asked: (readonly Inode[])[] } {
  const asked: (readonly Inode[])[] = [];
  const contents: Contents = {
    read: () => Promise.reject(new Error('not asked for')),
    digests: (algorithm, inodes) => {
      asked.push(inodes);
      return fails ? Promise.reject(new Error('gone')) : SAMPLE.digests(algorithm, inodes);
    },
  };
  return { tree: new Tree(SAMPLE.entries, contents), asked };
}

test('digests that were begun ahead are not made again, and come in the order that is asked for', async () => {
  const { tree, asked } = watched();
  tree.digestAhead('md5', [C, A]);
  assert.deepEqual(await tree.digests('md5', [A, D, C, B, D]), ['a', 'd', 'c', 'b', 'd'].map(md5));
  assert.deepEqual(asked, [
    [C, A],
    [D, B, D],
  ]);
  const sha1 = createHash('sha1').update('a').digest('hex');
  assert.deepEqual(await tree.digests('sha1', [A]), [sha1]);
});

test('what fails ahead is told to whoever asks', async () => {
  const { tree } = watched(true);
  tree.digestAhead('md5', [A]);
  await tree.settled();
  await assert.rejects(tree.digests('md5', [A]), /gone/);
});

test.run();
