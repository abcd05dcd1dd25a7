import assert from 'node:assert/strict';
import { test } from 'uvu';
import { release } from './release.ts';

test('memory is given back at once, whatever still names it', () => {
  const bytes = Buffer.allocUnsafe(64 << 20).fill(1);
  const before = process.memoryUsage.rss();
  release(bytes.subarray(10, 20));
  assert.equal(bytes.length, 0);
  assert.ok(before - process.memoryUsage.rss() > 60 << 20);
});

test('memory that others may use is left alone', () => {
  const pooled = Buffer.from('text');
  const shared = new Uint8Array(new SharedArrayBuffer(1 << 20));
  for (const bytes of [pooled, shared]) release(bytes);
  assert.equal(pooled.toString(), 'text');
  assert.equal(shared.length, 1 << 20);
});

test.run();
