/** The command line's options on a real image, with nothing but Node: what each changes, and what verify says of it. */
import assert from 'node:assert/strict';
import {
  createReadStream,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import { digestOf, MEDIA } from '../../registry/oci.ts';
import { writeLayout } from '../../test-images/build.ts';
import { jsonHere, runHere, runJson } from '../../test-images/cli.ts';
import type { Inspection } from '../inspect.ts';
import type { BuildResult, PlanReport } from '../library.ts';
import { PLAN_LABEL } from '../record.ts';
import type { Verification } from '../verify.ts';

const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-cli-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const packages = fileURLToPath(new URL('../../test-images/packages/', import.meta.url));
const archive = join(packages, 'apk/alpine-3.11.5-docker.tar.gz');
const source = `docker-archive:${archive}`;
let count = 0;

/** A new layout, as a reference. */
function newLayout(): string {
  return `oci:${join(directory, String(++count))}:x`;
}

async function build(...options: string[]): Promise<{ to: string; result: BuildResult }> {
  const to = newLayout();
  return { to, result: await jsonHere<BuildResult>(['build', source, to, ...options]) };
}

let withoutOptions: ReturnType<typeof build> | undefined;

/** What a build without options makes, once for all that look at it. */
const plainBuild = (): ReturnType<typeof build> => (withoutOptions ??= build('--verify'));

const verify = (to: string, ...options: string[]): ReturnType<typeof runHere> =>
  runHere(['verify', source, to, '--json', '--quiet', ...options]);

test('an Alpine image: packages are layers of their own, and the result is equal', async () => {
  const { to, result } = await plainBuild();
  const inspection = await jsonHere<Inspection>(['inspect', to]);
  const components = inspection.layers.flatMap((layer) => layer.components ?? []);
  for (const wanted of ['apk:busybox', 'apk:musl', 'database:apk'])
    assert.ok(components.includes(wanted), wanted);
  assert.equal(inspection.digest, result.digest);
  assert.equal(inspection.sourceDigest, result.images[0]?.source);
  assert.equal((await verify(to)).status, 0);
});

/** The labels that are the image's own, without the plan that every result has. */
function ownLabels({ labels }: Inspection): Record<string, string> {
  const { [PLAN_LABEL]: plan, ...own } = labels;
  assert.ok(plan);
  return own;
}

const changes: readonly (readonly [string, readonly string[], string])[] = [
  ['--mtime', ['--mtime', '2001-01-01'], 'mtime'],
  ['--prune', ['--prune', '/var/cache/', '--prune', '/etc/issue'], 'prune'],
];

for (const [name, options, kind] of changes) {
  test(`${name} changes what it says, and verify wants the same flag`, async () => {
    const { to, result } = await build(...options);
    assert.ok(result.images[0]?.excuses.some((excuse) => excuse.kind === kind && excuse.count > 0));
    const without = await verify(to);
    assert.equal(without.status, 1);
    const given = await verify(to, ...options);
    assert.equal(given.status, 0, given.stdout);
    const { excuses } = JSON.parse(given.stdout) as Verification;
    assert.ok(excuses.some((excuse) => excuse.kind === kind));
  });
}

test('--dir-mtime keep keeps directory times, and nothing is left to excuse', async () => {
  const { to, result } = await build('--dir-mtime', 'keep');
  assert.deepEqual(result.images[0]?.excuses, []);
  const { status, stdout } = await verify(to, '--dir-mtime', 'keep');
  assert.deepEqual([status, JSON.parse(stdout).excuses], [0, []]);
});

test('labels, annotations and the creation time are set, and removed', async () => {
  const options = [
    '--label',
    'a=1',
    '--label',
    'b=2',
    '--label',
    'b-',
    '--created',
    '2020-02-02T02:02:02Z',
  ];
  const { to } = await build(...options, '--annotation', 'org.example=x=y');
  const inspection = await jsonHere<Inspection>(['inspect', to]);
  assert.deepEqual(ownLabels(inspection), { a: '1' });
  assert.equal(inspection.created, '2020-02-02T02:02:02Z');
  assert.equal(inspection.annotations['org.example'], 'x=y');
  assert.equal((await verify(to)).status, 1);
  assert.equal((await verify(to, ...options)).status, 0);
});

test('SOURCE_DATE_EPOCH clamps file times and is the creation time', async () => {
  const to = newLayout();
  const env = { SOURCE_DATE_EPOCH: '1000000000' };
  await jsonHere(['build', source, to], { env });
  assert.equal((await jsonHere<Inspection>(['inspect', to])).created, '2001-09-09T01:46:40Z');
  const verified = await runHere(['verify', source, to, '--json', '--quiet'], { env });
  assert.equal(verified.status, 0);
  assert.equal((await verify(to)).status, 1);
});

test('--tag gives further names to one digest, and --digest-file holds it', async () => {
  const file = join(directory, 'digest');
  const { to, result } = await build('--tag', 'y', '--tag', 'z', '--digest-file', file);
  assert.equal(readFileSync(file, 'utf8'), result.digest);
  const layout = to.split(':')[1] as string;
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  const tags = index.manifests.map(
    (entry: { digest: string; annotations: Record<string, string> }) => [
      entry.annotations['org.opencontainers.image.ref.name'],
      entry.digest,
    ],
  );
  assert.deepEqual(
    tags,
    ['x', 'y', 'z'].map((tag) => [tag, result.digest]),
  );
});

test('--dry-run gives the digest that a real run has, and stores nothing', async () => {
  const dry = await build('--dry-run');
  assert.deepEqual(
    readdirSync(directory).filter((name) => name === dry.to.split('/').at(-1)?.split(':')[0]),
    [],
  );
  assert.equal(dry.result.digest, (await plainBuild()).result.digest);
});

test('--max-layers and --max-layer-size bound the layers', async () => {
  const few = await build('--max-layers', '3');
  assert.equal(few.result.images[0]?.layers.length, 3);
  const limit = 2_000_000;
  const small = await build('--max-layer-size', '2MB', '--verify');
  const { layers } = await jsonHere<Inspection>(['inspect', small.to]);
  const cut = layers.filter(({ components }) =>
    components?.some((id) => id.startsWith('apk:openssl#')),
  );
  assert.equal(cut.length, 3);
  // libcrypto alone is larger than the limit.
  const over = small.result.images[0]?.layers.filter(({ tarSize }) => tarSize > limit + 100_000);
  assert.deepEqual(
    over?.map(({ components }) => components),
    [['apk:openssl#2']],
  );
});

test('--map names components', async () => {
  const map = join(directory, 'map');
  writeFileSync(map, '# mine\n/etc/ settings\n/bin/busybox shell\n');
  const report = await jsonHere<PlanReport>(['plan', source, '--map', map]);
  const ids = report.components.map(({ id }) => id);
  assert.ok(ids.includes('user:settings') && ids.includes('user:shell'), ids.join(' '));
});

for (const [compression, mediaType] of [
  ['gzip', MEDIA.layerGzip],
  ['none', MEDIA.layer],
  ['zstd', MEDIA.layerZstd],
]) {
  test(`--compression ${compression} is what the layers have`, async () => {
    const { to } = await build('--compression', compression as string, '--verify');
    const { layers } = await jsonHere<Inspection>(['inspect', to]);
    assert.ok(layers.every((layer) => layer.mediaType === mediaType));
  });
}

test('an archive on standard input is told by its content', async () => {
  const to = newLayout();
  const result = await runJson<BuildResult>(['build', '-', to], {
    stdin: createReadStream(archive),
  });
  assert.equal(result.digest, (await plainBuild()).result.digest);
});

test('options come from the environment too', async () => {
  const to = newLayout();
  const env = { RECHUNK_MAX_LAYERS: '2', RECHUNK_COMPRESSION: 'gzip', RECHUNK_LABEL: 'a=1\nb=2' };
  const { images } = await jsonHere<BuildResult>(['build', source, to], { env });
  assert.deepEqual([images[0]?.layers.length, images[0]?.compression], [2, 'gzip']);
  assert.deepEqual(ownLabels(await jsonHere<Inspection>(['inspect', to])), { a: '1', b: '2' });
});

const wrong: readonly (readonly [readonly string[], RegExp])[] = [
  [['build', source], /missing required argument/],
  [
    ['build', source, 'oci:/x', '--max-layers', '0'],
    /--max-layers: got '0', want a whole number from 1/,
  ],
  [['build', source, 'oci:/x', '--mtime', 'yesterday'], /--mtime: got 'yesterday', want/],
  [['build', source, 'oci:/x', '--mtime', 'clamp'], /SOURCE_DATE_EPOCH is not set/],
  [['build', source, 'oci:/x', '--label', 'novalue'], /--label: got 'novalue', want KEY=VALUE/],
  [['build', source, 'oci:/x', '--tag', 'a/b'], /--tag: got 'a\/b'/],
  [['build', source, 'oci:/x', '--prune', '/'], /root cannot be pruned/],
  [
    ['build', source, 'oci:/x', '--compression', 'lzma'],
    /Allowed choices are zstd, zstd:chunked, gzip, none/,
  ],
  [['build', source, 'ftp:x', '--nonsense'], /unknown option '--nonsense'/],
  [['build', source, 'docker-archive:/x', '--compression', 'zstd'], /holds only none/],
  [['build', source, 'oci:/x', '--all-platforms', '--platform', 'linux/arm64'], /want one of them/],
  [['build', 'nowhere:/x', 'oci:/x'], /nowhere/],
  [['frobnicate'], /unknown command 'frobnicate'/],
];

for (const [args, message] of wrong) {
  test(`refuses: ${args.map((arg) => (arg === source ? 'SOURCE' : arg)).join(' ')}`, async () => {
    const { status, stderr, stdout } = await runHere(args);
    assert.equal(status, 2, stderr);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /\n\s+at /);
    assert.equal(stdout, '');
  });
}

test('help is help, on standard output', async () => {
  const { status, stdout } = await runHere(['--help']);
  assert.equal(status, 0);
  for (const command of ['build', 'plan', 'verify', 'inspect'])
    assert.match(stdout, new RegExp(`^  ${command} `, 'm'));
});

/** A tar with one file, written by hand: enough for images that differ by their platform. */
function tarWith(name: string, content: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  for (const [at, value] of [
    [100, 0o644],
    [108, 0],
    [116, 0],
    [124, content.length],
    [136, 1],
  ] as const) {
    header.write(`${value.toString(8).padStart(at < 124 ? 7 : 11, '0')}\0`, at);
  }
  header.write('        0', 148);
  header.write('ustar\x0000', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const body = Buffer.alloc(Math.ceil(content.length / 512) * 512 + 1024);
  body.write(content);
  return Buffer.concat([header, body]);
}

/** A layout whose one image is an index of two platforms, an attestation and annotations; the index is signed. */
async function writeIndexed(): Promise<string> {
  const layout = join(directory, `indexed-${++count}`);
  const platforms = [{ architecture: 'amd64' }, { architecture: 'arm', variant: 'v7' }];
  const images = await writeLayout(
    layout,
    platforms.map((fields, i) => ({
      tag: `p${i}`,
      layers: [{ tar: tarWith('arch', fields.architecture) }],
      fields: { os: 'linux', ...fields },
    })),
  );
  const attestation = {
    ...images[0]?.manifest,
    platform: { os: 'unknown', architecture: 'unknown' },
  };
  const index = {
    schemaVersion: 2,
    mediaType: MEDIA.index,
    manifests: [
      {
        ...images[1]?.manifest,
        annotations: { 'org.example': 'arm' },
        platform: { os: 'linux', ...platforms[1] },
      },
      { ...images[0]?.manifest, annotations: {}, platform: { os: 'linux', ...platforms[0] } },
      {
        ...attestation,
        annotations: {
          'vnd.docker.reference.type': 'attestation-manifest',
          'vnd.docker.reference.digest': images[0]?.manifest.digest,
        },
      },
    ],
    annotations: { whole: 'index' },
  };
  const bytes = Buffer.from(JSON.stringify(index));
  const descriptor = { mediaType: MEDIA.index, digest: digestOf(bytes), size: bytes.length };
  writeFileSync(join(layout, 'blobs', descriptor.digest.replace(':', '/')), bytes);
  const named = (entry: object | undefined, name: string): object => ({
    ...entry,
    annotations: { 'org.opencontainers.image.ref.name': name },
  });
  const manifests = [
    named(descriptor, 'multi'),
    // Who reads it is of no matter here.
    named(images[0]?.manifest, `${descriptor.digest.replace(':', '-')}.sig`),
  ];
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  return layout;
}

/** What notes say is not copied. */
function boundNotices(stderr: string): string[] {
  const signature = /sha256-([0-9a-f]{64})\.sig belongs to sha256:\1 /;
  return stderr
    .split('\n')
    .filter((line) => line.includes('is not copied'))
    .map((line) => {
      if (signature.test(line)) return 'sha256-*.sig of the index';
      return line.replace(
        /^note: (attestation) sha256:\S+ belongs to sha256:\S+ .*/,
        '$1 of an image',
      );
    });
}

test('--platform picks from an index, and names what is there when it cannot', async () => {
  const layout = await writeIndexed();
  const arm = await jsonHere<Inspection>([
    'inspect',
    `oci:${layout}:multi`,
    '--platform',
    'linux/arm/v7',
  ]);
  assert.equal(arm.platform, 'linux/arm/v7');
  const none = await runHere(['inspect', `oci:${layout}:multi`, '--platform', 'linux/s390x']);
  assert.equal(none.status, 2);
  assert.match(none.stderr, /no image for linux\/s390x; it has linux\/arm\/v7, linux\/amd64/);
});

test('--all-platforms keeps the order, platforms and annotations of an index, and names what is not copied', async () => {
  const layout = await writeIndexed();
  const to = newLayout();
  const { status, stdout, stderr } = await runHere([
    'build',
    `oci:${layout}:multi`,
    to,
    '--all-platforms',
    '--verify',
    '--json',
  ]);
  assert.equal(status, 0, stderr);
  assert.deepEqual(boundNotices(stderr), ['sha256-*.sig of the index', 'attestation of an image']);
  const result = JSON.parse(stdout) as BuildResult;
  assert.deepEqual(
    result.images.map(({ platform }) => platform),
    ['linux/arm/v7', 'linux/amd64'],
  );
  const written = to.split(':')[1] as string;
  const index = JSON.parse(
    readFileSync(join(written, 'blobs', result.digest.replace(':', '/')), 'utf8'),
  );
  assert.deepEqual(index.annotations, { whole: 'index' });
  assert.deepEqual(
    index.manifests.map((entry: Record<string, unknown>) => [
      entry['platform'],
      entry['digest'],
      entry['annotations'],
    ]),
    [
      [
        { os: 'linux', architecture: 'arm', variant: 'v7' },
        result.images[0]?.digest,
        { 'org.example': 'arm' },
      ],
      [{ os: 'linux', architecture: 'amd64' }, result.images[1]?.digest, {}],
    ],
  );
  for (const platform of ['linux/arm/v7', 'linux/amd64']) {
    const args = ['verify', `oci:${layout}:multi`, to, '--platform', platform, '--quiet'];
    assert.equal((await runHere(args)).status, 0);
  }
});

test('what is bound to the image that was picked from an index, or to the index, is named', async () => {
  const from = `oci:${await writeIndexed()}:multi`;
  const { stderr } = await runHere(['build', from, newLayout(), '--platform', 'linux/amd64']);
  assert.deepEqual(boundNotices(stderr), ['sha256-*.sig of the index', 'attestation of an image']);
  const arm = await runHere(['build', from, newLayout(), '--platform', 'linux/arm/v7']);
  assert.deepEqual(boundNotices(arm.stderr), ['sha256-*.sig of the index']);
});

test("ostree's encapsulated form is refused with the flags that convert it", async () => {
  const layout = join(directory, `ostree-${++count}`);
  await writeLayout(layout, [
    {
      layers: [{ tar: tarWith('sysroot/ostree/repo/config', 'x') }],
      config: { Labels: { 'ostree.commit': 'abc', keep: '1' } },
    },
  ]);
  const from = `oci:${layout}:latest`;
  const refused = await runHere(['build', from, newLayout()]);
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /add --prune \/sysroot\/ --label ostree\.commit-/);
  const to = newLayout();
  await jsonHere(['build', from, to, '--prune', '/sysroot/', '--label', 'ostree.commit-']);
  assert.deepEqual(ownLabels(await jsonHere<Inspection>(['inspect', to])), { keep: '1' });
});

test.run();
