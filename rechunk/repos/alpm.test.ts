import * as assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import { type FileSpec, memoryTree, specsOfTar } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { Claim, Detection } from '../components.ts';
import { alpm, type MtreeEntry, parseMtree, parseSections } from './alpm.ts';

const SEED = 20261121;
const data = new URL('../../test-images/packages/alpm/', import.meta.url);
const specs = await specsOfTar(readFileSync(new URL('pacman-local.tar.gz', data)));

/** What pacman said of one package. */
interface Facts {
  readonly name: string;
  readonly version: string;
  readonly base: string;
  readonly arch: string;
  readonly builddate: number;
  readonly installdate: number;
  readonly size: number;
  readonly nfiles: number;
  readonly ndirs: number;
  readonly nbackup: number;
  readonly mtree_entries: number;
  readonly mtree_file_size_sum: number;
  readonly files_sha256: string;
  readonly files?: readonly string[];
  readonly mtree?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}
const expected = JSON.parse(readFileSync(new URL('expected.json', data)).toString()) as {
  npackages: number;
  nbases: number;
  packages: Facts[];
};

const contentOf = (path: string): Buffer =>
  specs.find((spec) => spec.path === path)?.content as Buffer;
const META = new Set(['.PKGINFO', '.BUILDINFO', '.INSTALL', '.CHANGELOG', '.MTREE']);

function factsOf(directory: string, wanted: Facts): Facts {
  const desc = parseSections(contentOf(`${directory}/desc`));
  const sections = parseSections(contentOf(`${directory}/files`));
  const mtree = [...parseMtree(contentOf(`${directory}/mtree`))].filter(
    ([path]) => !META.has(path),
  );
  const files = sections.get('FILES') ?? [];
  const value = (key: string): string => desc.get(key)?.[0] ?? '';
  const sorted = Buffer.from([...files].sort().join('\n'), 'latin1');
  return {
    name: value('NAME'),
    version: value('VERSION'),
    base: value('BASE'),
    arch: value('ARCH'),
    builddate: Number(value('BUILDDATE')),
    installdate: Number(value('INSTALLDATE')),
    size: Number(value('SIZE')),
    nfiles: files.length,
    ndirs: files.filter((path) => path.endsWith('/')).length,
    nbackup: sections.get('BACKUP')?.length ?? 0,
    mtree_entries: mtree.length,
    mtree_file_size_sum: mtree.reduce(
      (sum, [, { type, size }]) => sum + (type === 'file' ? (size ?? 0) : 0),
      0,
    ),
    files_sha256: createHash('sha256').update(sorted).digest('hex'),
    ...(wanted.files && { files }),
    ...(wanted.mtree && { mtree: wanted.mtree }),
  };
}

test('agrees with pacman on every package of an Arch image', () => {
  assert.equal(expected.packages.length, expected.npackages);
  for (const wanted of expected.packages) {
    const directory = `var/lib/pacman/local/${wanted.name}-${wanted.version}`;
    assert.deepEqual(factsOf(directory, wanted), wanted);
  }
});

test('reads every attribute of the mtrees as libarchive wrote them', () => {
  for (const { name, version, mtree } of expected.packages) {
    if (!mtree) continue;
    const found = parseMtree(contentOf(`var/lib/pacman/local/${name}-${version}/mtree`));
    for (const path of META) found.delete(path);
    const wanted = Object.entries(mtree).map(([path, keys]): [string, MtreeEntry] => [
      Buffer.from(path).toString('latin1'),
      {
        type: keys['type'] as string,
        ...(keys['size'] && { size: Number(keys['size']) }),
        ...(keys['md5digest'] && { md5: keys['md5digest'] }),
        ...(keys['sha256digest'] && { sha256: keys['sha256digest'] }),
        ...(keys['link'] && { link: keys['link'] }),
      },
    ]);
    assert.ok(wanted.length > 10, name);
    assert.deepEqual(found, new Map(wanted));
  }
});

test('finds the packages, bases and claims of an Arch image', async () => {
  const found = await alpm.detect(memoryTree(specs));
  assert.ok(found);
  assert.deepEqual(found.warnings, []);
  assert.equal(found.components.length, expected.nbases);
  assert.deepEqual(
    found.components.flatMap(({ packages }) => packages ?? []).sort(),
    expected.packages.map(({ name, version }) => `${name}-${version}`).sort(),
  );
  const listed = expected.packages.reduce((sum, { nfiles }) => sum + nfiles, 0);
  assert.equal(found.claims.length, listed);
  const files = found.claims.filter(({ type }) => type === 'file');
  assert.ok(
    files.every(({ digest, size }) => digest?.algorithm === 'sha256' && size !== undefined),
  );
  assert.ok(
    found.claims.every(({ type, target }) => (type === 'symlink') === (target !== undefined)),
  );
  assert.deepEqual(
    found.claims.find(({ path }) => path === 'usr/lib/libacl.so'),
    {
      path: 'usr/lib/libacl.so',
      component: 'alpm:acl',
      strength: 'owner',
      type: 'symlink',
      target: 'libacl.so.1.1.2302',
    },
  );
  const acl = found.components.find(({ id }) => id === 'alpm:acl');
  assert.deepEqual(acl?.changeTimes, [1706086640 - (1706086640 % 86_400)]);
  assert.equal(acl?.changesFrom, 'build');
});

const DESC = '%NAME%\na\n\n%VERSION%\n1-1\n\n%BASE%\nbase-a\n\n%BUILDDATE%\n90000\n\n';
function packageAt(database: string, files: string, mtree?: string | Buffer): FileSpec[] {
  const directory = `${database}/local/a-1-1`;
  return [
    { path: `${database}/local/ALPM_DB_VERSION`, content: '9\n' },
    { path: `${directory}/desc`, content: DESC },
    { path: `${directory}/files`, content: `%FILES%\n${files}\n` },
    ...(mtree === undefined ? [] : [{ path: `${directory}/mtree`, content: mtree }]),
  ];
}
const detect = (...files: FileSpec[]): Promise<Detection | undefined> =>
  alpm.detect(memoryTree(files));
const claimsOf = async (...files: FileSpec[]): Promise<readonly Claim[]> =>
  (await detect(...files))?.claims ?? [];

test('mtree defaults, octal escapes, continued lines and plain text', () => {
  const text = [
    '#mtree',
    '/set type=file mode=644',
    './caf\\303\\251\\040x\\134y size=3 \\',
    '  sha256digest=AB',
    '/set type=link',
    './l link=a\\040b',
    '/unset type',
    './none',
    '/set type=dir',
    '/unset all',
    './also',
  ].join('\n');
  const wanted = new Map<string, MtreeEntry>([
    ['caf\xc3\xa9 x\\y', { type: 'file', size: 3, sha256: 'ab' }],
    ['l', { type: 'link', link: 'a b' }],
    ['none', {}],
    ['also', {}],
  ]);
  assert.deepEqual(parseMtree(Buffer.from(text)), wanted);
  assert.deepEqual(parseMtree(gzipSync(text)), wanted);
});

test('of a key that stands twice the last counts, and lines after a blank one are of no key', () => {
  const sections = parseSections(Buffer.from('%A%\n1\n\nstray\n%B%\nx\ny\n%A%\n2\n'));
  assert.deepEqual(
    sections,
    new Map([
      ['A', ['2']],
      ['B', ['x', 'y']],
    ]),
  );
});

test('a file is owned where it is what the mtree says', async () => {
  const digest = createHash('sha256').update('new').digest('hex');
  const md5 = createHash('md5').update('new').digest('hex');
  const mtree = `./etc/a type=file size=3 sha256digest=${digest}\n./etc/b type=file size=3 sha256digest=${digest}\n./etc/c type=file md5digest=${md5}\n`;
  const tree = memoryTree([
    ...packageAt('var/lib/pacman', 'etc/\netc/a\netc/b\netc/c', gzipSync(mtree)),
    { path: 'etc/a', content: 'new' },
    { path: 'etc/b', content: 'old' },
    { path: 'etc/c', content: 'new' },
  ]);
  const detection = await alpm.detect(tree);
  assert.ok(detection);
  const { components } = await assign(tree, [detection]);
  const own = components.find(({ id }) => id === 'alpm:base-a');
  assert.deepEqual(
    own?.entries.map(({ path }) => path),
    ['etc/a', 'etc/c'],
  );
});

test('finds a database where pacman.conf or a symlink puts it, once', async () => {
  const config = {
    path: 'etc/pacman.conf',
    content: '[options]\n#DBPath = /no\n DBPath = /opt/db/\n',
  };
  const moved = packageAt('opt/db', 'etc/a', '');
  assert.equal((await claimsOf(config, ...moved)).length, 1);
  assert.equal((await claimsOf(...moved)).length, 0);
  const link = { path: 'var/lib/pacman', target: '../../opt/db' };
  assert.equal((await claimsOf(config, link, ...moved)).length, 1);
  assert.equal((await claimsOf(...packageAt('usr/lib/pacman', 'etc/a', ''))).length, 1);
});

test('damage costs what is damaged, with a warning', async () => {
  const without = await detect(...packageAt('var/lib/pacman', 'etc/a'));
  assert.equal(without?.claims.length, 1);
  assert.deepEqual(without?.warnings, [
    '/var/lib/pacman/local/a-1-1/mtree is missing: files of its package are believed unseen',
  ]);
  const torn = gzipSync('./etc/a type=file').subarray(0, 15);
  const damaged = await detect(...packageAt('var/lib/pacman', 'etc/a', torn));
  assert.equal(damaged?.claims.length, 1);
  assert.match(
    damaged?.warnings[0] ?? '',
    /^reading \/var\/lib\/pacman\/local\/a-1-1\/mtree: unpacking it/,
  );
  const empty = await detect({ path: 'var/lib/pacman/local/b-1-1', type: 'dir' });
  assert.deepEqual(empty?.warnings, [
    '/var/lib/pacman/local/b-1-1 is left out: it has no desc that names a package',
  ]);
  assert.equal(await detect({ path: 'etc/pacman.conf', content: '[options]\n' }), undefined);
});

test('a package without base is its own, and a huge mtree is refused', async () => {
  const bomb = gzipSync(Buffer.alloc((128 << 20) + 1, '\n'), { level: 1 });
  const found = await detect(
    { path: 'var/lib/pacman/local/n-1-1/desc', content: '%NAME%\nn\n\n%VERSION%\n1-1\n' },
    { path: 'var/lib/pacman/local/n-1-1/files', content: '%FILES%\netc/n\n' },
    { path: 'var/lib/pacman/local/n-1-1/mtree', content: bomb },
  );
  assert.deepEqual(found?.claims, [{ path: 'etc/n', component: 'alpm:n', strength: 'owner' }]);
  assert.match(found?.warnings.join() ?? '', /mtree: unpacking it: Cannot create a Buffer larger/);
});

test('any bytes parse or are a database error', () => {
  const words = fc.constantFrom(
    '/set',
    '/unset',
    'type=',
    '=',
    '\\',
    '\\3',
    './a',
    ' ',
    '\n',
    '#',
    '%A%',
    'all',
  );
  const property = fc.property(
    fc.array(fc.oneof(words, fc.string())),
    fc.uint8Array(),
    (parts, junk) => {
      const bytes = Buffer.from(parts.join(''));
      parseSections(bytes);
      parseMtree(bytes);
      try {
        parseMtree(Buffer.concat([Buffer.from([0x1f, 0x8b]), junk]));
      } catch (error) {
        assert.ok(error instanceof RechunkError && error.code === 'database', String(error));
      }
    },
  );
  fc.assert(property, { seed: SEED, numRuns: 500 });
});

test.run();
