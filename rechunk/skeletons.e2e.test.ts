// needs: tar, python3
/** A real Alpine image under every parents policy: what an update changes, and that one policy's result is another's source. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { type LayerInput, writeLayout } from '../test-images/build.ts';
import { jsonHere, runHere } from '../test-images/cli.ts';
import { dir, file, type Member, packMembers } from '../test-images/member.ts';
import type { Inspection } from './inspect.ts';
import type { BuildResult, DiffReport, PlanReport } from './library.ts';
import { PLAN_LABEL } from './record.ts';
import type { Verification } from './verify.ts';

const skeletons = suite('skeletons');
const work = mkdtempSync('/var/tmp/rechunk-skeletons-');
const archive = fileURLToPath(
  new URL('../test-images/packages/apk/alpine-3.11.5-docker.tar.gz', import.meta.url),
);
const source = (tag: string): string => `oci:${join(work, 'sources')}:${tag}`;
const result = (tag: string): string => `oci:${join(work, 'results')}:${tag}`;

skeletons.after(() => rmSync(work, { recursive: true, force: true }));

/** The options of each policy, by a name for it. */
const POLICIES: Readonly<Record<string, readonly string[]>> = {
  full: [],
  shared: ['--parents', 'shared'],
  implicit: ['--parents', 'implicit'],
  exact: ['--parents', 'delegate'],
  neutral: ['--parents', 'delegate', '--delegate-fallback', 'neutral', '--delegate-xattr', 'user'],
};
const names = Object.keys(POLICIES);
/** Where no layer but skeletons says anything of directories. */
const FREE = ['shared', 'implicit', 'neutral'];
/** The digest of what was rechunked, which differs with the source, is left out: nothing else may differ. */
const few = ['--max-layers', '9', '--annotation', 'dev.rechunk.source.digest-'];

const UTILITY = 'usr/bin/scanelf';
const DATABASE = 'lib/apk/db/installed';

/** The package of a utility with another content, and apk's database with the checksum of that. */
function upgraded(root: string): Member[] {
  const digest = (content: string): string =>
    execFileSync('sha1sum', { input: Buffer.from(content, 'latin1') })
      .toString()
      .slice(0, 40);
  const field = (content: string): string =>
    `Z:Q1${Buffer.from(digest(content), 'hex').toString('base64')}`;
  const [old, database] = [UTILITY, DATABASE].map((path) =>
    readFileSync(join(root, path), 'latin1'),
  ) as [string, string];
  const content = `${old}upgraded`;
  assert.ok(database.includes(field(old)));
  return [
    file(UTILITY, content, { mode: 0o755 }),
    file(DATABASE, database.replace(field(old), field(content))),
  ];
}

skeletons.before(async () => {
  const unpacked = join(work, 'archive');
  const root = join(work, 'root');
  for (const directory of [unpacked, root]) mkdirSync(directory);
  execFileSync('tar', ['-xzf', archive, '-C', unpacked]);
  const [manifest] = JSON.parse(readFileSync(join(unpacked, 'manifest.json'), 'utf8'));
  const tar = join(unpacked, manifest.Layers[0]);
  execFileSync('tar', ['-xf', tar, '-C', root, UTILITY, DATABASE]);
  const over = async (tag: string, ...members: Member[]): Promise<object> => ({
    tag,
    layers: [{ tar }, ...(members.length > 0 ? [{ tar: await packMembers(members) }] : [])],
  });
  const overlay = { xattrs: { 'user.overlay.opaque': 'y' } };
  const images = await Promise.all([
    over('plain'),
    over('upgrade', ...upgraded(root)),
    over('chmod', dir('usr/lib', { mode: 0o711 })),
    over('added', dir('srv/new/deep', { mode: 0o750 })),
    over('hostile', dir('usr/share', overlay)),
    over('payload', file('usr/lib/payload', 'much '.repeat(50_000))),
    over(
      'elsewhere',
      dir('usr/lib', { mode: 0o711 }),
      file('usr/lib/payload', 'much '.repeat(50_000)),
    ),
  ]);
  await writeLayout(join(work, 'sources'), images as { tag: string; layers: LayerInput[] }[]);
  for (const name of names)
    await build('plain', name, [...few, '--verify', ...(POLICIES[name] ?? [])]);
});

const build = (from: string, to: string, options: readonly string[]): Promise<BuildResult> =>
  jsonHere<BuildResult>(['build', source(from), result(to), ...options]);
const inspect = (tag: string): Promise<Inspection> =>
  jsonHere<Inspection>(['inspect', result(tag)]);

/** Layers that the result of `tag` has and the plain one has not: `skeleton`, or the components. */
async function changed(name: string, tag: string): Promise<string[]> {
  const to = `${name}-${tag}`;
  await build(tag, to, [...few, ...(POLICIES[name] ?? []), '--previous', result(name)]);
  const had = new Set((await inspect(name)).layers.map(({ digest }) => digest));
  const made = (await inspect(to)).layers.filter(({ digest }) => !had.has(digest));
  return [...new Set(made.map(({ role, components }) => role ?? (components ?? []).join(' ')))];
}

for (const name of names) {
  skeletons(`${name}: every policy's result is the same image for verify`, async () => {
    const { differences } = await jsonHere<Verification>(['verify', source('plain'), result(name)]);
    assert.deepEqual(differences, []);
  });

  skeletons(`${name}: new content in one package changes no skeleton`, async () => {
    const layers = await changed(name, 'upgrade');
    assert.equal(layers.length, 2);
    assert.ok(layers.some((layer) => layer.split(' ').includes('apk:pax-utils')));
    assert.ok(layers.includes('database:apk'));
  });

  skeletons(`${name}: another mode of one directory, and what it changes`, async () => {
    const layers = await changed(name, 'chmod');
    if (FREE.includes(name)) assert.deepEqual(layers, ['skeleton']);
    else {
      const content = layers.filter((layer) => layer !== 'skeleton');
      assert.equal(layers.includes('skeleton'), name === 'exact');
      assert.ok(content.length > 1, content.join(', '));
    }
  });

  skeletons(`${name}: a rechunk of any policy's result gives the same digest`, async () => {
    const { digest } = await inspect(name);
    for (const from of names) {
      const options = [...few, ...(POLICIES[name] ?? []), '--previous', result(name), '--strict'];
      const again = await jsonHere<BuildResult>([
        'build',
        result(from),
        result(`${from}-${name}`),
        ...options,
      ]);
      assert.equal(again.digest, digest, `from ${from}`);
      assert.equal(again.images[0]?.sentBytes, 0);
    }
  });
}

for (const name of ['shared', 'neutral']) {
  skeletons(
    `${name}: plan foretells what a build writes and clients pull, to the byte`,
    async () => {
      for (const tag of ['upgrade', 'added']) {
        const previous = ['--previous', result(name)];
        const options = [...few, ...(POLICIES[name] ?? []), ...previous];
        const { layers, now } = await jsonHere<PlanReport>(['plan', source(tag), ...options]);
        await build(tag, `${name}-planned`, options);
        const written = await inspect(`${name}-planned`);
        assert.deepEqual(
          layers.map(({ role, blobSize }) => [role, blobSize]),
          written.layers.map(({ role = 'content', size }) => [role, size]),
        );
        const { update } = await jsonHere<DiffReport>([
          'diff',
          result(name),
          result(`${name}-planned`),
        ]);
        assert.equal(now?.pullBytes, update?.byBlob.bytes);
        assert.equal(now?.chainBytes, update?.byChain.bytes);
      }
    },
  );
}

skeletons(
  'layers are counted with skeletons, and one that did not change is not sent again',
  async () => {
    const { layers, labels } = await inspect('neutral');
    assert.equal(layers.length, 9);
    assert.deepEqual(
      layers.map(({ role, components }) => role ?? typeof components),
      ['skeleton', ...Array(7).fill('object'), 'skeleton'],
    );
    assert.equal(layers[0]?.digest, layers[8]?.digest);
    const recorded = labels[PLAN_LABEL]?.split('|') ?? [];
    assert.match(recorded[0] ?? '', /\S+ \d+ [0-9a-f]{32};$/);
    assert.match(recorded[8] ?? '', /^[0-9a-f]{32};$/);
    const { stdout } = await runHere(['inspect', result('neutral')]);
    assert.equal(stdout.match(/^ +\d+ .* skeleton$/gm)?.length, 2);
    const to = 'neutral-sent';
    const options = [...few, ...(POLICIES['neutral'] ?? []), '--previous', result('neutral')];
    const built = await build('upgrade', to, options);
    const found = built.images[0]?.layers.filter(({ role }) => role === 'skeleton');
    assert.deepEqual(
      found?.map(({ known, reused }) => [known, reused]),
      [
        [true, true],
        [true, true],
      ],
    );
  },
);

skeletons(
  'diff: a changed skeleton continues the old one, for what differs of directories',
  async () => {
    const diff = async (tag: string): Promise<unknown[]> => {
      await build(tag, 'diffed', [
        ...few,
        ...(POLICIES['neutral'] ?? []),
        '--previous',
        result('neutral'),
      ]);
      const { layers } = await jsonHere<DiffReport>(['diff', result('neutral'), result('diffed')]);
      return layers
        .filter(({ state }) => state !== 'shared')
        .map(({ layer, state, old, role, reason, causes }) => [
          [layer, state, old, role, reason],
          causes.map(({ component, files: { added, metadata } }) => [component, added, metadata]),
        ]);
    };
    assert.deepEqual(await diff('chmod'), [
      [[1, 'changed', 1, 'skeleton', 'metadata'], [['(directories)', 0, 1]]],
      [[9, 'changed', 9, 'skeleton', 'metadata'], [['(directories)', 0, 1]]],
    ]);
    assert.deepEqual(await diff('added'), [
      [[1, 'changed', 1, 'skeleton', 'content'], [['(directories)', 2, 0]]],
      [[9, 'changed', 9, 'skeleton', 'content'], [['(directories)', 2, 0]]],
    ]);
  },
);

skeletons('--strict refuses overlay xattrs; without it they are dropped, with a note', async () => {
  const options = ['--dry-run', '--parents', 'shared'];
  const strict = await runHere(['build', source('hostile'), result('x'), ...options, '--strict']);
  assert.equal(strict.status, 2);
  assert.match(strict.stderr, /overlay\.\* xattrs of .*:hostile: got 1, want none with --strict/);
  const loose = await runHere(['build', source('hostile'), result('x'), ...options]);
  assert.equal(loose.status, 0);
  assert.match(loose.stderr, /note: 1 overlay\.\* xattr dropped/);
});

skeletons(
  'one payload above directories that differ: two blobs with full, one without directories',
  async () => {
    for (const name of ['full', 'shared', 'neutral']) {
      const options = [...few, ...(POLICIES[name] ?? [])];
      const blobs: string[][] = [];
      for (const tag of ['payload', 'elsewhere']) {
        await build(tag, `${name}-${tag}`, options);
        const { layers } = await inspect(`${name}-${tag}`);
        const large = layers.filter(({ components = [] }) => components.includes('rest'));
        blobs.push(large.map(({ digest }) => digest));
      }
      const [one, other] = blobs;
      assert.equal(one?.length, 1);
      assert.equal(JSON.stringify(one) === JSON.stringify(other), FREE.includes(name), name);
    }
  },
);

skeletons('--together: variants share what lies above directories that differ', async () => {
  const to = `oci:${join(work, 'together')}:`;
  const variants = ['payload', 'elsewhere'];
  const options = [...few, '--parents', 'shared', '--skeleton', 'both', '--verify'];
  await jsonHere(['build', '--together', ...variants.map(source), '--to', to, ...options]);
  const [a, b] = (await Promise.all(
    variants.map((tag) => jsonHere<Inspection>(['inspect', `${to}${tag}`])),
  )) as [Inspection, Inspection];
  for (const { layers } of [a, b]) {
    assert.ok(layers.length <= 9);
    assert.deepEqual([layers[0]?.role, layers.at(-1)?.role], ['skeleton', 'skeleton']);
  }
  const content = ({ layers }: Inspection): string[] =>
    layers.filter(({ role }) => role === undefined).map(({ digest }) => digest);
  assert.deepEqual(content(a), content(b));
  assert.notEqual(a.layers[0]?.digest, b.layers[0]?.digest);
});

skeletons.run();
