/** The heat map of updates from every tag to every other one. */
import { formatSize } from '../../../size.ts';
import { type Cell, cellsOf, pullMatrix } from '../sharing.ts';
import { type Clicked, colour, type Drawn, heatColours, nameAxis, tooltip } from './drawing.ts';
import { tip } from './elements.ts';
import type { State } from './state.ts';

/** Cells a side; of more tags a cell is several of each, and a click on it shows them. */
const CELLS = 60;

/** What the heat map shows: the tags from one position up to another, by layers or by files. */
export class HeatMap {
  #range: readonly [number, number] | undefined;
  #matrix: readonly (readonly number[])[] = [];
  #tags: readonly number[] = [];
  #cells: readonly Cell[] = [];

  /** Shows all tags. */
  reset(): void {
    this.#range = undefined;
  }

  /** Whether it shows some of the tags. */
  get isNarrowed(): boolean {
    return this.#range !== undefined;
  }

  /** Shows the tags of the cell that was clicked, where it is of several; whether it was. */
  open({ dataIndex }: Clicked): boolean {
    const cell = this.#cells[dataIndex];
    if (!cell || cell.from[1] - cell.from[0] === 1) return false;
    const [start, end] = [Math.min(cell.from[0], cell.to[0]), Math.max(cell.from[1], cell.to[1])];
    if (this.#range && end - start >= this.#range[1] - this.#range[0]) return false;
    this.#range = [start, end];
    return true;
  }

  #prepare({ data, series, seriesIndex, isShown }: State, view: string): void {
    const whole = data.series[seriesIndex];
    if (view === 'floor' && whole?.floor && whole.floorTags) {
      const kept = whole.floorTags
        .map((tag, at) => [tag, at] as const)
        .filter(([tag]) => isShown(tag));
      this.#tags = kept.map(([tag]) => tag);
      this.#matrix = kept.map(([, i]) => kept.map(([, j]) => whole.floor?.[i]?.[j] ?? 0));
    } else {
      this.#tags = series?.tags ?? [];
      this.#matrix = pullMatrix(series?.images ?? [], data.layers.sizes);
    }
  }

  /** The picture. */
  draw(state: State, view: string): Drawn {
    this.#prepare(state, view);
    const [start, end] = this.#range ?? [0, this.#tags.length];
    const { edges, cells } = cellsOf(this.#matrix, start, end, CELLS);
    this.#cells = cells;
    const nameOf = (at: number): string => state.data.tags[this.#tags[at] ?? -1]?.name ?? '';
    const spanOf = ([from, to]: readonly [number, number]): string =>
      to - from === 1 ? nameOf(from) : `${nameOf(from)} … ${nameOf(to - 1)}`;
    const names = edges.map(nameOf);
    const largest = cells.reduce((most, { mean }) => Math.max(most, mean), 0);
    const side = edges.length;
    const category = nameAxis(names);
    return {
      label: `What nodes pull from each of ${end - start} tags to each other, ${view === 'floor' ? 'at least, by files' : 'by layers'}: at most ${formatSize(cells.reduce((most, { max }) => Math.max(most, max), 0))}`,
      height: 460,
      option: {
        tooltip: {
          ...tooltip(),
          formatter: ({ dataIndex }: { dataIndex: number }) => {
            const cell = cells[dataIndex];
            if (!cell) return '';
            const isOne = cell.from[1] - cell.from[0] === 1 && cell.to[1] - cell.to[0] === 1;
            const lines = isOne
              ? [formatSize(cell.max)]
              : [
                  `on average ${formatSize(cell.mean)}`,
                  `at most ${formatSize(cell.max)}`,
                  'a click shows these tags',
                ];
            return tip(`${spanOf(cell.from)} → ${spanOf(cell.to)}`, lines);
          },
        },
        grid: { left: 12, right: 12, top: 10, bottom: 46, containLabel: true },
        xAxis: { ...category, name: '' },
        yAxis: { ...category, inverse: true },
        visualMap: {
          type: 'continuous',
          min: 0,
          max: Math.max(1, largest),
          calculable: false,
          orient: 'horizontal',
          left: 'center',
          bottom: 0,
          itemWidth: 12,
          itemHeight: 160,
          text: [formatSize(largest), '0'],
          textStyle: { color: colour('dim'), fontSize: 11 },
          inRange: { color: heatColours() },
        },
        series: [
          {
            type: 'heatmap',
            progressive: 0,
            progressiveThreshold: CELLS * CELLS + 1,
            data: cells.map(({ mean }, i) => [i % side, Math.floor(i / side), mean]),
            itemStyle: side < 60 ? { borderColor: colour('card'), borderWidth: 0.5 } : {},
            emphasis: { itemStyle: { borderColor: colour('ink'), borderWidth: 1 } },
          },
        ],
      },
    };
  }
}
