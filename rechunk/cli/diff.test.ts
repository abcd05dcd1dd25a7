/** `rechunk diff` as a process, on two releases of Alpine: what its packages' own facts say is the oracle. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import type { Inspection } from '../inspect.ts';
import type { DiffReport } from '../library.ts';

const diff = suite('diff');
const work = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-diff-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
const packages = fileURLToPath(new URL('../../test-images/packages/apk/', import.meta.url));
const original = (version: string): string =>
  `docker-archive:${join(packages, `alpine-${version}-docker.tar.gz`)}`;
const [OLD, NEW] = ['3.10.4', '3.11.5'];
const layout = `oci:${join(work, 'layout')}`;

/** Images in the layout: the source, and how it is rechunked; planned without each other, so that like is with like. */
const IMAGES = [
  ['old', OLD, []],
  ['new', NEW, []],
  ['times', NEW, ['--mtime', '2024-01-01']],
  ['gzip', NEW, ['--compression', 'gzip']],
  ['pruned', NEW, ['--prune', '/etc/motd']],
] as const;

diff.before(async () => {
  for (const [tag, version, options] of IMAGES) {
    const args = ['build', original(version), `${layout}:${tag}`, '--fresh', ...options];
    await jsonHere(args);
  }
});

const run = (old: string, next: string, ...options: string[]): Promise<DiffReport> =>
  jsonHere<DiffReport>(['diff', `${layout}:${old}`, `${layout}:${next}`, ...options]);

/** Versions by package name, from facts that were written by `apk` itself. */
function versionsOf(release: string): Map<string, string> {
  const text = readFileSync(join(packages, `alpine-${release}-expected.json`), 'utf8');
  const facts = JSON.parse(text) as { packages: { name: string; version: string }[] };
  return new Map(facts.packages.map(({ name, version }) => [name, version]));
}

diff('names exactly the packages whose versions differ', async () => {
  const [before, after] = [versionsOf(OLD), versionsOf(NEW)];
  const expected = [...new Set([...before.keys(), ...after.keys()])]
    .filter((name) => before.get(name) !== after.get(name))
    .sort()
    .map((name) => [name, before.get(name), after.get(name)]);
  const report = await jsonHere<DiffReport>(['diff', original(OLD), original(NEW)]);
  const changed = report.packages.filter(({ change }) => change !== 'rebuilt');
  assert.deepEqual(
    changed.map(({ name, from, to }) => [name, from, to]),
    expected,
  );
  assert.ok(changed.every(({ change }) => change === 'upgraded'));
  // The other way round the same packages are downgraded.
  const back = await jsonHere<DiffReport>(['diff', original(NEW), original(OLD)]);
  assert.deepEqual(
    back.packages.filter(({ change }) => change === 'downgraded').map(({ name }) => name),
    changed.map(({ name }) => name),
  );
});

diff(
  'the update is what the manifests say: blobs that are new, and all above the first',
  async () => {
    const [before, after, report] = await Promise.all([
      jsonHere<Inspection>(['inspect', `${layout}:new`]),
      jsonHere<Inspection>(['inspect', `${layout}:pruned`]),
      run('new', 'pruned'),
    ]);
    const had = new Set(before.layers.map(({ digest }) => digest));
    const pulled = after.layers.filter(({ digest }) => !had.has(digest));
    const first = after.layers.findIndex(({ diffId }, i) => before.layers[i]?.diffId !== diffId);
    const sum = (layers: Inspection['layers']): { layers: number; bytes: number } => ({
      layers: layers.length,
      bytes: layers.reduce((total, { size }) => total + size, 0),
    });
    assert.equal(pulled.length, 1);
    assert.deepEqual(report.update?.byBlob, sum(pulled));
    assert.deepEqual(report.update?.byChain, sum(after.layers.slice(first)));
  },
);

diff('a file that is gone is the only cause, and costs the floor nothing', async () => {
  const report = await run('new', 'pruned');
  const changed = report.layers.filter(({ state }) => state !== 'shared');
  assert.deepEqual(
    changed.map(({ causes }) => causes.map(({ component, files }) => [component, files.removed])),
    [[['apk:alpine-baselayout', 1]]],
  );
  assert.deepEqual(
    report.files.map(({ path, change }) => [path, change]),
    [['/etc/motd', 'removed']],
  );
  assert.equal(report.floor.files, 0);
});

diff(
  'only times changed: no package differs, every layer says so, the floor is headers',
  async () => {
    const report = await run('new', 'times');
    assert.deepEqual(report.packages, []);
    assert.deepEqual([...new Set(report.layers.map(({ reason }) => reason))], ['times']);
    assert.deepEqual([...new Set(report.components.map(({ change }) => change))], ['times']);
    const bytes = report.update?.byBlob.bytes ?? 0;
    assert.ok(report.floor.files > 0 && report.floor.files < bytes / 100, `${report.floor.files}`);
  },
);

diff('other compression is told from other content', async () => {
  const report = await run('new', 'gzip');
  assert.deepEqual([...new Set(report.layers.map(({ state }) => state))], ['recompressed']);
  assert.deepEqual([report.files, report.components, report.floor.files], [[], [], 0]);
  assert.equal(report.update?.byChain.bytes, 0);
  assert.ok((report.update?.byBlob.bytes ?? 0) > 2_000_000);
});

diff('an image and itself: nothing differs, nothing is pulled', async () => {
  const report = await run('new', 'new');
  assert.deepEqual(report.update, {
    byBlob: { layers: 0, bytes: 0 },
    byChain: { layers: 0, bytes: 0 },
    documents: 0,
  });
  assert.deepEqual([report.packages, report.components, report.files], [[], [], []]);
});

diff('--max-update-bytes: exit status 1 above it, 0 at it, and the report is printed', async () => {
  const bytes = (await run('old', 'new')).update?.byBlob.bytes ?? 0;
  const args = ['diff', `${layout}:old`, `${layout}:new`, '--max-update-bytes'];
  const over = await runHere([...args, `${bytes - 1}`]);
  assert.deepEqual(
    [over.status, over.stdout.split('\n')[1]],
    [1, 'packages: 12 upgraded, 1 rebuilt'],
  );
  assert.match(
    over.stderr,
    new RegExp(`^rechunk: the update pulls .* \\(${bytes} bytes\\), over`, 'm'),
  );
  assert.equal((await runHere([...args, `${bytes}`])).status, 0);
});

diff('a directory tree has nothing to pull: no figures, and no budget', async () => {
  const root = join(work, 'root');
  const tree = `rootfs:${fileURLToPath(new URL('.', import.meta.url))}`;
  const report = await jsonHere<DiffReport>(['diff', `${layout}:old`, tree, '--no-xattrs']);
  assert.equal(report.update, undefined);
  assert.ok(report.floor.files > 0, root);
  const { status, stderr } = await runHere([
    'diff',
    `${layout}:old`,
    tree,
    '--max-update-bytes',
    '1',
  ]);
  assert.equal(status, 2);
  assert.match(stderr, /--max-update-bytes: rootfs:.* is a directory tree, which has no blobs/);
});

diff('--json and --markdown exclude each other', async () => {
  const { status, stderr } = await runHere(['diff', 'oci:/a', 'oci:/b', '--json', '--markdown']);
  assert.deepEqual(
    [status, stderr.split('\n')[0]],
    [2, 'rechunk: --json and --markdown: want one of them'],
  );
});

diff('Markdown: packages as a table, layers with their causes', async () => {
  const { status, stdout } = await runHere([
    'diff',
    `${layout}:old`,
    `${layout}:new`,
    '--markdown',
    '--quiet',
  ]);
  assert.equal(status, 0);
  const lines = stdout.split('\n');
  assert.equal(lines[0], `### \`${layout}:old\` → \`${layout}:new\` (\`linux/amd64\`)`);
  assert.ok(lines.includes('| upgraded | `musl` (apk) | `1.1.22-r3` | `1.1.24-r2` |'));
  assert.ok(lines.includes('#### Packages: 12 upgraded, 1 rebuilt'));
  assert.match(
    stdout,
    /^\| \d+ \| [\d.]+ kB \| changed \| `apk:musl` 1\.1\.22-r3 -> 1\.1\.24-r2: 5 files with other content, 2 with other times \|$/m,
  );
  // Rows of a table have as many cells as its head.
  const cells = lines
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split(' | ').length);
  assert.deepEqual([...new Set(cells)].sort(), [3, 4]);
});

diff('text is short unless all is asked for', async () => {
  const short = await runHere(['diff', `${layout}:new`, `${layout}:times`, '--quiet']);
  const all = await runHere(['diff', `${layout}:new`, `${layout}:times`, '--quiet', '--all']);
  assert.match(short.stdout, /^ {2}… and 3 more \(--all\)$/m);
  assert.ok(!all.stdout.includes('--all'));
  assert.match(all.stdout, /only times changed: apk:busybox: 315 files$/m);
});

diff.run();
