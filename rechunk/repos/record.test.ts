import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { test } from 'uvu';
import type { Path } from '../../registry/path.ts';
import { parseRecord, parseRows, resolveListed } from './record.ts';

const SEED = 20261121;
/** Processor time that a text of some MB may take; a square of its length would be hours. */
const CPU_LIMIT_US = 10_000_000;
const site = 'opt/venv/lib/python3.11/site-packages' as Path;

const ROWS: readonly (readonly [name: string, text: string, rows: string[][]])[] = [
  [
    'lines of any kind',
    'a,b,1\nc,d,2\r\ne,f,3\rg,,',
    [
      ['a', 'b', '1'],
      ['c', 'd', '2'],
      ['e', 'f', '3'],
      ['g', '', ''],
    ],
  ],
  ['a line end at the end', 'a,,\n', [['a', '', '']]],
  ['empty lines', '\n\r\n\na\n\n', [['a']]],
  ['commas in quotes', '"a,b",x,1', [['a,b', 'x', '1']]],
  ['doubled quotes', '"a""b""",x', [['a"b"', 'x']]],
  ['line ends in quotes', '"a\r\nb",x\nc', [['a\r\nb', 'x'], ['c']]],
  ['text behind a closing quote', '"a"b"c,x', [['ab"c', 'x']]],
  ['quotes within a plain field', 'a"b"c,"x', [['a"b"c', 'x']]],
  ['a quote that never closes', '"a,b\nc', [['a,b\nc']]],
  ['no more than four fields', 'a,b,c,d,e,f\ng', [['a', 'b', 'c', 'd'], ['g']]],
  ['a comma at the end', 'a,', [['a', '']]],
  ['nothing', '', []],
];

for (const [name, text, rows] of ROWS)
  test(`rows: ${name}`, () => assert.deepEqual([...parseRows(text)], rows));

test('rows survive being written with quotes', () => {
  const field = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r', ' ', '\xe9') });
  const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
  fc.assert(
    fc.property(fc.array(fc.tuple(field, field, field), { maxLength: 6 }), (rows) => {
      const text = rows.map((row) => row.map(quote).join(',')).join('\r\n');
      assert.deepEqual([...parseRows(text)], rows);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

const PATHS: readonly (readonly [listed: string, path: string | undefined])[] = [
  ['six.py', `${site}/six.py`],
  ['../../../bin/x', 'opt/venv/bin/x'],
  ['/usr/share/man/x.1', 'usr/share/man/x.1'],
  ['./a//b/../c', `${site}/a/c`],
  ['../../../../../../../etc/x', 'etc/x'],
  ['caf\xc3\xa9.py', `${site}/caf\xc3\xa9.py`],
  ['a/', `${site}/a`],
  ['../../../../..', ''],
  ['', undefined],
  ['a\0b', undefined],
  ['a'.repeat(4097), undefined],
];

test('paths are relative to the directory of the .dist-info, or absolute', () => {
  assert.deepEqual(
    PATHS.map(([listed]) => [listed, resolveListed(site, listed)]),
    PATHS,
  );
  assert.equal(resolveListed('' as Path, 'six.py'), 'six.py');
});

const digestOf = (algorithm: string, as: 'hex' | 'base64url'): string =>
  createHash(algorithm).update('x').digest(as);

test('keeps digests that can be checked, and sizes', () => {
  const parse = (row: string) => [...parseRecord(row, site)][0];
  const path = `${site}/x`;
  for (const algorithm of ['sha256', 'sha384', 'sha512', 'sha1', 'md5']) {
    assert.deepEqual(parse(`x,${algorithm}=${digestOf(algorithm, 'base64url')},1`), {
      path,
      digest: { algorithm, hex: digestOf(algorithm, 'hex') },
      size: 1,
    });
  }
  const padded = `${digestOf('sha256', 'base64url')}=`;
  assert.equal(parse(`x,SHA256=${padded},`)?.digest?.hex, digestOf('sha256', 'hex'));
  for (const row of [
    'x',
    'x,',
    'x,,',
    'x,sha256=,',
    'x,sha256=abc,-1',
    'x,md4=abc,1.5',
    'x,toString=ab,x',
  ]) {
    assert.deepEqual(parse(row), { path }, row);
  }
  assert.equal(parse('x,sha256=a,1,more'), undefined);
  assert.equal(parse('../../../../..,,'), undefined);
});

test('any text gives rows in time that is linear in it', () => {
  const texts = ['"', '""', '",', ',', '\r', '"a"b,', 'a/../', '=', '\n"'].map((part) =>
    part.repeat(1 << 20),
  );
  for (const text of texts) {
    const started = process.cpuUsage();
    let rows = 0;
    for (const _ of parseRecord(text, site)) rows++;
    const { user } = process.cpuUsage(started);
    assert.ok(
      rows <= text.length && user < CPU_LIMIT_US,
      `${JSON.stringify(text.slice(0, 9))}: ${rows} rows, ${user} µs`,
    );
  }
});

test('any bytes give files that a tree can be asked for, or nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      for (const file of parseRecord(Buffer.from(bytes).toString('latin1'), site)) {
        if (!file) continue;
        assert.doesNotMatch(file.path, /^\/|\/$|\0|(^|\/)\.{0,2}(\/|$)/);
        assert.ok(file.size === undefined || Number.isSafeInteger(file.size));
      }
    }),
    { seed: SEED, numRuns: 2_000 },
  );
});

test.run();
