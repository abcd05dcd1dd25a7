import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { openArchive } from './archive.ts';
import { createDockerArchive, createOciArchive } from './archivewriter.ts';
import { putImage, sampleImage, testDestination } from './destination.conformance.ts';
import { openImage } from './image.ts';
import { digestOf } from './oci.ts';

const test = suite('archives as destinations');
const root = await mkdtemp(join(tmpdir(), 'rechunk-archivewriter-'));
const host = { hostPlatform: { os: 'linux', architecture: 'amd64' } };
let count = 0;
const newDir = async (): Promise<string> => {
  const dir = join(root, `archive-${count++}`);
  await mkdir(dir);
  return dir;
};
test.after(() => rm(root, { recursive: true }));

testDestination(
  'an OCI archive',
  async () => {
    const dir = await newDir();
    return {
      open: (tag) => createOciArchive(join(dir, 'x.tar'), tag),
      reopen: (tag) => openArchive(join(dir, 'x.tar'), tag, { kind: 'oci-archive' }),
      list: () => readdir(dir),
      remove: () => rm(dir, { recursive: true }),
    };
  },
  { keepsOthers: false },
);

testDestination(
  'a Docker archive',
  async () => {
    const dir = await newDir();
    return {
      open: (tag) => createDockerArchive(join(dir, 'x.tar'), `some/app:${tag}`),
      reopen: (tag) =>
        openArchive(join(dir, 'x.tar'), `some/app:${tag}`, { kind: 'docker-archive' }),
      list: () => readdir(dir),
      remove: () => rm(dir, { recursive: true }),
    };
  },
  { keepsOthers: false, keepsManifests: false },
);

test('writes the same bytes for the same image, in whatever order it came', async () => {
  const image = sampleImage(['none', 'none', 'none', 'none']);
  for (const create of [createOciArchive, createDockerArchive]) {
    const digests = new Set<string>();
    for (const order of [
      [0, 1, 2, 3],
      [3, 1, 0, 2],
    ]) {
      const path = join(await newDir(), 'x.tar');
      const destination = await create(path, 'app:1');
      for (const i of order) {
        const { descriptor, bytes } = image.layers[i] ?? assert.fail();
        await destination.putBytes(descriptor, bytes);
      }
      await destination.putBytes(image.config.descriptor, image.config.bytes);
      await destination.commit(image.manifest, ['two']);
      await destination.close();
      digests.add(digestOf(await readFile(path)));
    }
    assert.equal(digests.size, 1);
  }
});

test('writes archives that GNU tar lists, with fixed headers', async () => {
  const path = join(await newDir(), 'x.tar');
  const destination = await createDockerArchive(path, 'app:1');
  const image = sampleImage(['gzip', 'none', 'zstd']);
  await putImage(destination, image);
  await destination.commit(image.manifest, ['two', 'quay.io/other:three']);
  await destination.close();
  const diffIds = (
    JSON.parse(String(Buffer.from(image.config.bytes))) as { rootfs: { diff_ids: string[] } }
  ).rootfs.diff_ids.map((digest) => digest.slice(7));
  const listing = spawnSync('tar', ['--numeric-owner', '--utc', '-tvf', path], {
    encoding: 'utf8',
  });
  assert.equal(listing.status, 0);
  const lines = listing.stdout
    .trim()
    .split('\n')
    .map((line) => line.split(/\s+/));
  assert.deepEqual(
    lines.map((line) => line[5]),
    [
      `${image.config.descriptor.digest.slice(7)}.json`,
      ...diffIds.map((id) => `${id}.tar`),
      'manifest.json',
      'repositories',
    ],
  );
  for (const line of lines)
    assert.deepEqual(
      [line[0], line[1], line[3], line[4]],
      ['-rw-r--r--', '0/0', '1970-01-01', '00:00'],
    );
  const tags = ['docker.io/library/app:1', 'docker.io/library/app:two', 'quay.io/other:three'];
  const manifest = spawnSync('tar', ['-xOf', path, 'manifest.json'], { encoding: 'utf8' }).stdout;
  assert.deepEqual(JSON.parse(manifest)[0].RepoTags, tags);
  const plain = spawnSync('tar', ['-xOf', path, `${diffIds[0]}.tar`], {
    maxBuffer: 1 << 28,
  }).stdout;
  assert.equal(digestOf(plain).slice(7), diffIds[0]);
});

test('an archive that is in use is replaced whole; one without a name has no tags', async () => {
  const dir = await newDir();
  const path = join(dir, 'x.tar');
  const write = async (): Promise<ReturnType<typeof sampleImage>> => {
    const image = sampleImage(['none']);
    const destination = await createDockerArchive(path);
    await putImage(destination, image);
    await destination.commit(image.manifest, []);
    await destination.close();
    return image;
  };
  await write();
  const link = join(dir, 'link.tar');
  await symlink(path, link);
  const source = await openArchive(link, undefined, { kind: 'docker-archive' });
  const image = await openImage(source, host);
  const json = JSON.parse(
    spawnSync('tar', ['-xOf', path, 'manifest.json'], { encoding: 'utf8' }).stdout,
  );
  assert.equal(json[0].RepoTags, null);
  await source.close();
  await write();
  assert.ok(image.layers.length === 1);
  assert.deepEqual((await readdir(dir)).sort(), ['link.tar', 'x.tar']);
});

test('refuses a target that cannot be, and a layer that is not what the config says', async () => {
  const dir = await newDir();
  await assert.rejects(createOciArchive(dir), { code: 'exists' });
  await assert.rejects(createOciArchive(join(dir, 'no/such/x.tar')), { code: 'not-found' });
  await assert.rejects(createDockerArchive(join(dir, 'x'), 'Upper:1'), { code: 'reference' });
  for (const wrong of ['none', 'gzip'] as const) {
    const destination = await createDockerArchive(join(dir, 'x.tar'), 'a:1');
    const image = sampleImage([wrong]);
    const other = sampleImage([wrong]);
    const { mediaType } = image.manifest.descriptor;
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        config: image.config.descriptor,
        layers: other.layers.map(({ descriptor }) => descriptor),
      }),
    );
    await putImage(destination, image);
    await putImage(destination, other);
    const manifest = {
      descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length },
      bytes,
    };
    await assert.rejects(destination.commit(manifest, []), { code: 'digest-mismatch' });
    await destination.close();
  }
  assert.deepEqual(await readdir(dir), []);
});

test('says what a Docker archive cannot hold', async () => {
  const docker = await createDockerArchive(join(root, 'says.tar'), 'x/y:1');
  const oci = await createOciArchive(join(root, 'says.tar'));
  assert.match(docker.warnings?.join() ?? '', /annotations are lost/);
  assert.deepEqual(oci.warnings, []);
  await Promise.all([docker.close(), oci.close()]);
});

test.run();
