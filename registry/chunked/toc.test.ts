import assert from 'node:assert/strict';
import { test } from 'uvu';
import { CHUNKED_ANNOTATION, parseChunkedAnnotations } from './footer.ts';
import { parseToc, parseTocTime, TOC_LIMIT } from './toc.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;
const FILE = { type: 'reg', name: 'a', size: 10, digest: DIGEST, offset: 5, endOffset: 20 };
const CHUNK = { type: 'chunk', name: 'a', offset: 9, chunkOffset: 4, chunkSize: 6 };

function parse(...entries: readonly object[]): unknown {
  return parseToc(Buffer.from(JSON.stringify({ version: 1, entries, tarSplitDigest: DIGEST })));
}

test('reads a table of contents and drops what it does not know', () => {
  const chunk = { ...CHUNK, chunkDigest: DIGEST, chunkType: 'zeros' };
  assert.deepEqual(parse({ ...FILE, comment: 'x' }, chunk), {
    version: 1,
    entries: [FILE, chunk],
    tarSplitDigest: DIGEST,
  });
});

const BAD: readonly (readonly [string, readonly object[], RegExp])[] = [
  ['an unknown type', [{ ...FILE, type: 'socket' }], /entries.0.type/],
  ['a size that is no number', [{ ...FILE, size: '10' }], /entries.0.size/],
  ['a negative offset', [{ ...FILE, offset: -1 }], /entries.0.offset/],
  ['a fraction as size', [{ ...FILE, size: 1.5 }], /entries.0.size/],
  ['no name', [{ type: 'dir' }], /entries.0.name/],
  ['a digest of another kind', [{ ...FILE, digest: 'md5:00' }], /entries.0.digest/],
  ['xattrs that are a list', [{ ...FILE, xattrs: ['x'] }], /entries.0.xattrs/],
  ['a chunk without a file', [{ ...CHUNK, chunkDigest: DIGEST }], /follows no file/],
  ['a chunk of another file', [FILE, { ...CHUNK, name: 'b', chunkDigest: DIGEST }], /no file/],
  ['a chunk beyond the file', [FILE, { ...CHUNK, chunkSize: 7, chunkDigest: DIGEST }], /within/],
  ['a chunk without digest', [FILE, CHUNK], /has no digest/],
  ['offsets that descend', [FILE, { ...FILE, name: 'b', offset: 4 }], /before what it follows/],
];

const TIMES: readonly (readonly [string, bigint | undefined])[] = [
  ['1970-01-01T00:00:05Z', 5_000_000_000n],
  ['1970-01-01T02:00:05.000000001+02:00', 5_000_000_001n],
  ['1969-12-31T23:59:59.9Z', -100_000_000n],
  ['0000-01-01T00:00:00Z', -62_167_219_200_000_000_000n],
  ['1970-01-01T00:00:05', undefined],
  ['1970-13-01T00:00:05Z', undefined],
  ['now', undefined],
];

test('reads times of any zone, to the nanosecond', () => {
  assert.deepEqual(
    TIMES.map(([text]) => parseTocTime(text)),
    TIMES.map(([, ns]) => ns),
  );
});

for (const [name, entries, wanted] of BAD) {
  test(`refuses ${name}`, () => {
    assert.throws(() => parse(...entries), wanted);
  });
}

const ENTRY = '{"type":"dir","name":"a"}';
const AMBIGUOUS: readonly (readonly [string, string, RegExp])[] = [
  ['two lists', `{"version":1,"entries":[${ENTRY}],"entries":[]}`, /a key twice/],
  ['two lists in escapes', `{"version":1,"entries":[],"entr\\u0069es":[${ENTRY}]}`, /twice/],
  ['a second list of another case', `{"version":1,"entries":[],"Entries":[${ENTRY}]}`, /"Entries"/],
  ['two modes', '{"version":1,"entries":[{"type":"dir","name":"a","mode":1,"mode":2}]}', /twice/],
  [
    'a mode of another case',
    '{"version":1,"entries":[{"type":"dir","name":"a","MODE":1}]}',
    /MODE/,
  ],
  ['a dotted I', '{"version":1,"entries":[{"type":"dir","name":"a","sİze":1}]}', /s.ze/],
  ['an empty key', '{"version":1,"entries":[{"type":"dir","name":"a","":null}]}', /key ""/],
  [
    'an xattr twice',
    '{"version":1,"entries":[{"type":"dir","name":"a","xattrs":{"x":"","x":""}}]}',
    /twice/,
  ],
  [
    'an xattr without a name',
    '{"version":1,"entries":[{"type":"dir","name":"a","xattrs":{"":""}}]}',
    /without a name/,
  ],
];

for (const [name, json, wanted] of AMBIGUOUS) {
  test(`refuses what consumers read otherwise: ${name}`, () => {
    assert.throws(() => parseToc(Buffer.from(json)), wanted);
  });
}

test('colons, quotes and escapes in text are none of the document', () => {
  const name = 'a:"b\\":{"c":';
  const xattrs = { 'user.a:b': 'eA==' };
  const json = JSON.stringify({
    version: 1,
    entries: [{ type: 'dir', name, xattrs }],
    more: { a: [{ b: 1 }] },
  });
  assert.deepEqual(parseToc(Buffer.from(json)).entries, [{ type: 'dir', name, xattrs }]);
});

test('refuses what is no JSON, no table of contents, or too large', () => {
  assert.throws(() => parseToc(Buffer.from('{"version":1,"entries":[]} x')), /it is not JSON/);
  assert.throws(() => parseToc(Buffer.from([0x22, 0xff, 0x22])), /it is not JSON/);
  assert.throws(() => parseToc(Buffer.from('[]')), /the document|version/);
  assert.throws(() => parseToc(Buffer.from('{"version":2,"entries":[]}')), /version/);
  assert.throws(() => parseToc(Buffer.alloc(TOC_LIMIT + 1, ' ')), { code: 'limit' });
});

test('reads annotations, and none where there are none', () => {
  const { tocDigest, tocPosition, tarSplitPosition } = CHUNKED_ANNOTATION;
  const good = { [tocDigest]: DIGEST, [tocPosition]: '10:20:30:1', [tarSplitPosition]: '38:4:5' };
  assert.deepEqual(parseChunkedAnnotations(good, 42), {
    toc: { offset: 10, compressedSize: 20, size: 30 },
    tocDigest: DIGEST,
    tarSplit: { offset: 38, compressedSize: 4, size: 5 },
  });
  assert.equal(parseChunkedAnnotations({ other: 'x' }, 42), undefined);
  const bad: readonly (readonly [string, string, RegExp])[] = [
    [tocPosition, '10:20:30', /want 4 numbers/],
    [tocPosition, '10:20:30:2', /of type 2/],
    [tocPosition, '-10:20:30:1', /want 4 numbers/],
    [tocPosition, '9007199254740993:20:30:1', /want 4 numbers/],
    [tocPosition, '30:20:30:1', /beyond the blob/],
    [tarSplitPosition, '38:5:5', /byte 43 is beyond the blob's 42/],
    [tocDigest, 'sha256:xy', /want a sha256/],
  ];
  for (const [key, value, wanted] of bad) {
    assert.throws(() => parseChunkedAnnotations({ ...good, [key]: value }, 42), wanted, value);
  }
  const { [tarSplitPosition]: _, ...without } = good;
  assert.throws(() => parseChunkedAnnotations(without, 42), /tarsplit-position is missing/);
});

test.run();
