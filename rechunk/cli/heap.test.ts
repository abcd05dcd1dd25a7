import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'uvu';

const HEAP = new URL('./heap.ts', import.meta.url).href;

/** Makes much that stays alive for a while, and prints the largest sizes of the generations in MiB. */
const PROGRAM = `
  import { getHeapSpaceStatistics } from 'node:v8';
  const sizeOf = (name) => getHeapSpaceStatistics().find((one) => one.space_name === name).space_size / 2 ** 20;
  let kept = [];
  const most = { young: 0, old: 0 };
  for (let i = 0; i < 1e6; i++) {
    kept.push({ i, more: { i } });
    if (kept.length === 1e5) {
      kept = [];
      most.young = Math.max(most.young, sizeOf('new_space'));
      most.old = Math.max(most.old, sizeOf('old_space'));
    }
  }
  console.log(JSON.stringify(most));
`;

function sizesOf(preparation: string): { young: number; old: number } {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module'];
  const program = `${preparation}\n${PROGRAM}`;
  return JSON.parse(
    execFileSync(process.execPath, [...args, '--eval', program], { encoding: 'utf8' }),
  );
}

test('a bounded heap takes little room beyond what is alive', () => {
  const bounded = sizesOf(`import { boundHeap } from ${JSON.stringify(HEAP)}; boundHeap();`);
  const free = sizesOf('');
  assert.ok(bounded.young <= 16, `the young generation grew to ${bounded.young} MiB`);
  assert.ok(bounded.old <= 64, `the old generation grew to ${bounded.old} MiB`);
  const total = ({ young, old }: { young: number; old: number }): number => young + old;
  assert.ok(total(bounded) < total(free), 'without the bound no more is taken');
});

test.run();
