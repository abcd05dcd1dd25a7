// needs: docker-registry
/** `rechunk report index` and `--files` on a real registry, against layouts of the same images and what the registry was asked. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as v from 'valibot';
import { digestOf, MEDIA } from '../../registry/oci.ts';
import type { IndexSummary } from '../../registry/report/index/index.ts';
import type { Report } from '../../registry/report/report.ts';
import { reportSchema } from '../../registry/report/schema.ts';
import { TarReader } from '../../registry/tarreader.ts';
import { openDestination, openSource } from '../../registry/transport.ts';
import { writeLayout } from '../../test-images/build.ts';
import { runCli, runJson } from '../../test-images/cli.ts';
import { copyImage } from '../../test-images/copyimage.ts';
import { startRegistry } from '../../test-images/registry.ts';

const packages = fileURLToPath(new URL('../../test-images/packages/apk/', import.meta.url));
const work = mkdtempSync('/var/tmp/rechunk-reportindex-');
const registry = await startRegistry();
const host = `docker://${registry.host}`;
const index = join(work, 'index');
const [first, second] = ['alpine-3.10.4', 'alpine-3.11.5'].map(
  (name) => `docker-archive:${packages}${name}-docker.tar.gz`,
) as [string, string];
const platform = ['--platform', 'linux/amd64', '--no-cache'];
await runJson(['build', first, `${host}/plain:1`, ...platform]);
await runJson(['build', second, `${host}/plain:2`, ...platform]);
for (const [source, tag] of [
  [first, 1],
  [second, 2],
] as const)
  await runJson([
    'build',
    source,
    `${host}/chunked:${tag}`,
    ...platform,
    '--compression',
    'zstd:chunked',
  ]);

const blobs = (): number =>
  registry.accessLog().filter(({ method, path }) => method === 'GET' && path.includes('/blobs/'))
    .length;

test('shards read each layer once, and a second run reads no blob', async () => {
  const done: IndexSummary[] = [];
  for (const shard of ['0/2', '1/2'])
    done.push(
      await runJson<IndexSummary>(['report', 'index', host, '--index', index, '--shard', shard]),
    );
  const layers = done.reduce((sum, one) => sum + one.layers, 0);
  assert.ok(done.every((one) => one.layers > 0 && one.known === 0));
  const before = blobs();
  const again = await runJson<IndexSummary>(['report', 'index', host, '--index', index]);
  assert.deepEqual([again.layers, again.known, again.bytesRead], [layers, layers, 0]);
  // Configs are no layers: four images, each once.
  assert.ok(blobs() - before <= 4);
});

test('with a limit of memory layers are indexed as without, and too little is refused', async () => {
  const args = ['report', 'index', `${host}/plain`, '--index', join(work, 'limited')];
  const refused = await runCli([...args, '--memory-limit', '300MiB']);
  assert.equal(refused.status, 2);
  assert.match(
    refused.stderr,
    /^rechunk: --memory-limit 300MiB: want at least 384MiB to index files\n/,
  );
  assert.ok(!existsSync(join(work, 'limited')));
  const limited = await runJson<IndexSummary>([...args, '--memory-limit', '512MiB']);
  assert.deepEqual([limited.layers > 0, limited.known], [true, 0]);
});

test('of zstd:chunked layers only the table of contents is read, and it says what the layers hold', async () => {
  const [plain, chunked] = [join(work, 'plain'), join(work, 'chunked')];
  const whole = await runJson<IndexSummary>(['report', 'index', `${host}/plain`, '--index', plain]);
  const tables = await runJson<IndexSummary>([
    'report',
    'index',
    `${host}/chunked`,
    '--index',
    chunked,
  ]);
  assert.equal(whole.tables, 0);
  assert.equal(tables.tables, tables.layers);
  assert.equal(tables.entries, whole.entries);
  assert.ok(tables.bytesRead * 20 < whole.bytesRead, `${tables.bytesRead} of ${whole.bytesRead}`);
  const [a, b] = await Promise.all(
    [plain, chunked].map((directory, i) =>
      runJson<Report>([
        'report',
        `${host}/${i ? 'chunked' : 'plain'}`,
        '--files',
        '--index',
        directory,
      ]),
    ),
  );
  const figures = (report: Report | undefined): unknown => {
    const { contents, references, bytes, uniqueBytes, lorenz, byCopies } = report?.files ?? {};
    return { contents, references, bytes, uniqueBytes, lorenz, byCopies };
  };
  assert.deepEqual(figures(a), figures(b));
  const floors = [a, b].map((report) => {
    const { floor = 0, bytes = 0 } = report?.updates[0] ?? {};
    return floor / bytes;
  });
  const [known = 0, estimated = 0] = floors;
  // The tar's size is not in a table; the shares of what an update pulls are told by sizes of entries.
  assert.ok(known > 0 && known < 0.95 && Math.abs(estimated / known - 1) < 0.05, `${floors}`);
  // Databases of packages are read, too. That /etc/passwd is no more as its package shipped it, only its content would tell.
  const causes = (report: Report | undefined): unknown[] =>
    (report?.updates[0]?.causes ?? [])
      .filter(({ component }) => !/^generated:|baselayout/.test(component))
      .map(({ component, why, files, detail }) => [component, why, files, detail])
      .sort();
  assert.ok(causes(a).length > 5);
  assert.deepEqual(causes(b), causes(a));
});

test('of an eStargz layer that its own tool made, stretches are read, and package databases among them', async () => {
  const data = fileURLToPath(new URL('../../test-images/estargz/', import.meta.url));
  const facts = JSON.parse(readFileSync(`${data}small.json`, 'utf8'));
  const blob = readFileSync(`${data}small.tar.gz`);
  const digest = digestOf(blob);
  const annotations = { 'containerd.io/snapshot/stargz/toc.digest': facts.small.tocDigest };
  const descriptor = { mediaType: MEDIA.layerGzip, digest, size: blob.length, annotations };
  const { diffId } = facts.small;
  const file = join(work, 'small');
  writeFileSync(file, blob);
  const layout = join(work, 'estargz');
  await writeLayout(layout, [{ tag: '1', layers: [{ file, descriptor, diffId }] }]);
  await copyImage(
    await openSource(`oci:${layout}:1`),
    await openDestination(`${host}/estargz:1`, { remote: { insecure: true } }),
  );
  const from = registry.accessLog().length;
  const args = ['--index', join(work, 'stretches')];
  const summary = await runJson<IndexSummary>(['report', 'index', `${host}/estargz`, ...args]);
  assert.deepEqual([summary.layers, summary.tables], [1, 1]);
  const reads = registry.accessLog().slice(from);
  const ofLayer = reads.filter(({ path }) => path.endsWith(digest));
  // The footer, the table, and the one document.
  assert.deepEqual(
    ofLayer.map(({ method, status }) => `${method} ${status}`),
    ['GET 206', 'GET 206', 'GET 206'],
  );
  assert.ok(summary.bytesRead < blob.length / 2, `${summary.bytesRead} of ${blob.length}`);
});

/** Bytes of files in an image as `docker save` writes it with one layer. */
function fileBytes(archive: string): number {
  let bytes = 0;
  const parts: Buffer[] = [];
  const outer = new TarReader({
    entry: () => {
      parts.length = 0;
    },
    data: (chunk) => parts.push(Buffer.from(chunk)),
    end: () => {
      const content = Buffer.concat(parts);
      if (content.subarray(257, 262).toString() !== 'ustar') return;
      const inner = new TarReader({ entry: ({ size }) => (bytes += size), data: () => {} });
      inner.push(content);
      inner.finish();
    },
  });
  outer.push(gunzipSync(readFileSync(archive.replace('docker-archive:', ''))));
  outer.finish();
  return bytes;
}

test('a report of files counts what is in the images', async () => {
  const report = await runJson<Report>([
    'report',
    `${host}/plain`,
    '--files',
    '--index',
    join(work, 'plain'),
  ]);
  assert.equal(report.depth, 'files');
  assert.deepEqual(v.parse(reportSchema, report), report);
  assert.equal(report.files?.bytes, fileBytes(first) + fileBytes(second));
  const [update] = report.updates;
  assert.ok((update?.floor ?? 0) > 0 && (update?.floor ?? 0) <= (update?.bytes ?? 0));
  assert.ok(
    report.files.duplicates.every(({ wasted, copies, size }) => wasted === (copies - 1) * size),
  );
});

test('a share that is none is refused before anything is asked', async () => {
  const { status, stderr } = await runCli([
    'report',
    'index',
    host,
    '--index',
    join(work, 'x'),
    '--shard',
    '2/2',
  ]);
  assert.equal(status, 2);
  assert.match(stderr, /got shard "2\/2", want I\/N/);
  assert.equal(existsSync(join(work, 'x')), false);
});

test.after(async () => {
  await registry.stop();
  rmSync(work, { recursive: true });
});
test.run();
