// needs: root, rpm, rpmbuild, python3
/**
 * Compares the RPM reader with rpm itself, on a root that rpm installs here, and the write-ahead log with what Python's
 * SQLite reads. `rpm --root` wants root rights.
 */
import * as assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { type FileSpec, memoryTree } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { Claim } from '../components.ts';
import { rpm } from './rpm.ts';
import { readTable } from './sqlite.ts';

const SPEC = new URL(
  '../../test-images/packages/rpm/lab-root-sqlite/lab-demo.spec',
  import.meta.url,
);
const directory = mkdtempSync(join(tmpdir(), 'rechunk-rpm-'));
test.after(() => rmSync(directory, { recursive: true }));

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'] });

/** Builds the packages of a spec file; returns their paths. */
function buildPackages(name: string, spec: string): string[] {
  const top = join(directory, name);
  mkdirSync(join(top, 'SPECS'), { recursive: true });
  const path = join(top, 'SPECS', `${name}.spec`);
  writeFileSync(path, spec);
  const defines = [
    `_topdir ${top}`,
    '_build_id_links none',
    '__spec_install_post %{nil}',
    'debug_package %{nil}',
    '_binary_payload w1.gzdio',
    'dist .lab1',
  ];
  const options = defines.flatMap((define) => ['--define', define]);
  run('rpmbuild', ...options, '--target', 'x86_64', '-bb', path);
  return globSync(join(top, 'RPMS/*/*.rpm'));
}

const DBPATH = ['--dbpath', '/usr/lib/sysimage/rpm'];
const INSTALL = ['-i', '--nodeps', '--noscripts', '--nosignature', '--ignorearch', '--ignoresize'];

/** A root with a merged /usr into which rpm installed `packages`. */
function installRoot(name: string, packages: readonly string[], ...options: string[]): string {
  const root = join(directory, name);
  mkdirSync(join(root, 'usr/bin'), { recursive: true });
  symlinkSync('usr/bin', join(root, 'bin'));
  run('rpm', '--root', root, ...DBPATH, ...INSTALL, ...options, ...packages);
  return root;
}

/** The file system below `directory`, whose names are UTF-8; a recursive readdir would follow symlinks. */
function specsOf(directory: string, at = ''): FileSpec[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry): FileSpec[] => {
    const full = join(directory, entry.name);
    const path = at + Buffer.from(entry.name).toString('latin1');
    if (entry.isDirectory()) return [{ path, type: 'dir' }, ...specsOf(full, `${path}/`)];
    if (entry.isSymbolicLink()) return [{ path, target: readlinkSync(full, 'latin1') }];
    return [{ path, content: readFileSync(full) }];
  });
}

/** rpm's answer to a query of every file of every package, as claims. */
function queryClaims(root: string): Claim[] {
  const format =
    '[%{=SOURCERPM}\\t%{FILENAMES}\\t%{FILESIZES}\\t%{FILEMODES}\\t%{FILEDIGESTS}\\t%{FILELINKTOS}\\t%{FILEFLAGS}\\t%{FILESTATES}\\n]';
  const lines = run('rpm', '--root', root, ...DBPATH, '-qa', '--qf', format)
    .trim()
    .split('\n');
  const types = { '10': 'file', '4': 'dir', '12': 'symlink' } as const;
  return lines.flatMap((line): Claim[] => {
    const [source = '', path = '', size, mode, hex = '', target = '', flags, state] =
      line.split('\t');
    if (state !== '0') return [];
    const component = `rpm:${source.replace(/-[^-]+-[^-]+$/, '')}`;
    const type = types[(Number(mode) >> 12).toString(8) as keyof typeof types];
    if ((Number(flags) & 64) !== 0) return [{ path, component, strength: 'ghost', type }];
    const content = type === 'file' && {
      size: Number(size),
      digest: { algorithm: 'sha256' as const, hex },
    };
    return [
      { path, component, strength: 'owner', type, ...content, ...(target !== '' && { target }) },
    ];
  });
}

const byPath = (claims: readonly Claim[]): Claim[] =>
  [...claims].sort((a, b) => (a.path + a.component < b.path + b.component ? -1 : 1));

async function compare(root: string): Promise<void> {
  const tree = memoryTree(specsOf(root));
  const found = await rpm.detect(tree);
  assert.ok(found);
  assert.deepEqual(found.warnings, []);
  const wanted = queryClaims(root);
  assert.ok(wanted.length > 0);
  assert.deepEqual(byPath(found.claims), byPath(wanted));
  const nevras = run('rpm', '--root', root, ...DBPATH, '-qa', '--qf', '%{NEVRA}\\n')
    .trim()
    .split('\n');
  assert.deepEqual(
    found.components.flatMap(({ packages }) => packages ?? []).sort(),
    [...new Set(nevras)].sort(),
  );
  const { components } = await assign(tree, [found]);
  const owners = new Map(
    components.flatMap(({ id, entries }) => entries.map(({ path }) => [path, id])),
  );
  for (const { path, inode } of tree.entries) {
    if (inode.type === 'dir' || path.startsWith('usr/lib/sysimage')) continue;
    const query = spawnSync(
      'rpm',
      [
        '--root',
        root,
        ...DBPATH,
        '-qf',
        '--qf',
        '%{SOURCERPM}\\n',
        `/${Buffer.from(path, 'latin1')}`,
      ],
      { encoding: 'utf8' },
    );
    const sources = query.stdout
      .trim()
      .split('\n')
      .map((line) => line.replace(/-[^-]+-[^-]+$/, ''));
    const owner = owners.get(path) ?? '';
    const isGhost = found.claims.every(
      (claim) => claim.path !== `/${path}` || claim.strength === 'ghost',
    );
    if (query.status === 0 && !isGhost)
      assert.ok(sources.includes(owner.slice('rpm:'.length)), path);
    else if (query.status !== 0) assert.ok(!owner.startsWith('rpm:'), `${path}: ${owner}`);
  }
}

test('agrees with rpm -qa and rpm -qf on a fresh root', async () => {
  const packages = buildPackages('demo', readFileSync(SPEC, 'utf8'));
  assert.equal(packages.length, 3);
  await compare(installRoot('plain', packages));
});

const MORE_SPEC = `
Name: more
Version: 2
Release: 1%{?dist}
Epoch: 7
Summary: x
License: x
%description
x
%install
mkdir -p %{buildroot}/usr/share/doc/more %{buildroot}/usr/share/locale/de %{buildroot}/etc
echo doc > %{buildroot}/usr/share/doc/more/README
echo de > %{buildroot}/usr/share/locale/de/more.mo
echo a > %{buildroot}/etc/more.conf
: > %{buildroot}/etc/empty
%files
%doc /usr/share/doc/more/README
%lang(de) /usr/share/locale/de/more.mo
%config /etc/more.conf
/etc/empty
`;

test('agrees with rpm on files left out, a newer version beside the old one, and after an erasure', async () => {
  const first = buildPackages('more', MORE_SPEC);
  const second = buildPackages('more2', MORE_SPEC.replace('Version: 2', 'Version: 3'));
  const root = installRoot('nodocs', first, '--excludedocs', '--define', '_install_langs en');
  assert.equal(existsSync(join(root, 'usr/share/doc/more/README')), false);
  await compare(root);
  run('rpm', '--root', root, ...DBPATH, ...INSTALL, '--force', ...second);
  await compare(root);
  run('rpm', '--root', root, ...DBPATH, '-e', '--nodeps', '--noscripts', 'more-7:2-1.lab1');
  await compare(root);
});

/** Makes a database with a log: inserts, an update, a delete, and more frames than fit into the cache uncommitted. */
const PYTHON = `
import json, shutil, sqlite3, sys
here = sys.argv[1]
db = sqlite3.connect(here + '/live.db', isolation_level=None)
db.execute('PRAGMA page_size=4096'); db.execute('PRAGMA journal_mode=WAL'); db.execute('PRAGMA wal_autocheckpoint=0')
db.execute('CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)')
for i in range(25): db.execute('INSERT INTO Packages (blob) VALUES (?)', (bytes([i]) * (i * 997),))
db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
for i in range(25, 40): db.execute('INSERT INTO Packages (blob) VALUES (?)', (bytes([i]) * (i * 997),))
db.execute('DELETE FROM Packages WHERE hnum IN (3, 17, 30)')
db.execute('UPDATE Packages SET blob = ? WHERE hnum = 5', (b'changed' * 3000,))
rows = [[n, b.hex()] for n, b in db.execute('SELECT hnum, blob FROM Packages ORDER BY hnum')]
db.execute('PRAGMA cache_size=5'); db.execute('BEGIN')
for i in range(60): db.execute('INSERT INTO Packages (blob) VALUES (?)', (bytes(9000),))
for end in ('', '-wal'): shutil.copy(here + '/live.db' + end, here + '/copy.db' + end)
db.execute('ROLLBACK')
print(json.dumps(rows))
`;

test('reads a log with uncommitted frames as Python does', () => {
  const out = execFileSync('python3', ['-c', PYTHON, directory], { maxBuffer: 1 << 28 }).toString();
  const wanted = JSON.parse(out) as [number, string][];
  const database = readFileSync(join(directory, 'copy.db'));
  const wal = readFileSync(join(directory, 'copy.db-wal'));
  const rows = (log?: Buffer): [number, string][] =>
    [...readTable({ database, wal: log }, 'Packages')].map(({ rowid, values }) => [
      rowid,
      (values[1] as Buffer).toString('hex'),
    ]);
  assert.equal(wanted.length, 37);
  assert.deepEqual(rows(wal), wanted);
  assert.equal(rows().length, 25);
  copyFileSync(join(directory, 'copy.db'), join(directory, 'again.db'));
  copyFileSync(join(directory, 'copy.db-wal'), join(directory, 'again.db-wal'));
  const again = `import json,sqlite3;print(sqlite3.connect('${directory}/again.db').execute('SELECT count(*) FROM Packages').fetchone()[0])`;
  assert.equal(run('python3', '-c', again).trim(), '37');
});

test.run();
