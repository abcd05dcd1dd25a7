/** Pictures on the page: ECharts with what is used of it, in the page's colours, drawn when they come into view. */
import { BarChart, CustomChart, HeatmapChart, LineChart, TreemapChart } from 'echarts/charts';
import {
  DataZoomInsideComponent,
  DataZoomSliderComponent,
  GridComponent,
  LegendScrollComponent,
  TooltipComponent,
  VisualMapContinuousComponent,
} from 'echarts/components';
import { type EChartsCoreOption, type EChartsType, init, use } from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';
import { formatSize } from '../../../size.ts';
import { shortName } from '../words.ts';

use([BarChart, CustomChart, HeatmapChart, LineChart, TreemapChart]);
use([DataZoomInsideComponent, DataZoomSliderComponent, GridComponent, LegendScrollComponent]);
use([TooltipComponent, VisualMapContinuousComponent, CanvasRenderer]);

/** What a picture shows now. */
export interface Drawn {
  readonly option: EChartsCoreOption;
  /** What it shows, for who does not see it. */
  readonly label: string;
  /** Pixels; 400 if not given. */
  readonly height?: number;
}

/** A picture that draws itself anew when asked to, once it is in view. */
export interface Picture {
  /** What it is drawn from has changed. */
  refresh(): void;
}

/** What a picture does. */
export interface PictureOptions {
  readonly draw: () => Drawn;
  /** What a click on something tells below the picture; nothing where it is undefined. */
  readonly tell?: (params: Clicked) => Node | undefined;
}

/** What was clicked, as ECharts tells it. */
export interface Clicked {
  readonly dataIndex: number;
  readonly seriesIndex?: number;
  readonly data: unknown;
}

const HEIGHT = 400;

/** The picture in the figure with the id `id`; undefined where the page has none. */
export function picture(id: string, { draw, tell }: PictureOptions): Picture | undefined {
  const figure = document.getElementById(id);
  const canvas = figure?.querySelector<HTMLElement>('.canvas');
  if (!figure || !canvas) return undefined;
  const told = figure.querySelector('.told');
  let chart: EChartsType | undefined;
  let isStale = true;
  let isSeen = false;
  const update = (): void => {
    if (!isStale || !isSeen) return;
    isStale = false;
    const { option, label, height = HEIGHT } = draw();
    canvas.style.height = `${height}px`;
    canvas.setAttribute('aria-label', label);
    canvas.setAttribute('aria-busy', 'true');
    if (!chart) {
      chart = init(canvas, undefined, { renderer: 'canvas' });
      chart.on('click', (params) => {
        const found = tell?.(params as unknown as Clicked);
        if (found) told?.replaceChildren(found);
      });
      // Large pictures are painted in steps.
      chart.on('finished', () => canvas.setAttribute('aria-busy', 'false'));
      new ResizeObserver(() => chart?.resize()).observe(canvas);
    } else chart.resize();
    chart.setOption({ animation: false, ...option }, { notMerge: true });
  };
  new IntersectionObserver(
    (entries) => {
      isSeen = entries.some(({ isIntersecting }) => isIntersecting);
      update();
    },
    { rootMargin: '200px' },
  ).observe(canvas);
  addEventListener('beforeprint', () => {
    isSeen = true;
    update();
  });
  return {
    refresh: () => {
      isStale = true;
      told?.replaceChildren();
      update();
    },
  };
}

/** A colour of the style sheet, by the name of its variable. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Colours from little to much. */
export function heatColours(): string[] {
  return [0, 1, 2, 3, 4, 5].map((step) => colour(`heat-${step}`));
}

/** Colours that tell apart; the last one is for the rest. */
export function seriesColours(): string[] {
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  const picked = document.querySelector<HTMLInputElement>('input[name=theme]:checked')?.value;
  return (picked === 'auto' ? isDark : picked === 'dark')
    ? [
        '#6ea8ea',
        '#f0a050',
        '#58bd8e',
        '#e87a98',
        '#b294ee',
        '#4fc4d4',
        '#d3b24c',
        '#c98f6d',
        '#7c8897',
      ]
    : [
        '#2f6fb8',
        '#e0821f',
        '#38966a',
        '#c8466e',
        '#8058c0',
        '#1f9aae',
        '#a8862b',
        '#8c5a3c',
        '#9aa5b1',
      ];
}

/** Options of every tooltip. */
export function tooltip(): object {
  return {
    confine: true,
    className: 'tip',
    backgroundColor: colour('card'),
    borderColor: colour('line'),
    textStyle: { color: colour('ink'), fontSize: 13 },
  };
}

/** A size at an axis: round ones without their zero. */
export function axisSize(bytes: number): string {
  return formatSize(bytes).replace('.0 ', ' ');
}

/** Most room of one name at an axis, pixels: tags have up to 128 characters. */
const LABEL_WIDTH = 120;

/** Options of every axis. */
export function axis(): {
  axisLabel: object;
  axisLine: object;
  axisTick: object;
  splitLine: object;
} {
  return {
    axisLabel: {
      ...{ color: colour('dim'), fontSize: 11, hideOverlap: true },
      ...{ width: LABEL_WIDTH, overflow: 'truncate' },
    },
    axisLine: { lineStyle: { color: colour('line') } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: colour('grid') } },
  };
}

/** An axis of `names`. */
export function nameAxis(names: readonly string[]): ReturnType<typeof axis> {
  const base = axis();
  const axisLabel = { ...base.axisLabel, formatter: shortName };
  const own = { type: 'category', data: names, splitLine: { show: false } };
  return { ...base, ...own, axisLabel };
}

/** Options of the slider below a picture that has `count` columns, which shows the last `shown`; none where all have room. */
export function slider(count: number, shown: number): object[] {
  const ROOM = 40;
  if (count <= ROOM) return [];
  return [
    {
      type: 'slider',
      startValue: Math.max(0, count - shown),
      endValue: count,
      height: 18,
      bottom: 6,
      brushSelect: false,
      showDetail: false,
      borderColor: colour('line'),
      fillerColor: `${colour('kept')}44`,
      handleStyle: { color: colour('card'), borderColor: colour('dim') },
      dataBackground: { lineStyle: { opacity: 0 }, areaStyle: { opacity: 0 } },
      selectedDataBackground: { lineStyle: { opacity: 0 }, areaStyle: { opacity: 0 } },
    },
  ];
}
