import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import type { Blob } from '../image.ts';
import { packTar } from '../tarwriter.ts';
import { watchIndex } from './check.ts';
import { parseChunkedAnnotations, type Sections } from './footer.ts';
import { createChunkedCompressor } from './writer.ts';

const directory = mkdtempSync(join(tmpdir(), 'chunked-check-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const FOOTER_SIZE = 72;

async function write(name: string): Promise<{ blob: Buffer; sections: Sections }> {
  const parts: Buffer[] = [];
  const compressor = createChunkedCompressor(undefined, {
    inFlight: 2,
    write: (bytes) => {
      parts.push(Buffer.from(bytes));
    },
  });
  await compressor.push(packTar([{ path: 'd/' }, { path: `d/${name}`, content: 'some text' }]));
  await compressor.finish();
  const result = compressor.result();
  const blob = Buffer.concat(parts);
  const sections = parseChunkedAnnotations(
    'annotations' in result ? result.annotations : {},
    blob.length,
  );
  assert.ok(sections);
  return { blob, sections };
}

const { blob, sections } = await write('file');
const other = await write('elif');

function streamed(bytes: Buffer): Blob {
  return {
    stream: async function* () {
      for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7);
    },
  };
}

let files = 0;
function stored(bytes: Buffer): Blob {
  const path = join(directory, `${files++}`);
  writeFileSync(path, Buffer.concat([Buffer.from('before'), bytes, Buffer.from('after')]));
  const file = { path, offset: 'before'.length, size: bytes.length };
  return { file, stream: () => streamed(bytes).stream() };
}

/** The names in the table of contents of what was read whole. */
async function check(source: Blob, size: number, said: Sections): Promise<string[] | undefined> {
  const watched = watchIndex(source, size, said);
  if (!watched.blob.file) for await (const _ of watched.blob.stream());
  return (await watched.check())?.entries.map(({ name }) => name);
}

for (const [place, open] of [
  ['from a stream', streamed],
  ['on disk', stored],
] as const) {
  test(`a blob that is what its annotations say passes, ${place}`, async () => {
    assert.deepEqual(await check(open(blob), blob.length, sections), ['d/', 'd/file']);
  });

  test(`a blob that is not what its annotations say does not, ${place}`, async () => {
    const flipped = (at: number): Blob => {
      const bytes = Buffer.from(blob);
      bytes[at] = (bytes[at] as number) ^ 1;
      return open(bytes);
    };
    const { toc, tarSplit } = sections;
    const refused = (source: Blob, said: Sections, wanted: RegExp): Promise<void> =>
      assert.rejects(check(source, blob.length, said), (error: Error & { code?: string }) => {
        assert.match(error.message, wanted);
        return error.code === 'manifest';
      });
    await refused(flipped(toc.offset), sections, /table of contents has digest/);
    await refused(flipped(tarSplit.offset), sections, /tar-split section has digest/);
    await refused(flipped(blob.length - FOOTER_SIZE + 8), sections, /footer is not what/);
    await refused(open(blob), { ...sections, tocDigest: other.sections.tocDigest }, /has digest/);
    const shorter = { ...toc, size: toc.size - 1 };
    await refused(open(blob), { ...sections, toc: shorter }, /footer is not what/);
  });
}

test('a blob that was not read is not judged', async () => {
  const watched = watchIndex(streamed(other.blob), blob.length, sections);
  assert.equal(await watched.check(), undefined);
});

test('a table of contents that is too large is refused before it is read', () => {
  const toc = { ...sections.toc, size: 51 << 20 };
  assert.throws(() => watchIndex(streamed(blob), blob.length, { ...sections, toc }), /more than/);
});

test.run();
