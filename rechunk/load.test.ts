import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { test } from 'uvu';
import { openImage, type Source } from '../registry/image.ts';
import { openLayout } from '../registry/layout.ts';
import type { Descriptor } from '../registry/oci.ts';
import { packTar, type TarItem } from '../registry/tarwriter.ts';
import { writeLayout } from '../test-images/build.ts';
import { withContext } from './context.ts';
import { loadTree } from './load.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-load-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

/** Paths with the layers that they are from, of an image of `layers`, of which the lower ones come the later. */
async function load(name: string, layers: readonly (readonly TarItem[])[]): Promise<string[]> {
  const directory = join(work, name);
  const stored = layers.map((items) => ({ tar: packTar(items) }));
  const [built] = await writeLayout(directory, [{ layers: stored }]);
  const digests = built?.layers.map(({ digest }) => digest) ?? [];
  const source = await openLayout(directory);
  const blob = async (descriptor: Descriptor) => {
    const { stream } = await source.blob(descriptor);
    async function* late(): AsyncGenerator<Uint8Array> {
      await wait(200 * (digests.length - digests.indexOf(descriptor.digest)));
      yield* stream();
    }
    return { stream: late };
  };
  const slow: Source = { ...source, blob };
  try {
    return await withContext({ threads: layers.length, tempDir: work }, async (context) => {
      const hostPlatform = { os: 'linux', architecture: 'amd64' };
      const { tree } = await loadTree(await openImage(slow, { hostPlatform }), context);
      return tree.entries.flatMap(({ path, inode }) => (path ? [`${path} ${inode.layer}`] : []));
    });
  } finally {
    await source.close();
  }
}

test('layers are laid on each other in their order, in whatever order they come', async () => {
  const found = await load('order', [
    [{ path: 'a' }, { path: 'b' }, { path: 'c' }],
    [{ path: 'a' }, { path: '.wh.b' }, { path: '.wh.c' }],
    [{ path: 'b' }],
  ]);
  assert.deepEqual(found, ['a 1', 'b 2']);
});

test('what cannot be laid on those below is told of when all are read', async () => {
  const layers = [[{ path: 'a' }], [{ path: 'b', type: 'link', link: 'gone' }], [{ path: 'c' }]];
  await assert.rejects(load('broken', layers as TarItem[][]), /gone/);
});

test.run();
