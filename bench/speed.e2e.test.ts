// needs: time, skopeo, umoci, docker-registry, zstd, curl, root
/** The machinery of the speed bench on tiny inputs; what it measures here means nothing. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { FLOOR, OURS, OURS_VERIFY, SKOPEO } from './speed/commands.ts';
import { type Row, rowOf, type Section } from './speed/results.ts';
import { COLD, UNCHANGED_PREVIOUS } from './speed/warm.ts';

const BENCH = fileURLToPath(new URL('speed.ts', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'speed-test-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

function bench(only: string): { printed: string; sections: Section[] } {
  const parameters = [BENCH, '--quick', '--rounds', '1', '--only', only, '--results', directory];
  const printed = execFileSync(process.execPath, parameters, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return { printed, ...JSON.parse(readFileSync(join(directory, 'speed.json'), 'utf8')) };
}

test('measures every command on an input, and keeps inputs that are not named', () => {
  bench('rootfs');
  const { printed, sections } = bench('debian');
  assert.deepEqual(
    sections.map(({ name }) => name),
    ['debian', 'rootfs'],
  );
  const row = (command: string): Row => {
    const found = rowOf(sections[0], command);
    assert.ok(found, `${command} was not measured`);
    return found;
  };
  for (const command of [OURS, OURS_VERIFY, SKOPEO, FLOOR, 'umoci unpack']) {
    const [run] = row(command).runs;
    assert.ok(run && run.wallSeconds > 0 && run.peakMiB > 0, command);
    // 1 MB of files, which each of them has to decompress.
    assert.ok(run.readBytes > 2e5 && run.writtenBytes > 1e5, `${command}: ${JSON.stringify(run)}`);
  }
  assert.ok((row(OURS).outputBytes ?? 0) > 1e5);
  assert.match(printed, /\| 1\. debian to zstd by skopeo to zstd \| at most 1\.5 \| [\d.]+ \|/);
  assert.ok(existsSync(join(directory, 'speed.svg')));
});

test('counts what a registry sends in a run, manifests and layers apart', () => {
  const { sections } = bench('warm-debian');
  const section = sections.find(({ name }) => name === 'warm-debian');
  const [cold] = rowOf(section, COLD)?.runs ?? [];
  assert.equal(cold?.fetchedLayers, 1);
  const layer = section?.changedLayerBytes ?? 0;
  assert.ok(layer > 1e5 && (cold?.fetchedBytes ?? 0) > layer, `${cold?.fetchedBytes} of ${layer}`);
  assert.ok((cold?.fetchedBytes ?? 0) < 1.1 * layer, `${cold?.fetchedBytes} of ${layer}`);
  assert.equal(rowOf(section, UNCHANGED_PREVIOUS)?.runs.length, 1);
});

test.run();
