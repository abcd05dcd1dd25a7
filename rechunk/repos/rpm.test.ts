import * as assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import {
  type PackageSpec,
  packageHeader,
  sqliteDatabase,
} from '../../test-images/packages/rpm/header.ts';
import { type FileSpec, memoryTree, specsOfTar } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { Claim, Detection } from '../components.ts';
import { rpm } from './rpm.ts';

const packages = new URL('../../test-images/packages/rpm/', import.meta.url);
const read = (name: string): Buffer => readFileSync(new URL(name, packages));
const sha256 = (content: string): string => createHash('sha256').update(content).digest('hex');

const SYSIMAGE = 'usr/lib/sysimage/rpm/rpmdb.sqlite';
const databaseOf = (...specs: PackageSpec[]): Buffer => sqliteDatabase(specs.map(packageHeader));

async function detect(...specs: FileSpec[]): Promise<Detection | undefined> {
  return rpm.detect(memoryTree(specs));
}

async function claimsOf(...specs: FileSpec[]): Promise<readonly Claim[]> {
  return (await detect(...specs))?.claims ?? [];
}

test('finds the packages, sources and claims of Mariner 2', async () => {
  const content = gunzipSync(read('mariner2-sqlite/rpmdb.sqlite.gz'));
  const expected = JSON.parse(read('mariner2-sqlite/expected.json').toString());
  const found = await detect({ path: 'var/lib/rpm/rpmdb.sqlite', content });
  assert.ok(found);
  assert.deepEqual(found.warnings, []);
  assert.equal(found.components.length, 85);
  const titles = found.components.flatMap(({ packages }) => packages ?? []).sort();
  assert.deepEqual(titles, [...expected.nevra].sort());
  assert.equal(found.claims.length, 7269);
  const ghosts = found.claims.filter(({ strength }) => strength === 'ghost');
  const counts = expected.packages.map(({ nghost }: { nghost: number }) => nghost);
  assert.equal(
    ghosts.length,
    counts.reduce((sum: number, count: number) => sum + count, 0),
  );
  const files = found.claims.filter(
    ({ strength, type }) => strength === 'owner' && type === 'file',
  );
  assert.ok(files.length > 4000 && files.every(({ digest }) => digest?.algorithm === 'sha256'));
  const bash = found.components.find(({ id }) => id === 'rpm:bash');
  const facts = expected.packages.find(({ name }: { name: string }) => name === 'bash');
  const days = facts.changelog_times.map((time: number) => time - (time % 86_400));
  assert.deepEqual(bash, {
    id: 'rpm:bash',
    kind: 'package',
    packages: ['bash-5.1.8-1.cm2.x86_64'],
    changeTimes: [...new Set(days)].sort(),
    changesFrom: 'changelog',
  });
});

test('gives every file of the lab root to the package that rpm -qf names', async () => {
  const tree = memoryTree(await specsOfTar(read('lab-root-sqlite/root.tar.gz')));
  const expected = JSON.parse(read('lab-root-sqlite/expected-owners.json').toString());
  const detection = await rpm.detect(tree);
  assert.ok(detection);
  const { components } = await assign(tree, [detection]);
  const owners = new Map(
    components.flatMap(({ id, entries }) => entries.map(({ path }) => [path as string, id])),
  );
  const ghosts = ['/var/log/demo/demo.log'];
  let owned = 0;
  for (const [path, names] of Object.entries(expected as Record<string, string[]>)) {
    const owner = owners.get(Buffer.from(path.slice(1)).toString('latin1'));
    assert.ok(owner, path);
    const wanted = names.length > 0 && !ghosts.includes(path);
    assert.equal(owner === 'rpm:demo', wanted, `${path} belongs to ${owner}`);
    if (wanted) owned++;
  }
  assert.equal(owned, 308);
  const demo = components.find(({ id }) => id === 'rpm:demo');
  assert.deepEqual(demo?.packages, [
    'demo-2:1.2.3-4.lab1.x86_64',
    'demo-data-2:1.2.3-4.lab1.noarch',
    'demo-libs-2:1.2.3-4.lab1.x86_64',
  ]);
  assert.deepEqual(demo?.changeTimes, [1767744000, 1785715200, 1793577600]);
});

test('claims carry kind, size, digest and target, ghosts only the kind', async () => {
  const digest = sha256('x');
  const content = databaseOf({
    name: 'a',
    digestAlgorithm: 8,
    files: [
      { path: '/usr/bin/a', size: 1, digest },
      { path: '/usr/bin/b', mode: 0o120777, size: 1, target: 'a' },
      { path: '/usr/share/a', mode: 0o040755, size: 4096 },
      { path: '/var/log/a', size: 7, flags: 64 },
      { path: '/dev/null', mode: 0o020666 },
      { path: '/usr/share/doc/a', size: 1, digest, state: 2 },
    ],
  });
  assert.deepEqual(await claimsOf({ path: SYSIMAGE, content }), [
    {
      path: '/usr/bin/a',
      component: 'rpm:a',
      strength: 'owner',
      type: 'file',
      size: 1,
      digest: { algorithm: 'sha256', hex: digest },
    },
    { path: '/usr/bin/b', component: 'rpm:a', strength: 'owner', type: 'symlink', target: 'a' },
    { path: '/usr/share/a', component: 'rpm:a', strength: 'owner', type: 'dir' },
    { path: '/var/log/a', component: 'rpm:a', strength: 'ghost', type: 'file' },
    { path: '/dev/null', component: 'rpm:a', strength: 'owner' },
  ]);
});

test('keeps the files of two architectures, several kernels and a package that stands twice', async () => {
  const kernel = (release: string): PackageSpec => ({
    name: 'kernel-core',
    version: '6.1',
    release,
    arch: 'x86_64',
    sourceRpm: `kernel-6.1-${release}.src.rpm`,
    files: [{ path: `/usr/lib/modules/6.1-${release}/vmlinuz` }],
  });
  const zlib = (arch: string, directory: string): PackageSpec => ({
    name: 'zlib',
    arch,
    sourceRpm: 'zlib-1-1.src.rpm',
    files: [{ path: `/usr/${directory}/libz.so.1` }],
  });
  const content = databaseOf(
    zlib('i686', 'lib'),
    kernel('1'),
    kernel('2'),
    zlib('x86_64', 'lib64'),
    kernel('2'),
  );
  const found = await detect({ path: SYSIMAGE, content });
  assert.deepEqual(
    found?.components.map(({ id, packages }) => [id, packages]),
    [
      ['rpm:kernel', ['kernel-core-6.1-1.x86_64', 'kernel-core-6.1-2.x86_64']],
      ['rpm:zlib', ['zlib-1-1.i686', 'zlib-1-1.x86_64']],
    ],
  );
  assert.deepEqual(
    [...new Set(found?.claims.map(({ path }) => path))].sort(),
    [
      '/usr/lib/modules/6.1-1/vmlinuz',
      '/usr/lib/modules/6.1-2/vmlinuz',
      '/usr/lib/libz.so.1',
      '/usr/lib64/libz.so.1',
    ].sort(),
  );
});

test('takes public keys as packages without files', async () => {
  const key = (version: string): PackageSpec => ({
    name: 'gpg-pubkey',
    version,
    release: '5a1e',
    sourceRpm: '(none)',
    buildTime: 1_600_000_000,
  });
  const found = await detect({ path: SYSIMAGE, content: databaseOf(key('b'), key('a')) });
  assert.deepEqual(found, {
    repo: 'rpm',
    components: [
      {
        id: 'rpm:gpg-pubkey',
        kind: 'package',
        packages: ['gpg-pubkey-a-5a1e', 'gpg-pubkey-b-5a1e'],
        changeTimes: [1_599_955_200],
        changesFrom: 'build',
      },
    ],
    claims: [],
    warnings: [],
  });
});

test('change times are the days of all changelogs of a source, or of the build', async () => {
  const noon = 43_200;
  const day = 86_400;
  const part = (name: string, times: number[], buildTime: number): PackageSpec => ({
    name,
    sourceRpm: 's-1-1.src.rpm',
    changelogTimes: times,
    buildTime,
  });
  const logged = databaseOf(
    part('a', [5 * day + noon, 2 * day + noon], 9 * day),
    part('b', [5 * day, 3 * day + 1], 9 * day),
    part('c', [], 9 * day),
  );
  const built = databaseOf(part('a', [], 9 * day + 5), part('b', [], 9 * day + 900));
  const times = async (content: Buffer): Promise<unknown> =>
    (await detect({ path: SYSIMAGE, content }))?.components[0]?.changeTimes;
  assert.deepEqual(await times(logged), [2 * day, 3 * day, 5 * day]);
  assert.deepEqual(await times(built), [9 * day]);
});

test('does not depend on the order of rows or on install times', async () => {
  const specs = ['a', 'b', 'c', 'd'].map(
    (name, i): PackageSpec => ({
      name,
      sourceRpm: `${i % 2 === 0 ? 'even' : 'odd'}-1-1.src.rpm`,
      changelogTimes: [i * 86_400],
      files: [{ path: `/usr/bin/${name}` }],
    }),
  );
  const files = specs.map(({ name }) => ({ path: `usr/bin/${name}` }));
  const outcome = async (order: PackageSpec[]): Promise<unknown> => {
    const tree = memoryTree([...files, { path: SYSIMAGE, content: databaseOf(...order) }]);
    const detection = await rpm.detect(tree);
    assert.ok(detection);
    const { components } = await assign(tree, [detection]);
    return components
      .filter(({ id }) => id.startsWith('rpm:'))
      .map(({ entries, ...info }) => ({ ...info, paths: entries.map(({ path }) => path) }));
  };
  const later = [...specs].reverse().map((spec) => ({ ...spec, installTime: 1_800_000_000 }));
  const first = await outcome(specs);
  assert.equal((first as unknown[]).length, 2);
  assert.deepEqual(await outcome(later), first);
});

const demo = databaseOf({ name: 'a', files: [{ path: '/etc/a' }] });
const paths = async (...specs: FileSpec[]): Promise<string[]> =>
  (await claimsOf(...specs)).map(({ path }) => path);

test('reads a database once whichever symlinks or hard links lead to it', async () => {
  assert.deepEqual(
    await paths(
      { path: 'usr/share/rpm/rpmdb.sqlite', content: demo },
      { path: 'usr/lib/sysimage/rpm', target: '../../share/rpm' },
      { path: 'var/lib/rpm', target: '/usr/share/rpm' },
    ),
    ['/etc/a'],
  );
  assert.deepEqual(
    await paths(
      { path: 'usr/share/rpm/rpmdb.sqlite', content: demo },
      { path: 'var/lib/rpm/rpmdb.sqlite', link: 'usr/share/rpm/rpmdb.sqlite' },
    ),
    ['/etc/a'],
  );
});

test('reads several databases, and not the copy that rpm-ostree keeps of the base', async () => {
  const other = databaseOf({ name: 'b', files: [{ path: '/etc/b' }] });
  assert.deepEqual(
    await paths(
      { path: SYSIMAGE, content: demo },
      { path: 'var/lib/rpm/rpmdb.sqlite', content: other },
    ),
    ['/etc/a', '/etc/b'],
  );
  const copy = { path: 'usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite', content: demo };
  assert.equal(await detect(copy), undefined);
});

test('claims /usr/etc for /etc in an ostree tree', async () => {
  assert.deepEqual(await paths({ path: SYSIMAGE, content: demo }, { path: 'usr/etc/a' }), [
    '/etc/a',
    '/usr/etc/a',
  ]);
});

test('finds nothing in an empty database or none', async () => {
  assert.equal(await detect({ path: 'etc/passwd' }), undefined);
  assert.equal(await detect({ path: SYSIMAGE, content: databaseOf() }), undefined);
  assert.equal(await detect({ path: SYSIMAGE }), undefined);
});

test('names databases of formats that are not read', async () => {
  const warnings = async (...specs: FileSpec[]): Promise<unknown> =>
    (await detect(...specs))?.warnings;
  assert.deepEqual(await warnings({ path: 'var/lib/rpm/Packages', content: 'x' }), [
    '/var/lib/rpm/Packages is an RPM database in the Berkeley DB format, which is not read yet: its packages are unknown',
  ]);
  assert.deepEqual(
    await warnings({ path: SYSIMAGE }, { path: 'usr/lib/sysimage/rpm/Packages.db', content: 'x' }),
    [
      '/usr/lib/sysimage/rpm/Packages.db is an RPM database in the ndb format, which is not read yet: its packages are unknown',
    ],
  );
  const linked = await warnings(
    { path: 'usr/share/rpm/Packages', content: 'x' },
    { path: 'var/lib/rpm', target: '../../usr/share/rpm' },
  );
  assert.equal((linked as string[]).length, 1);
  assert.equal(await detect({ path: 'var/lib/rpm/Packages' }), undefined);
  assert.deepEqual(
    await warnings(
      { path: SYSIMAGE, content: demo },
      { path: 'usr/lib/sysimage/rpm/Packages', content: 'left over' },
    ),
    [],
  );
});

test('reads packages that only the write-ahead log has', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'rechunk-rpm-wal-'));
  try {
    const path = join(directory, 'rpmdb.sqlite');
    writeFileSync(path, demo);
    const database = new DatabaseSync(path);
    database.exec('PRAGMA journal_mode = WAL');
    const blob = packageHeader({ name: 'b', files: [{ path: '/etc/b' }] });
    database.prepare('INSERT INTO Packages (blob) VALUES (?)').run(blob);
    const content = readFileSync(path);
    const wal = readFileSync(`${path}-wal`);
    database.close();
    assert.deepEqual(
      await paths({ path: SYSIMAGE, content }, { path: `${SYSIMAGE}-wal`, content: wal }),
      ['/etc/a', '/etc/b'],
    );
    assert.deepEqual(await paths({ path: SYSIMAGE, content }), ['/etc/a']);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a hot rollback journal is a warning', async () => {
  const journal = Buffer.from('d9d505f920a163d70000000100000000', 'hex');
  const found = await detect(
    { path: SYSIMAGE, content: demo },
    { path: `${SYSIMAGE}-journal`, content: journal },
  );
  assert.equal(found?.claims.length, 1);
  assert.match(found?.warnings.join() ?? '', /was being written when the image was made/);
});

test('damage costs what is damaged, with a warning', async () => {
  const good = packageHeader({ name: 'good', files: [{ path: '/etc/good' }] });
  const content = sqliteDatabase([Buffer.from('junk'), good]);
  const found = await detect({ path: SYSIMAGE, content });
  assert.deepEqual(
    found?.claims.map(({ path }) => path),
    ['/etc/good'],
  );
  assert.deepEqual(found?.warnings, [
    `package 1 of /${SYSIMAGE} is left out: the RPM header is damaged: it has 4 bytes`,
  ]);
  const many = sqliteDatabase([...Array.from({ length: 50 }, () => Buffer.from('junk')), good]);
  const most = await detect({ path: SYSIMAGE, content: many });
  assert.equal(most?.claims.length, 1);
  assert.equal(most?.warnings.length, 21);
  assert.equal(most?.warnings.at(-1), `30 more packages of /${SYSIMAGE} are left out`);
});

test('refuses a database that gives nothing with an error of its own', async () => {
  const content = sqliteDatabase([packageHeader({ name: 'good', files: [{ path: '/etc/good' }] })]);
  await assert.rejects(detect({ path: SYSIMAGE, content: content.subarray(0, 5000) }), {
    code: 'database',
    message:
      /^reading \/usr\/lib\/sysimage\/rpm\/rpmdb.sqlite ended after 0 packages: the SQLite database is damaged/,
  });
});

test.run();
