import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { encodePax, type PaxRecord, parsePax } from './pax.ts';

const SEED = 20260101;
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

test('reads records; the last of a key wins; xattrs are bytes', () => {
  const body = bytes(
    '11 path=ab\n10 uid=70\n12 path=cde\n34 SCHILY.xattr.user.x=\x00\n=\xff 5 a=b\n12 comment=\n',
  );
  const { fields, xattrs } = parsePax(body);
  assert.deepEqual(
    [...fields],
    [
      ['path', 'cde'],
      ['uid', '70'],
      ['comment', ''],
    ],
  );
  assert.deepEqual(
    [...xattrs].map(([name, value]) => [name, Buffer.from(value).toString('latin1')]),
    [['user.x', '\x00\n=\xff 5 a=b']],
  );
});

test('a value begins after the first "=", an xattr may be empty', () => {
  const { fields, xattrs } = parsePax(bytes('9 k==v=\n\n24 SCHILY.xattr.user.x=\n'));
  assert.deepEqual([...fields], [['k', '=v=\n']]);
  assert.deepEqual([...xattrs], [['user.x', new Uint8Array(0)]]);
});

test('gives a sparse map of form 0.0 as form 0.1', () => {
  const pairs = [0, 10, 512, 20].map((number, i) => {
    return [`GNU.sparse.${i % 2 ? 'numbytes' : 'offset'}`, bytes(String(number))] as PaxRecord;
  });
  assert.deepEqual([...parsePax(encodePax(pairs)).fields], [['GNU.sparse.map', '0,10,512,20']]);
  assert.throws(() => parsePax(encodePax(pairs.slice(1))), { code: 'tar' });
  assert.throws(() => parsePax(encodePax([pairs[0], pairs[2]] as PaxRecord[])), { code: 'tar' });
});

test('refuses everything that is no row of whole records', () => {
  const bodies = [
    'x path=a\n',
    ' path=a\n',
    '-9 path=a\n',
    '11 path=a\n',
    '8 path=a\n',
    '0 \n',
    '3 \n',
    '4 a\n',
    '5 =ab\n',
    '9 path=a\0',
    '9 path=a',
    '99999999999 path=a\n',
    '9',
    '9 path=a\n\0\0',
    '8 p\0q=a\n',
  ];
  for (const body of bodies) {
    assert.throws(() => parsePax(bytes(body)), { code: 'tar' }, JSON.stringify(body));
  }
});

test('the length of a record counts its own digits', () => {
  for (const size of [1, 2, 3, 4, 5, 6, 7, 90, 91, 92, 93, 94, 95, 96, 990, 991, 992, 993, 9990]) {
    const body = encodePax([['k', Buffer.alloc(size, 'v')]]);
    assert.equal(Number.parseInt(body.toString('latin1'), 10), body.length, `size ${size}`);
    assert.equal(parsePax(body).fields.get('k')?.length, size);
  }
});

test('reads back what it wrote', () => {
  const key = fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 20 });
  const safe = key.filter((text) => !/[=\0]/.test(text) && !text.startsWith('GNU.sparse.'));
  const record = fc.tuple(safe, fc.uint8Array({ maxLength: 300 }));
  fc.assert(
    fc.property(fc.uniqueArray(record, { selector: ([name]) => name }), (records) => {
      const { fields, xattrs } = parsePax(
        encodePax(
          records.flatMap(([name, value]) => [
            [name, value],
            [`SCHILY.xattr.${name}`, value],
          ]),
        ),
      );
      assert.deepEqual(
        [...fields],
        records.map(([name, value]) => [name, Buffer.from(value).toString('latin1')]),
      );
      assert.deepEqual([...xattrs], records);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test.run();
