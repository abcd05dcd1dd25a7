/** What plain lines tell of how far a command is. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { createReporter } from './reporter.ts';
import { saying } from './say.ts';

test('a step of many things tells bytes and the time that is left, from when it began', async () => {
  const lines: string[] = [];
  let seconds = 0;
  const stream = { isTTY: false, write: (line: string) => lines.push(line) };
  const reporter = await createReporter(stream as never, {
    quiet: false,
    now: () => seconds * 1000,
  });
  reporter.count('tags', 1, 40);
  seconds = 100;
  reporter.count('tags', 21, 40);
  // What went before says nothing of layers.
  reporter.count('layers', 0, 8, { done: 0, total: 80e6 });
  seconds = 110;
  reporter.count('layers', 1, 8, { done: 20e6, total: 80e6 });
  seconds = 111;
  reporter.count('layers', 2, 8, { done: 30e6, total: 80e6 });
  seconds = 1100;
  reporter.count('layers', 2, 8, { done: 30e6, total: 80e6 });
  assert.deepEqual(lines, [
    'tags: 21 of 40, about 95 s left\n',
    'layers: 1 of 8, 20.0 MB of 80.0 MB, about 30 s left\n',
    'layers: 2 of 8, 30.0 MB of 80.0 MB, about 28 min left\n',
  ]);
});

test('a notice gives no orders to the terminal, and no line of it passes for one of ours', async () => {
  const lines: string[] = [];
  const stream = { isTTY: false, write: (line: string) => lines.push(line) };
  const reporter = await createReporter(stream as never, { quiet: false, now: () => 0 });
  reporter.notice('oci:a:gone\x1b[31m\u202e is left out:\rwhy\nrechunk: all is well\n  advice');
  assert.deepEqual(lines, [
    'note: oci:a:gone\\u{1b}[31m\\u{202e} is left out:\\u{d}why rechunk: all is well advice\n',
  ]);
});

test('nothing is told with quiet', async () => {
  const lines: string[] = [];
  const stream = { isTTY: false, write: (line: string) => lines.push(line) };
  const reporter = await createReporter(stream as never, { quiet: true, now: () => 1e6 });
  reporter.count('tags', 1, 40);
  reporter.notice('a note');
  assert.deepEqual(lines, []);
});

test('what strangers chose is no order to a CI host, however it is broken into lines', () => {
  assert.equal(saying('note', 'a\n::error::b'), 'note: a ::error::b\n');
  assert.equal(
    saying('rechunk', 'a\n::error::b\n  ##[group]c\nd'),
    'rechunk: a\n  | ::error::b\n  | ##[group]c\n  d\n',
  );
});

test.run();
