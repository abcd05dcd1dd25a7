/** The treemap of what is stored, and how large layers are. */
import { formatSize } from '../../../size.ts';
import { type Holding, holdingsOf, sizeClasses } from '../sharing.ts';
import { axis, axisSize, colour, type Drawn, nameAxis, seriesColours, tooltip } from './drawing.ts';
import { tip } from './elements.ts';
import type { State } from './state.ts';

/** Layers of one holding that have a box of their own; the rest lies together by how many tags need it. */
const BOXES = 200;
/** Share of all from which on a box has room for its name. */
const LABELLED = 0.004;

interface Box {
  readonly name: string;
  readonly value: number;
  readonly says: readonly string[];
  readonly itemStyle?: object;
  readonly label?: object;
  readonly children?: readonly Box[];
}

/** The treemap. */
export function drawStorage(state: State): Drawn {
  const { data } = state;
  const holdings = holdingsOf(data, state.isShown);
  const total = holdings.reduce((sum, { size }) => sum + size, 0);
  const colours = seriesColours();
  const shared = colour('shared');
  const boxes = holdings.map((holding, i) => {
    const tone =
      holding.repository === undefined
        ? shared
        : (colours[(holding.repository ?? i) % (colours.length - 1)] as string);
    return boxOf(state, holding, tone, total);
  });
  return {
    label: `Storage of ${formatSize(total)} as a treemap: ${boxes.map(({ name, value }) => `${name} ${formatSize(value)}`).join(', ')}`,
    height: 440,
    option: {
      tooltip: {
        ...tooltip(),
        formatter: ({ data: box }: { data: Box }) => box?.name && tip(box.name, box.says ?? []),
      },
      series: [
        {
          type: 'treemap',
          name: `Stored ${formatSize(total)}`,
          data: boxes,
          top: 0,
          left: 0,
          right: 0,
          bottom: 30,
          roam: false,
          nodeClick: 'zoomToNode',
          leafDepth: 2,
          animationDurationUpdate: 250,
          visibleMin: 20,
          breadcrumb: {
            bottom: 0,
            itemStyle: {
              color: colour('soft'),
              borderColor: colour('line'),
              textStyle: { color: colour('ink') },
            },
            emphasis: { itemStyle: { color: colour('line') } },
          },
          label: {
            fontSize: 11,
            color: colour('ink'),
            overflow: 'truncate',
            ellipsis: '…',
            position: 'insideTopLeft',
          },
          upperLabel: {
            show: true,
            height: 24,
            color: colour('ink'),
            fontSize: 12,
            fontWeight: 600,
          },
          levels: [
            {
              itemStyle: { gapWidth: 3, borderWidth: 0, borderColor: colour('card') },
              upperLabel: { show: false },
            },
            { itemStyle: { gapWidth: 1, borderWidth: 1, borderColor: colour('soft') } },
            { itemStyle: { gapWidth: 0, borderWidth: 0.5, borderColor: colour('card') } },
          ],
        },
      ],
    },
  };
}

/** `tone` for a layer that a share of the tags needs: the more, the fuller; text in ink stays readable on it. */
function shade(tone: string, share: number): string {
  const alpha = Math.round(255 * (0.22 + 0.38 * share));
  return `${tone}${alpha.toString(16).padStart(2, '0')}`;
}

/** A command without what builders put before it; '' for a shell alone, which is all that buildah tells. */
function shortCommand(command: string): string {
  return command
    .replace(/^(\/bin\/sh -c )?(#\(nop\)\s*)?(RUN |COPY |ADD )?(\/bin\/sh -c )?/, '')
    .replace(/^\/bin\/(ba)?sh$/, '');
}

function boxOf(
  { data }: State,
  { repository, store, layers, size }: Holding,
  tone: string,
  whole: number,
): Box {
  const where = data.stores[store] ?? '';
  const owner =
    repository === undefined
      ? 'Shared by several repositories'
      : (data.repositories[repository]?.name ?? '');
  const inStore = data.stores.length > 1 && !owner.includes(where) ? ` in ${where}` : '';
  const most = layers.reduce((most, { tags }) => Math.max(most, tags), 1);
  const shown = layers.slice(0, BOXES).map(({ layer, tags }): Box => {
    const command = data.commands[data.layers.commands[layer] ?? 0] ?? '';
    const bytes = data.layers.sizes[layer] ?? 0;
    return {
      name: shortCommand(command) || `layer ${data.layers.digests[layer]}`,
      value: bytes,
      says: [
        `${formatSize(bytes)}, needed by ${tags === 1 ? '1 tag' : `${tags} tags`}`,
        `digest ${data.layers.digests[layer]}`,
      ],
      itemStyle: { color: shade(tone, tags / most) },
      label: { show: bytes > whole * LABELLED },
    };
  });
  const rest = Map.groupBy(layers.slice(BOXES), ({ tags }) => Math.floor(Math.log2(tags) / 2));
  const remainders = [...rest].map(([step, some]): Box => {
    const left = some.reduce((sum, { layer }) => sum + (data.layers.sizes[layer] ?? 0), 0);
    const [least, top] = [4 ** step, 4 ** (step + 1) - 1];
    const where = step === 0 ? '1 to 3 tags' : `${least} to ${top} tags`;
    return {
      name: `${some.length} smaller layers in ${where}`,
      value: left,
      says: [formatSize(left)],
      itemStyle: { color: shade(tone, least / most) },
      label: { show: left > whole * LABELLED },
    };
  });
  const name = `${owner}${inStore}`;
  return {
    name: `${name}: ${formatSize(size)}`,
    value: size,
    says: [`${layers.length} layers, ${formatSize(size)}`],
    itemStyle: { color: tone },
    children: [...shown, ...remainders],
  };
}

/** Layers by size. */
export function drawSizes(state: State): Drawn {
  const { data } = state;
  const needed = new Set(
    data.series.flatMap(({ tags, images }) =>
      images.filter((_, at) => state.isShown(tags[at] ?? -1)).flat(),
    ),
  );
  const classes = sizeClasses([...needed].map((layer) => data.layers.sizes[layer] ?? 0));
  const names = classes.map(({ least }) => (least === 0 ? 'below' : formatSize(least)));
  const base = axis();
  return {
    label: `${needed.size} layers by size: ${classes.map(({ least, layers, bytes }) => `from ${formatSize(least)} ${layers} with ${formatSize(bytes)}`).join(', ')}`,
    option: {
      tooltip: {
        ...tooltip(),
        trigger: 'axis',
        formatter: ([{ dataIndex }]: [{ dataIndex: number }]) => {
          const found = classes[dataIndex];
          if (!found) return '';
          return tip(`${formatSize(found.least)} and more`, [
            `${found.layers} layers`,
            formatSize(found.bytes),
          ]);
        },
      },
      legend: { top: 0, textStyle: { color: colour('dim') } },
      grid: { left: 12, right: 12, top: 36, bottom: 28, containLabel: true },
      xAxis: nameAxis(names),
      yAxis: [
        { ...base, type: 'value', axisLabel: { ...base.axisLabel, formatter: axisSize } },
        { ...base, type: 'value', splitLine: { show: false } },
      ],
      series: [
        {
          type: 'bar',
          name: 'Bytes',
          data: classes.map(({ bytes }) => bytes),
          itemStyle: { color: colour('kept') },
          barCategoryGap: '20%',
        },
        {
          type: 'line',
          name: 'Layers',
          yAxisIndex: 1,
          data: classes.map(({ layers }) => layers),
          itemStyle: { color: colour('new') },
          symbolSize: 7,
        },
      ],
    },
  };
}
