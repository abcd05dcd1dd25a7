// needs: root, unshare, nsenter, skopeo, dockerd, docker, mmdebstrap
/** Docker's builds that are wrapped, with daemons that write layouts (buildx, containerd's store) and those that only save images. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import { type CliResult, runCli } from '../../test-images/cli.ts';
import { type DockerStore, startDockerd } from '../../test-images/runtimes/docker.ts';
import { openSandbox, type Sandbox } from '../../test-images/runtimes/sandbox.ts';
import { type Suite, suiteRoot } from '../../test-images/runtimes/suite.ts';

/** Daemons, and what the build of each says of how its result was taken. */
const DAEMONS: readonly (readonly [Suite, DockerStore, readonly string[], RegExp | undefined])[] = [
  ['bookworm', 'graph', ['build'], undefined],
  ['trixie', 'graph', ['build'], undefined],
  [
    'trixie',
    'containerd',
    ['buildx', '--builder', 'default', 'build'],
    /exporting to oci image format/,
  ],
];

for (const [release, store, verb, says] of DAEMONS) {
  const test = suite(`docker of ${release}, ${store}`);
  const dir = mkdtempSync('/var/tmp/rechunk-wd-');
  const [own, context] = [join(dir, 's'), join(dir, 's/context')];
  let sandbox: Sandbox;

  test.before(async () => {
    sandbox = await openSandbox(own, { root: await suiteRoot(release) });
    await startDockerd(sandbox, store);
    mkdirSync(context);
    // Which `docker build` takes no notice of.
    const select = ['docker', 'buildx', 'create', '--use', '--name', 'other'];
    if (release === 'trixie') await sandbox.run('env', [...env(), ...select]);
  });

  test.after(async () => {
    await sandbox?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const env = (): string[] => [`DOCKER_HOST=unix://${own}/d.sock`, `HOME=${own}`];
  const wrap = (instructions: readonly string[]): Promise<CliResult> => {
    writeFileSync(join(context, 'Dockerfile'), ['FROM scratch', ...instructions, ''].join('\n'));
    const build = [...sandbox.enter, 'env', ...env(), 'docker', ...verb, '-t', 'untagged', context];
    const temp = ['--temp-dir', join(own, 'temp')];
    return runCli(['wrap', `oci:${dir}/out:x`, ...temp, '--', ...build]);
  };

  test('the result of a build is taken, and its tag is not made', async () => {
    const { status, stdout, stderr } = await wrap(['COPY Dockerfile /etc/', 'LABEL a=b']);
    assert.equal(status, 0, stderr);
    if (says) assert.match(stdout + stderr, says);
    assert.match(stdout, /^linux\/amd64: /m);
    const inspected = await runCli(['inspect', `oci:${dir}/out:x`]);
    assert.equal(inspected.status, 0, inspected.stderr);
    assert.deepEqual(readdirSync(join(own, 'temp')), []);
    const images = await sandbox.run('env', [...env(), 'docker', 'images']);
    assert.doesNotMatch(images, /untagged/);
  });

  test('a build that fails gives its own status', async () => {
    rmSync(join(dir, 'out'), { recursive: true });
    const { status, stderr } = await wrap(['COPY nowhere /etc/']);
    assert.match(stderr, /rechunk: nsenter ended with status 1: nothing was stored/);
    assert.equal(status, 1);
    assert.deepEqual(readdirSync(join(own, 'temp')), []);
    assert.ok(!readdirSync(dir).includes('out'));
  });

  test.run();
}
