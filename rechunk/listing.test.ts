import assert from 'node:assert/strict';
import { test } from 'uvu';
import { watchIndex } from '../registry/chunked/check.ts';
import { parseChunkedAnnotations } from '../registry/chunked/footer.ts';
import type { TocEntry } from '../registry/chunked/toc.ts';
import { createChunkedCompressor } from '../registry/chunked/writer.ts';
import { packTar } from '../registry/tarwriter.ts';
import { type FileSpec, memoryTree } from '../test-images/trees.ts';
import { compareListing } from './listing.ts';
import type { Tree } from './tree.ts';

const MTIME = 5_000_000_001n;
const CAPABILITY = Buffer.from([1, 0, 0, 2, 255]);
const XATTRS = new Map([
  ['security.capability', CAPABILITY],
  ['user.x', Buffer.from('y')],
]);
const SPECS: readonly FileSpec[] = [
  { path: '', type: 'dir' },
  { path: 'a', type: 'dir', mode: 0o1777 },
  { path: 'a/file', content: 'text', mode: 0o755, uid: 3, gid: 300_000, mtime: MTIME },
  { path: 'a/hard', link: 'a/file' },
  { path: 'caps', content: 'x', xattrs: XATTRS },
  { path: 'empty' },
  { path: 'gr\xc3\xbcn', content: 'green' },
  { path: 'soft', target: '../gr\xc3\xbcn' },
];
const tree = memoryTree(SPECS);

/** The tree as a tar, written by way of what each path is said to be. */
function tarOf({ entries, links }: Tree): Buffer {
  return packTar(
    entries.map(({ path, inode }) => {
      const first = links.get(inode)?.[0] ?? path;
      const { type, target, size, sha256, layer, ...meta } = inode;
      const name = type === 'dir' ? `${path || '.'}/` : path;
      if (first !== path) return { ...meta, path: name, type: 'link', link: first };
      const content = SPECS.find((spec) => spec.path === path)?.content ?? '';
      return { ...meta, path: name, type, link: target, content };
    }),
  );
}

async function tableOf(tar: Buffer): Promise<readonly TocEntry[]> {
  const parts: Buffer[] = [];
  const write = (bytes: Buffer): void => void parts.push(Buffer.from(bytes));
  const compressor = createChunkedCompressor(undefined, { inFlight: 2, write });
  await compressor.push(tar);
  await compressor.finish();
  const result = compressor.result();
  const blob = Buffer.concat(parts);
  assert.ok('annotations' in result, JSON.stringify(result));
  const sections = parseChunkedAnnotations(result.annotations, blob.length);
  assert.ok(sections);
  const stream = async function* (): AsyncGenerator<Uint8Array> {
    yield blob;
  };
  const watched = watchIndex({ stream }, blob.length, sections);
  for await (const _ of watched.blob.stream());
  return (await watched.check())?.entries ?? [];
}

const TABLE = await tableOf(tarOf(tree));

/** What is said of the table with another entry in the place of `name`. */
function said(name: string, more: Partial<TocEntry>): string {
  const table = TABLE.map((entry) => (entry.name === name ? { ...entry, ...more } : entry));
  const found = compareListing(tree, tree.entries, table);
  return found ? `${found.at}: ${found.what} is ${found.got}, want ${found.want}` : 'nothing';
}

test('a table of contents that was written says what its entries are', () => {
  assert.equal(TABLE.length, SPECS.length);
  assert.equal(compareListing(tree, tree.entries, TABLE), undefined);
});

test('local times and names from "./" are no difference', () => {
  assert.equal(said('a/file', { modtime: '1970-01-01T02:00:05.000000001+02:00' }), 'nothing');
  assert.equal(said('a/file', { name: './a/file' }), 'nothing');
});

const DIGEST = `sha256:${'0'.repeat(64)}` as const;
const FORGERIES: readonly (readonly [string, Partial<TocEntry>, RegExp])[] = [
  ['a/file', { mode: 0o4755 }, /^entry 3 .*: mode is 4755, want 755 \(a\/file\)$/],
  ['a/', { mode: 0o777 }, /mode is 777, want 1777/],
  ['a/file', { uid: 0 }, /owner is 0:300000, want 3:300000/],
  ['a/file', { gid: undefined }, /owner is 3:0, want/],
  ['a/file', { type: 'hardlink', linkName: 'caps' }, /type is hardlink, want reg/],
  ['a/file', { digest: DIGEST }, /content is sha256:0+, want/],
  ['a/file', { size: 5 }, /size is 5, want 4/],
  ['a/file', { name: 'a/other' }, /content is a\/other, want a\/file/],
  ['a/file', { name: 'a/../a/file' }, /content is a\/\.\.\/a\/file, want a\/file/],
  ['a/file', { modtime: '1970-01-01T00:00:05Z' }, /mtime is 5, want 5.000000001/],
  ['a/file', { modtime: undefined }, /mtime is "", want/],
  ['a/file', { modtime: '\x1b[31m' }, /mtime is "[^\x1b]*", want/],
  ['a/file', { accesstime: '1970-01-01T00:00:05Z' }, /mtime is 5.*accessed.*, want/],
  ['a/hard', { linkName: 'caps' }, /target is caps, want a\/file/],
  ['a/hard', { type: 'reg', linkName: undefined }, /type is reg, want hardlink/],
  ['a/hard', { type: 'symlink' }, /type is symlink, want hardlink/],
  ['a/hard', { mode: 0o4755 }, /mode is 4755, want 755/],
  ['caps', { xattrs: undefined }, /xattrs is , want "security/],
  ['caps', { xattrs: { 'security.capability': 'AQAAAv4=', 'user.x': 'eQ==' } }, /xattrs is/],
  ['caps', { xattrs: { 'security.capability"=01000002ff "user.x': 'eQ==' } }, /xattrs is/],
  ['empty', { type: 'dir' }, /type is dir, want reg/],
  ['empty', { xattrs: { 'security.capability': 'AQAAAv8=' } }, /xattrs is .*, want/],
  ['empty', { type: 'char', devMajor: 1 }, /type is char, want reg/],
  ['soft', { linkName: '/grün' }, /target is .*, want/],
  ['soft', { devMinor: 1 }, /device is 0:1, want 0:0/],
  ['soft', { digest: DIGEST }, /content is sha256:0+, want none/],
];

for (const [name, more, wanted] of FORGERIES) {
  test(`tells of ${JSON.stringify(more)} at ${name}`, () => assert.match(said(name, more), wanted));
}

test('tells of entries too many and too few, and of another order', () => {
  const of = (table: readonly TocEntry[]): string | undefined =>
    compareListing(tree, tree.entries, table)?.at;
  assert.equal(of([...TABLE, { type: 'dir', name: 'z/' }]), 'entry 9 of a table of contents');
  assert.equal(of(TABLE.slice(0, -1)), 'entry 8 of a table of contents');
  assert.equal(of([...TABLE].reverse()), 'entry 1 of a table of contents');
});

test.run();
