// needs: root, skopeo, podman, getfattr, python3
/** Hostile images, rechunked: GNU tar and podman must unpack from the result the very tree that each stands for. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { CASES, type Case, writeCase } from '../test-images/cases.ts';
import { jsonHere } from '../test-images/cli.ts';
import { command } from '../test-images/command.ts';
import { factsOf } from '../test-images/member.ts';
import { compareListings, compareTrees, listTree } from '../test-images/oracle.ts';
import { type Tool, unpackWith } from '../test-images/runtime.ts';
import type { BuildResult } from './rechunk.ts';
import type { Verification } from './verify.ts';

const directory = mkdtempSync('/var/tmp/rechunk-cases-');
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const loosely = { root: 'ignore', dirMtimes: 'ignore' } as const;

/** Differences between the tree of a case and what `tool` unpacks from the rechunked image. */
async function differencesOf(hostile: Case, image: string, tool: Tool): Promise<string[]> {
  const unpacked = await unpackWith(tool, image, join(directory, `${tool}-unpacked`));
  try {
    return compareListings(factsOf(hostile.tree), await listTree(unpacked.root), loosely);
  } finally {
    await unpacked.close();
  }
}

for (const [number, hostile] of CASES.entries()) {
  test(`nothing is lost: ${hostile.name}`, async () => {
    const layout = join(directory, String(number));
    await writeCase(layout, hostile);
    const from = `oci:${layout}:latest`;
    const to = `oci:${layout}-out:latest`;
    const built = await jsonHere<BuildResult>(['build', from, to, '--verify']);
    assert.equal(built.images[0]?.verified, true);
    assert.deepEqual((await jsonHere<Verification>(['verify', from, to])).differences, []);
    assert.deepEqual(await differencesOf(hostile, to, 'skopeo+tar'), []);
    if (/everything|capability|hard link/.test(hostile.name)) {
      assert.deepEqual(await differencesOf(hostile, to, 'podman-overlay'), []);
    }
  });
}

const alpine = fileURLToPath(new URL('../test-images/packages/apk/', import.meta.url));

for (const release of ['alpine-3.10.4-docker.tar.gz', 'alpine-3.11.5-docker.tar.gz']) {
  test(`nothing is lost, and the result works as an archive again: ${release}`, async () => {
    const plain = join(directory, `${release}.tar`);
    await command('sh', ['-c', `gzip -dc ${alpine}${release} > ${plain}`]);
    const archive = join(directory, `${release}-out.tar`);
    await jsonHere([
      'build',
      `docker-archive:${alpine}${release}`,
      `docker-archive:${archive}:alpine:rechunked`,
      '--verify',
    ]);
    await jsonHere(['verify', `docker-archive:${plain}`, `docker-archive:${archive}`]);
    const before = await unpackWith(
      'skopeo+tar',
      `docker-archive:${plain}`,
      join(directory, 'before'),
    );
    const after = await unpackWith(
      'podman-overlay',
      `docker-archive:${archive}`,
      join(directory, 'after'),
    );
    assert.deepEqual(await compareTrees(before.root, after.root, loosely), []);
    await after.close();
    await before.close();
  });
}

test.run();
