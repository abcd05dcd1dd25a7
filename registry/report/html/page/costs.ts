/** What each update pulls, and why. */
import { formatSize } from '../../../size.ts';
import type { PageSeries, PageUpdate } from '../pagedata.ts';
import { percent } from '../words.ts';
import {
  axis,
  axisSize,
  type Clicked,
  colour,
  type Drawn,
  nameAxis,
  seriesColours,
  slider,
  tooltip,
} from './drawing.ts';
import { tip, told } from './elements.ts';
import type { State } from './state.ts';

const TOLD_CAUSES = 25;
/** Updates that are shown at first; the slider reaches all. */
const SHOWN_UPDATES = 80;

/** The updates of the series that is shown, those to tags that the filter leaves in. */
function updatesOf({ data, seriesIndex, isShown }: State): PageUpdate[] {
  return data.updates.filter(({ series, to }) => series === seriesIndex && isShown(to));
}

interface Stack {
  readonly name: string;
  readonly values: readonly number[];
}

/** Bars by component, the largest by themselves; one bar where no causes are known. */
function stacksOf(updates: readonly PageUpdate[], most: number): Stack[] {
  if (!updates.some(({ causes }) => causes))
    return [{ name: 'New layers', values: updates.map(({ bytes }) => bytes) }];
  const totals = new Map<string, number>();
  for (const { causes = [] } of updates)
    for (const { component, bytes } of causes)
      totals.set(component, (totals.get(component) ?? 0) + bytes);
  const named = [...totals]
    .sort(([, a], [, b]) => b - a)
    .slice(0, most)
    .map(([name]) => name);
  const of = ({ causes = [] }: PageUpdate, name: string): number =>
    causes.reduce((sum, cause) => sum + (cause.component === name ? cause.bytes : 0), 0);
  const stacks = named.map((name) => ({ name, values: updates.map((update) => of(update, name)) }));
  const rest = updates.map(({ bytes }, i) =>
    Math.max(
      0,
      stacks.reduce((left, { values }) => left - (values[i] ?? 0), bytes),
    ),
  );
  return [...stacks, { name: 'everything else', values: rest }];
}

/** Update cost over time. */
export function drawCosts(state: State): Drawn {
  const updates = updatesOf(state);
  const colours = seriesColours();
  const stacks = stacksOf(updates, colours.length - 1);
  const isPlain = stacks.length === 1;
  const names = updates.map(({ to }) => state.data.tags[to]?.name ?? '');
  const base = axis();
  const zoom = slider(updates.length, SHOWN_UPDATES);
  const line = (
    name: string,
    of: (update: PageUpdate) => number | undefined,
    look: object,
  ): object[] =>
    updates.some((update) => of(update) !== undefined)
      ? [
          {
            type: 'line',
            name,
            data: updates.map((update) => of(update) ?? null),
            symbol: 'circle',
            symbolSize: 4,
            showSymbol: updates.length < 60,
            z: 5,
            ...look,
          },
        ]
      : [];
  const sum = updates.reduce((total, { bytes }) => total + bytes, 0);
  const largest = updates.toSorted((a, b) => b.bytes - a.bytes)[0];
  return {
    label: `What ${updates.length} updates pull: on average ${formatSize(updates.length === 0 ? 0 : sum / updates.length)}${largest ? `, at most ${formatSize(largest.bytes)} for ${state.data.tags[largest.to]?.name}` : ''}`,
    option: {
      tooltip: {
        ...tooltip(),
        trigger: 'axis',
        formatter: ([{ dataIndex }]: [{ dataIndex: number }]) => costTip(state, updates[dataIndex]),
      },
      legend: {
        type: 'scroll',
        top: 0,
        textStyle: { color: colour('dim') },
        pageTextStyle: { color: colour('dim') },
        pageIconColor: colour('ink'),
      },
      grid: { left: 12, right: 16, top: 40, bottom: zoom.length > 0 ? 34 : 8, containLabel: true },
      dataZoom: zoom,
      xAxis: nameAxis(names),
      yAxis: { ...base, type: 'value', axisLabel: { ...base.axisLabel, formatter: axisSize } },
      series: [
        ...line('By Docker’s graph drivers', ({ chain }) => chain, {
          lineStyle: { type: 'dashed', width: 1.5, color: colour('dim') },
          itemStyle: { color: colour('dim') },
        }),
        ...line('Floor by files', ({ floor }) => floor, {
          lineStyle: { width: 2, color: colour('ink') },
          itemStyle: { color: colour('ink') },
        }),
        ...line('After rechunking', ({ after }) => after, {
          lineStyle: { width: 2, color: colour('shared') },
          itemStyle: { color: colour('shared') },
        }),
        ...stacks.map(({ name, values }, i) => ({
          type: 'bar',
          name,
          stack: 'pulled',
          data: values,
          barCategoryGap: '25%',
          itemStyle: {
            color: isPlain
              ? colour('new')
              : colours[i === stacks.length - 1 ? colours.length - 1 : i],
          },
        })),
      ],
    },
  };
}

function costTip({ data }: State, update: PageUpdate | undefined): HTMLElement | string {
  if (!update) return '';
  const { from, to, bytes, total, added, kept, chain, floor, after, causes = [] } = update;
  const lines = [
    `${formatSize(bytes)} pulled, ${percent(bytes, total)} of the image`,
    `${added} of ${added + kept} layers are new`,
    `${formatSize(chain)} by Docker’s graph drivers`,
    ...(floor === undefined ? [] : [`${formatSize(floor)} at least, by files`]),
    ...(after === undefined ? [] : [`${formatSize(after)} after rechunking`]),
    ...causes.slice(0, 5).map((cause) => `${cause.component}: ${formatSize(cause.bytes)}`),
  ];
  return tip(`${data.tags[from]?.name} → ${data.tags[to]?.name}`, lines);
}

/** What a click on an update tells: all causes, or its layers. */
export function tellCost(state: State, { dataIndex }: Clicked): Node | undefined {
  const update = updatesOf(state)[dataIndex];
  if (!update) return undefined;
  const { data } = state;
  const title = `${data.tags[update.from]?.name} → ${data.tags[update.to]?.name}: ${formatSize(update.bytes)}`;
  const causes = update.causes?.map(
    ({ component, why, bytes, detail }) =>
      `${component} ${why}${detail ? ` (${detail})` : ''}: ${formatSize(bytes)}`,
  );
  return told(title, causes ?? newLayers(state, update), TOLD_CAUSES);
}

function newLayers({ data }: State, { series, from, to }: PageUpdate): string[] {
  const { tags, images } = data.series[series] as PageSeries;
  const held = new Set(images[tags.indexOf(from)]);
  const added = (images[tags.indexOf(to)] ?? []).filter((layer) => !held.has(layer));
  return added.map((layer) => layerWords(data, layer));
}

/** A layer in words. */
export function layerWords({ layers, commands }: State['data'], layer: number): string {
  const command = commands[layers.commands[layer] ?? 0];
  return `${layers.digests[layer]}, ${formatSize(layers.sizes[layer] ?? 0)}${command ? `: ${command}` : ''}`;
}
