import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import type { Path } from '../registry/path.ts';
import { type EntryType, ID_LIMIT } from '../registry/tar.ts';
import { type IndexedEntry, packBatch, unpackBatch } from './batch.ts';

const TYPES: readonly EntryType[] = ['file', 'link', 'symlink', 'dir', 'char', 'block', 'fifo'];
const SECOND = 1_000_000_000n;
const LAST = 2n ** 53n * SECOND;

const text = fc
  .uint8Array({ maxLength: 300 })
  .map((bytes) => Buffer.from(bytes).toString('latin1'));
const sha256 = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'));
const safe = fc.maxSafeNat();
const extent = fc.record({ at: safe, offset: safe, size: safe }, { noNullPrototype: true });
const entry: fc.Arbitrary<IndexedEntry> = fc
  .record({
    type: fc.constantFrom(...TYPES),
    path: text.map((path) => path as Path),
    mode: fc.nat(0o7777),
    uid: fc.nat(ID_LIMIT),
    gid: fc.nat(ID_LIMIT),
    mtime: fc.bigInt({ min: -LAST, max: LAST }),
    size: safe,
    link: text,
    devMajor: fc.oneof(fc.constant(0), safe),
    devMinor: fc.oneof(fc.constant(0), safe),
    xattrs: fc.dictionary(text, fc.uint8Array()).map((xattrs) => new Map(Object.entries(xattrs))),
    offset: safe,
    sha256,
    extents: fc.option(fc.array(extent), {
      nil: undefined,
    }),
  })
  .map(({ extents, ...rest }) => ({
    ...rest,
    sha256: rest.type === 'file' ? rest.sha256 : '',
    ...(extents ? { extents } : {}),
  }));

test('entries come out of a batch as they went in, also after a clone', () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 20 }), (entries) => {
      const batch = packBatch(entries);
      assert.deepEqual([...unpackBatch(batch)], entries);
      assert.deepEqual([...unpackBatch(structuredClone(batch))], entries);
    }),
  );
});

test('an entry of a common kind takes 80 bytes and its name', () => {
  const [plain] = fc.sample(entry, { numRuns: 1, seed: 1 });
  const common = { ...(plain as IndexedEntry), path: 'name' as Path, link: '', xattrs: new Map() };
  const {
    small,
    large,
    text: names,
    sha256: digests,
    rare,
  } = packBatch([{ ...common, devMajor: 0, devMinor: 0, extents: undefined } as never]);
  const bytes = [small, large, names, digests].reduce((sum, one) => sum + one.byteLength, 0);
  assert.equal(bytes, 80 + 'name'.length);
  assert.equal(rare.size, 0);
});

test.run();
