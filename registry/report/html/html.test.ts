import assert from 'node:assert/strict';
import { test } from 'uvu';
import { madeUpReport } from '../../../test-images/reports.ts';
import { formatSize } from '../../size.ts';
import { visible } from '../../visible.ts';
import { html, scriptJson } from './markup.ts';
import { pageData } from './pagedata.ts';
import { matcher } from './pattern.ts';
import { cellsOf, groupLayers, holdingsOf, pullMatrix, sizeClasses } from './sharing.ts';
import { STYLE } from './style.ts';
import { ROW_LIMIT, table } from './tables.ts';
import { matrices } from './updates.ts';
import { duration, grouped, percent, ratio, shortName } from './words.ts';

test('a long name keeps its beginning and its end at an axis, and a short one all of it', () => {
  assert.equal(shortName('1.2.3'), '1.2.3');
  assert.equal(shortName('x'.repeat(22)), 'x'.repeat(22));
  assert.equal(shortName(`release-${'long'.repeat(30)}-1.4`), 'release-lo…nglong-1.4');
  assert.equal(shortName('😀'.repeat(30)), `${'😀'.repeat(10)}…${'😀'.repeat(10)}`);
});

test('what goes into a template is text, whatever it says', () => {
  const name = '</td><script>alert("1")</script>&\'';
  assert.equal(
    html`<b title="${name}">${[name]}</b>${html`<i>${1}</i>`}${undefined}`.text,
    `<b title="${'&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;'}">&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;</b><i>1</i>`,
  );
  assert.equal(visible('a\u202eb\0\n\u200b'), 'a\\u{202e}b\\u{0}\\u{a}\\u{200b}');
  const value = { '</script>': '<!--<script>\u2028&' };
  const json = scriptJson(value).text;
  assert.ok(!/[<>&\u2028]/.test(json));
  assert.deepEqual(JSON.parse(json), value);
});

test('numbers are written for people', () => {
  assert.deepEqual(
    [percent(1, 8), percent(1, 30), percent(1, 0), percent(3, 3)],
    ['13 %', '3.3 %', '0 %', '100 %'],
  );
  assert.deepEqual([grouped(0), grouped(1234), grouped(1234567)], ['0', '1,234', '1,234,567']);
  assert.deepEqual([duration(1.25), duration(45), duration(125)], ['1.3 s', '45 s', '2 min 5 s']);
  assert.deepEqual([ratio(1, 3), ratio(5, 1), ratio(1, 0)], ['0.3333', '1', '0']);
});

test('a pattern is a glob, or a part of a name', () => {
  const found = (pattern: string): string[] =>
    ['1.0', '1.10', 'v1.0', '1x0', 'latest'].filter(matcher(pattern));
  assert.deepEqual(found('1.*'), ['1.0', '1.10']);
  assert.deepEqual(found('1.?'), ['1.0']);
  assert.deepEqual(found('1.0'), ['1.0', 'v1.0']);
  assert.deepEqual(found(' '), ['1.0', '1.10', 'v1.0', '1x0', 'latest']);
  assert.deepEqual(found('*('), []);
});

const SIZES = [100, 10, 20, 30, 40];
const IMAGES = [
  [0, 1, 2],
  [0, 3, 2],
  [0, 1, 4, 4],
];

test('layers that the same tags have are one row, those that stay longest first', () => {
  assert.deepEqual(groupLayers(IMAGES, SIZES), [
    { layers: [0], size: 100, runs: [[0, 3]] },
    { layers: [2], size: 20, runs: [[0, 2]] },
    {
      layers: [1],
      size: 10,
      runs: [
        [0, 1],
        [2, 3],
      ],
    },
    { layers: [3], size: 30, runs: [[1, 2]] },
    { layers: [4], size: 40, runs: [[2, 3]] },
  ]);
  assert.deepEqual(
    groupLayers(
      [
        [0, 1],
        [0, 1],
      ],
      SIZES,
    ).map(({ layers }) => layers),
    [[0, 1]],
  );
});

test('a matrix has what is pulled from each to each; cells of several tags have means without pairs of one', () => {
  const matrix = pullMatrix(IMAGES, SIZES);
  assert.deepEqual(matrix, [
    [0, 30, 40],
    [10, 0, 50],
    [20, 50, 0],
  ]);
  const { edges, cells } = cellsOf(matrix, 0, 3, 2);
  assert.deepEqual(edges, [0, 2]);
  assert.deepEqual(cells, [
    { from: [0, 2], to: [0, 2], mean: 20, max: 30 },
    { from: [0, 2], to: [2, 3], mean: 45, max: 50 },
    { from: [2, 3], to: [0, 2], mean: 35, max: 50 },
    { from: [2, 3], to: [2, 3], mean: 0, max: 0 },
  ]);
});

test('layers are counted in classes of size without gaps', () => {
  assert.deepEqual(sizeClasses([]), []);
  assert.deepEqual(sizeClasses([1023, 1024, 4095, 70_000]), [
    { least: 0, layers: 1, bytes: 1023 },
    { least: 1024, layers: 2, bytes: 5119 },
    { least: 4096, layers: 0, bytes: 0 },
    { least: 16_384, layers: 0, bytes: 0 },
    { least: 65_536, layers: 1, bytes: 70_000 },
  ]);
});

test('pictures come to the figures of the report', () => {
  const report = madeUpReport({ files: true, tags: 6, layers: 9 });
  const data = pageData(report);
  const holdings = holdingsOf(data, () => true);
  const stored = holdings.reduce((sum, { size }) => sum + size, 0);
  assert.equal(stored, report.headline.layers.compressed);
  for (const [index, { unique }] of report.repositories.entries())
    assert.equal(holdings.find(({ repository }) => repository === index)?.size, unique.compressed);
  for (const [index, { bytes }] of report.matrices.entries())
    assert.deepEqual(pullMatrix(data.series[index]?.images ?? [], data.layers.sizes), bytes);
  assert.deepEqual(
    data.updates.map(({ bytes, after }) => [bytes, after]),
    report.updates.map(({ bytes }, i) => [bytes, report.whatIf?.updates[i]?.then]),
  );
  const left = holdingsOf(data, (tag) => tag === 0);
  assert.equal(left[0]?.size, report.tags[0]?.total.compressed);
});

test('a matrix shows floors where they are known', () => {
  const report = madeUpReport({ files: true, tags: 3, layers: 9 });
  const [matrix] = report.matrices;
  const cell = `>${formatSize(matrix?.bytes[0]?.[1] ?? 0)}<br><span class="dim">${formatSize(matrix?.floor?.[0]?.[1] ?? 0)}</span><`;
  assert.ok(matrices(report).text.includes(cell), cell);
  assert.ok(!matrices(madeUpReport({ tags: 3, layers: 9 })).text.includes('floor'));
});

test('a blob that two stores hold is stored twice', () => {
  const report = madeUpReport({ tags: 2, layers: 4 });
  const twice = {
    ...report,
    stores: ['a', 'b'],
    repositories: report.repositories.map((one, store) => ({ ...one, store })),
  };
  const sum = (of: typeof report): number =>
    holdingsOf(pageData(of), () => true).reduce((total, { size }) => total + size, 0);
  const shared = report.repositories[0]?.shared.compressed ?? 0;
  assert.equal(sum(twice), sum(report) + shared);
});

test('a table says what it leaves out, and has no column without content', () => {
  const rows = Array.from({ length: ROW_LIMIT + 5 }, (_, i) => i);
  const { text } = table({
    caption: 'Numbers',
    rows,
    columns: [
      { name: 'Number', cell: (row) => row, sort: (row) => row },
      { name: 'Nothing', cell: () => undefined },
    ],
  });
  assert.equal(text.split('<tr>').length - 2, ROW_LIMIT);
  assert.match(text, /5 more rows are in the report as JSON/);
  assert.ok(!text.includes('Nothing'));
});

/** Relative luminance of a colour, WCAG 2.2. */
function luminance(colour: string): number {
  const hex = colour.length === 4 ? colour.replace(/[0-9a-f]/g, '$&$&') : colour;
  const [red = 0, green = 0, blue = 0] = [1, 3, 5]
    .map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

test('text can be read in both themes', () => {
  const themes = [...STYLE.matchAll(/:root[^{]*\{(color-scheme:[^}]*)\}/g)].map(([, text = '']) =>
    Object.fromEntries([...text.matchAll(/--([\w-]+):(#[0-9a-f]+)/g)].map(([, k, v]) => [k, v])),
  );
  assert.ok(themes.length >= 2);
  for (const theme of themes)
    for (const ink of ['ink', 'dim', 'bad', 'good'])
      for (const ground of ['page', 'card', 'soft']) {
        const [a, b] = [luminance(theme[ink] ?? ''), luminance(theme[ground] ?? '')];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        assert.ok(contrast >= 4.5, `${ink} on ${ground}: ${contrast.toFixed(2)}`);
      }
});

test.run();
