// needs: docker-registry
/** `rechunk report --causes`: which packages the updates of a repository are put down to, on a real registry. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as v from 'valibot';
import type { Report } from '../../registry/report/report.ts';
import { reportSchema } from '../../registry/report/schema.ts';
import { openDestination, openSource } from '../../registry/transport.ts';
import { runHere } from '../../test-images/cli.ts';
import { copyImage } from '../../test-images/copyimage.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import { packagesChangedIn, writeReleases } from '../../test-images/releases.ts';

const RELEASES = 5;

const causes = suite('report --causes');
let work: string;
let registry: Registry;
/** What reports remember; each test has its own. */
let cache: string;

async function run(...args: string[]): Promise<string> {
  const all = ['report', ...args, '--quiet', '--platform', 'linux/amd64', '--cache', cache];
  const result = await runHere(all, { env: { RECHUNK_NO_CACHE: '' } });
  assert.equal(result.status, 0, result.stderr);
  return result.stdout;
}

async function reportOn(...args: string[]): Promise<Report> {
  const made = JSON.parse(await run(...args, '--json')) as Report;
  assert.deepEqual(v.parse(reportSchema, made), made);
  return made;
}

causes.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-causes-');
  registry = await startRegistry();
  const options = { name: 'one', releases: RELEASES, baseEvery: 3 };
  for (const tag of await writeReleases(join(work, 'one'), options))
    await copyImage(
      await openSource(`oci:${work}/one:${tag}`),
      await openDestination(`docker://${registry.host}/one:${tag}`),
    );
});

causes.before.each(async () => {
  cache = await mkdtemp(join(work, 'cache-'));
});

causes.after(async () => {
  await registry.stop();
  await rm(work, { recursive: true, force: true });
});

causes('every update is put down to the packages that changed, to the byte', async () => {
  const made = await reportOn(`docker://${registry.host}/one`, '--files');
  assert.equal(made.updates.length, RELEASES - 1);
  for (const [i, { causes: found = [], bytes, to }] of made.updates.entries()) {
    const release = i + 2;
    assert.equal(
      found.reduce((sum, one) => sum + one.bytes, 0),
      bytes,
    );
    const packages = found.filter(({ component }) => component.startsWith('node:'));
    assert.deepEqual(
      packages.map(({ component }) => component.replace(/.*\//, '')).sort(),
      packagesChangedIn('one', release).sort(),
      `release ${release}, ${made.tags[to]?.tag}`,
    );
    for (const { why, detail } of packages) {
      assert.equal(why, 'changed');
      assert.match(detail ?? '', new RegExp(`^1\\.\\d\\.0 -> 1\\.${release}\\.0$`));
    }
    // The base changes with the third release.
    const base = found.some(({ component }) => component.includes('/opt/base'));
    assert.equal(base, release === 3, JSON.stringify(found));
  }
});

causes('only as many updates as are asked for are looked at', async () => {
  const made = await reportOn(`docker://${registry.host}/one`, '--files', '--causes', '1');
  const told = made.updates.map(({ causes: found }) => found !== undefined);
  assert.deepEqual(told, [false, false, false, true]);
});

/** How often each layer's blob was read since line `from` of the registry's log. */
function readsOf({ layers }: Report, from: number): number[] {
  const lines = registry.accessLog().slice(from);
  const isRead = (digest: string): number =>
    lines.filter(({ method, path }) => method === 'GET' && path.endsWith(`/blobs/${digest}`))
      .length;
  return layers.map(({ digest }) => isRead(digest));
}

causes(
  'one reading of each layer serves all: a second report, and one of more causes, read none',
  async () => {
    const target = `docker://${registry.host}/one`;
    const start = registry.accessLog().length;
    const some = await reportOn(target, '--files', '--causes', '2');
    assert.deepEqual(
      readsOf(some, start),
      some.layers.map(() => 1),
    );
    const before = registry.accessLog().length;
    assert.deepEqual((await reportOn(target, '--files', '--causes', '2')).updates, some.updates);
    const all = await reportOn(target, '--files');
    const noBlob = registry
      .accessLog()
      .slice(before)
      .filter(({ path }) => path.includes('/blobs/'));
    assert.deepEqual(noBlob, []);
    assert.ok(all.updates.every(({ causes: found }) => found !== undefined));
    assert.deepEqual(all.updates.slice(-2), some.updates.slice(-2));
    const none = await reportOn(target, '--files', '--causes', '0');
    assert.ok(none.updates.every(({ causes: found, floor }) => !found && floor !== undefined));
  },
);

causes('people read them as text and as Markdown', async () => {
  const text = await run(`docker://${registry.host}/one`, '--files', '--causes', '--all');
  assert.match(text, /what updates are put down to:\n/);
  assert.match(text, /node:\/usr\/lib\/node_modules\/one-part-\d+ +changed +\d +[\d.]+ kB +\d/);
  const markdown = await run(`docker://${registry.host}/one`, '--files', '--causes', '--markdown');
  assert.match(markdown, /#### What updates are put down to\n/);
});

causes.run();
