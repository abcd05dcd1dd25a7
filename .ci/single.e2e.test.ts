// needs: docker-registry, npx
/** The command line as one file, alone in a directory: what the sources do, on the oldest Node and on this one. */
import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import type { BuildResult } from '../rechunk/rechunk.ts';
import { type CliOptions, runCli, runJson } from '../test-images/cli.ts';
import { output } from '../test-images/command.ts';
import { nodeProgram } from '../test-images/node.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { buildSingle } from './single.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ALPINE = `docker-archive:${ROOT}test-images/packages/apk/alpine-3.11.5-docker.tar.gz`;
const PLATFORM = ['--platform', 'linux/amd64'];
const digests: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(`${ROOT}test-images/golden/alpine-3.11.5-digests.json`, 'utf8'),
);

const single = suite('single');
const work = mkdtempSync('/var/tmp/rechunk-single-');
const cwd = join(work, 'alone');
const entry = join(cwd, 'rechunk.cjs');
const alone: CliOptions = { entry, cwd };
let registry: Registry;

single.before(async () => {
  await buildSingle(entry);
  registry = await startRegistry();
});

single.after(async () => {
  await registry?.stop();
  rmSync(work, { recursive: true, force: true });
});

const OLDEST = '22.19.0';
for (const version of [OLDEST, process.versions.node]) {
  single(`on Node ${version} it gives the digests that the sources always gave`, async () => {
    const node = version === OLDEST ? await nodeProgram(version, work) : process.execPath;
    assert.equal(await output(node, ['--version']), `v${version}`);
    for (const [compression, want] of Object.entries(digests)) {
      const to = `oci:${join(work, `out-${version}-${compression}`)}:x`;
      const args = ['build', ALPINE, to, ...PLATFORM, '--compression', compression, '--verify'];
      const { digest } = await runJson<BuildResult>(args, { ...alone, node });
      assert.equal(digest, want, compression);
    }
    assert.deepEqual(readdirSync(cwd), ['rechunk.cjs'], 'nothing is left beside it');
  });
}

single(
  'together, from registry to registry, and zstd:chunked are what the sources make',
  async () => {
    const tags = ['a', 'b'];
    const first = `docker://${registry.host}/first`;
    for (const tag of tags) {
      const change = ['--label', `variant=${tag}`, '--insecure'];
      await runJson(['build', ALPINE, `${first}:${tag}`, ...PLATFORM, ...change]);
    }
    const sources = tags.map((tag) => `${first}:${tag}`);
    const digestsBy = async (name: string, options: CliOptions): Promise<string[]> => {
      const prefix = `docker://${registry.host}/${name}:`;
      const flags = ['--compression', 'zstd:chunked', '--max-layers', '6', '--insecure'];
      const args = ['build', '--together', ...sources, '--to', prefix, ...flags];
      const { results } = await runJson<{ results: BuildResult[] }>(args, options);
      return results.map(({ digest }) => digest);
    };
    const found = await digestsBy('single', alone);
    assert.equal(found.length, 2);
    assert.deepEqual(found, await digestsBy('sources', {}));
  },
);

single('it runs by itself under any name, says nothing needless, and draws', async () => {
  const bin = join(work, 'bin');
  mkdirSync(bin);
  symlinkSync(entry, join(bin, 'rechunk'));
  symlinkSync(process.execPath, join(bin, 'node'));
  const script = `exec 2>&1; rechunk plan ${ALPINE} --platform linux/amd64 --quiet --json --svg x.svg >/dev/null`;
  const env = { PATH: `${bin}:/usr/bin:/bin`, RECHUNK_NO_CACHE: 'true', NODE_OPTIONS: '' };
  assert.equal(await output('sh', ['-euc', script], { cwd: work, env }), '');
  assert.match(readFileSync(join(work, 'x.svg'), 'utf8'), /^<svg /);
});

single('what a thread complains of is told as ever', async () => {
  const layout = join(work, 'damaged');
  const to = `oci:${layout}:x`;
  const { images } = await runJson<BuildResult>(['build', ALPINE, to, ...PLATFORM], alone);
  const [{ digest } = { digest: '' }] = images[0]?.layers ?? [];
  const blob = join(layout, 'blobs', digest.replace(':', '/'));
  const bytes = readFileSync(blob);
  bytes.fill(0, bytes.length >> 1, (bytes.length >> 1) + 100);
  writeFileSync(blob, bytes);
  const args = ['build', to, `oci:${join(work, 'never')}:x`, '--quiet'];
  const said = await runCli(args, alone);
  assert.match(said.stderr, /^rechunk: reading layer 1 /);
  assert.deepEqual(said, await runCli(args));
});

single('a Node that is too old is told which one is wanted, and how to have it', async () => {
  const node = await nodeProgram('18.20.8', work);
  for (const file of [entry, join(ROOT, 'rechunk/cli/entry.cjs')]) {
    const script = `"${node}" "${file}" inspect x 2>&1 || echo "status $?"`;
    assert.equal(
      await output('sh', ['-c', script], { cwd }),
      `rechunk needs Node 22.19 or later, this is 18.20.8; run: npx -y node@24 ${file} inspect x\nstatus 2`,
    );
  }
});

single(
  'it is the same bytes wherever it is built, and names the licences of what it holds',
  async () => {
    const elsewhere = join(work, 'else/where');
    mkdirSync(elsewhere, { recursive: true });
    for (const name of [
      'package.json',
      'tsconfig.json',
      'LICENSE',
      'node_modules',
      'plugin',
      'rechunk',
      'registry',
    ])
      symlinkSync(join(ROOT, name), join(elsewhere, name));
    const other = join(work, 'other.cjs');
    await buildSingle(other, `${elsewhere}/`);
    const text = readFileSync(entry, 'utf8');
    assert.ok(readFileSync(other, 'utf8') === text);
    assert.ok(!text.includes(dirname(ROOT)));
    const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    for (const name of [...Object.keys(dependencies), 'echarts', 'zrender'])
      assert.match(text, new RegExp(`^${name} [\\d.]+: `, 'm'));
  },
);

single.run();
