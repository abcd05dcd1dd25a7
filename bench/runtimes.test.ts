// needs: python3
/** The truth table in the README is what the models say of what is built now, and what was measured agrees with it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { test } from 'uvu';
import { modelFor } from '../test-images/realview.ts';
import { modelRows, README, readMeasured, report, splitReadme } from './runtimes.ts';

const work = mkdtempSync('/var/tmp/rechunk-table-');
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

test('the table of what runtimes make of each policy is up to date: node bench/runtimes.ts', async () => {
  const { rows } = await modelRows(work);
  const measured = readMeasured();
  const [, table] = splitReadme(readFileSync(README, 'utf8'));
  assert.equal(table.trim(), report(rows, measured).trim());
  for (const { row, cells } of rows) {
    const found = Object.entries(measured.rows[row.id] ?? {});
    for (const [runtime, cell] of found)
      assert.equal(cells[modelFor(runtime)?.id ?? ''], cell, `${row.id} ${runtime}`);
  }
});

test.run();
