// needs: npm, tar
/** The package as it is published: what the command line and the library of it do is what the sources do. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';

const root = fileURLToPath(new URL('..', import.meta.url));
const work = mkdtempSync('/var/tmp/rechunk-package-');
const image = `docker-archive:${root}test-images/packages/apk/alpine-3.11.5-docker.tar.gz`;
const digests = JSON.parse(
  readFileSync(`${root}test-images/golden/alpine-3.11.5-digests.json`, 'utf8'),
);

const run = (program: string, args: readonly string[], cwd = work): string =>
  execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

test.before(() => {
  // Runs the build.
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', work], root));
  run('tar', ['-xf', packed.filename]);
  symlinkSync(`${root}node_modules`, join(work, 'package/node_modules'));
});

test.after(() => rmSync(work, { recursive: true }));

test('its command line gives the digests that the sources give', () => {
  const { bin } = JSON.parse(readFileSync(join(work, 'package/package.json'), 'utf8'));
  for (const compression of ['zstd', 'gzip']) {
    const to = `oci:${join(work, compression)}:x`;
    const args = ['build', image, to, '--platform', 'linux/amd64', '--compression', compression];
    const entry = join(work, 'package', bin.rechunk);
    const { digest } = JSON.parse(run(process.execPath, [entry, ...args, '--json']));
    assert.equal(digest, digests[compression]);
  }
});

test('its library does too', () => {
  const program = `
    import { rechunk } from 'rechunk';
    import { openDestination, openSource } from 'rechunk/registry';
    const source = await openSource(process.argv[2]);
    const destination = await openDestination(process.argv[3]);
    const hostPlatform = { os: 'linux', architecture: 'amd64' };
    const options = { hostPlatform, threads: 2, tempDirectory: '/var/tmp' };
    const { digest } = await rechunk(source, destination, options);
    console.log(digest);
    await Promise.all([source.close(), destination.close()]);
  `;
  const file = join(work, 'package/library.mjs');
  writeFileSync(file, program);
  const found = run(process.execPath, [file, image, `oci:${join(work, 'library')}:x`]).trim();
  assert.equal(found, digests['zstd']);
});

test.run();
