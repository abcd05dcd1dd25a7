import assert from 'node:assert/strict';
import { test } from 'uvu';
import { RechunkError } from '../registry/errors.ts';
import { MemoryBudget } from './budget.ts';

const MIB = 2 ** 20;

/** The error that `work` throws, and the MiB that it says would do. */
function refusal(work: () => unknown): { readonly code: string; readonly least: number } {
  try {
    work();
  } catch (error) {
    const { code, message } = error as RechunkError;
    assert.ok(error instanceof RechunkError, message);
    return { code, least: Number(/want at least (\d+)MiB/.exec(message)?.[1]) };
  }
  throw new Error('nothing was refused');
}

test('a limit that is too little for any image is refused with the least that works', () => {
  const { code, least } = refusal(() => new MemoryBudget(100 * MIB));
  assert.equal(code, 'usage');
  assert.equal(refusal(() => new MemoryBudget((least - 1) * MIB)).least, least);
  assert.equal(new MemoryBudget(least * MIB).threads(8), 1);
});

test('entries for which there is no room are refused with the least that works', () => {
  const { code, least } = refusal(() => new MemoryBudget(200 * MIB).hold(1e6));
  assert.equal(code, 'limit');
  assert.equal(refusal(() => new MemoryBudget((least - 1) * MIB).hold(1e6)).least, least);
  const enough = new MemoryBudget(least * MIB);
  enough.hold(1e6);
  assert.equal(enough.threads(8), 1);
  assert.equal(refusal(() => enough.hold(1e6)).code, 'limit');
});

test('the more room, the more threads, and the fewer the more entries are held', () => {
  const threads = (mib: number, entries: number): number => {
    const budget = new MemoryBudget(mib * MIB);
    budget.hold(entries);
    return budget.threads(8);
  };
  const counts = [256, 512, 1024, 4096].map((mib) => threads(mib, 0));
  assert.deepEqual(
    counts,
    [...counts].sort((a, b) => a - b),
  );
  assert.ok(new Set(counts).size >= 3 && counts.at(-1) === 8, String(counts));
  assert.ok(threads(512, 200_000) < threads(512, 0));
});

test('what is held for a while counts for that while', () => {
  const budget = new MemoryBudget(400 * MIB);
  budget.hold(100_000);
  const inner = budget.makeInner();
  assert.equal(refusal(() => inner.hold(200_000)).code, 'limit');
  budget.hold(100_000);
});

test.run();
