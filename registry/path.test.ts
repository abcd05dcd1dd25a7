import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from './errors.ts';
import {
  ancestorsOf,
  comparePaths,
  DEPTH_LIMIT,
  joinPath,
  NAME_LIMIT,
  nameOf,
  PATH_LIMIT,
  type Path,
  parentOf,
  parsePath,
  parseShown,
  pathFromText,
  pathOf,
  showPath,
} from './path.ts';

const SEED = 20260101;

/** Strings that are rich in what paths trip over. */
const raw: fc.Arbitrary<string> = fc
  .array(fc.constantFrom('/', '/', '.', '..', 'a', 'b', '-', '\xe9', '\n', '.wh.'), {
    maxLength: 12,
  })
  .map((parts) => parts.join(''));

/** What parsePath gives, or the code of what it throws. */
function outcome(text: string): string {
  try {
    return parsePath(text);
  } catch (error) {
    assert.ok(error instanceof RechunkError);
    return `!${error.code}`;
  }
}

test('normalises the names that archives hold', () => {
  const cases: [raw: string, path: string][] = [
    ['a', 'a'],
    ['a/b', 'a/b'],
    ['./a/b', 'a/b'],
    ['/a/b', 'a/b'],
    ['//a///b//', 'a/b'],
    ['a/', 'a'],
    ['a/./b/.', 'a/b'],
    ['./', ''],
    ['.', ''],
    ['/', ''],
    ['a/..', ''],
    ['a/../b', 'b'],
    ['a/b/../../c', 'c'],
    ['.a', '.a'],
    ['a/.wh.b', 'a/.wh.b'],
    ['...', '...'],
    ['a/..b', 'a/..b'],
    ['a\\b', 'a\\b'],
    ['caf\xe9/\n"<&>', 'caf\xe9/\n"<&>'],
  ];
  for (const [text, path] of cases) assert.equal(outcome(text), path, JSON.stringify(text));
});

test('refuses names that are empty, hold NUL, leave the root or are too long', () => {
  const deep = (depth: number): string => Array.from({ length: depth }, () => 'a').join('/');
  const long = (size: number): string => `${'b/'.repeat(900)}${'c/'.repeat(1148)}`.slice(0, size);
  const wide = `${'x'.repeat(200)}/`.repeat(20);
  const cases: [raw: string, path: string][] = [
    ['', '!path'],
    ['..', '!path'],
    ['../a', '!path'],
    ['/../a', '!path'],
    ['a/../../b', '!path'],
    ['./..', '!path'],
    ['a\0b', '!path'],
    ['\0', '!path'],
    ['x'.repeat(NAME_LIMIT), 'x'.repeat(NAME_LIMIT)],
    ['x'.repeat(NAME_LIMIT + 1), '!limit'],
    [`a/${'x'.repeat(NAME_LIMIT + 1)}/b`, '!limit'],
    [deep(DEPTH_LIMIT), deep(DEPTH_LIMIT)],
    [deep(DEPTH_LIMIT + 1), '!limit'],
    [`${wide}${'y'.repeat(PATH_LIMIT - wide.length)}`, `${wide}${'y'.repeat(76)}`],
    [`${wide}${'y'.repeat(PATH_LIMIT - wide.length + 1)}`, '!limit'],
    [long(4000), '!limit'],
  ];
  for (const [text, path] of cases) assert.equal(outcome(text), path, JSON.stringify(text));
});

test('gives paths that no second reading changes, equal to a naive reading', () => {
  const naive = (text: string): string => {
    const parts: string[] = [];
    for (const part of text.split('/')) {
      if (part === '..' && parts.length === 0) return '!path';
      if (part === '..') parts.pop();
      else if (part !== '.' && part !== '') parts.push(part);
    }
    return text === '' ? '!path' : parts.join('/');
  };
  fc.assert(
    fc.property(raw, (text) => {
      const path = outcome(text);
      assert.equal(path, naive(text));
      if (path !== '' && path !== '!path') assert.equal(outcome(path), path);
    }),
    { seed: SEED, numRuns: 5000 },
  );
});

test('an error names the path with control characters escaped, and what is wrong', () => {
  assert.throws(() => parsePath('a\n/../../\xe9'), {
    code: 'path',
    message: 'reading the path "a\\x0a/../../\\xe9": its ".." leave the root',
  });
});

test('sorts parents before children and siblings bytewise', () => {
  const sorted = ['', 'a', 'a/b', 'a/b/c', 'a/\xe9', 'a!', 'a-b', 'a.b', 'b'];
  const paths = sorted as Path[];
  assert.deepEqual([...paths].reverse().sort(comparePaths), sorted);
});

test('sorts as a comparison part by part does', () => {
  const byParts = (a: string, b: string): number => {
    const [left, right] = [a.split('/'), b.split('/')];
    for (let i = 0; i < Math.min(left.length, right.length); i++) {
      const [x, y] = [left[i] as string, right[i] as string];
      if (x !== y) return x < y ? -1 : 1;
    }
    return left.length - right.length;
  };
  const path = fc
    .array(fc.constantFrom('a', 'b', 'ab', 'a-', '!', '\xff', '0'), { minLength: 1, maxLength: 4 })
    .map((parts) => parts.join('/') as Path);
  fc.assert(
    fc.property(path, path, (a, b) => {
      assert.equal(Math.sign(comparePaths(a, b)), Math.sign(byParts(a, b)));
    }),
    { seed: SEED, numRuns: 5000 },
  );
});

test('takes paths apart and together', () => {
  const path = pathFromText('/usr/lib/x/');
  assert.equal(path, 'usr/lib/x');
  assert.equal(parentOf(path), 'usr/lib');
  assert.equal(parentOf('usr' as Path), '');
  assert.equal(parentOf('' as Path), '');
  assert.equal(nameOf(path), 'x');
  assert.equal(nameOf('usr' as Path), 'usr');
  assert.equal(joinPath('usr/lib' as Path, 'y'), 'usr/lib/y');
  assert.equal(joinPath('' as Path, 'y'), 'y');
  assert.deepEqual(ancestorsOf(path), ['usr', 'usr/lib']);
  assert.deepEqual(ancestorsOf('' as Path), []);
});

test('shows text as text and other bytes escaped', () => {
  assert.equal(showPath(pathFromText('naïve/日本')), 'naïve/日本');
  assert.equal(pathOf(Buffer.from('naïve')), 'na\xc3\xafve');
  assert.equal(showPath('caf\xe9/\t'), 'caf\\xe9/\\x09');
  assert.equal(showPath('a\\b\x7f'), 'a\\x5cb\\x7f');
  // C1's "control sequence introducer" and the override of text direction would change what is seen.
  assert.equal(showPath(pathFromText('a\u009b2Jé')), 'a\\xc2\\x9b2Jé');
  assert.equal(showPath(pathFromText('a\u202egnp.exe')), 'a\\xe2\\x80\\xaegnp.exe');
});

test('gives the bytes of what was shown back', () => {
  for (const path of ['a\\b\x7f', 'caf\xe9/\t', 'a\\x41', pathFromText('naïve/日本\u202e'), ''])
    assert.equal(parseShown(showPath(path)), path);
  const bytes = fc.uint8Array({ maxLength: 20 });
  fc.assert(
    fc.property(bytes, (some) => {
      const path = Buffer.from(some).toString('latin1');
      return parseShown(showPath(path)) === path;
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test.run();
