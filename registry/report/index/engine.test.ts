/** The engine: what a query gets and gives, and what is said where the package is missing. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { idOf } from './ids.ts';
import { startEngine } from './samples.conformance.ts';

const { engine, close } = await startEngine();

test('cells are plain values: what a double cannot hold is text, bytes are hex', async () => {
  const rows = await engine.query(
    "SELECT 9007199254740993::BIGINT AS big, 3::HUGEINT AS small, '\\x01\\xFF'::BLOB AS bytes, NULL AS nothing, :name AS text",
    { name: "it's" },
  );
  assert.deepEqual(rows, [
    { big: '9007199254740993', small: 3, bytes: '01ff', nothing: null, text: "it's" },
  ]);
});

test('a parameter that is missing is named', async () => {
  await assert.rejects(engine.query('SELECT :limit'), {
    code: 'usage',
    message: /parameter "limit" is missing/,
  });
});

test('ids are the first 63 bits of a digest, positive, led by its first hex digit', () => {
  const digest = Buffer.from('ff00000000000003'.padEnd(64, '0'), 'hex');
  assert.equal(idOf(digest), 0x7f80000000000001n);
  assert.equal(idOf(digest) >> 59n, 15n);
});

test('without the package the error names it and how to have it', () => {
  // The sources where no packages lie above them.
  const bare = mkdtempSync(join(tmpdir(), 'rechunk-bare-'));
  symlinkSync(fileURLToPath(new URL('../..', import.meta.url)), join(bare, 'registry'));
  const program = `
    const { Engine } = await import(${JSON.stringify(`${bare}/registry/report/index/engine.ts`)});
    await Engine.start({ tempDirectory: '/nowhere' }).catch(({ code, message }) => console.log(code, message));
  `;
  const flags = ['--disable-warning=ExperimentalWarning', '--preserve-symlinks'];
  const args = [...flags, '--input-type=module', '-e', program];
  const said = execFileSync(process.execPath, args, { encoding: 'utf8' });
  rmSync(bare, { recursive: true });
  assert.match(said, /^usage .*it is not installed; .*npm install @duckdb\/node-api@1\.5\.4-r\.1/);
});

test.after(close);
test.run();
