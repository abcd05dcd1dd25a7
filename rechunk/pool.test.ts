import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import { Pool, receiveStream, sendStream } from './pool.ts';

test('sends a stream in order, and is done when all of it was taken', async () => {
  const { port, done } = sendStream([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const got: number[] = [];
  for await (const item of receiveStream<number>(port)) got.push(item);
  await done;
  assert.deepEqual(got, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('a sender does not wait for a receiver that stops early', async () => {
  const { port, done } = sendStream(Array.from({ length: 1000 }, (_, i) => i));
  for await (const item of receiveStream<number>(port)) if (item === 1) break;
  await done;
});

test('what is given is handed over, and all of it arrives', async () => {
  const items = Array.from({ length: 9 }, (_, i) => new Uint8Array(1000).fill(i));
  const { port, done } = sendStream(items, ({ buffer }) => [buffer]);
  const got: number[] = [];
  for await (const item of receiveStream<Uint8Array>(port)) got.push(item.length * (item[0] ?? 0));
  await done;
  assert.deepEqual(got, [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000]);
  assert.ok(items.every(({ length }) => length === 0));
});

test('an error of the sender reaches both sides', async () => {
  const broken = async function* (): AsyncGenerator<number> {
    yield 1;
    throw new Error('broken');
  };
  const { port, done } = sendStream(broken());
  const failed = assert.rejects(done, /broken/);
  await assert.rejects(async () => {
    for await (const _ of receiveStream<number>(port));
  }, /the stream broke off/);
  await failed;
});

/** A task that lasts until its stream ends, which it does not. */
function endlessTask(pool: Pool): { ended: Promise<unknown>; sent: Promise<void> } {
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    await sleep(60_000, undefined, { ref: false });
    yield Buffer.alloc(1);
  };
  const { port, done } = sendStream(endless());
  const digest = `sha256:${'0'.repeat(64)}` as const;
  const descriptor = { mediaType: '', digest, size: 1 };
  const job = {
    input: { kind: 'port', port },
    descriptor,
    diffId: digest,
    name: 'a layer',
  } as const;
  const ended = pool.run('ingest', job, { transfer: [port] });
  return { ended, sent: done };
}

test('closing ends tasks under way and tasks that wait, and lets go of what would be sent to them', async () => {
  const pool = new Pool(1);
  const tasks = [endlessTask(pool), endlessTask(pool)];
  const all = tasks.map(({ ended }) => assert.rejects(ended, /the run was stopped/));
  await sleep(100);
  await pool.close();
  await Promise.all(all);
  await assert.rejects(endlessTask(pool).ended, /the run was stopped/);
});

test('a pool that is made smaller goes on with fewer threads, and ends what they do first', async () => {
  let running = 0;
  const count = (worker: Worker): void => {
    running++;
    worker.once('exit', () => running--);
  };
  process.on('worker', count);
  const pool = new Pool(3);
  const digest = (): Promise<string[]> =>
    pool.run('digests', { algorithm: 'md5', items: [{ body: undefined, size: 0 }] });
  const before = [digest(), digest(), digest()];
  pool.shrink(1);
  const all = await Promise.all([...before, digest(), digest()]);
  assert.equal(pool.threads, 1);
  assert.equal(pool.free, 1);
  assert.deepEqual(new Set(all.flat()), new Set(['d41d8cd98f00b204e9800998ecf8427e']));
  for (let tries = 0; running > 1 && tries < 100; tries++) await sleep(20);
  assert.equal(running, 1);
  process.off('worker', count);
  pool.shrink(2);
  assert.equal(pool.threads, 1);
  await pool.close();
});

test.run();
