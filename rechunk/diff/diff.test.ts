/** Two images read as one comparison: what they share is read once. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import type { Source } from '../../registry/image.ts';
import { openSource } from '../../registry/transport.ts';
import { jsonHere } from '../../test-images/cli.ts';
import { diff } from './diff.ts';

const work = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-diff-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
const packages = fileURLToPath(new URL('../../test-images/packages/apk/', import.meta.url));
const archive = `docker-archive:${packages}alpine-3.11.5-docker.tar.gz`;
const [OLD, NEW] = ['old', 'new'].map((tag) => `oci:${join(work, 'layout')}:${tag}`) as [
  string,
  string,
];

/** A source whose blobs are streamed, as a registry's are, and counted. */
function streamed(source: Source, opened: string[]): Source {
  return {
    ...source,
    root: source.root,
    reference: source.reference,
    document: (descriptor) => source.document(descriptor),
    referrers: (digest) => source.referrers(digest),
    close: () => source.close(),
    blob: async (descriptor) => {
      opened.push(descriptor.digest);
      const blob = await source.blob(descriptor);
      return { stream: (signal) => blob.stream(signal) };
    },
  };
}

test('a layer that both images have is read once, and the report is the same', async () => {
  await jsonHere(['build', archive, OLD, '--fresh']);
  await jsonHere(['build', archive, NEW, '--fresh', '--prune', '/etc/motd']);
  const opened: string[] = [];
  const hostPlatform = { os: 'linux', architecture: 'amd64' };
  const [old, next] = [await openSource(OLD), await openSource(NEW)];
  const report = await diff(streamed(old, opened), streamed(next, opened), {
    hostPlatform,
    threads: 2,
    tempDir: work,
  });
  await Promise.all([old.close(), next.close()]);
  assert.equal(new Set(opened).size, opened.length);
  const states = report.layers.map(({ state }) => state);
  assert.equal(opened.length, report.old.layers + states.filter((s) => s !== 'shared').length);
  assert.ok(states.includes('shared') && states.includes('changed'));
  assert.deepEqual(await jsonHere(['diff', OLD, NEW]), JSON.parse(JSON.stringify(report)));
});

test.run();
