// needs: root, getfattr, python3, tar
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { CASES } from '../test-images/cases.ts';
import { command, output } from '../test-images/command.ts';
import { packLayer } from '../test-images/member.ts';
import { compareListings, type Facts, listTree } from '../test-images/oracle.ts';
import { RechunkError } from './errors.ts';
import type { Source } from './image.ts';
import { comparePaths, type Path } from './path.ts';
import { openRootfs } from './rootfs.ts';
import type { TarEntry } from './tar.ts';

const directory = mkdtempSync(join(tmpdir(), 'rechunk-rootfs-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

let made = 0;
/** A new directory that `script` (sh) has been run in. */
async function tree(script = ':'): Promise<string> {
  const root = join(directory, String(made++));
  mkdirSync(root);
  await command('sh', ['-ec', script], { cwd: root });
  return root;
}

/** Hard-to-read xattr names and file names, made by Python since no shell passes such bytes on. */
const HOSTILE_XATTRS = `
import os, sys
root = os.fsencode(sys.argv[1])
def put(name, key, value):
    path = os.path.join(root, name)
    if not os.path.lexists(path): open(path, "w").close()
    os.setxattr(path, key, value, follow_symlinks=False)
put(b"plain", b"user.caf\\xe9=\\n\\\\012 x", b"v")
put(b"plain", b"user.b", b"")
put(b"plain", b"user.%3D%25%", b"percent")
put(b"plain", b"trusted.\\x01", b"\\0\\xff\\n")
put(b"# file: plain", b"user.t", b"1")
put(b"back\\\\134slash\\r\\n", b"user.t", b"2")
put(b"\\xff\\xfe", b"user.t", b"3")
put(b" .", b"user.t", b"4")
os.setxattr(root, b"user.root", b"r")
`;

async function hostileTree(): Promise<string> {
  const root = await tree();
  for (const name of [
    'one of everything',
    'times before 1970',
    'trusted xattrs',
    'xattr with an empty value',
  ]) {
    const layer = CASES.find((hostile) => hostile.name === name)?.layers[0];
    assert(layer);
    const exact = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf', '-', '-C', root];
    await command('tar', exact, { input: await packLayer(layer) });
  }
  await command('python3', ['-c', HOSTILE_XATTRS, root]);
  return root;
}

const LETTERS = { file: 'f', link: '', dir: 'd', symlink: 'l', char: 'c', block: 'b', fifo: 'p' };

function quoted(name: string): string {
  return name.replace(
    /[\\\n\r=]/g,
    (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`,
  );
}

/** What the oracle should list, if the entries are right. */
function factsOf({ tree: read }: Source): Map<string, Facts> {
  assert(read);
  const names = new Map<string, string[]>();
  for (const { type, path, link } of read.entries) {
    const first = type === 'link' ? link : path;
    names.set(first, [...(names.get(first) ?? []), path].sort());
  }
  const first = new Map(read.entries.map((entry) => [entry.path as string, entry]));
  const factOf = (entry: TarEntry): Facts => {
    const inode = (entry.type === 'link' ? first.get(entry.link) : entry) as TarEntry;
    const group = names.get(inode.path) ?? [];
    const bytes =
      inode.type === 'file'
        ? readFileSync(Buffer.from(read.locate(entry.path), 'latin1'))
        : undefined;
    const device = [entry.devMajor, entry.devMinor].map((number) => number.toString(16)).join(':');
    return {
      type: LETTERS[inode.type],
      mode: entry.mode.toString(8),
      uid: entry.uid,
      gid: entry.gid,
      size: inode.size,
      mtime: entry.mtime,
      target: inode.type === 'symlink' ? inode.link : '',
      device: entry.type === 'char' || entry.type === 'block' ? device : '',
      sha256: bytes ? createHash('sha256').update(bytes).digest('hex') : '',
      links: group.filter((path) => path !== entry.path).join('\0'),
      xattrs: [...entry.xattrs]
        .map(([name, value]) => `${quoted(name)}=0x${Buffer.from(value).toString('hex')}`)
        .sort()
        .join('\n'),
    };
  };
  return new Map(read.entries.map((entry) => [entry.path, factOf(entry)]));
}

async function failure(work: Promise<unknown>): Promise<RechunkError> {
  const error = await work.then(
    () => undefined,
    (reason) => reason,
  );
  assert(error instanceof RechunkError, `got ${error}, want a RechunkError`);
  return error;
}

/** The error that a user without rights gets, as `code message`; modules are loaded before the rights are given up. */
async function asNobody(root: string): Promise<string> {
  const module = JSON.stringify(new URL('rootfs.ts', import.meta.url));
  const script = `
const { openRootfs } = await import(${module});
process.setgroups([]); process.setgid(65534); process.setuid(65534);
await openRootfs(${JSON.stringify(root)}).then(
  () => console.log('no error'),
  (error) => console.log(error.code, error.message),
);`;
  return output(process.execPath, ['--input-type=module', '-e', script], { cwd: '/' });
}

const hostile = await hostileTree();

for (const xattrs of ['getfattr', 'tar'] as const) {
  test(`reads what find, stat, sha256sum and getfattr list, xattrs by ${xattrs}`, async () => {
    const source = await openRootfs(hostile, { xattrs });
    const listed = await listTree(hostile);
    assert(listed.size > 70, `${listed.size}`);
    assert.deepEqual(compareListings(factsOf(source), listed), []);
  });
}

test('lists parents first, siblings bytewise, the root as the empty path', async () => {
  const { tree: read } = await openRootfs(hostile);
  const paths = read?.entries.map(({ path }) => path) ?? [];
  assert.equal(paths[0], '');
  assert.deepEqual(paths, [...paths].sort(comparePaths));
});

test('is the same through a symlink to the directory', async () => {
  const alias = join(directory, 'alias');
  symlinkSync(hostile, alias);
  assert.deepEqual(
    (await openRootfs(alias)).tree?.entries,
    (await openRootfs(hostile)).tree?.entries,
  );
});

test('falls back to GNU tar, and refuses without both', async () => {
  const only = { PATH: await tree('ln -s "$(command -v tar)" tar') };
  const root = await tree('touch a; setfattr -n user.x -v 1 a');
  const { tree: read } = await openRootfs(root, { env: only });
  assert.equal(Buffer.from(read?.entries[1]?.xattrs.get('user.x') ?? []).toString(), '1');
  const error = await failure(openRootfs(root, { env: { PATH: '/nowhere' } }));
  assert.equal(error.code, 'unsupported');
  assert.match(
    error.message,
    /neither getfattr nor GNU tar is on this machine; install Debian's package attr, or leave them out with --no-xattrs$/,
  );
});

test('reads no xattrs when told so, and says it', async () => {
  const source = await openRootfs(hostile, { xattrs: 'none', env: { PATH: '/nowhere' } });
  assert(source.tree?.entries.every(({ xattrs }) => xattrs.size === 0));
  assert(source.warnings?.some((warning) => warning.includes('--no-xattrs')));
});

test('refuses a socket by name', async () => {
  const root = await tree('mkdir d');
  const server = createServer().listen(join(root, 'd/socket'));
  await new Promise((resolve) => server.once('listening', resolve));
  const error = await failure(openRootfs(root));
  server.close();
  assert.equal(error.code, 'unsupported');
  assert.match(error.message, /^reading rootfs:\S+: \/d\/socket is a socket/);
});

test('refuses names and devices that are deletions in layers', async () => {
  const marker = await failure(openRootfs(await tree('mkdir d; touch d/.wh.gone')));
  assert.equal(marker.code, 'unsupported');
  assert.match(marker.message, /\/d\/\.wh\.gone has a name/);
  const device = await failure(openRootfs(await tree('mknod gone c 0 0')));
  assert.equal(device.code, 'unsupported');
  assert.match(device.message, /\/gone is a whiteout of overlayfs/);
});

test('names the file or directory that it may not read', async () => {
  const secret = await tree('chmod 755 .; mkdir -m 755 d; touch d/secret; chmod 600 d/secret');
  const closed = await tree('chmod 755 .; mkdir -m 700 closed');
  await command('chmod', ['755', directory]);
  assert.match(await asNobody(secret), /^io reading \S+: \/d\/secret: EACCES/);
  assert.match(await asNobody(closed), /^io reading \S+: \/closed: EACCES/);
});

test('reads mounted file systems as part of the tree, and warns of those that the kernel makes up', async () => {
  const root = await tree('mkdir dev tmp');
  const mounted: string[] = [];
  const mount = async (type: string, at: string): Promise<void> => {
    await command('mount', ['-t', type, type, join(root, at)]);
    mounted.push(join(root, at));
  };
  try {
    await mount('devpts', 'dev');
    await mount('tmpfs', 'tmp');
    writeFileSync(join(root, 'tmp/inside'), 'x');
    const source = await openRootfs(root);
    assert(source.tree?.entries.some(({ path }) => path === 'tmp/inside'));
    const warnings = source.warnings?.filter((warning) => warning.includes('kernel'));
    assert.equal(warnings?.length, 1);
    assert.match(warnings?.[0] ?? '', /: \/dev \(devpts\)$/);
  } finally {
    for (const path of mounted) await command('umount', [path]);
  }
});

test("warns of labels that may be the machine's own", async () => {
  const root = await tree('touch a; setfattr -n security.selinux -v system_u a');
  const { warnings } = await openRootfs(root);
  assert(warnings?.some((warning) => warning.startsWith('1 entries carry security.selinux')));
});

test('a directory that is missing is not found; a file is no directory', async () => {
  assert.equal((await failure(openRootfs(join(directory, 'absent')))).code, 'not-found');
  const root = await tree('touch a');
  assert.equal((await failure(openRootfs(join(root, 'a')))).code, 'usage');
});

test('locates content by bytes', async () => {
  const root = await tree('printf content > "$(printf \'caf\\351\')"');
  const { tree: read } = await openRootfs(root);
  const located = read?.locate('caf\xe9' as Path) ?? '';
  assert.equal(readFileSync(Buffer.from(located, 'latin1'), 'utf8'), 'content');
});

test.run();
