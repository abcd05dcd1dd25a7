// needs: docker-registry, skopeo, openssl
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { startProxy } from '../test-images/proxy.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import {
  documentOf,
  jsonDocument,
  noise,
  type Sample,
  sampleImage,
} from '../test-images/sample.ts';
import { readBlob } from './blob.ts';
import type { Blob, Destination } from './image.ts';
import { openImage } from './image.ts';
import { listRepositories, listTags } from './lists.ts';
import { MEDIA } from './oci.ts';
import {
  createRemote,
  openRemote,
  type RemoteEvent,
  type RemoteOptions,
  type RemoteReference,
} from './remote.ts';

const test = suite('remote');
const directory = mkdtempSync(join(tmpdir(), 'test-remote-'));
let registry: Registry;
let paths = 0;

test.before(async () => {
  registry = await startRegistry();
});
test.after(async () => {
  await registry.stop();
  rmSync(directory, { recursive: true });
});

const events: RemoteEvent[] = [];
const options: RemoteOptions = {
  env: {},
  retryDelayMs: 10,
  onEvent: (event) => void events.push(event),
};
const at = (repository: string, tag?: string): RemoteReference => ({
  host: registry.host,
  repository,
  tag,
});

function fileOf(bytes: Uint8Array): string {
  const path = join(directory, `blob-${paths++}`);
  writeFileSync(path, bytes);
  return path;
}

async function put(destination: Destination, sample: Sample): Promise<void> {
  for (const { descriptor, bytes } of sample.layers)
    await destination.putFile(descriptor, fileOf(bytes));
  await destination.putBytes(sample.config.descriptor, sample.config.bytes);
}

async function push(
  reference: RemoteReference,
  sample: Sample,
  tags: string[] = [],
): Promise<void> {
  const destination = await createRemote(reference, options);
  await put(destination, sample);
  await destination.commit(sample.root, tags);
  await destination.close();
}

function skopeo(...args: string[]): string {
  return execFileSync('skopeo', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Method, path without queries, and status of what the registry was asked since `from`. */
function log(from: number): string[] {
  return registry
    .accessLog()
    .slice(from)
    .map(
      ({ method, path, status }) =>
        `${method} ${path.replace(/\?.*/, '').replace(/uploads\/.+/, 'uploads/ID')} ${status}`,
    );
}

/** Waits until the registry has written down the end of `request`. */
async function settled(request: string): Promise<void> {
  for (let i = 0; i < 200 && !log(0).includes(request); i++)
    await new Promise((resolve) => setTimeout(resolve, 10));
}

test('what we push, skopeo reads: same bytes under every tag', async () => {
  const sample = sampleImage({ sizes: [3_000_000, 0, 1], seed: 'push' });
  await push(at('pushed/image', 'one'), sample, ['two', 'one', 'three']);
  for (const tag of ['one', 'two', 'three']) {
    const raw = skopeo(
      'inspect',
      '--raw',
      '--tls-verify=false',
      `docker://${registry.host}/pushed/image:${tag}`,
    );
    assert.equal(raw, Buffer.from(sample.root.bytes).toString());
  }
  skopeo(
    'copy',
    '--src-tls-verify=false',
    `docker://${registry.host}/pushed/image:two`,
    `dir:${directory}/dir`,
  );
  for (const { descriptor, bytes } of [sample.config, ...sample.layers])
    assert.deepEqual(
      readFileSync(join(directory, 'dir', descriptor.digest.slice(7))),
      Buffer.from(bytes),
    );
  assert.deepEqual((await listTags(at('pushed/image'), options)).sort(), ['one', 'three', 'two']);
});

test('what skopeo pushes, we read: raw manifest, config, blobs', async () => {
  const sample = sampleImage({ sizes: [70_000, 20], seed: 'skopeo' });
  await push(at('origin', 'x'), sample);
  skopeo(
    'copy',
    '--format',
    'v2s2',
    '--src-tls-verify=false',
    '--dest-tls-verify=false',
    `docker://${registry.host}/origin:x`,
    `docker://${registry.host}/by/skopeo:x`,
  );
  const source = await openRemote(at('by/skopeo', 'x'), options);
  assert.equal(source.root.descriptor.mediaType, MEDIA.dockerManifest);
  const raw = skopeo(
    'inspect',
    '--raw',
    '--tls-verify=false',
    `docker://${registry.host}/by/skopeo:x`,
  );
  assert.equal(Buffer.from(source.root.bytes).toString(), raw);
  const image = await openImage(source, { hostPlatform: { os: 'linux', architecture: 'amd64' } });
  assert.equal(image.layers.length, 2);
  for (const { descriptor } of image.layers) {
    const bytes = await readBlob(await source.blob(descriptor), descriptor, 1e9, 'layer');
    assert.equal(bytes.length, descriptor.size);
  }
  await source.close();
});

test('reads by digest, and refuses to write an image of another digest', async () => {
  const sample = sampleImage({ seed: 'digest' });
  await push(at('digest', 'x'), sample);
  const { digest } = sample.root.descriptor;
  const source = await openRemote({ ...at('digest'), digest }, options);
  assert.equal(source.reference, `docker://${registry.host}/digest@${digest}`);
  assert.deepEqual(source.root, sample.root);
  await source.close();
  const other = sampleImage({ seed: 'other' });
  const destination = await createRemote({ ...at('digest'), digest }, options);
  await put(destination, other);
  await assert.rejects(destination.commit(other.root, []), { code: 'digest-mismatch' });
  await destination.close();
});

test('writes under the digest alone where no tag is given', async () => {
  const sample = sampleImage({ seed: 'untagged' });
  const { digest } = sample.root.descriptor;
  await push({ ...at('untagged'), digest }, sample);
  const source = await openRemote({ ...at('untagged'), digest }, options);
  assert.deepEqual(source.root.bytes, Buffer.from(sample.root.bytes));
  await source.close();
  assert.deepEqual(
    await listTags(at('untagged'), options).catch((error) => error.code),
    'not-found',
  );
});

test('sends nothing that is there, and says so as progress', async () => {
  const sample = sampleImage({ sizes: [5000], seed: 'twice' });
  await push(at('twice', 'x'), sample);
  const from = registry.accessLog().length;
  const [layer] = sample.layers as [Sample['layers'][0]];
  const destination = await createRemote(at('twice', 'y'), options);
  assert.equal(await destination.has(layer.descriptor), true);
  assert.equal(await destination.has(sample.root.descriptor), true);
  const path = fileOf(layer.bytes);
  let sent = 0;
  await destination.putFile(layer.descriptor, path, (bytes) => {
    sent += bytes;
  });
  assert.equal(sent, 5000);
  assert.equal(existsSync(path), false);
  await destination.close();
  await settled(`HEAD /v2/twice/manifests/${sample.root.descriptor.digest} 200`);
  assert.deepEqual(
    log(from).filter((line) => line.startsWith('PUT')),
    [],
  );
});

test('mounts from the repository that a blob was read from', async () => {
  const sample = sampleImage({ sizes: [8000], seed: 'mount' });
  await push(at('mount/from', 'x'), sample);
  const [layer] = sample.layers as [Sample['layers'][0]];
  const source = await openRemote(at('mount/from', 'x'), options);
  const from = registry.accessLog().length;
  const destination = await createRemote(at('mount/to', 'x'), options);
  let sent = 0;
  await destination.putBlob(layer.descriptor, await source.blob(layer.descriptor), (bytes) => {
    sent += bytes;
  });
  assert.equal(sent, 8000);
  await settled('POST /v2/mount/to/blobs/uploads/ 201');
  const requests = log(from);
  assert.ok(requests.includes('POST /v2/mount/to/blobs/uploads/ 201'), requests.join('\n'));
  assert.ok(!requests.some((line) => /^(PUT|GET .*blobs)/.test(line)), requests.join('\n'));
  assert.equal(await destination.has(layer.descriptor), true);
  await Promise.all([source.close(), destination.close()]);
});

test('mounts from the repositories that are named, when asked what is there', async () => {
  const sample = sampleImage({ sizes: [9000], seed: 'mountFrom' });
  await push(at('mount/named', 'x'), sample);
  const [layer] = sample.layers as [Sample['layers'][0]];
  const mountFrom = [
    at('mount/without'),
    { host: 'elsewhere.example', repository: 'x' },
    at('mount/named'),
  ];
  const destination = await createRemote(at('mount/asked', 'x'), { ...options, mountFrom });
  assert.equal(await destination.has(layer.descriptor), true);
  const missing = documentOf(noise(10, 'missing'), MEDIA.layer);
  assert.equal(await destination.has(missing.descriptor), false);
  await destination.putFile(missing.descriptor, fileOf(missing.bytes));
  assert.equal(await destination.has(missing.descriptor), true);
  await destination.close();
});

test('copies a blob from another registry, checked', async () => {
  const other = await startRegistry();
  const sample = sampleImage({ sizes: [6_000_000], seed: 'copy' });
  await push(at('copy', 'x'), sample);
  const [layer] = sample.layers as [Sample['layers'][0]];
  const source = await openRemote(at('copy', 'x'), options);
  const destination = await createRemote({ host: other.host, repository: 'copy' }, options);
  await destination.putBlob(layer.descriptor, await source.blob(layer.descriptor));
  const read = await readBlob(
    await destination.read(layer.descriptor),
    layer.descriptor,
    1e9,
    'layer',
  );
  assert.ok(read.equals(layer.bytes));
  const wrong = {
    stream: () => source.blob(sample.config.descriptor).then((blob) => blob.stream()),
  };
  const lying: Blob = {
    stream: async function* () {
      yield* await wrong.stream();
    },
  };
  const { size } = sample.config.descriptor;
  const claim = { ...documentOf(noise(size, 'claim'), MEDIA.layer).descriptor };
  await assert.rejects(destination.putBlob(claim, lying), { code: 'digest-mismatch' });
  assert.equal(await destination.has(claim), false);
  await Promise.all([source.close(), destination.close()]);
  await other.stop();
});

test('chunked uploads from the start, by file and by stream', async () => {
  const sample = sampleImage({ sizes: [9_500_000], seed: 'chunked' });
  const [layer] = sample.layers as [Sample['layers'][0]];
  for (const repository of ['chunked/file', 'chunked/stream']) {
    const from = registry.accessLog().length;
    const destination = await createRemote(at(repository), { ...options, upload: 'chunked' });
    let sent = 0;
    const onProgress = (bytes: number): void => {
      sent += bytes;
    };
    if (repository.endsWith('file'))
      await destination.putFile(layer.descriptor, fileOf(layer.bytes), onProgress);
    else
      await destination.putBlob(
        layer.descriptor,
        {
          stream: async function* () {
            yield layer.bytes;
          },
        },
        onProgress,
      );
    assert.equal(sent, 9_500_000);
    const read = await readBlob(
      await destination.read(layer.descriptor),
      layer.descriptor,
      1e9,
      'layer',
    );
    assert.ok(read.equals(layer.bytes));
    assert.equal(log(from).filter((line) => line.startsWith('PATCH')).length, 3);
    await destination.close();
  }
});

test('close without commit leaves no tag', async () => {
  const sample = sampleImage({ seed: 'uncommitted' });
  const destination = await createRemote(at('uncommitted', 'x'), options);
  await put(destination, sample);
  await destination.putBytes(sample.root.descriptor, sample.root.bytes);
  await destination.close();
  await assert.rejects(openRemote(at('uncommitted', 'x'), options), {
    code: 'not-found',
    message: new RegExp(
      `^reading docker://${registry.host}/uncommitted:x: GET http://${registry.host}/v2/uncommitted/manifests/x: got 404 Not Found \\(MANIFEST_UNKNOWN: manifest unknown\\), want 200$`,
    ),
  });
});

test('a file that is not what its descriptor says is refused, by size and by digest', async () => {
  const { descriptor, bytes } = documentOf(noise(2000, 'real'), MEDIA.layer);
  const destination = await createRemote(at('wrong', 'x'), options);
  await assert.rejects(destination.putFile(descriptor, fileOf(bytes.subarray(1))), {
    code: 'size-mismatch',
  });
  await assert.rejects(destination.putFile(descriptor, fileOf(noise(2000, 'forged'))), {
    code: 'registry',
    message: /DIGEST_INVALID/,
  });
  await assert.rejects(destination.putBytes(descriptor, noise(2000, 'forged')), {
    code: 'digest-mismatch',
  });
  assert.equal(await destination.has(descriptor), false);
  await destination.close();
});

test('an index goes up with its children, and comes back', async () => {
  const [amd64, arm64] = [sampleImage({ seed: 'amd64' }), sampleImage({ seed: 'arm64' })];
  const index = jsonDocument(
    {
      schemaVersion: 2,
      mediaType: MEDIA.index,
      manifests: [
        { ...amd64.root.descriptor, platform: { os: 'linux', architecture: 'amd64' } },
        { ...arm64.root.descriptor, platform: { os: 'linux', architecture: 'arm64' } },
      ],
    },
    MEDIA.index,
  );
  const destination = await createRemote(at('index', 'x'), options);
  for (const sample of [amd64, arm64]) {
    await put(destination, sample);
    await destination.putBytes(sample.root.descriptor, sample.root.bytes);
  }
  await destination.commit(index, []);
  await destination.close();
  const source = await openRemote(at('index', 'x'), options);
  assert.deepEqual(source.root, index);
  assert.deepEqual(
    (await source.document(arm64.root.descriptor)).bytes,
    Buffer.from(arm64.root.bytes),
  );
  assert.deepEqual(
    (await source.document(arm64.config.descriptor)).bytes,
    Buffer.from(arm64.config.bytes),
  );
  await assert.rejects(source.document({ ...arm64.config.descriptor, size: 7 }), {
    code: 'size-mismatch',
  });
  await source.close();
});

test('referrers by the stand-in tag, and by cosign’s tags', async () => {
  const image = sampleImage({ seed: 'signed' });
  const { digest } = image.root.descriptor;
  await push(at('signed', 'x'), image);
  const signatures = ['a', 'b'].map((seed) =>
    sampleImage({ seed, subject: image.root.descriptor, annotations: { seed } }),
  );
  for (const signature of [...signatures, ...signatures])
    await push({ ...at('signed'), digest: signature.root.descriptor.digest }, signature);
  const cosign = sampleImage({ seed: 'cosign' });
  await push(at('signed', `sha256-${digest.slice(7)}.sig`), cosign);
  const source = await openRemote(at('signed', 'x'), options);
  assert.deepEqual(await source.referrers(digest), [
    ...signatures.map(({ root }, i) => ({
      ...root.descriptor,
      artifactType: MEDIA.config,
      annotations: { seed: 'ab'[i] },
    })),
    {
      ...cosign.root.descriptor,
      artifactType: 'application/vnd.dev.cosign.artifact.sig.v1+json',
      annotations: { 'org.opencontainers.image.ref.name': `sha256-${digest.slice(7)}.sig` },
    },
  ]);
  assert.deepEqual(await source.referrers(image.config.descriptor.digest), []);
  await source.close();
});

test('referrers by the API, page by page, over a line that breaks', async () => {
  const image = sampleImage({ seed: 'api' });
  await push(at('api', 'x'), image);
  const entries = ['1', '2', '3'].map((seed) => sampleImage({ seed }).root.descriptor);
  const proxy = await startProxy(registry.host);
  let breaks = 1;
  proxy.fault = ({ path, reply, response, drop }) => {
    const found = /^\/v2\/api\/referrers\/[^?]*(?:\?last=(\d))?$/.exec(path);
    if (!found) return false;
    const page = Number(found[1] ?? 0);
    if (page === 1 && breaks-- > 0) return response.writeHead(200).write('{', drop);
    const link =
      page < 2 ? `<${path.replace(/\?.*/, '')}?last=${page + 1}>; rel="next"` : undefined;
    const body = JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.index,
      manifests: [entries[page]],
    });
    return reply({
      status: 200,
      headers: { 'content-type': `${MEDIA.index}; charset=utf-8`, link },
      body,
    });
  };
  const source = await openRemote({ host: proxy.host, repository: 'api', tag: 'x' }, options);
  assert.deepEqual(await source.referrers(image.root.descriptor.digest), entries);
  assert.equal(breaks, -1);
  await source.close();
  await proxy.stop();
});

test('a registry that will not list referrers is no reason to fail, but told', async () => {
  const image = sampleImage({ seed: 'unlisted' });
  await push(at('unlisted', 'x'), image);
  const { digest } = image.root.descriptor;
  const proxy = await startProxy(registry.host);
  proxy.fault = ({ path, reply }) =>
    /\/referrers\/|\/sha256-/.test(path) ? reply({ status: 403, body: 'no' }) : false;
  const told: string[] = [];
  const source = await openRemote(
    { host: proxy.host, repository: 'unlisted', tag: 'x' },
    { ...options, onEvent: ({ message }) => void told.push(message) },
  );
  assert.deepEqual(await source.referrers(digest), []);
  await source.close();
  await proxy.stop();
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', new RegExp(`^signatures and the like of ${digest} .* 403 Forbidden`));
});

test('a registry that notes subjects itself gets no stand-in tag', async () => {
  const image = sampleImage({ seed: 'noted' });
  await push(at('noted', 'x'), image);
  const proxy = await startProxy(registry.host);
  proxy.fault = async ({ method, path, fetch, reply }) => {
    if (method !== 'PUT' || !path.includes('/manifests/')) return false;
    const answer = await fetch();
    return reply({
      ...answer,
      headers: { ...answer.headers, 'oci-subject': image.root.descriptor.digest },
    });
  };
  const signature = sampleImage({ seed: 'noted sig', subject: image.root.descriptor });
  await push({ host: proxy.host, repository: 'noted', tag: 'sig' }, signature);
  assert.deepEqual((await listTags(at('noted'), options)).sort(), ['sig', 'x']);
  await proxy.stop();
});

test('lists page by page, without what is null', async () => {
  const proxy = await startProxy(registry.host);
  proxy.fault = ({ path, reply }) => {
    if (!path.startsWith('/v2/many/tags/list')) return false;
    const last = new URL(path, 'http://x').searchParams.get('last');
    if (last === null)
      return reply({
        status: 200,
        headers: { link: '</v2/many/tags/list?n=2&last=b>; rel="next"' },
        body: '{"name":"many","tags":["a",null,"b"]}',
      });
    if (last === 'b')
      return reply({
        status: 200,
        headers: { link: `<https://${proxy.host}/v2/many/tags/list?last=c>; rel="next"` },
        body: '{"tags":["c"]}',
      });
    return reply({ status: 200, body: '{"name":"many","tags":null}' });
  };
  assert.deepEqual(await listTags({ host: proxy.host, repository: 'many' }, options), [
    'a',
    'b',
    'c',
  ]);
  proxy.fault = ({ path, reply }) =>
    path.includes('tags/list')
      ? reply({ status: 200, headers: { link: `<${path}>; rel="next"` }, body: '{"tags":["a"]}' })
      : false;
  await assert.rejects(listTags({ host: proxy.host, repository: 'many' }, options), {
    message: /never end/,
  });
  proxy.fault = ({ path, reply }) =>
    path.includes('tags/list')
      ? reply({
          status: 200,
          headers: { link: '<https://evil.example/>; rel="next"' },
          body: '{"tags":["a"]}',
        })
      : false;
  await assert.rejects(listTags({ host: proxy.host, repository: 'many' }, options), {
    message: /another host/,
  });
  await proxy.stop();
  const repositories = await listRepositories(registry.host, options);
  assert.ok(repositories.includes('index') && repositories.includes('by/skopeo'));
});

test('refuses names that cannot be', async () => {
  for (const repository of [
    '',
    'Upper',
    'a//b',
    '../x',
    'a/../b',
    'a b',
    'a?x=1',
    `${'a'.repeat(260)}`,
  ])
    await assert.rejects(openRemote(at(repository), options), { code: 'reference' }, repository);
  for (const tag of ['', '-x', 'a/b', 'a:b', 'x'.repeat(129)])
    await assert.rejects(openRemote(at('a', tag), options), { code: 'reference' }, tag);
  for (const host of ['', 'a b', 'user:secret@reg.example', 'reg.example/x', 'reg:port'])
    await assert.rejects(
      openRemote({ host, repository: 'a' }, options),
      { code: 'reference' },
      host,
    );
  await assert.rejects(openRemote({ ...at('a'), digest: 'sha256:short' as 'sha256:x' }, options), {
    code: 'manifest',
  });
});

test('a host that nobody answers on is named', async () => {
  const gone = await startRegistry();
  await gone.stop();
  await assert.rejects(openRemote({ host: gone.host, repository: 'a' }, options), {
    code: 'network',
    message: new RegExp(
      `^reading docker://${gone.host}/a:latest: GET http://${gone.host}/v2/: .*ECONNREFUSED`,
    ),
  });
});

test('an interruption ends what is under way', async () => {
  const controller = new AbortController();
  const proxy = await startProxy(registry.host);
  proxy.fault = ({ path }) => {
    if (!path.includes('/manifests/')) return false;
    controller.abort();
    return undefined;
  };
  const run = openRemote(
    { host: proxy.host, repository: 'a' },
    { ...options, signal: controller.signal },
  );
  await assert.rejects(run, { code: 'interrupted' });
  assert.equal(proxy.seen.filter(({ path }) => path.includes('/manifests/')).length, 1);
  await proxy.stop();
});

test.run();
