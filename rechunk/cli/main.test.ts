/** The command line as a process: what the environment means, and the exit status when something goes wrong. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { runCli, runJson } from '../../test-images/cli.ts';
import type { BuildResult } from '../rechunk.ts';

const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-main-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const packages = fileURLToPath(new URL('../../test-images/packages/', import.meta.url));
const source = `docker-archive:${packages}apk/alpine-3.11.5-docker.tar.gz`;

test('an empty TMPDIR is none', async () => {
  const [to, cwd] = [`oci:${join(directory, 'tmpdir')}:x`, mkdtempSync(join(directory, 'cwd-'))];
  await runJson<BuildResult>(['build', source, to, '--verify'], { cwd, env: { TMPDIR: '' } });
  assert.deepEqual(readdirSync(cwd), []);
  for (const made of [cwd, join(directory, 'tmpdir')]) rmSync(made, { recursive: true });
});

for (const [value, isDry] of [
  ['true', true],
  ['1', true],
  ['false', false],
  ['0', false],
  ['', false],
] as const) {
  test(`RECHUNK_DRY_RUN='${value}' is ${isDry ? 'a dry run' : 'a real run'}`, async () => {
    const to = `oci:${join(directory, `dry-${value}`)}:x`;
    const env = { RECHUNK_DRY_RUN: value, RECHUNK_PLATFORM: '' };
    const { dryRun } = await runJson<BuildResult>(['build', source, to], { env });
    assert.equal(dryRun, isDry);
    assert.equal(existsSync(join(directory, `dry-${value}`)), !isDry);
  });
}

test('a switch that is neither on nor off is a usage error', async () => {
  const { status, stderr } = await runCli(['inspect', source], { env: { RECHUNK_JSON: 'maybe' } });
  assert.deepEqual(
    [status, stderr.split('\n')[0]],
    [2, "rechunk: RECHUNK_JSON: got 'maybe', want true or false"],
  );
});

test('a limit of memory that is too small for any image is told before anything is opened', async () => {
  const args = ['inspect', 'oci:/does/not/exist:x', '--memory-limit', '1MiB'];
  const { status, stderr } = await runCli(args);
  assert.equal(status, 2);
  assert.match(stderr, /^rechunk: --memory-limit 1MiB: want at least \d+MiB, and more for large/);
});

test('RECHUNK_JSON=false prints text, also of an error', async () => {
  const env = { RECHUNK_JSON: 'false' };
  assert.match((await runCli(['inspect', source], { env })).stdout, /^docker-archive:/);
  const missing = await runCli(['inspect', 'oci:/does/not/exist:x'], { env });
  assert.deepEqual([missing.status, missing.stdout], [2, '']);
  const json = await runCli(['inspect', 'oci:/does/not/exist:x'], { env: { RECHUNK_JSON: '1' } });
  assert.equal(JSON.parse(json.stdout).error.code, 'not-found');
});

test('a result that cannot be printed is trouble, not a difference', () => {
  if (!existsSync('/dev/full')) return;
  const full = openSync('/dev/full', 'w');
  const entry = fileURLToPath(new URL('./entry.cjs', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [entry, 'inspect', source], {
    stdio: ['ignore', full, 'pipe'],
    encoding: 'utf8',
  });
  closeSync(full);
  assert.equal(status, 2, stderr);
  assert.match(stderr, /^rechunk: writing the result: ENOSPC/);
});

test('nothing but results is left', () => {
  assert.deepEqual(readdirSync(directory).sort(), ['dry-', 'dry-0', 'dry-false']);
});

test.run();
