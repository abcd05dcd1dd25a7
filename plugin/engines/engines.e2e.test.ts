// needs: root, unshare, nsenter, buildah, podman, skopeo, docker, dockerd, docker-registry, mmdebstrap
/** The page, run as it stands there: Docker of Debian 13 with BuildKit, podman of this machine, a real registry. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { type Builder, openBuilder } from '../../test-images/builders.ts';
import { output } from '../../test-images/command.ts';
import { scriptsOf } from '../../test-images/page.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import { startDockerd } from '../../test-images/runtimes/docker.ts';
import { openSandbox, type Sandbox } from '../../test-images/runtimes/sandbox.ts';
import { suiteRoot } from '../../test-images/runtimes/suite.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const entry = process.env['RECHUNK_TEST_ENTRY'] ?? `${root}rechunk/cli/entry.cjs`;
const page = fileURLToPath(new URL('README.md', import.meta.url));
const dir = mkdtempSync('/var/tmp/rechunk-ep-');
const [bin, temp] = [join(dir, 'bin'), join(dir, 'temp')];
let registry: Registry;
let builder: Builder;
let docker: Sandbox;
let scripts: readonly string[];

/** A directory with a Dockerfile that needs no base. */
function contextBelow(parent: string): string {
  const context = join(parent, 'context');
  mkdirSync(context);
  writeFileSync(join(context, 'Dockerfile'), 'FROM scratch\nCOPY Dockerfile /etc/\nLABEL a=b\n');
  return context;
}

function writeProgram(name: string, script: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

test.before(async () => {
  for (const path of [bin, temp]) mkdirSync(path);
  registry = await startRegistry();
  builder = await openBuilder('bookworm', join(dir, 'b'), registry.host);
  docker = await openSandbox(join(dir, 'd'), { root: await suiteRoot('trixie') });
  await startDockerd(docker, 'containerd');
  writeProgram(
    'rechunk',
    `exec ${process.execPath} --disable-warning=ExperimentalWarning ${entry} "$@"`,
  );
  await docker.wrap('docker', join(bin, 'docker'));
  scripts = scriptsOf(page, registry.host);
  assert.equal(scripts.length, 3);
});

test.after(async () => {
  await builder?.close();
  await docker?.close();
  await registry?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** What a script prints that runs in `cwd` with rechunk and Docker. */
function run(script: string, cwd: string): Promise<string> {
  const env = {
    PATH: `${bin}:${process.env['PATH']}`,
    DOCKER_HOST: `unix://${docker.dir}/d.sock`,
    HOME: docker.dir,
    TMPDIR: temp,
  };
  return output('sh', ['-euc', script], { cwd, env });
}

const inspected = (image: string, ...more: string[]): Promise<string> =>
  output('skopeo', [
    ...more,
    'inspect',
    '--tls-verify=false',
    `docker://${registry.host}/${image}`,
  ]);

test('what BuildKit writes is rechunked as it comes, all its platforms too', async () => {
  const context = contextBelow(docker.dir);
  await run(scripts[0] as string, context);
  for (const [image, platform] of [
    ['app:1', 'amd64'],
    ['app:2', 'amd64'],
    ['app:2', 'arm64'],
  ] as const) {
    const found = JSON.parse(await inspected(image, '--override-arch', platform));
    assert.deepEqual([found.Architecture, found.Labels.a], [platform, 'b']);
    assert.ok(found.Labels['dev.rechunk.plan'], image);
  }
});

test('a build that fails leaves nothing', async () => {
  const context = join(docker.dir, 'context');
  const [first = ''] = (scripts[0] as string).split('\n');
  const failing = first.replace(' . |', ' --file nowhere . |').replace('app:1', 'app:none');
  await assert.rejects(run(failing, context), /ended with 2: .*reading -: nothing came/s);
  await assert.rejects(inspected('app:none'), /manifest unknown/);
});

test('what Docker keeps is rechunked, in its store or as an archive that it loads', async () => {
  const context = join(docker.dir, 'context');
  await run(scripts[1] as string, context);
  for (const tag of ['rechunked', 'archived']) {
    const [image] = JSON.parse(await run(`docker image inspect app:${tag}`, context));
    assert.equal(image.Config.Labels.a, 'b');
    assert.ok(image.Config.Labels['dev.rechunk.plan'], tag);
  }
});

test('what podman keeps is rechunked in its store', async () => {
  const context = contextBelow(builder.dir);
  const settings = `export PATH="${bin}:$PATH" RECHUNK_NO_CACHE=true`;
  await builder.run(`${settings}\n${scripts[2]}`, context);
  const [image] = JSON.parse(
    await builder.run('podman image inspect localhost/app:rechunked', context),
  );
  assert.equal(image.Labels.a, 'b');
  assert.ok(image.Labels['dev.rechunk.plan']);
  assert.deepEqual(readdirSync(temp), []);
});

test.run();
