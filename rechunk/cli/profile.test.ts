import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { packTar } from '../../registry/tarwriter.ts';
import { writeLayout } from '../../test-images/build.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import type { LintReport } from '../lint/lint.ts';
import type { PlanReport } from '../preview.ts';
import type { BuildResult } from '../rechunk.ts';

const test = suite('profiles');
const root = await mkdtemp(join(tmpdir(), 'rechunk-profile-'));
test.after(() => rm(root, { recursive: true, force: true }));

const COUNT = 140;
const files = Array.from({ length: COUNT }, (_, i) => ({
  path: `opt/${i}`,
  content: Buffer.alloc(70_000, `${i} `),
}));
await writeLayout(join(root, 'in'), [{ layers: [{ tar: packTar(files) }] }]);
await writeLayout(join(root, 'deep'), [
  { layers: files.slice(0, 130).map((file) => ({ tar: packTar([file]), compression: 'zstd' })) },
]);
await writeLayout(join(root, 'zstd'), [
  { layers: files.slice(0, 2).map((file) => ({ tar: packTar([file]), compression: 'zstd' })) },
]);
const MAP = join(root, 'map');
await writeFile(MAP, files.map(({ path }, i) => `/${path} c${i}\n`).join(''));

const build = (name: string, ...more: string[]): Promise<BuildResult> =>
  jsonHere([
    'build',
    `oci:${root}/in`,
    `oci:${root}/out:${name}`,
    '--map',
    MAP,
    '--fresh',
    ...more,
  ]);

test('each decides compression and number of layers, and options win over it', async () => {
  const seen: Record<string, readonly [string | undefined, number | undefined]> = {};
  for (const [name, ...more] of [
    ['docker20', '--profile', 'docker20'],
    ['bootc', '--profile', 'bootc'],
    ['wins', '--profile', 'docker20', '--compression', 'zstd', '--max-layers', '7'],
    ['none'],
  ] as const) {
    const { images } = await build(name, ...more);
    seen[name] = [images[0]?.compression, images[0]?.layers.length];
  }
  assert.deepEqual(seen, {
    docker20: ['gzip', 120],
    bootc: ['zstd', 128],
    wins: ['zstd', 7],
    none: ['zstd', 100],
  });
});

test('a bound of sizes comes from it too, and the plan heeds it', async () => {
  const parameters = ['plan', `oci:${root}/in`, '--map', MAP, '--profile', 'docker'];
  const report = await jsonHere<PlanReport>(parameters);
  assert.equal(report.layers.length, 120);
});

test('what an option asks for in spite of it is told; what nobody asked for is refused, and nothing is stored', async () => {
  const parameters = [
    'build',
    `oci:${root}/in`,
    `oci:${root}/told`,
    '--map',
    MAP,
    '--profile',
    'docker',
  ];
  const told = await runHere([...parameters, '--max-layers', '130']);
  assert.equal(told.status, 0, told.stderr);
  assert.match(told.stderr, /note: 130 layers: Docker’s overlay2 driver loads 125 at most/);
  const built = await build('many', '--max-layers', '130');
  assert.deepEqual(
    built.images[0]?.exceeded.map(({ limit, found }) => [limit, found]),
    [
      ['docker-layers', 130],
      ['bootc-layers', 130],
      ['podman-layers', 130],
    ],
  );
  const based = ['build', `oci:${root}/in`, `oci:${root}/refused`, '--base', `oci:${root}/zstd`];
  const refused = await runHere([...based, '--profile', 'docker20']);
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /--profile docker20: 2 zstd layers: Docker before 23 reads none/);
  assert.equal(existsSync(join(root, 'refused')), false);
});

test('a destination that cannot hold its compression gets its own', async () => {
  const to = `docker-archive:${root}/x.tar:app:1`;
  const { images } = await jsonHere<BuildResult>([
    'build',
    `oci:${root}/in`,
    to,
    '--profile',
    'ml',
  ]);
  assert.equal(images[0]?.compression, 'none');
});

test('one that does not exist is refused, with the names of all', async () => {
  const { status, stderr } = await runHere([
    'build',
    `oci:${root}/in`,
    `oci:${root}/x`,
    '--profile',
    'x',
  ]);
  assert.equal(status, 2);
  assert.match(stderr, /--profile: got 'x', want one of docker20, docker, bootc, podman, ml/);
});

test('lint counts what it refuses, and else only tells', async () => {
  const told = await jsonHere<LintReport>([
    'lint',
    `oci:${root}/deep`,
    '--runtimes',
    'podman-overlay',
  ]);
  assert.deepEqual([told.isWrong, told.exceeded.length], [false, 3]);
  const refused = await runHere([
    'lint',
    `oci:${root}/deep`,
    '--runtimes',
    'podman-overlay',
    '--profile',
    'docker',
  ]);
  assert.equal(refused.status, 1, refused.stderr);
  assert.match(
    refused.stdout,
    /^docker-layers: 130 layers: Docker’s overlay2 driver loads 125 at most$/m,
  );
});

test.run();
