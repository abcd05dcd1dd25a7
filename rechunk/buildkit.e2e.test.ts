// needs: skopeo
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { digestOf, MEDIA } from '../registry/oci.ts';
import { type CliResult, runCli, runJson } from '../test-images/cli.ts';
import { command, output } from '../test-images/command.ts';
import type { BuildResult } from './rechunk.ts';

const test = suite('archives of BuildKit');
const archives = fileURLToPath(new URL('../test-images/buildkit/', import.meta.url));
const root = await mkdtemp(join(tmpdir(), 'rechunk-buildkit-'));
const temp = join(root, 'tmp');
await mkdir(temp);
test.after(() => rm(root, { recursive: true, force: true }));

/** Runs with an archive on standard input, as behind `docker buildx build -o type=oci,dest=-`. */
const piped = (archive: string, ...parameters: string[]): Promise<CliResult> =>
  runCli(parameters, { stdin: createReadStream(archive), env: { TMPDIR: temp } });

async function build(archive: string, to: string, ...more: string[]): Promise<BuildResult> {
  const parameters = ['build', '-', to, '--json', '--verify', ...more];
  const { status, stdout, stderr } = await piped(archive, ...parameters);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

interface Inspected {
  readonly annotations?: Record<string, string>;
  readonly manifests?: readonly { readonly digest: string; readonly platform: object }[];
}

const raw = async (image: string, ...more: string[]): Promise<Inspected> =>
  JSON.parse(await output('skopeo', ['inspect', '--raw', ...more, image]));

for (const name of ['single', 'zstd', 'docker', 'index', 'saved']) {
  test(`${name}.tar is read from a pipe, and config and files stay as BuildKit made them`, async () => {
    const out = `oci:${root}/${name}:out`;
    const { images } = await build(join(archives, `${name}.tar`), out);
    assert.equal(images[0]?.verified, true);
    const kind = name === 'docker' ? 'docker-archive' : 'oci-archive';
    const compared = await runCli([
      'verify',
      `${kind}:${archives}${name}.tar`,
      out,
      '--platform',
      'linux/amd64',
    ]);
    assert.equal(compared.status, 0, compared.stderr);
    const { config, history } = (await raw(out, '--config')) as never as {
      config: Record<string, unknown>;
      history: { created_by: string }[];
    };
    assert.deepEqual(config['Healthcheck'], {
      Test: ['CMD', '/bin/tool'],
      Interval: 30_000_000_000,
    });
    assert.equal(config['User'], '1000');
    assert.ok(history.some(({ created_by }) => created_by === 'USER 1000'));
    assert.deepEqual(await readdir(temp), []);
  });
}

test('all of them give the same layers', async () => {
  const layers = new Set<string>();
  for (const name of ['single', 'zstd', 'docker', 'index', 'saved']) {
    const { images } = await build(
      join(archives, `${name}.tar`),
      `oci:${root}/same:${name}`,
      '--fresh',
    );
    layers.add(JSON.stringify(images[0]?.layers.map(({ digest }) => digest)));
  }
  assert.equal(layers.size, 1);
});

test('annotations of the build stay', async () => {
  await build(join(archives, 'single.tar'), `oci:${root}/annotated:1`);
  const { annotations } = await raw(`oci:${root}/annotated:1`);
  assert.equal(annotations?.['org.opencontainers.image.description'], 'described');
});

for (const name of ['index', 'saved']) {
  test(`every platform of ${name}.tar is rechunked; attestations of the old digests are named, and left out`, async () => {
    const archive = join(archives, `${name}.tar`);
    const out = `oci:${root}/all-${name}:1`;
    const { status, stderr } = await piped(archive, 'build', '-', out, '--all-platforms');
    assert.equal(status, 0, stderr);
    assert.equal(stderr.match(/attestation/g)?.length, 2, stderr);
    const { manifests = [] } = await raw(out);
    assert.deepEqual(
      manifests.map(({ platform }) => platform),
      [
        { architecture: 'amd64', os: 'linux' },
        { architecture: 'arm64', os: 'linux' },
      ],
    );
    for (const platform of ['linux/amd64', 'linux/arm64']) {
      const parameters = ['verify', `oci-archive:${archive}`, out, '--platform', platform];
      const compared = await runCli(parameters);
      assert.equal(compared.status, 0, compared.stderr);
    }
  });
}

test('one platform is picked from a pipe by name', async () => {
  const { images } = await build(
    join(archives, 'index.tar'),
    `oci:${root}/arm:1`,
    '--platform',
    'linux/arm64',
  );
  assert.deepEqual(
    images.map(({ platform }) => platform),
    ['linux/arm64'],
  );
});

test('an index within an index is looked into, for one platform and for all', async () => {
  const dir = join(root, 'nested');
  await mkdir(dir);
  await command('tar', ['-xf', join(archives, 'index.tar'), '-C', dir]);
  const index = JSON.parse(await readFile(join(dir, 'index.json'), 'utf8'));
  const outer = JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA.index,
    manifests: index.manifests,
  });
  const digest = digestOf(outer);
  await writeFile(join(dir, 'blobs', digest.replace(':', '/')), outer);
  const manifests = [{ mediaType: MEDIA.index, digest, size: outer.length }];
  await writeFile(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  await command('tar', ['-cf', `${dir}.tar`, '-C', dir, '.']);
  const one = await build(`${dir}.tar`, `oci:${root}/nested-out:1`, '--platform', 'linux/arm64');
  assert.deepEqual(
    one.images.map(({ platform }) => platform),
    ['linux/arm64'],
  );
  const all = await build(`${dir}.tar`, `oci:${root}/nested-out:all`, '--all-platforms');
  const flat = await build(
    join(archives, 'index.tar'),
    `oci:${root}/nested-out:flat`,
    '--all-platforms',
  );
  assert.deepEqual(
    all.images.map(({ platform, digest: own }) => [platform, own]),
    flat.images.map(({ platform, digest: own }) => [platform, own]),
  );
  const listed = await raw(`oci:${root}/nested-out:all`);
  assert.deepEqual(
    listed.manifests?.map(({ digest: own }) => own),
    all.images.map(({ digest: own }) => own),
  );
});

test('an archive that is cut short, or nothing at all, is refused, and nothing is left', async () => {
  const whole = await readFile(join(archives, 'index.tar'));
  for (const [name, bytes, message] of [
    ['cut', whole.subarray(0, 12_000), /reading -: /],
    [
      'empty',
      Buffer.alloc(0),
      /reading -: .*nothing came: want an archive; did the program before/,
    ],
    ['text', Buffer.from('ERROR: failed to build: no such file\n'), /reading -: /],
  ] as const) {
    const file = join(root, name);
    await writeFile(file, bytes);
    const { status, stderr } = await piped(file, 'build', '-', `oci:${root}/refused:1`);
    assert.equal(status, 2, name);
    assert.match(stderr, message);
    assert.ok(!(await readdir(root)).includes('refused'), name);
    assert.deepEqual(await readdir(temp), []);
  }
});

test('a directory that buildx wrote (tar=false) is an OCI layout', async () => {
  const dir = join(root, 'layout');
  await mkdir(dir);
  await command('tar', ['-xf', join(archives, 'index.tar'), '-C', dir]);
  const { images } = await runJson<BuildResult>([
    'build',
    `oci:${dir}`,
    `oci:${root}/l:1`,
    '--all-platforms',
  ]);
  assert.equal(images.length, 2);
});

test.run();
