import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { Flusher, flushFiles } from './flush.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-flush-'));
const files = Array.from({ length: 30 }, (_, i) => join(work, String(i)));
for (const file of files) writeFileSync(file, file);
// It opens, and is nothing that can be flushed.
const unflushable = join(work, 'link');
symlinkSync('/proc/self/status', unflushable);

test.after(() => rmSync(work, { recursive: true }));

test('flushes files and directories, and leaves what is not there or cannot be flushed', async () => {
  await flushFiles([work, ...files, join(work, 'none'), unflushable]);
});

test('a flusher is done when all that was added is, also what was added late', async () => {
  const flusher = new Flusher();
  for (const file of files) flusher.add(file);
  await flusher.finish();
  flusher.add(work);
  flusher.add(unflushable);
  await flusher.finish();
});

test.run();
