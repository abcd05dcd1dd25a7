/** What the rate of a component rests on. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { ComponentInfo } from './components.ts';
import { type RateSource, rateSource } from './evidence.ts';

const TIMES = { changeTimes: [1, 2], changesFrom: 'changelog' } as const;

const CASES: readonly (readonly [string, Partial<ComponentInfo>, RateSource])[] = [
  ['nothing but its kind', {}, 'prior'],
  ['no times at all', { changeTimes: [], changesFrom: 'build' }, 'prior'],
  ['the days of a changelog', TIMES, 'changelog'],
  ['when it was built', { ...TIMES, changesFrom: 'build' }, 'build'],
  ['times of unknown origin', { changeTimes: [1] }, 'build'],
  ['what the user stated, before anything else', { ...TIMES, updateIntervalDays: 7 }, 'stated'],
];

for (const [what, info, source] of CASES) {
  test(`${what}: ${source}`, () => {
    assert.equal(rateSource({ id: 'x', kind: 'package', ...info }), source);
  });
}

test.run();
