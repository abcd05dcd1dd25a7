import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { test } from 'uvu';
import { contentsOf, writeNextRelease, writeRealFiles } from './realfiles.ts';

const directory = mkdtempSync(join(tmpdir(), 'realfiles-test-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Files of 100, 200, … 2,000 bytes and one of 100,000. */
const pool = join(directory, 'pool');
mkdirSync(join(pool, 'lib'), { recursive: true });
const SIZES = [...Array.from({ length: 20 }, (_, i) => (i + 1) * 100), 100_000];
for (const [i, size] of SIZES.entries())
  writeFileSync(join(pool, 'lib', `f${i}`), String.fromCharCode(97 + i).repeat(size));

interface Blob {
  readonly digest: string;
  readonly file: string;
}

function blobsOf(layout: string): Blob[] {
  const file = (digest: string): string => join(layout, 'blobs', digest.replace(':', '/'));
  const [entry] = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')).manifests;
  const { layers } = JSON.parse(readFileSync(file(entry.digest), 'utf8'));
  return layers.map(({ digest }: { digest: string }) => ({ digest, file: file(digest) }));
}

/** Paths of directories in layers that were read. */
const directories = new Set<string>();

/** Regular files of a layer: path to content. */
async function filesOf({ file }: Blob): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const reader = extract();
  reader.end(gunzipSync(readFileSync(file)));
  for await (const entry of reader) {
    const parts: Buffer[] = [];
    for await (const part of entry) parts.push(part as Buffer);
    if (entry.header.type === 'directory') directories.add(entry.header.name);
    if (entry.header.type === 'file')
      found.set(entry.header.name, Buffer.concat(parts).toString('latin1'));
  }
  return found;
}

test('small files are those of the pool, the largest left out, each different', async () => {
  const layout = join(directory, 'small');
  const options = { pool, files: 300, bytes: 300 * 1050, layers: 2 };
  await writeRealFiles(layout, options);
  directories.clear();
  const layers = await Promise.all(blobsOf(layout).map(filesOf));
  assert.deepEqual(
    layers.map(({ size }) => size),
    [150, 150],
  );
  const { entries, bytes } = contentsOf(options);
  assert.equal(entries, 300 + directories.size);
  assert.ok(Math.abs(bytes - options.bytes) < 0.1 * options.bytes, String(bytes));
  const all = layers.flatMap((files) => [...files]);
  const manifests = all.filter(([path]) => /node_modules\/p-\d+\/package\.json$/.test(path));
  assert.equal(manifests.length, 4);
  const contents = all.filter(([path]) => !path.endsWith('package.json')).map(([, text]) => text);
  assert.equal(new Set(contents).size, contents.length);
  const sizes = contents.map((text) => text.slice(text.indexOf('\n') + 1).length);
  assert.equal(Math.max(...sizes), 2000);
  const sum = sizes.reduce((total, size) => total + size, 0);
  assert.ok(Math.abs(sum / sizes.length - 1050) < 100, `mean ${sum / sizes.length}`);
});

test('files much larger than the pool’s are made of many, and have the bytes that were asked for', async () => {
  const layout = join(directory, 'large');
  await writeRealFiles(layout, { pool, files: 8, bytes: 1e6, layers: 2 });
  const layers = await Promise.all(blobsOf(layout).map(filesOf));
  const sizes = layers.flatMap((files) => [...files.values()].map(({ length }) => length));
  assert.equal(sizes.length, 8);
  const sum = sizes.reduce((total, size) => total + size, 0);
  assert.ok(Math.abs(sum - 1e6) < 1000, String(sum));
  assert.ok(Math.max(...sizes) > 2 * Math.min(...sizes));
});

test('the next release differs in every tenth package of the last layer, and links the others', async () => {
  const [first, next] = [join(directory, 'first'), join(directory, 'next')];
  const options = { pool, files: 3000, bytes: 3000 * 1050, layers: 2 };
  await writeRealFiles(first, options);
  await writeNextRelease(next, options, first);
  const [before, after] = [blobsOf(first), blobsOf(next)] as [[Blob, Blob], [Blob, Blob]];
  assert.equal(statSync(after[0].file).ino, statSync(before[0].file).ino);
  assert.notEqual(after[1].digest, before[1].digest);
  const [old, now] = [await filesOf(before[1]), await filesOf(after[1])];
  assert.deepEqual([...now.keys()], [...old.keys()]);
  const changed = [...now].filter(([path, text]) => old.get(path) !== text);
  const packages = new Set(changed.map(([path]) => /\/(p-\d+)\//.exec(path)?.[1]));
  assert.deepEqual([...packages], ['p-0', 'p-10']);
  assert.equal(changed.length, 2 * 75);
});

test.run();
