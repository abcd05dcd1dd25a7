import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import type { RechunkError } from '../../registry/errors.ts';
import { watchMemory } from './limit.ts';

const MIB = 2 ** 20;

/** So many MiB of small objects, about. */
function makeObjects(mib: number): unknown[] {
  return Array.from({ length: mib * 10_000 }, (_, i) => ({ i, more: [i] }));
}

test('garbage is collected before anything is stopped', async () => {
  const watch = watchMemory(process.memoryUsage.rss() + 80 * MIB);
  assert.equal(makeObjects(200).length, 2_000_000);
  await sleep(300);
  assert.deepEqual([watch.signal.aborted, watch.error], [false, undefined]);
  assert.match(watch.stop() ?? '', /the process took \d+MiB at its largest/);
});

test('a process that grows over its limit is stopped, and told of with what would do', async () => {
  const rss = process.memoryUsage.rss();
  const wide = watchMemory(rss + 2000 * MIB);
  const tight = watchMemory(rss + 100 * MIB);
  const held = Buffer.alloc(200 * MIB, 1);
  await sleep(300);
  assert.equal(held[0], 1);
  assert.equal(wide.signal.aborted, false);
  assert.equal(wide.stop(), undefined);
  // What is being read then is not taken for damaged.
  assert.equal((tight.signal.reason as RechunkError).code, 'interrupted');
  const { code, message } = tight.error as RechunkError;
  assert.equal(code, 'limit');
  const [limit, found, least] = [...message.matchAll(/(\d+)MiB/g)].map(([, mib]) => Number(mib));
  assert.ok(limit && found && least && limit + 80 < found && found < least, message);
  assert.match(tight.stop() ?? '', /the process took \d+MiB at its largest/);
});

test('a run that was stopped is left to end, and not measured any more', async () => {
  const held = makeObjects(100);
  const watch = watchMemory(1);
  for (let tries = 0; !watch.signal.aborted && tries < 100; tries++) await sleep(20);
  assert.equal(watch.signal.aborted, true);
  let collected = 0;
  const observer = new PerformanceObserver((list) => {
    const entries = list.getEntries() as unknown as {
      readonly detail: { readonly kind: number };
    }[];
    const major = constants.NODE_PERFORMANCE_GC_MAJOR;
    collected += entries.filter(({ detail }) => detail.kind === major).length;
  });
  observer.observe({ entryTypes: ['gc'] });
  await sleep(500);
  observer.disconnect();
  watch.stop();
  assert.equal(collected, 0);
  assert.equal(held.length, 1_000_000);
});

test('what the process that started this one took does not count', () => {
  const held = Buffer.alloc(600 * MIB, 1);
  const program = `
    import { watchMemory } from ${JSON.stringify(new URL('./limit.ts', import.meta.url).href)};
    console.log(watchMemory(400 * 2 ** 20).stop());
  `;
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', program];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(held.at(-1), 1);
  assert.deepEqual([stdout, stderr], ['undefined\n', '']);
});

test.run();
