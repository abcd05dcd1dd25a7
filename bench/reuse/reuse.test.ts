/** What updates pull, on series that can be followed by hand, and a slice of each real one. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { simulateHost } from '../series/host.ts';
import type { ComponentFacts, FileFacts, Release } from '../series/series.ts';
import { chart } from './chart.ts';
import { checkClaims } from './claims.ts';
import { fileFloor, packageFloor } from './floors.ts';
import { PackedSeries, type Packing } from './layers.ts';
import { inherit, noiseRows } from './noise.ts';
import { type Memory, packOurs } from './ours.ts';
import { FILE_FLOOR, HINDSIGHT, ONE_LAYER, OURS, PACKAGE_FLOOR, PACKINGS } from './packings.ts';
import { Figures, mergeResults } from './results.ts';
import { report } from './table.ts';
import { type Outcome, runTask } from './tasks.ts';

const file = (path: string, content: string, compressedSize: number): FileFacts => ({
  path,
  content,
  size: 2 * compressedSize,
  compressedSize,
  metadata: 'file 644 0:0',
});

function component(id: string, files: readonly FileFacts[], changedSize?: number): ComponentFacts {
  const bytes = files.reduce((sum, { compressedSize }) => sum + compressedSize, 0);
  return {
    id,
    kind: 'package',
    files,
    size: 2 * bytes,
    compressedSize: bytes,
    changedSize: changedSize ?? bytes,
  };
}

const release = (date: number, ...states: ComponentFacts[]): Release => ({
  name: `${date}`,
  date,
  components: new Map(states.map((state) => [state.id, state])),
});

const [A, B, C] = ['a', 'b', 'c'].map((id, i) => component(id, [file(id, id, 10 ** i)])) as [
  ComponentFacts,
  ComponentFacts,
  ComponentFacts,
];
const B2 = component('b', [file('b', 'b2', 20)]);

test('a layer is pulled when any of its states is new, by chain all above it too', () => {
  const packed = new PackedSeries([
    [[A], [B], [C]],
    [[A], [B2], [C]],
  ]);
  assert.deepEqual(packed.updates(1), [
    { from: 0, bytes: 20, chainBytes: 120, layers: 1, size: 121 },
  ]);
  assert.equal(packed.storage, 131);
});

test('an equal layer elsewhere costs nothing by blob; by chain its place counts', () => {
  const packed = new PackedSeries([
    [[A], [B, C]],
    [[C, B], [A]],
  ]);
  assert.deepEqual(packed.updates(1), [
    { from: 0, bytes: 0, chainBytes: 111, layers: 0, size: 111 },
  ]);
});

test('clients that skip releases do not hold the layers between', () => {
  const series: Packing[] = [
    [[A], [B]],
    [[A], [B2]],
    [[A], [B]],
  ];
  const packed = new PackedSeries(series);
  assert.deepEqual(
    packed.updates(1).map(({ bytes }) => bytes),
    [20, 10],
  );
  assert.deepEqual(
    packed.updates(2).map(({ from, bytes }) => [from, bytes]),
    [[0, 0]],
  );
});

test('floors: changed components once, changed contents once, moved contents not at all', () => {
  const [x, y] = [file('x', 'X', 50), file('y', 'Y', 7)];
  const before = release(1, component('p', [x, y]), A);
  const after = release(
    2,
    component('p', [file('x', 'X2', 60), y], 55),
    component('q', [file('moved', 'X', 50), file('new', 'N', 3)]),
    A,
  );
  assert.equal(packageFloor([before, after], 0, 1), 67 + 53);
  assert.equal(fileFloor([before, after], 0, 1), 55 + 3);
  assert.equal(packageFloor([before, before], 0, 1), 0);
});

test('a file keeps its time where content and metadata are as they were, and only there', () => {
  const before = release(100, component('p', [file('same', 's', 1), file('other', 'o', 1)]), A);
  const after = release(
    200,
    component('p', [file('same', 's', 1), file('other', 'changed', 1)]),
    component('a', [file('a', 'a', 1)]),
  );
  const result = inherit(before, after);
  assert.equal(result.components.get('a'), A);
  const [same, other] = result.components.get('p')?.files ?? [];
  assert.deepEqual([same?.mtime ?? result.date, other?.mtime ?? result.date], [100, 200]);
});

test('a rebuild: ours pulls nothing for times, an image with all in one layer is pulled whole', () => {
  const rows = noiseRows('made-up', [release(100, A, B, C), release(200, A, B2, C)], 2);
  const bytesOf = (name: string): number | undefined =>
    rows.find(({ packing }) => packing === name)?.bytes.installed;
  assert.equal(bytesOf(OURS), 0);
  assert.equal(bytesOf(ONE_LAYER), 121);
  assert.equal(bytesOf("rpm-ostree's rule, remembering"), 0);
});

test('ours keeps its plan where nothing changed, however much later; fresh it does not', () => {
  const [first] = simulateHost({ seed: 1, releases: 1 }) as [Release];
  const later = { ...first, date: first.date + 300 * 86_400 };
  const isKept = (memory: Memory): boolean => {
    const pack = packOurs(memory)(32);
    const [before = '', after] = [first, later].map((release) =>
      pack(release)
        .map((layer) => layer.map(({ id }) => id).join(' '))
        .join('\n'),
    );
    return before === after;
  };
  const memories = ['plan', 'history', 'nothing'] as const;
  assert.deepEqual(memories.map(isKept), [true, true, false]);
});

const SLICE = 4;

/** The first releases of two series, packed in every way. */
async function runSlice(): Promise<Outcome> {
  const slice = { counts: [32], releases: SLICE };
  const outcomes = [
    await runTask({ ...slice, series: 'npm', measure: 'floors' }),
    await runTask({ ...slice, series: 'npm', measure: 'updates' }),
    await runTask({ ...slice, series: 'host', seed: 1, measure: 'both' }),
    await runTask({ ...slice, series: 'alpine', measure: 'noise' }),
  ];
  return {
    rows: outcomes.flatMap(({ rows }) => rows),
    noise: outcomes.flatMap(({ noise }) => noise),
  };
}

test('a slice of the bench: every row is there, none below its floor or above the whole image', async () => {
  const results = { ...(await runSlice()), commits: {} };
  const figures = new Figures(results);
  for (const series of ['npm', 'host']) {
    const bytes = (name: string): number => figures.bytes(series, name, 32) ?? Number.NaN;
    assert.ok(bytes(FILE_FLOOR) <= bytes(PACKAGE_FLOOR));
    for (const { name, group } of PACKINGS) {
      if (group === 'floor' || group === 'shipped') continue;
      assert.ok(bytes(name) >= bytes(PACKAGE_FLOOR), `${series} ${name}`);
      assert.ok(bytes(name) <= bytes(ONE_LAYER), `${series} ${name}`);
    }
    const row = figures.find(series, HINDSIGHT, 32);
    assert.ok((row?.bound ?? Number.NaN) <= bytes(HINDSIGHT) + 1);
    assert.equal(row?.ours?.bytes, bytes(OURS));
  }
  const claims = checkClaims(results);
  assert.ok(claims.length > 0);
  const text = report('about', results, claims);
  assert.ok(PACKINGS.every(({ name }) => text.includes(`| ${name} |`)));
  assert.match(chart(results), /^<svg [\s\S]*<\/svg>\n$/);
  assert.ok(!chart(results).includes('NaN'));
  const [only] = results.rows.filter(({ series }) => series === 'npm');
  const merged = mergeResults(results, { rows: only ? [only] : [], noise: [], commits: {} });
  assert.equal(merged.rows.filter(({ series }) => series === 'npm').length, 1);
  assert.equal(merged.noise.length, results.noise.length);
});

test.run();
