/**
 * Holds `measured.json` true for the runtimes of one suite; a file for each, so that they run side by side. Each suite takes every third
 * shape, another third than the other's; `RECHUNK_TEST_LONG=1` takes all of them, which is 15 minutes of two cores.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { type Measured, measureRuntime, type Result, workAhead, writeShapes } from './measure.ts';
import { closeRuntimes, runtimes } from './runtimes.ts';
import { SHAPES, type Shape } from './shapes.ts';
import type { Suite } from './suite.ts';

const measured: Measured = JSON.parse(
  readFileSync(new URL('measured.json', import.meta.url), 'utf8'),
);

/** A refusal counts as such; its words may tell of more than the image. */
function comparable(result: Result | undefined): unknown {
  return result && 'refused' in result ? 'refused' : result;
}

function shapesFor(suite: Suite): readonly Shape[] {
  if (process.env['RECHUNK_TEST_LONG']) return SHAPES;
  return SHAPES.filter((_, i) => i % 3 === (suite === 'trixie' ? 1 : 0));
}

/** Tests every runtime of `suite`; the caller runs the tests. */
export async function testMeasured(suite: Suite): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'rechunk-runtimes-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const layouts = await writeShapes(directory);
  const all = await runtimes([suite]);
  const shapes = shapesFor(suite);

  // uvu runs one test at a time; the runtimes work ahead.
  const settled = workAhead(all, (runtime) => measureRuntime(runtime, layouts, shapes));

  test(`every runtime of ${suite} that was measured is here`, () => {
    const known = Object.entries(measured.runtimes).filter(([, found]) => found.suite === suite);
    assert.deepEqual(all.map(({ id }) => id).sort(), known.map(([id]) => id).sort());
  });

  for (const { id } of all) {
    test(`${id} shows what measured.json says`, async () => {
      const results = (await settled.get(id)) ?? new Map<string, Result>();
      assert.equal(results.size, shapes.length);
      for (const [name, result] of results) {
        assert.deepEqual(comparable(result), comparable(measured.shapes[name]?.[id]), name);
      }
    });
  }
  test.after(closeRuntimes);
}
