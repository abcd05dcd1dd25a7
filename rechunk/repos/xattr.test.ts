import * as assert from 'node:assert/strict';
import { test } from 'uvu';
import { type FileSpec, memoryTree } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { Detection } from '../components.ts';
import { parseInterval, xattr } from './xattr.ts';

/** A spec with `user.component` and, where given, `user.update-interval`. */
function named(spec: FileSpec, component?: string, interval?: string): FileSpec {
  const xattrs = new Map<string, Buffer>();
  if (component !== undefined) xattrs.set('user.component', Buffer.from(component));
  if (interval !== undefined) xattrs.set('user.update-interval', Buffer.from(interval));
  return { ...spec, xattrs };
}
const detect = (...specs: FileSpec[]): Promise<Detection | undefined> =>
  xattr.detect(memoryTree(specs));

test('directories hand their component down, and the nearest one wins', async () => {
  const found = await detect(
    named({ path: 'opt', type: 'dir' }, 'outer'),
    { path: 'opt/a' },
    { path: 'opt/link', target: 'a' },
    { path: 'opt/empty', type: 'dir' },
    named({ path: 'opt/in', type: 'dir' }, 'inner'),
    { path: 'opt/in/deep/b' },
    named({ path: 'opt/in/own' }, 'outer'),
    { path: 'optical/c' },
  );
  assert.deepEqual(found, {
    repo: 'xattr',
    components: [
      { id: 'user:inner', kind: 'user' },
      { id: 'user:outer', kind: 'user' },
    ],
    claims: [
      { path: 'opt/a', component: 'user:outer', strength: 'explicit' },
      { path: 'opt/empty', component: 'user:outer', strength: 'explicit' },
      { path: 'opt/in/deep/b', component: 'user:inner', strength: 'explicit' },
      { path: 'opt/in/own', component: 'user:outer', strength: 'explicit' },
      { path: 'opt/link', component: 'user:outer', strength: 'explicit' },
    ],
    warnings: [],
  });
});

test('an attribute of the root is for all that has none of its own', async () => {
  const found = await detect(named({ path: '', type: 'dir' }, 'all'), { path: 'a' });
  assert.deepEqual(
    found?.claims.map(({ path, component }) => [path, component]),
    [['a', 'user:all']],
  );
});

test('wins over packages, hard links included', async () => {
  const tree = memoryTree([
    named({ path: 'usr/a', content: 'x' }, 'mine'),
    { path: 'usr/b', link: 'usr/a' },
    { path: 'usr/c' },
  ]);
  const detection = await xattr.detect(tree);
  assert.ok(detection);
  const paths = ['usr/a', 'usr/b', 'usr/c'];
  const os: Detection = {
    repo: 'rpm',
    components: [{ id: 'rpm:os', kind: 'package' }],
    claims: paths.map((path) => ({ path, component: 'rpm:os', strength: 'owner' })),
    warnings: [],
  };
  const { components } = await assign(tree, [os, detection]);
  assert.deepEqual(
    components.map(({ id, entries }) => [id, ...entries.map(({ path }) => path)]),
    [
      ['rpm:os', 'usr/c'],
      ['user:mine', 'usr/a', 'usr/b'],
    ],
  );
});

const intervals: readonly [string, number | undefined][] = [
  ['1', 1],
  ['45', 45],
  ['daily', 1],
  ['weekly', 7],
  ['biweekly', 14],
  ['monthly', 30],
  ['quarterly', 90],
  ['yearly', 365],
  ['0', undefined],
  ['-1', undefined],
  ['1.5', undefined],
  ['99999', undefined],
  ['often', undefined],
  ['constructor', undefined],
  ['', undefined],
];
for (const [text, days] of intervals) {
  test(`the interval '${text}' is ${days ?? 'refused'}`, () => {
    assert.equal(parseInterval(text), days);
  });
}

test('an interval on any entry is for its component; of several the smaller one, with a warning', async () => {
  const found = await detect(
    named({ path: 'opt', type: 'dir' }, 'app'),
    named({ path: 'opt/a' }, undefined, 'monthly'),
    named({ path: 'opt/b' }, undefined, 'weekly'),
    named({ path: 'opt/c' }, undefined, '7'),
    named({ path: 'opt/d' }, undefined, 'yearly'),
  );
  assert.deepEqual(found?.components, [{ id: 'user:app', kind: 'user', updateIntervalDays: 7 }]);
  assert.deepEqual(found?.warnings, [
    '/opt/b: user.update-interval is "weekly", but another entry of component app says 30 days: the smaller one counts',
    '/opt/d: user.update-interval is "yearly", but another entry of component app says 7 days: the smaller one counts',
  ]);
});

test('what cannot be used is a warning', async () => {
  const found = await detect(
    named({ path: 'a' }, 'two words'),
    named({ path: 'b' }, ''),
    named({ path: 'c' }, 'x'.repeat(300)),
    named({ path: 'd' }, 'fine', 'sometimes'),
    named({ path: 'e' }, undefined, 'daily'),
  );
  assert.deepEqual(found?.components, [{ id: 'user:fine', kind: 'user' }]);
  assert.equal(found?.warnings.length, 5);
  assert.equal(
    found?.warnings[0],
    '/a: user.component is "two words", want a name without spaces of at most 255 bytes',
  );
  assert.match(found?.warnings[3] ?? '', /want a number of days or one of daily, weekly/);
  assert.match(found?.warnings[4] ?? '', /it is in no component: set user.component too/);
});

test('cuts what shells leave at the end of a value', async () => {
  const found = await detect(named({ path: 'a' }, 'name\n', 'daily\0'));
  assert.deepEqual(found?.components, [{ id: 'user:name', kind: 'user', updateIntervalDays: 1 }]);
});

test('finds nothing where there are no such attributes', async () => {
  const xattrs = new Map([['security.capability', Buffer.from('x')]]);
  assert.equal(await detect({ path: 'a', xattrs }), undefined);
});

test.run();
