/**
 * Causes of updates by the index of files alone are those that `diff` finds by reading both images: with the databases of every package
 * manager, files that were changed since, deletions, hard links and attributes.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import type { Report } from '../../registry/report/report.ts';
import { openSource } from '../../registry/transport.ts';
import { type ImageInput, writeLayout } from '../../test-images/build.ts';
import { runCli } from '../../test-images/cli.ts';
import { file, link, type Member, packMembers, whiteout } from '../../test-images/member.ts';
import { type FileSpec, specsOfDockerArchive, specsOfTar } from '../../test-images/trees.ts';
import { diff } from '../diff/diff.ts';
import { causesOf } from './causes.ts';

const PACKAGES = new URL('../../test-images/packages/', import.meta.url);
const read = (path: string): Promise<Buffer> => readFile(new URL(path, PACKAGES));
const NS_PER_SECOND = 1_000_000_000;

const indexed = suite('report --files and diff');
let work: string;

/** Where things lie whose archive holds a part of a root. */
type Place = (path: string) => string;

function memberOf(spec: FileSpec, place: Place): Member {
  const { mode = 0o644, uid = 0, gid = 0, mtime = 0n, content = '', xattrs } = spec;
  const time = String(Number(mtime) / NS_PER_SECOND);
  const meta = { path: place(spec.path), mode, uid, gid, mtime: time };
  if (spec.link !== undefined) return { ...meta, type: 'link', target: place(spec.link) };
  if (spec.target !== undefined) return { ...meta, type: 'symlink', target: spec.target };
  const type = spec.type ?? 'file';
  const values = [...(xattrs ?? [])].map(([name, value]) => [
    name,
    Buffer.from(value).toString('latin1'),
  ]);
  const more = values.length > 0 ? { xattrs: Object.fromEntries(values) } : {};
  if (type !== 'file') return { ...meta, ...more, type };
  return { ...meta, ...more, type, content: Buffer.from(content).toString('latin1') };
}

const membersOf = (specs: readonly FileSpec[], place: Place = (path) => path): Member[] =>
  specs.filter(({ path }) => path !== '').map((spec) => memberOf(spec, place));

/** Some of the files: with other content, other metadata, or deleted. */
function changed(members: readonly Member[]): Member[] {
  const files = members.filter(({ type }) => type === 'file');
  return files.flatMap((one, i): Member[] => {
    if (one.path.includes('/dpkg/info/') || i % 5 > 2) return [];
    if (i % 5 === 0) return [{ ...one, content: `${one.content}#` }];
    return i % 5 === 1 ? [{ ...one, mode: one.mode ^ 0o111 }] : [whiteout(one.path)];
  });
}

/** A store as pnpm keeps it, whose files get their names by hard links later. */
const STORED: readonly Member[] = [
  file('app/.store/00', JSON.stringify({ name: 'linked', version: '1.0.0' })),
  link('app/node_modules/linked/package.json', 'app/.store/00'),
  file('app/node_modules/linked/index.js', 'one'),
];
const STORED_NEXT: readonly Member[] = [
  file('app/.store/01', JSON.stringify({ name: 'linked', version: '1.1.0' })),
  link('app/node_modules/linked/package.json', 'app/.store/01'),
  file('app/node_modules/linked/index.js', 'two'),
];

/** Alpine 3.10.4 and 3.11.5, as they were published. */
async function alpines(): Promise<ImageInput[]> {
  const images = ['3.10.4', '3.11.5'].map(async (tag) => {
    const specs = await specsOfDockerArchive(await read(`apk/alpine-${tag}-docker.tar.gz`));
    return { tag, layers: [{ tar: await packMembers(membersOf(specs)) }] };
  });
  return Promise.all(images);
}

/** Databases of several package managers, one layer each; then a release with some of what they list changed. */
async function mixed(): Promise<ImageInput[]> {
  const below: readonly (readonly [archive: string, Place?])[] = [
    ['dpkg/bookworm-minbase/meta.tar.gz'],
    ['rpm/lab-root-sqlite/root.tar.gz'],
    ['alpm/pacman-local.tar.gz', (path) => `var/lib/pacman/${path}`],
    ['python/venv-compiled/dist-info.tar.gz'],
  ];
  const layers = await Promise.all(
    below.map(async ([archive, place]) => membersOf(await specsOfTar(await read(archive)), place)),
  );
  layers.push([...STORED]);
  const tars = await Promise.all(layers.map((members) => packMembers(members)));
  const top = await packMembers([...layers.flatMap(changed), ...STORED_NEXT]);
  const old = tars.map((tar) => ({ tar }));
  return [
    { tag: '1', layers: old },
    { tag: '2', layers: [...old, { tar: top }] },
  ];
}

indexed.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-indexed-');
  await writeLayout(join(work, 'alpine'), await alpines());
  await writeLayout(join(work, 'mixed'), await mixed());
});

indexed.after(() => rm(work, { recursive: true, force: true }));

for (const [name, from, to, least] of [
  ['alpine', '3.10.4', '3.11.5', 10],
  ['mixed', '1', '2', 10],
] as const) {
  indexed(`are one in what the update of ${name} is put down to`, async () => {
    const layout = `oci:${join(work, name)}`;
    const args = ['report', layout, '--files', '--json', '--quiet', '--temp-dir', work];
    const { stdout, stderr, status } = await runCli(args);
    assert.equal(status, 0, stderr);
    const made = JSON.parse(stdout) as Report;
    assert.deepEqual(made.skipped, undefined);
    const images = [await openSource(`${layout}:${from}`), await openSource(`${layout}:${to}`)];
    const want = causesOf(
      await diff(images[0] as never, images[1] as never, { threads: 1, tempDir: work }),
    );
    for (const image of images) await image.close();
    assert.ok(want.length >= least, JSON.stringify(want));
    assert.deepEqual(made.updates[0]?.causes, want);
  });
}

indexed.run();
