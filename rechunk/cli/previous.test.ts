/** What a build makes of the image that clients have: its plan is continued, and nothing moves without need. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { digestOf, MEDIA } from '../../registry/oci.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import type { Inspection } from '../inspect.ts';
import type { BuildResult } from '../rechunk.ts';
import { PLAN_LABEL } from '../record.ts';

const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-previous-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const packages = fileURLToPath(new URL('../../test-images/packages/apk/', import.meta.url));
const source = `docker-archive:${packages}alpine-3.11.5-docker.tar.gz`;
const layout = `oci:${join(directory, 'layout')}`;
/** Few enough that components must share layers, so that a plan has something to remember. */
const few = ['--max-layers', '8'];

const build = (to: string, ...options: string[]): Promise<BuildResult> =>
  jsonHere<BuildResult>(['build', source, `${layout}:${to}`, ...few, ...options]);

/** Which components lie together, from the layers of an image. */
async function grouping(tag: string): Promise<string[]> {
  const { layers } = await jsonHere<Inspection>(['inspect', `${layout}:${tag}`]);
  return layers.map(({ components }) => components?.join(' ') ?? '');
}

test('an unchanged image built again has the same digest, and nothing is stored', async () => {
  const first = await runHere(['build', source, `${layout}:same`, ...few, '--json']);
  assert.match(
    first.stderr,
    /note: no previous image at oci:.*:same: clients pull every layer once; --previous names/,
  );
  const again = await build('same');
  assert.equal(again.digest, (JSON.parse(first.stdout) as BuildResult).digest);
  assert.deepEqual(
    again.images.map(({ sentBytes }) => sentBytes),
    [0],
  );
});

test('a removed file changes its own layer and moves nothing', async () => {
  await build('before');
  await build('after', '--previous', `${layout}:before`, '--prune', '/etc/motd');
  const [before, after] = [await grouping('before'), await grouping('after')];
  assert.deepEqual([...after].sort(), [...before].sort());
  const layers = async (tag: string): Promise<Set<string>> =>
    new Set(
      (await jsonHere<Inspection>(['inspect', `${layout}:${tag}`])).layers.map(
        ({ digest }) => digest,
      ),
    );
  const [had, has] = [await layers('before'), await layers('after')];
  assert.ok([...has].filter((digest) => !had.has(digest)).length <= 2);
});

/** Adds an artifact to the layout, which is no image, under a name of its own. */
function addArtifact(name: string): void {
  const pathOf = (digest: string): string =>
    join(directory, 'layout', 'blobs', digest.replace(':', '/'));
  const put = (mediaType: string, text: string): object => {
    const bytes = Buffer.from(text);
    const digest = digestOf(bytes);
    writeFileSync(pathOf(digest), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    artifactType: 'application/spdx+json',
    config: put(MEDIA.empty, '{}'),
    layers: [put('application/spdx+json', 'an SBOM')],
  };
  const annotations = { 'org.opencontainers.image.ref.name': name };
  const entry = { ...put(MEDIA.manifest, JSON.stringify(manifest)), annotations };
  const path = join(directory, 'layout', 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...index, manifests: [...index.manifests, entry] }));
}

test('--history N passes over what is no image; one that was named is an error', async () => {
  await build('learned');
  addArtifact('z-sbom');
  await build('learned', '--history', '5');
  const named = ['--history', `${layout}:z-sbom`];
  const { status, stderr } = await runHere(['build', source, `${layout}:learned`, ...named]);
  assert.equal(status, 2);
  assert.match(stderr, /z-sbom.* is an artifact of type application\/spdx\+json/);
});

test('verify does not take the recorded plan for a difference', async () => {
  await build('labelled');
  const { labels } = await jsonHere<Inspection>(['inspect', `${layout}:labelled`]);
  assert.deepEqual(Object.keys(labels), [PLAN_LABEL]);
  assert.equal((await runHere(['verify', source, `${layout}:labelled`, '--quiet'])).status, 0);
});

test('a rechunked image can be rechunked: the old plan is replaced, not kept beside', async () => {
  await build('once');
  const to = `${layout}:twice`;
  await jsonHere(['build', `${layout}:once`, to, ...few]);
  assert.deepEqual(await grouping('twice'), await grouping('once'));
  assert.equal((await runHere(['verify', source, to, '--quiet'])).status, 0);
});

test('an image without a plan is told of and costs a fresh one', async () => {
  const { status, stderr } = await runHere([
    'build',
    source,
    `${layout}:none`,
    ...few,
    '--previous',
    source,
  ]);
  assert.equal(status, 0);
  assert.match(
    stderr,
    /holds no plan for linux\/amd64: clients that have it may pull every layer once/,
  );
});

test('a previous image that cannot be read is an error, not a fresh start', async () => {
  const missing = await runHere([
    'build',
    source,
    `${layout}:x`,
    '--previous',
    `${layout}:missing`,
  ]);
  assert.equal(missing.status, 2);
  assert.match(missing.stderr, /no image is named 'missing'/);
  const both = await runHere([
    'build',
    source,
    `${layout}:x`,
    '--previous',
    `${layout}:same`,
    '--fresh',
  ]);
  assert.equal(both.status, 2);
  assert.match(both.stderr, /--previous and --fresh: want one of them/);
});

for (const policy of ['full', 'shared'])
  test(`a damaged plan is told of, and the lists of the layers are taken: --parents ${policy}`, async () => {
    const [whole, broken] = [`whole-${policy}`, `broken-${policy}`];
    await build(whole, '--parents', policy);
    const label =
      (await jsonHere<Inspection>(['inspect', `${layout}:${whole}`])).labels[PLAN_LABEL] ?? '';
    const image = JSON.parse(readFileSync(join(directory, 'layout/index.json'), 'utf8'));
    const path = (digest: string): string =>
      join(directory, 'layout/blobs', digest.replace(':', '/'));
    const write = (json: object): { digest: string; size: number } => {
      const bytes = Buffer.from(JSON.stringify(json));
      const digest = digestOf(bytes);
      writeFileSync(path(digest), bytes);
      return { digest, size: bytes.length };
    };
    const entry = image.manifests.find(
      ({ annotations }: { annotations: Record<string, string> }) =>
        annotations['org.opencontainers.image.ref.name'] === whole,
    );
    const manifest = JSON.parse(readFileSync(path(entry.digest), 'utf8'));
    const config = JSON.parse(readFileSync(path(manifest.config.digest), 'utf8'));
    config.config.Labels[PLAN_LABEL] = label.slice(0, label.length / 2);
    Object.assign(manifest.config, write(config));
    const annotations = { 'org.opencontainers.image.ref.name': broken };
    image.manifests.push({ ...entry, ...write(manifest), annotations });
    writeFileSync(join(directory, 'layout/index.json'), JSON.stringify(image));

    const told = async (from: string): Promise<string> => {
      const options = ['--dry-run', ...few, '--previous', `${layout}:${from}`];
      const { status, stderr } = await runHere(['build', source, `${layout}:x`, ...options]);
      assert.equal(status, 0, stderr);
      return stderr;
    };
    assert.match(
      await told(broken),
      /:broken-.* has a label dev\.rechunk\.plan that is damaged or of other layers: where its components are is read/,
    );
    assert.doesNotMatch(await told(whole), /damaged/);
  });

test('options that cannot be meant are refused by their own names', async () => {
  for (const [args, says] of [
    [['--history', '3', '--history', `${layout}:same`], /--history: got '3', 'oci:.*', want one/],
    [['--history', '-1'], /--history: got '-1', want a whole number from 1/],
    [['--trust-previous', 'sha256:1'], /--trust-previous: got 'sha256:1', want the sha256/],
  ] as const) {
    const { status, stderr } = await runHere(['build', source, `${layout}:none`, ...args]);
    assert.equal(status, 2);
    assert.match(stderr, says);
  }
});

test.run();
