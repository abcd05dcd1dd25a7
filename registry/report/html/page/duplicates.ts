/** How much of what lies there twice is due to how few files. */
import { formatSize } from '../../../size.ts';
import { axis, axisSize, colour, type Drawn, tooltip } from './drawing.ts';
import { tip } from './elements.ts';
import type { State } from './state.ts';

const inPercent = (share: number): string => `${+(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

/** The Lorenz curve of duplicates. */
export function drawLorenz({ data }: State): Drawn {
  const points = (data.files?.lorenz ?? []).map(({ contents, wasted }) => [contents, wasted]);
  const half = points.find(([, wasted = 0]) => wasted >= 0.5);
  const base = axis();
  const share = {
    ...base,
    type: 'value',
    min: 0,
    max: 1,
    axisLabel: { ...base.axisLabel, formatter: inPercent },
  };
  return {
    label: `Lorenz curve of duplicate files${half ? `: ${inPercent(half[0] ?? 0)} of contents cause half of what is wasted` : ''}`,
    option: {
      tooltip: {
        ...tooltip(),
        trigger: 'axis',
        formatter: ([{ data: point }]: [{ data: [number, number] }]) =>
          tip(`${inPercent(point[0])} of contents`, [
            `cause ${inPercent(point[1])} of what is wasted`,
          ]),
      },
      grid: { left: 12, right: 28, top: 14, bottom: 26, containLabel: true },
      xAxis: {
        ...share,
        name: 'of contents',
        nameLocation: 'middle',
        nameGap: 26,
        nameTextStyle: { color: colour('dim') },
      },
      yAxis: share,
      series: [
        {
          type: 'line',
          data: points,
          showSymbol: false,
          lineStyle: { width: 2.5, color: colour('new') },
          itemStyle: { color: colour('new') },
          areaStyle: { color: colour('new'), opacity: 0.15 },
        },
        {
          type: 'line',
          data: [
            [0, 0],
            [1, 1],
          ],
          showSymbol: false,
          silent: true,
          tooltip: { show: false },
          lineStyle: { width: 1, type: 'dashed', color: colour('dim') },
        },
      ],
    },
  };
}

/** Bytes by how often their content is there. */
export function drawCopies({ data }: State): Drawn {
  const rows = data.files?.byCopies ?? [];
  const base = axis();
  return {
    label: `Contents by number of copies: ${rows.map(({ copies, contents, bytes }) => `${copies} times: ${contents} with ${formatSize(bytes)}`).join(', ')}`,
    option: {
      tooltip: {
        ...tooltip(),
        trigger: 'axis',
        formatter: ([{ dataIndex }]: [{ dataIndex: number }]) => {
          const row = rows[dataIndex];
          return row
            ? tip(`there ${row.copies} times`, [`${row.contents} contents`, formatSize(row.bytes)])
            : '';
        },
      },
      grid: { left: 12, right: 12, top: 14, bottom: 26, containLabel: true },
      xAxis: {
        ...base,
        type: 'category',
        data: rows.map(({ copies }) => `${copies}`),
        name: 'copies',
        nameLocation: 'middle',
        nameGap: 26,
        nameTextStyle: { color: colour('dim') },
        splitLine: { show: false },
      },
      yAxis: { ...base, type: 'value', axisLabel: { ...base.axisLabel, formatter: axisSize } },
      series: [
        {
          type: 'bar',
          data: rows.map(({ bytes }) => bytes),
          itemStyle: { color: colour('kept') },
          barCategoryGap: '20%',
        },
      ],
    },
  };
}
