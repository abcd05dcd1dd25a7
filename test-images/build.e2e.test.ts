// needs: skopeo, tar
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { tarOf, writeLayout } from './build.ts';
import { command, output } from './command.ts';
import { dir, file, packLayer, packSparse } from './member.ts';
import { writeSynthetic } from './synthetic.ts';

const directory = mkdtempSync(join(tmpdir(), 'rechunk-build-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Copies with skopeo, which checks every digest, size and diffID, and gives the uncompressed layers in order. */
async function copied(layout: string, tag: string): Promise<Buffer[]> {
  const to = `${layout}-${tag}`;
  const copy = ['copy', '-q', '--insecure-policy', '--dest-decompress'];
  await command('skopeo', [...copy, `oci:${layout}:${tag}`, `dir:${to}`]);
  const { layers } = JSON.parse(readFileSync(join(to, 'manifest.json'), 'utf8'));
  return layers.map(({ digest }: { digest: string }) =>
    readFileSync(join(to, digest.slice('sha256:'.length))),
  );
}

test('skopeo reads every compression, tag, config and annotation', async () => {
  const layout = join(directory, 'layout');
  const tars = await Promise.all(
    ['a', 'b', 'c'].map((name) => packLayer({ members: [dir(name), file(`${name}/f`)] })),
  );
  const compressions = ['gzip', 'zstd', 'none'] as const;
  const layers = tars.map((tar, i) => ({ tar, compression: compressions[i] ?? 'gzip' }));
  const config = { Cmd: ['sh'], Labels: { a: 'b' } };
  await writeLayout(layout, [
    { tag: 'one', layers, config, annotations: { 'org.example': 'x' } },
    { tag: 'two', layers: layers.slice(1), fields: { architecture: 'arm64', variant: 'v8' } },
  ]);
  assert.deepEqual(await copied(layout, 'one'), tars);
  assert.deepEqual(await copied(layout, 'two'), tars.slice(1));
  const shown = JSON.parse(await output('skopeo', ['inspect', '--config', `oci:${layout}:one`]));
  assert.deepEqual(shown.config, config);
  const other = JSON.parse(await output('skopeo', ['inspect', '--config', `oci:${layout}:two`]));
  assert.deepEqual([other.architecture, other.variant], ['arm64', 'v8']);
});

test('the same synthetic parameters give the same bytes, another seed others', async () => {
  const options = { files: 300, bytes: 3_000_000, layers: 2 };
  const one = await writeSynthetic(join(directory, 's1'), options);
  const two = await writeSynthetic(join(directory, 's2'), options);
  const other = await writeSynthetic(join(directory, 's3'), { ...options, seed: 2 });
  assert.deepEqual(one, two);
  assert.notDeepEqual(one.diffIds, other.diffIds);
});

test('a synthetic image has exactly the files and bytes that were asked for, and compresses as programs do', async () => {
  const layout = join(directory, 'exact');
  const { layers } = await writeSynthetic(layout, { files: 1234, bytes: 5_000_001, layers: 3 });
  assert.equal(layers.length, 3);
  let [files, bytes] = [0, 0];
  for (const tar of await copied(layout, 'latest')) {
    const listing = (await command('tar', ['-tvf', '-'], { input: tar })).toString();
    for (const [, size] of listing.matchAll(/^-\S+ +\S+ +(\d+)/gm)) {
      files++;
      bytes += Number(size);
    }
  }
  assert.deepEqual([files, bytes], [1234, 5_000_001]);
  const stored = layers.reduce((sum, { size }) => sum + size, 0);
  assert(stored > 1_000_000 && stored < 3_500_000, `${stored}`);
});

test('tarOf gives the same bytes for the same tree', async () => {
  const root = join(directory, 'root');
  mkdirSync(join(root, 'd'), { recursive: true });
  writeFileSync(join(root, 'd/f'), 'f');
  symlinkSync('d', join(root, 'ln'));
  const [one, two] = [
    await tarOf(root, join(directory, '1.tar')),
    await tarOf(root, join(directory, '2.tar')),
  ];
  assert(readFileSync(one).equals(readFileSync(two)));
  assert.equal(await output('tar', ['-tf', one]), './\n./d/\n./d/f\n./ln');
});

test('GNU tar packs sparse files in the form that is asked for', async () => {
  const sparse = {
    path: 's',
    size: 1 << 20,
    data: [
      [0, 'a'],
      [1 << 19, 'b'],
    ] as const,
  };
  const types = await Promise.all(
    (['gnu', '0.0', '0.1', '1.0'] as const).map(async (format) => {
      const tar = await packSparse([sparse], format);
      assert(tar.length < 32768, `${format}: ${tar.length} bytes`);
      const text = tar.toString('latin1');
      return [tar.subarray(156, 157).toString(), /GNU\.sparse\.(offset|map|major)/.exec(text)?.[1]];
    }),
  );
  assert.deepEqual(types, [
    ['S', undefined],
    ['x', 'offset'],
    ['x', 'map'],
    ['x', 'major'],
  ]);
});

test.run();
