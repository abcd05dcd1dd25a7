// needs: docker-registry, python3, zstd
/**
 * `rechunk report` on a real registry with 40 tags in 4 repositories, two products as they were built and rechunked. Every figure is
 * compared with sums of file sizes in the registry's directory (`sums.py`), and what a deletion frees with what the registry's own
 * garbage collection then frees.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as v from 'valibot';
import { collect } from '../../registry/report/collect.ts';
import { isCrossed, makeReport, type Questions } from '../../registry/report/figures.ts';
import type { Report } from '../../registry/report/report.ts';
import { reportSchema } from '../../registry/report/schema.ts';
import { openDestination, openSource } from '../../registry/transport.ts';
import { runHere } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import { copyImage } from '../../test-images/copyimage.ts';
import {
  compareReport,
  type Figures,
  type Independent,
  independentFigures,
  isSame,
} from '../../test-images/figures.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import { writeReleases } from '../../test-images/releases.ts';
import { rechunk } from '../rechunk.ts';

const RELEASES = 10;
const PRODUCTS = ['one', 'two'] as const;
const hostPlatform = { os: 'linux', architecture: 'amd64' };
const transport = { env: {} };

const report = suite('report');
let work: string;
let registry: Registry;

/** What the script says of the registry by now. */
const sums = (asked: Independent = {}): Promise<Figures> =>
  independentFigures(registry.storage, asked);

async function copy(from: string, to: string): Promise<void> {
  await copyImage(await openSource(from, transport), await openDestination(to, transport));
}

/** Rechunks an image, continuing the plan of `previous`. */
async function rechunkTo(from: string, to: string, previous: string | undefined): Promise<void> {
  const source = await openSource(from, transport);
  const before = previous === undefined ? [] : [await openSource(previous, transport)];
  const destination = await openDestination(to, transport);
  const options = { hostPlatform, maxLayers: 12, memory: { previous: before } };
  await rechunk(source, destination, { ...options, threads: 1, tempDir: work });
  for (const one of [destination, source, ...before]) await one.close();
}

async function fill(product: string): Promise<void> {
  const layout = join(work, product);
  const tags = await writeReleases(layout, { name: product, releases: RELEASES });
  for (const [i, tag] of tags.entries()) {
    const to = `docker://${registry.host}/${product}`;
    await copy(`oci:${layout}:${tag}`, `${to}:${tag}`);
    const previous = i === 0 ? undefined : `${to}-rechunked:${tags[i - 1]}`;
    await rechunkTo(`oci:${layout}:${tag}`, `${to}-rechunked:${tag}`, previous);
  }
}

report.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-report-');
  registry = await startRegistry();
  for (const product of PRODUCTS) await fill(product);
});

report.after(async () => {
  await registry.stop();
  await rm(work, { recursive: true, force: true });
});

async function reportOn(target: string, questions: Questions = {}): Promise<Report> {
  const made = makeReport(await collect([target], { remote: { env: {} } }), questions);
  return checked(made);
}

/** `made`, which has the published form and nothing else. */
function checked(made: Report): Report {
  assert.deepEqual(v.parse(reportSchema, made), made);
  return made;
}

/** Asserts that `made` says what the script says. */
function isSum(made: Report, want: Figures): void {
  const all = [...compareReport(made, want)];
  assert.ok(all.length > 500, `${all.length}`);
  assert.deepEqual(
    all.filter((one) => !isSame(one)),
    [],
  );
}

report(
  'every figure is the sum of files on the registry’s disk, by its interface and by its directory',
  async () => {
    const patterns = { deleted: ['one:1.[1-3]', 'two-rechunked:*'], holds: ['one:1.1'] };
    const questions = { ifDeleted: ['one:1.1', 'one:1.2', 'one:1.3', 'two-rechunked:*'] };
    const want = await sums(patterns);
    const made = await reportOn(`docker://${registry.host}`, { ...questions, holds: ['one:1.1'] });
    assert.deepEqual([made.headline.repositories, made.headline.tags], [4, 4 * RELEASES]);
    isSum(made, want);
    for (const { total, unique, sharedInRepository, sharedAcross } of made.tags) {
      const parts = unique.compressed + sharedInRepository.compressed + sharedAcross.compressed;
      assert.equal(parts, total.compressed);
    }
    // The two products share their base.
    assert.ok(made.tags.some(({ sharedAcross }) => sharedAcross.compressed > 0));
    const { deletion: _, pulls: _pulls, ...figures } = want;
    isSum(await reportOn(`storage:${registry.storage}`), figures);
  },
);

report('every figure of files is what a script counts that unpacks all layers', async () => {
  const index = join(work, 'index');
  const args = ['report', `storage:${registry.storage}`, '--files', '--index', index, '--json'];
  const { stdout, status, stderr } = await runHere([...args, '--quiet']);
  assert.equal(status, 0, stderr);
  const { generated: _, limits: _limits, ...made } = JSON.parse(stdout) as Report;
  isSum(checked(made), await sums({ files: true }));
  assert.ok(made.matrices.every(({ floor }) => floor?.flat().some((bytes) => bytes > 0)));
});

report('rechunked tags pull less and are stored in less', async () => {
  const made = await reportOn(`docker://${registry.host}`);
  const bytesOf = (name: string): number =>
    made.updates
      .filter(({ repository }) => made.repositories[repository]?.name.endsWith(`/${name}`))
      .reduce((sum, { bytes }) => sum + bytes, 0);
  assert.ok(
    bytesOf('one-rechunked') < 0.7 * bytesOf('one'),
    `${bytesOf('one-rechunked')} of ${bytesOf('one')}`,
  );
});

report('patterns choose tags, and a limit that is crossed is told', async () => {
  const made = await reportOn(`docker://${registry.host}/one:1.?`, { maxUpdateBytes: 1000 });
  assert.deepEqual(
    made.tags.map(({ tag }) => tag),
    ['1.1', '1.2', '1.3', '1.4', '1.5', '1.6', '1.7', '1.8', '1.9'],
  );
  assert.ok(isCrossed(made));
});

report(
  'a second survey with a cache reads no document, and finds tags that moved or went',
  async () => {
    const cache = join(work, 'cache');
    const target = `docker://${registry.host}/two`;
    const run = async (): Promise<{ made: Report; requests: string[] }> => {
      const from = registry.accessLog().length;
      const args = ['report', target, '--json', '--quiet', '--cache', cache];
      const { stdout, status, stderr } = await runHere(args, { env: { RECHUNK_NO_CACHE: '' } });
      assert.equal(status, 0, stderr);
      const lines = registry.accessLog().slice(from);
      const requests = lines.map(
        ({ method, status: got, path }) =>
          `${method} ${got} ${path.replace(/.*\/(manifests|blobs|tags|referrers)\/.*/, '$1')}`,
      );
      return { made: checked(JSON.parse(stdout) as Report), requests };
    };
    const count = (requests: readonly string[], what: string): number =>
      requests.filter((one) => one === what).length;
    const first = await run();
    assert.deepEqual(
      [count(first.requests, 'GET 200 manifests'), count(first.requests, 'GET 200 blobs')],
      [RELEASES, RELEASES],
    );
    const second = await run();
    assert.equal(count(second.requests, 'HEAD 304 manifests'), RELEASES);
    assert.ok(
      !second.requests.some((one) => /GET 200 (manifests|blobs)/.test(one)),
      second.requests.join('\n'),
    );
    const { generated: _, ...figures } = second.made;
    assert.deepEqual({ ...figures, generated: first.made.generated }, first.made);
    await copy(`oci:${join(work, 'one')}:1.1`, `${target}:1.1`);
    const third = await run();
    assert.deepEqual(
      [count(third.requests, 'GET 200 manifests'), count(third.requests, 'GET 200 blobs')],
      [1, 1],
    );
    assert.notEqual(third.made.tags[0]?.digest, first.made.tags[0]?.digest);
  },
);

report('what a deletion frees is what garbage collection then frees', async () => {
  // The tag that moved left a manifest without a tag.
  const lost = await reportOn(`storage:${registry.storage}`);
  const [store] = lost.unreferenced;
  assert.equal(store?.untagged.length, 1);
  const patterns = ['one:1.1', 'one:1.2', 'one-rechunked:1.?'];
  const made = await reportOn(`docker://${registry.host}`, { ifDeleted: patterns });
  assert.equal(made.deletion?.tags.length, 2 + 9);
  const before = Number((await sums())['onDisk']);
  const chosen = made.deletion?.tags.map((at) => made.tags[at]) ?? [];
  const gone = [
    ...chosen.map((tag) => `${made.repositories[tag?.repository ?? -1]?.name}@${tag?.digest}`),
    `${registry.host}/two@${store?.untagged[0]?.digest}`,
  ];
  // `two:1.1` is the image of `one:1.1` by now, and keeps its blobs.
  for (const one of gone) {
    const [name = '', digest = ''] = one.split('@');
    const [, repository] = /^[^/]+\/(.*)$/.exec(name) ?? [];
    const to = `http://${registry.host}/v2/${repository}/manifests/${digest}`;
    assert.equal((await fetch(to, { method: 'DELETE' })).status, 202);
  }
  const config = join(work, 'gc.json');
  const storage = { filesystem: { rootdirectory: registry.storage }, delete: { enabled: true } };
  await writeFile(config, JSON.stringify({ version: 0.1, storage }));
  await command('docker-registry', ['garbage-collect', config]);
  const freed = before - Number((await sums())['onDisk']);
  assert.equal(freed, (made.deletion?.freed.compressed ?? 0) + (store?.untaggedBytes ?? 0));
  const after = await reportOn(`storage:${registry.storage}`);
  assert.deepEqual(
    after.unreferenced.map(({ bytes, untagged }) => [bytes, untagged]),
    [[0, []]],
  );
  assert.ok((after.repositories.find(({ name }) => name.endsWith('/one'))?.links?.stale ?? 0) > 0);
});

report('uploads that were begun and not ended are told of', async () => {
  const begun = await fetch(`http://${registry.host}/v2/one/blobs/uploads/`, { method: 'POST' });
  const to = new URL(begun.headers.get('location') ?? '', `http://${registry.host}`);
  const headers = { 'content-type': 'application/octet-stream' };
  const sent = await fetch(to, { method: 'PATCH', headers, body: 'half of a layer' });
  assert.equal(sent.status, 202);
  const { unreferenced } = await reportOn(`storage:${registry.storage}`);
  assert.deepEqual(unreferenced[0]?.uploads, { count: 1, bytes: 15 });
});

report(
  'a registry without a catalog, a repository that is not there, and a directory that is no registry are told of',
  async () => {
    await assert.rejects(reportOn(`docker://${registry.host}/nothing`), /nothing.*got 404/s);
    await assert.rejects(reportOn(`docker://${registry.host}/one:9.*`), /no tag matches, of/);
    await assert.rejects(
      reportOn(`storage:${work}/one`),
      /it holds blobs, index\.json, oci-layout; want/,
    );
  },
);

report.run();
