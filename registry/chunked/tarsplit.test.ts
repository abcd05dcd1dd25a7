import assert from 'node:assert/strict';
import { test } from 'uvu';
import { TarSplitWriter } from './tarsplit.ts';

function linesOf(work: (writer: TarSplitWriter) => void): unknown[] {
  const lines: string[] = [];
  work(new TarSplitWriter((line) => lines.push(line)));
  assert.ok(lines.every((line) => line.endsWith('\n')));
  return lines.map((line) => JSON.parse(line));
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

test('puts all literal bytes before an entry into one segment', () => {
  const lines = linesOf((writer) => {
    writer.literal(Buffer.from('extended'));
    writer.literal(Buffer.from('header'));
    writer.file({ name: 'd/', size: 0 }, undefined);
    writer.literal(Buffer.from('next'));
    writer.file({ name: 'caf\xe9', size: 3 }, Buffer.from('12345678'));
    writer.finish();
  });
  assert.deepEqual(lines, [
    { type: 2, payload: base64('extendedheader'), position: 0 },
    { type: 1, name: 'd/', payload: null, position: 1 },
    { type: 2, payload: base64('next'), position: 2 },
    { type: 1, name_raw: 'Y2Fm6Q==', size: 3, payload: base64('12345678'), position: 3 },
  ]);
});

test("parts the archive's end from the padding after it, by the MiB", () => {
  const lines = linesOf((writer) => {
    writer.literal(Buffer.alloc(1024));
    writer.tail();
    for (let i = 0; i < 5; i++) writer.literal(Buffer.alloc(512 << 10));
    writer.finish();
  }) as { payload: string }[];
  const sizes = lines.map(({ payload }) => Buffer.from(payload, 'base64').length);
  assert.deepEqual(sizes, [1024, 1 << 20, 1 << 20, 512 << 10]);
});

test.run();
