import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'uvu';
import { digestOf } from './oci.ts';
import { NO_XATTRS, type TarFields } from './tar.ts';
import { unpackTar } from './tarreader.ts';
import { END_OF_ARCHIVE, encodeEntry, packTar, paddingOf, TAR_FORMAT } from './tarwriter.ts';

/**
 * The bytes of format 1. They must never change: every user would download every layer again. `UPDATE_GOLDENS=1` writes
 * the file anew, for a new format only.
 */
const GOLDENS = new URL('./tarwriter.golden.json', import.meta.url);
const NS = 1_000_000_000n;

type Overrides = Partial<Omit<TarFields, 'path'>> & { readonly path?: string };

function fields(overrides: Overrides = {}): TarFields {
  const file: Overrides = { type: 'file', path: 'f', mode: 0o644, uid: 0, gid: 0, mtime: 0n };
  const rest: Overrides = { size: 0, link: '', devMajor: 0, devMinor: 0, xattrs: NO_XATTRS };
  return { ...file, ...rest, ...overrides } as TarFields;
}

const xattrs = (record: Record<string, string>): TarFields['xattrs'] =>
  new Map(Object.entries(record).map(([name, value]) => [name, Buffer.from(value, 'latin1')]));

/** The entries whose bytes are kept, each by what it shows. */
const CASES: Record<string, Overrides> = {
  'empty file': {},
  root: { type: 'dir', path: '', mode: 0o755 },
  'sticky directory': { type: 'dir', path: 'tmp', mode: 0o1777 },
  'set-id file': { path: 'usr/bin/su', mode: 0o4755, size: 71912, mtime: 1700000000n * NS },
  'name of 100 bytes': { path: 'n'.repeat(100) },
  'name of 101 bytes': { path: 'n'.repeat(101) },
  'directory of 99 bytes': { type: 'dir', path: 'n'.repeat(99) },
  'directory of 100 bytes': { type: 'dir', path: 'n'.repeat(100) },
  'name in UTF-8': { path: Buffer.from('café').toString('latin1') },
  'name in Latin-1': { path: 'caf\xe9' },
  'name with newline and quotes': { path: '\n"\'<&>\\' },
  'hard link': { type: 'link', path: 'l', link: 'a/b' },
  symlink: { type: 'symlink', path: 'l', link: '../x', mode: 0o777 },
  'symlink of 101 bytes': { type: 'symlink', path: 'l', link: 't'.repeat(101), mode: 0o777 },
  'symlink in Latin-1': { type: 'symlink', path: 'l', link: '\xe9', mode: 0o777 },
  'character device': { type: 'char', path: 'null', devMajor: 1, devMinor: 3, mode: 0o666 },
  'block device': { type: 'block', path: 'sda', devMajor: 8, devMinor: 1048575 },
  fifo: { type: 'fifo', path: 'p' },
  'largest octal numbers': {
    uid: 2097151,
    gid: 2097151,
    size: 8589934591,
    mtime: 8589934591n * NS,
  },
  'smallest PAX numbers': { uid: 2097152, gid: 2097152, size: 8589934592, mtime: 8589934592n * NS },
  'largest ids': { uid: 4294967294, gid: 4294967294 },
  'largest size': { size: Number.MAX_SAFE_INTEGER },
  'time with a fraction': { mtime: 1700000000n * NS + 120_000_000n },
  'time with nanoseconds': { mtime: 1n },
  'time before the epoch': { mtime: -5n * NS },
  'time before the epoch with a fraction': { mtime: -1_500_000_000n },
  'capability xattr': {
    xattrs: xattrs({ 'security.capability': '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0' }),
  },
  'xattrs out of order': { xattrs: xattrs({ 'user.b': '', 'user.a': '1', 'user.B': '\n=\0' }) },
  'all at once': {
    path: `${'d/'.repeat(60)}\xff`,
    uid: 3000000,
    gid: 3000001,
    size: 2 ** 40,
    mtime: -1n,
    xattrs: xattrs({ 'user.x': 'y' }),
  },
};

test('writes the bytes of format 1', () => {
  const written = Object.fromEntries(
    Object.entries(CASES).map(([name, overrides]) => [
      name,
      encodeEntry(fields(overrides))
        .toString('latin1')
        .replace(/\0{8,}/g, (zeros) => `<${zeros.length}>`),
    ]),
  );
  if (process.env['UPDATE_GOLDENS']) {
    writeFileSync(
      GOLDENS,
      `${JSON.stringify({ format: TAR_FORMAT, entries: written }, null, 2)}\n`,
    );
  }
  const golden = JSON.parse(readFileSync(GOLDENS, 'utf8'));
  assert.deepEqual({ format: TAR_FORMAT, entries: written }, golden);
});

test('one header, byte by byte', () => {
  const entry = fields({
    path: 'usr/bin/su',
    mode: 0o4755,
    uid: 5,
    gid: 42,
    size: 71912,
    mtime: 1700000000n * NS,
  });
  const expected = [
    'usr/bin/su'.padEnd(100, '\0'),
    '0004755\0',
    '0000005\0',
    '0000052\0',
    '00000214350\0',
    '14524770400\0',
    '007772\0 ',
    '0',
    '\0'.repeat(100),
    'ustar\x0000',
    '\0'.repeat(247),
  ];
  assert.deepEqual(encodeEntry(entry).toString('latin1'), expected.join(''));
});

test('one PAX header, byte by byte', () => {
  const entry = fields({
    path: 'caf\xe9',
    mtime: -500_000_000n,
    xattrs: xattrs({ 'user.x': '\0' }),
  });
  const blocks = encodeEntry(entry).toString('latin1');
  const records = [
    '25 SCHILY.xattr.user.x=\0\n',
    '21 hdrcharset=BINARY\n',
    '14 mtime=-0.5\n',
    '13 path=caf\xe9\n',
  ];
  assert.deepEqual(
    records.map((record) => record.length),
    [25, 21, 14, 13],
  );
  const expected = [
    'PaxHeader'.padEnd(100, '\0'),
    '0000644\0',
    '0000000\0',
    '0000000\0',
    '00000000111\0',
    '00000000000\0',
    blocks.slice(148, 156),
    'x',
    '\0'.repeat(100),
    'ustar\x0000',
    '\0'.repeat(247),
    records.join('').padEnd(512, '\0'),
  ];
  assert.deepEqual(blocks.slice(0, 1024), expected.join(''));
  assert.equal(blocks.slice(1024, 1029), 'caf\xe9\0');
});

test('adds a PAX header only where a field does not fit', () => {
  const plain = Object.entries(CASES)
    .filter(([, overrides]) => encodeEntry(fields(overrides)).length === 512)
    .map(([name]) => name);
  assert.deepEqual(plain, [
    'empty file',
    'root',
    'sticky directory',
    'set-id file',
    'name of 100 bytes',
    'directory of 99 bytes',
    'name with newline and quotes',
    'hard link',
    'symlink',
    'character device',
    'block device',
    'fifo',
    'largest octal numbers',
  ]);
});

test('does not depend on the order in which xattrs are given', () => {
  const forth = { 'user.a': '1', 'user.b': '2' };
  const back = { 'user.b': '2', 'user.a': '1' };
  assert.deepEqual(
    encodeEntry(fields({ xattrs: xattrs(forth) })),
    encodeEntry(fields({ xattrs: xattrs(back) })),
  );
});

test('refuses what tar cannot hold, naming the entry', () => {
  const cases: [overrides: Overrides, code: string][] = [
    [{ uid: 4294967295 }, 'tar'],
    [{ gid: -1 }, 'tar'],
    [{ uid: 1.5 }, 'tar'],
    [{ mode: 0o10644 }, 'tar'],
    [{ size: -1 }, 'tar'],
    [{ size: 2 ** 53 }, 'tar'],
    [{ size: Number.NaN }, 'tar'],
    [{ type: 'link', link: 'a', size: 1 }, 'tar'],
    [{ type: 'dir', size: 1 }, 'tar'],
    [{ devMajor: 1 }, 'tar'],
    [{ type: 'char', devMinor: 2097152 }, 'tar'],
    [{ mtime: 2n ** 53n * NS }, 'tar'],
    [{ mtime: -(2n ** 53n) * NS }, 'tar'],
    [{ path: '' }, 'path'],
    [{ path: 'a\0' }, 'path'],
    [{ type: 'symlink' }, 'path'],
    [{ type: 'link' }, 'path'],
    [{ link: 'a' }, 'path'],
    [{ type: 'symlink', link: 'a\0' }, 'path'],
    [{ xattrs: xattrs({ 'user.a=b': '' }) }, 'unsupported'],
    [{ xattrs: xattrs({ 'user.\0': '' }) }, 'unsupported'],
    [{ xattrs: xattrs({ '': '' }) }, 'unsupported'],
    [{ xattrs: xattrs({ 'user.a': 'x'.repeat(1 << 20) }) }, 'unsupported'],
  ];
  for (const [overrides, code] of cases) {
    const message = /^writing the tar entry "/;
    assert.throws(
      () => encodeEntry(fields(overrides)),
      { code, message },
      JSON.stringify(Object.keys(overrides)),
    );
  }
  assert.throws(() => encodeEntry(fields({ path: '\u{1f600}' })), { code: 'ERR_ASSERTION' });
});

test('what is just within bounds is read back', () => {
  const big = { 'user.a': 'x'.repeat((1 << 20) - 32) };
  const whole = Buffer.concat([encodeEntry(fields({ xattrs: xattrs(big) })), END_OF_ARCHIVE]);
  assert.equal(unpackTar(whole)[0]?.entry.xattrs.get('user.a')?.length, (1 << 20) - 32);
});

test('fills content up to whole blocks and ends in 1024 zero bytes', () => {
  const sizes = [0, 1, 511, 512, 513, 8589934592, Number.MAX_SAFE_INTEGER];
  assert.deepEqual(sizes.map(paddingOf), [0, 511, 1, 0, 511, 0, 1]);
  const archive = packTar([{ path: 'd/' }, { path: 'd/f', content: 'é' }]);
  assert.equal(archive.length, 512 + 512 + 512 + 1024);
  assert.equal(archive.toString('latin1', 1024, 1026), '\xc3\xa9');
  assert.ok(archive.subarray(1026).equals(Buffer.alloc(510 + 1024)));
  // What Python's tarfile makes of the same two entries in its USTAR format.
  const python = 'sha256:751d4d9a50b4cf7957b85c2ac245610aaf5189b860f97a76c2d4aa9af4e3a4b3';
  assert.equal(digestOf(archive), python);
});

test.run();
