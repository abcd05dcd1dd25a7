import assert from 'node:assert/strict';
import {
  lutimes,
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import { isAlive, makeDirectories, makeIngest } from './ingest.ts';
import { withLock } from './lock.ts';

const root = await mkdtemp(join(tmpdir(), 'rechunk-ingest-'));
test.after(() => rm(root, { recursive: true }));

/** Above the largest process id of Linux (2^22). */
const NO_PROCESS = 99_999_999;

test('makes private directories that do not meet, and removes them', async () => {
  const parent = join(root, 'a/b');
  const runs = await Promise.all(Array.from({ length: 20 }, () => makeIngest(parent)));
  assert.equal(new Set(runs.map(({ directory }) => directory)).size, 20);
  for (const run of runs) {
    assert.equal((await stat(run.directory)).mode & 0o777, 0o700);
    assert.ok(isAlive(run.name));
    await writeFile(run.newPath(), 'x');
    await run.remove();
    await run.remove();
  }
  assert.deepEqual(await readdir(parent), []);
});

test('names its place from the root, since programs that are given it run elsewhere', async () => {
  const made = await makeIngest(relative(process.cwd(), join(root, 'relative')));
  assert.equal(made.directory, join(root, 'relative', made.name));
  await made.remove();
});

test('removes what dead processes left, and nothing else', async () => {
  const parent = join(root, 'stale');
  const own = await makeIngest(parent);
  const machine = own.name.split('-')[3] as string;
  const [pid, start] = own.name.split('-') as [string, string];
  const names = {
    dead: `${NO_PROCESS}-1-0-${machine}`,
    reused: `${pid}-${Number(start) - 1}-0-${machine}`,
    alive: `${pid}-${start}-9999-${machine}`,
    foreign: `${NO_PROCESS}-1-0-00000000`,
    foreignOld: `${NO_PROCESS}-1-1-00000000`,
    other: 'my-files',
    prefixed: `.x-${NO_PROCESS}-1-0-${machine}`,
  };
  for (const name of Object.values(names)) {
    await mkdir(join(parent, name));
    await writeFile(join(parent, name, 'blob-0'), 'x');
  }
  await symlink(root, join(parent, `${NO_PROCESS}-1-7-${machine}`));
  const longAgo = Date.now() / 1000 - 2 * 86_400;
  await utimes(join(parent, names.foreignOld), longAgo, longAgo);
  const next = await makeIngest(parent);
  const left = new Set(await readdir(parent));
  const kept = [
    own.name,
    next.name,
    names.alive,
    names.foreign,
    names.other,
    names.prefixed,
    `${NO_PROCESS}-1-7-${machine}`,
  ];
  assert.deepEqual(left, new Set(kept));
});

test('makes what is missing of a path, tells the topmost, and ends where nothing can be made', async () => {
  assert.equal(await makeDirectories(join(root, 'new/a/b')), join(root, 'new'));
  assert.equal(await makeDirectories(join(root, 'new/a/c')), join(root, 'new/a/c'));
  assert.equal(await makeDirectories(join(root, 'new/a')), undefined);
  await writeFile(join(root, 'file'), '');
  await assert.rejects(makeDirectories(join(root, 'file')), { code: 'EEXIST' });
  await assert.rejects(makeDirectories(join(root, 'file/a')), { code: 'ENOTDIR' });
  if (process.platform === 'linux')
    await assert.rejects(makeDirectories('/proc/none/a'), { code: 'ENOENT' });
});

test('one at a time holds the lock; that of a dead process is taken away', async () => {
  const parent = join(root, 'lock');
  const path = join(parent, 'lock');
  const runs = await Promise.all(Array.from({ length: 8 }, () => makeIngest(parent)));
  const machine = runs[0]?.name.split('-')[3];
  await symlink(`${NO_PROCESS}-1-0-${machine}`, path);
  let inside = 0;
  let most = 0;
  let done = 0;
  await Promise.all(
    runs.map((run) =>
      withLock(path, run, async () => {
        most = Math.max(most, ++inside);
        await sleep(5);
        inside--;
        done++;
      }),
    ),
  );
  assert.deepEqual([most, done], [1, 8]);
  await assert.rejects(
    withLock(path, runs[0] ?? assert.fail(), () => Promise.reject(new Error('inner'))),
    { message: 'inner' },
  );
  assert.ok(!(await readdir(parent)).includes('lock'));
});

test('the lock of a process that nobody here can ask for counts as left behind when it is old, where that is allowed', async () => {
  const parent = join(root, 'elsewhere');
  const run = await makeIngest(parent);
  const path = join(parent, 'lock');
  const owner = run.name.replace(/[0-9a-f]{8}$/, 'deadbeef');
  await symlink(owner, path);
  let isLeft = false;
  const waiting = withLock(path, run, async () => assert.ok(isLeft), { leftAfterMs: 60_000 });
  await sleep(100);
  isLeft = true;
  const old = Date.now() / 1000 - 120;
  await lutimes(path, old, old);
  await waiting;
  assert.ok(!(await readdir(parent)).includes('lock'));
  await run.remove();
});

test('who was taken for left behind does not take the lock away from the next', async () => {
  const parent = join(root, 'taken');
  const [slow, next] = [await makeIngest(parent), await makeIngest(parent)];
  const path = join(parent, 'lock');
  await withLock(path, slow, async () => {
    await rm(path);
    await symlink(next.name, path);
  });
  assert.equal(await readlink(path), next.name);
  for (const run of [slow, next]) await run.remove();
});

test.run();
