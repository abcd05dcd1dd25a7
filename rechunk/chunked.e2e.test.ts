// needs: docker-registry
/** zstd:chunked to registries that serve several ranges at once, and to those that do not. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { CHUNKED_ANNOTATION } from '../registry/chunked/footer.ts';
import { packTar } from '../registry/tarwriter.ts';
import { writeLayout } from '../test-images/build.ts';
import { type CliResult, runHere } from '../test-images/cli.ts';
import { type FaultProxy, startProxy } from '../test-images/proxy.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { noise } from '../test-images/sample.ts';
import type { BuildResult } from './rechunk.ts';

const test = suite('chunked');
const directory = mkdtempSync(join(tmpdir(), 'rechunk-chunked-'));
const source = `oci:${directory}`;
const items = [{ path: 'a/' }, { path: 'a/file', content: noise(100_000, 'a') }];
let registry: Registry;
let proxy: FaultProxy;

test.before(async () => {
  await writeLayout(directory, [{ layers: [{ tar: packTar(items) }] }]);
  registry = await startRegistry();
  proxy = await startProxy(registry.host);
});
test.before.each(() => {
  proxy.fault = () => false;
  proxy.seen.length = 0;
});
test.after(async () => {
  await Promise.all([proxy.stop(), registry.stop()]);
  rmSync(directory, { recursive: true });
});

const build = (to: string, ...options: string[]): Promise<CliResult> =>
  runHere([
    'build',
    source,
    `docker://${proxy.host}/${to}`,
    '--compression',
    'zstd:chunked',
    '--json',
    ...options,
  ]);

/** Whether each layer's descriptor says where its table of contents lies. */
async function annotated(repository: string, { stdout }: CliResult): Promise<boolean[]> {
  const { digest } = JSON.parse(stdout) as BuildResult;
  const answer = await fetch(`http://${registry.host}/v2/${repository}/manifests/${digest}`, {
    headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
  });
  const { layers } = (await answer.json()) as {
    layers: { annotations: Record<string, string> }[];
  };
  return layers.map(({ annotations }) => CHUNKED_ANNOTATION.tocDigest in annotations);
}

const asked = (): number => proxy.seen.filter(({ headers }) => headers.range?.includes(',')).length;

test('a registry that serves several ranges gets annotations, and is asked once', async () => {
  const built = await build('good', '--verify');
  assert.deepEqual(await annotated('good', built), [true]);
  assert.equal(asked(), 1);
  assert.doesNotMatch(built.stderr, /pulled in part/);
});

test('one that does not gets the same layers without, and one note says so', async () => {
  proxy.fault = async ({ headers, fetch, reply }) =>
    headers.range?.includes(',') === true && reply(await fetch({ range: undefined }));
  const built = await build('whole');
  assert.deepEqual(await annotated('whole', built), [false]);
  assert.equal(built.stderr.match(/note: no layer can be pulled in part/g)?.length, 1);
  assert.match(built.stderr, /asked for two parts of a blob, it sends the whole/);
  const [image] = (JSON.parse(built.stdout) as BuildResult).images;
  assert.deepEqual(image?.partialPulls?.layers, 0);
  proxy.fault = () => false;
  const good = await build('good');
  const [other] = (JSON.parse(good.stdout) as BuildResult).images;
  assert.equal(image?.layers[0]?.digest, other?.layers[0]?.digest);
});

test('a dry run asks where a layer is there already, and else says that it does not know', async () => {
  const fresh = await build('dry', '--dry-run');
  assert.match(fresh.stderr, /note: a dry run does not know whether/);
  assert.equal(asked(), 0);
  const again = await build('good', '--dry-run');
  assert.doesNotMatch(again.stderr, /dry run does not know/);
  assert.equal(asked(), 1);
});

test.run();
