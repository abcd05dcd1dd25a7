// needs: root, unshare, nsenter, mmdebstrap, skopeo, umoci, podman, containerd, ctr, dockerd, ostree, python3
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import {
  forEachRuntime,
  type Measured,
  measureRuntime,
  type Result,
  writeShapes,
} from './measure.ts';
import { closeRuntimes, runtimes } from './runtimes.ts';

const directory = mkdtempSync(join(tmpdir(), 'rechunk-runtimes-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const file = new URL('measured.json', import.meta.url);
const measured: Measured = JSON.parse(readFileSync(file, 'utf8'));

const layouts = await writeShapes(directory);
const all = await runtimes();

/** A refusal counts as such; its words may tell of more than the image. */
function comparable(result: Result | undefined): unknown {
  return result && 'refused' in result ? 'refused' : result;
}

// uvu runs one test at a time; the runtimes work ahead.
const settled = new Map(
  all.map(({ id }) => [id, Promise.withResolvers<ReadonlyMap<string, Result>>()]),
);
void forEachRuntime(all, async (runtime) => {
  const one = settled.get(runtime.id);
  one?.promise.catch(() => {});
  await measureRuntime(runtime, layouts).then(one?.resolve, one?.reject);
});

test('every runtime of Debian that was measured is here', () => {
  const known = Object.entries(measured.runtimes).filter(([, { suite }]) => suite !== 'built');
  const found = all.filter(({ suite }) => suite !== 'built');
  assert.deepEqual(found.map(({ id }) => id).sort(), known.map(([id]) => id).sort());
});

for (const runtime of all) {
  test(`${runtime.id} shows what measured.json says`, async () => {
    for (const [name, result] of (await settled.get(runtime.id)?.promise) ?? []) {
      const known = measured.shapes[name]?.[runtime.id];
      assert.deepEqual(comparable(result), comparable(known), name);
    }
  });
}

test.after(closeRuntimes);
test.run();
