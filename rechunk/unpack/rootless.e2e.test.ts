// needs: root, getfattr, python3, setpriv, unshare, mount
/** Unpacked as another user, and mounted by that user in a namespace of its own: all that such a user can have. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import { writeLayout } from '../../test-images/build.ts';
import { runCli } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import {
  CAPABILITY,
  dir,
  factsOf,
  file,
  link,
  type Member,
  opaque,
  packMembers,
  special,
  symlink,
  whiteout,
} from '../../test-images/member.ts';
import { compareListings, type Facts } from '../../test-images/oracle.ts';
import type { UnpackedImage } from './unpack.ts';

const rootless = suite('rootless');
/** Neither root nor nobody. */
const USER = 12345;
const AS_USER = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups'];
const AS_INNER_ROOT = ['unshare', '--user', '--map-root-user', '--mount'];
const work = mkdtempSync('/var/tmp/rechunk-rootless-');
const layout = join(work, 'source');
const source = `oci:${layout}:latest`;

const NOTE = { 'user.note': 'n\0' };

const LOWER: readonly Member[] = [
  dir('./', { mode: 0o555, mtime: '1500000000.5' }),
  dir('closed', { mode: 0o555, uid: 5, gid: 6, mtime: '5.000000001', xattrs: NOTE }),
  file('closed/f', 'f', { mode: 0o444, uid: 7, mtime: '6.000000001', xattrs: NOTE }),
  link('closed/g', 'closed/f', { mode: 0o444, uid: 7, mtime: '6.000000001', xattrs: NOTE }),
  dir('none', { mode: 0 }),
  file('none/f', 'f', { mode: 0, xattrs: NOTE }),
  dir('o', { mode: 0o755 }),
  file('o/hidden'),
  file('ping', '#!', { mode: 0o4755, xattrs: { 'security.capability': CAPABILITY, ...NOTE } }),
  file('replaced'),
  symlink('s', '/../etc', { mtime: '7.000000001' }),
  file('trusted', 't', { xattrs: { 'trusted.t': 't' } }),
  file('w'),
];

const UPPER: readonly Member[] = [
  dir('o', { mode: 0o555, mtime: '8', xattrs: NOTE }),
  opaque('o'),
  file('closed/new'),
  special('char', 'null', [1, 3]),
  special('fifo', 'pipe'),
  special('block', 'replaced', [7, 1]),
  whiteout('w'),
];

/** What a user can have of it: all is its own, and shown as root's in its namespace. */
const SHOWN: readonly Member[] = [
  ...LOWER.filter(({ path }) => !/^(w|o\/hidden|replaced|o)$/.test(path)),
  dir('o', { mode: 0o555, mtime: '8', xattrs: NOTE }),
  file('closed/new'),
  special('fifo', 'pipe'),
].map((member) => {
  const kept = member.path === 'ping' ? NOTE : member.path === 'trusted' ? {} : member.xattrs;
  const { xattrs: _, ...rest } = member;
  const path = member.path === './' ? '' : member.path;
  return { ...rest, path, uid: 0, gid: 0, ...(kept ? { xattrs: kept } : {}) };
});

rootless.before(async () => {
  const tars = [LOWER, UPPER].map((members) => packMembers(members));
  await writeLayout(layout, [{ layers: (await Promise.all(tars)).map((tar) => ({ tar })) }]);
  chmodSync(work, 0o755);
});

rootless.after(() => rmSync(work, { recursive: true, force: true }));

/** A new directory of the user's. */
function makeHome(name: string): string {
  const home = join(work, name);
  mkdirSync(home);
  chownSync(home, USER, USER);
  return home;
}

const ORACLE = new URL('../../test-images/oracle.ts', import.meta.url).href;
const LIST = `
  import(${JSON.stringify(ORACLE)}).then(async ({ listTree }) => {
    const entries = [...(await listTree('mounted'))];
    const plain = (key, value) => (typeof value === 'bigint' ? String(value) : value);
    console.log(JSON.stringify(entries, plain));
  });
`;

/** What overlayfs shows to a user that mounts it in a namespace of its own. */
async function listAsUser(home: string, options: string): Promise<Map<string, Facts>> {
  const script =
    'mkdir mounted && cd out && mount -t overlay overlay -o "$1" ../mounted && cd .. && exec "$2" -e "$3"';
  const shell = ['sh', '-c', script, 'sh', options, process.execPath, LIST];
  const [program = '', ...rest] = [...AS_USER, ...AS_INNER_ROOT, ...shell];
  const text = (await command(program, rest, { cwd: home })).toString();
  const entries = JSON.parse(text) as [string, Facts & { mtime: string }][];
  return new Map(entries.map(([path, facts]) => [path, { ...facts, mtime: BigInt(facts.mtime) }]));
}

for (const marks of [[], ['--mark-implied', 'user']]) {
  rootless(`a user unpacks and mounts ${marks.length > 0 ? 'with marks' : 'without'}`, async () => {
    const home = makeHome(`home${marks.length}`);
    const run = await runCli(
      ['unpack', source, 'out', '--json', '--resolve', '--temp-dir', home, ...marks],
      { under: AS_USER, cwd: home },
    );
    assert.equal(run.status, 0, run.stderr);
    const { mountOptions, xattrs } = JSON.parse(run.stdout) as UnpackedImage;
    assert.deepEqual([mountOptions, xattrs], ['lowerdir=002:001,userxattr', 'user']);
    assert.match(
      run.stderr,
      /^note: not kept, since this user may not set them: the owners of 18 entries, 2 device nodes, 2 extended attributes \(security\.capability, trusted\.t\)\n$/,
    );
    const shown = await listAsUser(home, mountOptions);
    assert.deepEqual(compareListings(factsOf(SHOWN), shown), []);
    const marked = (
      await command('getfattr', ['-Rhd', '-m', 'user.overlay', 'out'], { cwd: home })
    ).toString();
    const found = marked.split('\n\n').filter((block) => block.includes('dirmeta_delegate="y"'));
    const names = found.map((block) => block.split('\n')[0]?.slice('# file: '.length));
    assert.deepEqual(names.sort(), marks.length > 0 ? ['out/002', 'out/002/closed'] : []);
    assert.match(marked, /# file: out\/002\/o\n(user.*\n)*user\.overlay\.opaque="y"/);
  });
}

rootless('root of a user namespace is no more than its user, but for capabilities', async () => {
  const home = makeHome('inner');
  const under = [...AS_USER, ...AS_INNER_ROOT];
  const args = ['unpack', source, 'out', '--json', '--temp-dir', home];
  const run = await runCli(args, { under, cwd: home });
  assert.equal(run.status, 0, run.stderr);
  assert.match(
    run.stderr,
    /the owners of \d+ entries, 2 device nodes, 1 extended attributes \(trusted\.t\)/,
  );
  assert.equal((JSON.parse(run.stdout) as UnpackedImage).xattrs, 'user');
});

rootless(
  'nothing is left of a run that fails, or was killed, below directories that are closed',
  async () => {
    const home = makeHome('closed');
    const tars = [LOWER, [link('a', 'missing')]].map((members) => packMembers(members));
    const bad = join(work, 'bad');
    await writeLayout(bad, [{ layers: (await Promise.all(tars)).map((tar) => ({ tar })) }]);
    // What a run on another machine left two days ago.
    const stale = join(home, '.rechunk-unpack-99999999-1-0-00000000');
    const make =
      'mkdir -p "$1/tree/001/a" && touch "$1/tree/001/a/f" && chmod -R a-w "$1/tree" && touch -d "2 days ago" "$1"';
    await command('setpriv', [...AS_USER.slice(1), 'sh', '-c', make, 'sh', stale]);
    const args = ['unpack', `oci:${bad}:latest`, 'out', '--temp-dir', home];
    const { status, stderr } = await runCli(args, { under: AS_USER, cwd: home });
    assert.equal(status, 2);
    assert.match(stderr, /hard link to \/missing/);
    assert.deepEqual(readdirSync(home), []);
  },
);

rootless.run();
