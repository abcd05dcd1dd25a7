/** What is found in layouts, in zot's directory, and on registries that answer in their own ways (a server that says what it is told to). */
import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { documentOf, type Sample, sampleImage } from '../../test-images/sample.ts';
import {
  type Answers,
  documentsOf,
  fileOf,
  hold,
  indexOf,
  named,
  serving,
  sizeOf,
  tagFor,
  writeLayout,
} from '../../test-images/stores.ts';
import type { Document } from '../image.ts';
import { ANNOTATION, MEDIA } from '../oci.ts';
import { collect } from './collect.ts';
import { makeReport } from './figures.ts';
import type { Report } from './report.ts';
import type { Memory, SurveyOptions } from './survey.ts';

const stores = suite('stores');
let work: string;

stores.before(() => {
  work = mkdtempSync(join(tmpdir(), 'rechunk-stores-'));
});

stores.after(() => rmSync(work, { recursive: true, force: true }));

const remote = { env: {}, retryDelayMs: 1 };

async function reportOn(target: string, options: Partial<SurveyOptions> = {}): Promise<Report> {
  return makeReport(await collect([target], { remote, ...options }));
}

stores('a layout: names, what has none, what is attached, what nothing needs', async () => {
  const directory = join(work, 'layout');
  const [one, two] = [sampleImage({ seed: 'one' }), sampleImage({ seed: 'two' })];
  const signature = sampleImage({ seed: 'signature', sizes: [10] });
  const sbom = sampleImage({ seed: 'sbom', sizes: [20], subject: one.root.descriptor });
  const lost = sampleImage({
    seed: 'lost',
    sizes: [30],
    subject: documentOf(Buffer.from('gone'), MEDIA.manifest).descriptor,
  });
  const orphan = documentOf(Buffer.from('nobody needs this'), MEDIA.layer);
  const entries = [
    named(one, '1.0'),
    two.root.descriptor,
    named(signature, tagFor(one, '.sig')),
    sbom.root.descriptor,
    lost.root.descriptor,
  ];
  writeLayout(
    directory,
    [...[one, two, signature, sbom, lost].flatMap(documentsOf), orphan],
    entries,
  );
  const report = await reportOn(`oci:${directory}`);
  const short = `@${two.root.descriptor.digest.slice(0, 19)}`;
  assert.deepEqual(
    report.tags.map(({ tag }) => tag).sort(),
    ['1.0', short, `@${lost.root.descriptor.digest.slice(0, 19)}`].sort(),
  );
  const tag = report.tags.find((found) => found.tag === '1.0');
  assert.equal(tag?.total.compressed, sizeOf(one) + sizeOf(signature) + sizeOf(sbom));
  assert.deepEqual(tag?.attached?.map(({ by }) => by).sort(), ['referrers', 'tag']);
  const [found] = report.unreferenced;
  assert.deepEqual(found?.blobs, [{ digest: orphan.descriptor.digest, size: orphan.bytes.length }]);
  assert.deepEqual(
    found?.dangling.map(({ digest }) => digest),
    [lost.root.descriptor.digest],
  );
});

stores('a layout whose blobs are damaged or missing tells which, and counts the rest', async () => {
  const directory = join(work, 'damaged');
  const [good, bad, gone] = ['good', 'bad', 'gone'].map((seed) => sampleImage({ seed })) as [
    Sample,
    Sample,
    Sample,
  ];
  writeLayout(directory, [good, bad].flatMap(documentsOf), [
    named(good, '1'),
    named(bad, '2'),
    named(gone, '3'),
  ]);
  writeFileSync(fileOf(directory, bad.root), Buffer.alloc(bad.root.bytes.length));
  rmSync(fileOf(directory, good.layers[0] as Document));
  const report = await reportOn(`oci:${directory}`);
  const [first] = good.layers;
  assert.equal(report.headline.stored.compressed, sizeOf(good) - (first?.bytes.length ?? 0));
  const why = (report.skipped ?? []).map((one) => `${one.name.split(':').at(-1)}: ${one.why}`);
  assert.equal(why.length, 3);
  assert.match(
    why.join('\n'),
    /^2: .*got digest sha256:.*3: its manifest .* is not there.*1: a blob that it needs is not there$/s,
  );
  await assert.rejects(reportOn(`oci:${work}/none`), /reading oci:.*none: .*ENOENT/);
});

stores(
  'zot’s directory: repositories below each other, links between them, copies, lost tags',
  async () => {
    const directory = join(work, 'zot');
    const [one, two, lost] = ['one', 'two', 'lost'].map((seed) => sampleImage({ seed })) as [
      Sample,
      Sample,
      Sample,
    ];
    const [a, b] = [join(directory, 'team/app'), join(directory, 'other')];
    writeLayout(a, [one, lost].flatMap(documentsOf), [named(one, '1.0'), lost.root.descriptor]);
    writeLayout(b, documentsOf(two), [named(two, '2.0'), named(one, '1.0')]);
    for (const document of documentsOf(one)) linkSync(fileOf(a, document), fileOf(b, document));
    const copy = one.layers[0] as Document;
    mkdirSync(join(a, '.uploads'));
    writeFileSync(join(a, '.uploads', '5f2c'), 'half');
    rmSync(fileOf(b, copy));
    writeFileSync(fileOf(b, copy), copy.bytes);
    const report = await reportOn(`storage:${directory}`);
    assert.deepEqual(
      report.repositories.map(({ name }) => name.replace(`storage:${directory}/`, '')),
      ['other', 'team/app'],
    );
    assert.equal(report.headline.stored.compressed, sizeOf(one) + sizeOf(two));
    const [found] = report.unreferenced;
    assert.equal(found?.copies, copy.bytes.length);
    assert.deepEqual(found?.uploads, { count: 1, bytes: 4 });
    assert.deepEqual(
      found?.untagged.map(({ digest, bytes }) => [digest, bytes]),
      [[lost.root.descriptor.digest, sizeOf(lost)]],
    );
    assert.deepEqual(found?.blobs, []);
  },
);

stores('a registry without a catalog says that repositories must be named', async () => {
  await serving({}, async (host) => {
    await assert.rejects(
      reportOn(`docker://${host}`),
      /does not list its repositories \(\/v2\/_catalog\); name them: docker:\/\/.*\/REPO/,
    );
  });
});

/** An image below four indexes that each name the next 2,000 times: 2,000 to the fourth ways to it. */
function repetitive(): { readonly documents: Document[]; readonly root: Document } {
  const image = sampleImage({ seed: 'repeated' });
  const documents = documentsOf(image);
  let root = image.root;
  for (let depth = 0; depth < 4; depth++) {
    root = indexOf(...Array.from({ length: 2000 }, () => root.descriptor));
    documents.push(root);
  }
  return { documents, root };
}

stores('indexes that repeat themselves are read once, however many ways there are', async () => {
  const { documents, root } = repetitive();
  const directory = join(work, 'repetitive');
  const entry = { ...root.descriptor, annotations: { [ANNOTATION.refName]: '1' } };
  writeLayout(directory, documents, [entry]);
  const answers = {
    '/v2/app/tags/list': ['1'],
    ...hold('app', documents),
    '/v2/app/manifests/1': root,
  };
  await serving(answers, async (host) => {
    for (const target of [`oci:${directory}`, `docker://${host}/app`])
      assert.equal((await reportOn(target)).headline.images, 1, target);
  });
});

stores(
  'a registry that wants a login, or asks to wait, is not said to have no catalog',
  async () => {
    for (const [status, wanted] of [
      [401, /more rights are needed: log in, or name them: docker:\/\/.*\/REPO/],
      [429, /got 429 Too Many Requests/],
    ] as const) {
      const refuse = (response: ServerResponse): unknown => response.writeHead(status).end('{}');
      await serving({ '/v2/_catalog': refuse as never }, async (host) => {
        await assert.rejects(
          reportOn(`docker://${host}`, { remote: { ...remote, retries: 0 } }),
          (error: Error) => wanted.test(error.message) && !/does not list/.test(error.message),
        );
      });
    }
  },
);

stores('where a registry’s API lies is found once for all repositories', async () => {
  const image = sampleImage();
  const names = ['a', 'b', 'c'];
  const answers: Record<string, Answers[string]> = { '/v2/_catalog': names };
  for (const name of names)
    Object.assign(answers, hold(name, documentsOf(image)), {
      [`/v2/${name}/tags/list`]: ['1'],
      [`/v2/${name}/manifests/1`]: image.root,
    });
  await serving(answers, async (host, asked) => {
    await reportOn(`docker://${host}`);
    assert.ok(asked.filter((one) => one === 'GET /v2/').length === 1, asked.join('\n'));
  });
});

stores('platforms, attestations, referrers and cosign’s tags count with their image', async () => {
  const [image, attestation, signature] = ['image', 'attestation', 'signature'].map((seed) =>
    sampleImage({ seed }),
  ) as [Sample, Sample, Sample];
  const absent = sampleImage({ seed: 'another platform' });
  const root = indexOf(
    { ...image.root.descriptor, platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } },
    { ...absent.root.descriptor, platform: { os: 'linux', architecture: 's390x' } },
    {
      ...attestation.root.descriptor,
      annotations: {
        [ANNOTATION.attestationType]: 'attestation-manifest',
        [ANNOTATION.attestationSubject]: image.root.descriptor.digest,
      },
    },
  );
  const sbom = sampleImage({ seed: 'sbom', subject: root.descriptor });
  const answers: Answers = {
    ...hold('a', [root, ...[image, attestation, signature, sbom].flatMap(documentsOf)]),
    '/v2/_catalog': ['a', 'empty'],
    '/v2/a/tags/list': ['1.0', tagFor(image, '.sig'), 'broken'],
    '/v2/a/manifests/1.0': root,
    [`/v2/a/manifests/${tagFor(image, '.sig')}`]: signature.root,
    '/v2/a/manifests/broken': (response) =>
      response.setHeader('content-type', MEDIA.manifest).end('{"schemaVersion":1,"fsLayers":[]}'),
    [`/v2/a/referrers/${root.descriptor.digest}`]: indexOf({
      ...sbom.root.descriptor,
      artifactType: 'application/spdx',
    }),
    ...Object.fromEntries(
      [image, attestation, sbom, signature].map((one) => [
        `/v2/a/referrers/${one.root.descriptor.digest}`,
        indexOf(),
      ]),
    ),
  };
  await serving(answers, async (host) => {
    const report = await reportOn(`docker://${host}`);
    assert.deepEqual(
      report.tags.map(({ tag, platforms }) => [tag, platforms]),
      [['1.0', ['linux/arm64/v8']]],
    );
    const [tag] = report.tags;
    const all = [image, attestation, signature, sbom].reduce(
      (sum, one) => sum + sizeOf(one),
      root.bytes.length,
    );
    assert.equal(tag?.total.compressed, all);
    assert.deepEqual(tag?.attached?.map(({ by }) => by).sort(), ['index', 'referrers', 'tag']);
    assert.deepEqual(
      report.skipped?.map(({ name, why }) => [name, /broken/.test(name) || why]),
      [
        [`${host}/a:broken`, true],
        [`${host}/a:1.0`, 'a manifest or config that it names is not there'],
      ],
    );
  });
});

stores(
  'a request that is told to wait makes the others wait, and the report is whole',
  async () => {
    const images = Array.from({ length: 20 }, (_, i) =>
      sampleImage({ seed: `image ${i}`, sizes: [5] }),
    );
    let refused = 0;
    const answers: Record<string, Answers[string]> = {
      ...hold('a', images.flatMap(documentsOf)),
      '/v2/a/tags/list': images.map((_, i) => `1.${i}`),
    };
    for (const [i, { root }] of images.entries()) answers[`/v2/a/manifests/1.${i}`] = root;
    const { root: third } = images[3] as Sample;
    answers['/v2/a/manifests/1.3'] = (response) => {
      if (refused++ === 0) response.writeHead(429, { 'retry-after': '1' }).end();
      else response.writeHead(200, { 'content-type': MEDIA.manifest }).end(third.bytes);
    };
    await serving(answers, async (host, asked) => {
      const began = performance.now();
      let late = 0;
      const watch = setInterval(() => {
        if (performance.now() - began < 800) late = asked.length;
      }, 20);
      const report = await reportOn(`docker://${host}/a`, { requests: 2, referrers: false });
      clearInterval(watch);
      assert.equal(report.tags.length, 20);
      assert.ok(late < 12, `${late} requests while the registry asked to wait`);
    });
  },
);

stores('what was learnt is of use as long as it is whole, and only then', async () => {
  const kept = new Map<string, Uint8Array>();
  const memory: Memory = {
    read: (key) => Promise.resolve(kept.get(key)),
    write: (key, bytes) => kept.set(key, bytes),
  };
  const image = sampleImage({ seed: 'image' });
  const answers = {
    ...hold('a', documentsOf(image)),
    '/v2/a/tags/list': ['1'],
    '/v2/a/manifests/1': image.root,
  };
  await serving(answers, async (host, asked) => {
    const first = await reportOn(`docker://${host}/a`, { memory, referrers: false });
    const before = asked.length;
    assert.deepEqual(await reportOn(`docker://${host}/a`, { memory, referrers: false }), first);
    assert.deepEqual(
      asked.slice(before).filter((one) => /manifests|blobs/.test(one)),
      ['HEAD /v2/a/manifests/1'],
    );
    for (const key of kept.keys()) kept.set(key, Buffer.from('damaged'));
    assert.deepEqual(await reportOn(`docker://${host}/a`, { memory, referrers: false }), first);
  });
});

stores.run();
