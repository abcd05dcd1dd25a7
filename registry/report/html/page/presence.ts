/** The grid of layers by tag: which tags have a layer, and which one brought it. */
import { graphic } from 'echarts/core';
import { formatSize } from '../../../size.ts';
import { type Group, groupLayers } from '../sharing.ts';
import { shortName } from '../words.ts';
import { layerWords } from './costs.ts';
import { axis, axisSize, type Clicked, colour, type Drawn, slider, tooltip } from './drawing.ts';
import { tip, told } from './elements.ts';
import type { State } from './state.ts';

const TOLD_LAYERS = 20;

/** A box: columns and rows from and to, its group, and whether it is new there. */
type Tile = readonly [number, number, number, number, number, 0 | 1];

interface Rows {
  readonly groups: readonly Group[];
  readonly tiles: readonly Tile[];
  /** Of all rows. */
  readonly height: number;
}

function rowsOf({ data, series }: State, unit: 'size' | 'count'): Rows {
  const groups = groupLayers(series?.images ?? [], data.layers.sizes);
  let top = 0;
  const tiles = groups.flatMap(({ runs, size, layers }, group) => {
    const bottom = top + (unit === 'size' ? size : layers.length);
    // What the first column has is new to nobody who is shown.
    const boxes = runs.flatMap(([start, end]): Tile[] => {
      const kept: Tile = [start === 0 ? 0 : start + 1, end, top, bottom, group, 0];
      const added: Tile = [start, start + 1, top, bottom, group, 1];
      return [...(start === 0 ? [] : [added]), ...(kept[0] < kept[1] ? [kept] : [])];
    });
    top = bottom;
    return boxes;
  });
  return { groups, tiles, height: top };
}

interface Api {
  value(dimension: number): number;
  coord(point: readonly [number, number]): [number, number];
}
interface Area {
  readonly coordSys: {
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
  };
}

/** The grid, with rows as high as their bytes or their number of layers. */
export function drawPresence(state: State, unit: 'size' | 'count'): Drawn {
  const { series, data } = state;
  const names = series?.tags.map((tag) => data.tags[tag]?.name ?? '') ?? [];
  const { groups, tiles, height } = rowsOf(state, unit);
  const layers = groups.reduce((sum, group) => sum + group.layers.length, 0);
  const base = axis();
  const zoom = slider(names.length, names.length);
  const colours = [colour('kept'), colour('new')];
  const gap = names.length < 100 ? 1 : 0;
  return {
    label: `Which of ${names.length} tags have which of ${layers} layers, in ${groups.length} rows of layers that the same tags have; all together ${formatSize(groups.reduce((sum, { size }) => sum + size, 0))}`,
    height: 460,
    option: {
      tooltip: {
        ...tooltip(),
        formatter: ({ data: tile }: { data: Tile }) => tileTip(state, groups[tile[4]], tile),
      },
      dataZoom: zoom.map((one) => ({ ...one, xAxisIndex: 0, filterMode: 'weakFilter' })),
      grid: { left: 12, right: 12, top: 10, bottom: zoom.length > 0 ? 34 : 8, containLabel: true },
      xAxis: {
        ...base,
        type: 'value',
        min: 0,
        max: Math.max(1, names.length),
        minInterval: 1,
        splitLine: { show: false },
        axisLabel: {
          ...base.axisLabel,
          formatter: (at: number) => shortName(names[at] ?? ''),
          align: 'left',
        },
      },
      yAxis: {
        ...base,
        type: 'value',
        inverse: true,
        min: 0,
        max: Math.max(1, height),
        splitLine: { show: false },
        axisLabel: {
          ...base.axisLabel,
          showMaxLabel: false,
          formatter: (at: number) =>
            unit === 'size' ? axisSize(Math.round(at)) : `${Math.round(at)}`,
        },
      },
      series: [
        {
          type: 'custom',
          data: tiles,
          encode: { x: [0, 1], y: [2, 3] },
          progressive: 0,
          renderItem: ({ coordSys }: Area, api: Api) => {
            const [left, top] = api.coord([api.value(0), api.value(2)]);
            const [right, bottom] = api.coord([api.value(1), api.value(3)]);
            const shape = graphic.clipRectByRect(
              {
                x: left,
                y: top,
                width: Math.max(0.5, right - left - gap),
                height: Math.max(0.4, bottom - top - (bottom - top > 4 ? 1 : 0)),
              },
              coordSys,
            );
            return shape && { type: 'rect', shape, style: { fill: colours[api.value(5)] } };
          },
        },
      ],
    },
  };
}

function spanOf({ data, series }: State, start: number, end: number): string {
  const name = (at: number): string => data.tags[series?.tags[at] ?? -1]?.name ?? '';
  return end - start === 1 ? name(start) : `${name(start)} … ${name(end - 1)}`;
}

function groupTitle(group: Group): string {
  const { layers, size } = group;
  return `${layers.length === 1 ? '1 layer' : `${layers.length} layers`}, ${formatSize(size)}`;
}

function tileTip(
  state: State,
  group: Group | undefined,
  [start, end, , , , isNew]: Tile,
): HTMLElement | string {
  if (!group) return '';
  const words = group.layers.slice(0, 3).map((layer) => layerWords(state.data, layer));
  const span = spanOf(state, start, end);
  return tip(groupTitle(group), [isNew ? `new in ${span}` : `in ${span}`, ...words]);
}

/** What a click on a box tells: its layers. */
export function tellPresence(state: State, { data }: Clicked): Node | undefined {
  const group = rowsOf(state, 'size').groups[(data as Tile)[4]];
  if (!group) return undefined;
  const spans = group.runs.map(([start, end]) => spanOf(state, start, end)).join(', ');
  const lines = group.layers.map((layer) => layerWords(state.data, layer));
  return told(`${groupTitle(group)}, in ${spans}`, lines, TOLD_LAYERS);
}
