// needs: root, skopeo, umoci, podman, buildah, docker-registry, mmdebstrap, bsdtar, containerd, getfattr
/** The main job as a user does it: a real Debian image from a real registry and back, then run by real runtimes. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import { jsonHere, runHere, runJson } from '../test-images/cli.ts';
import { command, output } from '../test-images/command.ts';
import { slimDebianImage } from '../test-images/debian.ts';
import { compareListings, type Facts, listTree } from '../test-images/oracle.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { type Tool, type Unpacked, unpackWith } from '../test-images/runtime.ts';
import type { BuildResult } from './rechunk.ts';
import type { Verification } from './verify.ts';

const main = suite('main');
let work: string;
let registry: Registry;
let original: Unpacked;
/** What is in it. */
let wanted: ReadonlyMap<string, Facts>;
let repository: string;

main.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-main-');
  registry = await startRegistry();
  repository = `docker://${registry.host}/debian`;
  const layout = await slimDebianImage();
  await command('skopeo', [
    'copy',
    '-q',
    '--dest-tls-verify=false',
    `oci:${layout}:latest`,
    `${repository}:12`,
  ]);
  original = await unpackWith('skopeo+tar', `${repository}:12`, join(work, 'original'));
  wanted = await listTree(original.root);
});

main.after(async () => {
  await original?.close();
  await registry?.stop();
  await rm(work, { recursive: true, force: true });
});

main('rechunks from a registry to the same registry, proves it, and verify agrees', async () => {
  const built = await runJson<BuildResult>([
    'build',
    `${repository}:12`,
    `${repository}:12-rechunked`,
    '--verify',
  ]);
  const [image] = built.images;
  assert.ok(
    image && image.layers.length > 40 && image.layers.length <= 100,
    `${image?.layers.length} layers`,
  );
  assert.equal(image.verified, true);
  const verified = await runJson<Verification>([
    'verify',
    `${repository}:12`,
    `${repository}:12-rechunked`,
  ]);
  assert.deepEqual(verified.differences, []);
  assert.deepEqual(
    verified.excuses.map(({ kind }) => kind),
    ['dir-mtime'],
  );
  const inspected = JSON.parse(
    (
      await output('skopeo', ['inspect', '--tls-verify=false', `${repository}:12-rechunked`])
    ).toString(),
  );
  assert.equal(inspected.Digest, built.digest);
});

main('all layers together are no larger than skopeo makes them with zstd', async () => {
  const layout = join(work, 'skopeo');
  await command('skopeo', [
    'copy',
    '-q',
    '--src-tls-verify=false',
    '--dest-compress-format',
    'zstd',
    `${repository}:12`,
    `oci:${layout}:12`,
  ]);
  const theirs = await jsonHere<{ size: number }>(['inspect', `oci:${layout}:12`]);
  const ours = await jsonHere<{ size: number }>(['inspect', `${repository}:12-rechunked`]);
  assert.ok(ours.size <= theirs.size, `ours ${ours.size}, skopeo's ${theirs.size}`);
});

/** The result in few layers: vfs copies the whole tree for every layer, which takes a minute. Small images meet it in `test-images/runtimes`. */
const FEW = '12-few';

const TOOLS: readonly (readonly [Tool, string])[] = [
  ['skopeo+tar', '12-rechunked'],
  ['umoci', '12-rechunked'],
  ['podman-overlay', '12-rechunked'],
  ...(process.env['RECHUNK_TEST_LONG'] ? [['podman-vfs', FEW] as const] : []),
  ['containerd', '12-rechunked'],
];

/** Runs a program in a container of the result, which podman has pulled to `storage`. */
async function runProgram(storage: string): Promise<string> {
  const places = ['--root', join(storage, 'storage'), '--runroot', join(storage, 'run')];
  const buildah = (...args: readonly string[]): Promise<string> =>
    output('buildah', [...places, '--storage-driver', 'overlay', ...args]);
  const image = `${registry.host}/debian:12-rechunked`;
  const container = await buildah('from', '--pull-never', '--quiet', image);
  const script = 'printf rechunk | sha256sum | cut -c1-8; perl -e "print $^V"';
  const said = await buildah('run', '--isolation', 'chroot', container, '--', 'sh', '-c', script);
  await buildah('rm', container);
  return said;
}

for (const [tool, tag] of TOOLS) {
  main(
    `${tool} makes the same root file system of the result${tool === 'podman-overlay' ? ', and a program starts in it' : ''}`,
    async () => {
      if (tag === FEW)
        await runJson(['build', `${repository}:12`, `${repository}:${tag}`, '--max-layers', '4']);
      const unpacked = await unpackWith(tool, `${repository}:${tag}`, join(work, tool));
      try {
        const loosely = { dirMtimes: 'ignore', root: 'ignore' } as const;
        const differences = compareListings(wanted, await listTree(unpacked.root), loosely);
        assert.deepEqual(differences.slice(0, 10), []);
        if (tool === 'podman-overlay')
          assert.match(await runProgram(join(work, tool)), /^bdbcd294\nv5\.\d+\.\d+$/);
      } finally {
        await unpacked.close();
      }
    },
  );
}

main('verify finds a changed file and says where, with exit status 1', async () => {
  // The last to need it.
  const tree = original.root;
  await command('sh', ['-c', `printf x >> ${tree}/etc/issue`]);
  const { status, stdout } = await runHere([
    'verify',
    `${repository}:12`,
    `rootfs:${tree}`,
    '--quiet',
  ]);
  assert.equal(status, 1);
  assert.match(stdout, /^\/etc\/issue: content: want [0-9a-f]{64}, got [0-9a-f]{64}$/m);
  assert.match(stdout, /^\/etc\/issue: size: want \d+, got \d+$/m);
});

main.run();
