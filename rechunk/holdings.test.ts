import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import { test } from 'uvu';
import type { ContentMemo } from './cache/memo.ts';
import { Holdings } from './holdings.ts';

const about = { cost: 1, isSound: () => true, memo: {} as ContentMemo };

test('an error is told when nothing is fetched any more', async () => {
  const holdings = new Holdings(() => 2);
  const ended: string[] = [];
  holdings.add(1, about, async () => {
    throw new Error('gone');
  });
  holdings.add(2, about, async () => {
    await wait(50);
    ended.push('slow');
  });
  await assert.rejects(holdings.ready([1, 2]), /gone/);
  assert.deepEqual(ended, ['slow']);
  assert.deepEqual([holdings.get(1)?.isFilled, holdings.get(2)?.isFilled], [false, true]);
});

test.run();
