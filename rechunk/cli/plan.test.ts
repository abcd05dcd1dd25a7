/** `rechunk plan` as a process: what it says of an image, of an earlier one, and the picture that it draws. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { openSource } from '../../registry/transport.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import { type DiffReport, type PlanReport, plan as planImage } from '../library.ts';

const plan = suite('plan');
const work = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-plan-'));
process.once('exit', () => rmSync(work, { recursive: true, force: true }));
const packages = fileURLToPath(new URL('../../test-images/packages/apk/', import.meta.url));
const source = `docker-archive:${packages}alpine-3.11.5-docker.tar.gz`;
const previous = `oci:${join(work, 'layout')}:previous`;
const few = ['--max-layers', '8'];

plan.before(async () => {
  await jsonHere(['build', source, previous, ...few]);
});

const run = (...options: string[]): Promise<PlanReport> =>
  jsonHere<PlanReport>(['plan', source, ...options]);

plan('says of every component what its chance rests on, and where it goes', async () => {
  const report = await run(...few);
  const { components, layers, observed, now } = report;
  assert.ok(report.updateBytes < report.updateChainBytes && report.updateChainBytes < report.size);
  assert.deepEqual([observed, now], [0, undefined]);
  for (const { id, source: rests, layer, changes } of components) {
    assert.equal(rests, id.startsWith('apk:') ? 'build' : 'prior', id);
    assert.ok(layers[layer - 1]?.components.includes(id), id);
    // A layer changes at least as often as what is in it.
    assert.ok(changes > 0 && changes <= (layers[layer - 1]?.changes ?? 0), id);
  }
  assert.deepEqual(
    layers.map(({ layer }) => layer),
    [...layers.keys()].map((i) => i + 1),
  );
});

plan('a report is plain data, with and without a base', async () => {
  const hostPlatform = { os: 'linux', architecture: 'amd64' };
  const opened = await openSource(source);
  const base = await openSource(previous);
  const run = { hostPlatform, threads: 1, tempDir: work };
  for (const options of [run, { ...run, base: async () => base }]) {
    const report = await planImage(opened, options);
    assert.deepEqual(report, JSON.parse(JSON.stringify(report)));
  }
  await Promise.all([opened.close(), base.close()]);
});

plan('with --previous: nothing moves where nothing changed', async () => {
  const { now, layers, components } = await run(...few, '--previous', previous);
  assert.deepEqual(now, { keptLayers: 8, pullBytes: 0, movedBytes: 0, chainBytes: 0 });
  assert.deepEqual(
    layers.map(({ previousLayer }) => previousLayer),
    [1, 2, 3, 4, 5, 6, 7, 8],
  );
  assert.ok(components.every(({ layer, previousLayer }) => layer === previousLayer));
});

plan(
  'with --previous and fewer layers: what is pulled now is told, all of it for what moves',
  async () => {
    const six = `oci:${join(work, 'layout')}:six`;
    const { now, layers } = await run('--max-layers', '6', '--previous', previous);
    assert.ok(now && now.keptLayers < 6 && now.pullBytes > 0);
    assert.equal(now.movedBytes, now.pullBytes);
    await jsonHere(['build', source, six, '--max-layers', '6', '--previous', previous]);
    // What is foretold is what happens, to the byte.
    const { update, ...diff } = await jsonHere<DiffReport>(['diff', previous, six]);
    assert.equal(now.pullBytes, update?.byBlob.bytes);
    assert.equal(now.chainBytes, update?.byChain.bytes);
    assert.equal(now.keptLayers, diff.layers.filter(({ state }) => state === 'shared').length);
    assert.deepEqual(
      layers.map(({ blobSize }) => blobSize),
      diff.layers.map(({ size }) => size),
    );
  },
);

plan(
  'a component alone in its layer changes as often as the layer, once updates were observed too',
  async () => {
    const pruned = ['--previous', previous, '--prune', '/etc/motd'];
    for (const options of [[], pruned]) {
      const { layers, components, observed } = await run(...options);
      assert.equal(observed, options.length > 0 ? 1 : 0);
      const alone = layers.filter((layer) => layer.components.length === 1);
      assert.ok(alone.length > 3);
      for (const { components: ids, changes } of alone)
        assert.equal(components.find(({ id }) => id === ids[0])?.changes, changes, ids[0]);
    }
  },
);

plan('a component that changed is pulled without having moved', async () => {
  const args = ['--max-layers', '100', '--prune', '/etc/motd'];
  const all = `oci:${join(work, 'layout')}:all`;
  await jsonHere(['build', source, all, '--max-layers', '100']);
  const { now, components, layers, observed } = await run(...args, '--previous', all);
  const changed = components.find(({ id }) => id === 'apk:alpine-baselayout');
  assert.equal(observed, 1);
  assert.deepEqual([changed?.observed, now?.movedBytes], [1, 0]);
  const number = changed?.layer ?? 0;
  assert.equal(now?.pullBytes, layers[number - 1]?.blobSize);
});

plan('the table: kept layers are marked, components are listed on demand', async () => {
  const short = await runHere(['plan', source, ...few, '--previous', previous, '--quiet']);
  assert.match(short.stdout, /^ {2}=1 +[\d.]+ [kM]B +[\d.]+% {2}build date +apk:/m);
  assert.match(
    short.stdout,
    /^now 8 layers are kept \(=\), and clients pull 0 B, about 0 B of it/m,
  );
  const all = await runHere(['plan', source, ...few, '--all', '--quiet']);
  assert.match(all.stdout, /^ +[\d.]+ kB +[\d.]+% {2}build date +apk:zlib$/m);
  assert.match(all.stdout, /^ +[\d.]+ kB +[\d.]+% {2}prior +database:apk$/m);
});

plan('--svg draws the same picture each time, and replaces an older one whole', async () => {
  const file = join(work, 'plan.svg');
  writeFileSync(file, 'older');
  await run('--svg', file);
  const first = readFileSync(file, 'utf8');
  assert.match(first, /^<svg xmlns.*<\/svg>\n$/s);
  await run('--svg', file, '--threads', '1');
  assert.equal(readFileSync(file, 'utf8'), first);
});

plan('a picture that cannot be written is trouble, and leaves nothing', async () => {
  const directory = join(work, 'taken.svg');
  await runHere(['plan', source, '--svg', join(directory, 'x.svg')]);
  const before = readdirSync(work);
  const missing = await runHere(['plan', source, '--quiet', '--svg', join(directory, 'x.svg')]);
  assert.deepEqual([missing.status, missing.stdout], [2, '']);
  assert.match(missing.stderr, /^rechunk: writing .*x\.svg: ENOENT/);
  // A directory stands where the file should be.
  const taken = await runHere(['plan', source, '--quiet', '--svg', work]);
  assert.equal(taken.status, 2);
  assert.deepEqual(readdirSync(work), before);
});

plan(
  'layers over --max-layer-size are told of: too few layers, or a file that is larger',
  async () => {
    const told = async (...args: string[]): Promise<string | undefined> => {
      const { status, stderr } = await runHere(['plan', source, ...args]);
      assert.equal(status, 0, stderr);
      return /note: (.* hold more than .*)/.exec(stderr)?.[1];
    };
    assert.match(
      (await told('--max-layers', '1', '--max-layer-size', '2MB')) ?? '',
      /^1 of 1 layers hold more than --max-layer-size 2\.0 MB, up to \d\.\d MB: no file is cut, and --max-layers comes first/,
    );
    assert.match(
      (await told('--max-layer-size', '2MB')) ?? '',
      /^1 of \d+ layers hold more .*, up to 2\.\d MB/,
    );
    assert.equal(await told('--max-layer-size', '20MB'), undefined);
  },
);

plan.run();
