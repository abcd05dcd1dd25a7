import * as assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import { type FileSpec, memoryTree } from '../../test-images/trees.ts';
import type { Detection } from '../components.ts';
import { parseMap } from './map.ts';

const SEED = 20261121;
const detect = async (text: string, ...specs: (FileSpec | string)[]): Promise<Detection> => {
  const tree = memoryTree(specs.map((spec) => (typeof spec === 'string' ? { path: spec } : spec)));
  return (await parseMap(text, 'my.map').detect(tree)) as Detection;
};
const latin1 = (text: string): string => Buffer.from(text).toString('latin1');

/** Paths of claims with their components. */
const claimsOf = async (
  text: string,
  ...specs: (FileSpec | string)[]
): Promise<Record<string, string>> =>
  Object.fromEntries(
    (await detect(text, ...specs)).claims.map(({ path, component }) => [path, component]),
  );

const matches: readonly [string, readonly string[], readonly string[]][] = [
  ['/usr/bin/a', ['usr/bin/a'], ['usr/bin/ab', 'usr/bin/a/b', 'x/usr/bin/a']],
  ['usr/bin/a', ['usr/bin/a'], ['bin/a']],
  ['/opt/app/', ['opt/app/a', 'opt/app/b/c'], ['opt/application', 'opt/x']],
  ['/', ['a', 'b/c'], []],
  ['/*.txt', ['a.txt', '.txt'], ['b/a.txt', 'atxt']],
  ['/a/*/c', ['a/b/c'], ['a/c', 'a/b/b/c']],
  ['/a/**/c', ['a/c', 'a/b/c', 'a/b/b/c'], ['a/bc', 'a/b/cd']],
  ['**/c', ['c', 'a/c', 'a/b/c'], ['a/bc']],
  ['/a/**', ['a/b', 'a/b/c'], ['b/a', 'ab']],
  ['/a/**/**/c', ['a/c', 'a/x/c'], ['a/cc']],
  ['/a/**/', ['a/b/c', 'a/b/c/d'], ['a/b']],
  ['/a/*/', ['a/b/c'], ['a/b']],
  ['/a?c', ['abc', latin1('aéc'), latin1('a🙂c'), 'a\xffc'], ['ac', 'a/c', 'abbc']],
  ['/a.c', ['a.c'], ['abc']],
  ['/a+(b)|^$c', ['a+(b)|^$c'], ['ab']],
  ['/a\\*', ['a*'], ['ab']],
  ['/a\\ b', ['a b'], ['a']],
  ['/\\[id\\].js', ['[id].js'], ['i.js']],
  ['/é*', [latin1('éa')], ['e']],
];
for (const [glob, yes, no] of matches) {
  test(`${glob} matches ${yes.map((path) => JSON.stringify(path)).join(', ')}`, async () => {
    for (const path of yes) {
      assert.deepEqual(await claimsOf(`${glob} c`, path), { [path]: 'user:c' }, path);
    }
    for (const path of no) assert.deepEqual(await claimsOf(`${glob} c`, path), {}, path);
  });
}

test('of several lines that match the last one counts, whatever their order in the tree', async () => {
  const text = '# models\n\n/opt/ app\n/opt/*.bin\t models\r\n  /opt/x.bin app  \n';
  assert.deepEqual(await claimsOf(text, 'opt/a', 'opt/m.bin', 'opt/x.bin'), {
    'opt/a': 'user:app',
    'opt/m.bin': 'user:models',
    'opt/x.bin': 'user:app',
  });
});

test('claims all but directories that hold something, explicitly', async () => {
  const found = await detect(
    '/opt/ c',
    { path: 'opt/empty', type: 'dir' },
    { path: 'opt/link', target: 'x' },
    'opt/full/file',
  );
  assert.deepEqual(found, {
    repo: 'map',
    components: [{ id: 'user:c', kind: 'user' }],
    claims: ['opt/empty', 'opt/full/file', 'opt/link'].map((path) => ({
      path,
      component: 'user:c',
      strength: 'explicit',
    })),
    warnings: [],
  });
  assert.deepEqual(await claimsOf('/opt/ c', { path: 'opt', type: 'dir' }), { opt: 'user:c' });
});

test('follows symlinks among the leading parts, as a user would write them', async () => {
  const link = { path: 'bin', target: 'usr/bin' };
  const opt = { path: 'opt', target: '/var/opt' };
  assert.deepEqual(await claimsOf('/bin/a c\n/opt/ d', link, opt, 'usr/bin/a', 'var/opt/x/y'), {
    'usr/bin/a': 'user:c',
    'var/opt/x/y': 'user:d',
  });
  assert.deepEqual(await claimsOf('/bin c', link), { bin: 'user:c' });
});

test('a byte order mark is no part of the first glob', async () => {
  assert.deepEqual(await claimsOf('\ufeff/a c', 'a'), { a: 'user:c' });
});

test('a line that matches nothing is a warning', async () => {
  const found = await detect('/a x\n/nothing/*.here y\n/a z', 'a');
  assert.deepEqual(found.warnings, ['map my.map, line 2: nothing matches /nothing/*.here']);
  assert.deepEqual(
    found.components.map(({ id }) => id),
    ['user:z'],
  );
});

const refused: readonly [string, RegExp][] = [
  ['/a', /^reading map my.map: line 1 has 1 words, want two: a glob and the name of a component$/],
  ['# x\n\n/a b c', /line 3 has 3 words/],
  ['/a[b] c', /line 1 has the glob '\/a\[b\]', which has '\[', .* want a backslash before it$/],
  ['/{a,b} c', /want a backslash/],
  ['/a** c', /has '\*\*' beside other text/],
  ['/a/../b c', /has a part '.' or '..'/],
  ['/a//b c', /has an empty part/],
  ['/a c\\', /odd characters/],
  [`/a ${'x'.repeat(256)}`, /longer than 255 bytes/],
];
for (const [text, message] of refused) {
  test(`refuses ${JSON.stringify(text.slice(0, 20))}, naming the line`, () => {
    assert.throws(() => parseMap(text, 'my.map'), { code: 'usage', message });
  });
}

test('any text is a map or a usage error, and any map can be matched', async () => {
  const piece = fc.constantFrom(
    '/',
    '*',
    '**',
    '?',
    'a',
    '\\',
    ' ',
    '[',
    '\n',
    'é',
    '.',
    '#',
    '\t',
  );
  const tree = memoryTree([{ path: 'a/a/a' }, { path: latin1('é/a') }, { path: 'a*' }]);
  let maps = 0;
  const property = fc.asyncProperty(fc.array(piece, { maxLength: 14 }), async (pieces) => {
    try {
      await parseMap(`${pieces.join('')} name`, 'm').detect(tree);
      maps++;
    } catch (error) {
      assert.ok(error instanceof RechunkError && error.code === 'usage', String(error));
    }
  });
  await fc.assert(property, { seed: SEED, numRuns: 3000 });
  assert.ok(maps > 200, `only ${maps} of the texts were maps`);
});

test('a literal path matches itself however odd its name', async () => {
  const name = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 8 })
    .filter((text) => !/[/\0\n\r]|^\.\.?$/.test(text) && text.isWellFormed());
  const property = fc.asyncProperty(
    fc.array(name, { minLength: 1, maxLength: 4 }),
    async (parts) => {
      const glob = parts.join('/').replace(/[\s\\*?[\]{}#]/gu, '\\$&');
      const path = latin1(parts.join('/'));
      assert.deepEqual(await claimsOf(`/${glob} c`, path), { [path]: 'user:c' });
    },
  );
  await fc.assert(property, { seed: SEED, numRuns: 500 });
});

test.run();
