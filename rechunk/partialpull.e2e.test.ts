// needs: root, mmdebstrap, docker-registry
/** Two releases of a real image, rechunked to a real registry as zstd:chunked, and pulled by podman of Debian 13. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { packTar } from '../registry/tarwriter.ts';
import { writeLayout } from '../test-images/build.ts';
import { jsonHere } from '../test-images/cli.ts';
import { command } from '../test-images/command.ts';
import { openPartialPodman, type PartialPodman } from '../test-images/runtimes/partial.ts';
import { openSandbox, type Sandbox } from '../test-images/runtimes/sandbox.ts';
import { suiteRoot } from '../test-images/runtimes/suite.ts';
import { readView, type ViewEntry } from '../test-images/runtimes/view.ts';
import type { BuildResult } from './rechunk.ts';

const archive = fileURLToPath(
  new URL('../test-images/packages/apk/alpine-3.11.5-docker.tar.gz', import.meta.url),
);
const ALPINE = await command('tar', ['-xzOf', archive, '--wildcards', '*/layer.tar']);
/** A program library of 2.4 MB, and where its next release differs. */
const LIBRARY = 'lib/libcrypto.so.1.1';
const CHANGED_AT = 1 << 20;

async function nextRelease(): Promise<Buffer> {
  const content = await command('tar', ['-xOf', '-', LIBRARY], { input: ALPINE });
  content.write('the next release', CHANGED_AT);
  return packTar([{ path: LIBRARY, mode: 0o555, content }]);
}

const work = await mkdtemp('/var/tmp/rp-');
const layers = [{ tar: ALPINE }, { tar: await nextRelease() }];
await writeLayout(work, [
  { layers: layers.slice(0, 1), tag: '1' },
  { layers, tag: '2' },
]);
const root = await suiteRoot('trixie');

/** What a container of the image sees; without times of directories and symlinks, which podman 5.4 leaves when it pulls in part. */
async function shown(
  sandbox: Sandbox,
  { podman }: PartialPodman,
  image: string,
): Promise<{ readonly entries: [string, ViewEntry][]; readonly sums: string }> {
  const container = await podman('create', '--tls-verify=false', image, 'true');
  const mounted = await podman('mount', container);
  const view = [...(await readView(sandbox, mounted))].sort(([a], [b]) => (a < b ? -1 : 1));
  const script = 'cd "$1"; find . -type f -exec sha256sum {} + | sort';
  const sums = await sandbox.run('sh', ['-c', script, 'sh', mounted]);
  await podman('rm', '-f', container);
  const entries = view.map(([path, entry]): [string, ViewEntry] => [
    path,
    entry.type === 'dir' || entry.type === 'symlink' ? { ...entry, mtimeNs: 0n } : entry,
  ]);
  return { entries, sums };
}

for (const user of ['root', 'rootless'] as const) {
  test(`podman (${user}) pulls of the second release only what changed, and shows what it should`, async () => {
    const sandbox = await openSandbox(await mkdtemp('/var/tmp/rt-'), { root, user });
    try {
      const podman = await openPartialPodman(sandbox);
      const { host } = podman.registry;
      const build = async (tag: string, compression: string): Promise<BuildResult> => {
        const to = `docker://${host}/${compression.replace(':', '-')}:${tag}`;
        const before = tag === '2' ? ['--previous', to.replace(/2$/, '1')] : [];
        const options = ['--compression', compression, '--no-cache', ...before];
        return jsonHere<BuildResult>(['build', `oci:${work}:${tag}`, to, ...options]);
      };
      const pulls = [];
      const seen = [];
      for (const tag of ['1', '2']) {
        const [image] = (await build(tag, 'zstd:chunked')).images;
        assert.ok(image);
        pulls.push({ image, pulled: await podman.pull(`zstd-chunked:${tag}`) });
        seen.push(await shown(sandbox, podman, `${host}/zstd-chunked:${tag}`));
      }
      const [first, second] = pulls;
      assert.ok(first && second);
      for (const { image, pulled } of pulls) {
        assert.equal(image.partialPulls?.layers, image.layers.length);
        // The config.
        assert.equal(pulled.whole.length, 1);
      }
      const had = new Set(first.image.layers.map(({ digest }) => digest));
      const fresh = second.image.layers.filter(({ digest }) => !had.has(digest));
      const changed = fresh.reduce((sum, { size }) => sum + size, 0);
      assert.ok(changed > 900_000, `${changed} bytes`);
      const { bytes } = second.pulled;
      assert.ok(bytes < changed / 4, `${bytes} of ${changed} bytes`);
      // From a storage that has none of it, and by whole layers.
      await podman.podman('rmi', '--all', '--force');
      for (const [i, tag] of ['1', '2'].entries()) {
        await build(tag, 'zstd');
        const { parts } = await podman.pull(`zstd:${tag}`);
        assert.equal(parts, 0);
        assert.deepEqual(seen[i], await shown(sandbox, podman, `${host}/zstd:${tag}`));
      }
    } finally {
      await sandbox.close();
    }
  });
}

test.after(() => rm(work, { recursive: true, force: true }));
test.run();
