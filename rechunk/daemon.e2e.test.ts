// needs: docker, dockerd, containerd, mmdebstrap, root
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { packTar } from '../registry/tarwriter.ts';
import { writeLayout } from '../test-images/build.ts';
import { runCli } from '../test-images/cli.ts';
import { output } from '../test-images/command.ts';
import { type DockerStore, startDockerd } from '../test-images/runtimes/docker.ts';
import { openSandbox } from '../test-images/runtimes/sandbox.ts';
import { type Suite, suiteRoot } from '../test-images/runtimes/suite.ts';
import type { BuildResult } from './rechunk.ts';

const test = suite('from and to a Docker daemon');
const root = await mkdtemp('/var/tmp/rd-');
const temp = join(root, 'tmp');
await mkdir(temp);
const archives = fileURLToPath(new URL('../test-images/buildkit/', import.meta.url));
const closing: (() => Promise<void>)[] = [];
test.after(async () => {
  for (const close of closing) await close();
  await rm(root, { recursive: true, force: true, maxRetries: 3 });
});

const MAP = join(root, 'map');
await writeFile(MAP, '/opt/a a\n/opt/b b\n/opt/c c\n');
for (const content of ['one', 'two']) {
  const files = ['a', 'b', 'c'].map((name) => ({
    path: `opt/${name}`,
    content: Buffer.alloc(100_000, name === 'b' ? content : name),
  }));
  const config = { Cmd: ['/opt/a'], Labels: { kind: content } };
  await writeLayout(join(root, content), [{ layers: [{ tar: packTar(files) }], config }]);
}

const daemons: [string, Suite, DockerStore][] = [
  ['dockerd 20.10', 'bookworm', 'graph'],
  ['dockerd 26.1 with the containerd store', 'trixie', 'containerd'],
];
for (const [name, release, store] of daemons) {
  const sandbox = await openSandbox(join(root, release), { root: await suiteRoot(release) });
  closing.push(() => sandbox.close());
  const env = {
    DOCKER_HOST: `unix://${await startDockerd(sandbox, store)}`,
    HOME: root,
    TMPDIR: temp,
  };
  const inspect = async (image: string) =>
    JSON.parse(await output('docker', ['image', 'inspect', image], { env }))[0];
  const build = async (from: string, to: string, ...more: string[]): Promise<BuildResult> => {
    const stdin = from === '-' ? { stdin: createReadStream(join(archives, 'index.tar')) } : {};
    const parameters = ['build', from, to, '--map', MAP, '--json', '--verify', ...more];
    const { status, stdout, stderr } = await runCli(parameters, { env, ...stdin });
    assert.equal(status, 0, stderr);
    assert.deepEqual(await readdir(temp), []);
    return JSON.parse(stdout);
  };

  test(`${name}: the next build continues what the daemon has, and its layers stay`, async () => {
    await build(`oci:${root}/one`, 'docker-daemon:test.invalid/app:1');
    const before = await inspect('test.invalid/app:1');
    const result = await build(`oci:${root}/two`, 'docker-daemon:test.invalid/app:1', '--tag', '2');
    const after = await inspect('test.invalid/app:2');
    assert.equal((await inspect('test.invalid/app:1')).Id, after.Id);
    assert.deepEqual([before.Config.Labels.kind, after.Config.Labels.kind], ['one', 'two']);
    const kept = after.RootFS.Layers.filter((layer: string) =>
      before.RootFS.Layers.includes(layer),
    );
    assert.deepEqual([after.RootFS.Layers.length, kept.length], [3, 2]);
    if (store === 'containerd') assert.equal(after.Id, result.digest);
  });

  test(`${name}: what it has is rechunked within it, and is equal`, async () => {
    const from = 'docker-daemon:test.invalid/app:2';
    await build(from, 'docker-daemon:test.invalid/again:1', '--max-layers', '2', '--fresh');
    const { status, stderr } = await runCli(
      ['verify', from, 'docker-daemon:test.invalid/again:1'],
      { env },
    );
    assert.equal(status, 0, stderr);
    assert.equal((await inspect('test.invalid/again:1')).RootFS.Layers.length, 2);
  });

  test(`${name}: what BuildKit writes is rechunked on its way into it`, async () => {
    await build('-', 'docker-daemon:test.invalid/buildkit:1');
    const { Config, Architecture } = await inspect('test.invalid/buildkit:1');
    assert.deepEqual(
      [Config.User, Config.Cmd, Architecture],
      ['1000', ['/bin/tool', '--serve'], 'amd64'],
    );
  });

  test(`${name}: an index is for containerd’s store only`, async () => {
    const to = 'docker-daemon:test.invalid/all:1';
    const parameters = ['build', `oci-archive:${archives}index.tar`, to, '--all-platforms'];
    const { status, stderr } = await runCli(parameters, { env });
    assert.equal(status, store === 'containerd' ? 0 : 2, stderr);
    if (store === 'graph') assert.match(stderr, /cannot hold an index of images/);
    assert.deepEqual(await readdir(temp), []);
  });
}

test.run();
