// needs: root, dpkg
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import { memoryTree, specsOfTar } from '../../test-images/trees.ts';
import { assign } from '../assign.ts';
import type { Assignment } from '../components.ts';
import { dpkg } from './dpkg.ts';

interface Context {
  readonly directory: string;
  readonly root: string;
}

const oracle = process.getuid?.() === 0 && available('dpkg-deb', 'dpkg', 'update-alternatives');
const test = suite<Context>('dpkg of the system');

function available(...commands: readonly string[]): boolean {
  try {
    for (const command of commands) execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const md5 = (content: string): string => createHash('md5').update(content).digest('hex');

function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'latin1', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Builds a package and unpacks it in the root as dpkg does. */
function install(
  { directory, root }: Context,
  name: string,
  files: Readonly<Record<string, string>>,
  control = '',
): void {
  const tree = join(directory, name);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    if (content.startsWith('-> ')) symlinkSync(content.slice('-> '.length), join(tree, path));
    else writeFileSync(join(tree, path), content);
  }
  const conffiles = Object.keys(files).filter((path) => path.startsWith('etc/'));
  const sums = Object.keys(files)
    .filter((path) => !conffiles.includes(path) && !files[path]?.startsWith('-> '))
    .map((path) => `${md5(files[path] as string)}  ${path}\n`);
  mkdirSync(join(tree, 'DEBIAN'));
  chmodSync(join(tree, 'DEBIAN'), 0o755);
  const maintainer = 'Maintainer: t <t@example.org>\nDescription: t\n';
  writeFileSync(
    join(tree, 'DEBIAN/control'),
    `Package: ${name}\nVersion: 1.0\nArchitecture: all\n${control}${maintainer}`,
  );
  writeFileSync(join(tree, 'DEBIAN/md5sums'), sums.join(''));
  writeFileSync(join(tree, 'DEBIAN/conffiles'), conffiles.map((path) => `/${path}\n`).join(''));
  run('dpkg-deb', '--root-owner-group', '--build', tree, `${tree}.deb`);
  run('dpkg', `--root=${root}`, '--force-script-chrootless', '--install', `${tree}.deb`);
}

async function assignRoot({ root }: Context): Promise<Assignment> {
  const tree = memoryTree(
    await specsOfTar(execFileSync('tar', ['-C', root, '-c', '.'], { maxBuffer: 1 << 28 })),
  );
  const detection = await dpkg.detect(tree);
  assert.ok(detection);
  return assign(tree, [detection]);
}

function ownersOf({ components }: Assignment): Map<string, string> {
  return new Map(components.flatMap(({ id, entries }) => entries.map(({ path }) => [path, id])));
}

/** The owners that dpkg-query knows of what every package lists; diversions it tells apart. */
function queryOwners({ root }: Context): [path: string, owner: string][] {
  const names = run('dpkg-query', `--root=${root}`, '-W', '-f', `\${Package}\\n`)
    .trim()
    .split('\n');
  return names.flatMap((name) => {
    const lines = run('dpkg-query', `--root=${root}`, '-L', name).trim().split('\n');
    return lines.flatMap((line, i): [string, string][] => {
      const diverted = /^(?:diverted by \S+|locally diverted) to: (.*)$/.exec(lines[i + 1] ?? '');
      return line.startsWith('/') ? [[diverted?.[1] ?? line, name]] : [];
    });
  });
}

test.before.each((context) => {
  const directory = mkdtempSync(join(tmpdir(), 'rechunk-dpkg-'));
  const root = join(directory, 'root');
  for (const path of ['usr/bin', 'usr/lib', 'var/lib/dpkg/info', 'var/lib/dpkg/updates'])
    mkdirSync(join(root, path), { recursive: true });
  symlinkSync('usr/bin', join(root, 'bin'));
  symlinkSync('usr/lib', join(root, 'lib'));
  writeFileSync(join(root, 'var/lib/dpkg/status'), '');
  Object.assign(context, { directory, root });
});

test.after.each(({ directory }) => rmSync(directory, { recursive: true, force: true }));

const check = oracle ? test : test.skip;

check(
  'agrees with dpkg-query on files, diversions, conffiles and a merged /usr',
  async (context) => {
    install(
      context,
      'alpha',
      {
        'bin/tool': 'alpha',
        'lib/liba.so.1.2': 'lib',
        'lib/liba.so.1': '-> liba.so.1.2',
        'etc/alpha.conf': 'shipped',
        'etc/kept.conf': 'shipped',
        'usr/share/doc/alpha/caf\u00e9 \\ x': 'name',
      },
      'Source: alpha-src (0.9)\n',
    );
    run(
      'dpkg-divert',
      `--root=${context.root}`,
      '--package',
      'beta',
      '--add',
      '--rename',
      '--divert',
      '/bin/tool.real',
      '/bin/tool',
    );
    install(context, 'beta', { 'bin/tool': 'beta' });
    writeFileSync(join(context.root, 'etc/alpha.conf'), 'edited');
    writeFileSync(join(context.root, 'usr/lib/liba.so.1.2'), 'patched');

    const assignment = await assignRoot(context);
    const owners = ownersOf(assignment);
    const sources = new Map([
      ['alpha', 'dpkg:alpha-src'],
      ['beta', 'dpkg:beta'],
    ]);
    const verified = run('dpkg', `--root=${context.root}`, '--verify');
    const changed = [...verified.matchAll(/^..5\S+ +(?:c +)?\/(.*)$/gm)].map((match) => match[1]);
    assert.deepEqual(changed.sort(), ['etc/alpha.conf', 'lib/liba.so.1.2']);
    let compared = 0;
    for (const [listed, name] of queryOwners(context)) {
      const path = listed.slice(1).replace(/^(bin|lib)\//, 'usr/$1/');
      const owner = owners.get(path);
      if (owner === undefined || ['bin', 'lib', ...changed].includes(listed.slice(1))) continue;
      assert.equal(owner, sources.get(name), listed);
      compared++;
    }
    assert.equal(compared, 5, 'the unchanged files of both packages');
    for (const path of ['bin', 'lib']) assert.equal(owners.get(path), 'dpkg:alpha-src', path);
    assert.equal(owners.get('etc/alpha.conf'), 'config');
    assert.equal(owners.get('usr/lib/liba.so.1.2'), 'generated:modified');
    assert.equal(owners.get('usr/bin/tool.real'), 'dpkg:alpha-src');
    assert.equal(owners.get('usr/bin/tool'), 'dpkg:beta');
  },
);

check('agrees with update-alternatives on who was chosen', async (context) => {
  const { root } = context;
  install(context, 'mawk', { 'usr/bin/mawk': 'm', 'usr/share/man/mawk.1': 'm' });
  install(context, 'gawk', { 'usr/bin/gawk': 'g', 'usr/share/man/gawk.1': 'g' });
  mkdirSync(join(root, 'etc/alternatives'), { recursive: true });
  mkdirSync(join(root, 'var/log'), { recursive: true });
  for (const [name, priority] of [
    ['mawk', '5'],
    ['gawk', '10'],
  ] as const) {
    run(
      'update-alternatives',
      '--root',
      root,
      '--install',
      '/usr/bin/awk',
      'awk',
      `/usr/bin/${name}`,
      priority,
      '--slave',
      '/usr/share/man/awk.1',
      'awk.1',
      `/usr/share/man/${name}.1`,
    );
  }
  const links = [
    'usr/bin/awk',
    'etc/alternatives/awk',
    'etc/alternatives/awk.1',
    'usr/share/man/awk.1',
  ];
  for (const name of ['gawk', 'mawk']) {
    run('update-alternatives', '--root', root, '--set', 'awk', `/usr/bin/${name}`);
    rmSync(join(root, `usr/share/man/${name}.1`));
    const owners = ownersOf(await assignRoot(context));
    for (const link of links) assert.equal(owners.get(link), `dpkg:${name}`, link);
  }
});

test.run();
