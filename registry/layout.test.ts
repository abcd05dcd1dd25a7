import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { readBlob } from './blob.ts';
import {
  putImage,
  type SampleImage,
  sampleImage,
  testDestination,
} from './destination.conformance.ts';
import { openImage } from './image.ts';
import { createLayout, openLayout } from './layout.ts';
import { ANNOTATION, type Descriptor, digestOf, MEDIA } from './oci.ts';

const test = suite('layouts');
const root = await mkdtemp(join(tmpdir(), 'rechunk-layout-'));
let count = 0;
const newPath = (): string => join(root, `layout-${count++}`);
test.after(() => rm(root, { recursive: true }));

async function listFiles(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1)).sort();
}

testDestination('a layout', async () => {
  const dir = newPath();
  return {
    open: (tag) => createLayout(dir, tag),
    reopen: (tag) => openLayout(dir, tag),
    list: () => listFiles(dir),
    remove: () => rm(dir, { recursive: true, force: true }),
  };
});

async function writeImage(
  dir: string,
  tag?: string,
  tags: readonly string[] = [],
): Promise<SampleImage> {
  const destination = await createLayout(dir, tag);
  const image = sampleImage(['gzip', 'zstd']);
  await putImage(destination, image);
  await destination.commit(image.manifest, tags);
  await destination.close();
  return image;
}

function layerPath(dir: string, image: SampleImage, i = 0): string {
  const { descriptor } = image.layers[i] as SampleImage['layers'][number];
  return join(dir, 'blobs', descriptor.digest.replace(':', '/'));
}

async function readIndex(
  dir: string,
): Promise<{ manifests: Descriptor[] } & Record<string, unknown>> {
  return JSON.parse(await readFile(join(dir, 'index.json'), 'utf8'));
}

test('keeps the order, tags and unknown fields of an existing index', async () => {
  const dir = newPath();
  await writeImage(dir, 'a', ['b', 'c']);
  const index = await readIndex(dir);
  index['x-unknown'] = { z: 1, a: [2] };
  Object.assign(index.manifests[2] as object, { 'x-entry': true });
  await writeFile(join(dir, 'index.json'), JSON.stringify(index));
  const image = await writeImage(dir, 'b');
  const after = await readIndex(dir);
  const { mediaType, digest, size } = image.manifest.descriptor;
  const entry = { mediaType, digest, size, annotations: { [ANNOTATION.refName]: 'b' } };
  assert.deepEqual(after, { ...index, manifests: index.manifests.with(1, entry) });
});

test('writes exactly the files of a layout', async () => {
  const dir = newPath();
  const image = await writeImage(dir, 'a');
  const blobs = [...image.layers, image.config, image.manifest].map(
    ({ descriptor }) => `blobs/${descriptor.digest.replace(':', '/')}`,
  );
  assert.deepEqual(
    await listFiles(dir),
    ['blobs', 'blobs/sha256', 'index.json', 'oci-layout', ...blobs].sort(),
  );
  assert.equal(await readFile(join(dir, 'oci-layout'), 'utf8'), '{"imageLayoutVersion":"1.0.0"}');
});

test('an untagged image takes the place of the only one, and is added to others', async () => {
  const dir = newPath();
  await writeImage(dir);
  const second = await writeImage(dir);
  assert.deepEqual((await readIndex(dir)).manifests, [second.manifest.descriptor]);
  await writeImage(dir, 'a');
  const third = await writeImage(dir);
  const found = (await readIndex(dir)).manifests.map(({ digest }) => digest);
  assert.equal(found.length, 3);
  assert.equal(found[2], third.manifest.descriptor.digest);
});

test('two runs at once, and many commits at once, keep every tag', async () => {
  const dir = newPath();
  const tags = Array.from({ length: 12 }, (_, i) => `t${i}`);
  await Promise.all(tags.map((tag) => writeImage(dir, tag)));
  for (const tag of tags) await (await openLayout(dir, tag)).close();
  assert.equal((await readIndex(dir)).manifests.length, 12);
  assert.ok(!(await listFiles(dir)).some((name) => name.startsWith('ingest')));
});

test('chooses by name, full name, digest and position; the only image without any', async () => {
  const dir = newPath();
  const only = await writeImage(dir, 'localhost/app:1');
  const digestFor = async (ref?: string): Promise<string> =>
    (await openLayout(dir, ref)).root.descriptor.digest;
  assert.equal(await digestFor(), only.manifest.descriptor.digest);
  const second = await writeImage(dir, 'docker.io/library/debian:12');
  const [a, b] = [only.manifest.descriptor.digest, second.manifest.descriptor.digest];
  assert.deepEqual(
    await Promise.all(['localhost/app:1', 'debian:12', '@0', '@1', `@${b}`].map(digestFor)),
    [a, b, a, b, b],
  );
  await assert.rejects(digestFor(), {
    code: 'reference',
    message: `reading oci:${dir}: it holds 2 images, so one must be named (oci:${dir}:REF): localhost/app:1, docker.io/library/debian:12`,
  });
  await assert.rejects(digestFor('nope'), {
    code: 'not-found',
    message: /it holds localhost\/app:1, docker/,
  });
});

test('of entries with one name the first is read', async () => {
  const dir = newPath();
  const first = await writeImage(dir, 'a');
  await writeImage(dir, 'b');
  const index = await readIndex(dir);
  for (const entry of index.manifests) entry.annotations = { [ANNOTATION.refName]: 'a' };
  await writeFile(join(dir, 'index.json'), JSON.stringify(index));
  assert.equal(
    (await openLayout(dir, 'a')).root.descriptor.digest,
    first.manifest.descriptor.digest,
  );
});

test('names what is attached to an image', async () => {
  const dir = newPath();
  const image = await writeImage(dir, 'a');
  const { digest } = image.manifest.descriptor;
  const attach = async (tag: string, more: object): Promise<Descriptor> => {
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MEDIA.manifest,
        config: { mediaType: MEDIA.empty, digest: digestOf('{}'), size: 2 },
        layers: [],
        ...more,
      }),
    );
    const descriptor = { mediaType: MEDIA.manifest, digest: digestOf(bytes), size: bytes.length };
    const destination = await createLayout(dir, tag);
    await destination.commit({ descriptor, bytes }, []);
    await destination.close();
    return descriptor;
  };
  const signature = await attach(`${digest.replace(':', '-')}.sig`, { annotations: { n: '1' } });
  const sbom = await attach('some-sbom', { subject: image.manifest.descriptor });
  await attach('other', { annotations: { n: '2' } });
  await attach('damaged', { layers: 'none' });
  const source = await openLayout(dir, 'a');
  const found = (await source.referrers(digest)).map((descriptor) => descriptor.digest).sort();
  assert.deepEqual(found, [signature.digest, sbom.digest].sort());
  assert.deepEqual(await source.referrers(image.config.descriptor.digest), []);
});

test('reads blobs through symlinks to files, and nothing else', async () => {
  const dir = newPath();
  const image = await writeImage(dir, 'a');
  const { descriptor } = image.layers[0] as SampleImage['layers'][number];
  const path = layerPath(dir, image);
  const elsewhere = newPath();
  await cp(path, elsewhere);
  await unlink(path);
  await symlink(elsewhere, path);
  const source = await openLayout(dir, 'a');
  await readBlob(await source.blob(descriptor), descriptor, 1 << 24, 'x');
  for (const target of ['/dev/zero', root]) {
    await unlink(path);
    await symlink(target, path);
    await assert.rejects(source.blob(descriptor), { code: 'unsupported' });
  }
});

test('tells a missing, a cut and a changed blob', async () => {
  const dir = newPath();
  const image = await writeImage(dir, 'a');
  const { descriptor, bytes } = image.layers[0] as SampleImage['layers'][number];
  const path = layerPath(dir, image);
  const source = await openLayout(dir, 'a');
  const changed = Buffer.from(bytes);
  changed[99] = (changed[99] as number) ^ 1;
  await writeFile(path, changed);
  const blob = await source.blob(descriptor);
  await assert.rejects(readBlob(blob, descriptor, 1 << 24, 'x'), { code: 'digest-mismatch' });
  await truncate(path, bytes.length - 5);
  await assert.rejects(source.blob(descriptor), {
    code: 'size-mismatch',
    message: `oci:${dir}:a: the blob ${descriptor.digest} has ${bytes.length - 5} bytes, want ${bytes.length}`,
  });
  await unlink(path);
  await assert.rejects(source.blob(descriptor), { code: 'not-found' });
  const evil = { ...descriptor, digest: 'sha256:../../../etc/passwd' as Descriptor['digest'] };
  await assert.rejects(source.blob(evil), { code: 'manifest' });
});

test('refuses what is no layout', async () => {
  const dir = newPath();
  const cases: [string, string | undefined, string | undefined, string][] = [
    ['no such directory', undefined, undefined, 'not-found'],
    ['no index', '{"imageLayoutVersion":"1.0.0"}', undefined, 'not-found'],
    ['no version', '{}', '{"schemaVersion":2,"manifests":[]}', 'unsupported'],
    [
      'version 2',
      '{"imageLayoutVersion":"2.0.0"}',
      '{"schemaVersion":2,"manifests":[]}',
      'unsupported',
    ],
    ['version is no JSON', 'hello', '{"schemaVersion":2,"manifests":[]}', 'manifest'],
    ['empty', '{"imageLayoutVersion":"1.0.0"}', '{"schemaVersion":2,"manifests":[]}', 'not-found'],
    ['garbage', '{"imageLayoutVersion":"1.0.0"}', '\0\xff{{', 'manifest'],
    ['cut', '{"imageLayoutVersion":"1.0.0"}', '{"schemaVersion":2,"mani', 'manifest'],
    [
      'path as digest',
      '{"imageLayoutVersion":"1.0.0"}',
      '{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:../../x","size":1}]}',
      'manifest',
    ],
    ['null', '{"imageLayoutVersion":"1.0.0"}', 'null', 'manifest'],
  ];
  for (const [name, version, index, code] of cases) {
    await rm(dir, { recursive: true, force: true });
    if (version !== undefined) await mkdir(dir);
    if (version !== undefined) await writeFile(join(dir, 'oci-layout'), version);
    if (index !== undefined) await writeFile(join(dir, 'index.json'), index, 'latin1');
    await assert.rejects(openLayout(dir), { code }, name);
  }
});

test('refuses to write into a directory of other things, over a file, or under a bad name', async () => {
  const dir = newPath();
  await mkdir(dir);
  await writeFile(join(dir, 'notes.txt'), 'mine');
  await assert.rejects(createLayout(dir, 'a'), { code: 'exists' });
  await assert.rejects(createLayout(join(dir, 'notes.txt'), 'a'), { code: 'exists' });
  assert.deepEqual(await listFiles(dir), ['notes.txt']);
  for (const name of ['', '../x', 'a b', '-a', 'a//b', '@sha']) {
    await assert.rejects(createLayout(newPath(), name), { code: 'reference' }, name);
  }
});

test('a damaged index makes the commit fail and is left as it is', async () => {
  const dir = newPath();
  await writeImage(dir, 'a');
  await writeFile(join(dir, 'index.json'), '{"schemaVersion":2');
  const before = await listFiles(dir);
  await assert.rejects(writeImage(dir, 'b'), { code: 'manifest' });
  assert.equal(await readFile(join(dir, 'index.json'), 'utf8'), '{"schemaVersion":2');
  const left = (await listFiles(dir)).filter((name) => !name.startsWith('ingest'));
  assert.deepEqual(left, before);
});

test('makes parent directories, and takes them back when it fails', async () => {
  const top = newPath();
  const destination = await createLayout(join(top, 'a/b'), 'x');
  await putImage(destination, sampleImage(['none']));
  await destination.close();
  assert.ok(!(await readdir(root)).includes(top.slice(root.length + 1)));
  await writeImage(join(top, 'a/b'), 'x');
  await (await openLayout(join(top, 'a/b'), 'x')).close();
});

/** A run of its own that stores an image, says so, and waits to be killed. */
const CHILD = `
import { createLayout } from ${JSON.stringify(new URL('layout.ts', import.meta.url).href)};
import { putImage, sampleImage } from ${JSON.stringify(new URL('destination.conformance.ts', import.meta.url).href)};
const destination = await createLayout(process.argv[2], 'killed');
await putImage(destination, sampleImage(['none', 'gzip']));
process.stdout.write('stored');
setInterval(() => undefined, 1000);
`;

test('what a killed run left is removed by the next one, that of a running one stays', async () => {
  const dir = newPath();
  const script = join(root, 'child.ts');
  await writeFile(script, CHILD);
  const start = async (): Promise<ReturnType<typeof spawn>> => {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script, dir], {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    return child;
  };
  const [killed, running] = [await start(), await start()];
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  const runs = await readdir(join(dir, 'ingest'));
  assert.equal(runs.length, 2);
  await assert.rejects(openLayout(dir, 'killed'), { code: 'not-found' });
  await symlink(
    runs.find((run) => run.startsWith(`${killed.pid}-`)) as string,
    join(dir, 'ingest/lock'),
  );
  await writeImage(dir, 'next');
  const left = await readdir(join(dir, 'ingest'));
  assert.deepEqual(
    left,
    runs.filter((run) => run.startsWith(`${running.pid}-`)),
  );
  running.kill('SIGKILL');
  await once(running, 'exit');
  await writeImage(dir, 'last');
  const source = await openLayout(dir, 'last');
  await openImage(source, { hostPlatform: { os: 'linux', architecture: 'amd64' } });
  assert.ok(!(await readdir(dir)).includes('ingest'));
});

test('a lock that is none ends the run, and does not keep it waiting', async () => {
  const dir = newPath();
  await mkdir(join(dir, 'ingest'), { recursive: true });
  await writeFile(join(dir, 'ingest/lock'), '');
  await assert.rejects(writeImage(dir, 'a'), { code: 'io', message: /lock.*remove it/ });
});

test.run();
