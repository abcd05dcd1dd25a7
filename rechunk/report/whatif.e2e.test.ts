// needs: docker-registry
/**
 * `rechunk report --what-if` against what happens: the same tags are then rechunked by the command line, to a real registry, each
 * continuing the one before, and their report is compared.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as v from 'valibot';
import type { Report, WhatIf } from '../../registry/report/report.ts';
import { reportSchema } from '../../registry/report/schema.ts';
import { openDestination, openSource } from '../../registry/transport.ts';
import { runHere } from '../../test-images/cli.ts';
import { copyImage } from '../../test-images/copyimage.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import { writeReleases } from '../../test-images/releases.ts';

const RELEASES = 6;
/** The newest, which are tried. */
const TRIED = 5;
const MAX_LAYERS = '12';
const PRODUCTS = ['one', 'two'] as const;

const trial = suite('report --what-if');
let work: string;
let registry: Registry;
/** Tags of each product, oldest first. */
let tags: string[];
let predicted: Report;

async function run(...args: string[]): Promise<string> {
  const result = await runHere([...args, '--platform', 'linux/amd64'], {
    env: { TMPDIR: join(work, 'tmp') },
  });
  assert.equal(result.status, 0, result.stderr);
  return result.stdout;
}

async function reportOn(...args: string[]): Promise<Report> {
  const made = JSON.parse(await run('report', ...args, '--json', '--quiet')) as Report;
  assert.deepEqual(v.parse(reportSchema, made), made);
  return made;
}

trial.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-what-if-');
  await mkdir(join(work, 'tmp'));
  registry = await startRegistry();
  for (const name of PRODUCTS) {
    tags = await writeReleases(join(work, name), { name, releases: RELEASES });
    for (const tag of tags)
      await copyImage(
        await openSource(`oci:${work}/${name}:${tag}`),
        await openDestination(`docker://${registry.host}/${name}:${tag}`),
      );
  }
  const how = ['--what-if', `${TRIED}`, '--max-layers', MAX_LAYERS];
  predicted = await reportOn(`docker://${registry.host}`, ...how);
});

trial.after(async () => {
  await registry.stop();
  await rm(work, { recursive: true, force: true });
});

/** Asserts that `found` is within a tenth of `wanted`. */
function isNear(found: number, wanted: number, what: string): void {
  assert.ok(Math.abs(found - wanted) <= 0.1 * wanted, `${what}: ${found}, want about ${wanted}`);
}

const pushed = (): number =>
  registry.accessLog().filter(({ method }) => /PUT|POST|PATCH/.test(method)).length;

trial('storage, updates and the switch are what rechunking the same tags then gives', async () => {
  const found = predicted.whatIf as WhatIf;
  const to = `docker://${registry.host}/now`;
  for (const name of PRODUCTS) {
    let previous: string[] = [];
    for (const tag of tags.slice(-TRIED)) {
      const result = `${to}/${name}:${tag}`;
      const images = [`docker://${registry.host}/${name}:${tag}`, result];
      await run('build', ...images, '--max-layers', MAX_LAYERS, ...previous);
      previous = ['--previous', result];
    }
  }
  const after = await reportOn(...PRODUCTS.map((name) => `${to}/${name}`));
  isNear(found.storage.then, after.headline.stored.compressed, 'storage');
  assert.equal(found.updates.length, PRODUCTS.length * (TRIED - 1));
  assert.equal(after.updates.length, found.updates.length);
  for (const [i, { bytes }] of after.updates.entries())
    isNear(found.updates[i]?.then as number, bytes, `update ${i}`);
  const sizes = after.updates.map(({ bytes }) => bytes).sort((a, b) => a - b);
  isNear(found.mean.then, sizes.reduce((sum, one) => sum + one, 0) / sizes.length, 'mean');
  isNear(found.p95.then, sizes.at(-1) as number, '95th percentile');
  // Compressed anew, no layer is one of today's: nodes pull the newest tags whole, once.
  const switched = after.repositories.reduce((sum, one) => {
    const newest = after.tags[one.tags.at(-1) as number];
    const layers = new Set(newest?.images[0]?.layers);
    return sum + [...layers].reduce((all, at) => all + (after.layers[at]?.size ?? 0), 0);
  }, 0);
  isNear(found.firstMigration, switched, 'the switch');
});

trial('what is told of today is what the report says of the same tags', () => {
  const found = predicted.whatIf as WhatIf;
  for (const { repository, from, to, now, then } of found.updates) {
    const update = predicted.updates.find((one) => one.to === to && one.from === from);
    assert.deepEqual([update?.repository, update?.bytes], [repository, now]);
    assert.ok(then < now);
  }
  assert.ok(found.storage.then < found.storage.now);
  // The oldest tag of each was not tried.
  assert.ok(found.storage.now < predicted.headline.stored.compressed);
  assert.equal(predicted.headline.rechunked, undefined);
});

trial('nothing is pushed, and nothing is left on the disk', async () => {
  const before = pushed();
  const all = await reportOn(`docker://${registry.host}/one`, '--what-if', `${RELEASES}`);
  assert.equal(pushed(), before);
  assert.deepEqual(await readdir(join(work, 'tmp')), []);
  const { stored, rechunked } = all.headline;
  const { now, then } = all.whatIf?.storage ?? {};
  assert.deepEqual([now, then], [stored.compressed, rechunked?.compressed]);
});

trial('the registry’s directory and a layout give the same answer', async () => {
  const how = ['--what-if', '3', '--max-layers', MAX_LAYERS];
  const [layout, remote] = [
    await reportOn(`oci:${work}/one`, ...how),
    await reportOn(`docker://${registry.host}/one`, ...how),
  ];
  assert.deepEqual(layout.whatIf, remote.whatIf);
  const directory = await reportOn(`storage:${registry.storage}`, ...how);
  const own = directory.whatIf?.updates.filter(
    ({ repository }) =>
      directory.repositories[repository]?.name.endsWith('/one') &&
      !directory.repositories[repository]?.name.endsWith('/now/one'),
  );
  assert.deepEqual(
    own?.map(({ now, then }) => [now, then]),
    remote.whatIf?.updates.map(({ now, then }) => [now, then]),
  );
});

trial('it is tried as a build with the same options would do it', async () => {
  const how = ['--profile', 'docker20', '--max-layers', '6', '--parents', 'shared'];
  const tried = await reportOn(`oci:${work}/one`, '--what-if', '3', ...how);
  const to = `oci:${work}/shared`;
  let previous: string[] = [];
  for (const tag of tags.slice(-3)) {
    await run('build', `oci:${work}/one:${tag}`, `${to}:${tag}`, ...how, ...previous);
    previous = ['--previous', `${to}:${tag}`];
  }
  const after = await reportOn(to);
  const { compression, maxLayers, updates, storage } = tried.whatIf as WhatIf;
  assert.deepEqual([compression, maxLayers], ['gzip', 6]);
  assert.deepEqual(
    [storage.then, ...updates.map(({ then }) => then)],
    [after.headline.stored.compressed, ...after.updates.map(({ bytes }) => bytes)],
  );
  const alone = await runHere(['report', `oci:${work}/one`, '--parents', 'shared']);
  assert.deepEqual([alone.status, /--parents: want --what-if, too/.test(alone.stderr)], [2, true]);
});

trial('people read it as text and as Markdown', async () => {
  const args = ['report', `docker://${registry.host}/one`, '--what-if', '2', '--quiet'];
  const text = await run(...args);
  assert.match(
    text,
    /rechunked, the last 2 tags of each stream in at most 100 layers, zstd \(1 update\)/,
  );
  assert.match(text, /stored +[\d.]+ [kM]B +[\d.]+ [kM]B +[\d.]+ %\n/);
  assert.match(text, /switching costs nodes that have the newest of these tags [\d.]+ kB once/);
  const markdown = await run(...args, '--markdown');
  assert.match(markdown, /#### Rechunked, the last/);
  assert.match(markdown, /\| stored \| [\d.]+ [kM]B \|/);
});

trial.run();
