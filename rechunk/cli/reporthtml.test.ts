import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { ANNOTATION } from '../../registry/oci.ts';
import { runHere } from '../../test-images/cli.ts';
import { sampleImage } from '../../test-images/sample.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-html-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

/** A layout with one image, `1.0`. */
function writeLayout(directory: string): void {
  const { root, config, layers } = sampleImage({ sizes: [123_456, 10] });
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true });
  for (const { descriptor, bytes } of [root, config, ...layers])
    writeFileSync(join(directory, 'blobs', descriptor.digest.replace(':', '/')), bytes);
  const manifests = [{ ...root.descriptor, annotations: { [ANNOTATION.refName]: '1.0' } }];
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion": "1.0.0"}');
}

test('--html writes the page beside what is printed, or nothing', async () => {
  const layout = join(work, 'layout');
  writeLayout(layout);
  const page = join(work, 'out/page.html');
  const args = ['report', `oci:${layout}`, '--json', '--html', page];
  const failed = await runHere(args);
  assert.equal(failed.status, 2);
  assert.match(JSON.parse(failed.stdout).error.message, /^writing .*out\/page\.html: ENOENT/);
  assert.ok(!existsSync(join(work, 'out')));

  mkdirSync(join(work, 'out'));
  const { status, stdout, stderr } = await runHere(args);
  assert.equal(status, 0, stderr);
  assert.equal(JSON.parse(stdout).tags.length, 1);
  assert.deepEqual(readdirSync(join(work, 'out')), ['page.html']);
  const text = readFileSync(page, 'utf8');
  assert.match(text, /^<!DOCTYPE html>\n/);
  assert.ok(text.includes('>123.5 kB<') && text.endsWith('</html>\n'));
  assert.equal(text.match(/<script/g)?.length, 2);
});

test.run();
