import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import { RechunkError } from './errors.ts';
import { DEFAULT_ENV, findProgram, isProgram, outputOf, runProgram } from './program.ts';

const env = DEFAULT_ENV;
const LIMIT = 1000;

async function* numbers(count: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < count; i++) yield Buffer.from(`${i}\n`);
}

test('gives what a program prints, and lets it read', async () => {
  assert.equal(String(await outputOf(['echo', 'a b'], LIMIT, { env })), 'a b\n');
  const input = numbers(3);
  assert.equal(String(await outputOf(['cat'], LIMIT, { env, input })), '0\n1\n2\n');
  const here = await outputOf(['pwd'], LIMIT, { env, directory: '/usr' });
  assert.equal(String(here), '/usr\n');
});

test('a program that wants no more input ends as it says', async () => {
  const input = numbers(100_000);
  assert.equal(String(await outputOf(['head', '-n1'], LIMIT, { env, input })), '0\n');
});

test('throws with its complaints where it fails, or as it is told to', async () => {
  const command = ['sh', '-c', 'for i in 1 2 3 4; do echo "no $i" >&2; done; exit 7'] as const;
  await assert.rejects(runProgram(command, { env }), {
    name: 'RechunkError',
    code: 'io',
    message: 'sh ended with 7: no 1; no 2; no 3',
  });
  const explain = (said: string, ended: string): Error =>
    new RechunkError('engine', `${ended} ${said.length}`);
  await assert.rejects(runProgram(command, { env, explain }), { code: 'engine', message: '7 20' });
  await assert.rejects(runProgram(['no-such-program'], { env }), { code: 'ENOENT' });
  await assert.rejects(outputOf(['yes'], LIMIT, { env }), { code: 'limit', message: /yes wrote/ });
});

test('an error of the input ends the program, and is what is thrown', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('a');
    throw new Error('the input broke');
  }
  await assert.rejects(outputOf(['cat'], LIMIT, { env, input: broken() }), /the input broke/);
});

test('stops when it is told to', async () => {
  const controller = new AbortController();
  const running = runProgram(['sleep', '60'], { env, signal: controller.signal });
  await sleep(50);
  controller.abort(new Error('enough'));
  await assert.rejects(running, /enough/);
  await assert.rejects(runProgram(['true'], { env, signal: controller.signal }), /enough/);
});

test('finds the first program that may be run', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'rechunk-program-'));
  await writeFile(join(dir, 'two'), '');
  assert.equal(await findProgram(['one', 'two'], { PATH: dir }), undefined);
  await chmod(join(dir, 'two'), 0o755);
  assert.equal(await findProgram(['one', 'two'], { PATH: `/nowhere:${dir}` }), 'two');
  assert.equal(await findProgram(['one', 'two'], {}), undefined);
  assert.equal(await isProgram('tar', 'GNU tar', env), true);
  assert.equal(await isProgram('tar', 'somebody else', env), false);
  await rm(dir, { recursive: true });
});

test.run();
