import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serialize } from 'node:v8';
import { test } from 'uvu';
import { digestOf } from '../../registry/oci.ts';
import { Cache } from './cache.ts';
import { CacheDirectory } from './directory.ts';
import { packPiece, squeeze } from './pieces.ts';

const directory = mkdtempSync(join(tmpdir(), 'rechunk-cache-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const options = { directory, limit: 1 << 20, version: '1', now: Date.now };
const diffId = digestOf(Buffer.from('layer'));
const open = async (): Promise<Cache> => (await Cache.open(options, assert.fail)) as Cache;
const generations = (): string[] => readdirSync(directory).filter((name) => /^rechunk-/.test(name));

test('a layer whose form cannot be read is missing', async () => {
  await (await open()).close();
  const [generation = ''] = generations();
  const version = generation.replace(/^rechunk-\d+-/, '');
  const facts = serialize({ size: 1, warnings: [] });
  // The first two bytes are the version of the form.
  const later = Buffer.from(facts).fill(0xfe, 1, 2);
  for (const [pieces, isFound] of [
    [[squeeze(facts)], true],
    [[squeeze(later)], false],
    [[Buffer.from('no zstd')], false],
    [[], false],
  ] as const) {
    const below = { ...options, version };
    const own = await CacheDirectory.open(below, { kinds: ['layer'] }, assert.fail);
    own?.write('layer', diffId.replace(':', '-'), Buffer.concat(pieces.map(packPiece)));
    await own?.close();
    const cache = await open();
    assert.equal((await cache.findLayer(diffId)) !== undefined, isFound);
    await cache.close();
  }
});

test('what another V8 wrote is not read', () => {
  assert.ok(generations().every((name) => name.includes(process.versions.v8)));
});

test.run();
