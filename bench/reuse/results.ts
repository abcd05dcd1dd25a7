/** What the bench found, as it is stored in `bench/results/reuse.json`. */
import type { NoiseRow } from './noise.ts';
import { OURS, PACKAGE_FLOOR } from './packings.ts';
import type { Row } from './rows.ts';

/** Series over which claims average; Alpine's one update is reported only. */
export const AVERAGED = ['npm', 'debian', 'debian-year', 'host'] as const;
/** Columns of the tables. */
export const REPORTED = ['npm', 'debian', 'debian-year', 'host', 'alpine'] as const;
/** Numbers of layers that are compared. */
export const COUNTS = [32, 64, 120] as const;

/** All figures. Rows of a series are replaced together when it is run again. */
export interface Results {
  readonly rows: readonly Row[];
  readonly noise: readonly NoiseRow[];
  /** The commit that each series was run at. */
  readonly commits: Readonly<Record<string, string>>;
}

/** Finds rows by what they are of. */
export class Figures {
  readonly #rows: ReadonlyMap<string, Row>;

  constructor({ rows }: Results) {
    const keyOf = ({ series, packing, maxLayers }: Row): string => key(series, packing, maxLayers);
    this.#rows = new Map(rows.map((row) => [keyOf(row), row]));
  }

  /** The row of a packing with so many layers, or of one that does not depend on it. */
  find(series: string, packing: string, maxLayers: number): Row | undefined {
    return (
      this.#rows.get(key(series, packing, maxLayers)) ??
      this.#rows.get(key(series, packing, undefined))
    );
  }

  /** Mean bytes an update; undefined where it was not measured. */
  bytes(series: string, packing: string, maxLayers: number): number | undefined {
    return this.find(series, packing, maxLayers)?.every[1].bytes;
  }

  /** Ours, as `build` does it. */
  ours(series: string, maxLayers: number): Row | undefined {
    return this.find(series, OURS, maxLayers);
  }

  /** The least that whole components can take. */
  floor(series: string): number | undefined {
    return this.bytes(series, PACKAGE_FLOOR, 0);
  }
}

const key = (series: string, packing: string, maxLayers: number | undefined): string =>
  `${series} ${maxLayers ?? ''} ${packing}`;

/** Old results with those of the series that were run in place of what there was of them. */
export function mergeResults(old: Results, fresh: Results): Results {
  const keep = <T extends { readonly series: string }>(
    before: readonly T[],
    now: readonly T[],
  ): readonly T[] => {
    const replaced = new Set(now.map(({ series }) => series));
    const order = (row: T): number => REPORTED.indexOf(row.series as (typeof REPORTED)[number]);
    const all = [...before.filter(({ series }) => !replaced.has(series)), ...now];
    return all.sort((a, b) => order(a) - order(b));
  };
  return {
    rows: keep(old.rows, fresh.rows),
    noise: keep(old.noise, fresh.noise),
    commits: { ...old.commits, ...fresh.commits },
  };
}
