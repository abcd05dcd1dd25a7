import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../registry/errors.ts';
import { type FileSpec, memoryTree } from '../test-images/trees.ts';
import { assign, detectAll } from './assign.ts';
import { type Claim, type ComponentRepo, type Detection, locator } from './components.ts';
import { type FileDigest, Tree } from './tree.ts';

const SEED = 20_261_121;
const hex = (algorithm: string, content: string): string =>
  createHash(algorithm).update(content).digest('hex');

/** What `repo` found: each claim is of the component that it names. */
function detection(repo: string, claims: readonly Claim[]): Detection {
  const ids = [...new Set(claims.map(({ component }) => component))];
  const kind = repo === 'dpkg' || repo === 'rpm' ? 'package' : 'language';
  return { repo, components: ids.map((id) => ({ id, kind })), claims, warnings: [] };
}

const own = (component: string, path: string, more: Partial<Claim> = {}): Claim => ({
  path,
  component,
  strength: 'owner',
  ...more,
});
const digest = (content: string, algorithm: FileDigest | 'sha256' = 'md5'): Partial<Claim> => ({
  digest: { algorithm, hex: hex(algorithm, content) },
});

async function owners(
  specs: readonly FileSpec[],
  ...detections: readonly Detection[]
): Promise<Record<string, string>> {
  const { components } = await assign(memoryTree(specs), detections);
  return Object.fromEntries(
    components.flatMap(({ id, entries }) => entries.map(({ path }) => [path, id])),
  );
}

test('a root with metadata of its own and nothing in it is in a component', async () => {
  const idsOf = async (...specs: FileSpec[]): Promise<string[]> =>
    (await assign(memoryTree(specs), [])).components.map(({ id }) => id);
  assert.deepEqual(await idsOf({ path: '', type: 'dir', mode: 0o1700 }), ['directories']);
  assert.deepEqual(await idsOf({ path: '', type: 'dir' }, { path: 'etc/x' }), ['config']);
});

test('looks for listed paths behind symlinked directories, and at their merged place', () => {
  const tree = memoryTree([
    { path: 'bin', target: 'usr/bin' },
    { path: 'usr/bin/x' },
    { path: 'usr/sbin', target: 'bin' },
    { path: 'usr/lib/y' },
    { path: 'usr/lib64', target: '/usr/lib/' },
    { path: 'loop', target: 'loop' },
    { path: 'var/run', target: '/run' },
    { path: 'run/z' },
  ]);
  const found = [
    '/bin/x',
    '/bin',
    'usr/bin/x',
    './usr//bin/x',
    '/usr/sbin/x',
    '/sbin/x',
    '/lib/y',
    '/lib64/y',
    '/var/run/z',
  ];
  assert.deepEqual(found.map(locator(tree)), [
    'usr/bin/x',
    'bin',
    'usr/bin/x',
    'usr/bin/x',
    'usr/bin/x',
    'usr/bin/x',
    'usr/lib/y',
    'usr/lib/y',
    'run/z',
  ]);
  const lost = [
    '',
    '/',
    '/.',
    '.',
    '/loop/x',
    '/usr/../bin/x',
    '../bin/x',
    '/gone',
    '/bin/x/y',
    'usr/bin/x\0',
    '/'.repeat(5000),
  ];
  assert.deepEqual(
    lost.map(locator(tree)),
    lost.map(() => undefined),
  );
});

test('believes a package only where content, size, type and target agree', async () => {
  const specs: FileSpec[] = ['md5', 'sha1', 'sha256', 'size', 'link', 'plain', 'kind'].flatMap(
    (name) => [
      name === 'link'
        ? { path: `usr/good-${name}`, target: 'x' }
        : { path: `usr/good-${name}`, content: name },
      name === 'link'
        ? { path: `usr/bad-${name}`, target: 'y' }
        : { path: `usr/bad-${name}`, content: `not ${name}` },
    ],
  );
  const claims = ['good', 'bad'].flatMap((state) => [
    own('p', `usr/${state}-md5`, digest('md5')),
    own('p', `usr/${state}-sha1`, digest('sha1', 'sha1')),
    own('p', `usr/${state}-sha256`, digest('sha256', 'sha256')),
    own('p', `usr/${state}-size`, { size: 4 }),
    own('p', `usr/${state}-link`, { target: 'x', type: 'symlink' }),
    own('p', `usr/${state}-kind`, { type: state === 'good' ? 'file' : 'symlink' }),
    own('p', `usr/${state}-plain`),
  ]);
  const found = await owners(specs, detection('rpm', claims));
  const states = Object.entries(found).map(([path, id]) => `${path.slice('usr/'.length)} ${id}`);
  assert.deepEqual(states.sort(), [
    'bad-kind generated:modified',
    'bad-link generated:modified',
    'bad-md5 generated:modified',
    'bad-plain p',
    'bad-sha1 generated:modified',
    'bad-sha256 generated:modified',
    'bad-size generated:modified',
    'good-kind p',
    'good-link p',
    'good-md5 p',
    'good-plain p',
    'good-sha1 p',
    'good-sha256 p',
    'good-size p',
  ]);
});

test('ranks explicit before owners before ghosts before guesses', async () => {
  const specs = ['a', 'b', 'c', 'd'].map((name) => ({ path: `usr/${name}`, content: name }));
  const found = await owners(
    specs,
    detection('map', [own('user:x', 'usr/a', { strength: 'explicit', ...digest('no') })]),
    detection('dpkg', [
      own('dpkg:a', 'usr/a'),
      own('dpkg:b', 'usr/b', { strength: 'guess' }),
      own('dpkg:c', 'usr/c', { strength: 'ghost' }),
      own('dpkg:d', 'usr/d', { strength: 'guess' }),
    ]),
    detection('node', [own('node:b', 'usr/b'), own('node:c', 'usr/c', { strength: 'guess' })]),
  );
  assert.deepEqual(found, {
    'usr/a': 'user:x',
    'usr/b': 'node:b',
    'usr/c': 'generated:ghosts',
    'usr/d': 'dpkg:d',
  });
});

test('ranks operating systems before languages, unless only the language agrees with the content', async () => {
  const found = await owners(
    [
      { path: 'usr/same', content: 'x' },
      { path: 'usr/upgraded', content: 'new' },
      { path: 'usr/between', content: 'x' },
    ],
    detection('node', [own('node:n', 'usr/between')]),
    detection('python', [
      own('python:p', 'usr/same', digest('x', 'sha256')),
      own('python:p', 'usr/upgraded', digest('new', 'sha256')),
      own('python:p', 'usr/between'),
    ]),
    detection('rpm', [own('rpm:r', 'usr/same'), own('rpm:r', 'usr/upgraded', digest('old'))]),
  );
  assert.deepEqual(found, {
    'usr/between': 'python:p',
    'usr/same': 'rpm:r',
    'usr/upgraded': 'python:p',
  });
});

test('prefers a checked claim to an unchecked one, and the smallest id of equals', async () => {
  const found = await owners(
    [
      { path: 'usr/a', content: 'a' },
      { path: 'usr/b', content: 'b' },
    ],
    detection('rpm', [
      own('rpm:a', 'usr/a'),
      own('rpm:z', 'usr/a', digest('a')),
      own('rpm:z', 'usr/b'),
      own('rpm:b', 'usr/b'),
    ]),
  );
  assert.deepEqual(found, { 'usr/a': 'rpm:z', 'usr/b': 'rpm:b' });
});

test('keeps hard-link groups whole: most names win, the smallest id of equals', async () => {
  const group = (directory: string): FileSpec[] => [
    { path: `${directory}/1`, content: directory },
    { path: `${directory}/2`, link: `${directory}/1` },
    { path: `${directory}/3`, link: `${directory}/1` },
    { path: `${directory}/4`, link: `${directory}/1` },
  ];
  const found = await owners(
    [...group('most'), ...group('tie')],
    detection('rpm', [
      own('rpm:a', 'most/1'),
      own('rpm:b', 'most/2'),
      own('rpm:b', 'most/3'),
      own('rpm:c', 'tie/3'),
      own('rpm:b', 'tie/4'),
    ]),
  );
  for (const [path, id] of Object.entries(found)) assert.equal(id, 'rpm:b', path);
});

test('places a hard-link group of 100,000 names in time', async () => {
  const count = 100_000;
  const names = Array.from({ length: count }, (_, i) => ({ path: `opt/x/${i}`, link: 'opt/x/y' }));
  const tree = memoryTree([{ path: 'opt/x/y', content: 'y' }, ...names]);
  const claims = names.map(({ path }) => own('rpm:x', path, digest('other')));
  const started = performance.now();
  const { components } = await assign(tree, [detection('rpm', claims)]);
  assert.ok(performance.now() - started < 10_000);
  assert.deepEqual(
    components.map(({ id, size, entries }) => [id, size, entries.length]),
    [['application:/opt/x', 1, count + 1]],
  );
  const held = claims.map(({ path }) => own('rpm:x', path));
  const [owned] = (await assign(tree, [detection('rpm', held)])).components;
  assert.deepEqual([owned?.id, owned?.entries.length], ['rpm:x', count + 1]);
});

test('gives empty directories a component of their own, and none to the others', async () => {
  const specs: FileSpec[] = [
    { path: 'etc/empty', type: 'dir' },
    { path: 'var/empty', type: 'dir' },
    { path: 'usr/bin/x' },
    { path: 'lib64', target: 'usr/lib64' },
    { path: 'usr/lib64', type: 'dir' },
  ];
  const found = await owners(
    specs,
    detection('rpm', [
      own('rpm:r', '/usr', { type: 'dir' }),
      own('rpm:r', '/usr/bin/'),
      own('rpm:r', '/etc/empty'),
      own('rpm:glibc', '/lib64', { type: 'dir' }),
    ]),
    detection('map', [own('user:v', '/var/empty', { strength: 'explicit' })]),
  );
  assert.deepEqual(found, {
    'etc/empty': 'directories',
    lib64: 'rpm:glibc',
    'usr/bin/x': 'rest',
    'usr/lib64': 'directories',
    'var/empty': 'user:v',
  });
});

test('counts the bytes of a hard-link group once and sorts by id', async () => {
  const { components } = await assign(
    memoryTree([
      { path: 'usr/b', content: '12345' },
      { path: 'usr/a', link: 'usr/b' },
      { path: 'etc/c', content: '1' },
    ]),
    [],
  );
  assert.deepEqual(
    components.map(({ id, size, entries }) => [id, size, entries.map(({ path }) => path)]),
    [
      ['config', 1, ['etc/c']],
      ['rest', 5, ['usr/a', 'usr/b']],
    ],
  );
});

test('joins what several repos know of one component', async () => {
  const info = { id: 'user:x', kind: 'user' } as const;
  const of = (repo: string, path: string, more: object): Detection => ({
    ...detection(repo, [own('user:x', path, { strength: 'explicit' })]),
    components: [{ ...info, ...more }],
  });
  const map = of('map', 'a', { updateIntervalDays: 7, changeTimes: [3, 5], packages: ['p 1'] });
  const xattr = of('xattr', 'b', { updateIntervalDays: 1, changeTimes: [1, 5] });
  const tree = memoryTree([{ path: 'a' }, { path: 'b' }]);
  const [component] = (await assign(tree, [map, xattr])).components;
  const { entries: _, ...rest } = component ?? assert.fail();
  assert.deepEqual(rest, {
    ...info,
    packages: ['p 1'],
    changeTimes: [1, 3, 5],
    updateIntervalDays: 1,
    size: 0,
  });
});

const PATHS = ['usr/a', 'usr/b', 'usr/c', 'usr/d', 'usr/link', 'etc/e', 'opt/f/g', 'gone'];
const arbitraryClaim = fc.record({
  path: fc.constantFrom(...PATHS.flatMap((path) => [path, `/${path}`, `/alias/${path.slice(4)}`])),
  component: fc.constantFrom('1', '2', '3'),
  strength: fc.constantFrom('owner', 'ghost', 'guess', 'explicit'),
  content: fc.constantFrom('a', 'b', undefined),
  type: fc.constantFrom('file', 'dir', 'symlink', undefined),
});
const arbitraryDetections = fc.uniqueArray(
  fc.record({
    repo: fc.constantFrom('rpm', 'dpkg', 'python', 'node', 'other'),
    claims: fc.array(arbitraryClaim, { maxLength: 12 }),
  }),
  { selector: ({ repo }) => repo, maxLength: 5 },
);
const arbitraryOrder = fc.array(fc.nat(), { minLength: 20, maxLength: 20 });

/** `items` in an order that `keys` make. */
function shuffled<T>(items: readonly T[], keys: readonly number[]): T[] {
  return items
    .map((item, i) => [item, keys[i % keys.length] ?? 0] as const)
    .sort(([, a], [, b]) => a - b)
    .map(([item]) => item);
}

test('gives every file one owner, whatever the order of repos, claims, components and files', async () => {
  const specs: FileSpec[] = [
    { path: 'usr/a', content: 'a' },
    { path: 'usr/c', content: 'b' },
    { path: 'usr/d', content: 'a' },
    { path: 'usr/link', target: 'a' },
    { path: 'etc/e', content: 'a' },
    { path: 'opt/f/g', content: 'b' },
    { path: 'alias', target: 'usr' },
  ];
  const linked: FileSpec[] = [
    { path: 'usr/b', link: 'usr/a' },
    { path: 'etc/z', link: 'usr/c' },
  ];
  await fc.assert(
    fc.asyncProperty(arbitraryDetections, arbitraryOrder, async (drafts, keys) => {
      const detections = drafts.map(({ repo, claims }) =>
        detection(
          repo,
          claims.map(({ path, component, strength, content, type }) => ({
            path,
            component: `${repo}:${component}`,
            strength: strength as Claim['strength'],
            ...(type && { type: type as 'file' }),
            ...(content && digest(content)),
          })),
        ),
      );
      const mixed = shuffled(detections, keys).map((found) => ({
        ...found,
        claims: shuffled(found.claims, keys),
        components: shuffled(found.components, keys),
      }));
      const plain = await assign(memoryTree([...specs, ...linked]), detections);
      const again = await assign(memoryTree([...shuffled(specs, keys), ...linked]), mixed);
      const facts = ({ components, warnings }: typeof plain): unknown => [
        components.map(({ entries, ...rest }) => [rest, entries.map(({ path }) => path)]),
        warnings,
      ];
      assert.deepEqual(facts(again), facts(plain));
      const paths = plain.components.flatMap(({ entries }) => entries.map(({ path }) => path));
      assert.deepEqual(
        paths.map(String).sort(),
        [...specs, ...linked].map(({ path }) => path).sort(),
      );
      for (const { entries } of plain.components) {
        const names = new Set(entries.map(({ path }) => `${path}`));
        assert.equal(names.has('usr/a'), names.has('usr/b'));
        assert.equal(names.has('usr/c'), names.has('etc/z'));
      }
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test('goes on without a damaged database, unless strict', async () => {
  const good: ComponentRepo = { name: 'good', detect: async () => detection('good', []) };
  const none: ComponentRepo = { name: 'none', detect: async () => undefined };
  const damaged: ComponentRepo = {
    name: 'bad',
    detect: async () => {
      throw new RechunkError('database', 'reading /db: page 3 is no page');
    },
  };
  const tree = memoryTree([]);
  assert.deepEqual(await detectAll(tree, [good, damaged, none]), {
    detections: [detection('good', [])],
    warnings: ['bad: reading /db: page 3 is no page; its packages are not told apart'],
  });
  await assert.rejects(detectAll(tree, [damaged], { strict: true }), { code: 'database' });
  const broken: ComponentRepo = {
    name: 'bug',
    detect: async () => {
      throw new TypeError('a bug');
    },
  };
  await assert.rejects(detectAll(tree, [broken]), TypeError);
});

test('an error of a repo is told when nothing is digested any more that another began', async () => {
  let digested = 0;
  const entries = memoryTree([{ path: 'a' }]).entries;
  const tree = new Tree(entries, {
    read: () => Promise.reject(new Error('not asked for')),
    digests: async (_, inodes) => {
      await sleep(50);
      digested = inodes.length;
      return inodes.map(() => '');
    },
  });
  const detect = async (): Promise<undefined> =>
    tree.digestAhead(
      'md5',
      entries.map(({ inode }) => inode),
    ) as undefined;
  const fail = (): Promise<never> => Promise.reject(new RechunkError('network', 'gone'));
  const repos = [
    { name: 'early', detect },
    { name: 'late', detect: fail },
  ];
  await assert.rejects(detectAll(tree, repos), /gone/);
  assert.equal(digested, entries.length);
});

test.run();
