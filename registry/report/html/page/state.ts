/** What is shown now: the filter, and whose updates. */
import type { PageData, PageSeries } from '../pagedata.ts';
import { matcher } from '../pattern.ts';
import { narrow } from '../sharing.ts';

/** What is shown now; pictures ask it when they draw. */
export interface State {
  readonly data: PageData;
  /** Whether the filter leaves a tag (index) in. */
  readonly isShown: (tag: number) => boolean;
  /** Whether the filter leaves a repository (index) in. */
  readonly isRepositoryShown: (repository: number) => boolean;
  /** The images whose updates are shown, as the filter leaves them; undefined where there are none. */
  readonly series: PageSeries | undefined;
  /** Index of `series`. */
  readonly seriesIndex: number;
}

/** What the controls say. */
export interface Controls {
  readonly repository: number | undefined;
  readonly pattern: string;
  readonly series: number;
}

/** The state that `controls` ask for. */
export function stateOf(data: PageData, { repository, pattern, series }: Controls): State {
  const matches = matcher(pattern);
  const shown = data.tags.map(
    (tag) => (repository === undefined || tag.repository === repository) && matches(tag.name),
  );
  const isShown = (tag: number): boolean => shown[tag] ?? false;
  const found = data.series[series];
  return {
    data,
    isShown,
    isRepositoryShown: (index) => repository === undefined || repository === index,
    series: found && narrow(found, isShown),
    seriesIndex: series,
  };
}

/** The series that the choice of repository leaves, by index. */
export function seriesChoices(data: PageData, repository: number | undefined): number[] {
  return [...data.series.keys()].filter(
    (index) => repository === undefined || data.series[index]?.repository === repository,
  );
}
