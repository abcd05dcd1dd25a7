// needs: time
/** The small form of the memory bench: 500 MB in 25,000 files must not need much more than a tenth of it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { writeSynthetic } from '../test-images/synthetic.ts';

const ENTRY = fileURLToPath(new URL('../rechunk/cli/entry.cjs', import.meta.url));
const directory = mkdtempSync('/var/tmp/rechunk-memory-');
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Peak resident memory of a build, MiB. */
function peakOf(from: string, to: string): number {
  const command = [
    process.execPath,
    ENTRY,
    'build',
    '--quiet',
    `oci:${from}:latest`,
    `oci:${to}:x`,
  ];
  const { status, stderr } = spawnSync('/usr/bin/time', ['-f', '%M', ...command], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return Number(stderr.trim().split('\n').at(-1)) / 1024;
}

/** Runs on a machine of more threads take more; this holds for up to eight. */
const PEAK_MIB = 600;
/** Twice the bytes may cost at most this much more: peaks scatter by some 60 MiB, and bytes that were held would cost 240. */
const GROWTH_MIB = 120;

test('memory is bounded, and does not grow with the bytes of the image', async () => {
  const files = 25_000;
  await writeSynthetic(join(directory, 'a'), { files, bytes: 250e6, layers: 4 });
  await writeSynthetic(join(directory, 'b'), { files, bytes: 500e6, layers: 4 });
  const half = peakOf(join(directory, 'a'), join(directory, 'a-out'));
  const whole = peakOf(join(directory, 'b'), join(directory, 'b-out'));
  assert.ok(whole < PEAK_MIB, `peak ${whole.toFixed(0)} MiB`);
  assert.ok(
    whole - half < GROWTH_MIB,
    `${half.toFixed(0)} MiB for half, ${whole.toFixed(0)} MiB for all`,
  );
});

test.run();
