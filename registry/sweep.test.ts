/** What is removed of a layout, and what is not. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import { type BuiltImage, writeLayout } from '../test-images/build.ts';
import { createLayout } from './layout.ts';
import { digestOf, parseDigest } from './oci.ts';
import { sweepLayout } from './sweep.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-sweep-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

/** More than a sweep takes. */
const MOST_TURNS = 60;

const blobsOf = (dir: string): string[] => readdirSync(join(dir, 'blobs/sha256')).sort();
const hexOf = ({ digest }: { readonly digest: string }): string => digest.slice(7);
const namesOf = (image: BuiltImage): string[] =>
  [image.manifest, image.config, ...image.layers].map(hexOf);
const layer = (byte: number): { tar: Uint8Array } => ({ tar: Buffer.alloc(1024, byte) });

const readText = (file: string): string => readFileSync(file, 'utf8');

function putBlob(dir: string, text: string): { digest: string; size: number } {
  const digest = digestOf(text);
  writeFileSync(join(dir, 'blobs/sha256', hexOf({ digest })), text);
  return { digest, size: text.length };
}

/** A layout in which an old image with a layer of its own was replaced by another. */
async function makeLayout(name: string): Promise<{ dir: string; old: BuiltImage; kept: string[] }> {
  const dir = join(work, name);
  const [old] = await writeLayout(dir, [{ layers: [layer(1), layer(2)], tag: 'x' }]);
  const images = await writeLayout(dir, [
    { layers: [layer(1), layer(3)], tag: 'x' },
    { layers: [layer(4)], tag: 'another' },
  ]);
  return { dir, old: old as BuiltImage, kept: [...new Set(images.flatMap(namesOf))].sort() };
}

test('what only an old image had goes, what any image has stays', async () => {
  const { dir, old, kept } = await makeLayout('plain');
  assert.ok(blobsOf(dir).length > kept.length);
  const gone = [old.manifest, old.config, ...old.layers].filter(
    (one) => !kept.includes(hexOf(one)),
  );
  const bytes = gone.reduce((sum, { size }) => sum + size, 0);
  assert.deepEqual(await sweepLayout(dir), { blobs: gone.length, bytes });
  assert.deepEqual(blobsOf(dir), kept);
  assert.deepEqual(await sweepLayout(dir), { blobs: 0, bytes: 0 });
  assert.ok(!existsSync(join(dir, 'ingest')));
});

test('images of an index in the index stay', async () => {
  const { dir, kept } = await makeLayout('nested');
  const index = `${dir}/index.json`;
  const inner = readText(index);
  const { digest, size } = putBlob(dir, inner);
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  writeFileSync(
    index,
    JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType, digest, size }] }),
  );
  await sweepLayout(dir);
  assert.deepEqual(blobsOf(dir), [...kept, hexOf({ digest })].sort());
});

test('what is no blob stays, and so do links', async () => {
  const { dir, kept } = await makeLayout('others');
  const link = 'a'.repeat(64);
  writeFileSync(join(dir, 'blobs/sha256/README'), '');
  symlinkSync('README', join(dir, 'blobs/sha256', link));
  await sweepLayout(dir);
  assert.deepEqual(blobsOf(dir), [...kept, 'README', link].sort());
});

test('nothing goes while another run writes, nor where a manifest is damaged', async () => {
  const { dir, kept } = await makeLayout('busy');
  const all = blobsOf(dir);
  mkdirSync(join(dir, 'ingest/1-1-0-00000000'), { recursive: true });
  assert.deepEqual(await sweepLayout(dir), { blobs: 0, bytes: 0 });
  rmSync(join(dir, 'ingest'), { recursive: true });
  const { manifests } = JSON.parse(readText(join(dir, 'index.json')));
  writeFileSync(join(dir, 'blobs/sha256', hexOf(manifests[0])), '{}'.padEnd(manifests[0].size));
  await assert.rejects(sweepLayout(dir), { code: 'digest-mismatch' });
  assert.deepEqual(blobsOf(dir), all);
  assert.ok(kept.length < all.length);
});

test('nothing goes where the index names what is neither image nor index', async () => {
  const { dir } = await makeLayout('artifact');
  const all = blobsOf(dir);
  const index = JSON.parse(readText(`${dir}/index.json`));
  const blob = { mediaType: 'text/plain', ...putBlob(dir, 'needed') };
  const mediaType = 'application/vnd.oci.artifact.manifest.v1+json';
  const artifact = putBlob(dir, JSON.stringify({ mediaType, blobs: [blob] }));
  index.manifests.push({ mediaType, ...artifact });
  writeFileSync(`${dir}/index.json`, JSON.stringify(index));
  await assert.rejects(sweepLayout(dir), { code: 'unsupported' });
  assert.deepEqual(blobsOf(dir), [...all, hexOf(blob), hexOf(artifact)].sort());
});

for (const name of ['blobs', 'blobs/sha256']) {
  test(`nothing goes where ${name} is a link, since other layouts may need what is there`, async () => {
    const { dir } = await makeLayout(`shared-${name.length}`);
    const all = blobsOf(dir);
    renameSync(join(dir, name), `${dir}-shared`);
    symlinkSync(`${dir}-shared`, join(dir, name));
    await assert.rejects(sweepLayout(dir), { code: 'unsupported', message: /other layouts/ });
    assert.deepEqual(blobsOf(dir), all);
  });
}

test('what another run that begins meanwhile has seen stays', async () => {
  for (let turns = 0; turns < MOST_TURNS; turns++) {
    const { dir, old } = await makeLayout(`race-${turns}`);
    const manifest = { ...old.manifest, digest: parseDigest(old.manifest.digest) };
    const sweeping = sweepLayout(dir);
    for (let i = 0; i < turns; i++) await turn();
    const other = await createLayout(dir, 'new');
    const isSeen = await other.has(manifest);
    await sweeping;
    if (isSeen) assert.ok(await other.has(manifest), `after ${turns} turns`);
    await other.close();
  }
});

test('where one image is to stay, others go from the index too, and what is attached to it stays', async () => {
  const { dir } = await makeLayout('only');
  const index = JSON.parse(readText(join(dir, 'index.json')));
  const [x, another] = index.manifests;
  const attach = (subject: { digest: string; size: number }): object => {
    const mediaType = 'application/vnd.oci.image.manifest.v1+json';
    const empty = { mediaType: 'application/vnd.oci.empty.v1+json', ...putBlob(dir, '{}') };
    const manifest = { schemaVersion: 2, mediaType, config: empty, layers: [empty], subject };
    return { mediaType, ...putBlob(dir, JSON.stringify(manifest)) };
  };
  const [ours, theirs] = [attach(x), attach(another)];
  const manifests = [theirs, another, x, ours];
  writeFileSync(join(dir, 'index.json'), JSON.stringify({ ...index, manifests }));
  const before = readText(join(dir, 'index.json'));
  await sweepLayout(dir, 'nothing of that name');
  assert.equal(readText(join(dir, 'index.json')), before);
  const { blobs } = await sweepLayout(dir, 'x');
  assert.equal(blobs, 4, 'manifest, config, layer, and what is attached');
  assert.deepEqual(JSON.parse(readText(join(dir, 'index.json'))).manifests, [x, ours]);
});

test.run();
