/** Every way of packing that is compared, by the name of its row. */
import type { PackerMaker } from './layers.ts';
import { packOurs } from './ours.ts';
import { ORIGINALS, packLargest, packOne } from './plain.ts';
import { RIVAL_RULES, RIVALS_SHIPPED } from './rivals/rivals.ts';

/** A row of the tables. */
export interface Packing {
  readonly name: string;
  /**
   * `plain`: no rechunker; `shipped`: a rival with the components that it sees; `rule`: a rival's rule over our components;
   * `ours`; `hindsight`: one plan by one who knows what will change; `floor`: no packing goes below.
   */
  readonly group: 'plain' | 'shipped' | 'rule' | 'ours' | 'hindsight' | 'floor';
}

/** Ours as `build` does it by itself, which the claims are about. */
export const OURS = 'ours, remembering plan and changes';
export const OURS_FRESH = 'ours, fresh';
export const OURS_PLAN = 'ours, remembering the plan';
export const HINDSIGHT = 'hindsight';
export const PACKAGE_FLOOR = 'each changed package once';
export const FILE_FLOOR = 'each changed file once';
/** Rows that have the same layers whatever their limit. */
export const ORIGINAL = 'original image';
export const ONE_LAYER = 'one layer';

const named = (group: Packing['group'], ...names: string[]): Packing[] =>
  names.map((name) => ({ name, group }));

/** All rows, in the order of the tables. */
export const PACKINGS: readonly Packing[] = [
  ...named('plain', ORIGINAL, ONE_LAYER),
  ...named('shipped', ...Object.keys(RIVALS_SHIPPED)),
  ...named('rule', 'largest alone', ...Object.keys(RIVAL_RULES)),
  ...named('ours', OURS_FRESH, OURS_PLAN, OURS),
  ...named('hindsight', HINDSIGHT),
  ...named('floor', PACKAGE_FLOOR, FILE_FLOOR),
];

/** Makers of all rows but hindsight and floors, for one series. */
export function makersOf(series: string): Readonly<Record<string, PackerMaker>> {
  return {
    [ORIGINAL]: ORIGINALS[series] ?? packOne,
    [ONE_LAYER]: packOne,
    ...RIVALS_SHIPPED,
    'largest alone': packLargest,
    ...RIVAL_RULES,
    [OURS_FRESH]: packOurs('nothing'),
    [OURS_PLAN]: packOurs('plan'),
    [OURS]: packOurs('history'),
  };
}
