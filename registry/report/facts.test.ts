/** What is kept of documents. */
import assert from 'node:assert/strict';
import { test } from 'uvu';
import { digestOf, MEDIA } from '../oci.ts';
import { configFacts, manifestFacts } from './facts.ts';

const digest = digestOf('document');
const bytesOf = (value: object): Buffer => Buffer.from(JSON.stringify(value));

test('releases of Windows are platforms of their own, in indexes and in configs', () => {
  const entry = (version: string) => ({
    ...{ mediaType: MEDIA.manifest, digest, size: 1 },
    platform: { os: 'windows', architecture: 'amd64', 'os.version': version },
  });
  const manifests = ['10.0.17763.6893', '10.0.20348.3207', 'no \u001b version'].map(entry);
  const bytes = bytesOf({ schemaVersion: 2, mediaType: MEDIA.index, manifests });
  const facts = manifestFacts({ digest, size: 1, mediaType: MEDIA.index }, bytes, 'it');
  assert.ok(facts.kind === 'index');
  const wanted = ['windows(10.0.17763)/amd64', 'windows(10.0.20348)/amd64', 'windows/amd64'];
  assert.deepEqual(
    facts.entries.map(({ platform }) => platform),
    wanted,
  );
  const rootfs = { type: 'layers', diff_ids: [] };
  const platform = { os: 'windows', architecture: 'amd64', 'os.version': '10.0.17763.1' };
  assert.equal(configFacts(digest, bytesOf({ ...platform, rootfs }), 'it').platform, wanted[0]);
  const linux = { os: 'linux', architecture: 'arm', variant: 'v7', 'os.version': '6.1.0' };
  assert.equal(configFacts(digest, bytesOf({ ...linux, rootfs }), 'it').platform, 'linux/arm/v7');
});

test.run();
