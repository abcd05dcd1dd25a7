/** A table of contents that claims another size for the content of others: theirs becomes no larger. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { digestOf } from '../../oci.ts';
import { packTar } from '../../tarwriter.ts';
import { indexLayers } from './index.ts';
import { IndexReader } from './reader.ts';
import { claimsOf, sourceOf, startEngine, tagOf } from './samples.conformance.ts';
import { writeSnapshot } from './snapshot.ts';

const { engine, directory, close } = await startEngine();
const honest = [1, 2].map((n) => sourceOf(packTar([{ path: `of-${n}`, content: 'hello' }])));
const liar = claimsOf('hello', 700);
// Whose row of a content is written first must not matter.
const readers: IndexReader[] = [];
for (const layers of [
  [...honest, liar],
  [liar, ...honest],
]) {
  const place = `${directory}-${readers.length}`;
  await indexLayers(engine, layers, { directory: place, atOnce: 1 });
  const images = layers.map((layer, at) => tagOf('shared', `v${at}`, [layer]));
  await writeSnapshot(engine, place, ['shared'], images);
  readers.push(await IndexReader.open(engine, place));
}

for (const [reader, order] of [
  [readers[0], 'last'],
  [readers[1], 'first'],
] as const) {
  assert.ok(reader);

  test(`files and contents count by the size that each is said to have, the claim ${order}`, async () => {
    const [row] = await reader.query('headline');
    const { files, bytes, contents, content_bytes } = row ?? {};
    assert.deepEqual([files, bytes, contents, content_bytes], [3, 710, 2, 705]);
  });

  test(`what is stored twice is told without the claim, the claim ${order}`, async () => {
    const limits = { limit: 9, places: 9 };
    const rows = await reader.query('duplicates', limits);
    const told = rows.map(({ size, copies, layers, wasted }) => [size, copies, layers, wasted]);
    assert.deepEqual(told, [[5, 2, 2, 5]]);
    assert.equal(rows[0]?.['digest'], digestOf('hello').slice('sha256:'.length));
    const places = await reader.query('places', limits);
    assert.deepEqual(places.map(({ path }) => path).sort(), ['of-1', 'of-2']);
    const holders = await reader.query('holders', limits);
    const diffIds = honest.map(({ diffId }) => diffId).sort();
    assert.deepEqual(holders.map(({ diff_id }) => diff_id).sort(), diffIds);
  });
}

test('the claim shows', async () => {
  const rows = (await readers[0]?.query('collisions')) ?? [];
  assert.deepEqual(
    rows.map(({ kind }) => kind),
    ['content'],
  );
});

test.after(close);
test.run();
