import assert from 'node:assert/strict';
import { test } from 'uvu';
import {
  digestOf,
  type ManifestOrIndex,
  MEDIA,
  matchPlatform,
  type Platform,
  parseConfig,
  parseManifest,
  parsePlatform,
} from './oci.ts';

const digest = digestOf('x');
const descriptor = { mediaType: MEDIA.config, digest, size: 1 };
const manifest = { schemaVersion: 2, config: descriptor, layers: [] };
const index = { schemaVersion: 2, manifests: [] };

const parse = (json: unknown, mediaType = ''): ManifestOrIndex =>
  parseManifest(Buffer.from(JSON.stringify(json)), mediaType);

test('keeps every label and annotation, whatever its name', () => {
  const names = '{"constructor":"a","prototype":"b","__proto__":"c","":"d"}';
  const config = parseConfig(
    Buffer.from(`{"config":{"Labels":${names}},"rootfs":{"type":"layers","diff_ids":[]}}`),
  );
  assert.equal(JSON.stringify(config.config?.Labels), names);
  const text = JSON.stringify({ ...manifest, annotations: 0 }).replace('0}', `${names}}`);
  const parsed = parseManifest(Buffer.from(text), MEDIA.manifest);
  assert.ok(parsed.kind === 'manifest');
  assert.equal(JSON.stringify(parsed.manifest.annotations), names);
});

test('refuses labels and annotations that are no strings', () => {
  for (const wrong of [[], 'x', { a: 1 }, { a: null }])
    assert.throws(() => parse({ ...manifest, annotations: wrong }), {
      code: 'manifest',
      message: /annotations: want an object whose values are strings/,
    });
});

test('tells manifests from indexes, and refuses what could be either', () => {
  assert.equal(parse(manifest).kind, 'manifest');
  assert.equal(parse(index).kind, 'index');
  assert.equal(parse(index, MEDIA.dockerIndex).kind, 'index');
  const refused: [json: object, mediaType: string, code: string, message: RegExp][] = [
    [{ ...manifest, ...index }, '', 'manifest', /ambiguous/],
    [{ ...index, layers: [] }, MEDIA.index, 'manifest', /ambiguous/],
    [{ ...manifest, mediaType: MEDIA.index }, MEDIA.manifest, 'manifest', /was announced as/],
    [{ schemaVersion: 1, fsLayers: [] }, '', 'unsupported', /schema 1/],
    [{ ...manifest, fsLayers: [] }, MEDIA.manifest, 'unsupported', /schema 1/],
    [manifest, MEDIA.index, 'manifest', /manifests/],
  ];
  for (const [json, mediaType, code, message] of refused)
    assert.throws(() => parse(json, mediaType), { code, message });
});

test('refuses digests and sizes that are none, naming where', () => {
  const refused: [wrong: object, message: RegExp][] = [
    [{ digest: 'sha256:../../etc/passwd' }, /config\.digest: got "sha256:\.\.\/\.\.\/etc/],
    [{ digest: digest.toUpperCase() }, /config\.digest/],
    [{ digest: 'md5:d41d8cd98f00b204e9800998ecf8427e' }, /config\.digest/],
    [{ size: -1 }, /config\.size/],
    [{ size: 2 ** 53 }, /config\.size/],
    [{ size: '1' }, /config\.size/],
  ];
  for (const [wrong, message] of refused)
    assert.throws(() => parse({ ...manifest, config: { ...descriptor, ...wrong } }), {
      code: 'manifest',
      message,
    });
});

test('reads platforms as people write them', () => {
  assert.deepEqual(parsePlatform('linux/arm/v7'), {
    os: 'linux',
    architecture: 'arm',
    variant: 'v7',
  });
  assert.deepEqual(parsePlatform('x86_64'), { os: 'linux', architecture: 'amd64' });
  assert.deepEqual(parsePlatform('constructor'), { os: 'linux', architecture: 'constructor' });
  for (const wrong of ['', '/', 'a/', '/a', 'a/b/c/d'])
    assert.throws(() => parsePlatform(wrong), { code: 'usage' });
});

test('ranks what a platform can run: its own variant, then lower ones', () => {
  const rank = (candidate: string, wanted: string): number | undefined =>
    matchPlatform(parsePlatform(candidate), parsePlatform(wanted));
  assert.equal(rank('linux/arm64', 'linux/arm64/v8'), 0);
  assert.equal(rank('linux/arm/v6', 'linux/arm/v7'), 1);
  assert.equal(rank('linux/arm/v7', 'linux/arm/v6'), undefined);
  assert.equal(rank('linux/amd64/v3', 'linux/amd64'), undefined);
  assert.equal(rank('windows/amd64', 'linux/amd64'), undefined);
  const windows = (version: string): Platform => ({
    ...parsePlatform('windows/amd64'),
    'os.version': version,
  });
  assert.equal(matchPlatform(windows('10.0.1'), windows('10.0.2')), undefined);
});

test.run();
