import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import { CacheDirectory } from './directory.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-cache-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
let count = 0;
const newPath = (): string => join(work, `cache-${count++}`);

const KINDS = ['layer', 'blob'];
const LARGE = 1 << 30;

async function open(
  directory: string,
  { limit = LARGE, version = '1.0.0', now = 1e12 } = {},
): Promise<CacheDirectory> {
  const options = { directory, limit, version, now: () => now };
  const cache = await CacheDirectory.open(options, { kinds: KINDS, spare: ['blob'] }, (notice) =>
    assert.fail(notice),
  );
  return cache as CacheDirectory;
}

const filesOf = (directory: string): string[] =>
  globSync('rechunk-*/*/*', { cwd: directory }).sort();

test('gives back what was written, by kind and key, to this run and the next', async () => {
  const directory = newPath();
  const first = await open(directory);
  first.write('layer', 'sha256-aa', Buffer.from('one'));
  const file = first.create('blob');
  for (let i = 0; i < 1000; i++) file.append(Buffer.alloc(1000, i));
  file.commit('sha256-aa');
  assert.equal(String(await first.read('layer', 'sha256-aa')), 'one');
  await first.close();
  const second = await open(directory);
  assert.equal(String(await second.read('layer', 'sha256-aa')), 'one');
  const blob = await second.read('blob', 'sha256-aa');
  assert.deepEqual([blob?.length, blob?.[0], blob?.[999_999]], [1_000_000, 0, 999 % 256]);
  assert.equal(await second.read('layer', 'sha256-bb'), undefined);
  await second.close();
  assert.equal(statSync(directory).mode & 0o777, 0o700);
});

test('what another version wrote is not read, and counts towards the limit', async () => {
  const directory = newPath();
  const old = await open(directory, { version: '0.9.0' });
  old.write('layer', 'a', Buffer.alloc(50_000));
  await old.close();
  const next = await open(directory, { limit: 8192 });
  assert.equal(await next.read('layer', 'a'), undefined);
  next.write('layer', 'b', Buffer.alloc(10));
  utimesSync(join(directory, filesOf(directory)[0] as string), 1, 1);
  await next.close();
  assert.deepEqual(filesOf(directory), ['rechunk-1-1.0.0/layer/b']);
});

test('every flipped bit and every cut makes a file missing, and removes it', async () => {
  const directory = newPath();
  const cache = await open(directory);
  const content = Buffer.from('content');
  const path = join(directory, 'rechunk-1-1.0.0/layer/k');
  const length = content.length + 32;
  for (let at = 0; at < length; at++) {
    cache.write('layer', 'k', content);
    const bytes = readFileSync(path);
    assert.equal(bytes.length, length);
    bytes[at] = (bytes[at] as number) ^ (1 << (at % 8));
    writeFileSync(path, bytes);
    assert.equal(await cache.read('layer', 'k'), undefined);
    assert.deepEqual(filesOf(directory), []);
    cache.write('layer', 'k', content);
    truncateSync(path, at);
    assert.equal(await cache.read('layer', 'k'), undefined);
    assert.deepEqual(filesOf(directory), []);
  }
  await cache.close();
});

test('a file that lies under another name is damaged', async () => {
  const directory = newPath();
  const cache = await open(directory);
  const root = join(directory, 'rechunk-1-1.0.0');
  cache.write('layer', 'a', Buffer.from('a'));
  renameSync(join(root, 'layer/a'), join(root, 'layer/b'));
  assert.equal(await cache.read('layer', 'b'), undefined);
  cache.write('layer', 'a', Buffer.from('a'));
  cpSync(join(root, 'layer/a'), join(root, 'blob/a'));
  assert.equal(await cache.read('blob', 'a'), undefined);
  assert.equal(String(await cache.read('layer', 'a')), 'a');
  await cache.close();
});

test('the least recently used go first, what is used counts as new', async () => {
  const directory = newPath();
  const cache = await open(directory, { limit: 3 * 4096, now: 5000_000 });
  for (const [i, key] of ['a', 'b', 'c', 'd'].entries()) {
    cache.write('layer', key, Buffer.alloc(100));
    utimesSync(join(directory, 'rechunk-1-1.0.0/layer', key), 1000 + i, 1000 + i);
  }
  await cache.read('layer', 'a');
  await cache.close();
  assert.deepEqual(
    filesOf(directory).map((path) => path.slice(-1)),
    ['a', 'c', 'd'],
  );
});

test('keeps a file under another name, and lets it go before what is not to spare', async () => {
  const directory = newPath();
  const cache = await open(directory, { limit: 2 * 4096, now: 9000_000 });
  const path = newPath();
  writeFileSync(path, 'blob');
  await cache.keep('blob', 'kept', path);
  rmSync(path);
  const place = (await cache.locate('blob', 'kept')) as string;
  assert.equal(readFileSync(place, 'utf8'), 'blob');
  assert.equal(statSync(place).mtimeMs, 9000_000);
  assert.equal(await cache.locate('blob', 'other'), undefined);
  await cache.keep('blob', 'gone', place);
  await cache.remove('blob', 'gone');
  for (const key of ['a', 'b']) {
    cache.write('layer', key, Buffer.alloc(100));
    utimesSync(join(directory, 'rechunk-1-1.0.0/layer', key), 1000, 1000);
  }
  await cache.close();
  assert.deepEqual(filesOf(directory), ['rechunk-1-1.0.0/layer/a', 'rechunk-1-1.0.0/layer/b']);
});

test('what one run keeps stays within the limit while it runs', async () => {
  const directory = newPath();
  const cache = await open(directory, { limit: 10_000 });
  const path = newPath();
  for (const [key, size] of Object.entries({ a: 6000, b: 6000, c: 4000, d: 1 })) {
    writeFileSync(`${path}-${key}`, Buffer.alloc(size));
    await cache.keep('blob', key, `${path}-${key}`);
  }
  assert.deepEqual(filesOf(directory), ['rechunk-1-1.0.0/blob/a', 'rechunk-1-1.0.0/blob/c']);
  cache.write('layer', 'small', Buffer.from('x'));
  assert.equal(String(await cache.read('layer', 'small')), 'x');
  await cache.close();
});

test('what is not its own is never removed', async () => {
  const directory = newPath();
  const first = await open(directory);
  first.write('layer', 'a', Buffer.alloc(100_000));
  await first.close();
  mkdirSync(join(directory, 'mine'));
  for (const path of ['mine/a', 'notes.txt', 'rechunk-1-1.0.0/layer/UPPER'])
    writeFileSync(join(directory, path), 'kept');
  mkdirSync(join(directory, 'rechunk-1-1.0.0/layer/directory'));
  const second = await open(directory, { limit: 0 });
  second.write('blob', 'b', Buffer.alloc(1));
  await second.close();
  assert.deepEqual(filesOf(directory), [
    'rechunk-1-1.0.0/layer/UPPER',
    'rechunk-1-1.0.0/layer/directory',
  ]);
  assert.deepEqual(readdirSync(directory).sort(), [
    'CACHEDIR.TAG',
    'mine',
    'notes.txt',
    'rechunk-1-1.0.0',
  ]);
});

test('a directory with something else in it is refused', async () => {
  const directory = newPath();
  mkdirSync(directory, { mode: 0o755 });
  writeFileSync(join(directory, 'thesis.txt'), 'x');
  await assert.rejects(open(directory), (error: RechunkError) => {
    assert.ok(error instanceof RechunkError);
    assert.equal(error.code, 'usage');
    assert.match(
      error.message,
      /^--cache .*: it holds something else, want a directory of its own/,
    );
    return true;
  });
  // Where nobody named it, nobody can name another: that is no error.
  assert.equal(
    await refusal(directory, true),
    `the cache ${directory} is not used: it holds something else, want a directory of its own (with a CACHEDIR.TAG, or empty)`,
  );
  assert.deepEqual(readdirSync(directory), ['thesis.txt']);
  assert.equal(statSync(directory).mode & 0o777, 0o755);
});

/** What is told when `directory` is opened, which must not be used. */
async function refusal(directory: string, isDefault = false): Promise<string> {
  const notices: string[] = [];
  const options = { directory, isDefault, limit: LARGE, version: '1.0.0', now: () => 0 };
  const cache = await CacheDirectory.open(
    options,
    { kinds: KINDS, spare: ['blob'] },
    (notice) => void notices.push(notice),
  );
  assert.equal(cache, undefined);
  return notices.join();
}

test('a directory of somebody else is not used, and that is told', async () => {
  const directory = newPath();
  mkdirSync(directory);
  if (process.getuid?.() === 0) chownSync(directory, 12345, 12345);
  const place = process.getuid?.() === 0 ? directory : '/usr';
  const owner = process.getuid?.() === 0 ? 12345 : 0;
  assert.equal(
    await refusal(place),
    `the cache ${place} is not used: it belongs to user ${owner}, want ${process.getuid?.()}`,
  );
  assert.deepEqual(readdirSync(directory), []);
});

test('a directory becomes private, and is not used where others may have written', async () => {
  const directory = newPath();
  mkdirSync(directory, { mode: 0o755 });
  // Empty at first, so that nobody can have written anything.
  for (const mode of [0o777, 0o755, 0o750]) {
    chmodSync(directory, mode);
    const cache = await open(directory);
    cache.write('layer', 'a', Buffer.from('a'));
    await cache.close();
    assert.equal(statSync(directory).mode & 0o777, 0o700);
  }
  chmodSync(directory, 0o770);
  const advice = `if nobody did, \`chmod 700 ${directory}\``;
  const told = `the cache ${directory} is not used: others may write to`;
  assert.equal(await refusal(directory), `${told} ${directory}; ${advice}`);
  chmodSync(directory, 0o755);
  const file = join(directory, 'rechunk-1-1.0.0/layer/a');
  chmodSync(file, 0o666);
  assert.equal(await refusal(directory), `${told} ${file}; ${advice}`);
  chmodSync(directory, 0o700);
  await (await open(directory)).close();
});

test('a path that no directory can be made at is told of', async () => {
  const file = newPath();
  writeFileSync(file, '');
  assert.match(await refusal(join(file, 'below')), /is not used: ENOTDIR$/);
});

test('what is written and not committed is gone when the cache is closed', async () => {
  const directory = newPath();
  const cache = await open(directory);
  const dropped = cache.create('layer');
  dropped.append(Buffer.alloc(1 << 20));
  dropped.discard();
  const left = cache.create('layer');
  left.append(Buffer.alloc(1 << 20));
  await cache.close();
  assert.deepEqual(filesOf(directory), []);
  assert.deepEqual(readdirSync(directory).sort(), ['CACHEDIR.TAG', 'rechunk-1-1.0.0']);
});

test('when the place for files goes away, that is told once and nothing fails', async () => {
  const directory = newPath();
  const notices: string[] = [];
  const options = { directory, limit: LARGE, version: '1.0.0', now: () => 0 };
  const cache = await CacheDirectory.open(
    options,
    { kinds: KINDS, spare: ['blob'] },
    (notice) => void notices.push(notice),
  );
  rmSync(directory, { recursive: true });
  for (const key of ['a', 'b']) cache?.write('layer', key, Buffer.from('x'));
  assert.equal(await cache?.read('layer', 'a'), undefined);
  await cache?.close();
  assert.deepEqual(notices, [`the cache ${directory} cannot be written: ENOENT`]);
});

const MODULE = fileURLToPath(new URL('directory.ts', import.meta.url));

/** A program that reads and writes without end: what it reads must be what some run wrote under that key. */
const HAMMER = `
import { CacheDirectory } from '${MODULE}';
const [directory, limit, seed] = process.argv.slice(1);
let state = Number(seed);
const next = (n) => (state = (state * 48271) % 2147483647) % n;
for (let round = 0; round < 1e6; round++) {
  const options = { directory, limit: Number(limit), version: '1.0.0', now: Date.now };
  const cache = await CacheDirectory.open(options, { kinds: ['layer', 'blob'] }, (notice) => { throw new Error(notice); });
  for (let i = 0; i < 20; i++) {
    const key = 'k' + next(10);
    const found = await cache.read('layer', key);
    if (found && (found.length < 9 || found.some((byte, at) => byte !== key.charCodeAt(1) && at !== 0)))
      throw new Error('read what nobody wrote');
    if (found) console.log('hit');
    const file = cache.create('layer');
    const parts = 1 + next(5);
    for (let part = 0; part < parts; part++) file.append(Buffer.alloc(9 + next(100_000), key.charCodeAt(1)));
    file.commit(key);
  }
  await cache.close();
  console.log('round');
}
`;

/** Runs the program until it is killed, after `ms` or when it is through twice; gives what it said, and what went wrong. */
function hammer(
  directory: string,
  limit: number,
  seed: number,
  until: number | 'done',
): Promise<string> {
  const child = spawn(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    '--input-type=module',
    '--eval',
    HAMMER,
    directory,
    String(limit),
    String(seed),
  ]);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      said += data;
      if (until === 'done' && said.split('round').length > 2) child.kill('SIGKILL');
    });
  }
  if (until !== 'done') setTimeout(() => child.kill('SIGKILL'), until);
  return new Promise((resolve) => {
    child.on('close', (_, signal) => resolve(signal === 'SIGKILL' ? said : `failed: ${said}`));
  });
}

test('runs at the same time, killed at any moment, leave a cache that is whole and within its limit', async () => {
  const directory = newPath();
  const limit = 600_000;
  const moments = [700, 900, 1100, 1300, 'done', 'done'] as const;
  const said = await Promise.all(moments.map((until, i) => hammer(directory, limit, i + 1, until)));
  for (const one of said) assert.doesNotMatch(one, /failed|Error/);
  assert.match(said.join(''), /hit/);
  assert.match(said.join(''), /round/);
  const cache = await open(directory, { limit });
  for (let i = 0; i < 10; i++) {
    const key = `k${i}`;
    const content = await cache.read('layer', key);
    if (content) assert.ok(content.every((byte) => byte === key.charCodeAt(1)));
  }
  cache.write('blob', 'last', Buffer.from('x'));
  await cache.close();
  const sizes = filesOf(directory).map((path) => statSync(join(directory, path)).size);
  assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= limit);
  assert.deepEqual(readdirSync(directory).sort(), ['CACHEDIR.TAG', 'rechunk-1-1.0.0']);
});

test.run();
