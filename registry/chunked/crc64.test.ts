import assert from 'node:assert/strict';
import fc from 'fast-check';
import { test } from 'uvu';
import { Crc64 } from './crc64.ts';

function sumOf(...pieces: readonly Uint8Array[]): string {
  const crc = new Crc64();
  for (const piece of pieces) crc.update(piece);
  return crc.digest().toString('hex');
}

/** The definition, bit by bit. */
function plainSum(bytes: Uint8Array): string {
  let sum = 0xffff_ffff_ffff_ffffn;
  for (const byte of bytes) {
    sum ^= BigInt(byte);
    for (let i = 0; i < 8; i++) sum = sum & 1n ? (sum >> 1n) ^ 0xd800_0000_0000_0000n : sum >> 1n;
  }
  return (sum ^ 0xffff_ffff_ffff_ffffn).toString(16).padStart(16, '0');
}

test('gives the sums that tar-split gives', () => {
  assert.equal(sumOf(Buffer.from('123456789')), 'b90956c775a41001');
  const line = Buffer.from(sumOf(Buffer.from('hello world\n')), 'hex');
  assert.equal(line.toString('base64'), 'ROnPP1cq2aw=');
  assert.equal(sumOf(), '0000000000000000');
});

test('gives the sum of the definition, however the bytes come', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 10 });
  fc.assert(
    fc.property(pieces, (parts) => {
      assert.equal(sumOf(...parts), plainSum(Buffer.concat(parts)));
    }),
  );
  const large = Buffer.alloc(600_001, 'some text');
  assert.equal(sumOf(large), plainSum(large));
});

test.run();
