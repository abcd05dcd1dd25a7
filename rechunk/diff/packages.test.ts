/** Packages and components that differ: two lockfiles of a real application are the oracle, small trees show the rest. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { test } from 'uvu';
import { type FileSpec, memoryTree } from '../../test-images/trees.ts';
import type { Component, Detection } from '../components.ts';
import { findComponents } from '../grouping.ts';
import { pairFiles, type Side, sideOf } from './files.ts';
import { type ComponentChange, compareKnown, type Known, type PackageChange } from './packages.ts';

type Compared = { packages: PackageChange[]; components: ComponentChange[] };

function compare(old: Known & { side: Side }, next: Known & { side: Side }): Compared {
  return compareKnown(old, next, pairFiles(old.side, next.side));
}

/** What npm would install, by path: `node_modules/qs` to `6.15.3`. */
function lockedVersions(day: string): Map<string, string> {
  const path = `../../test-images/packages/npm/lock-series/package-lock-${day}.json.gz`;
  const { packages } = JSON.parse(
    gunzipSync(readFileSync(new URL(path, import.meta.url))).toString(),
  ) as { packages: Record<string, { version: string; link?: boolean }> };
  const rows = Object.entries(packages).map(([at, { version }]) => [at, version] as const);
  return new Map(rows.filter(([at]) => at !== ''));
}

async function installed(versions: ReadonlyMap<string, string>): Promise<Known & { side: Side }> {
  const specs = [...versions].map(([at, version]): FileSpec => {
    const name = at.slice(at.lastIndexOf('node_modules/') + 'node_modules/'.length);
    return { path: `app/${at}/package.json`, content: JSON.stringify({ name, version }) };
  });
  const tree = memoryTree(specs);
  const found = await findComponents(tree, {});
  return { ...found, side: sideOf(tree, found.components) };
}

test('npm: a week of a real application, every package at every place as the lockfiles say', async () => {
  const [before, after] = [lockedVersions('2026-09-13'), lockedVersions('2026-09-20')];
  const { packages } = compare(await installed(before), await installed(after));
  const expected = [...new Set([...before.keys(), ...after.keys()])]
    .map((at) => ({ at, from: before.get(at), to: after.get(at) }))
    .filter(({ from, to }) => from !== to);
  assert.ok(expected.length > 10, `${expected.length}`);
  const said = packages.map(({ component, from, to }) => ({
    at: component.replace('node:/app/', ''),
    from,
    to,
  }));
  const byPlace = (a: { at: string }, b: { at: string }): number => (a.at < b.at ? -1 : 1);
  assert.deepEqual(said.sort(byPlace), expected.sort(byPlace));
});

interface Spec {
  readonly id: string;
  readonly packages?: readonly string[];
  readonly files?: readonly FileSpec[];
}

/** A side with these components, each with files of its own. */
function sideWith(specs: readonly Spec[]): Known & { side: Side } {
  const tree = memoryTree(specs.flatMap(({ files = [] }) => files));
  const components = specs.flatMap(({ id, packages, files = [] }): Component[] => {
    const paths = new Set(files.map(({ path }) => path));
    const entries = tree.entries.filter(({ path }) => paths.has(path));
    if (entries.length === 0) return [];
    return [{ id, kind: 'package', ...(packages && { packages }), entries, size: 0 }];
  });
  const infos = specs.map(({ id, packages }) => ({
    id,
    kind: 'package' as const,
    ...(packages && { packages }),
  }));
  const detections: Detection[] = [{ repo: 'x', components: infos, claims: [], warnings: [] }];
  return { detections, components, side: sideOf(tree, components) };
}

const FILE: FileSpec = { path: 'usr/bin/a', content: 'a' };

const outline = ({ packages, components }: Compared): unknown => [
  packages.map(({ change, name, from, to }) => [change, name, from, to].join(' ')),
  components.map(({ id, change, bytes }) => [id, change, bytes].join(' ')),
];

const CASES: readonly (readonly [string, readonly Spec[], readonly Spec[], unknown])[] = [
  [
    'the same version with other content is rebuilt',
    [{ id: 'dpkg:a', packages: ['a 1'], files: [FILE] }],
    [{ id: 'dpkg:a', packages: ['a 1'], files: [{ ...FILE, content: 'bb' }] }],
    [['rebuilt a 1 1'], ['dpkg:a rebuilt 2']],
  ],
  [
    'of several packages of one source, rebuilt, the source is named',
    [{ id: 'dpkg:src', packages: ['a 1', 'b 1'], files: [FILE] }],
    [{ id: 'dpkg:src', packages: ['a 1', 'b 1'], files: [{ ...FILE, content: 'b' }] }],
    [['rebuilt src 1 1'], ['dpkg:src rebuilt 1']],
  ],
  [
    'the same version with other times is no other package',
    [{ id: 'dpkg:a', packages: ['a 1'], files: [FILE] }],
    [{ id: 'dpkg:a', packages: ['a 1'], files: [{ ...FILE, mtime: 1n }] }],
    [[], ['dpkg:a times 0']],
  ],
  [
    'a package without files is upgraded all the same',
    [{ id: 'dpkg:meta', packages: ['meta 1.9'] }],
    [{ id: 'dpkg:meta', packages: ['meta 1.10'] }],
    [['upgraded meta 1.9 1.10'], []],
  ],
  [
    'a package that another source makes now is the same package',
    [{ id: 'rpm:gcc', packages: ['libgcc-14.1-1.x86_64'], files: [FILE] }],
    [{ id: 'rpm:gcc15', packages: ['libgcc-15.1-1.x86_64'], files: [FILE] }],
    [['upgraded libgcc 14.1-1 15.1-1'], ['rpm:gcc15 added 1', 'rpm:gcc removed 0']],
  ],
  [
    'an older version is a downgrade',
    [{ id: 'apk:a', packages: ['a 1.1-r0'], files: [FILE] }],
    [{ id: 'apk:a', packages: ['a 1.1_rc1-r0'], files: [{ ...FILE, content: 'b' }] }],
    [['downgraded a 1.1-r0 1.1_rc1-r0'], ['apk:a downgraded 1']],
  ],
  [
    'one name in two versions is told with both',
    [{ id: 'rpm:k', packages: ['k-6.9-1.x86_64'], files: [FILE] }],
    [{ id: 'rpm:k', packages: ['k-6.10-1.x86_64', 'k-6.9-1.x86_64'], files: [FILE] }],
    [['upgraded k 6.9-1 6.9-1, 6.10-1'], []],
  ],
  [
    'what is no package is changed, not rebuilt',
    [{ id: 'config', files: [FILE] }],
    [{ id: 'config', files: [{ ...FILE, content: 'bb' }] }],
    [[], ['config content 2']],
  ],
  [
    'a file that went to another component left the one and came to the other',
    [{ id: 'dpkg:a', packages: ['a 1'], files: [FILE, { path: 'usr/b', content: 'b' }] }],
    [
      { id: 'config', files: [FILE] },
      { id: 'dpkg:a', packages: ['a 1'], files: [{ path: 'usr/b', content: 'b' }] },
    ],
    [['rebuilt a 1 1'], ['config added 1', 'dpkg:a rebuilt 0']],
  ],
];

for (const [what, old, next, expected] of CASES) {
  test(what, () => {
    assert.deepEqual(outline(compare(sideWith(old), sideWith(next))), expected);
  });
}

test.run();
