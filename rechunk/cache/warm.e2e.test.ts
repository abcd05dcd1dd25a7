// needs: tar, python3
/** Builds with a cache give what builds without give, whatever becomes of the cache. */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  globSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { suite } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import type { Source } from '../../registry/image.ts';
import { createLayout, openLayout } from '../../registry/layout.ts';
import type { Descriptor, Digest } from '../../registry/oci.ts';
import { writeLayout } from '../../test-images/build.ts';
import { dir, file, link, type Member, packMembers, whiteout } from '../../test-images/member.ts';
import { writeOdd } from '../../test-images/policies.ts';
import { noise } from '../../test-images/sample.ts';
import { type IndexedEntry, unpackBatch } from '../batch.ts';
import { type BuildOptions, type BuildResult, rechunk } from '../rechunk.ts';
import { parseMap } from '../repos/map.ts';
import { Cache } from './cache.ts';

const warm = suite('warm');
const work = mkdtempSync('/var/tmp/rechunk-warm-');
warm.after(() => rmSync(work, { recursive: true, force: true }));

const cacheAt = (name: string) =>
  ({ directory: join(work, name), limit: 1 << 30, version: '1', now: Date.now }) as const;

/** A source that notes which blobs were read. */
function watched(source: Source): Source & { readonly read: Digest[] } {
  const read: Digest[] = [];
  const blob = async (descriptor: Descriptor) => {
    const { file: place, stream } = await source.blob(descriptor);
    const content = () => stream();
    async function* counted(): AsyncGenerator<Uint8Array> {
      read.push(descriptor.digest);
      yield* content();
    }
    assert.ok(place);
    return { stream: counted };
  };
  return {
    ...source,
    read,
    blob,
    document: (one) => source.document(one),
    close: () => source.close(),
  };
}

interface Built extends BuildResult {
  /** Blobs of the source that were read. */
  readonly read: readonly Digest[];
  /** Blobs of the previous image that were read. */
  readonly readBefore: readonly Digest[];
  readonly notices: readonly string[];
}

/** Rechunks `from` into `to` (layouts, below the work directory), as a run of its own. */
async function build(
  from: string,
  to: string,
  {
    cache,
    previous,
    ...options
  }: Partial<BuildOptions> & { cache?: string; previous?: string } = {},
): Promise<Built> {
  const source = watched(await openLayout(join(work, from)));
  const before = previous === undefined ? [] : [watched(await openLayout(join(work, previous)))];
  const destination = await createLayout(join(work, to));
  const notices: string[] = [];
  try {
    const result = await rechunk(source, destination, {
      hostPlatform: { os: 'linux', architecture: 'amd64' },
      threads: 2,
      tempDir: work,
      repos: [parseMap('/data/* each\n/opt/a/** a\n/opt/b/** b\n/opt/c/** c\n', 'map')],
      memory: { previous: before },
      request: JSON.stringify(options),
      ...(cache === undefined ? {} : { cache: cacheAt(cache) }),
      onNotice: (notice) => void notices.push(notice),
      ...options,
    });
    const readBefore = before.flatMap(({ read }) => read);
    return { ...result, read: source.read, readBefore, notices };
  } finally {
    for (const one of [source, ...before, destination]) await one.close();
  }
}

const LAYER_BYTES = 400_000;
const content = (name: string): string => noise(LAYER_BYTES, name).toString('latin1');

/** Layers whose components are theirs, but for one that has something of all. */
async function writeImage(
  name: string,
  versions: readonly [string, string, string],
  more: Readonly<Partial<Record<'a' | 'b' | 'c', readonly Member[]>>> = {},
): Promise<void> {
  const members = (part: 'a' | 'b' | 'c', version: string): Member[] => [
    dir('opt'),
    dir(`opt/${part}`),
    file(`opt/${part}/large`, content(`${part} ${version}`)),
    link(`opt/${part}/again`, `opt/${part}/large`),
    file(`opt/${part}/empty`, ''),
    dir('srv'),
    file(`srv/${part}`, content(`srv ${part}`)),
    // Read to find components.
    file(`app/node_modules/${part}/package.json`, `{"name":"${part}","version":"1.0.0"}`),
    ...(more[part] ?? []),
  ];
  const layers = await Promise.all(
    (['a', 'b', 'c'] as const).map(async (part, i) => ({
      tar: await packMembers(members(part, versions[i] as string)),
    })),
  );
  await writeLayout(join(work, name), [{ layers }]);
}

/** All entries of the layer `diffId` as the cache has them. */
async function entriesIn(cache: string, diffId: Digest): Promise<IndexedEntry[]> {
  const open = (await Cache.open(cacheAt(cache), (notice) => assert.fail(notice))) as Cache;
  const layer = await open.findLayer(diffId);
  assert.ok(layer, `${diffId} is in the cache ${cache}`);
  const entries = [...layer.batches].flatMap((batch) => [...unpackBatch(batch)]);
  await open.close();
  return entries;
}

warm.before(async () => {
  await writeOdd(join(work, 'odd'));
  await writeImage('one', ['1', '1', '1']);
  await writeImage('two', ['1', '2', '1']);
});

warm('what is remembered of a written layer is what reading it finds', async () => {
  for (const name of ['odd', 'one']) {
    const { images } = await build(name, `${name}-out`, {
      cache: `${name}-write`,
      policy: { dirMtime: 'keep' },
    });
    await build(`${name}-out`, `${name}-again`, { cache: `${name}-read` });
    const layers = images[0]?.layers ?? [];
    assert.ok(layers.length > 0);
    for (const { diffId } of layers) {
      const written = await entriesIn(`${name}-write`, diffId);
      assert.ok(written.length > 0);
      assert.deepEqual(written, await entriesIn(`${name}-read`, diffId));
    }
  }
});

warm('an unchanged image is not read, nor the previous one, and gives the same', async () => {
  const cold = await build('one', 'unchanged', { cache: 'unchanged-cache' });
  assert.equal(cold.read.length, 3);
  const again = await build('one', 'unchanged', {
    cache: 'unchanged-cache',
    previous: 'unchanged',
  });
  assert.deepEqual([again.read, again.readBefore], [[], []]);
  assert.deepEqual([again.digest, again.images[0]?.sentBytes], [cold.digest, 0]);
});

/** A copy of the image, without the blob. */
function withoutLayer(name: string, digest: string): void {
  cpSync(join(work, name), join(work, `${name}-holed`), { recursive: true });
  rmSync(join(work, `${name}-holed/blobs`, digest.replace(':', '/')));
}

warm('of an image with one changed layer, that layer is read and no other', async () => {
  const before = await build('one', 'changed', { cache: 'changed-cache' });
  const cold = await build('two', 'changed-cold', { previous: 'changed' });
  const options = { cache: 'changed-cache', previous: 'changed' };
  const after = await build('two', 'changed', options);
  assert.equal(cold.read.length, 3);
  const changed = cold.read.filter((digest) => !before.read.includes(digest));
  assert.equal(changed.length, 1);
  assert.deepEqual([after.read, after.readBefore], [changed, []]);
  assert.equal(after.digest, cold.digest);
  const again = await build('two', 'changed', { ...options, previous: 'changed' });
  assert.deepEqual([again.read, again.readBefore, again.digest], [[], [], cold.digest]);
});

warm('content is fetched from where it costs least, earlier images included', async () => {
  const ballast = file('var/ballast', content('ballast').repeat(5));
  const gone = {
    a: [ballast],
    b: [whiteout('var/ballast'), { ...ballast, path: 'var/more' }],
    c: [whiteout('var/more')],
  };
  await writeImage('heavy-1', ['1', '1', '1'], gone);
  await writeImage('heavy-2', ['1', '1', '2'], gone);
  // What did not change lies in two layers of the image with what nobody sees, and in one layer of the earlier image without.
  const one = { maxLayers: 1 };
  await build('heavy-1', 'supply', { ...one, cache: 'supply-cache' });
  const cold = await build('heavy-2', 'supply-cold', { ...one, previous: 'supply' });
  const options = { ...one, cache: 'supply-cache', previous: 'supply' };
  const after = await build('heavy-2', 'supply-warm', options);
  assert.equal(after.digest, cold.digest);
  assert.deepEqual([after.read.length, after.readBefore.length], [1, 1]);
  // And from the image where the earlier one cannot be read.
  cpSync(join(work, 'supply-cache'), join(work, 'supply-lost'), { recursive: true });
  rmSync(join(work, 'supply/blobs', (after.readBefore[0] as Digest).replace(':', '/')));
  const alone = { ...options, cache: 'supply-lost', policy: { inherit: 'none' } } as const;
  const lost = await build('heavy-2', 'supply-other', alone);
  assert.equal(lost.digest, cold.digest);
});

warm('a layer that its source no longer has is missed, whatever is remembered of it', async () => {
  const [first] = (await build('one', 'missed', { cache: 'missed-cache' })).read;
  withoutLayer('one', first as Digest);
  const again = build('one-holed', 'missed', { cache: 'missed-cache', previous: 'missed' });
  await assert.rejects(again, { code: 'not-found' });
});

warm('damage to any file of the cache costs work and changes nothing', async () => {
  await build('one', 'poison', { cache: 'poison-cache' });
  const cold = await build('two', 'poison-cold', { previous: 'poison' });
  await build('two', 'poison-warm', { previous: 'poison', cache: 'poison-cache' });
  const files = globSync('rechunk-*/*/*', { cwd: join(work, 'poison-cache') });
  const kinds = new Set(files.map((path) => path.split('/').at(-2)));
  assert.equal([...kinds].sort().join(' '), 'blob content entries fingerprint layer result');
  let found = 0;
  for (const [i, path] of files.entries()) {
    cpSync(join(work, 'poison-cache'), join(work, 'poisoned'), { recursive: true });
    // A remembered result would be all that is asked for.
    if (!path.includes('/result/'))
      for (const result of globSync('rechunk-*/result', { cwd: join(work, 'poisoned') }))
        rmSync(join(work, 'poisoned', result), { recursive: true });
    const poisoned = join(work, 'poisoned', path);
    const bytes = readFileSync(poisoned);
    const at = (i * 7919) % bytes.length;
    bytes[at] = (bytes[at] as number) ^ 0x20;
    writeFileSync(poisoned, bytes);
    const options = { cache: 'poisoned', previous: 'poison' };
    const { digest, notices } = await build('two', 'poison-out', options);
    assert.doesNotMatch(notices.join(), /cache/);
    assert.equal(digest, cold.digest, path);
    if (!existsSync(poisoned) || !readFileSync(poisoned).equals(bytes)) found++;
    rmSync(join(work, 'poisoned'), { recursive: true });
  }
  // Layers that are not asked for stay as they are.
  assert.ok(found > files.length / 2, `${found} of ${files.length} were found out`);
});

warm('a build that was done before is done again only where something of it is gone', async () => {
  const options = { cache: 'repeat-cache' };
  const first = await build('one', 'repeat', options);
  for (const previous of [undefined, 'repeat']) {
    const again = await build('one', 'repeat', { ...options, ...(previous && { previous }) });
    assert.deepEqual([again.read, again.notices], [[], first.notices]);
    assert.deepEqual([again.digest, again.images[0]?.sentBytes], [first.digest, 0]);
    const [before, after] = [first.images[0]?.layers ?? [], again.images[0]?.layers ?? []];
    const expected = before.map((layer) => ({ ...layer, reused: true, known: true }));
    assert.deepEqual(after, expected);
  }
  const other = await build('one', 'repeat', { ...options, maxLayers: 1 });
  assert.notEqual(other.digest, first.digest);
  const elsewhere = await build('one', 'repeat-elsewhere', options);
  assert.deepEqual([elsewhere.digest, elsewhere.read.length], [first.digest, 3]);
  const [gone] = first.images[0]?.layers ?? [];
  rmSync(join(work, 'repeat/blobs', String(gone?.digest).replace(':', '/')));
  const mended = await build('one', 'repeat', options);
  assert.equal(mended.digest, first.digest);
  assert.ok((mended.images[0]?.sentBytes ?? 0) > 0);
});

warm('an update that is built again upon itself was done before', async () => {
  const options = { cache: 'settled-cache', policy: { inherit: 'none' } } as const;
  await build('one', 'settled', options);
  const update = await build('two', 'settled', { ...options, previous: 'settled' });
  const results = (): number =>
    globSync('rechunk-*/result/*', { cwd: join(work, 'settled-cache') }).length;
  const known = results();
  const again = await build('two', 'settled', { ...options, previous: 'settled' });
  assert.deepEqual([again.digest, again.images[0]?.sentBytes], [update.digest, 0]);
  // What is done is remembered under another name.
  assert.equal(results(), known);
});

warm('an error is told when nothing is fetched any more, also if nobody waits', async () => {
  await writeImage('awaited-1', ['1', '1', '1']);
  await writeImage('awaited-2', ['1', '1', '1'], { c: [file('srv/more', content('more'))] });
  const parts = ['a', 'b', 'c'].map((part) => `/opt/${part}/** ${part}\n/srv/${part} ${part}\n`);
  const repos = [parseMap(parts.join(''), 'map')];
  await build('awaited-1', 'awaited', { cache: 'awaited-cache', repos });
  const destination = await createLayout(join(work, 'awaited-out'));
  let [begun, ended] = [0, 0];
  const openSlow = async (name: string): Promise<Source> => {
    const source = watched(await openLayout(join(work, name)));
    const blob = async (descriptor: Descriptor) => {
      const { stream } = await source.blob(descriptor);
      async function* slow(): AsyncGenerator<Uint8Array> {
        begun++;
        await wait(300);
        yield* stream();
        ended++;
      }
      return { stream: slow };
    };
    return { ...source, blob };
  };
  const refuse = () => Promise.reject(new RechunkError('io', 'refused'));
  const run = rechunk(
    await openSlow('awaited-2'),
    Object.assign(Object.create(destination), { has: refuse }),
    {
      hostPlatform: { os: 'linux', architecture: 'amd64' },
      // Two writers: the layer that needs what is fetched is the smallest, and not begun.
      threads: 1,
      tempDir: work,
      repos,
      memory: { previous: [await openSlow('awaited')] },
      cache: cacheAt('awaited-cache'),
    },
  );
  await assert.rejects(run, /refused/);
  await destination.close();
  // The layer that is new, and what else is needed of others.
  assert.deepEqual([begun, ended], [2, 2]);
});

/** Open files of this process whose names have `part` in them, removed ones too. */
function openFiles(part: string): string[] {
  const targets = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(join('/proc/self/fd', fd));
    } catch {
      return []; // the directory's own, which is closed
    }
  });
  return targets.filter((target) => target.includes(part));
}

warm('of a layer that turns out to be damaged nothing is left open', async () => {
  // More than is gathered before a file is made for it.
  const members = Array.from({ length: 20_000 }, (_, i) => file(`data/${i}`, `${i}`));
  const [image] = await writeLayout(join(work, 'broken'), [
    { layers: [{ tar: await packMembers([...members, file('last', 'x')]), compression: 'none' }] },
  ]);
  const blob = join(work, 'broken/blobs', String(image?.layers[0]?.digest).replace(':', '/'));
  const bytes = readFileSync(blob);
  const at = bytes.lastIndexOf('x\0');
  bytes[at] = 0x79;
  writeFileSync(blob, bytes);
  await assert.rejects(build('broken', 'broken-out', { cache: 'broken-cache' }), {
    code: 'digest-mismatch',
  });
  assert.deepEqual(openFiles('broken-cache'), []);
});

/** What may become of a blob that is kept. */
const DAMAGE: Readonly<Record<string, (blob: Buffer) => Buffer>> = {
  empty: () => Buffer.alloc(0),
  cut: (blob) => blob.subarray(0, blob.length >> 1),
  zeroed: (blob) => Buffer.alloc(blob.length),
  'zeroed behind its head': (blob) => Buffer.concat([blob.subarray(0, 16)], blob.length),
};

for (const [name, damage] of Object.entries(DAMAGE)) {
  warm(`a kept blob that is ${name} is read from the source, and kept no more`, async () => {
    const store = `spoilt-${name}`;
    await build('one', store, { cache: `${store}-cache`, compression: 'gzip' });
    const cold = await build(store, `${store}-cold`, { maxLayers: 1 });
    const cache = (await Cache.open(cacheAt(`${store}-cache`), assert.fail)) as Cache;
    for (const digest of cold.read) {
      const blob = readFileSync(join(work, store, 'blobs', digest.replace(':', '/')));
      const path = join(work, `${store}-blob-${digest.slice(-8)}`);
      writeFileSync(path, damage(blob));
      await cache.keepBlob(digest, path);
    }
    await cache.close();
    const one = { cache: `${store}-cache`, maxLayers: 1 };
    const warmed = await build(store, `${store}-out`, one);
    assert.deepEqual([warmed.digest, warmed.read.toSorted()], [cold.digest, cold.read.toSorted()]);
    assert.deepEqual(globSync('rechunk-*/kept/*', { cwd: join(work, `${store}-cache`) }), []);
  });
}

warm('what proves does not use the cache', async () => {
  const cold = await build('one', 'proved', { cache: 'proved-cache' });
  const options = { cache: 'proved-cache', previous: 'proved', verify: true };
  const again = await build('one', 'proved', options);
  assert.equal(again.read.length, 3);
  assert.equal(again.digest, cold.digest);
});

warm.run();
