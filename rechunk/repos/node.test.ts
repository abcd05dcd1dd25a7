import * as assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import { type FileSpec, memoryTree } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { Detection } from '../components.ts';
import { node } from './node.ts';

const data = new URL('../../test-images/packages/npm/npm-tree/', import.meta.url);

interface Listed {
  readonly path: string;
  readonly type: 'file' | 'dir' | 'symlink';
  readonly size?: number;
  readonly link?: string;
}
interface Facts {
  readonly packages: {
    path: string;
    name: string;
    version: string;
    nfiles: number;
    bytes: number;
  }[];
  readonly unowned: string[];
}

const manifest = (name: string, version: string): string => JSON.stringify({ name, version });

/** The listed tree, with package.json files that say what npm said of their packages. */
function npmTree(facts: Facts): FileSpec[] {
  const lines = gunzipSync(readFileSync(new URL('tree.jsonl.gz', data)))
    .toString()
    .trim()
    .split('\n');
  const manifests = new Map(
    facts.packages.map(({ path, name, version }) => [
      `app/${path}/package.json`,
      manifest(name, version),
    ]),
  );
  return lines.map((line) => {
    const { path: absolute, type, size = 0, link } = JSON.parse(line) as Listed;
    const path = absolute.slice(1);
    if (type !== 'file') return { path, type, ...(link !== undefined && { target: link }) };
    const content = manifests.get(path);
    if (content !== undefined) return { path, content };
    return { path, absent: { size, digests: { sha256: 'unknown' } } };
  });
}

test('finds the packages that npm ls finds, with their files', async () => {
  const facts = JSON.parse(readFileSync(new URL('expected.json', data)).toString()) as Facts;
  const tree = memoryTree(npmTree(facts));
  const detection = await node.detect(tree);
  assert.ok(detection);
  assert.deepEqual(detection.warnings, []);
  const roots = detection.components.filter(({ packages }) => packages);
  assert.deepEqual(
    roots.map(({ id, packages }) => [id, ...(packages ?? [])]),
    facts.packages
      .map(({ path, name, version }) => [`node:/app/${path}`, `${name}@${version}`])
      .sort(([a = ''], [b = '']) => (a < b ? -1 : 1)),
  );
  const { components } = await assign(tree, [detection]);
  const byId = new Map(components.map(({ id, entries }) => [id, entries]));
  for (const { path, nfiles } of facts.packages) {
    assert.equal(byId.get(`node:/app/${path}`)?.length, nfiles, path);
  }
  const tools = byId.get('node:/app/node_modules') ?? [];
  assert.deepEqual(
    tools.map(({ path }) => `/${path}`).sort(),
    facts.unowned.filter((path) => path.startsWith('/app/node_modules/')).sort(),
  );
});

const detect = (...specs: FileSpec[]): Promise<Detection | undefined> =>
  node.detect(memoryTree(specs));

/** Paths by component id. */
async function claimsOf(...specs: FileSpec[]): Promise<Record<string, string[]>> {
  const claims = (await detect(...specs))?.claims ?? [];
  const byId = Map.groupBy(claims, ({ component }) => component);
  return Object.fromEntries(
    [...byId].sort().map(([id, group]) => [id, group.map(({ path }) => path)]),
  );
}

const at = (root: string, name = 'x', version = '1.0.0'): FileSpec => ({
  path: `${root}/package.json`,
  content: manifest(name, version),
});

test('a file belongs to the deepest root: nested copies, scopes, deeper package.json', async () => {
  assert.deepEqual(
    await claimsOf(
      at('app/node_modules/a'),
      { path: 'app/node_modules/a/esm/package.json', content: '{"type":"module"}' },
      at('app/node_modules/a/node_modules/@s/b'),
      { path: 'app/node_modules/a/node_modules/@s/b/lib/i.js' },
      { path: 'app/node_modules/a/node_modules/.bin/b', target: '../@s/b/i.js' },
      { path: 'app/node_modules/@s/stray.txt' },
      { path: 'app/node_modules/a/empty', type: 'dir' },
      { path: 'app/index.js' },
    ),
    {
      'node:/app/node_modules': ['app/node_modules/@s/stray.txt'],
      'node:/app/node_modules/a': [
        'app/node_modules/a/empty',
        'app/node_modules/a/esm/package.json',
        'app/node_modules/a/node_modules/.bin/b',
        'app/node_modules/a/package.json',
      ],
      'node:/app/node_modules/a/node_modules/@s/b': [
        'app/node_modules/a/node_modules/@s/b/lib/i.js',
        'app/node_modules/a/node_modules/@s/b/package.json',
      ],
    },
  );
});

test('what is in no package belongs to the node_modules around it', async () => {
  assert.deepEqual(
    await claimsOf(
      at('node_modules/a'),
      { path: 'node_modules/.package-lock.json' },
      { path: 'node_modules/.bin/a', target: '../a/a.js' },
      { path: 'node_modules/.cache/x/package.json', content: '{}' },
      { path: 'srv/packages/w/node_modules/.yarn-integrity' },
      { path: 'node_modules/.hidden/package.json', content: '{}' },
      { path: 'node_modules/linked', target: '../packages/linked' },
    ),
    {
      'node:/node_modules': [
        'node_modules/.bin/a',
        'node_modules/.cache/x/package.json',
        'node_modules/.hidden/package.json',
        'node_modules/.package-lock.json',
        'node_modules/linked',
      ],
      'node:/node_modules/a': ['node_modules/a/package.json'],
      'node:/srv/packages/w/node_modules': ['srv/packages/w/node_modules/.yarn-integrity'],
    },
  );
});

test('in the store of pnpm the ids name no version, and links belong to the tree', async () => {
  const store = 'app/node_modules/.pnpm';
  const found = await detect(
    at(`${store}/@s+b@1.0.0_react@18/node_modules/@s/b`, '@s/b', '1.0.0'),
    at(`${store}/@s+b@2.0.0/node_modules/@s/b`, '@s/b', '2.0.0'),
    { path: `${store}/@s+b@2.0.0/node_modules/c`, target: '../../c@1/node_modules/c' },
    { path: 'app/node_modules/c', target: '.pnpm/c@1/node_modules/c' },
    { path: 'app/node_modules/.modules.yaml' },
  );
  assert.deepEqual(found?.components, [
    { id: 'node:/app/node_modules', kind: 'language' },
    {
      id: 'node:/app/node_modules/.pnpm/@s/b',
      kind: 'language',
      packages: ['@s/b@1.0.0', '@s/b@2.0.0'],
    },
  ]);
  assert.deepEqual(
    found?.claims.filter(({ component }) => component.endsWith('/b')).map(({ path }) => path),
    [
      `${store}/@s+b@1.0.0_react@18/node_modules/@s/b/package.json`,
      `${store}/@s+b@2.0.0/node_modules/@s/b/package.json`,
    ],
  );
});

test('the id stays when the version changes, and globals are like any tree', async () => {
  const ids = async (version: string): Promise<unknown> =>
    (await detect(at('usr/lib/node_modules/npm', 'npm', version)))?.components.map(({ id }) => id);
  assert.deepEqual(await ids('10.0.0'), ['node:/usr/lib/node_modules/npm']);
  assert.deepEqual(await ids('11.0.0'), ['node:/usr/lib/node_modules/npm']);
});

test('a package.json that does not say names the package by its directory', async () => {
  const broken: readonly [string, string, number][] = [
    ['{ "name": ', 'x', 1],
    ['{}', 'x', 0],
    ['null', 'x', 0],
    ['[]', 'x', 0],
    ['{"name":3,"version":"1"}', 'x@1', 0],
    ['\ufeff{"name":"y","version":"2"}', 'y@2', 0],
    ['', 'x', 1],
  ];
  for (const [content, title, warnings] of broken) {
    const found = await detect({ path: 'node_modules/x/package.json', content });
    assert.deepEqual(found?.components[0]?.packages, [title], content);
    assert.equal(found?.warnings.length, warnings, content);
  }
  const large = { size: 5 << 20, digests: {} };
  const found = await detect({ path: 'node_modules/@s/x/package.json', absent: large });
  assert.deepEqual(found?.components[0]?.packages, ['@s/x']);
  assert.deepEqual(found?.warnings, [
    '/node_modules/@s/x/package.json: it has 5242880 bytes, at most 4194304 are read; its directory names the package',
  ]);
});

test('many broken package.json files make a short list of warnings', async () => {
  const specs = Array.from({ length: 50 }, (_, i) => ({
    path: `node_modules/p${i}/package.json`,
    content: '{',
  }));
  const found = await detect(...specs);
  assert.equal(found?.warnings.length, 21);
  assert.equal(found?.warnings.at(-1), '30 more package.json files cannot be read');
});

test('files that an operating system package lists stay with it', async () => {
  const tree = memoryTree([
    at('usr/lib/node_modules/npm'),
    { path: 'usr/lib/node_modules/npm/i.js' },
  ]);
  const detection = await node.detect(tree);
  assert.ok(detection);
  const os: Detection = {
    repo: 'rpm',
    components: [{ id: 'rpm:nodejs', kind: 'package' }],
    claims: [
      { path: '/usr/lib/node_modules/npm/i.js', component: 'rpm:nodejs', strength: 'owner' },
    ],
    warnings: [],
  };
  const { components } = await assign(tree, [detection, os]);
  assert.deepEqual(
    components.map(({ id, entries }) => [id, ...entries.map(({ path }) => path)]),
    [
      ['node:/usr/lib/node_modules/npm', 'usr/lib/node_modules/npm/package.json'],
      ['rpm:nodejs', 'usr/lib/node_modules/npm/i.js'],
    ],
  );
});

test('finds nothing where there is no package', async () => {
  assert.equal(await detect({ path: 'app/package.json', content: '{}' }), undefined);
  assert.equal(await detect({ path: 'app/node_modules/.bin/x' }), undefined);
});

test('200,000 files in 20,000 packages take seconds, not minutes', async () => {
  const specs: FileSpec[] = [];
  for (let i = 0; i < 20_000; i++) {
    const root = `srv/app${i % 10}/node_modules/@scope${i % 40}/package${i}`;
    specs.push(at(root, `@scope${i % 40}/package${i}`));
    for (let j = 0; j < 9; j++) specs.push({ path: `${root}/lib/d${j % 3}/file${j}.js` });
  }
  const tree = memoryTree(specs);
  tree.list('srv' as never);
  const started = performance.now();
  const found = await node.detect(tree);
  const ms = performance.now() - started;
  assert.equal(found?.claims.length, 200_000);
  assert.equal(found?.components.length, 20_000);
  assert.ok(ms < 30_000, `it took ${ms} ms`);
});

test.run();
