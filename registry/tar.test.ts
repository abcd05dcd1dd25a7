/** Reading and writing together: round trips of random archives, mutated archives, and tar-stream as another reader. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { extract, pack } from 'tar-stream';
import { test } from 'uvu';
import { RechunkError } from './errors.ts';
import { type Path, parsePath } from './path.ts';
import { NO_XATTRS, type TarEntry, type TarFields } from './tar.ts';
import { TarReader, unpackTar } from './tarreader.ts';
import { END_OF_ARCHIVE, encodeEntry, packTar, paddingOf, type TarItem } from './tarwriter.ts';

const SEED = 20260101;

const byte = fc.oneof(
  fc.constantFrom(0x0a, 0x20, 0x22, 0x3d, 0x7f, 0x80, 0xe9, 0xff),
  fc.integer({ min: 1, max: 255 }),
);
const name = fc
  .array(byte, { minLength: 1, maxLength: 60 })
  .map((codes) => String.fromCharCode(...codes).replaceAll('/', '_'));
const path = fc
  .array(fc.oneof(name, fc.constantFrom('a', 'usr', 'x'.repeat(97), 'PaxHeader')), {
    minLength: 1,
    maxLength: 6,
  })
  .map((parts) => parts.join('/'))
  .filter((text) => !/(^|\/)\.{1,2}(\/|$)/.test(text)) as fc.Arbitrary<Path>;
const id = fc.oneof(
  fc.constantFrom(0, 2097151, 2097152, 4294967294),
  fc.integer({ min: 0, max: 0xfffffffe }),
);
const mtime = fc.oneof(
  fc.constantFrom(0n, 1n, -1n, -1_500_000_000n, 8589934591_000000000n, 8589934592_000000000n),
  fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }),
  fc.integer({ min: 0, max: 2 ** 31 }).map((seconds) => BigInt(seconds) * 1_000_000_000n),
);
const xattrName = name.map((text) => `user.${text.replaceAll('=', '_')}`);
const xattrs = fc.oneof(
  fc.constant(NO_XATTRS),
  fc
    .uniqueArray(fc.tuple(xattrName, fc.uint8Array({ maxLength: 600 })), {
      maxLength: 4,
      selector: ([key]) => key,
    })
    .map((pairs) => new Map(pairs.sort(([a], [b]) => (a < b ? -1 : 1)))),
);
const common = { path, mode: fc.integer({ min: 0, max: 0o7777 }), uid: id, gid: id, mtime, xattrs };
const target = fc.oneof(name, path, fc.constantFrom('../x', '/', 'a/'.repeat(2000)));
const device = fc.integer({ min: 0, max: 2097151 });

const item: fc.Arbitrary<TarItem> = fc.oneof(
  fc.record({
    ...common,
    type: fc.constant('file' as const),
    content: fc.uint8Array({ maxLength: 1500 }),
  }),
  fc.record({ ...common, type: fc.constantFrom('dir' as const, 'fifo' as const) }),
  fc.record({ ...common, type: fc.constant('link' as const), link: path }),
  fc.record({ ...common, type: fc.constant('symlink' as const), link: target }),
  fc.record({
    ...common,
    type: fc.constantFrom('char' as const, 'block' as const),
    devMajor: device,
    devMinor: device,
  }),
);

const withoutPlace = ({ offset: _, extents: __, ...fields }: TarEntry): TarFields => fields;

/** An item as the reader should give it back. */
function expectedOf(given: TarItem): TarFields {
  const size = (given.content as Uint8Array | undefined)?.length ?? 0;
  const rest = { link: '', devMajor: 0, devMinor: 0, uid: 0, gid: 0, mtime: 0n, xattrs: NO_XATTRS };
  const { content: _, ...fields } = given;
  return { ...rest, ...fields, size } as TarFields;
}

/** Reads in chunks of the sizes given, by turns. */
function readChunked(
  archive: Buffer,
  sizes: readonly number[],
): { entries: TarEntry[]; contents: Buffer[] } {
  const entries: TarEntry[] = [];
  const contents: Buffer[] = [];
  let parts: Buffer[] = [];
  const reader = new TarReader({
    entry: (entry) => entries.push(entry),
    data: (chunk) => parts.push(Buffer.from(chunk)),
    end: () => {
      contents.push(Buffer.concat(parts));
      parts = [];
    },
  });
  for (let at = 0, turn = 0; at < archive.length; turn++) {
    const size = sizes[turn % sizes.length] as number;
    reader.push(archive.subarray(at, at + size));
    at += size;
  }
  reader.finish();
  assert.deepEqual(reader.warnings, []);
  return { entries, contents };
}

test('reads back every entry that it writes, in chunks of any size', () => {
  const chunks = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(fc.array(item, { maxLength: 8 }), chunks, (items, sizes) => {
      const archive = packTar(items);
      const { entries, contents } = readChunked(archive, sizes);
      assert.deepEqual(entries.map(withoutPlace), items.map(expectedOf));
      const files = items.filter(({ type }) => type === 'file');
      assert.deepEqual(
        contents,
        files.map(({ content }) => Buffer.from(content as Uint8Array)),
      );
      for (const { offset, size, type } of entries) {
        if (type !== 'file') continue;
        assert.ok(archive.subarray(offset, offset + size).equals(contents.shift() as Buffer));
      }
    }),
    { seed: SEED, numRuns: 600 },
  );
});

test('reads a file of 8 GiB and more without holding it', () => {
  const size = 8 * 2 ** 30 + 513;
  const chunk = Buffer.alloc(1 << 26, 'x');
  let entry: TarEntry | undefined;
  let bytes = 0;
  const reader = new TarReader({
    entry: (given) => {
      entry = given;
    },
    data: (given) => {
      bytes += given.length;
    },
  });
  const fields = { ...expectedOf({ path: 'big', mode: 0o644 }), type: 'file' as const, size };
  reader.push(encodeEntry(fields));
  for (let left = size; left > 0; left -= chunk.length) {
    reader.push(left < chunk.length ? chunk.subarray(0, left) : chunk);
  }
  reader.push(Buffer.alloc(paddingOf(size)));
  reader.push(END_OF_ARCHIVE);
  reader.finish();
  assert.deepEqual([bytes, entry?.size, reader.warnings], [size, size, []]);
});

/** A small generator of numbers below 2^32, the same for a seed on every machine (mulberry32). */
function randomFrom(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

const CHECKSUM_AT = 148;

/** Makes every header's checksum right again, so that mutations reach what lies behind it. */
function repairChecksums(archive: Buffer): void {
  for (let at = 0; at + 512 <= archive.length; at += 512) {
    if (archive.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
    archive.fill(0x20, at + CHECKSUM_AT, at + CHECKSUM_AT + 8);
    const sum = archive.subarray(at, at + 512).reduce((total, value) => total + value, 0);
    archive.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + CHECKSUM_AT, 'latin1');
  }
}

const INTERESTING = [
  0x00, 0x20, 0x2e, 0x2f, 0x30, 0x37, 0x39, 0x53, 0x78, 0x67, 0x4c, 0x4b, 0x80, 0xff,
];

function mutate(archive: Buffer, random: () => number): Buffer {
  const mutant = Buffer.from(archive);
  const count = 1 + (random() % 6);
  for (let i = 0; i < count; i++) {
    const inHeader = (random() % (mutant.length / 512)) * 512 + (random() % 160);
    const at = random() % 2 ? inHeader : random() % mutant.length;
    const value = INTERESTING[random() % INTERESTING.length] as number;
    if (random() % 8 === 0) mutant.copy(mutant, at, random() % mutant.length, mutant.length);
    else mutant[at] = random() % 2 ? value : random() & 0xff;
  }
  if (random() % 4 !== 0) repairChecksums(mutant);
  return random() % 6 === 0 ? mutant.subarray(0, random() % mutant.length) : mutant;
}

test('a damaged archive gives entries or one clear error, never a crash or bytes from elsewhere', () => {
  const random = randomFrom(SEED);
  const items = fc.sample(item, { seed: SEED, numRuns: 60 });
  const outcomes = new Map<string, number>();
  for (let i = 0; i < 3000; i++) {
    const from = random() % items.length;
    const archive = packTar(items.slice(from, from + 6));
    const mutant = mutate(archive, random);
    let outcome = 'read';
    try {
      for (const { entry, content } of unpackTar(mutant, { holes: 1 << 24 })) {
        assert.equal(content.length, entry.size);
        assert.ok(entry.offset + (entry.extents ? 0 : entry.size) <= mutant.length);
        if (entry.path !== '') assert.equal(parsePath(entry.path), entry.path);
        checkAgain(entry);
      }
    } catch (error) {
      assert.ok(error instanceof RechunkError, `mutant ${i}: ${String(error)}`);
      outcome = error.code;
    }
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  const seen = ['read', 'tar', 'path', 'unsupported', 'limit'].filter((code) => outcomes.has(code));
  assert.deepEqual(
    seen,
    ['read', 'tar', 'path', 'unsupported', 'limit'],
    'the mutations reach every kind of error',
  );
});

/** Writes the header of what was read, and reads it again; only xattrs that tar cannot hold may be refused. */
function checkAgain(entry: TarEntry): void {
  let header: Buffer;
  const fields = { ...withoutPlace(entry), size: 0 };
  try {
    header = encodeEntry(fields);
  } catch (error) {
    assert.ok(error instanceof RechunkError && error.code === 'unsupported', String(error));
    return;
  }
  const again = unpackTar(Buffer.concat([header, END_OF_ARCHIVE]));
  assert.deepEqual(
    again.map((file) => withoutPlace(file.entry)),
    [fields],
  );
}

const ASCII_ITEMS: TarItem[] = [
  { path: 'dir/', mode: 0o1777, uid: 1000, gid: 100, mtime: 1700000000_000000000n },
  { path: `dir/${'n'.repeat(150)}`, content: 'long name', mtime: 1n * 10n ** 9n },
  { path: 'dir/file', content: 'x'.repeat(1000), mode: 0o4755 },
  { path: 'dir/link', type: 'link', link: 'dir/file' },
  { path: 'dir/sym', type: 'symlink', link: 't'.repeat(120) },
  { path: 'dir/null', type: 'char', devMajor: 1, devMinor: 3 },
  { path: 'dir/pipe', type: 'fifo' },
];

test('tar-stream reads what we write', async () => {
  const found: unknown[] = [];
  const extraction = extract();
  extraction.on('entry', (header, stream, next) => {
    const parts: Buffer[] = [];
    stream.on('data', (part) => parts.push(part as Buffer));
    stream.on('end', () => {
      const { name: path, mode, uid, gid, size, type } = header;
      const seconds = (header.mtime?.getTime() ?? 0) / 1000;
      found.push([
        path,
        mode,
        uid,
        gid,
        size,
        type,
        seconds,
        header.linkname ?? '',
        Buffer.concat(parts).toString(),
      ]);
      next();
    });
  });
  const done = new Promise<void>((resolve, reject) =>
    extraction.on('finish', () => resolve()).on('error', reject),
  );
  extraction.end(packTar(ASCII_ITEMS));
  await done;
  const types: Record<string, string> = {
    dir: 'directory',
    char: 'character-device',
    block: 'block-device',
  };
  const expected = unpackTar(packTar(ASCII_ITEMS)).map(({ entry, content }) => {
    const type = types[entry.type] ?? entry.type;
    const path = entry.type === 'dir' ? `${entry.path}/` : entry.path;
    const seconds = Number(entry.mtime / 1_000_000_000n);
    return [
      path,
      entry.mode,
      entry.uid,
      entry.gid,
      entry.size,
      type,
      seconds,
      entry.link,
      content.toString(),
    ];
  });
  assert.deepEqual(
    found.map((row) => (row as string[]).map(String)),
    expected.map((row) => row.map(String)),
  );
});

test('we read what tar-stream writes', async () => {
  const packing = pack();
  const parts: Buffer[] = [];
  packing.on('data', (part) => parts.push(part as Buffer));
  const done = new Promise<void>((resolve) => packing.on('end', () => resolve()));
  const date = new Date(1_700_000_000_000);
  packing.entry({ name: 'd/', type: 'directory', mode: 0o755, mtime: date });
  packing.entry(
    { name: `d/${'é'.repeat(80)}`, mtime: date, uid: 5, gid: 6, mode: 0o600 },
    'content',
  );
  packing.entry({ name: 'd/s', type: 'symlink', linkname: 'x', mtime: date });
  packing.entry({ name: 'd/x', mtime: date, pax: { 'SCHILY.xattr.user.a': 'b' } }, '');
  packing.finalize();
  await done;
  const read = unpackTar(Buffer.concat(parts)).map(({ entry, content }) => {
    const { path: at, type, mode, uid, gid, mtime: time, link, xattrs: attributes } = entry;
    return [
      at,
      type,
      mode,
      uid,
      gid,
      time,
      link,
      content.toString(),
      Buffer.from(attributes.get('user.a') ?? []).toString(),
    ];
  });
  const time = 1_700_000_000_000_000_000n;
  const long = Buffer.from(`d/${'é'.repeat(80)}`).toString('latin1');
  assert.deepEqual(read, [
    ['d', 'dir', 0o755, 0, 0, time, '', '', ''],
    [long, 'file', 0o600, 5, 6, time, '', 'content', ''],
    ['d/s', 'symlink', 0o644, 0, 0, time, 'x', '', ''],
    ['d/x', 'file', 0o644, 0, 0, time, '', '', 'b'],
  ]);
});

test.run();
