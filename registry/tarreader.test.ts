import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { ErrorCode, RechunkError } from './errors.ts';
import { encodePax, type PaxRecord } from './pax.ts';
import { BLOCK_SIZE, FIELD, type Field, paddingOf, type TarEntry } from './tar.ts';
import { TarReader, unpackTar } from './tarreader.ts';
import { END_OF_ARCHIVE, packTar } from './tarwriter.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0');

/** How a test's header differs from that of an empty file `f`; fields are raw text. */
type Fields = Partial<Record<keyof typeof FIELD, string>>;

const SIGNED_BIAS = 256;

/** A header block with exactly these fields, and a right checksum unless `checksum` is given. */
function header(fields: Fields, isSigned = false): Buffer {
  const block = Buffer.alloc(BLOCK_SIZE);
  const defaults: Fields = { name: 'f', mode: '0000644\0', uid: '0000000\0', gid: '0000000\0' };
  const rest: Fields = { size: '00000000000\0', mtime: '00000000000\0', type: '0' };
  const all: Fields = {
    ...defaults,
    ...rest,
    magic: 'ustar\x0000',
    checksum: ' '.repeat(8),
    ...fields,
  };
  for (const [key, text] of Object.entries(all)) {
    const [at, size] = FIELD[key as keyof typeof FIELD] as Field;
    assert.ok(text.length <= size, `${key} has ${size} bytes`);
    block.write(text, at, 'latin1');
  }
  if (fields.checksum) return block;
  const sum = block.reduce(
    (total, byte) => total + byte - (isSigned && byte > 127 ? SIGNED_BIAS : 0),
    0,
  );
  block.write(`${octal(sum, 6)}\0 `, FIELD.checksum[0], 'latin1');
  return block;
}

const padded = (body: Uint8Array): Buffer =>
  Buffer.concat([body, Buffer.alloc(paddingOf(body.length))]);

/** An extension of type `x`, `g`, `L` or `K` with its body. */
function extension(type: string, body: Uint8Array): Buffer {
  return Buffer.concat([header({ type, size: `${octal(body.length, 11)}\0` }), padded(body)]);
}

function pax(records: Record<string, string | Uint8Array>, type = 'x'): Buffer {
  const list = Object.entries(records).map(
    ([key, value]): PaxRecord => [key, typeof value === 'string' ? bytes(value) : value],
  );
  return extension(type, encodePax(list));
}

function archive(...blocks: Uint8Array[]): Buffer {
  return Buffer.concat([...blocks, END_OF_ARCHIVE]);
}

/** The only entry of an archive of these blocks. */
function entryOf(...blocks: Uint8Array[]): TarEntry {
  const entries = unpackTar(archive(...blocks));
  assert.equal(entries.length, 1);
  return entries[0]?.entry as TarEntry;
}

function warningsOf(whole: Uint8Array): readonly string[] {
  const reader = new TarReader({ entry() {}, data() {} });
  reader.push(whole);
  reader.finish();
  return reader.warnings;
}

function refused(code: ErrorCode, message: RegExp, ...blocks: Uint8Array[]): void {
  assert.throws(
    () => unpackTar(archive(...blocks)),
    (error: RechunkError) => {
      assert.equal(`${error.code}`, code, error.message);
      assert.match(error.message, message);
      assert.match(error.message, /^reading the tar entry.* at byte \d+: /s);
      return true;
    },
  );
}

test('reads the numbers of every writer', () => {
  const cases: [fields: Fields, expected: Partial<TarEntry>][] = [
    [{ mode: '   755 \0' }, { mode: 0o755 }],
    [{ mode: '0104755\0' }, { mode: 0o4755 }],
    [{ mode: '\0\0\0\0\0\0\0\0' }, { mode: 0 }],
    [{ uid: '7777777\0' }, { uid: 2097151 }],
    [{ uid: '77777777' }, { uid: 16777215 }],
    [{ uid: '\x80\0\0\0\0\x20\0\0' }, { uid: 2097152 }],
    [{ gid: '\x80\0\0\0\xff\xff\xff\xfe' }, { gid: 4294967294 }],
    [{ mtime: '14524770777 ' }, { mtime: 1700000255n * 1_000_000_000n }],
    [{ mtime: '777777777777' }, { mtime: 68719476735n * 1_000_000_000n }],
    [{ mtime: '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfb' }, { mtime: -5_000_000_000n }],
    [{ mtime: '\x80\0\0\0\0\0\0\x02\0\0\0\0' }, { mtime: 8589934592n * 1_000_000_000n }],
    [
      { mtime: '\x80\0\0\0\0\x1f\xff\xff\xff\xff\xff\xff' },
      { mtime: (2n ** 53n - 1n) * 10n ** 9n },
    ],
    [
      { type: '3', devMajor: '0000010\0', devMinor: '0000003\0' },
      { devMajor: 8, devMinor: 3 },
    ],
    [
      { type: '0', devMajor: 'garbage!', devMinor: '\xff' },
      { devMajor: 0, devMinor: 0 },
    ],
  ];
  for (const [fields, expected] of cases) {
    const entry = entryOf(header(fields));
    assert.deepEqual({ ...entry, ...expected }, entry, JSON.stringify(fields));
  }
});

test('refuses numbers that are none or out of range', () => {
  refused('tar', /"f" .*the mode/, header({ mode: '000064x\0' }));
  refused('tar', /the mode/, header({ mode: '0008000\0' }));
  refused('tar', /4294967295 as the user id/, header({ uid: '\x80\0\0\0\xff\xff\xff\xff' }));
  refused('tar', /the user id/, header({ uid: '\xff\xff\xff\xff\xff\xff\xff\xff' }));
  refused('tar', /the user id/, header({ uid: '-000001\0' }));
  refused('tar', /the size/, header({ size: '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff' }));
  refused('tar', /the size/, header({ size: '\x80\0\0\0\0\x20\0\0\0\0\0\0' }));
  refused('tar', /the time/, header({ mtime: '\x80\0\0\0\0\x20\0\0\0\0\0\0' }));
  refused('tar', /the major device/, header({ type: '4', devMajor: 'x' }));
  for (const time of ['x', '1.5e3', '--1', '.5', '9007199254740992', '12345678901234567']) {
    refused('tar', /the time/, pax({ mtime: time }), header({}));
  }
  for (const uid of ['-1', '4294967295', '1.0', ' 1']) {
    refused('tar', /the user id/, pax({ uid }), header({}));
  }
});

test('takes both ways of summing bytes, and no other sum', () => {
  assert.equal(entryOf(header({ name: 'caf\xe9\xff' })).path, 'caf\xe9\xff');
  assert.equal(entryOf(header({ name: 'caf\xe9\xff' }, true)).path, 'caf\xe9\xff');
  refused('tar', /at byte 0: the checksum .* at byte 0/, header({ checksum: '0000000\0' }));
  refused('tar', /checksum/, header({ checksum: 'zzzzzzzz' }));
  const block = header({});
  block[0] = 0x67;
  refused('tar', /at byte 512: the checksum/, header({}), block);
});

test('tells the formats apart by their magic', () => {
  const prefix = { name: 'n', prefix: 'a/b' };
  assert.equal(entryOf(header({ ...prefix })).path, 'a/b/n');
  assert.equal(
    entryOf(header({ ...prefix, prefix: `${'p'.repeat(77)}/${'q'.repeat(77)}` })).path.length,
    157,
  );
  assert.equal(entryOf(header({ ...prefix, magic: '' })).path, 'n');
  assert.equal(entryOf(header({ name: 'n', magic: 'ustar  \0' })).path, 'n');
  const times = { gnuAtime: '14524770777\0', gnuCtime: '14524770777\0' };
  assert.equal(entryOf(header({ name: 'n', magic: 'ustar  \0', ...times })).path, 'n');
  // Go before 1.8 put prefixes into GNU headers; told as Go tells them today.
  assert.equal(entryOf(header({ ...prefix, magic: 'ustar  \0' })).path, 'a/b/n');
  assert.equal(entryOf(header({ ...prefix, prefix: 'a/\xe9', magic: 'ustar  \0' })).path, 'n');
});

test('knows the types, and what makes a directory', () => {
  const cases: [type: string, name: string, expected: string][] = [
    ['0', 'f', 'file'],
    ['\0', 'f', 'file'],
    ['7', 'f', 'file'],
    ['0', 'd/', 'file'],
    ['7', 'd/', 'file'],
    ['\0', 'd/', 'dir'],
    ['5', 'd', 'dir'],
    ['5', 'd/', 'dir'],
    ['6', 'p', 'fifo'],
    ['3', 'c', 'char'],
    ['4', 'b', 'block'],
  ];
  for (const [type, name, expected] of cases) {
    assert.equal(entryOf(header({ type, name })).type, expected, JSON.stringify([type, name]));
  }
  for (const type of ['D', 'M', 'V', 'N', 'X', 'A', 'E', 'I', 'Z', '8', '\xff']) {
    refused('unsupported', /got (the unknown )?type/, header({ type }));
    refused('unsupported', /type/, header({ type, size: '00000000005\0' }), padded(bytes('hello')));
  }
  refused(
    'tar',
    /directory/,
    header({ type: '\0', name: 'd/', size: '00000000005\0' }),
    padded(bytes('hello')),
  );
});

test('links and devices have no content, whatever their size says', () => {
  for (const type of ['1', '2', '3', '4', '5', '6']) {
    const sized = header({ type, name: 'l', link: 'f', size: '00000001000\0' });
    const entries = unpackTar(archive(sized, header({ name: 'next' })));
    assert.deepEqual(
      entries.map(({ entry }) => [entry.path, entry.size]),
      [
        ['l', 0],
        ['next', 0],
      ],
      type,
    );
  }
});

test('normalises names and targets of hard links, not those of symlinks', () => {
  assert.equal(entryOf(header({ name: './a/' + '/b' })).path, 'a/b');
  assert.equal(entryOf(header({ name: '/a' })).path, 'a');
  assert.equal(entryOf(header({ name: './', type: '5' })).path, '');
  assert.equal(entryOf(header({ name: 'l', type: '1', link: '/./a//b' })).link, 'a/b');
  assert.equal(entryOf(header({ name: 'l', type: '2', link: '/.././/b/' })).link, '/.././/b/');
  assert.equal(entryOf(header({ name: 'f', link: 'ignored' })).link, '');
  refused('path', /"\.\.\/f" at byte 0: .*leave the root/, header({ name: '../f' }));
  refused('path', /is empty/, header({ name: '' }));
  refused('path', /root/, header({ name: '/', type: '6' }));
  refused('path', /leave the root/, header({ type: '1', link: 'a/../../b' }));
  refused('path', /empty/, header({ type: '1', link: '' }));
  refused('path', /root/, header({ type: '1', link: './' }));
  refused('path', /symlink target/, header({ type: '2', link: '' }));
  refused('path', /symlink target "a\\x00b"/, pax({ linkpath: 'a\0b' }), header({ type: '2' }));
  refused('path', /NUL/, pax({ path: 'a\0b' }), header({}));
  refused('limit', /255/, pax({ path: 'a'.repeat(256) }), header({}));
  refused('limit', /4096/, pax({ linkpath: 'a/'.repeat(2048) }), header({ type: '2' }));
  const target = 'a/'.repeat(2047);
  assert.equal(entryOf(pax({ linkpath: target }), header({ type: '2' })).link, target);
});

test('PAX records come before the header, GNU long names before both', () => {
  const records = { path: 'pax', uid: '3000000', gid: '4294967294', mtime: '1.5' };
  const entry = entryOf(pax(records), header({ name: 'ustar', prefix: 'p' }));
  assert.equal(entry.path, 'pax');
  assert.equal(entry.uid, 3000000);
  assert.equal(entry.gid, 4294967294);
  assert.equal(entry.mtime, 1_500_000_000n);
  const long = 'long/'.repeat(40);
  const both = [extension('L', bytes(`${long}\0`)), pax(records)];
  assert.equal(entryOf(...both, header({})).path, long.slice(0, -1));
  assert.equal(entryOf(...both.reverse(), header({})).path, long.slice(0, -1));
  const link = [extension('K', bytes(`${long}\0junk`)), extension('L', bytes('name\0'))];
  const symlink = entryOf(...link, header({ type: '2', link: 'short' }));
  assert.deepEqual([symlink.path, symlink.link], ['name', long]);
});

test('an empty record leaves the header as it is', () => {
  const entry = entryOf(pax({ path: '', mtime: '', uid: '' }), header({ uid: '0000005\0' }));
  assert.deepEqual([entry.path, entry.uid, entry.mtime], ['f', 5, 0n]);
});

test('reads times to the nanosecond, before the epoch too', () => {
  const cases: [record: string, ns: bigint][] = [
    ['0', 0n],
    ['-5', -5_000_000_000n],
    ['-0.5', -500_000_000n],
    ['-1.000000001', -1_000_000_001n],
    ['1.5', 1_500_000_000n],
    ['1.', 1_000_000_000n],
    ['2147483648.000000001', 2147483648_000000001n],
    ['1.1234567899', 1_123_456_789n],
    ['9007199254740991.999999999', 9007199254740991_999999999n],
  ];
  for (const [mtime, ns] of cases)
    assert.equal(entryOf(pax({ mtime }), header({})).mtime, ns, mtime);
});

test('extensions must have an entry, once each, of bounded size', () => {
  refused('tar', /no entry follows/, pax({ path: 'a' }));
  refused(
    'tar',
    /at byte 0: it has two extensions of type x/,
    pax({ path: 'a' }),
    pax({}),
    header({}),
  );
  refused('tar', /type L/, extension('L', bytes('a')), extension('L', bytes('b')), header({}));
  refused('limit', /1048577 bytes/, header({ type: 'x', size: '00004000001\0' }));
  refused('limit', /type L/, header({ type: 'L', size: '77777777777\0' }));
  refused(
    'tar',
    /extended header, record at byte 0/,
    extension('x', bytes('nonsense')),
    header({}),
  );
  const value = Buffer.alloc((1 << 20) - 100, 'v');
  const entry = entryOf(pax({ 'SCHILY.xattr.user.big': value }), header({}));
  assert.deepEqual(entry.xattrs.get('user.big'), new Uint8Array(value));
});

test('global records change nothing, as in container runtimes, with a warning', () => {
  const whole = archive(
    pax({ comment: 'a commit', mtime: '7', uid: '12', path: 'x', 'SCHILY.xattr.user.x': 'y' }, 'g'),
    header({ name: 'a' }),
    pax({ uid: '13' }),
    header({ name: 'b' }),
  );
  assert.deepEqual(
    unpackTar(whole).map(({ entry }) => [entry.path, entry.mtime, entry.uid, entry.xattrs.size]),
    [
      ['a', unpackTar(archive(header({ name: 'a' })))[0]?.entry.mtime, 0, 0],
      ['b', unpackTar(archive(header({ name: 'b' })))[0]?.entry.mtime, 13, 0],
    ],
  );
  assert.deepEqual(
    warningsOf(whole).map((warning) => warning.replace(/sets .*;/, 'sets …;')),
    ['a global header sets …; container runtimes ignore it, and so it is ignored'],
  );
  assert.deepEqual(warningsOf(archive(pax({ comment: 'c' }, 'g'), header({}))), []);
});

test('keeps xattrs byte for byte, in byte order of their names', () => {
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  const entry = entryOf(
    pax({
      'SCHILY.xattr.user.\xe9': '',
      'SCHILY.xattr.user.text': 'a=b\n\0\xff',
      'SCHILY.xattr.security.capability': capability,
    }),
    header({}),
  );
  assert.deepEqual(
    [...entry.xattrs],
    [
      ['security.capability', new Uint8Array(capability)],
      ['user.text', new Uint8Array(bytes('a=b\n\0\xff'))],
      ['user.\xe9', new Uint8Array(0)],
    ],
  );
});

test('takes other ways of writing xattrs only where the plain one is missing', () => {
  const acl = 'user::rw-,user:1000:rw-,group::r--,mask::rw-,other::r--';
  const whole = archive(
    pax({
      'SCHILY.xattr.user.a': 'plain',
      'LIBARCHIVE.xattr.user.a': 'b3RoZXI',
      'LIBARCHIVE.xattr.user.b%3dc': 'AP8',
      'LIBARCHIVE.creationtime': '5',
      'RHT.security.selinux': 'system_u:object_r:bin_t:s0',
      'SCHILY.acl.access': acl,
      'SCHILY.acl.default': 'user::rwx,group::r-x,other::r-x',
      'SCHILY.fflags': 'nodump',
      'SCHILY.dev': '64769',
    }),
    header({}),
  );
  const xattrs = unpackTar(whole)[0]?.entry.xattrs as TarEntry['xattrs'];
  assert.deepEqual(
    [...xattrs].map(([name, value]) => [name, Buffer.from(value).toString('latin1')]),
    [
      ['security.selinux', 'system_u:object_r:bin_t:s0\0'],
      [
        'system.posix_acl_access',
        '\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x06\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x06\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff',
      ],
      [
        'system.posix_acl_default',
        '\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff',
      ],
      ['user.a', 'plain'],
      ['user.b=c', '\0\xff'],
    ],
  );
  assert.equal(warningsOf(whole).length, 5);
  assert.equal(unpackTar(whole)[0]?.entry.mode, 0o664);
  const twin = pax({ 'SCHILY.acl.access': acl, 'SCHILY.xattr.system.posix_acl_access': 'x' });
  assert.deepEqual([...entryOf(twin, header({})).xattrs.values()], [new Uint8Array([0x78])]);
});

test('refuses records whose loss would change files', () => {
  for (const key of ['MSWINDOWS.rawsd', 'SCHILY.acl.ace', 'SCHILY.realsize', 'SCHILY.offset']) {
    refused('unsupported', new RegExp(`"${key}"`), pax({ [key]: '1' }), header({}));
  }
  refused('unsupported', /ACL/, pax({ 'SCHILY.acl.access': 'user:lisa:rwx' }), header({}));
  refused('tar', /base64/, pax({ 'LIBARCHIVE.xattr.user.a': '*' }), header({}));
});

test('ends at two blocks of zeros, and says what else it met', () => {
  const file = header({});
  const zeros = Buffer.alloc(BLOCK_SIZE);
  const cases: [blocks: Uint8Array[], warnings: string[]][] = [
    [[file, zeros, zeros], []],
    [[file, Buffer.alloc(10240)], []],
    [[file, zeros, zeros, Buffer.alloc(7)], []],
    [[file], ['the end marker is missing']],
    [[], ['the end marker is missing']],
    [[file, zeros], ['the end marker is one block of zeros, want two']],
    [[file, zeros, zeros, file], ['bytes after the end marker are ignored']],
  ];
  for (const [blocks, warnings] of cases)
    assert.deepEqual(warningsOf(Buffer.concat(blocks)), warnings);
  assert.throws(() => unpackTar(Buffer.concat([zeros, file])), {
    code: 'tar',
    message: 'reading the tar entry at byte 512: a single block of zeros stands before it',
  });
});

test('an archive that stops within an entry is an error, wherever it stops', () => {
  const whole = Buffer.concat([
    pax({ path: 'p' }),
    header({ size: '00000001001\0' }),
    padded(Buffer.alloc(513, 'x')),
    header({}),
  ]);
  const complete = new Set([0, 2048 + 1, whole.length - 512, whole.length]);
  for (let size = 0; size <= whole.length; size++) {
    const part = whole.subarray(0, size);
    if (complete.has(size)) assert.deepEqual(warningsOf(part), ['the end marker is missing']);
    else assert.throws(() => unpackTar(part), { code: 'tar' }, `${size} bytes`);
  }
  assert.throws(() => unpackTar(whole.subarray(0, 2000)), {
    message: 'reading the tar entry "p" at byte 0: the archive ends within it, at byte 2000',
  });
});

test('tells where content stands, and reads the same in chunks of any size', () => {
  const whole = packTar([
    { path: 'dir/', xattrs: new Map([['user.x', new Uint8Array(2000).fill(7)]]) },
    { path: 'dir/empty' },
    ...[1, 511, 512, 513, 70000].map((size) => ({
      path: `dir/${size}`,
      content: Buffer.from(Array.from({ length: size }, (_, i) => (i * 7 + size) & 0xff)),
    })),
    { path: 'dir/link', type: 'link' as const, link: 'dir/1' },
  ]);
  const expected = unpackTar(whole);
  for (const { entry, content } of expected) {
    assert.deepEqual(whole.subarray(entry.offset, entry.offset + entry.size), content);
  }
  for (const size of [1, 3, 100, 511, 512, 513, 1000, 4096, 65536]) {
    const entries: TarEntry[] = [];
    const contents: string[] = [];
    let parts: Buffer[] = [];
    const reader = new TarReader({
      entry: (entry) => entries.push(entry),
      data: (chunk) => parts.push(Buffer.from(chunk)),
      end: () => {
        contents.push(Buffer.concat(parts).toString('latin1'));
        parts = [];
      },
    });
    for (let at = 0; at < whole.length; at += size) {
      reader.push(new Uint8Array(whole.subarray(at, at + size)));
    }
    reader.finish();
    assert.deepEqual(
      entries,
      expected.map(({ entry }) => entry),
      `chunks of ${size}`,
    );
    const files = expected.filter(({ entry }) => entry.type === 'file');
    assert.deepEqual(
      contents,
      files.map(({ content }) => content.toString('latin1')),
    );
  }
});

test('an entry does not change when the chunk that it came in is used again', () => {
  const chunk = Buffer.from(
    packTar([{ path: 'caf\xe9', xattrs: new Map([['user.x', bytes('value')]]) }]),
  );
  const [file] = unpackTar(chunk);
  chunk.fill(0x41);
  assert.equal(file?.entry.path, 'caf\xe9');
  assert.deepEqual(file?.entry.xattrs.get('user.x'), new Uint8Array(bytes('value')));
});

test('bounds the number of entries', () => {
  const whole = packTar([{ path: 'a' }, { path: 'b' }, { path: 'c' }]);
  assert.equal(unpackTar(whole, { entries: 3 }).length, 3);
  assert.throws(() => unpackTar(whole, { entries: 2 }), {
    code: 'limit',
    message: 'reading the tar entry at byte 1024: the archive has more than 2 entries',
  });
});

test('what the sink throws comes out as it is', () => {
  const error = new Error('full');
  const sink = {
    entry() {},
    data() {
      throw error;
    },
  };
  const reader = new TarReader(sink);
  assert.throws(
    () => reader.push(packTar([{ path: 'a', content: 'x' }])),
    (thrown) => thrown === error,
  );
});

test.run();
