import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { type Context, withContext } from './context.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-context-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

test('a cache that cannot be closed is told of, and hides neither result nor error', async () => {
  const notices: string[] = [];
  const directory = join(work, 'cache');
  const options = {
    threads: 1,
    tempDir: work,
    cache: { directory, limit: 1 << 20, version: '1', now: Date.now },
    onNotice: (notice: string) => void notices.push(notice),
  };
  const spoil = async ({ cache }: Context): Promise<string> => {
    const unspeakable = 1n as unknown as string;
    await cache?.memoOf('sha256:aa').addDigests('md5', new Map([['aa', unspeakable]]));
    return 'done';
  };
  assert.equal(await withContext(options, spoil), 'done');
  const failing = async (context: Context): Promise<never> => {
    await spoil(context);
    throw new Error('the first error');
  };
  await assert.rejects(withContext(options, failing), /the first error/);
  assert.equal(notices.length, 2);
  for (const notice of notices) assert.match(notice, /^the cache was not closed: .*BigInt/);
  assert.equal(readdirSync(directory).length, 2);
});

test.run();
