import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { test } from 'uvu';
import { blobContent } from './content.ts';
import type { Blob } from './image.ts';
import { digestOf, MEDIA } from './oci.ts';

/** A stream blob of the `bytes` in parts of `step`, and how often it was begun and ended. */
function counted(bytes: Buffer, step: number): Blob & { begun: number; ended: number } {
  const blob = {
    begun: 0,
    ended: 0,
    async *stream(): AsyncGenerator<Uint8Array> {
      blob.begun++;
      try {
        for (let at = 0; at < bytes.length; at += step) {
          yield bytes.subarray(at, at + step);
          yield new Uint8Array(0);
        }
      } finally {
        blob.ended++;
      }
    },
  };
  return blob;
}

const descriptorOf = (bytes: Buffer) => ({
  mediaType: MEDIA.layer,
  digest: digestOf(bytes),
  size: bytes.length,
});

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

test('parts in order are read in one go, and let go at the end', async () => {
  const bytes = Buffer.from('0123456789abcdef');
  const blob = counted(bytes, 5);
  const content = blobContent(blob, descriptorOf(bytes), undefined);
  const parts = [];
  for (const [start, end] of [
    [0, 4],
    [4, 4],
    [4, 11],
  ] as const)
    parts.push((await collect(content.open(start, end))).toString());
  assert.deepEqual(parts, ['0123', '', '456789a']);
  await content.close?.();
  assert.deepEqual([blob.begun, blob.ended], [1, 1]);
});

test('any part, in any order, whatever the size of the stream’s own parts', async () => {
  const property = fc.asyncProperty(
    fc.uint8Array({ minLength: 1, maxLength: 60 }),
    fc.integer({ min: 1, max: 20 }),
    fc.array(fc.tuple(fc.nat(60), fc.nat(60), fc.boolean()), { maxLength: 8 }),
    async (data, step, reads) => {
      const bytes = Buffer.from(data);
      const content = blobContent(counted(bytes, step), descriptorOf(bytes), undefined);
      for (const [a, b, leave] of reads) {
        const [start, end] = [Math.min(a, b, bytes.length), Math.min(Math.max(a, b), bytes.length)];
        const chunks = content.open(start, end);
        // A transfer that breaks off leaves in the middle.
        if (leave) for await (const _ of chunks) break;
        else assert.deepEqual(await collect(chunks), bytes.subarray(start, end));
      }
    },
  );
  await fc.assert(property, { numRuns: 300, seed: 20260103 });
});

test('a stream with other bytes than its descriptor says is refused', async () => {
  const bytes = Buffer.from('0123456789');
  const descriptor = descriptorOf(Buffer.from('0123456780'));
  const content = blobContent(counted(bytes, 3), descriptor, undefined);
  await assert.rejects(collect(content.open(0, 10)), { code: 'digest-mismatch' });
});

test.run();
