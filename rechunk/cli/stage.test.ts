/** `rechunk stage` where no build is around it; how it fares in builds is tested in `plugin/containerfile`. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import { expectTrouble } from '../../test-images/trouble.ts';
import type { BuildResult, Verification } from '../library.ts';

const dir = mkdtempSync('/var/tmp/rechunk-stage-');
process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
const [tree, config] = [join(dir, 'tree'), join(dir, 'config.json')];
mkdirSync(join(tree, 'etc'), { recursive: true });
writeFileSync(join(tree, 'etc/a'), 'a');
const settings = { Labels: { kept: '1' }, Shell: ['/bin/sh'] };
const inspected = {
  OCIv1: {},
  Container: '',
  Config: JSON.stringify({ os: 'linux', architecture: 'amd64', config: settings }),
  ImageAnnotations: { kept: '2', added: '3' },
};
writeFileSync(config, JSON.stringify(inspected));

/** The labels of the only image of a layout, without the plan. */
function labelsIn(layout: string): Record<string, string> {
  const read = (digest: string): Record<string, never> =>
    JSON.parse(readFileSync(join(layout, 'blobs', digest.replace(':', '/')), 'utf8'));
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  const manifest = read(index.manifests[0].digest) as { config?: { digest: string } };
  const found = read(manifest.config?.digest ?? '') as {
    config?: { Labels: Record<string, string> };
  };
  const { 'dev.rechunk.plan': _, ...labels } = found.config?.Labels ?? {};
  return labels;
}

test('a directory becomes a layout, and what a final stage would lose is said', async () => {
  const out = join(dir, 'out');
  const said = await runHere(['stage', tree, `oci:${out}`, '--config', config]);
  assert.equal(said.status, 0, said.stderr);
  assert.match(said.stderr, /note: instructions after FROM oci: drop Shell; /);
  assert.match(said.stderr, /note: docker’s format has no annotations \(kept, added\); /);
  assert.deepEqual(labelsIn(out), { kept: '1' });
});

test('annotations become labels where there are none of that name; --label has the last word', async () => {
  const out = join(dir, 'labels');
  const args = ['stage', tree, `oci:${out}`, '--config', config, '--annotations-to-labels'];
  await jsonHere(args);
  assert.deepEqual(labelsIn(out), { kept: '1', added: '3' });
  await jsonHere([...args, '--label', 'added=4']);
  assert.deepEqual(labelsIn(out), { kept: '1', added: '4' });
});

test('what only earlier builds needed is removed from the layout; images of other names stay', async () => {
  const out = join(dir, 'grows');
  const blobs = (): string[] => readdirSync(join(out, 'blobs/sha256'));
  await jsonHere(['stage', tree, `oci:${out}:other`, '--fresh']);
  const others = blobs();
  const changing = join(dir, 'changing');
  mkdirSync(changing);
  const said: string[] = [];
  for (const text of ['first', 'second']) {
    writeFileSync(join(changing, 'file'), text);
    const { status, stderr } = await runHere(['stage', changing, `oci:${out}:app`]);
    assert.equal(status, 0, stderr);
    said.push(stderr);
  }
  assert.doesNotMatch(said[0] as string, /removed/);
  // Manifest, config and the layer that changed.
  assert.match(said[1] as string, /note: 3 blobs of earlier builds removed from .*grows, /);
  assert.ok(others.every((name) => blobs().includes(name)));
  await jsonHere(['inspect', `oci:${out}:other`]);
  const { equal } = await jsonHere<Verification>([
    'verify',
    `rootfs:${changing}`,
    `oci:${out}:app`,
  ]);
  assert.ok(equal);
});

test('--replace continues what is there under any name, and leaves nothing but the new image', async () => {
  const out = join(dir, 'replaced');
  const run = (name: string, ...more: readonly string[]): Promise<BuildResult> =>
    jsonHere(['stage', tree, `oci:${out}${name}`, '--config', config, ...more]);
  const first = await run('');
  const names = (): unknown[] => {
    const { manifests } = JSON.parse(readFileSync(join(out, 'index.json'), 'utf8'));
    return manifests.map(({ annotations }: { annotations?: Record<string, string> }) =>
      Object.values(annotations ?? {}),
    );
  };
  for (const name of ['1', '2']) {
    writeFileSync(join(tree, 'etc/a'), 'a'); // another time, which is inherited
    assert.equal((await run(`:build-${name}`, '--replace')).digest, first.digest);
    assert.deepEqual(names(), [[`build-${name}`]]);
  }
  await run(':build-3', '--replace', '--label', 'another=image');
  assert.deepEqual(names(), [['build-3']]);
  await expectTrouble(['inspect', `oci:${out}:build-1`], { code: 'not-found', says: /build-1/ });
  await expectTrouble(['stage', tree, `oci:${out}`, '--replace'], {
    code: 'usage',
    says: /--replace with oci:.*: want a name for the image, oci:DIR:NAME/,
  });
});

test('the layout of an earlier build is continued, unless --fresh', async () => {
  const out = join(dir, 'again');
  const args = ['stage', tree, `oci:${out}`, '--config', config];
  const first = await jsonHere<BuildResult>(args);
  const second = await jsonHere<BuildResult>(args);
  assert.equal(second.digest, first.digest);
  writeFileSync(join(tree, 'etc/a'), 'a');
  const { images } = await jsonHere<BuildResult>(args);
  assert.ok(
    images[0]?.layers.every(({ known }) => known),
    'the time is inherited',
  );
  const fresh = await jsonHere<BuildResult>([...args, '--fresh']);
  assert.ok(!fresh.images[0]?.layers.every(({ known }) => known));
});

test('what a config names ends no line', async () => {
  const [out, odd] = [join(dir, 'odd'), join(dir, 'odd.json')];
  const platform = { os: 'linux', architecture: 'amd64\n::error::' };
  writeFileSync(odd, JSON.stringify({ ...platform, config: { 'Sh\nell': 'x' } }));
  const { stdout, stderr } = await runHere(['stage', tree, `oci:${out}`, '--config', odd]);
  assert.match(stdout, /^linux\/amd64 ::error::: /m);
  assert.match(stderr, /^note: instructions after FROM oci: drop Sh ell; /m);
});

test('a layout without images is no earlier build', async () => {
  const out = join(dir, 'empty');
  mkdirSync(out);
  writeFileSync(join(out, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(out, 'index.json'), '{"schemaVersion":2,"manifests":[]}');
  const { digest } = await jsonHere<BuildResult>(['stage', tree, `oci:${out}`, '--config', config]);
  const { manifests } = JSON.parse(readFileSync(join(out, 'index.json'), 'utf8'));
  assert.deepEqual(
    manifests.map((entry: { digest: string }) => entry.digest),
    [digest],
  );
});

test('what makes no sense is refused', async () => {
  const absent = join(dir, 'absent');
  await expectTrouble(['stage', tree, `oci-archive:${absent}`], {
    code: 'usage',
    says: /writing to oci-archive:.*: want oci:DIR, which FROM oci:DIR reads/,
    absent,
  });
  await expectTrouble(['stage', join(dir, 'nowhere'), `oci:${absent}`], {
    code: 'usage',
    says: /there is no directory .*nowhere: want --mount=type=bind,from=STAGE,target=.*nowhere in the RUN/,
    absent,
  });
  await expectTrouble(['stage', tree, `oci:${absent}`, '--config', join(dir, 'no.json')], {
    code: 'not-found',
    says: /reading the config .*no\.json: ENOENT/,
    absent,
  });
});

test.run();
