// needs: python3, docker-registry
/** What a build takes from earlier images: layers as they are, what changed when; and what it does not believe of them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import { type ImageInput, writeLayout } from '../test-images/build.ts';
import { jsonHere, runHere } from '../test-images/cli.ts';
import { file, packMembers } from '../test-images/member.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import type { Inspection } from './inspect.ts';
import type { BuildResult } from './rechunk.ts';
import { PLAN_LABEL, parseRecord } from './record.ts';

const memory = suite('memory');
const work = mkdtempSync('/var/tmp/rechunk-memory-');
const map = join(work, 'map');
const sources = join(work, 'sources');
const made = join(work, 'made');
const LAYERS = ['a', 'b', 'c', 'd'];
/** Each component a layer of its own. */
const options = ['--map', map, '--max-layers', '8'];
let registry: Registry;

/** An image of four directories, each a component, whose content is by default its name. */
async function release(tag: string, content: Readonly<Record<string, string>> = {}): Promise<void> {
  const members = LAYERS.map((name) =>
    file(`${name}/file`, `${content[name] ?? name} `.repeat(60_000)),
  );
  await writeLayout(`${sources}-${tag}`, [{ tag, layers: [{ tar: await packMembers(members) }] }]);
}

memory.before(async () => {
  writeFileSync(map, LAYERS.map((name) => `/${name}/ ${name}\n`).join(''));
  await release('one');
  registry = await startRegistry();
});

memory.after(async () => {
  await registry.stop();
  rmSync(work, { recursive: true, force: true });
});

const source = (tag: string): string => `oci:${sources}-${tag}:${tag}`;
const build = (from: string, to: string, ...more: readonly string[]): Promise<BuildResult> =>
  jsonHere<BuildResult>(['build', source(from), to, ...options, ...more]);
/** Builds, which must succeed, and gives the notes that were printed. */
async function notesOf(from: string, to: string, ...more: readonly string[]): Promise<string> {
  const { status, stderr } = await runHere(['build', source(from), to, ...options, ...more]);
  assert.equal(status, 0, stderr);
  return stderr;
}

const inspect = (reference: string): Promise<Inspection> =>
  jsonHere<Inspection>(['inspect', reference]);
const digests = async (reference: string): Promise<string[]> =>
  (await inspect(reference)).layers.map(({ digest }) => digest).sort();

interface Json {
  // biome-ignore lint/suspicious/noExplicitAny: manifests and configs are edited as a forger would
  [key: string]: any;
}

/** Rewrites an image of a layout: its config and manifest as `edit` leaves them, under the name `tag`. */
function forge(
  dir: string,
  from: string,
  tag: string,
  edit: (config: Json, manifest: Json) => void,
): string {
  const blob = (digest: string): string => join(dir, 'blobs', digest.replace(':', '/'));
  const read = (digest: string): Json => JSON.parse(readFileSync(blob(digest), 'utf8'));
  const write = (json: Json): Json => {
    const bytes = Buffer.from(JSON.stringify(json));
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    writeFileSync(blob(digest), bytes);
    return { digest, size: bytes.length };
  };
  const index = JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8')) as Json;
  const name = 'org.opencontainers.image.ref.name';
  const entry = index['manifests'].find((one: Json) => one['annotations']?.[name] === from);
  const manifest = read(entry.digest);
  const config = read(manifest['config'].digest);
  edit(config, manifest);
  Object.assign(manifest['config'], write(config));
  const written = write(manifest);
  index['manifests'].push({ ...entry, ...written, annotations: { [name]: tag } });
  writeFileSync(join(dir, 'index.json'), JSON.stringify(index));
  return written['digest'];
}

/** Gives the fingerprint of the first two layers to each other. */
function swapFingerprints(config: Json): void {
  const labels = config['config'].Labels as Record<string, string>;
  const [first = '', second = ''] = labels[PLAN_LABEL]?.match(/[0-9a-f]{32}(?=;)/g) ?? [];
  assert.ok(first && second && first !== second);
  labels[PLAN_LABEL] = (labels[PLAN_LABEL] as string)
    .replace(first, 'x')
    .replace(second, first)
    .replace('x', second);
}

memory('a layer that an earlier image has is not compressed again, unless asked', async () => {
  const before = `oci:${made}:level19`;
  await build('one', before, '--compression-level', '19');
  const after = await build('one', `oci:${made}:again`, '--previous', before);
  assert.deepEqual(
    after.images[0]?.layers.map(({ known, reused }) => [known, reused]),
    LAYERS.map(() => [true, true]),
  );
  assert.deepEqual(await digests(`oci:${made}:again`), await digests(before));
  const anew = await build('one', `oci:${made}:anew`, '--previous', before, '--recompress');
  assert.ok(anew.images[0]?.layers.every(({ known }) => !known));
  assert.notEqual(await digests(`oci:${made}:anew`), await digests(before));
  const other = await build(
    'one',
    `oci:${made}:gzip`,
    '--previous',
    before,
    '--compression',
    'gzip',
  );
  assert.ok(other.images[0]?.layers.every(({ known }) => !known));
});

memory('--reuse-from takes layers of an image whose plan is not continued', async () => {
  const other = join(work, 'other');
  await build('one', `oci:${other}:x`, '--compression-level', '19');
  const elsewhere = `oci:${join(work, 'elsewhere')}:x`;
  const { images } = await build('one', elsewhere, '--reuse-from', `oci:${other}:x`);
  assert.ok(images[0]?.layers.every(({ known, reused }) => known && !reused));
  assert.deepEqual(await digests(elsewhere), await digests(`oci:${other}:x`));
  const verified = await runHere(['verify', source('one'), elsewhere, '--quiet']);
  assert.equal(verified.status, 0);
});

memory(
  'of several earlier images the first gives the plan, and all of them their layers',
  async () => {
    const dir = join(work, 'several');
    await release('two', { a: 'two', b: 'two' });
    await build('one', `oci:${dir}:stable`, '--compression-level', '19');
    await build('two', `oci:${dir}:nightly`, '--previous', `oci:${dir}:stable`);
    await release('three', { a: 'two' });
    const both = ['--previous', `oci:${dir}:nightly`, '--previous', `oci:${dir}:stable`];
    const { images } = await build('three', `oci:${dir}:next`, ...both);
    assert.ok(
      images[0]?.layers.every(({ known }) => known),
      'b is back to what stable has',
    );
    const has = new Set([
      ...(await digests(`oci:${dir}:nightly`)),
      ...(await digests(`oci:${dir}:stable`)),
    ]);
    assert.ok((await digests(`oci:${dir}:next`)).every((digest) => has.has(digest)));
  },
);

memory('a blob that the earlier image lost is made anew', async () => {
  const lost = join(work, 'lost');
  await build('one', `oci:${lost}:x`);
  const [digest = ''] = await digests(`oci:${lost}:x`);
  rmSync(join(lost, 'blobs', digest.replace(':', '/')));
  const to = `oci:${join(work, 'found')}:x`;
  const stderr = await notesOf('one', to, '--previous', `oci:${lost}:x`);
  assert.match(stderr, /lacks its layer sha256:[0-9a-f]+: it is made anew/);
  assert.equal((await runHere(['verify', source('one'), to, '--quiet'])).status, 0);
});

memory('forged fingerprints are not believed, unless the user vouches for the image', async () => {
  const dir = join(work, 'forged');
  await build('one', `oci:${dir}:true`);
  const digest = forge(dir, 'true', 'forged', swapFingerprints);
  const to = `oci:${join(work, 'wary')}:x`;
  const previous = ['--previous', `oci:${dir}:forged`];
  const stderr = await notesOf('one', to, ...previous);
  assert.match(stderr, /forged records a plan that is not of its layers: layer \d is made anew/);
  assert.equal((await runHere(['verify', source('one'), to, '--quiet'])).status, 0);
  assert.deepEqual(await digests(to), await digests(`oci:${dir}:true`));
  // Whoever vouches for a forger gets what the forger wrote: it shows that nothing was hashed.
  const naive = `oci:${join(work, 'naive')}:x`;
  await build('one', naive, ...previous, '--trust-previous', digest);
  assert.equal((await runHere(['verify', source('one'), naive, '--quiet'])).status, 0);
  const swapped = await inspect(naive);
  const honest = await inspect(`oci:${dir}:true`);
  const home = (image: Inspection): [string, string][] =>
    image.layers.map(({ diffId, components = [] }) => [diffId, components.join(' ')]);
  assert.notEqual(Object.fromEntries(home(swapped)), Object.fromEntries(home(honest)));
  const guarded = await runHere([
    'build',
    source('one'),
    `${naive}2`,
    ...options,
    ...previous,
    '--trust-previous',
    digest.replace(/.$/, (c) => (c === '0' ? '1' : '0')),
  ]);
  assert.equal(guarded.status, 0);
  assert.match(guarded.stderr, /records a plan that is not of its layers/);
});

memory('an earlier image whose blobs are not what its config says: --verify finds it', async () => {
  const dir = join(work, 'poisoned');
  await build('one', `oci:${dir}:true`);
  await release('evil', { a: 'evil' });
  await build('evil', `oci:${dir}:evil`, '--fresh');
  const good = await inspect(`oci:${dir}:true`);
  const evil = await inspect(`oci:${dir}:evil`);
  const bad = evil.layers.find(({ digest }) => !good.layers.some((one) => one.digest === digest));
  assert.ok(bad);
  forge(dir, 'true', 'forged', (_, manifest) => {
    const layer = manifest['layers'].find(
      (one: Json) => !evil.layers.some(({ digest }) => digest === one['digest']),
    );
    Object.assign(layer, { digest: bad.digest, size: bad.size });
  });
  const arguments_ = ['build', source('one'), `oci:${join(work, 'victim')}:x`, ...options];
  const forged = ['--previous', `oci:${dir}:forged`, '--verify'];
  const { status, stderr } = await runHere([...arguments_, ...forged]);
  assert.equal(status, 2, stderr);
  assert.match(stderr, /digest-mismatch|diffID|not equal/);
});

memory(
  'an unchanged image built again pushes nothing: by the access log of a registry',
  async () => {
    const to = `docker://${registry.host}/team/app:latest`;
    const first = await build('one', to, '--insecure');
    const seen = registry.accessLog().length;
    const again = await build('one', to, '--insecure');
    assert.equal(again.digest, first.digest);
    const later = registry.accessLog().slice(seen);
    assert.deepEqual(
      later.filter(({ method }) => /P(UT|ATCH)/.test(method)),
      [],
      'neither blobs nor manifests',
    );
    assert.deepEqual(
      later.filter(({ method, path }) => method === 'GET' && /blobs/.test(path)).length,
      1,
    );
  },
);

memory('layers of an earlier image in another repository are mounted, not sent', async () => {
  const before = `docker://${registry.host}/team/app:latest`;
  const seen = registry.accessLog().length;
  const to = `docker://${registry.host}/team/other:latest`;
  await build('one', to, '--insecure', '--previous', before);
  const posts = registry
    .accessLog()
    .slice(seen)
    .filter(({ method }) => method === 'POST');
  const mounts = posts.filter(({ path }) => path.includes('mount='));
  assert.equal(mounts.length, LAYERS.length);
  assert.ok(mounts.every(({ status }) => status === 201));
  // One asks whether we may push, one sends the config.
  assert.ok(posts.length - mounts.length <= 2, JSON.stringify(posts));
});

/** In which updates components changed, by the record of an image. */
async function changes(reference: string): Promise<{ observed: number; changes: Json }> {
  const { labels, layers } = await jsonHere<Inspection>(['inspect', reference, '--insecure']);
  const diffIds = layers.map(({ diffId }) => diffId);
  const record = parseRecord(labels[PLAN_LABEL] ?? '', diffIds);
  assert.ok(record);
  const components = record.layers.flatMap((layer) => [...layer.components]);
  return {
    observed: record.observed,
    changes: Object.fromEntries(components.map(([id, one]) => [id, one.changes])),
  };
}

const RELEASES = [{}, { a: '1' }, { a: '2', b: '2' }, { a: '3' }] as const;

memory(
  'builds remember what changed, and --history learns the same from tags that were never rechunked',
  async () => {
    const dir = join(work, 'history');
    const raw = join(work, 'raw');
    const originals: ImageInput[] = [];
    for (const [i, content] of RELEASES.entries()) {
      await release(`h${i}`, content);
      const previous = i > 0 ? ['--previous', `oci:${dir}:h${i - 1}`] : [];
      await build(`h${i}`, `oci:${dir}:h${i}`, ...previous);
      const members = LAYERS.map((name) =>
        file(`${name}/file`, `${(content as Json)[name] ?? name} `.repeat(60_000), {
          mtime: `${1_700_000_000 + i}`,
        }),
      );
      const created = `2026-01-0${i + 1}T00:00:00Z`;
      const layers = [{ tar: await packMembers(members) }];
      originals.push({ tag: `h${i}`, layers, fields: { created } });
    }
    await writeLayout(raw, originals);
    const recorded = await changes(`oci:${dir}:h3`);
    assert.equal(recorded.observed, 3);
    const byName = Object.fromEntries(
      Object.entries(recorded.changes).map(([id, mask]) => [id.replace(/.*:/, ''), mask]),
    );
    assert.equal(
      [byName['a'], byName['b'], byName['c'], byName['d']].join(' '),
      // The last update took b back to what it was: it changed too.
      [0b111, 0b011, 0, 0].join(' '),
    );
    const learn = ['--previous', `oci:${raw}:h2`, '--history', '3'];
    const learnt = await runHere([
      'build',
      `oci:${raw}:h3`,
      `oci:${work}/learnt:x`,
      ...options,
      ...learn,
    ]);
    assert.equal(learnt.status, 0, learnt.stderr);
    assert.match(learnt.stderr, /records no plan: its layers are read for what changed/);
    assert.deepEqual((await changes(`oci:${work}/learnt:x`)).changes, recorded.changes);
  },
);

memory('a plan too long for the label is attached to the image, and read from there', async () => {
  const hash = (i: number): string =>
    createHash('sha256').update(`${i}`).digest('hex').slice(0, 36);
  const names = Array.from({ length: 2100 }, (_, i) => `many/${hash(i)}`);
  const long = join(work, 'long');
  const longMap = join(work, 'long-map');
  writeFileSync(longMap, names.map((name) => `/${name} ${name.slice(5)}\n`).join(''));
  const make = async (tag: string, content: (name: string) => string): Promise<string> => {
    const members = names.map((name) => file(name, content(name)));
    await writeLayout(`${long}-${tag}`, [{ tag, layers: [{ tar: await packMembers(members) }] }]);
    return `oci:${long}-${tag}:${tag}`;
  };
  const before = await make('before', (name) => name);
  const after = await make('after', (name) => (name.endsWith(hash(77)) ? 'other' : name));
  for (const to of [`oci:${long}:out`, `docker://${registry.host}/team/long:out`]) {
    const run = (from: string): Promise<BuildResult> =>
      jsonHere(['build', from, to, '--map', longMap, '--max-layers', '12', '--insecure']);
    const first = await run(before);
    const same = await run(before);
    assert.equal(same.digest, first.digest, 'the record is read, or the update would be new');
    await run(after);
    const { observed, changes: masks } = await changes(to);
    assert.equal(observed, 1);
    const changed = Object.entries(masks).filter(([, mask]) => mask === 1);
    assert.deepEqual(
      changed.map(([id]) => id.replace(/.*:/, '')),
      [hash(77)],
    );
    const { status, stderr } = await runHere(['verify', after, to, '--insecure', '--quiet']);
    assert.equal(status, 0, stderr);
  }
});

memory(
  'where the label is gone the annotations of the layers still say where everything is',
  async () => {
    const dir = join(work, 'unlabelled');
    await build('one', `oci:${dir}:true`);
    forge(dir, 'true', 'bare', (config) => {
      delete config['config'].Labels[PLAN_LABEL];
    });
    const to = `oci:${work}/from-bare:x`;
    const result = await build('one', to, '--previous', `oci:${dir}:bare`);
    assert.ok(result.images[0]?.layers.every(({ known }) => known));
  },
);

memory(
  'under a new tag the newest image of the history is taken for the previous one',
  async () => {
    const to = `oci:${join(work, 'history')}:h4`;
    const stderr = await notesOf('h3', to, '--history', '9');
    assert.match(stderr, /:h3, the newest image of the history, is taken for the previous one/);
    assert.doesNotMatch(stderr, /no previous image/);
    assert.deepEqual(await digests(to), await digests(`oci:${join(work, 'history')}:h3`));
  },
);

memory('a plan of another tool is a start', async () => {
  const dir = join(work, 'foreign');
  cpSync(`${sources}-one`, dir, { recursive: true });
  forge(dir, 'one', 'foreign', (_, manifest) => {
    manifest['layers'][0].annotations = { 'org.chunkah.component': 'custom/a custom/b' };
  });
  const to = `oci:${work}/from-foreign:x`;
  const stderr = await notesOf('one', to, '--previous', `oci:${dir}:foreign`);
  assert.match(stderr, /only that of org\.chunkah\.component, which is taken for a start/);
});

memory('options that contradict each other are refused', async () => {
  for (const [args, says] of [
    [['--history', '3x/y:z:q'], /history|reference|3x/],
    [['--trust-previous', 'latest'], /digest/],
  ] as const) {
    const result = await runHere([
      'build',
      source('one'),
      `oci:${work}/none:x`,
      ...options,
      ...args,
    ]);
    assert.equal(result.status, 2);
    assert.match(result.stderr, says);
  }
  const plan = await runHere([
    'build',
    source('one'),
    `oci-archive:${work}/a.tar`,
    '--history',
    '0',
  ]);
  assert.match(plan.stderr, /--history: got '0', want a whole number from 1/);
});

memory.run();
