import assert from 'node:assert/strict';
import { test } from 'uvu';
import type { Document } from '../registry/image.ts';
import { digestOf, MEDIA } from '../registry/oci.ts';
import {
  checkLimits,
  exceededLimits,
  PROFILES,
  parseProfile,
  profiledCompression,
} from './limits.ts';

/** A manifest of so many layers of one type and size. */
function manifestOf(count: number, mediaType: string = MEDIA.layerGzip, size = 1000): Document {
  const layer = { mediaType, digest: digestOf(''), size };
  const config = { mediaType: MEDIA.config, digest: digestOf('{}'), size: 2 };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config,
      layers: Array(count).fill(layer),
    }),
  );
  return {
    descriptor: { mediaType: MEDIA.manifest, digest: digestOf(bytes), size: bytes.length },
    bytes,
  };
}

const idsOf = (document: Document, profile?: string): string[] =>
  exceededLimits(document, profile === undefined ? undefined : parseProfile(profile)).map(
    ({ limit }) => limit,
  );

test('knows what refuses how many layers, from the first that is too many', () => {
  const everyone = ['docker-layers', 'bootc-layers', 'podman-layers', 'storage-layers'];
  for (const [count, ids] of [
    [125, []],
    [126, everyone.slice(0, 1)],
    [128, everyone.slice(0, 1)],
    [129, everyone.slice(0, 3)],
    [500, everyone.slice(0, 3)],
    [501, everyone],
  ] as const)
    assert.deepEqual(idsOf(manifestOf(count)), ids, String(count));
});

test('a profile tells of its own limits and of registries’', () => {
  assert.deepEqual(idsOf(manifestOf(501), 'docker'), ['docker-layers']);
  assert.deepEqual(idsOf(manifestOf(128), 'bootc'), []);
  assert.deepEqual(idsOf(manifestOf(129), 'bootc'), ['bootc-layers']);
  assert.deepEqual(idsOf(manifestOf(500), 'podman'), []);
  assert.deepEqual(idsOf(manifestOf(3, MEDIA.layerZstd), 'docker20'), ['docker-zstd']);
  assert.deepEqual(idsOf(manifestOf(3, MEDIA.layerZstd)), []);
  assert.deepEqual(idsOf(manifestOf(1, MEDIA.layer, 11e9), 'podman'), ['registry-layer']);
  assert.deepEqual(idsOf(manifestOf(30_000), 'podman'), ['storage-layers', 'registry-manifest']);
});

test('says what was found, and who takes how much', () => {
  const [layers] = exceededLimits(manifestOf(130));
  assert.deepEqual(layers, {
    limit: 'docker-layers',
    found: 130,
    most: 125,
    text: '130 layers: Docker’s overlay2 driver loads 125 at most',
  });
  const [size] = exceededLimits(manifestOf(1, MEDIA.layer, 11e9));
  assert.equal(
    size?.text,
    'a layer of 11.0 GB: ghcr.io takes 10 GB at most; --max-layer-size makes smaller ones',
  );
});

test('what a profile refuses is an error, unless an option asked for it', () => {
  const profile = parseProfile('docker20');
  const zstd = manifestOf(126, MEDIA.layerZstd);
  assert.throws(() => checkLimits(zstd, { profile, overruled: [] }), {
    code: 'limit',
    message:
      '--profile docker20: 126 layers: Docker’s overlay2 driver loads 125 at most; 126 zstd layers: Docker before 23 reads none',
  });
  assert.throws(() => checkLimits(zstd, { profile, overruled: ['layers'] }), {
    message: '--profile docker20: 126 zstd layers: Docker before 23 reads none',
  });
  const told = checkLimits(zstd, { profile, overruled: ['layers', 'compression'] });
  assert.deepEqual(
    told.map(({ limit }) => limit),
    ['docker-layers', 'docker-zstd'],
  );
  assert.equal(checkLimits(zstd, undefined).length, 1);
});

test('no profile asks for what it refuses', () => {
  const types = { gzip: MEDIA.layerGzip, zstd: MEDIA.layerZstd } as Record<string, string>;
  for (const profile of PROFILES) {
    const most = manifestOf(profile.maxLayers, types[profile.compression]);
    assert.deepEqual(checkLimits(most, { profile, overruled: [] }), [], profile.name);
    assert.equal(parseProfile(profile.name), profile);
  }
  assert.throws(() => parseProfile('docker24'), {
    code: 'usage',
    message: "--profile: got 'docker24', want one of docker20, docker, bootc, podman, ml",
  });
});

test('an option decides the compression, then the profile where the destination can hold it', () => {
  const choice = { profile: parseProfile('docker20'), overruled: [] };
  assert.equal(profiledCompression('zstd', choice, ['zstd', 'gzip']), 'zstd');
  assert.equal(profiledCompression(undefined, choice, ['zstd', 'gzip']), 'gzip');
  assert.equal(profiledCompression(undefined, choice, ['none']), undefined);
  assert.equal(profiledCompression(undefined, undefined, ['none']), undefined);
});

test.run();
