/** eStargz layers that stargz-snapshotter's own package made (`test-images/estargz`): their tables tell what their tars hold. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import type { Blob, ByteRange } from '../../image.ts';
import { digestOf } from '../../oci.ts';
import type { KeepRule } from './kept.ts';
import { type ReadLayer, readLayer } from './read.ts';
import { partialSource, told } from './samples.conformance.ts';

const DATA = new URL('../../../test-images/estargz/', import.meta.url);
const facts = JSON.parse(readFileSync(new URL('small.json', DATA), 'utf8')) as Record<
  string,
  { readonly tocDigest: string; readonly diffId: string }
>;

/** A package database, a file with a name that is no ASCII, and one that is empty. */
const keep: KeepRule = {
  isDocument: (path) => path.endsWith('installed') || path.startsWith('etc/'),
  isDigested: () => false,
};

const documentsOf = ({ kept }: ReadLayer): string[] =>
  (kept?.documents ?? [])
    .map(({ content }) => content.toString())
    .filter(Boolean)
    .sort();

/** All but times, which the table rounds to seconds, and what is made of them; by path, since the table has another order. */
function withoutTimes(layer: ReadLayer): object {
  const { paths, links, columns } = told(layer);
  const rows = paths.map((path, i) => {
    const [kind, mode, size, uid, gid, , , device] = columns.map((column) => column[i]);
    return [path, links[i], kind, mode, size, uid, gid, device].join('|');
  });
  return { rows: rows.sort(), tree: layer.rows.treeDigest.toString('hex') };
}

for (const [name, { tocDigest, diffId }] of Object.entries(facts)) {
  const blob = readFileSync(new URL(`${name}.tar.gz`, DATA));
  const tar = gunzipSync(blob);
  const annotations = { 'containerd.io/snapshot/stargz/toc.digest': tocDigest };

  test(`${name}: of the blob only the table and documents are read`, async () => {
    assert.equal(digestOf(tar), diffId);
    const source = partialSource(tar, blob, annotations);
    const table = await readLayer(source, { keep });
    assert.deepEqual([table.origin, source.blob.whole], ['toc', 0]);
    const read = source.blob.parts.reduce((sum, { size }) => sum + size, 0);
    assert.equal(table.bytesRead, read);
    const whole = await readLayer(
      {
        ...source,
        open: async () => ({ stream: source.blob.stream, part: async () => undefined }),
      },
      { keep },
    );
    assert.equal(whole.origin, 'tar');
    assert.deepEqual(withoutTimes(table), withoutTimes(whole));
    assert.equal(documentsOf(whole).length, 2);
    assert.deepEqual(documentsOf(table), documentsOf(whole));
  });

  test(`${name}: a document that is not what the table says is not kept`, async () => {
    const { blob: own, ...source } = partialSource(tar, blob, annotations);
    const table = await readLayer({ ...source, open: async () => own });
    const damaged = async (range: ByteRange): Promise<Buffer> => {
      const bytes = Buffer.from(blob.subarray(range.offset, range.offset + range.size));
      // The table and the footer are at the end; a member of gzip begins with ten bytes.
      const isContent = range.offset + range.size <= blob.length - table.bytesRead;
      return isContent
        ? (bytes.map((byte, at) => (at < 10 ? byte : byte ^ 0xff)) as Buffer)
        : bytes;
    };
    const open = async (): Promise<Blob> => ({ stream: own.stream, part: damaged });
    const read = await readLayer({ ...source, open }, { keep });
    assert.equal(read.origin, 'toc');
    assert.deepEqual(documentsOf(read), []);
  });
}

test.run();
