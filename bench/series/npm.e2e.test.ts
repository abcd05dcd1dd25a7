// needs: npm
/** What `npm ci` installs is the oracle of the trees that the npm series is made of. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import { command, output } from '../../test-images/command.ts';
import { Installer } from './install.ts';
import { withSpool } from './spool.ts';

const LOCKFILE = '../../test-images/packages/npm/lock-series/package-lock-2026-09-20.json.gz';
const QUIET = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
const PLATFORM = ['--os=linux', '--cpu=x64', '--libc=glibc'];

function describe(root: string, path: string): string {
  const stat = lstatSync(join(root, path));
  if (stat.isSymbolicLink()) return `${path} -> ${readlinkSync(join(root, path))}`;
  const sha256 = createHash('sha256')
    .update(readFileSync(join(root, path)))
    .digest('hex');
  return `${path} ${(stat.mode & 0o7777).toString(8)} ${sha256}`;
}

async function listFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory());
  const paths = files.map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
  return paths.map((path) => describe(root, path));
}

test('a tree laid out from the cache is what npm ci installs', async () => {
  const work = await mkdtemp(join(tmpdir(), 'rechunk-series-npm-'));
  process.umask(0o022);
  try {
    const lockfile = gunzipSync(await readFile(fileURLToPath(new URL(LOCKFILE, import.meta.url))));
    const { packages } = JSON.parse(lockfile.toString());
    const manifest = Buffer.from(JSON.stringify(packages['']));
    await writeFile(join(work, 'package.json'), manifest);
    await writeFile(join(work, 'package-lock.json'), lockfile);
    const options = [...PLATFORM, ...QUIET, '--omit-lockfile-registry-resolved'];
    await command('npm', ['ci', '--prefer-offline', ...options], { cwd: work });
    const cache = await output('npm', ['config', 'get', 'cache']);
    const tree = await withSpool(work, (spool) =>
      new Installer(cache, spool).install(manifest, lockfile, 0),
    );
    const laidOut = tree.entries
      .filter(({ inode }) => inode.type !== 'dir')
      .map(({ path, inode }) => {
        const name = Buffer.from(path, 'latin1').toString().slice('app/'.length);
        if (inode.type === 'symlink') return `${name} -> ${inode.target}`;
        return `${name} ${inode.mode.toString(8)} ${inode.sha256}`;
      });
    assert.deepEqual(laidOut.sort(), (await listFiles(work)).sort());
  } finally {
    await rm(work, { recursive: true, force: true });
  }
});

test.run();
