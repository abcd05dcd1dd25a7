/** `report --files` and `report index` where layers cannot be read, or say what is not so. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { digestOf } from '../../registry/oci.ts';
import type { IndexSummary } from '../../registry/report/index/index.ts';
import { TARGETS } from '../../registry/report/index/snapshot.ts';
import { PARTS } from '../../registry/report/index/writer.ts';
import type { Report } from '../../registry/report/report.ts';
import { runHere } from '../../test-images/cli.ts';
import {
  type OddImage,
  type OddLayer,
  soundLayer,
  tabled,
  writeOddLayout,
} from '../../test-images/odd.ts';
import { noise } from '../../test-images/sample.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-reportfiles-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
let count = 0;

/** A layout of `images`, as a target. */
function layoutOf(...images: OddImage[]): string {
  const directory = join(work, `layout-${count++}`);
  writeOddLayout(directory, images);
  return `oci:${directory}`;
}

async function run<T>(...args: string[]): Promise<{ status: number; stderr: string; found: T }> {
  const { status, stdout, stderr } = await runHere([...args, '--json', '--quiet']);
  return { status: status ?? -1, stderr, found: JSON.parse(stdout) as T };
}

const files = (target: string, index: string): ReturnType<typeof run<Report>> =>
  run<Report>('report', target, '--files', '--causes', '0', '--index', join(work, index));

const base = soundLayer([{ path: 'etc/conf', content: noise(3000, 'conf') }]);
const first = soundLayer([{ path: 'app', content: noise(1000, '1') }]);
const second = soundLayer([{ path: 'app', content: noise(2000, '2') }]);
const lost = { ...soundLayer([{ path: 'app', content: noise(500, '3') }]), isMissing: true };

test('layers that cannot be read are passed over and told, and what rests on them is left out', async () => {
  const other = { ...soundLayer([{ path: 'x', content: 'x' }]), diffId: base.diffId };
  const noTar = { ...base, blob: noise(100, 'no tar'), diffId: first.diffId };
  const signature = {
    ...{ blob: Buffer.from('{"critical":{}}'), diffId: second.diffId },
    mediaType: 'application/vnd.dev.cosign.simplesigning.v1+json',
  };
  const target = layoutOf(
    { tag: 'sha256-0.sig', layers: [signature] },
    { tag: '1.0', layers: [base, first] },
    { tag: '1.1', layers: [base, second] },
    { tag: '1.2', layers: [base, lost] },
    { tag: '1.3', layers: [base, first] },
    { tag: 'other', layers: [other] },
    { tag: 'tar', layers: [noTar] },
    { tag: 'damaged', layers: [{ ...first, diffId: digestOf('damaged') }] },
  );
  const { status, found, stderr } = await files(target, 'passed');
  assert.equal(status, 0, stderr);
  assert.equal(found.files?.bytes, 6000);
  // Of what was not read nobody can say what it would save.
  const { uniqueFiles, layers } = found.headline;
  assert.equal(uniqueFiles?.uncompressed, undefined);
  assert.ok((uniqueFiles?.compressed ?? 0) > signature.blob.length);
  assert.ok((uniqueFiles?.compressed ?? 0) < layers.compressed);
  const skipped = found.skipped ?? [];
  assert.deepEqual(
    skipped.map(({ name, why }) => [name.replace(target, ''), why.replace(/^.*\): /, '')]),
    [
      [':1.2', 'a blob that it needs is not there'],
      ['layer 2 of :1.2', `the blob ${digestOf(lost.blob)} is not in ${target}`],
      ['layer 1 of :damaged', skipped[2]?.why.replace(/^.*\): /, '')],
    ],
  );
  assert.match(skipped[2]?.why ?? '', /^indexing layer 1 of .*: got diffID sha256:.*, want /);
  const tagOf = (at: number): string => found.tags[at]?.tag ?? '';
  const floors = found.updates
    .filter(({ to }) => tagOf(to).startsWith('1.'))
    .map(({ from, to, floor }) => [tagOf(from), tagOf(to), floor !== undefined]);
  assert.deepEqual(floors, [
    ['1.0', '1.1', true],
    ['1.1', '1.2', false],
    ['1.2', '1.3', false],
  ]);
});

test('report index goes on with the other layers, tells what it left out, and ends with status 1', async () => {
  const target = layoutOf({ tag: '1', layers: [lost, base] }, { tag: '2', layers: [first] });
  const index = join(work, 'left');
  const { status, found } = await run<IndexSummary>('report', 'index', target, '--index', index);
  assert.equal(status, 1);
  assert.deepEqual([found.layers, found.known, found.skipped.length], [3, 0, 1]);
  const again = await run<IndexSummary>('report', 'index', target, '--index', index);
  assert.deepEqual([again.status, again.found.known, again.found.skipped.length], [1, 2, 1]);
  const { stdout } = await runHere(['report', 'index', target, '--index', index]);
  assert.match(stdout, /\nlayer 1 of .*:1 is left out: .* is not in /);
});

/** A blob whose table claims `files`, and that it were another layer. */
const claim = (diffId: OddLayer['diffId'], files: readonly object[]): OddLayer => ({
  ...tabled(files.map((file, i) => ({ name: `f${i}`, type: 'reg', mode: 0o644, ...file }))),
  diffId,
});
const evil = { digest: digestOf('evil'), size: 1_000_000 };

test('what a table of contents claims of a diffID says nothing of layers of others', async () => {
  const victim: OddImage = { tag: 'victim', layers: [base] };
  const forger: OddImage = { tag: 'forger', layers: [claim(base.diffId, [evil])] };
  // Both at once, or one after the other in either order.
  const orders = [
    [[victim, forger]],
    [[victim], [victim, forger]],
    [[forger], [victim, forger]],
    [[forger], [victim]],
  ];
  for (const [at, runs] of orders.entries()) {
    let last: Report | undefined;
    for (const images of runs) last = (await files(layoutOf(...images), `claim-${at}`)).found;
    assert.deepEqual([last?.files?.contents, last?.files?.bytes], [1, 3000], `order ${at}`);
    assert.equal(last?.skipped, undefined);
  }
  const alone = await files(layoutOf(forger), 'claim-0');
  assert.deepEqual([alone.found.files?.contents, alone.found.files?.bytes], [1, 3000]);
  const believed = await files(layoutOf(forger), 'claim-alone');
  assert.deepEqual([believed.found.files?.contents, believed.found.files?.bytes], [1, 1_000_000]);
});

test('sizes that no layer can hold are in no sum', async () => {
  const huge = { digest: digestOf('huge'), size: 2 ** 53 - 1 };
  const lying = claim(
    digestOf('none'),
    Array.from({ length: 2000 }, () => huge),
  );
  const target = layoutOf({ tag: '1', layers: [base] }, { tag: '2', layers: [lying] });
  const { status, found, stderr } = await files(target, 'huge');
  assert.equal(status, 0, stderr);
  assert.equal(found.files?.bytes, 3000);
  assert.deepEqual(
    found.skipped?.map(({ name }) => name),
    [`layer 1 of ${target}:2`],
  );
});

test('what is no index is told before anything is asked, and nothing is written into it', async () => {
  const target = 'docker://127.0.0.1:1';
  const foreign = join(work, 'foreign');
  mkdirSync(join(foreign, 'parts/of-mine'), { recursive: true });
  writeFileSync(join(work, 'a-file'), '');
  for (const [index, found] of [
    [foreign, /--index \S*foreign: it holds parts; want the directory of an index/],
    [join(work, 'a-file'), /--index \S*a-file: it is a file/],
    [join(work, 'a-file/below'), /--index \S*below: it is a file, or lies in one/],
  ] as const)
    for (const words of [
      ['report', target, '--files'],
      ['report', 'index', target],
    ]) {
      const { status, stderr } = await runHere([...words, '--index', index]);
      assert.equal(status, 2);
      assert.match(stderr, found);
    }
  assert.deepEqual(readdirSync(foreign, { recursive: true }).sort(), ['parts', 'parts/of-mine']);
  // The top of a volume, and a directory that a run was killed in.
  const volume = join(work, 'volume');
  for (const name of ['lost+found', '.ingest']) mkdirSync(join(volume, name), { recursive: true });
  const made = layoutOf({ tag: '1', layers: [first] });
  assert.equal((await files(made, 'volume')).status, 0);
});

test('a part of an index that is damaged is named with the remedy, one of another version passed over', async () => {
  const index = join(work, 'damaged');
  const target = layoutOf({ tag: '1', layers: [base, first] });
  await files(target, 'damaged');
  mkdirSync(join(index, 'parts/0-of-1-0/layers'), { recursive: true });
  const again = await runHere(['report', target, '--files', '--index', index]);
  assert.equal(again.status, 0, again.stderr);
  assert.match(
    again.stderr,
    /another version's index is not read, and may be removed: .*\/parts\n/,
  );
  const [part = ''] = readdirSync(join(index, PARTS));
  const damaged = join(index, PARTS, part);
  const [entries = ''] = readdirSync(join(damaged, 'entries'));
  for (const [file, tell] of [
    [`entries/${entries}/part.parquet`, /entries/],
    ['layers/part.parquet', /layers/],
  ] as const) {
    const bytes = readFileSync(join(damaged, file));
    writeFileSync(join(damaged, file), bytes.subarray(0, bytes.length / 2));
    const { status, stderr } = await runHere(['report', target, '--files', '--index', index]);
    assert.equal(status, 2);
    assert.ok(stderr.includes(`the part ${damaged} is damaged`), stderr);
    assert.match(stderr, tell);
    assert.match(stderr, /; remove it, and its layers are read again\n/);
    if (file.startsWith('entries')) writeFileSync(join(damaged, file), bytes);
  }
  rmSync(damaged, { recursive: true });
  const { found } = await files(target, 'damaged');
  assert.equal(found.files?.bytes, 4000);
});

test('an index has what its targets hold once, wherever they are named from', async () => {
  const index = join(work, 'targets');
  const [one, other] = [
    layoutOf({ tag: '1', layers: [base] }),
    layoutOf({ tag: '1', layers: [first] }),
  ];
  for (const targets of [[one], [other], [one, other], [one]])
    await run('report', 'index', ...targets, '--index', index);
  const before = process.cwd();
  process.chdir(one.slice('oci:'.length));
  await run('report', 'index', 'oci:.', '--index', index);
  process.chdir(before);
  // Of one alone, and of both.
  assert.equal(readdirSync(join(index, TARGETS)).length, 2);
});

test('what matches no tag and no image is told before layers are read', async () => {
  const target = layoutOf({ tag: '1', layers: [base] });
  const index = join(work, 'never');
  for (const [options, found] of [
    [['--if-deleted', 'nope'], /no tag is like 'nope', of 1/],
    [['--holds', 'nope'], /no tag is like 'nope', of 1/],
    [['--platform', 'linux/s390x'], /no image is for linux\/s390x; there are: linux\/amd64/],
  ] as const) {
    const words = ['report', target, '--files', '--what-if', '--index', index, ...options];
    const { status, stderr } = await runHere(words);
    assert.deepEqual([status, existsSync(index)], [2, false]);
    assert.match(stderr, found);
  }
});

test('a place for temporary files that is none is told', async () => {
  const target = layoutOf({ tag: '1', layers: [base] });
  for (const option of ['--files', '--what-if']) {
    const words = ['report', target, option, '--index', join(work, 'spills'), '--temp-dir', '/sys'];
    const { status, stderr } = await runHere(option === '--files' ? words : words.toSpliced(3, 2));
    assert.equal(status, 2);
    assert.match(stderr, /^rechunk: making a temporary directory in \/sys: E/m);
  }
});

test('where no index can be kept beside the cache the report is made without, and where one is asked for that is an error', async () => {
  const target = layoutOf({ tag: '1', layers: [base] });
  writeFileSync(join(work, 'no-directory'), '');
  // HOME of a pod whose file system is read-only.
  const home = { HOME: join(work, 'no-directory'), RECHUNK_NO_CACHE: '', XDG_CACHE_HOME: '' };
  const made = await runHere(['report', target, '--files'], { env: home });
  assert.equal(made.status, 0, made.stderr);
  assert.match(
    made.stderr,
    /note: the index of files is not kept, --index DIR says where: .*ENOTDIR/,
  );
  for (const words of [
    ['report', target, '--files'],
    ['report', 'index', target],
  ]) {
    const { status, stderr } = await runHere([...words, '--index', '/sys/none']);
    assert.equal(status, 2);
    assert.match(stderr, /^rechunk: writing the index \/sys\/none: E(PERM|ACCES|ROFS)/m);
  }
});

test('a report of files is made where no layer can be read', async () => {
  const noTar = { ...base, blob: noise(100, 'no tar') };
  const foreign = { ...lost, mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar' };
  const target = layoutOf(
    { tag: '1', layers: [lost] },
    { tag: '2', layers: [noTar] },
    { tag: '3', layers: [foreign] },
  );
  const { status, found, stderr } = await files(target, 'none');
  assert.equal(status, 0, stderr);
  assert.deepEqual([found.files?.contents, found.files?.bytes], [0, 0]);
  // What is there and cannot be read counts whole; what is not there, not at all.
  assert.deepEqual(found.headline.uniqueFiles, { compressed: 100 });
});

test.run();
