import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { cacheOptions, describeRequest } from './cache.ts';

const work = mkdtempSync(join(tmpdir(), 'rechunk-options-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

const host = { env: { HOME: '/home/me' }, signal: new AbortController().signal };

test('what other sources gave is neither read nor repeated', () => {
  const [one, two] = ['1'.repeat(64), '2'.repeat(64)] as const;
  const version = (sources: string): string | undefined => cacheOptions({}, host, sources)?.version;
  assert.notEqual(version(one), version(two));
  assert.notEqual(describeRequest({}, host, one), describeRequest({}, host, two));
  assert.equal(describeRequest({}, host, one), describeRequest({ quiet: true }, host, one));
});

test('no result is kept by a program of which nothing says what it is, as from sources', () => {
  assert.equal(describeRequest({}, host), undefined);
  assert.match(cacheOptions({}, host)?.version ?? '', /^\d+\.\d+\.\d+$/);
});

test('the contents of maps decide, and one that is no file cannot', () => {
  const map = join(work, 'map');
  const described = ['/a/** a\n', '/b/** b\n'].map((text) => {
    writeFileSync(map, text);
    return describeRequest({ map: [map] }, host, 'x');
  });
  assert.notEqual(described[0], described[1]);
  assert.equal(describeRequest({ map: ['/dev/null'] }, host, 'x'), undefined);
});

test('the default directory is said to be one', () => {
  const { directory, isDefault } = cacheOptions({}, host) ?? {};
  assert.deepEqual([directory, isDefault], ['/home/me/.cache/rechunk', true]);
  assert.equal(cacheOptions({ cache: work }, host)?.isDefault, false);
  const homeless = { ...host, env: { HOME: '/' } };
  assert.equal(cacheOptions({}, homeless), undefined);
  assert.equal(cacheOptions({ cache: work }, homeless)?.directory, work);
});

test.run();
