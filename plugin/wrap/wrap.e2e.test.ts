// needs: root, unshare, nsenter, buildah, podman, dockerd, docker, skopeo, docker-registry
/** The page, run as it stands there with this machine's engines. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import { type Builder, openBuilder } from '../../test-images/builders.ts';
import { command } from '../../test-images/command.ts';
import { scriptsOf } from '../../test-images/page.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import { startDockerd } from '../../test-images/runtimes/docker.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = fileURLToPath(new URL('README.md', import.meta.url));
const dir = mkdtempSync('/var/tmp/rechunk-wp-');
const [own, context] = [join(dir, 'b'), join(dir, 'b/context')];
let registry: Registry;
let builder: Builder;

test.before(async () => {
  registry = await startRegistry();
  builder = await openBuilder('bookworm', own, registry.host);
  await startDockerd(builder.sandbox);
  const alpine = readFileSync(`${root}test-images/packages/apk/alpine-3.11.5-docker.tar.gz`);
  writeFileSync(join(own, 'alpine.tar'), gunzipSync(alpine));
  const to = `docker://${registry.host}/alpine:latest`;
  await command('skopeo', [
    'copy',
    '-q',
    '--dest-tls-verify=false',
    `docker-archive:${own}/alpine.tar`,
    to,
  ]);
  mkdirSync(context);
  const lines = [`FROM ${registry.host}/alpine`, 'COPY Dockerfile /etc/', 'LABEL a=b', ''];
  writeFileSync(join(context, 'Dockerfile'), lines.join('\n'));
  mkdirSync(join(own, 'bin'));
  const entry = `exec ${process.execPath} --disable-warning=ExperimentalWarning ${root}rechunk/cli/entry.cjs`;
  writeFileSync(join(own, 'bin/rechunk'), `#!/bin/sh\n${entry} "$@"\n`);
  chmodSync(join(own, 'bin/rechunk'), 0o755);
});

test.after(async () => {
  await builder?.close();
  await registry?.stop();
  rmSync(dir, { recursive: true, force: true });
});

const run = (script: string): Promise<string> =>
  builder.run(
    `export PATH="${own}/bin:$PATH" DOCKER_HOST=unix://${own}/d.sock DOCKER_BUILDKIT=0 RECHUNK_NO_CACHE=true\n${script}`,
    context,
  );

test('every command of the page works, and each image has its label', async () => {
  const scripts = scriptsOf(page, registry.host);
  assert.equal(scripts.length, 2);
  for (const script of scripts) await run(script);
  const config = await run(`skopeo inspect --tls-verify=false docker://${registry.host}/app:1`);
  assert.equal(JSON.parse(config).Labels.a, 'b');
  for (const name of [
    'buildah inspect --type image localhost/app:1',
    'podman inspect localhost/app:2',
    'docker inspect app:3',
  ])
    assert.match(await run(name), /"a": "b"/);
  assert.deepEqual(
    readdirSync(join(own, 'tmp')).filter((name) => name.startsWith('rechunk')),
    [],
  );
});

test.run();
