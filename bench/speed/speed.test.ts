import assert from 'node:assert/strict';
import { test } from 'uvu';
import { chart } from './chart.ts';
import { FLOOR, OURS } from './commands.ts';
import { GOALS, judge } from './goals.ts';
import type { Run } from './measure.ts';
import { goalTable, report } from './report.ts';
import { median, merge, type RegistryRun, type Row, ratio, type Section } from './results.ts';
import { CHANGED, COLD, UNCHANGED } from './warm.ts';

const NOTHING: Run = {
  wallSeconds: 1,
  cpuSeconds: 1,
  peakMiB: 100,
  readBytes: 0,
  writtenBytes: 0,
  diskReadBytes: 0,
  diskWrittenBytes: 0,
};

const row = (command: string, runs: readonly Partial<RegistryRun>[], beside = OURS): Row => ({
  command,
  beside,
  runs: runs.map((run) => ({ ...NOTHING, ...run })),
});

const walls = (...seconds: number[]) => seconds.map((wallSeconds) => ({ wallSeconds }));

const section = (name: string, ...rows: Row[]): Section => ({
  name,
  about: 'an input',
  state: 'a state',
  commit: 'abc',
  machine: 'm',
  node: 'v24',
  tools: 't',
  rows,
});

test('the median of an even number of runs is between the middle two', () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([9, 1, 5, 6]), 5.5);
});

test('a ratio compares runs of the same round, and the rounds that both have', () => {
  const both = section('x', row('a', walls(2, 30, 4)), row('b', walls(1, 10, 1)));
  assert.equal(ratio(both, 'a', 'b'), 3);
  const single = section('x', row('a', walls(2, 30, 4)), row('b', walls(1)));
  assert.equal(ratio(single, 'a', 'b'), 2);
  assert.equal(ratio(single, 'a', 'c'), undefined);
});

test('sections measured now replace those of the same name, in the order of the list', () => {
  const [old, now] = [section('b', row('old', walls(1))), section('b', row('new', walls(1)))];
  const all = merge([old, section('c')], [now, section('a')], ['a', 'b', 'c']);
  assert.deepEqual(
    all.map(({ name, rows }) => [name, rows[0]?.command]),
    [
      ['a', undefined],
      ['b', 'new'],
      ['c', undefined],
    ],
  );
});

test('a figure at the limit meets "at most" and misses "under"; what is no number misses', () => {
  const values = [1.5, 1.51, Number.NaN, undefined];
  const verdicts = (kind: 'at most' | 'under') =>
    values.map((value) => judge({ kind, limit: 1.5 }, value));
  assert.deepEqual(verdicts('at most'), ['PASS', 'MISS', 'MISS', 'not measured']);
  assert.deepEqual(verdicts('under'), ['MISS', 'MISS', 'MISS', 'not measured']);
});

/** Sections with the figures of the goals about the warm path, memory and the floor. */
function measured(): Section[] {
  const warm = section(
    'warm-small-files',
    row(COLD, walls(10), COLD),
    row(CHANGED, [{ wallSeconds: 2, fetchedBytes: 120 }], COLD),
    row(UNCHANGED, [{ fetchedLayers: 0 }, { fetchedLayers: 1 }], COLD),
  );
  return [
    section('small-files', row(OURS, walls(16)), row(FLOOR, walls(10))),
    { ...section('entries-20k', row(OURS, [{ peakMiB: 200 }])), entries: 22_000 },
    { ...section('entries-200k', row(OURS, [{ peakMiB: 380 }])), entries: 202_000 },
    { ...warm, changedLayerBytes: 100 },
  ];
}

test('goals take their figures from the rows that they name', () => {
  const all = measured();
  const found = GOALS.map((goal) => [
    goal.text,
    goal.measure((name) => all.find((one) => one.name === name)),
  ]);
  assert.deepEqual(
    found.filter(([, value]) => value !== undefined),
    [
      ['2. small-files by the floor', 1.6],
      ['3. one changed layer of 20, warm by cold', 0.2],
      ['3. one changed layer of 20, bytes fetched by that layer', 1.2],
      ['3. unchanged small-files, warm', 1],
      ['3. unchanged small-files, layers fetched', 1],
      ['4. peak of entries-200k to zstd', 380],
      ['4. growth of the peak an entry, entries-20k to entries-200k', 2 ** 20 / 1000],
    ],
  );
});

test('the report has a line for each goal and command', () => {
  const all = measured();
  const goals = goalTable(all);
  assert.match(goals, /\| 2\. small-files by the floor \| at most 1\.6 \| 1\.60 \| PASS \|/);
  assert.match(goals, /\| 2\. large-files by the floor \| at most 1\.6 \| {2}\| not measured \|/);
  assert.equal(goals.split('\n').length, GOALS.length + 2);
  const text = report(all);
  assert.match(text, /### small-files\n\nan input; a state\. At abc/);
  assert.match(text, /\| floor \| 1 \| 10\.00 \| .* \| 1\.60 \|/);
  assert.match(text, /\| next release, warm \| 1 \| 2\.00 \| .* \| 0\.20 \|/);
});

test('the chart has a bar for each command, as long as its median', () => {
  const picture = chart([section('x', row(OURS, walls(1, 2, 4)), row(FLOOR, walls(1)))]);
  const bars = [...picture.matchAll(/<rect class="(\w+)" .* width="([\d.]+)"/g)];
  assert.deepEqual(
    bars.map(([, group, width]) => [group, Number(width)]),
    [
      ['ours', 240],
      ['floor', 120],
    ],
  );
});

test.run();
