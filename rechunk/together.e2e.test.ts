// needs: python3, docker-registry, tar
/** Variants of one image in one run: what they share is stored once, and each is still what it was. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { type LayerInput, writeLayout } from '../test-images/build.ts';
import { jsonHere, runHere } from '../test-images/cli.ts';
import { file, type Member, packMembers } from '../test-images/member.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import type { BuildResult } from './rechunk.ts';

const together = suite('together');
const work = mkdtempSync('/var/tmp/rechunk-together-');
const packages = fileURLToPath(new URL('../test-images/packages/apk/', import.meta.url));
const variants = join(work, 'variants');
const TAGS = ['base', 'dev', 'driver'];
/** Fewer layers than there are components, as in any large image. */
const few = ['--max-layers', '6', '--insecure'];
let registry: Registry;

/** The only layer of a real Alpine image, with what a variant adds above it. */
async function variant(
  tag: string,
  added: readonly Member[],
): Promise<{ tag: string; layers: LayerInput[] }> {
  const directory = mkdtempSync(join(work, 'alpine-'));
  execFileSync('tar', ['-xzf', join(packages, 'alpine-3.11.5-docker.tar.gz'), '-C', directory]);
  const layer = readdirSync(directory, { recursive: true, encoding: 'utf8' }).find((name) =>
    name.endsWith('layer.tar'),
  );
  assert.ok(layer);
  const top = added.length > 0 ? [{ tar: await packMembers([...added]) }] : [];
  return { tag, layers: [{ tar: join(directory, layer) }, ...top] };
}

together.before(async () => {
  const tools = ['cc', 'ld', 'make'].map((name) =>
    file(`opt/tools/${name}`, `${name} `.repeat(100_000), { mode: 0o755 }),
  );
  const driver = [
    file('lib/firmware/driver.bin', 'driver '.repeat(150_000)),
    file('etc/motd', 'other\n'),
  ];
  await writeLayout(variants, [
    await variant('base', []),
    await variant('dev', tools),
    await variant('driver', driver),
  ]);
  registry = await startRegistry();
});

together.after(async () => {
  await registry.stop();
  rmSync(work, { recursive: true, force: true });
});

const sources = TAGS.map((tag) => `oci:${variants}:${tag}`);

/** Bytes of all blobs of a repository, each once. */
async function stored(repository: string): Promise<number> {
  const blobs = new Map<string, number>();
  for (const tag of TAGS) {
    const image = `docker://${registry.host}/${repository}:${tag}`;
    const { layers } = await jsonHere<{ layers: { digest: string; size: number }[] }>([
      'inspect',
      image,
      '--insecure',
    ]);
    for (const { digest, size } of layers) blobs.set(digest, size);
  }
  return [...blobs.values()].reduce((sum, size) => sum + size, 0);
}

const runTogether = (prefix: string, ...more: string[]): Promise<{ results: BuildResult[] }> =>
  jsonHere(['build', '--together', ...sources, '--to', prefix, ...few, ...more]);

together('three variants take at least a quarter less room than three runs apart', async () => {
  for (const [i, source] of sources.entries())
    await jsonHere(['build', source, `docker://${registry.host}/apart:${TAGS[i]}`, ...few]);
  const prefix = `docker://${registry.host}/together:`;
  const { results } = await runTogether(prefix, '--verify');
  assert.ok(results.every(({ images }) => images[0]?.verified && images[0].layers.length <= 6));
  const [apart, one] = [await stored('apart'), await stored('together')];
  assert.ok(one <= 0.75 * apart, `${one} bytes together, ${apart} apart`);
  for (const [i, source] of sources.entries()) {
    const { status, stdout } = await runHere([
      'verify',
      source,
      `${prefix}${TAGS[i]}`,
      '--insecure',
    ]);
    assert.equal(status, 0, stdout);
  }
});

together('again: every digest is the same, and no blob is sent', async () => {
  const prefix = `docker://${registry.host}/together:`;
  const before = await runTogether(prefix);
  const seen = registry.accessLog().length;
  const after = await runTogether(prefix);
  const digests = ({ results }: typeof after): string[] => results.map(({ digest }) => digest);
  assert.deepEqual(digests(after), digests(before));
  const sent = registry
    .accessLog()
    .slice(seen)
    .filter(({ method, path }) => /P(UT|ATCH)/.test(method) && /blobs/.test(path));
  assert.deepEqual(sent, []);
});

together('a layout takes them too, under tags of its own', async () => {
  const prefix = `oci:${join(work, 'out')}:next-`;
  const dry = await runTogether(prefix, '--dry-run');
  const { results } = await runTogether(prefix);
  const sent = (all: readonly BuildResult[]): number[] =>
    all.map(({ images }) => images[0]?.sentBytes ?? 0);
  assert.deepEqual(sent(dry.results), sent(results), 'a dry run tells what a run would store');
  const [base = 0, dev = 0] = sent(results);
  assert.ok(dev < base / 10, `${dev} bytes for what dev adds to ${base}`);
  assert.deepEqual(
    results.map(({ destination }) => destination.replace(/.*:/, '')),
    TAGS.map((tag) => `next-${tag}`),
  );
  for (const [i, source] of sources.entries()) {
    const to = `oci:${join(work, 'out')}:next-${TAGS[i]}`;
    assert.equal((await runHere(['verify', source, to, '--quiet'])).status, 0);
  }
});

together('what is bound to a variant is named, since it is not copied', async () => {
  const signed = join(work, 'signed');
  cpSync(variants, signed, { recursive: true });
  const path = join(signed, 'index.json');
  const index = JSON.parse(readFileSync(path, 'utf8'));
  const [base] = index.manifests;
  const name = `${base.digest.replace(':', '-')}.sig`;
  index.manifests.push({
    ...base,
    annotations: { 'org.opencontainers.image.ref.name': name },
  });
  writeFileSync(path, JSON.stringify(index));
  const { status, stderr } = await runHere([
    ...['build', '--together', `oci:${signed}:base`, `oci:${signed}:dev`],
    ...['--to', `oci:${join(work, 'dry')}:`, '--dry-run', ...few],
  ]);
  assert.equal(status, 0, stderr);
  const bound = stderr.split('\n').filter((line) => line.includes('is not copied'));
  assert.equal(bound.length, 1);
  assert.ok(bound[0]?.includes(` ${name} belongs to ${base.digest} `), bound[0]);
});

together('a variant that cannot be read stops all of them: no tag is set', async () => {
  const prefix = `oci:${join(work, 'none')}:`;
  const result = await runHere([
    'build',
    '--together',
    ...sources.slice(0, 2),
    `oci:${variants}:missing`,
    '--to',
    prefix,
    ...few,
  ]);
  assert.equal(result.status, 2);
  assert.match(result.stderr, /no image is named 'missing'/);
  assert.throws(() => readdirSync(join(work, 'none')));
});

together('arguments that make no sense are refused', async () => {
  const [base = '', dev = ''] = sources;
  for (const [args, says] of [
    [['--together', base, dev], /--together: want --to PREFIX too/],
    [['--together', base, '--to', 'oci:x:'], /got 1 image, want two or more/],
    [['--together', base, base, '--to', 'oci:x:'], /two images have the tag 'base'/],
    [['--together', base, `rootfs:${work}`, '--to', 'oci:x:'], /has no tag to name the result by/],
    [[base, 'oci:x:y', '--to', 'oci:x:'], /--to: want --together too/],
    [['--together', base, dev, '--to', 'oci:x:', '--tag', 'v1'], /one tag cannot name several/],
    [['--together', base, dev, '--to', 'oci:x:', '--all-platforms'], /want one of them/],
  ] as const) {
    const { status, stderr } = await runHere(['build', ...args]);
    assert.equal(status, 2);
    assert.match(stderr, says);
  }
});

together.run();
