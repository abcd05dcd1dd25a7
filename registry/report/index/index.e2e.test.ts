// needs: python3, tar
/** The index against oracles: trees that hostile images stand for, and figures that a script of Python counts from the tars. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { CASES, type Case } from '../../../test-images/cases.ts';
import { command } from '../../../test-images/command.ts';
import { factsOf, packLayer } from '../../../test-images/member.ts';
import { showPath } from '../../path.ts';
import type { Report } from '../report.ts';
import type { Row } from './engine.ts';
import { askFloors } from './floors.ts';
import { indexLayers, isInShard, parseShard } from './index.ts';
import { IndexReader } from './reader.ts';
import { sourceOf, startEngine, tagOf } from './samples.conformance.ts';
import { writeSnapshot } from './snapshot.ts';

const { engine, directory, close } = await startEngine();
const work = mkdtempSync('/var/tmp/rechunk-index-tars-');
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

const cases = await Promise.all(
  CASES.map(async (hostile) => {
    const tars = await Promise.all(hostile.layers.map(packLayer));
    return { hostile, layers: tars.map((tar) => sourceOf(tar)), tars };
  }),
);
const layers = cases.flatMap((one) => one.layers);
const tags = cases.map(({ hostile, layers: own }) => tagOf('cases', hostile.name, own));
const summary = await indexLayers(engine, layers, { directory });
await writeSnapshot(engine, directory, ['cases'], tags);
const reader = await IndexReader.open(engine, directory);

test('each layer is read once, however many images have it', async () => {
  const distinct = new Set(layers.map(({ diffId }) => diffId)).size;
  assert.ok(distinct < layers.length);
  assert.equal(summary.layers, distinct);
  assert.equal(
    layers.reduce((sum, { reads }) => sum + reads, 0),
    distinct,
  );
  const again = await indexLayers(engine, layers, { directory });
  assert.deepEqual([again.known, again.bytesRead], [distinct, 0]);
});

/** What the tree of a case says of each path, as the query tells it. */
function wanted(hostile: Case): Map<string, object> {
  const kinds: Readonly<Record<string, string>> = {
    ...{ f: 'file', d: 'dir', l: 'symlink', c: 'char', b: 'block', p: 'fifo' },
  };
  const rows = [...factsOf(hostile.tree)].map(([path, facts]) => {
    const { type, mode, uid, gid, size, mtime, sha256 } = facts;
    const row = {
      kind: kinds[type],
      mode: Number.parseInt(mode, 8),
      uid,
      gid,
      mtime,
      size,
      sha256,
    };
    return [showPath(path), row] as const;
  });
  return new Map(rows.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Tells a hard link as what it names, as a runtime would show it. */
async function found(image: string): Promise<Map<string, object>> {
  const rows = await reader.query('flatten', { image });
  const digests = await reader.sql(
    'SELECT DISTINCT file_id, lower(hex(digest)) AS digest FROM files',
  );
  const sha256 = new Map(digests.map((row) => [row['file_id'], row['digest']]));
  const paths = await reader.sql('SELECT DISTINCT path_id, path FROM paths');
  const names = new Map(paths.map((row) => [row['path_id'], row['path']]));
  const byPath = new Map(rows.map((row) => [row['path'], row]));
  const inode = (row: Row): Row => {
    if (row['kind'] !== 'link') return row;
    // What a link shares lies in its layer; else it names a path of the image.
    if (row['file_id'] !== null) return { ...row, kind: 'file' };
    const target = byPath.get(names.get(row['link_id'] as never) ?? '');
    return target ? inode(target) : row;
  };
  const shown = rows.map((row): readonly [string, object] => {
    const { kind, mode, uid, gid, mtime, mtime_ns, size, file_id } = inode(row);
    const path = row['path'] as string;
    if (kind === 'implied') return [path, { kind: 'dir' }];
    const time = BigInt(mtime as number) * 1_000_000_000n + BigInt(mtime_ns as number);
    const digest = sha256.get(file_id as never) ?? '';
    return [
      path,
      { kind, mode, uid, gid, mtime: time, size, sha256: kind === 'file' ? digest : '' },
    ];
  });
  const own = shown.filter(([path]) => path !== '');
  return new Map(own.sort(([a], [b]) => (a < b ? -1 : 1)));
}

cases.forEach(({ hostile }, i) => {
  test(`an image is flattened as runtimes show it: ${hostile.name}`, async () => {
    const image = tags[i]?.images[0].digest as string;
    const shown = await found(image);
    const want = wanted(hostile);
    // Nothing says what a directory is like that no layer defines.
    for (const [path, row] of shown)
      if (!('mode' in row) && want.has(path)) want.set(path, { kind: 'dir' });
    // A link's own attributes are those of the file too, when it is unpacked; the index has what each entry says.
    if (hostile.name === 'hard link entry with attributes of its own')
      want.set('a', shown.get('a') ?? {});
    assert.deepEqual(shown, want);
  });
});

const COUNT = `
import hashlib, json, sys, tarfile
copies = {}
for name in sys.argv[1:]:
    with tarfile.open(name) as tar:
        for member in tar:
            if member.isreg() and '.wh.' not in member.name:
                digest = hashlib.sha256(tar.extractfile(member).read()).hexdigest()
                copies.setdefault(digest, [member.size, 0, {}])
                copies[digest][1] += 1
                copies[digest][2][name] = 1
total = sum(size * n for size, n, _ in copies.values())
once = sum(size for size, n, _ in copies.values())
wasted = sorted(([d, s, n, len(l), (n - 1) * s] for d, (s, n, l) in copies.items() if n > 1 and s), key=lambda c: (-c[4], c[0]))
own = {}
for size, n, where in copies.values():
    if len(where) == 1:
        own[list(where)[0]] = own.get(list(where)[0], 0) + size
print(json.dumps({'files': sum(n for _, n, _ in copies.values()), 'bytes': total, 'contents': len(copies), 'content_bytes': once, 'wasted': wasted, 'own': own}))
`;

test('figures are those that a script counts from the tars', async () => {
  const tars = new Map(cases.flatMap((one) => one.tars).map((tar) => [sourceOf(tar).diffId, tar]));
  const names = [...tars].map(([diffId, tar]) => {
    const name = join(work, `${diffId}.tar`);
    writeFileSync(name, tar);
    return name;
  });
  const counted = JSON.parse(String(await command('python3', ['-c', COUNT, ...names])));
  const [headline] = await reader.query('headline');
  const { files, bytes, contents, content_bytes } = counted;
  const { layers: _, ...shown } = headline ?? {};
  // These layers are not compressed.
  const told = { files, bytes, contents, content_bytes, content_compressed: content_bytes };
  assert.deepEqual(shown, told);
  const duplicates = await reader.query('duplicates', { limit: 1000 });
  const wasted = duplicates.map((row) => {
    return [row['digest'], row['size'], row['copies'], row['layers'], row['wasted']];
  });
  const byWaste = (a: unknown[], b: unknown[]): number =>
    Number(b[4]) - Number(a[4]) || (String(a[0]) < String(b[0]) ? -1 : 1);
  assert.deepEqual(wasted.sort(byWaste), counted.wasted);
  const own = await reader.query('layers', { limit: 1000 });
  assert.equal(own.length, tars.size);
  for (const row of own)
    assert.equal(row['unique_bytes'], counted.own[join(work, `${row['diff_id']}.tar`)] ?? 0);
  const histogram = await reader.query('copies');
  const sum = (name: string): number => histogram.reduce((all, row) => all + Number(row[name]), 0);
  assert.equal(sum('contents'), contents);
  assert.equal(sum('wasted'), bytes - content_bytes);
  const lorenz = await reader.query('lorenz');
  assert.equal(
    lorenz.reduce((all, row) => all + Number(row['wasted']), 0),
    bytes - content_bytes,
  );
});

/** A report that asks for the floors of every pair of the cases. */
function allPairs(): Report {
  const blobs = new Map(layers.map((layer) => [layer.diffId, layer]));
  const diffIds = [...blobs.keys()];
  const images = tags.map(({ images: [{ digest, platform, layers: own }] }) => ({
    digest,
    platform,
    layers: own.map(({ diffId }) => diffIds.indexOf(diffId)),
  }));
  const report = {
    repositories: [{ name: 'cases' }],
    tags: images.map((image) => ({ repository: 0, images: [image] })),
    layers: [...blobs.values()].map(({ diffId, descriptor }) => {
      return { diffId, size: descriptor.size, uncompressed: descriptor.size };
    }),
    matrices: [{ repository: 0, platform: 'linux/amd64', tags: images.map((_, i) => i) }],
    updates: [],
  };
  return report as unknown as Report;
}

test('floors of all pairs at once are those that are asked for one by one', async () => {
  const floors = await askFloors(allPairs(), reader);
  assert.deepEqual(floors.skipped, []);
  let brings = 0;
  for (const [to, { images }] of tags.entries()) {
    // One pair for each image: every pair of the other way is a query of its own.
    const from = (to * 7 + 1) % tags.length;
    const pair = { from: tags[from]?.images[0].digest as string, to: images[0].digest };
    const [row] = await reader.query('floor', pair);
    const told = floors.between({ platform: 'linux/amd64', from, to });
    assert.equal(told, row?.['compressed'], `${tags[from]?.tag} -> ${tags[to]?.tag}`);
    if (told) brings++;
  }
  assert.ok(brings > 10, `${brings}`);
});

test('repositories that are too large for floors are named', async () => {
  const floors = await askFloors(allPairs(), reader, 10);
  assert.equal(floors.skipped.length, 1);
  assert.ok((floors.skipped[0]?.entries ?? 0) > 10);
  assert.equal(floors.between({ platform: 'linux/amd64', from: 0, to: 1 }), undefined);
});

test('no id stands for two things, and no layer is missing', async () => {
  assert.deepEqual(await reader.query('collisions'), []);
  assert.deepEqual(await reader.query('missing'), []);
});

test('a layer that is not indexed is named', async () => {
  const other = sourceOf(createHash('sha256').update('x').digest());
  await writeSnapshot(engine, directory, ['more'], [tagOf('more', 'x', [other])]);
  const more = await IndexReader.open(engine, directory);
  assert.deepEqual(await more.query('missing'), [{ diff_id: other.diffId }]);
  await writeSnapshot(engine, directory, ['more'], []);
});

test('shards share the layers, and write what one run writes', async () => {
  const shared = `${directory}-shared`;
  for (const text of ['0/3', '1/3', '2/3']) {
    const shard = parseShard(text);
    const done = await indexLayers(engine, layers, { directory: shared, shard, partEntries: 20 });
    const own = new Set(layers.map(({ diffId }) => diffId).filter((id) => isInShard(id, shard)));
    assert.equal(done.layers, own.size);
    assert.ok(own.size > 0);
  }
  await writeSnapshot(engine, shared, ['cases'], tags);
  const rows = 'SELECT * FROM entries ORDER BY ALL';
  const one = await (await IndexReader.open(engine, directory)).sql(rows);
  const all = await (await IndexReader.open(engine, shared)).sql(rows);
  assert.ok(one.length > 100);
  assert.deepEqual(all, one);
  rmSync(shared, { recursive: true });
});

test.after(close);
test.run();
