import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { ViewDifference } from '../runtimes/compare.ts';
import { effectsOf } from './effects.ts';

const mode = (at: string, got: string): ViewDifference => ({ at, what: 'mode', want: '0700', got });

test('runtimes that make the same of a path stand together', () => {
  const refused = { layer: 'layer 1', at: '/a', reason: 'no', isFixable: true };
  const effectsAt = effectsOf([
    { id: 'one', differences: [mode('/a', '0755'), mode('/b', '0755')] },
    { id: 'two', differences: [mode('/a', '0755')] },
    { id: 'three', refused, differences: [] },
  ]);
  assert.deepEqual(effectsAt('/a'), [
    { runtimes: ['one', 'two'], text: 'mode 0755 for 0700', refuses: false },
    { runtimes: ['three'], text: 'no', refuses: true },
  ]);
  assert.deepEqual(effectsAt('/c'), []);
});

test('the time that all paths take is linear in their number', () => {
  const paths = Array.from({ length: 40_000 }, (_, i) => `/directory-${i}`);
  const effectsAt = effectsOf([{ id: 'one', differences: paths.map((at) => mode(at, '0755')) }]);
  const started = process.cpuUsage();
  for (const at of paths) assert.equal(effectsAt(at).length, 1);
  const { user } = process.cpuUsage(started);
  assert.ok(user < 2_000_000, `${user} µs`);
});

test.run();
