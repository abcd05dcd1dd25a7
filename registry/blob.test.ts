import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { test } from 'uvu';
import { decompress, detectCompression, fileBlob, readBlob, verifying } from './blob.ts';
import { type Descriptor, digestOf } from './oci.ts';

const dir = mkdtempSync(join(tmpdir(), 'rechunk-blob-'));
test.after(() => rmSync(dir, { recursive: true }));

async function* cut(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

function describe(bytes: Uint8Array): Descriptor {
  return { mediaType: 'application/octet-stream', digest: digestOf(bytes), size: bytes.length };
}

function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)].filter((target) => target.startsWith(dir));
    } catch {
      return [];
    }
  });
}

const content = Buffer.concat([Buffer.from('some text '.repeat(90_000)), randomBytes(700_000)]);

test('passes on bytes whose digest and size are as stated, sha256 and sha512', async () => {
  const sha512 = `sha512:${createHash('sha512').update(content).digest('hex')}` as const;
  for (const digest of [digestOf(content), sha512]) {
    const got = await collect(verifying(cut(content, 999), { digest, size: content.length }, 'x'));
    assert.ok(got.equals(content));
  }
});

test('tells bytes that are missing, too many or others', async () => {
  const wanted = describe(content);
  const changed = Buffer.from(content);
  changed[5] = 0;
  const run = (bytes: Uint8Array): Promise<Buffer> =>
    collect(verifying(cut(bytes, 50_000), wanted, 'layer 3 of oci:img'));
  await assert.rejects(run(content.subarray(0, -3)), {
    code: 'size-mismatch',
    message: `reading layer 3 of oci:img (${wanted.digest}): 3 bytes at the end are missing: got ${content.length - 3}, want ${content.length}`,
  });
  await assert.rejects(run(Buffer.concat([content, content])), { code: 'size-mismatch' });
  await assert.rejects(run(changed), { code: 'digest-mismatch' });
});

test('stops as soon as there are too many bytes', async () => {
  let given = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      given++;
      yield Buffer.alloc(1000);
    }
  }
  const small = { digest: digestOf(''), size: 2500 };
  await assert.rejects(collect(verifying(endless(), small, 'x')), { code: 'size-mismatch' });
  assert.equal(given, 3);
});

test('reads a part of a file in place, and closes it on an early exit', async () => {
  const path = join(dir, 'file');
  writeFileSync(path, Buffer.concat([content, content, content]));
  const blob = fileBlob(path, content.length - 10, content.length);
  const want = Buffer.concat([content.subarray(-10), content.subarray(0, -10)]);
  assert.deepEqual(blob.file, { path, offset: content.length - 10, size: content.length });
  assert.ok((await collect(blob.stream())).equals(want));
  assert.ok((await readBlob(blob, describe(want), 1 << 24, 'x')).equals(want));
  await assert.rejects(readBlob(blob, describe(want), 100, 'x'), { code: 'limit' });
  for await (const chunk of blob.stream()) {
    assert.ok(chunk.length > 0);
    break;
  }
  assert.deepEqual(openFiles(), []);
});

test('closes the input when the consumer of decompressed data leaves, or the data is bad', async () => {
  const path = join(dir, 'file.gz');
  writeFileSync(path, zlib.gzipSync(randomBytes(8 << 20)));
  const stream = (size: number): AsyncIterable<Uint8Array> => fileBlob(path, 0, size).stream();
  for await (const chunk of decompress(stream(8 << 20))) {
    assert.ok(chunk.length > 0);
    break;
  }
  assert.deepEqual(openFiles(), []);
  await assert.rejects(collect(decompress(stream(5 << 20))), { code: 'compression' });
  assert.deepEqual(openFiles(), []);
  writeFileSync(path, 'BZh91AY&SY----------');
  await assert.rejects(collect(decompress(stream(20))), { code: 'unsupported' });
  assert.deepEqual(openFiles(), []);
});

test('decodes gzip with all members and zeros after the last, for chunks of any size', async () => {
  const members = [content, Buffer.alloc(0), content.subarray(0, 10)].map((part) =>
    zlib.gzipSync(part),
  );
  const want = Buffer.concat([content, content.subarray(0, 10)]);
  for (const tail of [0, 1, 512, 100_000]) {
    const stream = Buffer.concat([...members, Buffer.alloc(tail)]);
    for (const size of [511, 65_536, 1 << 24]) {
      assert.ok((await collect(decompress(cut(stream, size)))).equals(want), `${tail}, ${size}`);
    }
  }
  const small = Buffer.concat([zlib.gzipSync('ab'), zlib.gzipSync('c'), Buffer.alloc(3)]);
  assert.equal(String(await collect(decompress(cut(small, 1)))), 'abc');
});

test('refuses gzip that is cut, damaged or followed by anything but zeros', async () => {
  const good = zlib.gzipSync(content);
  const flip = (at: number): Buffer => {
    const copy = Buffer.from(good);
    copy[at] = (copy[at] as number) ^ 0x55;
    return copy;
  };
  const cases: [string, Buffer][] = [
    ['cut header', good.subarray(0, 5)],
    ['cut body', good.subarray(0, 100_000)],
    ['cut trailer', good.subarray(0, -1)],
    ['damaged crc', flip(good.length - 6)],
    ['damaged size', flip(good.length - 1)],
    ['text after it', Buffer.concat([good, Buffer.from('hello')])],
    ['text after zeros', Buffer.concat([good, Buffer.alloc(700), Buffer.from('hello')])],
    ['member after zeros', Buffer.concat([good, Buffer.alloc(700), good])],
    ['half a member', Buffer.concat([good, good.subarray(0, 12)])],
  ];
  for (const [name, bytes] of cases) {
    for (const size of [600, 1 << 24]) {
      const reading = collect(decompress(cut(bytes, size)));
      await assert.rejects(reading, { code: 'compression' }, `${name}, chunks of ${size}`);
    }
  }
});

test('passes other data on as it is, also none at all', async () => {
  for (const bytes of [Buffer.alloc(0), Buffer.of(0x1f), content]) {
    assert.ok((await collect(decompress(cut(bytes, 7000)))).equals(bytes));
  }
});

test('passes on what its input throws', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield zlib.gzipSync(content).subarray(0, 9000);
    throw new Error('connection lost');
  }
  await assert.rejects(collect(decompress(broken())), { message: 'connection lost' });
});

test('tells compressions by magic bytes; a tar whose first name looks like bzip2 is a tar', () => {
  assert.equal(detectCompression(zlib.gzipSync('x')), 'gzip');
  assert.equal(detectCompression(zlib.zstdCompressSync('x')), 'zstd');
  assert.equal(detectCompression(Buffer.from('5f2a4d1800000000', 'hex')), 'zstd');
  assert.equal(detectCompression(Buffer.from('BZh9-my-file\0\0')), 'none');
  assert.throws(() => detectCompression(Buffer.from('BZh91AY&SY')), { code: 'unsupported' });
  assert.throws(() => detectCompression(Buffer.from('\xfd7zXZ\0aaaa', 'latin1')), {
    code: 'unsupported',
  });
});

test.run();
