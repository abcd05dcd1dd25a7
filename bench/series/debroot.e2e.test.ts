// needs: dpkg
/** What dpkg unpacks and writes into its database is the oracle of the systems that the Debian series are made of. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { lstatSync, readFileSync, readlinkSync } from 'node:fs';
import {
  chmod,
  link,
  mkdir,
  mkdtemp,
  readdir,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import { assign } from '../../rechunk/assign.ts';
import type { Detection } from '../../rechunk/components.ts';
import { dpkg } from '../../rechunk/repos/dpkg.ts';
import type { Tree } from '../../rechunk/tree.ts';
import type { Path } from '../../registry/path.ts';
import { command } from '../../test-images/command.ts';
import { type Deb, readDeb } from './deb.ts';
import { layOutSystem } from './debroot.ts';
import { type ContentSpool, withSpool } from './spool.ts';

const DATE = 1_790_000_000;
const MADE = 1_600_000_000;
const CONTROL = `Package: tool
Version: 1:2.0-3
Architecture: amd64
Multi-Arch: same
Source: tools (2.0-3)
Maintainer: Nobody <nobody@example.org>
Section: misc
Priority: optional
Description: a tool
 and more of it
`;
const FILES: Readonly<Record<string, string>> = {
  'bin/tool': 'program',
  'etc/tool.conf': 'setting',
  'usr/share/doc/tool/copyright': 'free',
  DEBIAN_control: CONTROL,
  DEBIAN_conffiles: '/etc/tool.conf\n',
  DEBIAN_md5sums: `${createHash('md5').update('program').digest('hex')}  bin/tool\n`,
};

async function buildDeb(work: string): Promise<string> {
  const root = join(work, 'package');
  for (const [name, content] of Object.entries(FILES)) {
    const path = join(root, name.replace('DEBIAN_', 'DEBIAN/'));
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
    await utimes(path, MADE, MADE);
  }
  await chmod(join(root, 'bin/tool'), 0o4755);
  await link(join(root, 'bin/tool'), join(root, 'bin/tool2'));
  await symlink('tool', join(root, 'bin/alias'));
  await mkdir(join(root, 'var/lib/tool'), { recursive: true });
  const file = join(work, 'tool.deb');
  const env = { SOURCE_DATE_EPOCH: String(MADE) };
  await command('dpkg-deb', ['--root-owner-group', '-b', root, file], { env });
  return file;
}

/** A root with a merged `/usr` where dpkg installed `file`. */
async function install(work: string, file: string): Promise<string> {
  const root = join(work, 'root');
  for (const directory of ['usr/bin', 'var/lib/dpkg/info', 'var/lib/dpkg/updates']) {
    await mkdir(join(root, directory), { recursive: true });
  }
  await symlink('usr/bin', join(root, 'bin'));
  await writeFile(join(root, 'var/lib/dpkg/status'), '');
  const options = [
    `--root=${root}`,
    '--force-not-root',
    '--force-bad-path',
    '--force-architecture',
  ];
  await command('dpkg', [...options, '--log=/dev/null', '--install', file]);
  return root;
}

/** The files below `root` but those of dpkg's that say what it did, not what there is. */
async function filesBelow(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
  const noise =
    /^var\/lib\/dpkg\/(lock|lock-frontend|status.*|available|triggers\/.*|cmethopt|diversions)$/;
  return paths.filter((path) => !noise.test(path)).map((path) => describe(root, path));
}

function describe(root: string, path: string): string {
  const stat = lstatSync(join(root, path));
  if (stat.isSymbolicLink()) return `${path} -> ${readlinkSync(join(root, path))}`;
  return `${path} ${(stat.mode & 0o7777).toString(8)} ${JSON.stringify(readFileSync(join(root, path), 'latin1'))}`;
}

function filesOf(tree: Tree, spool: ContentSpool): string[] {
  const left = /^(lib|lib64|sbin|var\/lib\/dpkg\/(status|diversions))$/;
  return tree.entries
    .filter(({ path, inode }) => inode.type !== 'dir' && !left.test(path))
    .map(({ path, inode }) =>
      inode.type === 'symlink'
        ? `${path} -> ${inode.target}`
        : `${path} ${inode.mode.toString(8)} ${JSON.stringify(spool.get(inode.sha256).toString('latin1'))}`,
    );
}

/** The fields of the one stanza, in no order: dpkg sorts them in its own. */
function fieldsOf(stanza: string): string[] {
  return stanza
    .trim()
    .split(/\n(?! )/)
    .sort();
}

async function withDeb(
  work: (at: { deb: Deb; file: string; directory: string; spool: ContentSpool }) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'rechunk-series-deb-'));
  try {
    process.umask(0o022);
    const file = await buildDeb(directory);
    await withSpool(directory, async (spool) =>
      work({ deb: await readDeb(file, spool), file, directory, spool }),
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

test('a package that is taken apart has its names, source and day', () =>
  withDeb(async ({ deb }) => {
    const { name, version, architecture, source, built } = deb;
    assert.deepEqual(
      { name, version, architecture, source, built },
      { name: 'tool', version: '1:2.0-3', architecture: 'amd64', source: 'tools', built: MADE },
    );
    const [first, second] = deb.entries.filter(
      ({ listed }) => /\/tool2?$/.test(listed) && listed.startsWith('/bin'),
    );
    assert.equal(first?.inode, second?.inode);
  }));

test('the files, and the database but for its status, are what dpkg makes', () =>
  withDeb(async ({ deb, file, directory, spool }) => {
    const tree = layOutSystem([deb], DATE, spool);
    const root = await install(directory, file);
    assert.deepEqual(filesOf(tree, spool).sort(), (await filesBelow(root)).sort());
    const status = tree.get('var/lib/dpkg/status' as Path);
    assert.ok(status);
    assert.deepEqual(
      fieldsOf(spool.get(status.sha256).toString()),
      fieldsOf(readFileSync(join(root, 'var/lib/dpkg/status'), 'utf8')),
    );
    assert.equal(status.mtime, BigInt(DATE) * 1_000_000_000n);
  }));

test('its component is found, whole', () =>
  withDeb(async ({ deb, spool }) => {
    const tree = layOutSystem([deb], DATE, spool);
    const { components } = await assign(tree, [(await dpkg.detect(tree)) as Detection]);
    const tools = components.find(({ id }) => id === 'dpkg:tools');
    assert.deepEqual(
      tools?.entries.map(({ path }) => path),
      [
        'bin',
        'etc/tool.conf',
        'usr/bin/alias',
        'usr/bin/tool',
        'usr/bin/tool2',
        'usr/share/doc/tool/copyright',
        'var/lib/dpkg/info/tool:amd64.conffiles',
        'var/lib/dpkg/info/tool:amd64.list',
        'var/lib/dpkg/info/tool:amd64.md5sums',
      ],
    );
  }));

test.run();
