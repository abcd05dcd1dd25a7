// needs: zstd
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { END_OF_ARCHIVE, packTar } from '../tarwriter.ts';
import { encodeRuns } from './runs.ts';

test('makes frames that decoders read, with their size in the header', () => {
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.tuple(fc.nat(300), fc.nat(255)).map(([size, byte]) => Buffer.alloc(size, byte)),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const bytes = Buffer.concat(parts);
      const frame = encodeRuns(bytes);
      // A limit of the exact size holds only if the header states it.
      const limit = { maxOutputLength: Math.max(1, bytes.length) };
      assert.ok(zlib.zstdDecompressSync(frame, limit).equals(bytes));
    }),
  );
});

for (const size of [0, 1, 9, 10, 255, 256, 257, 1024]) {
  test(`makes a frame of ${size} bytes that zstd's own program reads`, () => {
    for (const bytes of [Buffer.alloc(size), Buffer.alloc(size, 'ab')]) {
      const found = execFileSync('zstd', ['-dc'], { input: encodeRuns(bytes) });
      assert.ok(found.equals(bytes));
    }
  });
}

test('takes little for a header', () => {
  const tar = packTar([{ path: 'usr/share/doc/some-package/changelog.gz' }]);
  const header = tar.subarray(0, tar.length - END_OF_ARCHIVE.length);
  const size = encodeRuns(header).length;
  assert.ok(size < 160, `${size} bytes`);
});

test.run();
