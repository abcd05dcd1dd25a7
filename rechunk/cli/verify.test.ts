/** What `verify` says of images that are not alone, and of how far it has come. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { digestOf, MEDIA } from '../../registry/oci.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';

const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-verify-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const packages = fileURLToPath(new URL('../../test-images/packages/apk/', import.meta.url));
const archive = `docker-archive:${packages}alpine-3.11.5-docker.tar.gz`;
const layout = join(directory, 'layout');

/** Names an index `tag` that lists the image `x` of the layout once for each of `architectures`, and an attestation. */
function writeIndex(tag: string, architectures: readonly string[]): string {
  const file = join(layout, 'index.json');
  const top = JSON.parse(readFileSync(file, 'utf8'));
  const { annotations: _, ...image } = top.manifests[0];
  const entries = architectures.map((architecture) => ({
    ...image,
    platform: { os: 'linux', architecture },
  }));
  const attestation = {
    ...image,
    platform: { os: 'unknown', architecture: 'unknown' },
    annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
  };
  const index = { schemaVersion: 2, mediaType: MEDIA.index, manifests: [...entries, attestation] };
  const bytes = Buffer.from(JSON.stringify(index));
  const digest = digestOf(bytes);
  writeFileSync(join(layout, 'blobs', digest.replace(':', '/')), bytes);
  top.manifests.push({
    mediaType: MEDIA.index,
    digest,
    size: bytes.length,
    annotations: { 'org.opencontainers.image.ref.name': tag },
  });
  writeFileSync(file, JSON.stringify(top));
  return `oci:${layout}:${tag}`;
}

test.before(() => jsonHere(['build', archive, `oci:${layout}:x`]));

test('of an index of several images it says that only one is compared, and which', async () => {
  const several = writeIndex('several', ['amd64', 'arm64']);
  const { status, stderr } = await runHere([
    'verify',
    several,
    several,
    '--platform',
    'linux/amd64',
  ]);
  assert.equal(status, 0, stderr);
  const said = stderr.split('\n').filter((line) => line.includes('is an index'));
  const wanted = `note: ${several} is an index of 2 images: only the one for linux/amd64 is compared (--platform names another)`;
  assert.deepEqual(said, [wanted, wanted]);
});

test('of an index of one image, and of a single image, there is nothing to say', async () => {
  const one = writeIndex('one', ['amd64']);
  const platform = ['--platform', 'linux/amd64'];
  const { status, stderr } = await runHere(['verify', one, `oci:${layout}:x`, ...platform]);
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stderr, /is an index/);
});

test('what runtimes show is told by a line each, and in JSON', async () => {
  const told = await runHere(['verify', archive, `oci:${layout}:x`, '--runtimes']);
  assert.equal(told.status, 0, told.stderr);
  assert.match(
    told.stdout,
    /^containerd \(containerd, overlayfs\): right; no image can fix: the root/m,
  );
  const some = await jsonHere(['verify', archive, `oci:${layout}:x`, '--runtimes', 'umoci,ostree']);
  const { runtimes } = some as { runtimes: { id: string; verdict: string }[] };
  assert.deepEqual(
    runtimes.map(({ id, verdict }) => `${id} ${verdict}`),
    ['umoci right', 'ostree right'],
  );
  const empty = await runHere(['verify', archive, archive, '--runtimes', '']);
  assert.equal(empty.status, 2);
  const none = await runHere(['verify', archive, archive, '--runtimes', 'podman']);
  assert.equal(none.status, 2);
  assert.match(none.stderr, /got 'podman', want all, or some of podman-overlay/);
});

test.run();
