import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { Image } from '../registry/image.ts';
import { memoryTree } from '../test-images/trees.ts';
import { layOver } from './base.ts';
import { type Below, changesBelow, noticesBelow } from './below.ts';
import type { Component, ComponentKind } from './components.ts';
import type { Tree } from './tree.ts';

const base = memoryTree([
  { path: 'one', content: '1', layer: 0 },
  { path: 'two', content: '2', layer: 0 },
  { path: 'log', content: '3', layer: 0 },
  { path: 'mixed', content: '4', layer: 1 },
  { path: 'other', content: '5', layer: 2 },
]);

function componentOf(tree: Tree, id: string, kind: ComponentKind, ...paths: string[]): Component {
  const entries = tree.entries.filter(({ path }) => paths.includes(path));
  return { id, kind, entries, size: 0 };
}

test('a layer of a base changes where a package changes of which it shows something', () => {
  const tree = memoryTree([
    { path: 'one', content: '1' },
    { path: 'two', content: '2' },
    { path: 'log', content: '3' },
    { path: 'mixed', content: '4' },
    { path: 'other', content: 'replaced' },
  ]);
  const components = [
    componentOf(tree, 'a', 'package', 'one'),
    componentOf(tree, 'b', 'package', 'two', 'mixed'),
    componentOf(tree, 'c', 'database', 'log'),
    componentOf(tree, 'd', 'package', 'other'),
  ];
  const items = components.map(({ id, kind }) => ({
    ...{ id, size: 1, tarSize: 1 },
    rate: kind === 'database' ? 950_000 : 100_000,
  }));
  const image = { layers: [{}, {}, {}] } as unknown as Image;
  const overlay = layOver(base, tree);
  assert.deepEqual(changesBelow(image, overlay, components, items), [190_000, 100_000, 0]);
  const logs = components.filter(({ kind }) => kind === 'database');
  assert.deepEqual(changesBelow(image, overlay, logs, items), [950_000, 0, 0]);
});

test('whoever deletes something of the base is told which runtime shows it', () => {
  const image = { source: { reference: 'oci:base' }, layers: [] } as unknown as Image;
  const tell = (tree: Tree): string => {
    const overlay = layOver(base, tree);
    return noticesBelow({ image, loaded: { tree: base }, overlay } as unknown as Below).join('\n');
  };
  assert.match(
    tell(memoryTree([{ path: 'one', content: '1' }])),
    /hide 4 names\npodman’s composefs/,
  );
  assert.doesNotMatch(tell(base), /composefs/);
});

test.run();
