/** Noise changes what it says, and nothing else. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { codeOf, compiled, rebuild } from './noise.ts';
import { type ComponentFacts, type FileFacts, loadSeries, type Release } from './series.ts';

const DATE = 2_000_000_000;
const files = ({ components }: Release): FileFacts[] =>
  [...components.values()].flatMap((state) => [...state.files]);

/** Paths whose content differs between two releases of the same paths. */
function differing(a: Release, b: Release): string[] {
  const old = new Map(files(a).map(({ path, content }) => [path, content]));
  return files(b).flatMap(({ path, content }) => (old.get(path) === content ? [] : [path]));
}

function fileOf(path: string, mtime?: number): FileFacts {
  const known = { path, content: '0123456789abcdef', size: 100, compressedSize: 50 };
  return { ...known, metadata: 'file 644 0:0', ...(mtime !== undefined && { mtime }) };
}

function releaseOf(...paths: FileFacts[]): Release {
  const state: ComponentFacts = {
    id: 'x',
    kind: 'package',
    files: paths,
    size: 100 * paths.length,
    compressedSize: 50 * paths.length,
    changedSize: 50,
  };
  return { name: 'r', date: 1000, components: new Map([['x', state]]) };
}

test('compiled files come beside their sources, with sizes and an order', () => {
  const [a, b] = ['a/m.py', 'a/z.txt'].map((path) => fileOf(path, 5)) as [FileFacts, FileFacts];
  const [state] = compiled(releaseOf(a, b)).components.values();
  assert.deepEqual(
    state?.files.map(({ path }) => path),
    ['a/__pycache__/m.cpython-311.pyc', 'a/m.py', 'a/z.txt'],
  );
  assert.deepEqual([state?.size, state?.compressedSize, state?.changedSize], [318, 148, 98]);
});

test('states stay shared where sources have times of their own', () => {
  const timed = releaseOf(fileOf('m.py', 5));
  assert.equal(compiled(timed).components.get('x'), compiled(timed).components.get('x'));
  const untimed = releaseOf(fileOf('m.py'));
  const later = compiled({ ...untimed, date: 2000 });
  assert.deepEqual(differing(compiled(untimed), later), ['__pycache__/m.cpython-311.pyc']);
});

test('a second build of sources that were stamped anew has other compiled files with the same code', () => {
  const built = compiled(releaseOf(fileOf('m.py'), fileOf('n.py', 5), fileOf('o')));
  const again = rebuild(built, { date: DATE });
  assert.deepEqual(differing(built, again), ['__pycache__/m.cpython-311.pyc']);
  const codes = (release: Release): (string | undefined)[] => files(release).map(codeOf);
  assert.deepEqual(codes(again), codes(built));
  const copied = rebuild(built, { date: DATE, times: 'all' });
  assert.equal(differing(built, copied).length, 2);
  assert.ok(files(copied).every(({ mtime }) => mtime === undefined));
});

test('a rebuilt release of npm differs in its date alone', async () => {
  const release = (await loadSeries('npm')).at(-1) as Release;
  const again = rebuild(release, { date: DATE });
  assert.deepEqual(differing(release, again), []);
  assert.equal(again.date, DATE);
  assert.ok([...again.components].every(([id, state]) => release.components.get(id) === state));
});

test('another order of packages changes databases only', async () => {
  const release = (await loadSeries('alpine')).at(-1) as Release;
  const again = rebuild(release, { date: DATE, order: 3 });
  const paths = differing(release, again);
  assert.ok(paths.includes('lib/apk/db/installed'));
  const databases = [...release.components.values()].filter(({ kind }) => kind === 'database');
  const owned = new Set(databases.flatMap((state) => state.files.map(({ path }) => path)));
  assert.deepEqual(
    paths.filter((path) => !owned.has(path)),
    [],
  );
  assert.notDeepEqual([...again.components.keys()], [...release.components.keys()]);
  assert.deepEqual([...again.components.keys()].sort(), [...release.components.keys()].sort());
  assert.deepEqual(rebuild(release, { date: DATE, order: 3 }), again);
});

test.run();
