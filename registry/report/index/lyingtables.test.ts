/** Tables of contents that lie: what is no table is read whole, and what is kept of a layer is bounded. */
import assert from 'node:assert/strict';
import { gunzipSync, gzipSync } from 'node:zlib';
import { test } from 'uvu';
import { tabled } from '../../../test-images/odd.ts';
import type { EstargzEntry } from '../../chunked/toc.ts';
import { digestOf, MEDIA } from '../../oci.ts';
import { packTar } from '../../tarwriter.ts';
import { planDocuments, readDocuments } from './documents.ts';
import type { KeepRule } from './kept.ts';
import { type LayerSource, readLayer } from './read.ts';

const content = gzipSync(packTar([{ path: 'a', content: 'hello' }]).subarray(0, -1024));
const sound = { name: 'a', type: 'reg', size: 5, digest: digestOf('hello'), mode: 0o644 };

function sourceOf(entries: readonly object[]): LayerSource {
  const { blob, annotations = {} } = tabled(entries, content);
  const stream = async function* (): AsyncGenerator<Buffer> {
    yield blob;
  };
  const part = async ({ offset, size }: { offset: number; size: number }): Promise<Buffer> =>
    blob.subarray(offset, offset + size);
  return {
    diffId: digestOf(gunzipSync(blob)),
    descriptor: {
      mediaType: MEDIA.layerGzip,
      digest: digestOf(blob),
      size: blob.length,
      annotations,
    },
    name: 'a layer',
    open: async () => ({ stream, part }),
  };
}

const LIES: Readonly<Record<string, object>> = {
  'a user who is no number': { uid: 'abc' },
  'values of attributes that are no text': { xattrs: { 'user.a': 5 } },
  'a digest that is none': { digest: 'sha256:ab' },
  'a time that is no text': { modtime: 5 },
  'a negative size': { size: -5 },
  'a size that is no whole number': { size: 1e300 },
  'more content than the blob can hold': { size: 2 ** 40 },
  'a link that is no text': { type: 'symlink', linkName: 5 },
  'a device beyond all numbers': { type: 'block', devMajor: 2 ** 53 - 1, devMinor: 1 },
  'a type that there is not': { type: 'x' },
};

test('a table that says what is so is taken', async () => {
  assert.equal((await readLayer(sourceOf([sound]))).origin, 'toc');
});

for (const [what, lie] of Object.entries(LIES)) {
  test(`a layer whose table has ${what} is read whole`, async () => {
    const read = await readLayer(sourceOf([{ ...sound, ...lie }]));
    assert.equal(read.origin, 'tar');
    assert.deepEqual([...read.rows.size.subarray(0, 1)], [5]);
  });
}

const keep: KeepRule = { isDocument: () => true, isDigested: () => false };
const MIB = 1 << 20;
const entry = (more: Partial<EstargzEntry>): EstargzEntry => ({
  ...{ type: 'reg', name: 'doc', size: 5, digest: digestOf('hello'), offset: 0 },
  ...more,
});

test('documents are planned within bounds', () => {
  const planned = (entries: readonly EstargzEntry[], end = 1000): number =>
    planDocuments(entries, end, keep).places.length;
  assert.equal(planned([entry({})]), 1);
  assert.equal(planned([entry({ innerOffset: 65 * MIB })]), 0);
  assert.equal(planned([entry({})], 65 * MIB), 0);
  // The same content is read once, and not more than half a gigabyte in all.
  assert.equal(planned(Array.from({ length: 9 }, () => entry({}))), 1);
  const large = Array.from({ length: 9 }, (_, i) =>
    entry({ size: 200 * MIB, digest: digestOf(`${i}`), offset: i }),
  );
  assert.equal(planned(large), 2);
});

test('what lies before a document in its stretch is not kept in memory', async () => {
  const skipped = 60 * MIB;
  const member = gzipSync(Buffer.concat([Buffer.alloc(skipped), Buffer.from('hello')]));
  const plan = planDocuments([entry({ innerOffset: skipped })], member.length, keep);
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }, 1);
  const { documents } = await readDocuments(plan, async () => member);
  clearInterval(timer);
  assert.deepEqual(
    documents.map((one) => one.content.toString()),
    ['hello'],
  );
  assert.ok(most < 40 * MIB, `${most} bytes`);
});

test.run();
