// needs: time
/**
 * The small form of the memory bench: what a run takes of memory is what `--memory-limit` plans for, which grows with the entries of an image
 * and not with its bytes; and the limit decides nothing of the result.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { tarOf, writeLayout } from '../test-images/build.ts';
import { writeSynthetic } from '../test-images/synthetic.ts';
import { buildProgramIn } from './speed/tools.ts';

const directory = mkdtempSync('/var/tmp/rechunk-memory-');
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
mkdirSync(join(directory, 'program'));
// As it is installed: Node takes 40 MiB more where it has to strip types.
const ENTRY = await buildProgramIn(join(directory, 'program'));

/** How a build ended. */
interface Ended {
  readonly status: number | null;
  readonly stderr: string;
  readonly digest: string;
  /** Peak resident memory, MiB. */
  readonly peak: number;
}

let count = 0;

function build(name: string, limit: string | undefined): Ended {
  const options = limit === undefined ? [] : [`--memory-limit=${limit}`];
  const to = join(directory, `to-${++count}`);
  const references = [`oci:${join(directory, name)}:latest`, `oci:${to}:x`];
  const command = [ENTRY, 'build', '--no-cache', '--threads=2', ...options, ...references];
  const run = spawnSync('/usr/bin/time', ['-f', '%M', process.execPath, ...command], {
    encoding: 'utf8',
  });
  rmSync(to, { recursive: true, force: true });
  const peak = Number(run.stderr.trim().split('\n').at(-1)) / 1024;
  return { ...run, digest: run.stdout.trim().split('\n').at(-1) ?? '', peak };
}

/** The MiB that would do, of a build with a limit that is too small. */
function leastOf({ status, stderr }: Ended): number {
  assert.equal(status, 2, stderr);
  return Number(/want at least (\d+)MiB/.exec(stderr)?.[1]);
}

/** Builds with the least limit that is said to work, found by way of those that are too small; returns it, MiB. */
function buildWithLeast(name: string, digest: string): number {
  const start = leastOf(build(name, '1MiB'));
  const refused = build(name, `${start}MiB`);
  // Layers are counted as they are read, so it may take several tries to hear of all.
  let least = leastOf(refused);
  let run = build(name, `${least}MiB`);
  for (let tries = 0; run.status !== 0 && tries < 4; tries++) {
    least = leastOf(run);
    run = build(name, `${least}MiB`);
  }
  assert.equal(run.status, 0, run.stderr);
  assert.equal(run.digest, digest);
  assert.ok(run.peak <= least, `${run.peak} MiB with a limit of ${least} MiB`);
  return least;
}

/** What 40,000 files more may cost, MiB: 0.9 kB each. */
const ENTRIES_MIB = 36;
/** Of 240 MB in 6,000 files without a limit, two threads; 215 to 240 were measured. */
const PEAK_MIB = 300;

test('memory stays below the least limit that is named, which grows with files and not with bytes', async () => {
  await writeSynthetic(join(directory, 'bytes'), { files: 6_000, bytes: 240e6, layers: 2 });
  await writeSynthetic(join(directory, 'files'), { files: 46_000, bytes: 50e6 });
  const free = build('bytes', undefined);
  assert.equal(free.status, 0, free.stderr);
  assert.ok(free.peak < PEAK_MIB, `${free.peak} MiB`);
  const bytes = buildWithLeast('bytes', free.digest);
  const files = buildWithLeast('files', build('files', undefined).digest);
  assert.ok(files > bytes && files - bytes <= ENTRIES_MIB, `${bytes} MiB, ${files} MiB`);
});

test('what no plan of memory foresees is an error when it is found, and nothing is written', async () => {
  const [name, size] = ['database', 200 << 20];
  const status = `Package: a\nStatus: install ok installed\nVersion: 1\nDescription: ${'x'.repeat(size)}\n`;
  const tree = join(directory, 'tree');
  mkdirSync(join(tree, 'var/lib/dpkg'), { recursive: true });
  writeFileSync(join(tree, 'var/lib/dpkg/status'), status);
  const tar = await tarOf(tree, join(directory, 'tree.tar'));
  await writeLayout(join(directory, name), [{ layers: [{ tar }] }]);
  const { status: ended, stderr, digest } = build(name, '250MiB');
  assert.equal(ended, 2, stderr);
  assert.match(stderr, /--memory-limit 250MiB: the process takes \d+MiB by now, want at least/);
  assert.equal(digest, '');
});

test.run();
