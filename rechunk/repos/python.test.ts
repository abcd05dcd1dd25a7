import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import { type FileSpec, memoryTree, specsOfTar } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { Detection } from '../components.ts';
import { python } from './python.ts';

const SEED = 20261121;
const data = new URL('../../test-images/packages/python/venv-compiled/', import.meta.url);
const lib = 'usr/lib/python3/site-packages';
const id = `python:/${lib}`;

interface Listed {
  readonly path: string;
  readonly type: 'file' | 'dir' | 'symlink';
  readonly size?: number;
  readonly sha256?: string;
  readonly link?: string;
}
interface Facts {
  readonly distributions: {
    name: string;
    version: string;
    record_entries: number;
    outside_site_packages: string[];
  }[];
  readonly owned: number;
  readonly unowned: string[];
}

const facts = JSON.parse(readFileSync(new URL('expected.json', data)).toString()) as Facts;

/** Digests that any RECORD states, by their first 16 digits: the listing has no more of them. */
function statedDigests(specs: readonly FileSpec[]): Map<string, string> {
  const records = specs.filter(({ path }) => path.endsWith('/RECORD'));
  const found = records.flatMap(({ content = '' }) =>
    [...String(content).matchAll(/,sha256=([\w-]{43}),/g)].map(([, encoded]) =>
      Buffer.from(encoded as string, 'base64url').toString('hex'),
    ),
  );
  return new Map(found.map((hex) => [hex.slice(0, 16), hex]));
}

async function venvSpecs(): Promise<FileSpec[]> {
  const known = await specsOfTar(readFileSync(new URL('dist-info.tar.gz', data)));
  const digests = statedDigests(known);
  const contents = new Map(known.map(({ path, content }) => [path, content]));
  const lines = gunzipSync(readFileSync(new URL('tree.jsonl.gz', data)))
    .toString()
    .trim();
  return lines.split('\n').map((line): FileSpec => {
    const { path: absolute, type, size = 0, sha256 = '', link } = JSON.parse(line) as Listed;
    const path = absolute.slice(1);
    if (type !== 'file') return { path, type, ...(link !== undefined && { target: link }) };
    const content = contents.get(path);
    if (content !== undefined) return { path, content };
    return { path, absent: { size, digests: { sha256: digests.get(sha256) ?? sha256 } } };
  });
}

/** Paths by component, of what `assign` makes of a tree and of `others`' claims. */
async function owners(
  specs: readonly FileSpec[],
  others: readonly Detection[] = [],
): Promise<Record<string, string[]>> {
  const tree = memoryTree(specs);
  const detection = await python.detect(tree);
  const { components } = await assign(tree, [...(detection ? [detection] : []), ...others]);
  return Object.fromEntries(
    components.map(({ id, entries }) => [id, entries.map(({ path }) => path)]),
  );
}

const detect = (...specs: FileSpec[]): Promise<Detection | undefined> =>
  python.detect(memoryTree(specs));

const sha256 = (content: string): string => `sha256=${hash('sha256', content, 'base64url')}`;

/** A distribution with its RECORD: files by path as listed, with their content; '' for no digest. */
function dist(
  name: string,
  files: Readonly<Record<string, string>>,
  at: { readonly site?: string; readonly version?: string; readonly installer?: string } = {},
): FileSpec[] {
  const { site = lib, version = '1.0', installer = 'pip' } = at;
  const info = `${name.replaceAll('-', '_')}-${version}.dist-info`;
  const rows = Object.entries(files).map(([path, content]) =>
    content === '' ? `${path},,` : `${path},${sha256(content)},${content.length}`,
  );
  const own = [`${info}/METADATA,,`, `${info}/RECORD,,`, `${info}/INSTALLER,,`];
  return [
    {
      path: `${site}/${info}/METADATA`,
      content: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n\nName: no`,
    },
    { path: `${site}/${info}/RECORD`, content: [...rows, ...own].join('\n') },
    { path: `${site}/${info}/INSTALLER`, content: `${installer}\n` },
    ...Object.entries(files).map(([path, content]) => ({
      path: path.includes('..')
        ? new URL(path, `f:///${site}/`).pathname.slice(1)
        : `${site}/${path}`,
      content,
    })),
  ];
}

/** What a package database lists, without content. */
const listedBy = (repo: string, component: string, ...paths: string[]): Detection => ({
  repo,
  components: [{ id: component, kind: 'package' }],
  claims: paths.map((path) => ({ path, component, strength: 'owner' })),
  warnings: [],
});

test('finds the distributions of a real environment, with every file that they list', async () => {
  const specs = await venvSpecs();
  const tree = memoryTree(specs);
  const detection = await python.detect(tree);
  assert.ok(detection);
  assert.deepEqual(detection.warnings, []);
  const site = 'python:/opt/venv/lib/python3.11/site-packages';
  assert.deepEqual(detection.components, [
    ...facts.distributions.map(({ name, version }) => ({
      id: `${site}/${name.toLowerCase()}`,
      kind: 'language',
      packages: [`${name}==${version}`],
    })),
    { id: 'python:/opt/venv', kind: 'language' },
  ]);
  const { components, warnings } = await assign(tree, [detection]);
  assert.deepEqual(warnings, [], 'every digest that is listed is that of the file');
  const byId = new Map(components.map(({ id, entries }) => [id, entries.map(({ path }) => path)]));
  let owned = 0;
  for (const { name, record_entries, outside_site_packages } of facts.distributions) {
    const paths = byId.get(`${site}/${name.toLowerCase()}`) ?? [];
    assert.equal(paths.length, record_entries, name);
    const outside = paths.filter((path) => !path.startsWith(site.slice('python:/'.length)));
    const expected = outside_site_packages.map((path) => path.replace('../../../', 'opt/venv/'));
    assert.deepEqual(outside.sort(), expected.sort(), name);
    owned += paths.length;
  }
  assert.equal(owned, facts.owned);
  const own = byId.get('python:/opt/venv') ?? [];
  assert.deepEqual(own.map((path) => `/${path}`).sort(), facts.unowned);
  assert.deepEqual(
    [...byId.keys()].filter((id) => !id.startsWith('python:')),
    ['directories'],
  );
});

test('claims state the digest and the size that RECORD has', async () => {
  const found = await detect(...dist('a', { 'a.py': 'source', '../b.txt': '' }));
  const of = (path: string): unknown => found?.claims.filter((claim) => claim.path === path);
  const hex = hash('sha256', 'source');
  assert.deepEqual(of(`${lib}/a.py`), [
    {
      path: `${lib}/a.py`,
      component: `${id}/a`,
      strength: 'owner',
      digest: { algorithm: 'sha256', hex },
      size: 6,
    },
  ]);
  assert.deepEqual(of('usr/lib/python3/b.txt'), [
    { path: 'usr/lib/python3/b.txt', component: `${id}/a`, strength: 'owner' },
  ]);
});

test('the id stays when the version changes, and is the same for all spellings of a name', async () => {
  const ids = async (name: string, version: string): Promise<unknown> =>
    (await detect(...dist(name, {}, { version })))?.components.map(({ id, packages }) => [
      id,
      packages,
    ]);
  assert.deepEqual(await ids('Zope.Interface', '5.0'), [
    [`${id}/zope-interface`, ['Zope.Interface==5.0']],
  ]);
  assert.deepEqual(await ids('zope__interface', '6.0'), [
    [`${id}/zope-interface`, ['zope__interface==6.0']],
  ]);
});

test('compiled files go with their source, listed or not, whoever owns that', async () => {
  const cache = `${lib}/a/__pycache__`;
  const listed = {
    'a/m.py': 'm',
    'a/__pycache__/m.cpython-311.pyc': '',
    'a/edited.py': 'shipped',
    'a/os.py': 'os',
  };
  const more = [
    'a/__pycache__/edited.cpython-311.pyc',
    'a/__pycache__/os.cpython-311.pyc',
    'a/__pycache__/bare.cpython-311.pyc',
  ];
  const found = await owners(
    [
      ...dist('a', { ...listed, ...Object.fromEntries(more.map((path) => [path, ''])) }),
      { path: `${lib}/a/edited.py`, content: 'changed' },
      { path: `${cache}/m.cpython-311.opt-2.pyc` },
      { path: `${cache}/m.cpython-311-pytest-7.4.0.pyc` },
      { path: `${cache}/m.graalpy250-311.pyc` },
      { path: `${lib}/a/m.pyc` },
    ],
    [listedBy('dpkg', 'dpkg:a', `/${lib}/a/os.py`)],
  );
  assert.deepEqual(
    found[`${id}/a`]?.filter((path) => path.includes('/a/')),
    [
      `${cache}/bare.cpython-311.pyc`,
      `${cache}/m.cpython-311-pytest-7.4.0.pyc`,
      `${cache}/m.cpython-311.opt-2.pyc`,
      `${cache}/m.cpython-311.pyc`,
      `${cache}/m.graalpy250-311.pyc`,
      `${lib}/a/m.py`,
      `${lib}/a/m.pyc`,
    ],
  );
  assert.deepEqual(found['dpkg:a'], [`${cache}/os.cpython-311.pyc`, `${lib}/a/os.py`]);
  assert.deepEqual(found['generated:modified'], [
    `${cache}/edited.cpython-311.pyc`,
    `${lib}/a/edited.py`,
  ]);
});

test('namespaces are shared, and of two that list a file the one that shipped it has it', async () => {
  const specs = [
    ...dist('google-b', { 'google/b.py': 'b', 'google/same.py': 's', 'google/last.py': 'b wins' }),
    ...dist('google-a', { 'google/a.py': 'a', 'google/same.py': 's', 'google/last.py': 'lost' }),
    { path: `${lib}/google/last.py`, content: 'b wins' },
  ];
  for (const order of [specs, [...specs].reverse().filter(({ content }) => content !== 'lost')]) {
    const found = await owners(order);
    const files = (name: string): unknown =>
      found[`${id}/${name}`]?.filter((path) => path.endsWith('.py'));
    assert.deepEqual(files('google-a'), [`${lib}/google/a.py`, `${lib}/google/same.py`]);
    assert.deepEqual(files('google-b'), [`${lib}/google/b.py`, `${lib}/google/last.py`]);
  }
});

test('what an operating system lists stays with it, and what it did not ship is of the distribution', async () => {
  const specs = dist('a', { 'a.py': 'new', 'b.py': 'old', 'c.py': 'c' });
  const md5 = (content: string): string => hash('md5', content);
  const system: Detection = {
    repo: 'dpkg',
    components: [{ id: 'dpkg:a', kind: 'package' }],
    claims: ['a', 'b'].map((name) => ({
      path: `/${lib}/${name}.py`,
      component: 'dpkg:a',
      strength: 'owner',
      digest: { algorithm: 'md5', hex: md5('old') },
    })),
    warnings: [],
  };
  const found = await owners(specs, [system]);
  assert.deepEqual(found['dpkg:a'], [`${lib}/b.py`]);
  assert.deepEqual(
    found[`${id}/a`]?.filter((path) => path.endsWith('.py')),
    [`${lib}/a.py`, `${lib}/c.py`],
  );
});

test('distributions that an operating system installed are guesses, for want of its database', async () => {
  const specs = [
    ...dist('a', { 'a/m.py': 'm' }, { installer: 'debian' }),
    { path: `${lib}/a/__pycache__/m.cpython-311.pyc` },
  ];
  const found = await detect(...specs);
  assert.ok(found?.claims.every(({ strength }) => strength === 'guess'));
  assert.equal((await owners(specs))[`${id}/a`]?.length, 5);
  const ghost = listedBy(
    'dpkg',
    'dpkg:a',
    ...specs.map(({ path }) => path).filter((path) => !path.endsWith('pyc')),
  );
  assert.equal((await owners(specs, [ghost]))['dpkg:a']?.length, 5);
});

test('what a wheel bundles is its own, also below directories that sort before it', async () => {
  const bundled = dist('wheel', { 'wheel/x.py': 'w' }, { site: `${lib}/pkg_resources/_vendor` });
  const files = bundled.map(({ path, content }) => [path.slice(lib.length + 1), String(content)]);
  const found = await owners([...dist('setuptools', Object.fromEntries(files)), ...bundled]);
  assert.deepEqual(Object.keys(found), [`${id}/setuptools`]);
  const alone = await owners(bundled);
  assert.deepEqual(Object.keys(alone), [`${id}/pkg_resources/_vendor/wheel`]);
});

test('finds any directory with METADATA, and other forms only where installers put them', async () => {
  const target = await owners(dist('a', { 'a.py': 'a', 'bin/a': 'b' }, { site: 'app/vendor' }));
  assert.deepEqual(Object.keys(target), ['python:/app/vendor/a']);
  const root = await detect(
    ...dist('a', { 'a.py': 'a' }, { site: '' }).map((spec) => ({
      ...spec,
      path: spec.path.replace(/^\//, ''),
    })),
  );
  assert.deepEqual(
    root?.components.map(({ id }) => id),
    ['python:/a'],
  );
  for (const path of [
    'src/a.egg-info/PKG-INFO',
    'src/a-1.dist-info/RECORD',
    `${lib}/~ip-23.dist-info/METADATA`,
    `${lib}/.dist-info/METADATA`,
  ]) {
    assert.equal(await detect({ path, content: 'Name: a\n' }), undefined, path);
  }
  const bare = await detect(
    { path: `${lib}/a-1.dist-info/RECORD`, content: 'a.py,,' },
    { path: `${lib}/a.py` },
  );
  assert.deepEqual(bare?.components, [{ id: `${id}/a`, kind: 'language', packages: ['a==1'] }]);
  assert.equal(bare?.claims.filter(({ path }) => path === `${lib}/a.py`).length, 1);
});

test('without RECORD: lists of egg-info, modules by name, eggs as they are', async () => {
  const found = await owners([
    { path: `${lib}/Listed-1.0-py3.11.egg-info/PKG-INFO`, content: 'Name: Listed\nVersion: 1.0' },
    {
      path: `${lib}/Listed-1.0-py3.11.egg-info/installed-files.txt`,
      content: '../listed/m.py\nPKG-INFO\n../../../../bin/listed\n',
    },
    { path: `${lib}/Listed-1.0-py3.11.egg-info/top_level.txt`, content: 'stray\n' },
    { path: `${lib}/listed/m.py` },
    { path: `${lib}/stray.py` },
    { path: 'usr/bin/listed' },
    { path: `${lib}/top-2.egg-info/PKG-INFO`, content: 'Name: top\nVersion: 2' },
    { path: `${lib}/top-2.egg-info/top_level.txt`, content: 'pkg\n_native\n..\n/etc\n' },
    { path: `${lib}/pkg/sub/m.py` },
    { path: `${lib}/pkg/__pycache__/gone.cpython-311.pyc` },
    { path: `${lib}/_native.cpython-311-x86_64-linux-gnu.so` },
    { path: `${lib}/_native.txt` },
    { path: `${lib}/single_file-3-py3.11.egg-info`, content: 'Name: single-file\nVersion: 3' },
    { path: `${lib}/single_file.py` },
    { path: `${lib}/__pycache__/single_file.cpython-311.pyc` },
    { path: `${lib}/Egg-4-py3.11.egg/EGG-INFO/PKG-INFO`, content: 'Name: Egg\nVersion: 4' },
    { path: `${lib}/Egg-4-py3.11.egg/egg/m.py` },
    { path: `${lib}/zipped-5-py3.11.egg`, content: 'PK' },
  ]);
  const rest = Object.keys(found).filter((name) => !name.startsWith('python:'));
  assert.deepEqual(rest.flatMap((name) => found[name]).sort(), [
    `${lib}/_native.txt`,
    `${lib}/stray.py`,
  ]);
  for (const name of rest) delete found[name];
  assert.deepEqual(found, {
    [`${id}/egg`]: [
      `${lib}/Egg-4-py3.11.egg/EGG-INFO/PKG-INFO`,
      `${lib}/Egg-4-py3.11.egg/egg/m.py`,
    ],
    [`${id}/listed`]: [
      'usr/bin/listed',
      ...['PKG-INFO', 'installed-files.txt', 'top_level.txt'].map(
        (name) => `${lib}/Listed-1.0-py3.11.egg-info/${name}`,
      ),
      `${lib}/listed/m.py`,
    ],
    [`${id}/single-file`]: [
      `${lib}/__pycache__/single_file.cpython-311.pyc`,
      `${lib}/single_file-3-py3.11.egg-info`,
      `${lib}/single_file.py`,
    ],
    [`${id}/top`]: [
      `${lib}/_native.cpython-311-x86_64-linux-gnu.so`,
      `${lib}/pkg/__pycache__/gone.cpython-311.pyc`,
      `${lib}/pkg/sub/m.py`,
      `${lib}/top-2.egg-info/PKG-INFO`,
      `${lib}/top-2.egg-info/top_level.txt`,
    ],
    [`${id}/zipped`]: [`${lib}/zipped-5-py3.11.egg`],
  });
  const { components } = (await detect({
    path: `${lib}/zipped-5-py3.11.egg`,
    content: 'PK',
  })) as Detection;
  assert.deepEqual(components[0]?.packages, ['zipped==5']);
});

test('paths lead through symlinks of the tree, and a link in place of a file is not compared', async () => {
  const specs = dist(
    'a',
    { 'm.py': 'm', 'n.py': 'n', '/alias/t.txt': 't', '../../../bin/a': 's' },
    { site: 'opt/v/lib/python3/site-packages' },
  );
  const found = await owners([
    ...specs.filter(({ path }) => !/alias|n\.py/.test(path)),
    { path: 'alias', target: 'real' },
    { path: 'real/t.txt', content: 't' },
    { path: 'opt/v/lib/python3/site-packages/n.py', target: '/cache/n.py' },
  ]);
  const paths = found['python:/opt/v/lib/python3/site-packages/a'] ?? [];
  for (const path of ['real/t.txt', 'opt/v/bin/a', 'opt/v/lib/python3/site-packages/n.py'])
    assert.ok(paths.includes(path), path);
});

test('an environment has what was made with it, and not what lies beside', async () => {
  const own = [
    '.gitignore',
    'CACHEDIR.TAG',
    'bin/activate',
    'bin/activate.fish',
    'bin/activate_this.py',
    'bin/deactivate.bat',
    'bin/pydoc.bat',
    'lib/python3.13/site-packages/_virtualenv.pth',
    'lib/python3.13/site-packages/_virtualenv.py',
    'pyvenv.cfg',
  ];
  const links = ['bin/python', 'bin/python3', 'bin/python3.13', 'bin/python3.13t', 'lib64'];
  const other = ['bin/start', 'bin/activated', 'src/python', 'main.py', 'lib/x'];
  const found = await owners([
    ...[...own, ...other].map((path) => ({ path: `app/${path}` })),
    ...links.map((path) => ({ path: `app/${path}`, target: '/usr/bin/python3.13' })),
    { path: 'usr/bin/python3.13' },
  ]);
  assert.deepEqual(
    found['python:/app']?.sort(),
    [...own, ...links].map((path) => `app/${path}`).sort(),
  );
  assert.deepEqual(found['application:/app']?.sort(), other.map((path) => `app/${path}`).sort());
});

test('METADATA that does not say leaves the name to its directory', async () => {
  const HEADERS: readonly (readonly [content: string, title: string, warnings: number])[] = [
    ['Name: A.b\nVersion: 2\n', 'A.b==2', 0],
    ['\xef\xbb\xbfname: y\r\nVERSION:3\r\n\r\nVersion: 9', 'y==3', 0],
    ['Name: y\nName: z\nVersion: 1!2.0+l\n', 'y==1!2.0+l', 0],
    ['Summary: a\n Name: no\nName: y\n\nVersion: 9', 'y==1.0', 0],
    ['', 'dir_name==1.0', 1],
    ['Name: ../x\n', 'dir_name==1.0', 1],
    [`Name: ${'x'.repeat(300)}\n`, 'dir_name==1.0', 1],
    ['\nName: x\n', 'dir_name==1.0', 1],
    ['\0\xff', 'dir_name==1.0', 1],
  ];
  for (const [content, title, warnings] of HEADERS) {
    const bytes = Buffer.from(content, 'latin1');
    const found = await detect({ path: `${lib}/dir_name-1.0.dist-info/METADATA`, content: bytes });
    assert.deepEqual(
      [found?.components[0]?.packages, found?.warnings.length],
      [[title], warnings],
      content,
    );
  }
});

test('lists without sense or without end are told of, and cost only themselves', async () => {
  const info = (name: string): string => `${lib}/${name}-1.dist-info`;
  const found = await detect(
    { path: `${info('a')}/METADATA`, content: 'Name: a\nVersion: 1\n' },
    { path: `${info('a')}/RECORD`, content: 'a.py,,\n,,\na,b,c,d\n' },
    { path: `${lib}/a.py` },
    { path: `${info('b')}/RECORD`, absent: { size: 65 << 20, digests: {} } },
    { path: `${lib}/b.py` },
    { path: `${info('c')}/RECORD`, content: 'x\n'.repeat((1 << 20) + 1) },
  );
  assert.deepEqual(found?.warnings, [
    `/${info('a')}/RECORD: 2 rows make no sense and are left out`,
    `/${info('b')}/RECORD is too long a list: it is not read`,
    `/${info('c')}/RECORD is too long a list: it is not read`,
  ]);
  const guess = { path: `${lib}/b.py`, component: `${id}/b`, strength: 'guess' };
  assert.deepEqual(found?.claims.filter(({ component }) => component === `${id}/b`).at(-1), guess);
  const many = Array.from({ length: 30 }, (_, i) => ({ path: `${info(`p${i}`)}/METADATA` }));
  const { warnings } = (await detect(...many)) as Detection;
  assert.deepEqual(
    [warnings.length, warnings.at(-1)],
    [21, '10 more warnings about Python distributions'],
  );
});

test('lists that are too long together are a damaged database', async () => {
  const specs = Array.from({ length: 5 }, (_, i) => ({
    path: `${lib}/p${i}-1.dist-info/RECORD`,
    absent: { size: 60 << 20, digests: {} },
  }));
  const damage = (error: unknown): boolean => {
    assert.ok(error instanceof RechunkError);
    assert.equal(error.code, 'database');
    assert.match(error.message, /their lists have 314572800 bytes, at most 268435456 are read/);
    return true;
  };
  await assert.rejects(detect(...specs), damage);
});

test('any METADATA and RECORD give a detection or a damaged database', async () => {
  const line = fc.oneof(
    fc.constantFrom('Name: x', 'Version: 1', 'a/m.py,,', '../../../bin/x,sha256=AAAA,1', '', '"'),
    fc.string(),
  );
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)),
    fc.array(line, { maxLength: 8 }).map((lines) => Buffer.from(lines.join('\n'))),
  );
  const names = ['METADATA', 'RECORD', 'INSTALLER', 'top_level.txt'];
  await fc.assert(
    fc.asyncProperty(fc.tuple(bytes, bytes, bytes, bytes), async (contents) => {
      const files = names.map((name, i) => ({
        path: `${lib}/x-1.dist-info/${name}`,
        content: contents[i] as Buffer,
      }));
      const specs = [...files, { path: `${lib}/a/m.py` }, { path: 'usr/bin/x' }];
      const tree = memoryTree(specs);
      const found = (await python.detect(tree)) as Detection;
      assert.equal(found.components.length, 1);
      const { components } = await assign(tree, [found]);
      assert.equal(components.flatMap(({ entries }) => entries).length, specs.length);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test('nothing depends on the order of files', async () => {
  const specs = await venvSpecs();
  const found = await python.detect(memoryTree(specs));
  assert.deepEqual(await python.detect(memoryTree([...specs].reverse())), found);
});

test('finds nothing where there is no distribution', async () => {
  assert.equal(await detect({ path: 'app/main.py' }, { path: `${lib}/README.txt` }), undefined);
});

test('200,000 files in 2,000 distributions take seconds, not minutes', async () => {
  const specs: FileSpec[] = [];
  for (let i = 0; i < 2_000; i++) {
    const name = `p${i}`;
    const files = Object.fromEntries(
      Array.from({ length: 100 }, (_, j) => [`${name}/d${j % 5}/f${j}.py`, `${j}`]),
    );
    specs.push(...dist(name, files, { site: `srv/${i % 10}/lib/site-packages` }));
  }
  const tree = memoryTree(specs);
  const started = process.cpuUsage();
  const found = await python.detect(tree);
  const { user } = process.cpuUsage(started);
  assert.equal(found?.components.length, 2_000);
  assert.ok(user < 20_000_000, `it took ${user} µs`);
});

test('no number of files in one place is too many', async () => {
  // More than there may be arguments of one call, which end between 120,000 and 130,000.
  const count = 150_000;
  const names = Array.from({ length: count }, (_, i) => `f${i}.py`);
  const [listed, egg] = [`${lib}/a-1.dist-info/RECORD`, `${lib}/b.egg`];
  const specs = [
    { path: listed, content: names.map((name) => `d/${name},,\n`).join('') },
    ...names.flatMap((name) => [{ path: `${lib}/d/${name}` }, { path: `${egg}/${name}` }]),
  ];
  const found = await python.detect(memoryTree(specs));
  assert.equal(found?.claims.length, 2 * count + 1);
});

test('guesses of many distributions at one package cost its files once', async () => {
  const specs: FileSpec[] = Array.from({ length: 20_000 }, (_, j) => ({
    path: `${lib}/shared/f${j}.py`,
  }));
  for (let i = 0; i < 2_000; i++) {
    specs.push({ path: `${lib}/p${i}.egg-info/PKG-INFO`, content: `Name: q${2_000 - i}\n` });
    specs.push({ path: `${lib}/p${i}.egg-info/top_level.txt`, content: 'shared\n' });
  }
  const found = await detect(...specs);
  const guesses = found?.claims.filter(({ strength }) => strength === 'guess') ?? [];
  assert.equal(guesses.length, 20_000);
  assert.deepEqual([...new Set(guesses.map(({ component }) => component))], [`${id}/q1`]);
});

test.run();
