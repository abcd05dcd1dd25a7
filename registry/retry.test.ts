import assert from 'node:assert/strict';
import { test } from 'uvu';
import { RechunkError } from './errors.ts';
import { parseRetryAfter, type RemoteEvent, withRetries } from './retry.ts';

const NOW = Date.UTC(2026, 0, 1, 12, 0, 0);
const CASES: [string | undefined, number | undefined][] = [
  [undefined, undefined],
  ['', undefined],
  ['soon', undefined],
  ['-5', undefined],
  ['0', 0],
  [' 7 ', 7000],
  ['1.5', 1500],
  ['Thu, 01 Jan 2026 12:00:30 GMT', 30_000],
  ['Thursday, 01-Jan-26 12:00:30 GMT', 30_000],
  ['Thu, 01 Jan 2026 11:00:00 GMT', 0],
];

for (const [value, want] of CASES) {
  test(`Retry-After '${value}' is ${want} ms`, () => {
    assert.equal(parseRetryAfter(value, NOW), want);
  });
}

const transient = (details: Record<string, number> = {}): RechunkError =>
  new RechunkError('network', 'broken', { details: { transient: true, ...details } });

/** Fails so often with `error`, then returns the number of tries. */
function failing(times: number, error: unknown): () => Promise<number> {
  let tries = 0;
  return async () => {
    if (tries++ < times) throw error;
    return tries;
  };
}

test('tries again what is transient, with doubled waits', async () => {
  const events: RemoteEvent[] = [];
  const policy = {
    retries: 4,
    delayMs: 10,
    onEvent: (event: RemoteEvent) => void events.push(event),
  };
  assert.equal(await withRetries(policy, failing(3, transient())), 4);
  assert.equal(events.length, 3);
  for (const [i, { waitMs = 0 }] of events.entries()) {
    const middle = 10 * 2 ** i;
    assert.ok(waitMs >= middle * 0.8 && waitMs <= middle * 1.2 + 1, `wait ${i} is ${waitMs} ms`);
  }
});

test('gives up after the last try and says how often it tried', async () => {
  await assert.rejects(withRetries({ retries: 2, delayMs: 1 }, failing(9, transient())), {
    code: 'network',
    message: 'broken, 3 times in a row',
    details: {},
  });
});

test('does not try again what will not change', async () => {
  const error = new RechunkError('auth', 'no');
  await assert.rejects(withRetries({ retries: 2, delayMs: 1 }, failing(1, error)), error);
});

test('refuses to wait for hours', async () => {
  const policy = { retries: 2, delayMs: 1 };
  await assert.rejects(
    withRetries(policy, failing(1, transient({ retryAfterMs: 6 * 3_600_000 }))),
    {
      message: 'broken; the server asks to wait 6 h, at most 60 s are waited',
    },
  );
});

test('waits as long as the server asks', async () => {
  const events: RemoteEvent[] = [];
  const policy = {
    retries: 2,
    delayMs: 1,
    onEvent: (event: RemoteEvent) => void events.push(event),
  };
  await withRetries(policy, failing(1, transient({ retryAfterMs: 150 })));
  assert.deepEqual(events, [{ kind: 'retry', message: 'broken', waitMs: 150 }]);
});

test('an interruption ends the wait', async () => {
  const controller = new AbortController();
  const policy = { retries: 2, delayMs: 60_000, signal: controller.signal };
  const run = withRetries(policy, failing(1, transient()));
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(run, { code: 'interrupted' });
});

test.run();
