// needs: docker-registry
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import {
  type Answer,
  type Exchange,
  type Fault,
  type FaultProxy,
  startProxy,
} from '../test-images/proxy.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { documentOf, noise, type Sample, sampleImage } from '../test-images/sample.ts';
import { readBlob } from './blob.ts';
import type { Document } from './image.ts';
import { listTags } from './lists.ts';
import { MEDIA } from './oci.ts';
import { createRemote, type RemoteEvent, type RemoteOptions } from './remote.ts';

const test = suite('upload');
const directory = mkdtempSync(join(tmpdir(), 'test-upload-'));
const USER = { username: 'ann', password: 'secret-of-ann' };
const BASIC = `Basic ${Buffer.from(`${USER.username}:${USER.password}`).toString('base64')}`;
/** Larger than two chunks and no multiple of one. */
const SIZE = 9_000_001;

let registry: Registry;
let proxy: FaultProxy;
/** Another host, where a registry may keep its blobs. */
let store: FaultProxy;
let count = 0;
const events: RemoteEvent[] = [];
/** Repositories where a session stays, since nobody was told its Location. */
const abandoned: string[] = [];
const options: RemoteOptions = {
  env: {},
  credentials: USER,
  retryDelayMs: 10,
  timeouts: { headersMs: 2000, bodyMs: 1000 },
  onEvent: (event) => void events.push(event),
};

test.before(async () => {
  registry = await startRegistry({ users: { [USER.username]: USER.password } });
  proxy = await startProxy(registry.host);
  store = await startProxy(registry.host);
});
test.before.each(() => {
  for (const one of [proxy, store]) {
    one.fault = () => false;
    one.seen.length = 0;
  }
  events.length = 0;
  count++;
});
test.after(async () => {
  await Promise.all([proxy.stop(), store.stop(), registry.stop()]);
  rmSync(directory, { recursive: true });
});

/** Sends a layer through the proxy's faults, then reads it back from the registry itself. */
async function send(
  extra: Partial<RemoteOptions> = {},
): Promise<{ layer: Document; sent: number }> {
  const repository = `upload/n${count}`;
  const layer = documentOf(noise(SIZE, repository), MEDIA.layer);
  const path = join(directory, `layer-${count}`);
  writeFileSync(path, layer.bytes);
  const destination = await createRemote(
    { host: proxy.host, repository },
    { ...options, ...extra },
  );
  let sent = 0;
  try {
    await destination.putFile(layer.descriptor, path, (bytes) => {
      sent += bytes;
    });
  } finally {
    await destination.close();
  }
  assert.equal(existsSync(path), false);
  const direct = await createRemote({ host: registry.host, repository }, options);
  const stored = await readBlob(
    await direct.read(layer.descriptor),
    layer.descriptor,
    1e9,
    'layer',
  );
  await direct.close();
  assert.ok(stored.equals(layer.bytes));
  assert.equal(sent, SIZE, 'progress adds up to the size');
  return { layer, sent };
}

const counts = (method: string): number =>
  proxy.seen.filter((seen) => seen.method === method && seen.path.includes('/uploads/')).length;

/** `faults` for the first uploads by `method` that carry credentials, one each. */
function inTurn(method: string, ...faults: Fault[]): Fault {
  return (exchange) => {
    const mine = exchange.method === method && exchange.path.includes('/uploads/');
    return mine && exchange.headers.authorization
      ? (faults.shift() ?? (() => false))(exchange)
      : false;
  };
}

/** `fault` for every upload by `method`. */
const always =
  (method: string, fault: Fault): Fault =>
  (exchange) =>
    exchange.method === method && exchange.path.includes('/uploads/') ? fault(exchange) : false;

/** Reads so much of the request, then breaks the connection. */
const breakAfter =
  (bytes: number): Fault =>
  async ({ request, drop }) => {
    let got = 0;
    for await (const part of request) {
      got += (part as Buffer).length;
      if (got >= bytes) return drop();
    }
  };

const answerAll =
  (status: number, headers = {}): Fault =>
  async ({ request, reply }) => {
    for await (const _ of request);
    reply({ status, headers });
  };

test('without faults: one POST and one PUT, whole', async () => {
  await send();
  // One POST more by the check whether we may write, with and without credentials.
  assert.deepEqual([counts('POST'), counts('PUT'), counts('PATCH')], [3, 1, 0]);
  const put = proxy.seen.find(({ method }) => method === 'PUT');
  assert.equal(put?.headers['content-length'], String(SIZE));
  assert.equal(put?.headers['transfer-encoding'], undefined);
  assert.equal(put?.headers['content-type'], 'application/octet-stream');
  assert.deepEqual(events, []);
});

test('500 on the PUT: the session is cancelled and begun anew', async () => {
  proxy.fault = inTurn('PUT', answerAll(500), answerAll(503, { 'retry-after': '0' }));
  await send();
  assert.equal(counts('PUT'), 3);
  assert.equal(counts('DELETE'), 3);
});

test('429 and 500 on the POST', async () => {
  proxy.fault = inTurn('POST', answerAll(429, { 'retry-after': '1' }), answerAll(500));
  await send();
  assert.ok(events.some(({ waitMs }) => waitMs === 1000));
});

test('a connection that breaks once in the PUT', async () => {
  proxy.fault = inTurn('PUT', breakAfter(3_000_000));
  await send();
  assert.deepEqual([counts('PUT'), counts('PATCH')], [2, 0]);
});

test('connections that never hold for a whole blob: chunks', async () => {
  proxy.fault = always('PUT', (exchange) =>
    exchange.headers['content-length'] === '0' ? false : breakAfter(5_000_000)(exchange),
  );
  await send();
  assert.equal(counts('PATCH'), 3);
});

test('a chunk that breaks is resumed where the registry stands', async () => {
  proxy.fault = inTurn(
    'PATCH',
    () => false,
    breakAfter(1_000_000),
    () => false,
    breakAfter(0),
  );
  await send({ upload: 'chunked' });
  assert.ok(counts('GET') >= 2);
  const starts = proxy.seen
    .filter(({ method }) => method === 'PATCH')
    .map(({ headers }) => headers['content-range']?.split('-')[0]);
  assert.equal(starts.filter((start) => start === '0').length, 1, 'nothing is begun anew');
});

const chunkStarts = (): string[] =>
  proxy.seen
    .filter(({ method }) => method === 'PATCH')
    .map(({ headers }) => headers['content-range']?.split('-')[0] ?? 'none');

test('a chunk whose answer is lost is not sent twice where the registry tells what it has', async () => {
  // This registry wants the newest Location for that; others know the session by its path, as here.
  let newest = '';
  proxy.fault = inTurn('PATCH', async (exchange) => {
    newest = (await exchange.fetch()).headers.location?.replace(proxy.host, registry.host) ?? '';
    proxy.fault = always('GET', async ({ reply }) => {
      const { status, headers } = await fetch(newest, { headers: { authorization: BASIC } });
      const location = headers.get('location')?.replace(registry.host, proxy.host);
      const range = headers.get('range');
      reply({ status, headers: { location, range: range ?? undefined } });
    });
    exchange.drop();
  });
  await send({ upload: 'chunked' });
  assert.deepEqual(chunkStarts(), ['0', '4194304', '8388608']);
});

test('a chunk of which a part arrived, on a registry that cannot tell: begun anew', async () => {
  proxy.fault = inTurn(
    'PATCH',
    () => false,
    ({ request, fetch, drop }) => {
      let got = 0;
      request.on('data', (part: Buffer) => {
        got += part.length;
        if (got > 2_000_000) drop();
      });
      return fetch();
    },
  );
  await send({ upload: 'chunked' });
  assert.deepEqual(chunkStarts(), ['0', '4194304', '0', '4194304', '8388608']);
  abandoned.push(`upload/n${count}`);
});

test('a PUT whose answer is lost is looked up, not repeated', async () => {
  proxy.fault = inTurn('PUT', async ({ fetch, drop }) => {
    await fetch();
    drop();
  });
  await send();
  assert.equal(counts('PUT'), 1);
});

test('413 for a whole blob: chunks', async () => {
  proxy.fault = always('PUT', (exchange) =>
    exchange.headers['content-length'] === '0' ? false : answerAll(413)(exchange),
  );
  await send();
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['notice'],
  );
});

test('413 at once, without reading the body, and the connection closed', async () => {
  proxy.fault = always('PUT', (exchange) => {
    if (exchange.headers['content-length'] === '0') return false;
    exchange.response.writeHead(413, { connection: 'close' });
    exchange.response.end();
    return undefined;
  });
  await send();
  assert.equal(counts('PATCH'), 3);
});

for (const status of [413, 416])
  test(`${status} for chunks as well: smaller ones, down to what is taken`, async () => {
    const large = ({ headers }: Exchange): boolean => Number(headers['content-length']) > 1_100_000;
    proxy.fault = (exchange) =>
      /^(PUT|PATCH)$/.test(exchange.method) && large(exchange)
        ? answerAll(status)(exchange)
        : false;
    await send();
    const sizes = proxy.seen
      .filter(({ method }) => method === 'PATCH')
      .map(({ headers }) => Number(headers['content-length']));
    assert.deepEqual([...new Set(sizes)].slice(0, 3), [4 << 20, 2 << 20, 1 << 20]);
  });

test('413 for everything ends with an error that names it', async () => {
  proxy.fault = (exchange) =>
    /^(PUT|PATCH)$/.test(exchange.method) ? answerAll(413)(exchange) : false;
  await assert.rejects(send(), { code: 'registry', message: /PATCH .*: got 413/ });
});

test('chunks are not smaller than the registry asks', async () => {
  proxy.fault = async ({ method, path, fetch, reply }) => {
    if (method !== 'POST' || !path.includes('/uploads/')) return false;
    const answer = await fetch();
    return reply({ ...answer, headers: { ...answer.headers, 'oci-chunk-min-length': '6000000' } });
  };
  await send({ upload: 'chunked' });
  const sizes = proxy.seen
    .filter(({ method }) => method === 'PATCH')
    .map(({ headers }) => Number(headers['content-length']));
  assert.deepEqual(sizes, [6_000_000, SIZE - 6_000_000]);
});

/** What `store` does as a blob store: it has credentials of its own. */
const asStore: Fault = async (exchange) =>
  exchange.reply(await exchange.fetch({ authorization: BASIC }));

test('a redirect of the PUT to another host: the body again, no credentials', async () => {
  store.fault = asStore;
  proxy.fault = always('PUT', async ({ request, path, reply }) => {
    for await (const _ of request);
    reply({ status: 307, headers: { location: `http://localhost:${store.port}${path}` } });
  });
  await send();
  assert.equal(store.seen.length, 1);
  assert.equal(store.seen[0]?.headers.authorization, undefined);
  assert.equal(store.seen[0]?.headers['content-length'], String(SIZE));
});

test('a Location on another host: no credentials there', async () => {
  store.fault = asStore;
  proxy.fault = inTurn(
    'POST',
    () => false,
    async ({ fetch, reply }) => {
      const answer = await fetch();
      const location = new URL(answer.headers.location ?? '');
      location.host = `localhost:${store.port}`;
      reply({ ...answer, headers: { ...answer.headers, location: location.href } });
    },
  );
  await send();
  assert.deepEqual(
    store.seen.map(({ method, headers }) => [method, headers.authorization]),
    [['PUT', undefined]],
  );
});

test('a relative Location, with a query of its own, byte for byte', async () => {
  proxy.fault = async ({ method, path, fetch, reply }) => {
    if (method !== 'POST' || !path.includes('/uploads/')) return false;
    const answer = await fetch();
    const { pathname, search } = new URL(answer.headers.location ?? 'http://x');
    return reply({
      ...answer,
      headers: { ...answer.headers, location: `${pathname}${search}&sig=a%2Fb+c%20d` },
    });
  };
  await send();
  const put = proxy.seen.find(({ method }) => method === 'PUT');
  assert.match(put?.path ?? '', /&sig=a%2Fb\+c%20d&digest=sha256%3A[0-9a-f]{64}$/);
});

for (const location of ['http://169.254.169.254/upload', 'http://10.1.1.1/', 'gopher://x/'])
  test(`refuses to upload to ${location}`, async () => {
    proxy.fault = always('POST', async ({ fetch, reply }) => {
      const answer = await fetch();
      reply(
        answer.status === 202 ? { ...answer, headers: { ...answer.headers, location } } : answer,
      );
    });
    await assert.rejects(send(), { code: 'network' });
    assert.equal(counts('PUT'), 0);
    abandoned.push(`upload/n${count}`);
  });

test('a registry that stored something else', async () => {
  proxy.fault = always('PUT', async ({ fetch, reply }) => {
    const answer = await fetch();
    const other = `sha256:${'0'.repeat(64)}`;
    reply({ ...answer, headers: { ...answer.headers, 'docker-content-digest': other } });
  });
  await assert.rejects(send(), {
    code: 'digest-mismatch',
    message: /stored sha256:0000.*, want sha256:/,
  });
});

test('a registry that reads no further is given up, then tried again', async () => {
  proxy.fault = inTurn('PUT', ({ request }) => void request.pause());
  await send({ timeouts: { headersMs: 400 } });
  assert.match(events[0]?.message ?? '', /timeout/i);
});

test('mounts that are refused: 202, 405, and a token that is', async () => {
  const mountFrom = ['a', 'b', 'c'].map((repository) => ({ host: proxy.host, repository }));
  const answers: Fault[] = [() => false, answerAll(405), answerAll(500)];
  proxy.fault = (exchange) => {
    if (!exchange.path.includes('mount=') || !exchange.headers.authorization) return false;
    return answers.length > 1 ? answers.shift()?.(exchange) : answers[0]?.(exchange);
  };
  await send({ mountFrom, retries: 1 });
  assert.equal(counts('PUT'), 1);
  // The session that came in place of the mount, and that of the check.
  assert.equal(counts('DELETE'), 2);
});

test('no right to write is known before anything is sent', async () => {
  const credentials = { username: 'ann', password: 'wrong' };
  await assert.rejects(
    createRemote({ host: proxy.host, repository: 'x' }, { ...options, credentials }),
    {
      code: 'auth',
      message:
        /^writing docker:\/\/.*\/x:latest: POST .*: got 401 Unauthorized \(UNAUTHORIZED: .*; with the credentials of ann$/,
    },
  );
  await assert.rejects(
    createRemote({ host: proxy.host, repository: 'x' }, { env: {}, retries: 0 }),
    {
      code: 'auth',
      message: /no credentials for 127\.0\.0\.1:\d+ were found$/,
    },
  );
});

/** Stores blobs and config of `sample` in `repository` and returns the destination, to be committed. */
async function stage(repository: string, sample: Sample) {
  const destination = await createRemote({ host: proxy.host, repository, tag: 'one' }, options);
  for (const { descriptor, bytes } of [...sample.layers, sample.config])
    await destination.putBytes(descriptor, bytes);
  return destination;
}

test('a manifest that fails for good leaves later tags unset, and says which are set', async () => {
  const sample = sampleImage({ seed: 'tags' });
  const destination = await stage('tags', sample);
  proxy.fault = ({ method, path, request, reply }) =>
    method === 'PUT' && path.endsWith('/manifests/three')
      ? answerAll(400)({ request, reply } as Exchange)
      : false;
  await assert.rejects(destination.commit(sample.root, ['two', 'three', 'four']), {
    code: 'registry',
    message: /^writing docker:\/\/.*: tagging three \(already set: one, two\): PUT .*: got 400/,
  });
  await destination.close();
  assert.deepEqual((await listTags({ host: registry.host, repository: 'tags' }, options)).sort(), [
    'one',
    'two',
  ]);
});

test('a manifest: 500, then a lost answer, then an altered one', async () => {
  const sample = sampleImage({ seed: 'manifest' });
  const destination = await stage('manifest', sample);
  const steps: Fault[] = [
    answerAll(500),
    async ({ fetch, drop }) => {
      await fetch();
      drop();
    },
  ];
  proxy.fault = (exchange) =>
    exchange.path.includes('/manifests/') ? (steps.shift()?.(exchange) ?? false) : false;
  await destination.commit(sample.root, []);
  proxy.fault = async ({ path, fetch, reply }) => {
    if (!path.includes('/manifests/')) return false;
    const answer: Answer = await fetch();
    return reply({
      ...answer,
      headers: { ...answer.headers, 'docker-content-digest': `sha256:${'1'.repeat(64)}` },
    });
  };
  await assert.rejects(destination.commit(sample.root, []), { code: 'digest-mismatch' });
  await destination.close();
});

test('an interruption ends the upload, and no session stays', async () => {
  const controller = new AbortController();
  proxy.fault = inTurn('PUT', ({ request }) => {
    request.resume();
    request.once('data', () => controller.abort());
  });
  await assert.rejects(send({ signal: controller.signal }), { code: 'interrupted' });
  assert.equal(counts('PUT'), 1);
  assert.deepEqual(events, []);
});

test('sends four blobs at a time', async () => {
  let open = 0;
  let most = 0;
  proxy.fault = async (exchange) => {
    if (exchange.method !== 'PUT') return false;
    most = Math.max(most, ++open);
    const answer = await exchange.fetch();
    await new Promise((resolve) => setTimeout(resolve, 30));
    open--;
    return exchange.reply(answer);
  };
  const destination = await createRemote({ host: proxy.host, repository: 'parallel' }, options);
  const layers = Array.from({ length: 12 }, (_, i) =>
    documentOf(noise(1000, `p${i}`), MEDIA.layer),
  );
  await Promise.all(layers.map(({ descriptor, bytes }) => destination.putBytes(descriptor, bytes)));
  assert.equal(most, 4);
  await destination.close();
});

test('sessions that were given up are gone from the registry’s storage', () => {
  const repositories = join(registry.storage, 'docker/registry/v2/repositories');
  const paths = readdirSync(repositories, { recursive: true, encoding: 'utf8' });
  const left = paths.map((path) => /^(.*)\/_uploads\/[^/]+\/startedat$/.exec(path)?.[1]);
  assert.deepEqual(left.filter((repository) => repository !== undefined).sort(), abandoned.sort());
});

test.run();
