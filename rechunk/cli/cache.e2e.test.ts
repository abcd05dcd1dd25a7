// needs: docker-registry, skopeo, python3
/** Builds with and without a cache against a registry's access log: what is read, and that the results are the same. */
import assert from 'node:assert/strict';
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { type BuiltImage as Fixture, writeLayout } from '../../test-images/build.ts';
import { jsonHere } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import { dir, file, type Member, packMembers } from '../../test-images/member.ts';
import { type AccessRecord, type Registry, startRegistry } from '../../test-images/registry.ts';
import { noise } from '../../test-images/sample.ts';
import type { BuildResult, DiffReport, PlanReport } from '../library.ts';

const cached = suite('cache');
const work = mkdtempSync('/var/tmp/rechunk-cached-');
const alpine = fileURLToPath(
  new URL('../../test-images/packages/apk/alpine-3.11.5-docker.tar.gz', import.meta.url),
);
const map = join(work, 'map');
const sources = join(work, 'sources');
let registry: Registry;

const LAYERS = 6;
const LAYER_BYTES = 1_000_000;

/** The members of layer `part`: what is large is its own component, something small lies with that of all others. */
function membersOf(part: number, version: string): Member[] {
  const content = noise(LAYER_BYTES, `${part} ${version}`).toString('latin1');
  return [
    dir('opt'),
    dir(`opt/${part}`),
    file(`opt/${part}/large`, content),
    file(`etc/conf${part}`, `${part}\n`.repeat(100)),
    file(
      `app/node_modules/p${part}/package.json`,
      `{"name":"p${part}","version":"${version}.0.0"}`,
    ),
  ];
}

async function writeImages(): Promise<Record<string, Fixture>> {
  const layers = await Promise.all(
    Array.from({ length: LAYERS }, async (_, i) => ({ tar: await packMembers(membersOf(i, '1')) })),
  );
  const whole = async (version: string): Promise<{ tar: Buffer }> => ({
    tar: await packMembers([...membersOf(0, '1'), ...membersOf(1, version)]),
  });
  const changed = { tar: await packMembers(membersOf(3, '2')) };
  const images = [
    { tag: 'old', layers },
    { tag: 'new', layers: layers.with(3, changed) },
    { tag: 'single-old', layers: [await whole('1')] },
    { tag: 'single-new', layers: [await whole('2')] },
    { tag: 'base', layers: layers.slice(0, 2) },
  ];
  const built = await writeLayout(sources, images);
  return Object.fromEntries(images.map(({ tag }, i) => [tag, built[i] as Fixture]));
}

let images: Record<string, Fixture>;
const sourceOf = (tag: string): string => `docker://${registry.host}/source:${tag}`;
const targetOf = (name: string): string => `docker://${registry.host}/${name}`;

cached.before(async () => {
  registry = await startRegistry();
  writeFileSync(map, Array.from({ length: LAYERS }, (_, i) => `/opt/${i}/** part${i}\n`).join(''));
  images = await writeImages();
  for (const tag of Object.keys(images)) {
    const to = ['--dest-tls-verify=false', sourceOf(tag)];
    await command('skopeo', ['copy', '-q', `oci:${sources}:${tag}`, ...to]);
  }
});

cached.after(async () => {
  await registry?.stop();
  rmSync(work, { recursive: true, force: true });
});

/** Results are kept by programs that say of which sources they are, as builds of them do: so does the one that is run here. */
const env = {
  NODE_OPTIONS: '--import=data:text/javascript,globalThis.SOURCES_DIGEST=%220123456789abcdef%22',
};

/** A build with the cache of that name; '' is none. */
function build(
  from: string,
  to: string,
  cache: string,
  ...options: string[]
): Promise<BuildResult> {
  const kept = cache === '' ? ['--no-cache'] : ['--cache', join(work, cache)];
  return jsonHere<BuildResult>(['build', from, to, '--map', map, ...kept, ...options], { env });
}

/** What was answered with a layer's bytes while `run` ran. */
async function layersRead(run: () => Promise<unknown>): Promise<AccessRecord[]> {
  const before = registry.accessLog().length;
  await run();
  const configs = Object.values(images).map(({ config }) => config.digest);
  return registry
    .accessLog()
    .slice(before)
    .filter(
      ({ method, path, status }) => method === 'GET' && status < 300 && path.includes('/blobs/'),
    )
    .filter(
      ({ path, bytes }) => bytes > 20_000 && !configs.some((digest) => path.includes(digest)),
    );
}

const sum = (records: readonly AccessRecord[]): number =>
  records.reduce((total, { bytes }) => total + bytes, 0);

cached('an image is read whole once, and then not at all', async () => {
  const first = await layersRead(() => build(sourceOf('old'), targetOf('app:1'), 'app'));
  assert.equal(first.length, LAYERS);
  let again: BuildResult | undefined;
  const read = await layersRead(async () => {
    again = await build(sourceOf('old'), targetOf('app:1'), 'app');
  });
  assert.deepEqual(read, []);
  assert.equal(again?.images[0]?.sentBytes, 0);
  const cold = await build(sourceOf('old'), targetOf('cold:1'), '');
  assert.equal(again?.digest, cold.digest);
});

cached('of an update only the layer that changed is read', async () => {
  let warm: BuildResult | undefined;
  const read = await layersRead(async () => {
    warm = await build(sourceOf('new'), targetOf('app:2'), 'app', '--previous', targetOf('app:1'));
  });
  const changed = images['new']?.layers[3];
  assert.ok(read.some(({ path }) => path.includes(changed?.digest ?? '?')));
  assert.ok(sum(read) <= 1.5 * (changed?.size ?? 0), `${sum(read)} bytes of ${changed?.size}`);
  const cold = await build(
    sourceOf('new'),
    targetOf('cold:2'),
    '',
    '--previous',
    targetOf('cold:1'),
  );
  assert.equal(warm?.digest, cold.digest);
  assert.ok((warm?.images[0]?.sentBytes ?? 0) < 1.5 * LAYER_BYTES);
});

cached('an image of one layer is read once when it changes, and the previous one not', async () => {
  await build(sourceOf('single-old'), targetOf('single:1'), 'single');
  let warm: BuildResult | undefined;
  const previous = ['--previous', targetOf('single:1')];
  const read = await layersRead(async () => {
    warm = await build(sourceOf('single-new'), targetOf('single:2'), 'single', ...previous);
  });
  assert.equal(read.length, 1);
  const cold = await build(sourceOf('single-new'), targetOf('other:2'), '', ...previous);
  assert.equal(warm?.digest, cold.digest);
});

cached(
  'layers that are likely to change are kept, and fetched again where they are damaged',
  async () => {
    const one = ['--max-layers', '1'];
    await build(sourceOf('old'), targetOf('kept:1'), 'kept', ...one);
    const [blob = ''] = globSync('rechunk-*/kept/*', { cwd: join(work, 'kept') });
    assert.ok(blob);
    const previous = [...one, '--previous', targetOf('kept:1')];
    const cold = await build(sourceOf('new'), targetOf('kept-cold:2'), '', ...previous);
    const update = async (to: string, cache: string): Promise<number> => {
      let warm: BuildResult | undefined;
      const read = await layersRead(async () => {
        warm = await build(sourceOf('new'), targetOf(to), cache, ...previous);
      });
      assert.equal(warm?.digest, cold.digest);
      return read.length;
    };
    cpSync(join(work, 'kept'), join(work, 'kept-damaged'), { recursive: true });
    const damaged = join(work, 'kept-damaged', blob);
    const bytes = readFileSync(damaged);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    writeFileSync(damaged, bytes);
    assert.equal(await update('kept:2', 'kept'), 1);
    assert.equal(await update('kept:3', 'kept-damaged'), 2);
  },
);

cached('plan and diff tell the same with the cache, and read nothing that is known', async () => {
  const run = async <T>(args: readonly string[]): Promise<T> => {
    const cold = await jsonHere<T>([...args, '--no-cache'], { env });
    const read = await layersRead(async () => {
      const kept = ['--cache', join(work, 'app')];
      assert.deepEqual(await jsonHere<T>([...args, ...kept], { env }), cold);
    });
    assert.deepEqual(read, []);
    return cold;
  };
  await run<PlanReport>(['plan', sourceOf('new'), '--previous', targetOf('app:2'), '--map', map]);
  const same = ['diff', sourceOf('old'), sourceOf('old'), '--map', map];
  assert.equal((await run<DiffReport>(same)).floor.files, 0);
});

/** Builds that must give the same with a cold, a filled and no cache; options that have nothing to do with each other stand together. */
const WAYS: Readonly<Record<string, readonly string[]>> = {
  plain: [],
  few: ['--compression', 'gzip', '--parents', 'shared', '--max-layers', '3'],
  times: [
    ...['--mtime', '2026-01-01', '--dir-mtime', 'keep', '--history', '2', '--all-platforms'],
    ...['--parents', 'delegate', '--delegate-fallback', 'neutral'],
  ],
  recompressed: ['--recompress'],
};

for (const [name, options] of Object.entries(WAYS)) {
  cached(`the result is the same with and without: ${name}`, async () => {
    const layout = (kind: string): string => `oci:${join(work, `way-${name}-${kind}`)}`;
    const digests: string[][] = [];
    for (const cache of ['', `way-${name}`]) {
      const made: string[] = [];
      for (const tag of ['old', 'new', 'new']) {
        const to = `${layout(cache)}:x`;
        made.push((await build(`oci:${sources}:${tag}`, to, cache, ...options)).digest);
      }
      digests.push(made);
    }
    assert.deepEqual(digests[1], digests[0]);
  });
}

cached('the result is the same with and without: --base', async () => {
  const digests: string[] = [];
  for (const cache of ['', 'based', 'based']) {
    const base = ['--base', `oci:${sources}:base`];
    const to = `oci:${join(work, `based-${cache}`)}:x`;
    digests.push((await build(`oci:${sources}:new`, to, cache, ...base)).digest);
  }
  assert.equal(new Set(digests).size, 1);
});

cached('the result is the same with and without: --together', async () => {
  const results: string[][] = [];
  for (const cache of ['', 'together', 'together']) {
    const kept = cache === '' ? ['--no-cache'] : ['--cache', join(work, cache)];
    const variants = [`oci:${sources}:old`, `oci:${sources}:new`];
    const to = ['--to', `oci:${join(work, `out-${cache}`)}:`, '--map', map];
    const args = ['build', ...kept, ...to, '--together', ...variants];
    const { results: built } = await jsonHere<{ results: BuildResult[] }>(args, { env });
    results.push(built.map(({ digest }) => digest));
  }
  assert.deepEqual(results[1], results[0]);
  assert.deepEqual(results[2], results[0]);
});

cached('a real image with package databases is the same, and is not read again', async () => {
  const store = join(work, 'alpine');
  await build(`docker-archive:${alpine}`, `oci:${store}:x`, '', '--max-layers', '1');
  const cold = await build(`oci:${store}:x`, `oci:${join(work, 'alpine-out')}:x`, 'alpine-cache');
  const { layers } = JSON.parse(
    String(await command('skopeo', ['inspect', '--raw', `oci:${store}:x`])),
  ) as { layers: { digest: string }[] };
  const blob = join(store, 'blobs', (layers[0]?.digest ?? '').replace(':', '/'));
  // Damaged, of the same size: nobody reads it.
  writeFileSync(blob, Buffer.alloc(readFileSync(blob).length));
  const warm = await build(`oci:${store}:x`, `oci:${join(work, 'alpine-out')}:x`, 'alpine-cache');
  assert.equal(warm.digest, cold.digest);
});

cached('a cache that cannot be used is told of, and the build goes on', async () => {
  const place = join(work, 'occupied');
  writeFileSync(place, '');
  const to = `oci:${join(work, 'occupied-out')}:x`;
  const { digest } = await build(`oci:${sources}:old`, to, 'occupied/below');
  assert.match(digest, /^sha256:/);
});

cached.run();
