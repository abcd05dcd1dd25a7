/** What `rechunk report` prints, and how it ends. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { ANNOTATION, type Descriptor, MEDIA } from '../../registry/oci.ts';
import { collect } from '../../registry/report/collect.ts';
import { makeReport, type Questions } from '../../registry/report/figures.ts';
import type { Report } from '../../registry/report/report.ts';
import { runHere } from '../../test-images/cli.ts';
import { madeUpReport } from '../../test-images/reports.ts';
import {
  documentOf,
  jsonDocument,
  noise,
  type Sample,
  sampleImage,
} from '../../test-images/sample.ts';
import { limitsOf } from '../report/limits.ts';
import { formatMarkdown } from './reportmarkdown.ts';
import { formatText } from './reportsummary.ts';
import { oneLine } from './values.ts';

const report = suite('report');
let work: string;

report.before(() => {
  work = mkdtempSync(join(tmpdir(), 'rechunk-report-'));
});

report.after(() => rmSync(work, { recursive: true, force: true }));

/** Writes a layout of images under their names. */
function layout(name: string, images: readonly (readonly [string, Sample])[]): string {
  const directory = join(work, name);
  mkdirSync(join(directory, 'blobs', 'sha256'), { recursive: true });
  const entries: Descriptor[] = [];
  for (const [tag, { root, config, layers }] of images) {
    for (const { descriptor, bytes } of [root, config, ...layers])
      writeFileSync(join(directory, 'blobs', descriptor.digest.replace(':', '/')), bytes);
    entries.push({ ...root.descriptor, annotations: { [ANNOTATION.refName]: tag } });
  }
  const index = jsonDocument({ schemaVersion: 2, manifests: entries }, MEDIA.index);
  writeFileSync(join(directory, 'index.json'), index.bytes);
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  return `oci:${directory}`;
}

async function reportOn(target: string, questions: Questions = {}): Promise<Report> {
  const made = makeReport(await collect([target], { remote: { env: {} } }), questions);
  return { ...made, limits: limitsOf(made) };
}

/** Two tags whose images have a layer in common. */
function pair(): string {
  const shared = documentOf(noise(3000, 'shared'), MEDIA.layer);
  const images = ['1.0', '1.1'].map((tag): [string, Sample] => {
    const own = documentOf(noise(1000, tag), MEDIA.layer);
    const layers = [shared, own];
    const diffIds = layers.map(({ descriptor }) => descriptor.digest);
    const config = jsonDocument(
      { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: diffIds } },
      MEDIA.config,
    );
    const descriptors = layers.map(({ descriptor }) => descriptor);
    const manifest = { schemaVersion: 2, mediaType: MEDIA.manifest, config: config.descriptor };
    const root = jsonDocument({ ...manifest, layers: descriptors }, MEDIA.manifest);
    return [tag, { root, config, layers }];
  });
  return layout('pair', images);
}

report('a person reads what is stored, what an update pulls, what a deletion frees', async () => {
  const made = await reportOn(pair(), { ifDeleted: ['1.0'], holds: ['1.0'], mbit: 1 });
  const text = formatText(made, { rows: 10 });
  assert.match(text, /^1 repository, 2 tags, 2 images, 7 blobs, 3 layers\n/);
  assert.match(text, /1 update from tag to tag: 1\.0 kB on average \(25\.0 % of the image\)/);
  assert.match(text, /deleting 1 tag \(1\.0\) frees 1\.\d kB \(1\.\d kB unpacked\) in 3 blobs/);
  assert.match(
    text,
    /a linux\/amd64 node that holds .*pair:1\.0 pulls \(at 1 Mbit\/s\):\n.*\n.*pair:1\.1 +1\.0 kB +1 +0\.0 s\n/,
  );
});

report(
  'files are told of where they were read: duplicates, floors, what metadata alone sends again',
  () => {
    const made = madeUpReport({ files: true, tags: 6, layers: 9 });
    const [duplicate] = made.files?.duplicates ?? [];
    const path = oneLine(duplicate?.paths[0] ?? '');
    const text = formatText(made, { rows: 10 });
    const markdown = formatMarkdown(made, { rows: 10 });
    assert.ok(path !== '' && text.includes(`  ${path} `) && markdown.includes(path));
    for (const shown of [text, markdown]) {
      assert.match(shown, /files? in the layers have \d+ contents?: .* are further copies/);
      assert.match(shown, /floor by files/);
      assert.match(shown, /nothing differs/);
    }
    const without = formatText({ ...made, files: undefined as never }, { rows: 10 });
    assert.ok(!without.includes('nothing differs'));
  },
);

report(
  'a limit is not kept where the newest tag cannot be read, and what is said names it',
  async () => {
    const images = ['1.0', '1.1', '1.2'].map((tag) => [tag, sampleImage({ seed: tag })] as const);
    const target = layout('unread', images);
    const [, , [, { root }]] = images as [never, never, (typeof images)[number]];
    rmSync(join(work, 'unread', 'blobs', root.descriptor.digest.replace(':', '/')));
    const { status, stdout, stderr } = await runHere([
      'report',
      target,
      '--max-update-bytes',
      '1GB',
    ]);
    assert.equal(status, 1);
    const told =
      /not held: --max-update-bytes 1\.0 GB: \S*unread:1\.2, the newest of its stream, cannot be read/;
    assert.match(stdout, told);
    assert.match(stderr, told);
  },
);

report('names that images bring are no markup, no links and no orders to a terminal', async () => {
  const hostile = '<img src=x>|`a` [b](http://c) $m$ http://h www.w @d\u001b[31m\u202e\n# e';
  const target = layout('hostile', [
    [hostile, sampleImage()],
    ['1.1', sampleImage({ seed: 'b' })],
  ]);
  const found = await reportOn(target, { ifDeleted: ['<*'], holds: ['<*'] });
  // What configs and packages say is no better.
  const made = {
    ...found,
    ...(found.node && { node: { ...found.node, platform: hostile } }),
    layers: found.layers.map((layer) => ({ ...layer, createdBy: hostile })),
    thresholds: [
      { name: 'max-update-bytes', limit: 1, found: 2, crossed: true, where: hostile },
      { name: 'min-shared', limit: 1, crossed: true, where: hostile },
    ],
    skipped: [{ name: hostile, why: hostile }],
  };
  for (const text of [formatText(made, { rows: 10 }), formatMarkdown(made, { rows: 10 })])
    assert.ok(!/[\x00-\x09\x0b-\x1f\x7f\u202e]/.test(text) && !/^# e/m.test(text), text);
  const markdown = formatMarkdown(made, { rows: 10 });
  // Without code spans and escaped signs, nothing of it is left.
  const bare = markdown
    .replaceAll('<span>$</span>', '')
    .replace(/(`+)(?:(?!\1)[^\n])+?\1(?!`)/g, '')
    .replace(/\\./g, '');
  assert.ok(!/<img|\]\(http|http:\/\/|www\.w|@d|\$/.test(bare), bare);
});

report('Markdown of ten thousand tags fits into a step’s summary', async () => {
  const made = await reportOn(pair());
  const [tag] = made.tags;
  const many = Array.from({ length: 10_000 }, (_, i) => ({
    ...(tag as Report['tags'][0]),
    tag: `${'long'.repeat(25)}-${i}`,
  }));
  const all = { ...made, tags: many };
  const whole = formatMarkdown(all, { rows: Number.POSITIVE_INFINITY });
  assert.ok(Buffer.byteLength(whole) < 1 << 20 && /… and \d+ more/.test(whole), `${whole.length}`);
  assert.ok(formatText(all, { rows: Number.POSITIVE_INFINITY }).includes('-9999'));
});

report('a list of two hundred thousand tags is printed whole', async () => {
  const made = await reportOn(pair());
  const [tag] = made.tags;
  const tags = Array.from({ length: 200_000 }, () => tag as Report['tags'][0]);
  const text = formatText({ ...made, tags }, { rows: Number.POSITIVE_INFINITY });
  assert.ok(text.split('\n').length > tags.length);
});

report('an image with more layers than Docker takes is told of, once', async () => {
  const many = sampleImage({ sizes: Array.from({ length: 130 }, () => 1) });
  const target = layout('layers', [
    ['1.0', many],
    ['1.1', many],
  ]);
  const made = await reportOn(target);
  const rules = new Set(made.limits?.map(({ rule }) => rule));
  assert.deepEqual([...rules], ['docker-layers', 'bootc-layers', 'podman-layers']);
  assert.deepEqual(made.limits?.[0]?.consumers, ['docker20', 'docker', 'ml']);
  const text = formatText(made, { rows: 10 });
  assert.equal(
    text.match(/limit: 130 layers: Docker’s .*layers:1\.0 and 1 more\)/g)?.length,
    1,
    text,
  );
});

report('the exit status is 0, 1 where a limit is crossed, 2 for what cannot be', async () => {
  const target = pair();
  const kept = await runHere([
    'report',
    target,
    '--max-update-bytes',
    '1000',
    '--min-shared',
    '75%',
  ]);
  assert.deepEqual([kept.status, kept.stderr], [0, '']);
  const crossed = await runHere(['report', target, '--max-update-bytes', '999', '--markdown']);
  assert.equal(crossed.status, 1);
  assert.match(
    crossed.stderr,
    /^rechunk: crossed: --max-update-bytes 999 B, found 1\.0 kB for .*1\.0 -> 1\.1 \(linux\/amd64\)\n$/,
  );
  assert.match(crossed.stdout, /^### Layers of `oci:/);
  for (const [args, message] of [
    [[], /missing required argument 'target'/],
    [
      ['oci-archive:x'],
      /reading the target 'oci-archive:x': got nothing that holds several images; want docker:\/\/HOST/,
    ],
    [[target, '--json', '--markdown'], /want one of them/],
    [[target, '--min-shared', '120'], /--min-shared: got '120', want a percentage from 0 to 100/],
    [[target, '--min-shared', '%'], /--min-shared: got '%', want a percentage/],
    [[target, '--index', work], /--index: want --files, too/],
    [[target, '--html', join(work, 'none', 'page.html')], /writing .*page\.html: ENOENT/],
    [[target, '--config', 'x'], /unknown option '--config'/],
    [[target, '--mbit', '100'], /--mbit: want --holds, too/],
    [[target, '--if-deleted', '9.*'], /no tag is like '9\.\*', of 2/],
  ] as const) {
    const { status, stderr } = await runHere(['report', ...args]);
    assert.equal(status, 2, stderr);
    assert.match(stderr, message);
  }
});

report.run();
