/** The results as a picture: for each series and packing three dots, one for each number of layers, over the package floor. */

import { BASE_STYLE, DARK_BASE_STYLE, escapeText, round, rule, svg, text } from '../svg.ts';
import { PACKINGS } from './packings.ts';
import { AVERAGED, COUNTS, Figures, type Results } from './results.ts';

const LABELS = 250;
const PANEL = 190;
const GAP = 24;
const ROW = 22;
const TOP = 78;
const BOTTOM = 64;
const DOTS = [3, 4.5, 6];
/** Ticks of the logarithmic scale, in times the package floor. */
const TICKS = [0.5, 1, 2, 5, 10, 20, 50, 100];
/** Room on each side of the smallest and the largest figure, as a factor. */
const MARGIN = 1.12;

const STYLE = `${BASE_STYLE} .floor { stroke: #57606a; stroke-dasharray: 3 3 }
  .plain { fill: #6e7781; stroke: #6e7781 } .shipped { fill: #9a6700; stroke: #9a6700 }
  .rule { fill: #bc4c00; stroke: #bc4c00 } .ours { fill: #0969da; stroke: #0969da }
  .hindsight { fill: #8250df; stroke: #8250df } .bottom { fill: #1a7f37; stroke: #1a7f37 }
  @media (prefers-color-scheme: dark) {${DARK_BASE_STYLE} .floor { stroke: #9198a1 }
    .plain { fill: #9198a1; stroke: #9198a1 } .shipped { fill: #d29922; stroke: #d29922 }
    .rule { fill: #f0883e; stroke: #f0883e } .ours { fill: #4493f8; stroke: #4493f8 }
    .hindsight { fill: #ab7df8; stroke: #ab7df8 } .bottom { fill: #3fb950; stroke: #3fb950 }
  }
`;

/** The figure of a packing, in times the package floor, for each number of layers that it was measured with. */
function ratiosOf(figures: Figures, series: string, packing: string): number[] {
  const floor = figures.floor(series) ?? 0;
  const all = COUNTS.map((count) => figures.bytes(series, packing, count));
  return all.flatMap((bytes) => (bytes === undefined ? [] : [bytes / floor]));
}

const rowTop = (i: number): number => TOP + i * ROW;
const chartBottom = TOP + PACKINGS.length * ROW;

function panel(figures: Figures, series: string, left: number): string {
  const all = PACKINGS.flatMap(({ name }) => ratiosOf(figures, series, name));
  const [low, high] = [Math.min(...all) / MARGIN, Math.max(...all) * MARGIN];
  const at = (ratio: number): number =>
    left + (PANEL * Math.log(ratio / low)) / Math.log(high / low);
  const ticks = TICKS.filter((tick) => tick > low && tick < high);
  const grid = ticks.flatMap((tick) => [
    rule(at(tick), TOP - 8, at(tick), chartBottom, tick === 1 ? 'floor' : 'grid'),
    text(at(tick), chartBottom + 16, `${tick}×`, 'class="small" text-anchor="middle"'),
  ]);
  const rows = PACKINGS.map(({ name, group }, i) =>
    dots(
      series,
      name,
      group === 'floor' ? 'bottom' : group,
      ratiosOf(figures, series, name),
      at,
      i,
    ),
  );
  const floor = ((figures.floor(series) ?? 0) / 1e6).toFixed(1);
  return [
    text(left, TOP - 34, series, 'class="head"'),
    text(left, TOP - 18, `floor ${floor} MB`, 'class="small"'),
    ...grid,
    ...rows,
  ].join('\n');
}

function dots(
  series: string,
  name: string,
  group: string,
  ratios: readonly number[],
  at: (ratio: number) => number,
  i: number,
): string {
  const y = rowTop(i) + ROW / 2;
  const places = ratios.map(at);
  const [first = 0, last = 0] = [Math.min(...places), Math.max(...places)];
  const circles = ratios.map((ratio, n) => {
    const title = `${series}, ${name}, N = ${COUNTS[n]}: ${ratio.toFixed(2)} times the package floor`;
    return `<circle class="${group}" cx="${round(at(ratio))}" cy="${round(y)}" r="${DOTS[n]}" fill-opacity="0.75"><title>${escapeText(title)}</title></circle>`;
  });
  const bar = ratios.length > 1 ? [rule(first, y, last, y, group)] : [];
  return [...bar, ...circles].join('\n');
}

/** The chart as an SVG file, readable on light and dark ground. */
export function chart(results: Results): string {
  const figures = new Figures(results);
  const shown = AVERAGED.filter((series) => figures.floor(series) !== undefined);
  const width = LABELS + shown.length * (PANEL + GAP);
  const height = chartBottom + BOTTOM;
  const labels = PACKINGS.map(({ name }, i) =>
    text(LABELS - 16, rowTop(i) + ROW / 2 + 4, name, 'text-anchor="end"'),
  );
  const panels = shown.map((series, i) => panel(figures, series, LABELS + i * (PANEL + GAP)));
  const title = 'Compressed bytes that an update pulls, in times the package floor';
  const legend = `small to large dots: at most ${COUNTS.join(', ')} layers; further left is better; logarithmic; dashed: each changed package once`;
  const head = text(0, 18, title, 'class="head"');
  const foot = text(LABELS, chartBottom + 44, legend, 'class="small"');
  return svg([width, height], title, STYLE, [head, ...labels, ...panels, foot]);
}
