import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import type { Path } from '../../registry/path.ts';
import {
  type FileSpec,
  memoryTree,
  specsOfDockerArchive,
  specsOfTar,
} from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import { type Detection, locator } from '../components.ts';
import type { Tree } from '../tree.ts';
import { parseChangelog } from './changelog.ts';
import { dpkg } from './dpkg.ts';
import {
  parseConffiles,
  parseDigests,
  parseDiversions,
  parseStanzas,
  readStatus,
} from './dpkgstatus.ts';

const SEED = 20_261_121;
const DATA = new URL('../../test-images/packages/dpkg/', import.meta.url);
const read = (name: string): Buffer => readFileSync(new URL(name, DATA));
const json = (name: string): never =>
  JSON.parse(String(name.endsWith('.gz') ? gunzipSync(read(name)) : read(name))) as never;
const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

interface BookwormPackage {
  readonly name: string;
  readonly arch: string;
  readonly version: string;
  readonly source: string;
  readonly installed_size_kib: number;
  readonly multi_arch: string | null;
  readonly listed_paths: number;
  readonly changelog_newest: number;
  readonly changelog_entries_in_that_file: number;
  readonly conffiles: number;
}
interface Bookworm {
  readonly npackages: number;
  readonly nsources: number;
  readonly packages: readonly BookwormPackage[];
  readonly owned_nondir: number;
  readonly unowned_nondir: readonly string[];
  readonly diversions: readonly {
    readonly path: string;
    readonly to: string;
    readonly by: string;
  }[];
  readonly listed_not_canonical: number;
}
interface Row {
  readonly path: string;
  readonly type: 'file' | 'dir' | 'symlink';
  readonly mode: string;
  readonly mtime: number;
  readonly size: number;
  readonly sha256: string;
  readonly link: string;
  readonly inode?: number;
}

const facts: Bookworm = json('bookworm-minbase/expected.json');

/** What the database says that files held: the fixture has the content of few. */
function shippedDigests(meta: readonly FileSpec[]): Map<string, string> {
  const digests = new Map<string, string>();
  for (const { path, content } of meta) {
    const text = (content ?? '').toString('latin1');
    if (path.endsWith('.md5sums')) for (const [at, hex] of parseDigests(text)) digests.set(at, hex);
    if (!path.endsWith('/status')) continue;
    for (const stanza of parseStanzas(text))
      for (const [at, hex] of parseConffiles(stanza)) digests.set(at, hex);
  }
  return digests;
}

/** The root of a real bookworm; `edit` changes what the files hold. */
async function bookworm(edit: (spec: FileSpec) => FileSpec = (spec) => spec): Promise<Tree> {
  const meta = await specsOfTar(read('bookworm-minbase/meta.tar.gz'));
  const contents = new Map(meta.map(({ path, content }) => [path, content]));
  const digests = shippedDigests(meta);
  const rows = String(gunzipSync(read('bookworm-minbase/tree.jsonl.gz')))
    .trim()
    .split('\n');
  const first = new Map<number, string>();
  const specs = rows.map((line): FileSpec => {
    const row = JSON.parse(line) as Row;
    const path = latin1(row.path.slice(1));
    const meta = { path, mode: Number.parseInt(row.mode, 8), mtime: BigInt(row.mtime) * 10n ** 9n };
    if (row.type === 'symlink') return { ...meta, target: latin1(row.link) };
    if (row.type === 'dir') return { ...meta, type: 'dir' };
    const link = row.inode === undefined ? undefined : first.get(row.inode);
    if (link !== undefined) return { path, link };
    if (row.inode !== undefined) first.set(row.inode, path);
    const content = contents.get(path);
    if (content !== undefined) return { ...meta, content };
    const md5 = digests.get(`/${path}`) ?? digests.get(`/${path.replace(/^usr\//, '')}`) ?? '';
    return { ...meta, absent: { size: row.size, digests: { sha256: row.sha256, md5 } } };
  });
  return memoryTree(specs.map(edit));
}

async function detect(tree: Tree): Promise<Detection> {
  const detection = await dpkg.detect(tree);
  assert.ok(detection);
  return detection;
}

async function ownersOf(tree: Tree): Promise<Map<string, string>> {
  const { components } = await assign(tree, [await detect(tree)]);
  return new Map(components.flatMap(({ id, entries }) => entries.map(({ path }) => [path, id])));
}

const md5 = (content: string): string => createHash('md5').update(content).digest('hex');
const stanza = (name: string, rest = ''): string =>
  `Package: ${name}\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n${rest}\n`;
const info = (name: string, paths: readonly string[], sums = ''): FileSpec[] => [
  { path: `var/lib/dpkg/info/${name}.list`, content: ['/.', ...paths, ''].join('\n') },
  { path: `var/lib/dpkg/info/${name}.md5sums`, content: sums },
];
const status = (...stanzas: readonly string[]): FileSpec => ({
  path: 'var/lib/dpkg/status',
  content: stanzas.join('\n'),
});

test('reads every package of a real bookworm', async () => {
  const tree = await bookworm();
  const { packages, warnings } = await readStatus(tree, 'var/lib/dpkg' as Path);
  assert.deepEqual(warnings, []);
  assert.equal(packages.length, facts.npackages);
  assert.equal(new Set(packages.map(({ source }) => source)).size, facts.nsources);
  const text = (await tree.read('var/lib/dpkg/status')) as Buffer;
  const stanzas = new Map(parseStanzas(text.toString('utf8')).map((s) => [s.get('package'), s]));
  for (const want of facts.packages) {
    const found = packages.filter(({ name }) => name === want.name);
    const got = found.map(({ version, source, files, conffiles }) => [
      version,
      source,
      files?.length,
      conffiles.size,
    ]);
    assert.deepEqual(got, [[want.version, want.source, want.listed_paths, want.conffiles]]);
    const fields = stanzas.get(want.name);
    assert.equal(fields?.get('architecture'), want.arch);
    assert.equal(fields?.get('multi-arch') ?? null, want.multi_arch);
    assert.equal(Number(fields?.get('installed-size')), want.installed_size_kib);
  }
});

test('finds the owners of a real bookworm as dpkg-query does', async () => {
  const tree = await bookworm();
  const owners: Record<string, readonly string[]> = json(
    'bookworm-minbase/expected-owners.json.gz',
  );
  const sources = new Map(facts.packages.map(({ name, source }) => [name, `dpkg:${source}`]));
  const found = await ownersOf(tree);
  for (const [path, names] of Object.entries(owners)) {
    const wanted = names.map((name) => sources.get(name));
    const owner = found.get(latin1(path.slice(1)));
    assert.ok(wanted.includes(owner), `${path} is of ${owner}, want one of ${wanted}`);
  }
  assert.deepEqual(
    ['bin', 'lib', 'sbin'].map((path) => found.get(path)),
    ['dpkg:base-files', 'dpkg:base-files', 'dpkg:base-files'],
  );
  assert.equal(Object.keys(owners).length, facts.owned_nondir);
});

test('claims nothing as owner that dpkg-query knows no owner of', async () => {
  const tree = await bookworm();
  const locate = locator(tree);
  const { claims } = await detect(tree);
  const listed = claims.filter(({ strength, type }) => strength === 'owner' && type !== 'dir');
  const claimed = new Set(listed.map(({ path }) => locate(path)));
  for (const path of facts.unowned_nondir)
    assert.ok(!claimed.has(latin1(path.slice(1)) as Path), path);
  const elsewhere = claims.filter(({ path, strength }) => {
    const at = locate(path);
    return strength === 'owner' && at !== undefined && `/${at}` !== path;
  });
  assert.equal(elsewhere.length, facts.listed_not_canonical);
});

test('gives what packages made, and links, to those packages', async () => {
  const found = await ownersOf(await bookworm());
  const owners = (...paths: readonly string[]): (string | undefined)[] =>
    paths.map((path) => found.get(path));
  assert.deepEqual(owners('usr/bin/awk', 'etc/alternatives/awk', 'usr/share/man/man1/awk.1.gz'), [
    'dpkg:mawk',
    'dpkg:mawk',
    'dpkg:mawk',
  ]);
  assert.deepEqual(owners('etc/ssl/certs/002c0b4f.0', 'etc/rc0.d/K01hwclock.sh', 'etc/localtime'), [
    'dpkg:ca-certificates',
    'dpkg:util-linux',
    'dpkg:tzdata',
  ]);
  assert.deepEqual(
    owners('var/lib/dpkg/status', 'var/lib/dpkg/info/bash.list', 'etc/ld.so.cache', 'etc/fstab'),
    ['database:dpkg', 'dpkg:bash', 'generated:volatile', 'config'],
  );
  const notes = ['libc6:amd64.md5sums', 'libc6:amd64.triggers', 'perl-base.list', 'format'];
  assert.deepEqual(owners(...notes.map((name) => `var/lib/dpkg/info/${name}`)), [
    'dpkg:glibc',
    'dpkg:glibc',
    'dpkg:perl',
    'database:dpkg',
  ]);
  assert.equal(found.get('usr/bin/perl'), found.get('usr/bin/perl5.36.0'));
});

test('dates packages by changelogs, and without them by their files', async () => {
  const { components } = await detect(await bookworm());
  const times = new Map(components.map(({ id, changeTimes }) => [id, changeTimes ?? []]));
  assert.ok(components.some(({ changesFrom }) => changesFrom === 'changelog'));
  for (const { source, changelog_newest: newest } of facts.packages) {
    assert.ok(times.get(`dpkg:${source}`)?.includes(newest), `${source} lacks ${newest}`);
  }
  for (const name of ['coreutils', 'zlib1g']) {
    const fact = facts.packages.find((candidate) => candidate.name === name) as BookwormPackage;
    const own = times.get(`dpkg:${fact.source}`) ?? [];
    assert.equal(own.at(-1), fact.changelog_newest);
    const path = `usr/share/doc/${name}/changelog.Debian.gz`;
    const entries = parseChangelog(
      String(gunzipSync((await (await bookworm()).read(path)) as Buffer)),
    );
    assert.equal(entries.length, fact.changelog_entries_in_that_file);
    assert.deepEqual(
      own,
      [...new Set(entries)].sort((a, b) => a - b),
    );
  }
  const bash = times.get('dpkg:bash') ?? [];
  assert.deepEqual(
    bash.slice(-2),
    [1_672_661_181, 1_778_185_982].map(Number),
    'binNMU, then source',
  );
});

test('takes an edited file from its package', async () => {
  const edited = ['etc/bash.bashrc', 'usr/bin/awk-not', 'usr/lib/os-release', 'usr/bin/mawk'];
  const tree = await bookworm((spec) =>
    edited.includes(spec.path) ? { path: spec.path, content: 'edited' } : spec,
  );
  const { components, warnings } = await assign(tree, [await detect(tree)]);
  const owner = (path: string): string | undefined =>
    components.find(({ entries }) => entries.some((entry) => entry.path === path))?.id;
  assert.deepEqual(
    edited.map((path) => owner(path)),
    ['config', undefined, 'generated:modified', 'generated:modified'],
  );
  assert.equal(owner('usr/share/man/man1/mawk.1.gz'), 'dpkg:mawk');
  assert.deepEqual(warnings, [
    '3 files differ from what packages shipped and lie outside their layers: /etc/bash.bashrc, /usr/bin/mawk, /usr/lib/os-release',
  ]);
});

test('reads distroless stanzas and guesses what their packages own', async () => {
  const tree = memoryTree(
    await specsOfDockerArchive(read('distroless-base/docker-archive-emptied.tar.gz')),
  );
  const wanted: { packages: { file: string; name: string; version: string; source: string }[] } =
    json('distroless-base/expected.json');
  const { packages } = await readStatus(tree, 'var/lib/dpkg' as Path);
  assert.deepEqual(
    packages.map(({ stanza: path, name, version, source }) => ({
      file: path.slice(path.lastIndexOf('/') + 1),
      name,
      version,
      source,
    })),
    wanted.packages.map(({ file, name, version, source }) => ({ file, name, version, source })),
  );
  assert.ok(packages.every(({ files }) => files === undefined));
  const found = await ownersOf(tree);
  for (const { name, source, file } of wanted.packages) {
    const paths = [`usr/share/doc/${name}/copyright`, `var/lib/dpkg/status.d/${file}`];
    for (const path of paths) assert.equal(found.get(path), `dpkg:${source}`, path);
  }
  assert.equal(found.get('lib/x86_64-linux-gnu/libc-2.31.so'), 'dpkg:glibc');
  assert.equal(found.get('lib64/ld-linux-x86-64.so.2'), 'dpkg:glibc');
  assert.equal(found.get('usr/lib/x86_64-linux-gnu/libssl.so.1.1'), 'dpkg:openssl');
  assert.equal(found.get('usr/share/zoneinfo/Singapore'), 'dpkg:tzdata');
  const left = [...found].filter(([, id]) => id === 'rest');
  assert.ok(left.length < 20, `${left.length} files are left`);
});

test('reads distroless lists of newer images', async () => {
  const tree = memoryTree([
    {
      path: 'var/lib/dpkg/status.d/libfoo1',
      content: 'Package: libfoo1\nVersion: 2\nSource: foo (1)\n',
    },
    {
      path: 'var/lib/dpkg/status.d/libfoo1.md5sums',
      content: `${md5('a')}  usr/lib/libfoo.so.1.2\n`,
    },
    { path: 'usr/lib/libfoo.so.1.2', content: 'a' },
    { path: 'usr/lib/libfoo.so.1', target: 'libfoo.so.1.2' },
  ]);
  assert.deepEqual(Object.fromEntries(await ownersOf(tree)), {
    'usr/lib/libfoo.so.1': 'dpkg:foo',
    'usr/lib/libfoo.so.1.2': 'dpkg:foo',
    'var/lib/dpkg/status.d/libfoo1': 'dpkg:foo',
    'var/lib/dpkg/status.d/libfoo1.md5sums': 'dpkg:foo',
  });
});

test('follows diversions as they are written, before symlinks', async () => {
  assert.deepEqual(
    [
      ...parseDiversions(
        (await (await bookworm()).read('var/lib/dpkg/diversions'))?.toString() ?? '',
      ),
    ],
    facts.diversions.map(({ path, to, by }) => [path, { to, by }]),
  );
  const lib = '/lib/x86_64-linux-gnu/libr.so.8';
  const tree = memoryTree([
    status(stanza('old'), stanza('libr'), stanza('dash'), stanza('bash')),
    ...info('old', ['/lib', '/lib/x86_64-linux-gnu', lib]),
    ...info('libr', [`/usr${lib}`]),
    ...info('dash', ['/bin/sh']),
    ...info('bash', ['/bin/sh', '/bin/bash']),
    {
      path: 'var/lib/dpkg/diversions',
      content: `${lib}\n${lib}.usr-is-merged\nlibr\n/bin/sh\n/bin/sh.distrib\ndash\n/bin/bash\n/bin/bash.real\n:\n`,
    },
    { path: 'lib', target: 'usr/lib' },
    { path: 'bin', target: 'usr/bin' },
    { path: `usr${lib}`, content: 'r' },
    ...['sh', 'sh.distrib', 'bash', 'bash.real'].map((name) => ({ path: `usr/bin/${name}` })),
  ]);
  const found = await ownersOf(tree);
  assert.equal(found.get(`usr${lib}`), 'dpkg:libr');
  assert.equal(found.get('usr/bin/sh'), 'dpkg:dash');
  assert.equal(found.get('usr/bin/sh.distrib'), 'dpkg:bash');
  assert.equal(found.get('usr/bin/bash.real'), 'dpkg:bash');
  assert.equal(found.get('usr/bin/bash'), 'rest');
});

test('keeps the packages of two architectures apart and their source together', async () => {
  const arch = (name: string): string =>
    `Package: libx1\nStatus: install ok installed\nVersion: 1\nArchitecture: ${name}\nSource: x (0.9)\nMulti-Arch: same\n`;
  const tree = memoryTree([
    status(arch('amd64'), arch('i386')),
    ...info('libx1:amd64', ['/usr/lib/x86_64-linux-gnu/libx.so.1', '/usr/share/x']),
    ...info('libx1:i386', ['/usr/lib/i386-linux-gnu/libx.so.1', '/usr/share/x']),
    { path: 'usr/lib/x86_64-linux-gnu/libx.so.1', content: '64' },
    { path: 'usr/lib/i386-linux-gnu/libx.so.1', content: '32' },
    { path: 'usr/share/x' },
  ]);
  const { components } = await assign(tree, [await detect(tree)]);
  const [x] = components.filter(({ id }) => id === 'dpkg:x');
  assert.deepEqual(x?.packages, ['libx1 1']);
  const shipped = x?.entries.filter(({ path }) => path.startsWith('usr/'));
  assert.equal(shipped?.length, 3);
  assert.equal(x?.entries.length, 7, 'and what dpkg notes of both architectures');
});

test('counts packages that are unpacked, and no others', async () => {
  const states = [
    'installed',
    'half-configured',
    'triggers-awaited',
    'triggers-pending',
    'unpacked',
  ];
  const gone = ['config-files', 'not-installed', 'half-installed'];
  const all = [...states, ...gone].map(
    (state) => `package: p-${state}\nSTATUS: install ok ${state}\nDescription: x\n .\n more\n`,
  );
  const { packages } = await readStatus(memoryTree([status(...all)]), 'var/lib/dpkg' as Path);
  assert.deepEqual(
    packages.map(({ name }) => name),
    states.map((state) => `p-${state}`),
  );
});

test('gives the links of an alternative to its package where the targets were left out', async () => {
  const tree = memoryTree([
    status(stanza('mawk', 'Source: mawk-src')),
    ...info('mawk', ['/usr/bin/mawk', '/usr/share/man/man1/mawk.1.gz']),
    {
      path: 'var/lib/dpkg/alternatives/awk',
      content:
        'auto\n/usr/bin/awk\nawk.1.gz\n/usr/share/man/man1/awk.1.gz\n\n/usr/bin/gawk\n10\n\n/usr/bin/mawk\n5\n/usr/share/man/man1/mawk.1.gz\n\n',
    },
    { path: 'usr/bin/mawk', content: 'm' },
    { path: 'usr/bin/awk', target: '/etc/alternatives/awk' },
    { path: 'etc/alternatives/awk', target: '/usr/bin/mawk' },
    { path: 'usr/share/man/man1/awk.1.gz', target: '/etc/alternatives/awk.1.gz' },
    { path: 'etc/alternatives/awk.1.gz', target: '/usr/share/man/man1/mawk.1.gz' },
  ]);
  const found = await ownersOf(tree);
  found.delete('var/lib/dpkg/alternatives/awk');
  for (const [path, owner] of found)
    if (!path.startsWith('var/')) assert.equal(owner, 'dpkg:mawk-src', path);
});

test('does not depend on the order in which packages claim the target of an alternative', async () => {
  for (const order of [
    ['a', 'b'],
    ['b', 'a'],
  ]) {
    const tree = memoryTree([
      status(...order.map((name) => stanza(name))),
      ...order.flatMap((name) => info(name, ['/usr/bin/real'])),
      { path: 'var/lib/dpkg/alternatives/x', content: 'auto\n/usr/bin/x\n\n/usr/bin/real\n1\n\n' },
      { path: 'etc/alternatives/x', target: '/usr/bin/real' },
      { path: 'usr/bin/real' },
      { path: 'usr/bin/x', target: '/etc/alternatives/x' },
    ]);
    const { claims } = await detect(tree);
    const guesses = claims.filter(
      ({ strength, path }) => strength === 'guess' && !/\/info\//.test(path),
    );
    assert.deepEqual(
      guesses.map(({ path, component }) => [path, component]),
      [
        ['etc/alternatives/x', 'dpkg:a'],
        ['/usr/bin/x', 'dpkg:a'],
      ],
    );
  }
});

test('reads a database once through a symlink and says so of none', async () => {
  const tree = memoryTree([
    { path: 'usr/lib/sysimage/dpkg/status', content: stanza('a') },
    { path: 'usr/lib/sysimage/dpkg/info/a.list', content: '/opt/a\n' },
    { path: 'var/lib/dpkg', target: '../../usr/lib/sysimage/dpkg' },
    { path: 'opt/a' },
  ]);
  const { claims } = await detect(tree);
  assert.deepEqual(claims, [
    { path: '/opt/a', component: 'dpkg:a', strength: 'owner' },
    { path: 'usr/lib/sysimage/dpkg/info/a.list', component: 'dpkg:a', strength: 'guess' },
  ]);
  assert.equal(await dpkg.detect(memoryTree([{ path: 'etc/passwd' }])), undefined);
});

test('reads dates in all zones and passes over what is none', () => {
  const trailer = (date: string): string => ` -- A B <a@b>  ${date}\n`;
  const dates = [
    'Mon, 02 Jan 2023 13:06:21 +0100',
    '2 Jan 2023 13:06:21 -0530',
    'Fri, 31 Foo 2020 00:00:00 +0000',
  ];
  assert.deepEqual(parseChangelog(dates.map(trailer).join('')), [1_672_661_181, 1_672_684_581]);
});

test('dates no package whose files were all set to the epoch', async () => {
  const tree = memoryTree([
    status(stanza('a')),
    ...info('a', ['/a'], `${md5('')}  a\n`),
    { path: 'a', mtime: 1n },
    { path: 'usr/share/doc/a/changelog.Debian.gz', content: gzipSync('no date').subarray(0, 9) },
  ]);
  assert.deepEqual((await detect(tree)).components, [
    { id: 'dpkg:a', kind: 'package', packages: ['a 1'] },
  ]);
});

test('refuses a damaged database with an error of its own', async () => {
  const tree = memoryTree([{ path: 'var/lib/dpkg/status', content: Buffer.alloc(4096, 0xfe) }]);
  await assert.rejects(dpkg.detect(tree), (error) => {
    assert.ok(error instanceof RechunkError);
    assert.equal(error.code, 'database');
    assert.equal(
      error.message,
      "reading dpkg's database: no package found: /var/lib/dpkg/status holds no stanza",
    );
    return true;
  });
});

test('lists and changelogs that many packages share are read once', async () => {
  const names = Array.from({ length: 500 }, (_, i) => `p${i}`);
  const status = names
    .map((name) => `Package: ${name}\nStatus: install ok installed\nVersion: 1\n`)
    .join('\n');
  const list = Array.from({ length: 20_000 }, (_, i) => `/usr/share/f${i}`).join('\n');
  const changelog = ' -- A <a@b>  Mon, 02 Jan 2023 00:00:00 +0000\n'.repeat(20_000);
  const shared = (first: string, content: string, pathOf: (name: string) => string): FileSpec[] => [
    { path: pathOf(first), content },
    ...names.slice(1).map((name) => ({ path: pathOf(name), link: pathOf(first) })),
  ];
  const tree = memoryTree([
    { path: 'var/lib/dpkg/status', content: status },
    ...shared('p0', list, (name) => `var/lib/dpkg/info/${name}.list`),
    ...shared('p0', changelog, (name) => `usr/share/doc/${name}/changelog`),
  ]);
  const found = await dpkg.detect(tree);
  assert.equal(found?.components.length, names.length);
  assert.ok(found.claims.length < 25_000, `${found.claims.length} claims`);
  assert.ok(found.components.every(({ changeTimes }) => changeTimes?.length === 1));
  assert.ok(found.components.every(({ changesFrom }) => changesFrom === 'changelog'));
});

test('empty lines take no memory', () => {
  const before = process.memoryUsage().heapUsed;
  assert.deepEqual(parseStanzas(`${'\n'.repeat(2_000_000)}Package: a\n\n\nPackage: b`).length, 2);
  const bytes = process.memoryUsage().heapUsed - before;
  assert.ok(bytes < 150_000_000, `${bytes} bytes`);
});

test('survives hostile databases', async () => {
  const word = fc.constantFrom(
    'Package: a',
    'Package: ../../etc',
    'Status: install ok installed',
    'Source: ..',
    'Source: a b (',
    ' cont',
    '',
    ':',
    'Conffiles:',
    ' /x d41d8cd98f00b204e9800998ecf8427e obsolete',
    '/../../x',
    '/loop/x',
    '/a',
    '\0',
    'x'.repeat(9000),
  );
  const text = fc.oneof(
    fc.array(word, { maxLength: 30 }).map((lines) => lines.join('\n')),
    fc.string({ unit: 'binary', maxLength: 300 }),
  );
  const files = fc.record({
    status: text,
    list: text,
    sums: text,
    diversions: text,
    alternative: text,
  });
  await fc.assert(
    fc.asyncProperty(files, async ({ status: stanzas, list, sums, diversions, alternative }) => {
      const tree = memoryTree([
        { path: 'var/lib/dpkg/status', content: stanzas },
        { path: 'var/lib/dpkg/status.d/a', content: stanzas },
        ...['a', 'a:amd64'].flatMap((name) => [
          { path: `var/lib/dpkg/info/${name}.list`, content: list },
          { path: `var/lib/dpkg/info/${name}.md5sums`, content: sums },
        ]),
        { path: 'var/lib/dpkg/diversions', content: diversions },
        { path: 'var/lib/dpkg/alternatives/x', content: alternative },
        { path: 'etc/alternatives/x', target: '/a' },
        { path: 'loop', target: 'loop' },
        { path: 'a', content: 'a' },
        { path: 'x' },
      ]);
      const detection = await dpkg.detect(tree).catch((error: unknown) => {
        assert.ok(error instanceof RechunkError, String(error));
      });
      const { components } = await assign(tree, detection ? [detection] : []);
      const count = components.reduce((sum, { entries }) => sum + entries.length, 0);
      assert.equal(count, tree.entries.filter(({ inode }) => inode.type !== 'dir').length);
    }),
    { seed: SEED, numRuns: 300 },
  );
});

test.run();
