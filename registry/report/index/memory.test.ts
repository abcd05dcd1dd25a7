/** How memory is shared out. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { shareMemory } from './memory.ts';

const MIB = 2 ** 20;

test('by default parts are as large as they get', () => {
  assert.deepEqual(shareMemory(), {
    ...{ engine: 896 * MIB, partEntries: 4_000_000, keptDigests: 6_700_000 },
  });
});

test('with less memory the engine has less, and parts are smaller', () => {
  const { engine, partEntries, keptDigests } = shareMemory(512 * MIB);
  assert.equal(engine, 128 * MIB);
  assert.ok(partEntries > 100_000 && partEntries < 1_000_000, `${partEntries}`);
  assert.equal(keptDigests, 2 * partEntries);
});

test('too little is refused, and what is wanted is said', () => {
  assert.throws(() => shareMemory(300 * MIB), {
    code: 'usage',
    message: '--memory-limit 300MiB: want at least 384MiB to index files',
  });
});

test.run();
