// needs: time
/** The small form of the memory bench: neither 500 MB nor 125,000 files may need much more than 250 MB in 25,000 files do. */
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
    '--no-cache',
    '--threads=2',
    `oci:${from}:latest`,
    `oci:${to}:x`,
  ];
  const { status, stderr } = spawnSync('/usr/bin/time', ['-f', '%M', ...command], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return Number(stderr.trim().split('\n').at(-1)) / 1024;
}

/** Of 25,000 files with two threads; 260 to 315 were measured. */
const PEAK_MIB = 400;
/** Twice the bytes may cost at most this much more: peaks scatter by some 40 MiB, and bytes that were held would cost 240. */
const GROWTH_MIB = 100;
/** What 100,000 files more may cost: 0.8 kB each, and what peaks scatter by. */
const ENTRIES_MIB = 116;

test('memory is bounded, and grows little with the bytes of the image and with its files', async () => {
  const peak = async (name: string, files: number, bytes: number): Promise<number> => {
    await writeSynthetic(join(directory, name), { files, bytes, layers: 4 });
    return peakOf(join(directory, name), join(directory, `${name}-out`));
  };
  const least = await peak('least', 25_000, 250e6);
  const bytes = await peak('bytes', 25_000, 500e6);
  const files = await peak('files', 125_000, 250e6);
  const text = [least, bytes, files].map((peak) => `${peak.toFixed(0)} MiB`).join(', ');
  assert.ok(least < PEAK_MIB && bytes < PEAK_MIB, text);
  assert.ok(bytes - least < GROWTH_MIB, text);
  assert.ok(files - least < ENTRIES_MIB, text);
});

test.run();
