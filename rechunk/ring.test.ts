import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import { makeRing, readRing, writeRing } from './ring.ts';

async function* give(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

test('carries chunks of any size, also empty and larger than all slots', async () => {
  const chunks = [0, 1, 5 << 20, 256 << 10, (256 << 10) + 1, 0, 77].map((size) =>
    randomBytes(size),
  );
  const { writer, reader } = makeRing();
  const written = writeRing(writer, give(chunks));
  const got: Buffer[] = [];
  for await (const chunk of readRing(reader)) got.push(Buffer.from(chunk));
  await written;
  assert.ok(Buffer.concat(got).equals(Buffer.concat(chunks)));
});

test('a writer does not wait for a reader that stops early', async () => {
  const { writer, reader } = makeRing();
  const written = writeRing(writer, give(Array.from({ length: 100 }, () => randomBytes(1 << 20))));
  for await (const _ of readRing(reader)) break;
  await written;
});

test('an error of the writer reaches both sides', async () => {
  const { writer, reader } = makeRing();
  const broken = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.of(1);
    throw new Error('broken');
  };
  const failed = assert.rejects(writeRing(writer, broken()), /broken/);
  await assert.rejects(async () => {
    for await (const _ of readRing(reader));
  }, /the stream broke off/);
  await failed;
});

test('a reader does not wait for a writer that is gone', async () => {
  const { writer, reader } = makeRing();
  writer.port.close();
  await assert.rejects(async () => {
    for await (const _ of readRing(reader));
  }, /the stream broke off/);
});

test.run();
