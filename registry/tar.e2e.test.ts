// needs: root, tar, python3, bsdtar, umoci, getfattr
/**
 * Other programs as oracles: what GNU tar, bsdtar and Python write is read as the file system says it is, and what we
 * write they unpack and list as it was meant.
 *
 * Needs GNU tar, bsdtar (Debian's libarchive-tools), python3, umoci, attr, acl, and root for owners and devices.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { comparePaths, type Path } from './path.ts';
import { type TarFile, unpackTar } from './tarreader.ts';
import { packTar, type TarItem } from './tarwriter.ts';

const BUFFER_LIMIT = 1 << 28;
const CAPABILITY = '0100000200200000000000000000000000000000';
const root = mkdtempSync(join(tmpdir(), 'rechunk-tar-'));
test.after(() => rmSync(root, { recursive: true, force: true }));

function run(command: string, args: readonly string[], input?: Uint8Array): Buffer {
  return execFileSync(command, args, {
    maxBuffer: BUFFER_LIMIT,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C.UTF-8', TZ: 'UTC' },
    ...(input && { input }),
  });
}

/** The path of one char a byte as the file system wants it. */
const onDisk = (directory: string, path: string): Buffer =>
  Buffer.from(`${directory}/${path}`, 'latin1');

/** What is compared of an entry; times in ns, or in seconds where the format has no more. */
interface Facts {
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: bigint;
  readonly size: number;
  readonly target: string;
  readonly device: string;
  readonly xattrs: string;
  /** The paths of its hard-link group. */
  readonly names: string;
  readonly content: string;
}

/** The types of files by the bits of their mode above the permissions (stat.h). */
const TYPES: ReadonlyMap<number, string> = new Map([
  [0o1, 'fifo'],
  [0o2, 'char'],
  [0o4, 'dir'],
  [0o6, 'block'],
  [0o10, 'file'],
  [0o12, 'symlink'],
]);

/** The xattrs of everything below a directory by getfattr: path to `name=hex` lines. */
function readXattrs(directory: string): Map<string, string> {
  const dump = run('getfattr', [
    '-R',
    '-h',
    '-d',
    '-m',
    '-',
    '-e',
    'hex',
    '--absolute-names',
    directory,
  ]);
  const found = new Map<string, string>();
  for (const block of dump.toString('latin1').split('\n\n')) {
    const [first = '', ...lines] = block.split('\n').filter(Boolean);
    const escaped = first.replace('# file: ', '').slice(directory.length + 1);
    const path = escaped.replace(/\\([0-7]{3})/g, (_, code) =>
      String.fromCharCode(Number.parseInt(code, 8)),
    );
    found.set(path, lines.sort().join('\n'));
  }
  return found;
}

function listTree(directory: string, below = ''): string[] {
  return readdirSync(onDisk(directory, below), { encoding: 'latin1' })
    .flatMap((name) => {
      const path = below === '' ? name : `${below}/${name}`;
      const isDirectory = lstatSync(onDisk(directory, path)).isDirectory();
      return isDirectory ? [path, ...listTree(directory, path)] : [path];
    })
    .sort((a, b) => comparePaths(a as Path, b as Path));
}

/** The facts of a directory tree, by lstat, readlink and getfattr. */
function factsOfTree(directory: string): Map<string, Facts> {
  const xattrs = readXattrs(directory);
  const stats = new Map(
    listTree(directory).map((path) => [path, lstatSync(onDisk(directory, path), { bigint: true })]),
  );
  const facts = new Map<string, Facts>();
  for (const [path, stat] of stats) {
    const type = TYPES.get(Number(stat.mode) >> 12) as string;
    const group = [...stats].filter(([, other]) => other.ino === stat.ino).map(([name]) => name);
    const isDevice = type === 'char' || type === 'block';
    const device = isDevice ? `${Number(stat.rdev) >> 8},${Number(stat.rdev) & 0xff}` : '';
    facts.set(path, {
      type,
      mode: Number(stat.mode) & 0o7777,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtime: stat.mtimeNs,
      size: type === 'file' ? Number(stat.size) : 0,
      target: type === 'symlink' ? readlinkSync(onDisk(directory, path), 'latin1') : '',
      device,
      xattrs: xattrs.get(path) ?? '',
      names: group.join('\0'),
      content: type === 'file' ? readFileSync(onDisk(directory, path)).toString('latin1') : '',
    });
  }
  return facts;
}

function showXattrs(xattrs: ReadonlyMap<string, Uint8Array>): string {
  const lines = [...xattrs].map(
    ([name, value]) => `${name}=0x${Buffer.from(value).toString('hex')}`,
  );
  return lines.sort().join('\n');
}

/** The facts of an archive as read by us, hard links joined to the file that they name. */
function factsOfArchive(files: readonly TarFile[]): Map<string, Facts> {
  const groups = new Map<string, string[]>();
  const byPath = new Map<string, TarFile>();
  for (const file of files) {
    const { path, type, link } = file.entry;
    const target = type === 'link' ? byPath.get(link) : file;
    assert.ok(target, `${path} links to ${link}, which is not there`);
    byPath.set(path, target);
    const group = groups.get(target.entry.path) ?? [];
    group.push(path);
    groups.set(target.entry.path, group);
  }
  const facts = new Map<string, Facts>();
  for (const [path, { entry, content }] of byPath) {
    if (path === '') continue;
    const isDevice = entry.type === 'char' || entry.type === 'block';
    const names = (groups.get(entry.path) ?? []).sort((a, b) => comparePaths(a as Path, b as Path));
    facts.set(path, {
      type: entry.type,
      mode: entry.mode,
      uid: entry.uid,
      gid: entry.gid,
      mtime: entry.mtime,
      size: entry.size,
      target: entry.type === 'symlink' ? entry.link : '',
      device: isDevice ? `${entry.devMajor},${entry.devMinor}` : '',
      xattrs: showXattrs(entry.xattrs),
      names: names.join('\0'),
      content: content.toString('latin1'),
    });
  }
  return facts;
}

/** What a format does not hold is left out of the comparison. */
interface Holds {
  readonly ns?: false;
  readonly xattrs?: false;
}

function compareFacts(
  found: Map<string, Facts>,
  wanted: Map<string, Facts>,
  holds: Holds = {},
): void {
  const reduce = (facts: Map<string, Facts>): [string, Facts][] =>
    [...facts]
      .sort(([a], [b]) => comparePaths(a as Path, b as Path))
      .map(([path, fact]) => {
        const mtime = holds.ns === false ? fact.mtime / 1_000_000_000n : fact.mtime;
        return [path, { ...fact, mtime, xattrs: holds.xattrs === false ? '' : fact.xattrs }];
      });
  assert.deepEqual(reduce(found), reduce(wanted));
}

/** A file with data in stretches of 4 KiB, `step` bytes apart; it ends in a hole. */
function writeSparse(path: string, stretches: number, step: number): void {
  const fd = openSync(path, 'w');
  for (let i = 0; i < stretches; i++) writeSync(fd, Buffer.alloc(4096, 65 + i), 0, 4096, i * step);
  ftruncateSync(fd, stretches * step);
  closeSync(fd);
}

/** Makes a tree that every format can hold. */
function makePlainTree(): string {
  const directory = mkdtempSync(join(root, 'plain-'));
  mkdirSync(join(directory, 'd'));
  mkdirSync(join(directory, 'empty'), 0o700);
  writeFileSync(join(directory, 'd/file'), 'content', { mode: 0o640 });
  writeFileSync(join(directory, 'd/empty'), '');
  for (const size of [511, 512, 513]) writeFileSync(join(directory, `d/${size}`), 'x'.repeat(size));
  writeFileSync(onDisk(directory, 'caf\xe9'), 'latin-1');
  writeFileSync(join(directory, 'quotes "<&>\' \\'), '');
  writeFileSync(join(directory, 'line\nbreak'), '');
  writeFileSync(join(directory, 'n'.repeat(97)), '97');
  linkSync(join(directory, 'd/file'), join(directory, 'd/hard'));
  symlinkSync('../d//file', join(directory, 'd/sym'));
  run('chmod', ['4755', join(directory, 'd/511')]);
  run('chmod', ['1777', join(directory, 'empty')]);
  run('chown', ['1000:262143', join(directory, 'd/512')]);
  return directory;
}

/** Adds what the fuller formats (PAX, GNU) hold: long names, devices, large ids. */
function makeFullTree(): string {
  const directory = makePlainTree();
  for (const size of [98, 99, 100, 101, 155, 255]) {
    writeFileSync(join(directory, 'm'.repeat(size)), String(size));
  }
  const deep = join(directory, 'a'.repeat(100), 'b'.repeat(155), 'c'.repeat(120));
  mkdirSync(deep, { recursive: true });
  writeFileSync(join(deep, 'f'), 'deep');
  linkSync(join(deep, 'f'), join(deep, 'link'));
  symlinkSync('t'.repeat(1500), join(directory, 'long-target'));
  run('mkfifo', [join(directory, 'pipe')]);
  run('mknod', [join(directory, 'null'), 'c', '1', '3']);
  run('mknod', [join(directory, 'sda'), 'b', '8', '1']);
  run('chown', ['2097152:4294967294', join(directory, 'd/513')]);
  return directory;
}

/** Adds xattrs of every kind, and times to the nanosecond and before the epoch. */
function makeRichTree(): string {
  const directory = makeFullTree();
  const file = join(directory, 'd/511');
  run('setfattr', ['-n', 'security.capability', '-v', `0x${CAPABILITY}`, file]);
  run('setfattr', ['-n', 'user.binary', '-v', '0x000a3dff00', file]);
  run('setfattr', ['-n', 'user.empty', file]);
  run('setfattr', ['-n', 'trusted.t', '-v', 'x', join(directory, 'empty')]);
  const times = ['1969-12-31 23:59:55', '1969-12-31 23:59:58.5', '2040-01-01 00:00:00.000000001'];
  const names = ['d/empty', 'd/512', 'd/513'];
  for (const [i, name] of names.entries()) {
    run('touch', ['-d', `${times[i]} UTC`, join(directory, name)]);
  }
  return directory;
}

/** bsdtar 3.6 writes and reads -1.5 s as -2.5 and -0.5: such a time is not put before it. */
function avoidBsdtarTimes(directory: string): void {
  run('touch', ['-d', '2001-02-03 04:05:06.700000008 UTC', join(directory, 'd/512')]);
}

/** Ids that no user of the machine has: GNU tar would write a name, which no archive can resolve. */
function addAcls(directory: string): void {
  run('setfacl', ['-m', 'u:12345:rw,g:23456:r', join(directory, 'd/512')]);
  run('setfacl', ['-d', '-m', 'u::rwx,g::rx,o::-', join(directory, 'empty')]);
}

const gnuTar = (directory: string, ...options: string[]): Buffer =>
  run('tar', [...options, '--numeric-owner', '-C', directory, '-cf', '-', '.']);

test('reads what GNU tar writes in the formats that hold little', () => {
  const directory = makePlainTree();
  const wanted = factsOfTree(directory);
  for (const format of ['v7', 'ustar', 'oldgnu', 'gnu']) {
    const archive = gnuTar(directory, `--format=${format}`);
    compareFacts(factsOfArchive(unpackTar(archive)), wanted, { ns: false, xattrs: false });
  }
});

test('reads long names, devices and large ids of GNU tar, in the GNU and POSIX formats', () => {
  const directory = makeFullTree();
  const wanted = factsOfTree(directory);
  for (const format of ['oldgnu', 'gnu']) {
    const archive = gnuTar(directory, `--format=${format}`);
    compareFacts(factsOfArchive(unpackTar(archive)), wanted, { ns: false });
  }
  compareFacts(factsOfArchive(unpackTar(gnuTar(directory, '--format=posix'))), wanted);
});

test('reads xattrs and times of GNU tar to the byte and the nanosecond', () => {
  const directory = makeRichTree();
  const archive = gnuTar(directory, '--format=posix', '--xattrs', '--xattrs-include=*');
  compareFacts(factsOfArchive(unpackTar(archive)), factsOfTree(directory));
});

test('reads times before the epoch in the base 256 of the GNU format', () => {
  const directory = makePlainTree();
  lutimesSync(join(directory, 'd/file'), -5, -5);
  const archive = gnuTar(directory, '--format=gnu');
  compareFacts(factsOfArchive(unpackTar(archive)), factsOfTree(directory), { ns: false });
});

test('reads ACLs that GNU tar and bsdtar write as text', () => {
  const directory = makeRichTree();
  addAcls(directory);
  avoidBsdtarTimes(directory);
  const wanted = factsOfTree(directory);
  assert.match(wanted.get('d/512')?.xattrs ?? '', /posix_acl_access/);
  assert.match(wanted.get('empty')?.xattrs ?? '', /posix_acl_default/);
  const gnu = gnuTar(directory, '--format=posix', '--acls', '--xattrs', '--xattrs-include=*');
  assert.ok(gnu.includes('SCHILY.acl.access='));
  compareFacts(factsOfArchive(unpackTar(gnu)), wanted);
  const options = ['--format=pax', '--acls', '--xattrs', '-C', directory, '.'];
  const bsd = run('bsdtar', ['-cf', '-', ...options]);
  assert.ok(bsd.includes('SCHILY.acl.access='));
  compareFacts(factsOfArchive(unpackTar(bsd)), wanted);
});

test('reads sparse files of GNU tar in all four forms', () => {
  const directory = mkdtempSync(join(root, 'sparse-'));
  writeSparse(join(directory, 'few'), 3, 1 << 20);
  writeSparse(join(directory, 'many'), 60, 1 << 16);
  writeSparse(join(directory, 'n'.repeat(150)), 25, 1 << 15);
  run('truncate', ['-s', '5000000', join(directory, 'hole')]);
  writeFileSync(join(directory, 'dense'), 'x'.repeat(10000));
  const wanted = factsOfTree(directory);
  const bytes = [...wanted.values()].reduce((sum, { size }) => sum + size, 0);
  for (const options of [
    ['--format=oldgnu'],
    ['--format=gnu'],
    ['--format=posix', '--sparse-version=0.0'],
    ['--format=posix', '--sparse-version=0.1'],
    ['--format=posix', '--sparse-version=1.0'],
  ]) {
    const archive = gnuTar(directory, '--sparse', ...options);
    assert.ok(archive.length < bytes / 4, `${options} is not sparse: ${archive.length}`);
    const files = unpackTar(archive);
    compareFacts(factsOfArchive(files), wanted, { ns: false });
    for (const { entry, content } of files) {
      if (!entry.extents) continue;
      const again = Buffer.alloc(entry.size);
      for (const { at, offset, size } of entry.extents)
        archive.copy(again, at, offset, offset + size);
      assert.ok(again.equals(content), `${options} ${entry.path}`);
    }
  }
});

test('reads what bsdtar writes', () => {
  const plain = makePlainTree();
  const full = makeRichTree();
  avoidBsdtarTimes(full);
  const cases: [format: string, directory: string, holds: Holds][] = [
    ['v7', plain, { ns: false, xattrs: false }],
    ['ustar', plain, { ns: false, xattrs: false }],
    ['gnutar', plain, { ns: false, xattrs: false }],
    ['pax', full, {}],
  ];
  for (const [format, directory, holds] of cases) {
    const archive = run('bsdtar', ['-cf', '-', `--format=${format}`, '-C', directory, '.']);
    compareFacts(factsOfArchive(unpackTar(archive)), factsOfTree(directory), holds);
  }
});

const PYTHON_WRITE = `
import sys, tarfile
out = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=int(sys.argv[2]), encoding='utf-8', errors='surrogateescape')
out.add(sys.argv[1], arcname='.')
out.close()
`;

test('reads what Python writes', () => {
  const python = (directory: string, format: number): Buffer =>
    run('python3', ['-c', PYTHON_WRITE, directory, String(format)]);
  const [ustar, gnu, pax] = [0, 1, 2];
  const plain = makePlainTree();
  const full = makeFullTree();
  const holds = { ns: false, xattrs: false } as const;
  compareFacts(
    factsOfArchive(unpackTar(python(plain, ustar as number))),
    factsOfTree(plain),
    holds,
  );
  compareFacts(factsOfArchive(unpackTar(python(full, gnu as number))), factsOfTree(full), holds);
  compareFacts(factsOfArchive(unpackTar(python(full, pax as number))), factsOfTree(full), holds);
});

const xattrsOf = (record: Record<string, string>): ReadonlyMap<string, Uint8Array> =>
  new Map(Object.entries(record).map(([name, hex]) => [name, Buffer.from(hex, 'hex')]));

/** An archive with everything that a Linux file system holds. */
const ITEMS: TarItem[] = [
  ...[98, 99, 100, 101, 155, 255].map((size) => ({ path: 'm'.repeat(size), content: `${size}` })),
  { path: `${'a'.repeat(99)}/` },
  { path: `${'b'.repeat(100)}/` },
  { path: `${'b'.repeat(100)}/${'c'.repeat(200)}/` },
  { path: `${'b'.repeat(100)}/${'c'.repeat(200)}/f`, content: 'deep' },
  { path: 'd/', mode: 0o1777, mtime: 3_000_000_000n, xattrs: xattrsOf({ 'trusted.a': '00' }) },
  { path: 'd/l', type: 'link', link: `${'b'.repeat(100)}/${'c'.repeat(200)}/f` },
  { path: 'caf\xe9', content: 'Latin-1', mtime: -1_500_000_000n },
  { path: Buffer.from('é/').toString('latin1') },
  { path: Buffer.from('é/日本\n').toString('latin1'), content: 'UTF-8', mtime: -5_000_000_000n },
  { path: 'su', mode: 0o6755, uid: 2097152, gid: 4294967294, mtime: 4_000_000_000_000_000_001n },
  {
    path: 'cap',
    content: 'x'.repeat(513),
    xattrs: xattrsOf({ 'security.capability': CAPABILITY, 'user.b': '0a003dff', 'user.a': '' }),
  },
  { path: 's', type: 'symlink', link: '../\xe9'.padEnd(4000, 'x') },
  { path: 'null', type: 'char', devMajor: 1, devMinor: 3, mode: 0o666 },
  { path: 'sda', type: 'block', devMajor: 8, devMinor: 1, mode: 0o660 },
  { path: 'pipe', type: 'fifo', mode: 0o600, mtime: 1_120_000_000n },
];

/** See {@link avoidBsdtarTimes}. */
const wholeBeforeEpoch = (ns: bigint): bigint =>
  ns < 0n ? (ns / 1_000_000_000n) * 1_000_000_000n : ns;

test('GNU tar and bsdtar unpack what we write', () => {
  const archive = packTar(ITEMS);
  const wanted = factsOfArchive(unpackTar(archive));
  const options = ['--xattrs', '--numeric-owner', '-p', '-xf', '-', '-C'];
  const gnu = mkdtempSync(join(root, 'gnu-'));
  run('tar', ['--xattrs-include=*', '--same-owner', ...options, gnu], archive);
  compareFacts(factsOfTree(gnu), wanted);
  const bsd = mkdtempSync(join(root, 'bsd-'));
  const items = ITEMS.map((item) => ({ ...item, mtime: wholeBeforeEpoch(item.mtime ?? 0n) }));
  const forBsdtar = packTar(items);
  run('bsdtar', ['--same-owner', ...options, bsd], forBsdtar);
  compareFacts(factsOfTree(bsd), factsOfArchive(unpackTar(forBsdtar)));
});

/** Go's reader takes an empty PAX record for one that is not there, so umoci sets no empty xattr. */
const withoutEmpty = (xattrs: TarItem['xattrs']): ReadonlyMap<string, Uint8Array> =>
  new Map([...(xattrs ?? [])].filter(([, value]) => value.length > 0));

/** The tree that umoci, by Go's archive/tar, makes of a layer. */
function unpackByUmoci(archive: Uint8Array): string {
  const directory = mkdtempSync(join(root, 'umoci-'));
  const [layout, layer, bundle] = ['layout', 'layer.tar', 'bundle'].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  writeFileSync(layer, archive);
  run('umoci', ['init', '--layout', layout]);
  run('umoci', ['new', '--image', `${layout}:t`]);
  run('umoci', ['raw', 'add-layer', '--image', `${layout}:t`, layer]);
  run('umoci', ['unpack', '--image', `${layout}:t`, bundle]);
  return join(bundle, 'rootfs');
}

test('umoci unpacks what we write', () => {
  const archive = packTar(ITEMS.map((item) => ({ ...item, xattrs: withoutEmpty(item.xattrs) })));
  compareFacts(factsOfTree(unpackByUmoci(archive)), factsOfArchive(unpackTar(archive)));
});

/** An archive of one file or directory whose type flag is `flag`, and whose name ends in a slash. */
function slashed(flag: string): Buffer {
  const archive = packTar([{ path: 'name.', mode: 0o755 }]);
  archive.write('/', 'name'.length, 'latin1');
  archive.write(flag, 156, 'latin1');
  const sum = archive
    .subarray(0, 512)
    .fill(0x20, 148, 156)
    .reduce((total, byte) => total + byte);
  archive.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return archive;
}

test('umoci and we agree when a slash at the end of a name makes a directory', () => {
  for (const [flag, type] of [
    ['0', 'file'],
    ['\0', 'dir'],
    ['5', 'dir'],
  ] as const) {
    const archive = slashed(flag);
    compareFacts(factsOfTree(unpackByUmoci(archive)), factsOfArchive(unpackTar(archive)));
    assert.equal(unpackTar(archive)[0]?.entry.type, type);
  }
});

const PYTHON_READ = `
import json, sys, tarfile
archive = tarfile.open(fileobj=sys.stdin.buffer, mode='r|', encoding='utf-8', errors='surrogateescape')
raw = lambda text: text.encode('utf-8', 'surrogateescape').decode('latin-1')
rows = []
for m in archive:
    content = archive.extractfile(m).read().decode('latin-1') if m.isreg() else ''
    rows.append([raw(m.name), m.type.decode(), m.mode, m.uid, m.gid, str(m.pax_headers.get('mtime', m.mtime)),
        m.size, raw(m.linkname), m.devmajor, m.devminor, content,
        {raw(k)[13:]: raw(v) for k, v in m.pax_headers.items() if k.startswith('SCHILY.xattr.')}])
print(json.dumps(rows))
`;

test('Python lists what we write', () => {
  const archive = packTar(ITEMS);
  const flags = { file: '0', link: '1', symlink: '2', char: '3', block: '4', dir: '5', fifo: '6' };
  const seconds = (ns: bigint): string => {
    const [size, sign] = ns < 0n ? [-ns, '-'] : [ns, ''];
    const fraction = String(size % 1_000_000_000n)
      .padStart(9, '0')
      .replace(/0+$/, '');
    return `${sign}${size / 1_000_000_000n}${fraction && '.'}${fraction}`;
  };
  const wanted = unpackTar(archive).map(({ entry, content }) => [
    entry.path,
    flags[entry.type],
    entry.mode,
    entry.uid,
    entry.gid,
    seconds(entry.mtime),
    entry.size,
    entry.link,
    entry.devMajor,
    entry.devMinor,
    content.toString('latin1'),
    Object.fromEntries([...entry.xattrs].map(([k, v]) => [k, Buffer.from(v).toString('latin1')])),
  ]);
  const found = JSON.parse(run('python3', ['-c', PYTHON_READ], archive).toString());
  assert.deepEqual(found, wanted);
});

test('the trees of these tests hold what their names say', () => {
  const full = factsOfTree(makeRichTree());
  assert.ok(full.get('d/511')?.xattrs.includes(`security.capability=0x${CAPABILITY}`));
  assert.equal(full.get('d/file')?.names, 'd/file\0d/hard');
  assert.equal(full.get('null')?.device, '1,3');
  assert.equal(full.get('d/512')?.mtime, -1_500_000_000n);
  assert.ok(statSync(root).isDirectory() && full.has('caf\xe9'));
});

test.run();
