import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { Path } from '../registry/path.ts';
import { memoryTree } from '../test-images/trees.ts';

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

test.run();
