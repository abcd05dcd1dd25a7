// needs: docker, dockerd, podman, containerd, mmdebstrap, root
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import { packTar } from '../registry/tarwriter.ts';
import { writeLayout } from '../test-images/build.ts';
import { jsonHere } from '../test-images/cli.ts';
import { output } from '../test-images/command.ts';
import { type DockerStore, startDockerd } from '../test-images/runtimes/docker.ts';
import { closeRuntimes, runtimes, view } from '../test-images/runtimes/runtimes.ts';
import { openSandbox } from '../test-images/runtimes/sandbox.ts';
import { type Suite, suiteRoot } from '../test-images/runtimes/suite.ts';
import { parseProfile } from './limits.ts';
import type { BuildResult } from './rechunk.ts';

const test = suite('profiles on real runtimes');
const root = await mkdtemp('/var/tmp/rp-');
const closing: (() => Promise<void>)[] = [closeRuntimes];
test.after(async () => {
  for (const close of closing) await close();
  await rm(root, { recursive: true, force: true, maxRetries: 3 });
});

/** More components than any profile has layers, so that each makes as many as it may. */
const COUNT = 410;
const files = Array.from({ length: COUNT }, (_, i) => ({
  path: `opt/${i}/file`,
  content: Buffer.alloc(40_000, `${i} `),
}));
const MAP = join(root, 'map');
await writeFile(MAP, files.map((_, i) => `/opt/${i}/ c${i}\n`).join(''));
await writeLayout(join(root, 'in'), [
  { layers: [{ tar: packTar(files) }], config: { Cmd: ['/x'] } },
]);

/** The image as `profile` wants it, at `to`. */
async function build(profile: string, to: string): Promise<void> {
  const parameters = ['build', `oci:${root}/in`, to, '--map', MAP, '--profile', profile, '--fresh'];
  const { images } = await jsonHere<BuildResult>(parameters);
  assert.equal(images[0]?.layers.length, parseProfile(profile).maxLayers);
  assert.deepEqual(images[0]?.exceeded, []);
}

/** Runs `docker` against a daemon of its own. */
async function dockerOf(release: Suite, store: DockerStore) {
  const sandbox = await openSandbox(join(root, `${release}${store}`), {
    root: await suiteRoot(release),
  });
  closing.push(() => sandbox.close());
  const env = { DOCKER_HOST: `unix://${await startDockerd(sandbox, store)}`, HOME: root };
  return (...parameters: string[]): Promise<string> => output('docker', parameters, { env });
}

const daemons: [string, Suite, DockerStore][] = [
  ['docker20', 'bookworm', 'graph'],
  ['docker', 'trixie', 'graph'],
  ['docker', 'trixie', 'containerd'],
];
for (const [profile, release, store] of daemons) {
  test(`${profile}: \`docker load\` of ${release}, ${store} store, takes the archive, and a container is made of it`, async () => {
    const archive = join(root, `${profile}.tar`);
    if (!existsSync(archive))
      await build(profile, `oci-archive:${archive}:test.invalid/${profile}:1`);
    const docker = await dockerOf(release, store);
    assert.equal(
      await docker('load', '-q', '-i', archive),
      `Loaded image: test.invalid/${profile}:1`,
    );
    assert.match(await docker('create', `test.invalid/${profile}:1`), /^[0-9a-f]{64}$/);
    await closing.pop()?.();
  });
}

/** To make a container, dockerd mounts all layers; others are looked into. Podman's 400 layers take minutes: `RECHUNK_TEST_LONG=1`. */
const views: (readonly [string, string])[] = [
  ['bootc', 'podman-overlay/bookworm'],
  ...(process.env['RECHUNK_TEST_LONG'] ? [['podman', 'podman-overlay/trixie'] as const] : []),
  ['ml', 'containerd/bookworm'],
];
const there = await runtimes(['bookworm', 'trixie']);
for (const [profile, id] of views) {
  test(`${profile}: a container of ${id} has every file`, async () => {
    const layout = join(root, `${profile}-layout`);
    await build(profile, `oci:${layout}`);
    const runtime = there.find((one) => one.id === id) ?? assert.fail(`no ${id}`);
    const { refused, entries } = await view(runtime, layout);
    assert.equal(refused, undefined);
    const shown = [...entries.keys()].filter((path) => /opt\/\d+\/file$/.test(path));
    assert.equal(shown.length, COUNT);
    await rm(layout, { recursive: true });
  });
}

test.run();
