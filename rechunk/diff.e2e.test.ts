// needs: root, mmdebstrap, dpkg, dpkg-query, python3
/** `rechunk diff` on two releases of Debian, with dpkg as the oracle, and on small images that hide what differs. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { suite } from 'uvu';
import { type LayerInput, writeLayout } from '../test-images/build.ts';
import { jsonHere } from '../test-images/cli.ts';
import { command, output } from '../test-images/command.ts';
import { debianImage } from '../test-images/debian.ts';
import { dir, file, type Member, packMembers, whiteout } from '../test-images/member.ts';
import { noise } from '../test-images/sample.ts';
import type { DiffReport } from './library.ts';

const diff = suite('diff');
let work: string;

diff.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-diff-');
});

diff.after(() => rm(work, { recursive: true, force: true }));

/** What dpkg says of the packages in an image. */
async function installed(layout: string, name: string): Promise<Map<string, string>> {
  const root = join(work, name);
  await command('mkdir', [root]);
  const index = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8'));
  const blob = (digest: string): string => join(layout, 'blobs', digest.replace(':', '/'));
  const manifest = JSON.parse(await readFile(blob(index.manifests[0].digest), 'utf8'));
  const archive = blob(manifest.layers[0].digest);
  await command('tar', ['-xzf', archive, '-C', root, './var/lib/dpkg']);
  const format = ['-W', '-f', `\${db:Status-Status} \${Package} \${Version}\\n`];
  const listed = await output('dpkg-query', [`--admindir=${root}/var/lib/dpkg`, ...format]);
  const lines = listed.toString().trim().split('\n');
  const rows = lines.map((line) => line.split(' ') as [string, string, string]);
  return new Map(rows.flatMap(([status, ...row]) => (status === 'installed' ? [row] : [])));
}

diff(
  'two releases of Debian: every package is upgraded, added or removed as dpkg says',
  async () => {
    const layouts = [await debianImage(), await debianImage({ suite: 'trixie' })] as const;
    const [before, after] = [
      await installed(layouts[0], 'old'),
      await installed(layouts[1], 'new'),
    ];
    const report = await jsonHere<DiffReport>([
      'diff',
      `oci:${layouts[0]}:latest`,
      `oci:${layouts[1]}:latest`,
    ]);
    const said = (kind: string): string[] =>
      report.packages.filter(({ change }) => change === kind).map(({ name }) => name);
    const names = (from: Map<string, string>, without: Map<string, string>): string[] =>
      [...from.keys()].filter((name) => !without.has(name)).sort();
    assert.deepEqual(said('added'), names(after, before));
    assert.deepEqual(said('removed'), names(before, after));
    const changed = [...after].filter(
      ([name, version]) => (before.get(name) ?? version) !== version,
    );
    assert.ok(changed.length > 50, `${changed.length} packages`);
    const upgraded = new Set(said('upgraded'));
    for (const [name, version] of changed) {
      const old = before.get(name) as string;
      const { length } = report.packages.filter(
        (found) => found.name === name && found.from === old && found.to === version,
      );
      assert.equal(length, 1, name);
      // dpkg fails where the relation does not hold.
      const relation = upgraded.has(name) ? 'lt' : 'gt';
      await command('dpkg', ['--compare-versions', old, relation, version]);
    }
    assert.equal(upgraded.size + said('downgraded').length, changed.length);
  },
);

let images = 0;

/** An image of layers of the given members, as a reference. */
async function image(...layers: (readonly Member[])[]): Promise<string> {
  const path = join(work, `image-${++images}`);
  const packed: LayerInput[] = [];
  for (const members of layers) packed.push({ tar: await packMembers(members) });
  await writeLayout(path, [{ layers: packed }]);
  return `oci:${path}:latest`;
}

const run = (old: string, next: string): Promise<DiffReport> =>
  jsonHere<DiffReport>(['diff', old, next]);

const random = (seed: string, size = 100_000): string => noise(size, seed).toString('latin1');

diff(
  'the floor is the new content once, compressed, whatever it is called and how often',
  async () => {
    const shared = file('opt/app/shared', random('shared'));
    const old = await image([dir('opt'), dir('opt/app'), shared]);
    const next = await image([
      dir('opt'),
      dir('opt/app'),
      shared,
      file('opt/app/renamed', random('shared')),
      file('opt/app/new', random('new')),
      file('opt/app/again', random('new')),
    ]);
    const { floor } = await run(old, next);
    const least = zstdCompressSync(noise(100_000, 'new')).length;
    assert.ok(floor.files >= least && floor.files < least + 1000, `${floor.files}, want ${least}`);
    // The component whole has what was there before, too.
    assert.ok(floor.components > 2 * least, `${floor.components}`);
  },
);

diff(
  'what a later layer hides is no cause, and a layer that differs in nothing else says so',
  async () => {
    const upper = [dir('opt'), file('opt/seen', 'seen'), whiteout('opt/hidden')];
    const old = await image([dir('opt'), file('opt/hidden', 'a')], upper);
    const next = await image([dir('opt'), file('opt/hidden', 'b')], upper);
    const { layers, files, update } = await run(old, next);
    assert.deepEqual(files, []);
    assert.deepEqual(
      layers.map(({ state, reason }) => [state, reason]),
      [
        // Nothing of it is left to tell which layer it continues.
        ['new', 'archive'],
        ['shared', undefined],
      ],
    );
    assert.deepEqual([update?.byBlob.layers, update?.byChain.layers], [1, 2]);
  },
);

diff('hard links, owners and attributes are metadata; other names are files', async () => {
  const base = [dir('srv'), file('srv/a', 'a'), file('srv/b', 'b'), file('srv/c', 'c')];
  const old = await image(base);
  const next = await image([
    dir('srv'),
    file('srv/a', 'a', { uid: 5 }),
    file('srv/b', 'b', { xattrs: { 'user.x': 'y' } }),
    file('srv/c', 'c', { mtime: '1700000000' }),
    file('srv/d', 'd'),
  ]);
  const { files } = await run(old, next);
  assert.deepEqual(
    files.map(({ path, change }) => [path, change]),
    [
      ['/srv/a', 'metadata'],
      ['/srv/b', 'metadata'],
      ['/srv/c', 'times'],
      ['/srv/d', 'added'],
    ],
  );
});

diff.run();
