// needs: root, buildah
/** A commit on top of a rechunked image, by a real buildah: the plan that it inherits still tells of the layers below. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { runJson } from '../test-images/cli.ts';
import { output } from '../test-images/command.ts';
import type { BuildResult } from './rechunk.ts';

const commit = suite('commit');
/** In lower case: buildah makes a name of it. */
const work = `/var/tmp/rechunk-commit-${process.pid}`;
mkdirSync(work);
const alpine = fileURLToPath(
  new URL('../test-images/packages/apk/alpine-3.11.5-docker.tar.gz', import.meta.url),
);
const layout = `oci:${join(work, 'layout')}`;
const few = ['--max-layers', '8'];

commit.after(() => rmSync(work, { recursive: true, force: true }));

const buildah = (...args: readonly string[]): Promise<string> =>
  output('buildah', [
    ...['--root', join(work, 'root'), '--runroot', join(work, 'run'), '--storage-driver', 'vfs'],
    ...args,
  ]);

commit('the next build keeps every layer that the commit left alone', async () => {
  await runJson(['build', `docker-archive:${alpine}`, `${layout}:rechunked`, ...few]);
  writeFileSync(join(work, 'added'), 'added\n');
  const container = (await buildah('from', `${layout}:rechunked`)).trim();
  await buildah('copy', container, join(work, 'added'), '/added');
  await buildah('commit', '--quiet', container, `${layout}:committed`);
  const previous = ['--previous', `${layout}:committed`];
  const { images } = await runJson<BuildResult>([
    ...['build', `${layout}:committed`, `${layout}:again`],
    ...few,
    ...previous,
  ]);
  const [image] = images;
  const made = image?.layers.filter(({ reused }) => !reused) ?? [];
  assert.equal(image?.layers.length, 8);
  assert.equal(made.length, 1, 'only the layer that the added file went to');
});

commit.run();
