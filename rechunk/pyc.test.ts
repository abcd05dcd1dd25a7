import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { Path } from '../registry/path.ts';
import { memoryTree } from '../test-images/trees.ts';
import { compareCode, isFresh, type PycHeader, parsePyc, sourceOf } from './pyc.ts';

const SECOND = 1_000_000_000n;

function header(magic: number, ...words: number[]): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(magic, 0);
  bytes.writeUInt16LE(0x0a0d, 2);
  words.forEach((word, i) => {
    bytes.writeUInt32LE(word, 4 + 4 * i);
  });
  return bytes;
}

const CODE = 0xe3;
const headers: readonly (readonly [string, Buffer, PycHeader])[] = [
  [
    'Python 2.7',
    header(62211, 500, CODE),
    { kind: 'time', mtime: 500, size: undefined, timeAt: 4 },
  ],
  ['Python 3.2', header(3180, 500, CODE), { kind: 'time', mtime: 500, size: undefined, timeAt: 4 }],
  ['Python 3.6', header(3379, 500, 7, CODE), { kind: 'time', mtime: 500, size: 7, timeAt: 4 }],
  ['Python 3.11', header(3495, 0, 500, 7), { kind: 'time', mtime: 500, size: 7, timeAt: 8 }],
  ['Python 3.11, unchecked digest', header(3495, 1, 500, 7), { kind: 'hash' }],
  ['Python 3.11, checked digest', header(3495, 3, 500, 7), { kind: 'hash' }],
  ['Python 3.11, unknown flags', header(3495, 4, 500, 7), { kind: 'none' }],
  ['PyPy 3.6', header(160, 500, 7, CODE), { kind: 'time', mtime: 500, size: 7, timeAt: 4 }],
  ['PyPy 3.10', header(384, 0, 500, 7), { kind: 'time', mtime: 500, size: 7, timeAt: 8 }],
  ['no magic', Buffer.alloc(16, 0xff), { kind: 'none' }],
  ['too short', header(3495, 0, 500, 7).subarray(0, 15), { kind: 'none' }],
];

for (const [name, bytes, want] of headers) {
  test(`reads a header: ${name}`, () => assert.deepEqual(parsePyc(bytes), want));
}

test('a compiled file is fresh where the recorded second and size are the source’s', () => {
  const recorded = parsePyc(header(3495, 0, 500, 7));
  assert.equal(isFresh(recorded, { mtime: 500n * SECOND, size: 7 }), true);
  assert.equal(isFresh(recorded, { mtime: 500n * SECOND + 999_000_000n, size: 7 }), true);
  assert.equal(isFresh(recorded, { mtime: 501n * SECOND, size: 7 }), false);
  assert.equal(isFresh(recorded, { mtime: 500n * SECOND, size: 8 }), false);
  assert.equal(isFresh(recorded, { mtime: (500n + 2n ** 32n) * SECOND, size: 7 }), true);
  assert.equal(isFresh(parsePyc(header(62211, 500)), { mtime: 500n * SECOND, size: 8 }), true);
  assert.equal(
    isFresh(parsePyc(header(3495, 1, 500, 7)), { mtime: 500n * SECOND, size: 7 }),
    false,
  );
});

test('times are compared as Python’s doubles: the last nanoseconds of a second count to the next', () => {
  const at = 1_700_000_000;
  const last = BigInt(at) * SECOND + 999_999_999n;
  assert.equal(isFresh(parsePyc(header(3495, 0, at, 7)), { mtime: last, size: 7 }), false);
  assert.equal(isFresh(parsePyc(header(3495, 0, at + 1, 7)), { mtime: last, size: 7 }), true);
});

test('times before 1970 are cut towards zero', () => {
  const recorded = parsePyc(header(3495, 0, 2 ** 32 - 1, 7));
  assert.equal(isFresh(recorded, { mtime: -SECOND, size: 7 }), true);
  assert.equal(isFresh(recorded, { mtime: -SECOND - 1_000_000n, size: 7 }), true);
  assert.equal(isFresh(recorded, { mtime: -2n * SECOND, size: 7 }), false);
});

const sources: readonly (readonly [compiled: string, source: string])[] = [
  ['usr/__pycache__/m.cpython-311.pyc', 'usr/m.py'],
  ['usr/__pycache__/m.cpython-311.opt-1.pyc', 'usr/m.py'],
  ['__pycache__/top.cpython-311-pytest-7.4.0.pyc', 'top.py'],
  ['usr/__pycache__/a.b.cpython-311.pyc', 'usr/a.b.py'],
  ['usr/__pycache__/a.c.cpython-311.pyc', 'usr/a.py'],
  ['usr/__pycache__/m.pyc', 'usr/m.py'],
  ['usr/m.pyc', 'usr/m.py'],
  ['usr/m.pyo', 'usr/m.py'],
];

test('the source of a compiled module lies beside its __pycache__, or beside it', () => {
  const paths = ['usr/m.py', 'top.py', 'usr/a.py', 'usr/a.b.py'].map((path) => ({ path }));
  const tree = memoryTree([...paths, { path: 'usr/d.py', type: 'dir' }]);
  for (const [compiled, source] of sources) {
    assert.equal(sourceOf(tree, compiled as Path), source, compiled);
  }
  for (const path of [
    'usr/gone.pyc',
    'usr/d.pyc',
    'usr/m.py',
    'usr/__pycache__/x.cpython-311.pyc',
  ]) {
    assert.equal(sourceOf(tree, path as Path), undefined, path);
  }
});

test('the same code is told from other code, whatever time is recorded', async () => {
  const file = (time: number, code: string, magic = 3495): Buffer =>
    Buffer.concat([header(magic, 0, time, 7), Buffer.from(code)]);
  const tree = memoryTree([
    { path: 'a', content: file(500, 'code') },
    { path: 'time', content: file(600, 'code') },
    { path: 'code', content: file(600, 'CODE') },
    { path: 'magic', content: file(600, 'code', 3494) },
    { path: 'size', content: file(600, 'codes') },
    { path: 'digest', content: header(3495, 1, 1, 1) },
  ]);
  const compare = async (a: string, b: string): Promise<PycHeader | undefined> => {
    const [one, other] = [tree.get(a as Path), tree.get(b as Path)];
    if (!one || !other) throw new Error('not there');
    return compareCode({ tree, inode: one }, { tree, inode: other });
  };
  assert.deepEqual(await compare('a', 'time'), { kind: 'time', mtime: 600, size: 7, timeAt: 8 });
  for (const other of ['code', 'magic', 'size'])
    assert.equal(await compare('a', other), undefined, other);
  assert.equal(await compare('digest', 'digest'), undefined);
});

test.run();
