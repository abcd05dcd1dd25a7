// needs: docker-registry
/** `rechunk report` on images for two platforms: indexes of a real registry, each platform with content of its own. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import { type Manifest, MEDIA, parseManifest } from '../../registry/oci.ts';
import type { Report, WhatIf } from '../../registry/report/report.ts';
import { openDestination, openSource } from '../../registry/transport.ts';
import { runCli } from '../../test-images/cli.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import { packagesChangedIn, writeReleases } from '../../test-images/releases.ts';

const RELEASES = 3;
/** What runs on each platform, so that they share the base alone. */
const PRODUCTS = { amd64: 'one', arm64: 'two' } as const;
const ARCHITECTURES = ['amd64', 'arm64'] as const;

const platforms = suite('report on two platforms');
let work: string;
let registry: Registry;
let target: string;

async function run(...args: string[]): Promise<string> {
  const result = await runCli([...args, '--quiet', '--temp-dir', work]);
  assert.equal(result.status, 0, result.stderr);
  return result.stdout;
}

const reportOn = async (...args: string[]): Promise<Report> =>
  JSON.parse(await run('report', ...args, '--json')) as Report;

async function put(reference: string, mediaType: string, body: Uint8Array): Promise<void> {
  const url = `http://${registry.host}/v2/app/manifests/${reference}`;
  const headers = { 'content-type': mediaType };
  const answer = await fetch(url, { method: 'PUT', headers, body: new Uint8Array(body) });
  assert.equal(answer.status, 201, await answer.text());
}

/** Pushes an image without a tag; gives its entry of an index. */
async function push(from: string, architecture: string): Promise<object> {
  const source = await openSource(from);
  const destination = await openDestination(`${target}:none`);
  const { bytes, descriptor } = source.root;
  const { manifest } = parseManifest(bytes, MEDIA.manifest) as { manifest: Manifest };
  for (const blob of [manifest.config, ...manifest.layers])
    await destination.putBlob(blob, await source.blob(blob));
  await put(descriptor.digest, MEDIA.manifest, bytes);
  await destination.close();
  await source.close();
  const { digest, size } = descriptor;
  return { mediaType: MEDIA.manifest, digest, size, platform: { os: 'linux', architecture } };
}

platforms.before(async () => {
  work = await mkdtemp('/var/tmp/rechunk-platforms-');
  registry = await startRegistry();
  target = `docker://${registry.host}/app`;
  for (const architecture of ARCHITECTURES) {
    const name = PRODUCTS[architecture];
    await writeReleases(join(work, architecture), { name, releases: RELEASES, architecture });
  }
  for (let release = 1; release <= RELEASES; release++) {
    const manifests: object[] = [];
    for (const architecture of ARCHITECTURES)
      manifests.push(await push(`oci:${work}/${architecture}:1.${release}`, architecture));
    const index = { schemaVersion: 2, mediaType: MEDIA.index, manifests };
    await put(`1.${release}`, MEDIA.index, Buffer.from(JSON.stringify(index)));
  }
});

platforms.after(async () => {
  await registry.stop();
  await rm(work, { recursive: true, force: true });
});

platforms('updates of each are put down to its own packages', async () => {
  const { updates, skipped } = await reportOn(target, '--files');
  assert.equal(skipped, undefined);
  assert.equal(updates.length, ARCHITECTURES.length * (RELEASES - 1));
  for (const { platform, to, bytes, floor, causes = [] } of updates) {
    const product = PRODUCTS[platform.replace('linux/', '') as keyof typeof PRODUCTS];
    const packages = causes.filter(({ component }) => component.startsWith('node:'));
    assert.deepEqual(
      packages.map(({ component }) => component.replace(/.*\//, '')).sort(),
      packagesChangedIn(product, to + 1).sort(),
    );
    assert.equal(
      causes.reduce((sum, cause) => sum + cause.bytes, 0),
      bytes,
    );
    assert.ok(floor !== undefined && floor <= bytes);
  }
});

platforms('what rechunking would come to is what builds for each come to', async () => {
  const { whatIf, skipped, headline } = await reportOn(target, '--what-if', `${RELEASES}`);
  assert.equal(skipped, undefined);
  assert.equal(whatIf?.updates.length, ARCHITECTURES.length * (RELEASES - 1));
  // The indexes stay as they are.
  assert.ok(headline.rechunked !== undefined);
  for (const architecture of ARCHITECTURES) {
    const platform = ['--platform', `linux/${architecture}`];
    const built = `oci:${work}/built-${architecture}`;
    for (let release = 1; release <= RELEASES; release++) {
      const previous = release > 1 ? ['--previous', `${built}:1.${release - 1}`] : [];
      const images = [`${target}:1.${release}`, `${built}:1.${release}`];
      await run('build', ...images, ...platform, ...previous);
    }
    const { updates } = await reportOn(built);
    const own: WhatIf['updates'] = (whatIf?.updates ?? []).filter(
      (one) => one.platform === `linux/${architecture}`,
    );
    assert.deepEqual(
      own.map(({ from, to, then }) => [from, to, then]),
      updates.map(({ from, to, bytes }) => [from, to, bytes]),
    );
  }
});

platforms('one of them can be asked for alone', async () => {
  const made = await reportOn(target, '--files', '--what-if', '2', '--platform', 'linux/arm64');
  const of = (list: readonly { readonly platform: string }[] | undefined): Set<string> =>
    new Set(list?.map(({ platform }) => platform));
  assert.deepEqual(of(made.updates.filter(({ causes }) => causes)), new Set(['linux/arm64']));
  assert.deepEqual(of(made.whatIf?.updates), new Set(['linux/arm64']));
  assert.equal(made.headline.rechunked, undefined);
});

platforms.run();
