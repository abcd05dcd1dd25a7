import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { packTar } from '../../registry/tarwriter.ts';
import { writeLayout } from '../../test-images/build.ts';
import { type CliResult, runHere } from '../../test-images/cli.ts';
import type { BuildResult } from '../rechunk.ts';

const test = suite('summaries');
const root = await mkdtemp(join(tmpdir(), 'rechunk-summary-'));
test.after(() => rm(root, { recursive: true, force: true }));

const big = Buffer.alloc(3_000_000, 'big ');
const layer = (text: string): { readonly tar: Buffer } => ({
  tar: packTar([
    { path: 'opt/big', content: big },
    { path: 'etc/motd', content: Buffer.from(text) },
  ]),
});
await writeLayout(join(root, 'one'), [{ tag: 'x', layers: [layer('one')] }]);
await writeLayout(join(root, 'two'), [{ tag: 'x', layers: [layer('two')] }]);

/** Builds `from` and gives what the files hold that it appended to. */
async function build(
  from: string,
  ...more: string[]
): Promise<{
  readonly result: BuildResult;
  readonly outputs: Record<string, string>;
  readonly summary: string;
}> {
  const [summary, outputs] = [join(root, 'summary.md'), join(root, 'outputs')];
  await rm(summary, { force: true });
  await rm(outputs, { force: true });
  const files = ['--summary-file', summary, '--outputs-file', outputs];
  const args = ['build', `oci:${root}/${from}:x`, `oci:${root}/out:x`, '--json', '--quiet'];
  const ended: CliResult = await runHere([...args, ...files, ...more]);
  assert.equal(ended.status, 0, ended.stderr);
  const lines = (await readFile(outputs, 'utf8')).trimEnd().split('\n');
  return {
    result: JSON.parse(ended.stdout),
    outputs: Object.fromEntries(lines.map((line) => line.split('=') as [string, string])),
    summary: await readFile(summary, 'utf8'),
  };
}

test('of a first build there is no update', async () => {
  const { result, outputs, summary } = await build('one');
  const [image] = result.images;
  assert.equal(image?.update, undefined);
  assert.deepEqual(outputs, {
    RECHUNK_DIGEST: result.digest,
    RECHUNK_LAYERS: String(image?.layers.length),
    RECHUNK_BYTES: String(image?.size),
  });
  assert.match(summary, /^### `oci:.*out:x` \(`linux\//);
  assert.match(summary, /\n\nNo earlier image: nodes pull every layer once\.\n$/);
});

test('the next says what nodes pull, and of which files', async () => {
  const { result, outputs, summary } = await build('two');
  const [image] = result.images;
  const fresh = image?.layers.filter(({ reused }) => !reused) ?? [];
  assert.equal(fresh.length, 1);
  const [{ size = 0 } = {}] = fresh;
  assert.deepEqual(image?.update?.byBlob, { layers: 1, bytes: size });
  assert.equal(outputs['RECHUNK_UPDATE_BYTES'], String(size));
  assert.equal(outputs['RECHUNK_UPDATE_LAYERS'], '1');
  assert.match(summary, /\*\*A node that has the old image pulls \d+ B in 1 of 2 layers,/);
  assert.match(summary, /#### Layers: 1 shared, 1 changed\n/);
  assert.match(summary, /1 file with other content/);
});

test('of an equal image nodes pull nothing', async () => {
  const { outputs, summary } = await build('two');
  assert.equal(outputs['RECHUNK_UPDATE_BYTES'], '0');
  assert.match(summary, /A node that has oci:.* pulls 0 B in 0 of 2 layers\.\n$/);
});

test('what a dry run would cost is told too', async () => {
  const { outputs, summary } = await build('one', '--dry-run');
  assert.ok(Number(outputs['RECHUNK_UPDATE_BYTES']) > 0);
  assert.match(summary, /; a dry run, nothing was stored\.\n/);
});

test('the text for people has a line of it', async () => {
  const { stdout } = await runHere(['build', `oci:${root}/one:x`, `oci:${root}/out:x`, '--quiet']);
  assert.match(stdout, /\na node that has oci:\S+ \([0-9a-f]{12}\) pulls \d+ B in 1 of 2 layers\n/);
});

test('files that cannot be written are told of before anything is done', async () => {
  for (const name of ['summary', 'outputs']) {
    const args = ['build', `oci:${root}/one:x`, `oci:${root}/never:x`, '--quiet'];
    const ended = await runHere([...args, `--${name}-file`, `${root}/none/file`]);
    assert.equal(ended.status, 2);
    assert.match(ended.stderr, new RegExp(`writing the ${name} to .*none/file: ENOENT`));
    assert.equal(existsSync(join(root, 'never')), false);
  }
});

test('several images have one line of digests', async () => {
  const outputs = join(root, 'several');
  const [one, two] = [`oci:${root}/one:x`, `oci:${root}/two:x`];
  await runHere(['build', one, `oci:${root}/both:a`, '--quiet']);
  await runHere(['build', two, `oci:${root}/both:b`, '--quiet']);
  const both = [`oci:${root}/both:a`, `oci:${root}/both:b`, '--to', `oci:${root}/out2:`];
  const args = ['build', '--together', ...both, '--json', '--quiet', '--outputs-file', outputs];
  const { stdout } = await runHere(args);
  const { results } = JSON.parse(stdout) as { readonly results: readonly BuildResult[] };
  const digests = results.map(({ digest }) => digest).join(',');
  assert.match(await readFile(outputs, 'utf8'), new RegExp(`^RECHUNK_DIGEST=${digests}\n`));
  assert.equal(digests.split(',').length, 2);
});

test.run();
