import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import type { RechunkError } from '../../registry/errors.ts';
import { watchMemory } from './limit.ts';

const MIB = 2 ** 20;

test('a process that grows over its limit is told so, with what would do; garbage is not', async () => {
  const rss = process.memoryUsage.rss();
  const wide = watchMemory(rss + 2000 * MIB);
  const tight = watchMemory(rss + 100 * MIB);
  const held = Buffer.alloc(200 * MIB, 1);
  await sleep(300);
  assert.equal(held[0], 1);
  assert.equal(wide.signal.aborted, false);
  assert.equal(wide.stop(), undefined);
  const { code, message } = tight.signal.reason as RechunkError;
  assert.equal(code, 'limit');
  const [limit, found, least] = [...message.matchAll(/(\d+)MiB/g)].map(([, mib]) => Number(mib));
  assert.ok(limit && found && least && limit + 80 < found && found < least, message);
  assert.match(tight.stop() ?? '', /the process took \d+MiB at its largest/);
});

test.run();
