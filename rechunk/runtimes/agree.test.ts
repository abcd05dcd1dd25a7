/** The models against the real runtimes, as `test-images/runtimes/measured.json` keeps what those showed. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import { layersOf } from '../../test-images/memberlayers.ts';
import { modelFor } from '../../test-images/realview.ts';
import { compareView, type Measured, type Result } from '../../test-images/runtimes/measure.ts';
import { SHAPES } from '../../test-images/runtimes/shapes.ts';
import type { MergedView, ViewEntry } from '../../test-images/runtimes/view.ts';
import type { RuntimeModel } from './model.ts';
import { isolateLayers } from './stack.ts';
import { listView, type ViewNode, viewOf } from './view.ts';

const measured: Measured = JSON.parse(
  readFileSync(new URL('../../test-images/runtimes/measured.json', import.meta.url), 'utf8'),
);

/** Later than any time in a shape. */
const NOW = 4_000_000_000_000_000_000n;

function entryOf({ inode, isNow, leaked, dangling }: ViewNode): ViewEntry {
  const { type, mode, uid, gid, mtime, size, target } = inode;
  const none = { mode: 0, uid: 0, gid: 0, mtimeNs: 0n, xattrs: new Map<string, string>() };
  if (dangling) return { ...none, type: 'dangling' };
  const xattrs = [...inode.xattrs, ...leaked]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => [name, Buffer.from(value).toString('hex')] as const);
  const more = type === 'file' ? { size } : type === 'symlink' ? { target } : {};
  return { type, mode, uid, gid, mtimeNs: isNow ? NOW : mtime, xattrs: new Map(xattrs), ...more };
}

function mergedView(model: RuntimeModel, shape: (typeof SHAPES)[number]): MergedView {
  const view = viewOf(model, isolateLayers(layersOf(shape.layers)));
  if (view.refused) return { refused: view.refused.reason, sinceNs: NOW, entries: new Map() };
  const entries = new Map([...listView(view.root)].map(([path, node]) => [path, entryOf(node)]));
  return { sinceNs: NOW, entries };
}

/** Without a refusal's words, which are each runtime's own, and without the root. */
function plain(result: Result): unknown {
  if ('refused' in result) return 'refused';
  const paths = Object.entries(result.paths).filter(([path]) => path !== '');
  return Object.fromEntries(
    paths.map(([path, { differs, shows }]) => [
      path,
      // Nothing of a dangling name can be known.
      shows?.type === 'dangling' ? 'dangling' : { differs, shows },
    ]),
  );
}

const ids = new Set(Object.values(measured.shapes).flatMap((results) => Object.keys(results)));
for (const id of ids) {
  const model = modelFor(id);
  if (!model) throw new Error(`no model of ${id}`);
  test(`${id}: the model of ${model.id} agrees on every shape`, () => {
    for (const shape of SHAPES) {
      const found = measured.shapes[shape.name]?.[id];
      if (!found) continue;
      const got = compareView(shape, mergedView(model, shape));
      assert.deepEqual({ [shape.name]: plain(got) }, { [shape.name]: plain(found) });
    }
  });
}

test.run();
