// needs: docker-registry
import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import {
  type Answer,
  type Exchange,
  type Fault,
  type FaultProxy,
  startProxy,
} from '../test-images/proxy.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { documentOf, jsonDocument, noise, sampleImage } from '../test-images/sample.ts';
import { readBlob } from './blob.ts';
import type { Document } from './image.ts';
import { MEDIA } from './oci.ts';
import { createRemote, openRemote, type RemoteEvent, type RemoteOptions } from './remote.ts';

const test = suite('download');
const sample = sampleImage({ sizes: [2_000_000], seed: 'download' });
const layer = sample.layers[0] as Document;
const { digest, size } = layer.descriptor;
const gzipped = documentOf(gzipSync(noise(300_000, 'gzipped')), MEDIA.layerGzip);
const USER = { username: 'ann', password: 'secret-of-ann' };

let registry: Registry;
/** What we talk to, and the store on another host that it may send us on to. */
let proxy: FaultProxy;
let store: FaultProxy;
const events: RemoteEvent[] = [];
const options: RemoteOptions = {
  env: {},
  credentials: USER,
  retryDelayMs: 10,
  timeouts: { bodyMs: 300 },
  onEvent: (event) => void events.push(event),
};

test.before(async () => {
  registry = await startRegistry({ users: { [USER.username]: USER.password } });
  proxy = await startProxy(registry.host);
  store = await startProxy(registry.host);
  const destination = await createRemote(
    { host: registry.host, repository: 'x', tag: 'x' },
    options,
  );
  for (const { descriptor, bytes } of [layer, gzipped, sample.config])
    await destination.putBytes(descriptor, bytes);
  await destination.commit(sample.root, []);
  await destination.close();
});
test.before.each(() => {
  for (const one of [proxy, store]) {
    one.fault = () => false;
    one.seen.length = 0;
  }
  events.length = 0;
});
test.after(async () => {
  await Promise.all([proxy.stop(), store.stop(), registry.stop()]);
});

const BASIC = `Basic ${Buffer.from(`${USER.username}:${USER.password}`).toString('base64')}`;

/** Reads `document` as a blob through the proxy, the faults in its way. */
async function read(
  document: Document = layer,
  extra: Partial<RemoteOptions> = {},
): Promise<Buffer> {
  const source = await openRemote(
    { host: proxy.host, repository: 'x', tag: 'x' },
    { ...options, ...extra },
  );
  try {
    const blob = await source.blob(document.descriptor);
    return await readBlob(blob, document.descriptor, 1e9, 'the layer');
  } finally {
    await source.close();
  }
}

const isBlob = ({ path }: { path: string }): boolean => path.includes('/blobs/');

/** `faults` for the first requests for blobs, one each; later ones pass. */
function inTurn(...faults: Fault[]): Fault {
  return (exchange) => (isBlob(exchange) ? (faults.shift() ?? (() => false))(exchange) : false);
}

function blobRequests(): { range: string | undefined; path: string }[] {
  return proxy.seen
    .filter((seen) => isBlob(seen) && seen.headers.authorization !== undefined)
    .map(({ path, headers }) => ({ range: headers.range, path }));
}

const ranges = (): (string | undefined)[] => blobRequests().map(({ range }) => range);

/** Sends so much of the registry's answer, then breaks the connection. */
const cutAt =
  (bytes: number): Fault =>
  async ({ fetch, response, drop }) => {
    const { status, headers, body } = await fetch();
    response.writeHead(status, headers);
    response.write(body.subarray(0, bytes), () => setTimeout(drop, 30));
  };

test('passes unharmed without faults', async () => {
  assert.ok((await read()).equals(layer.bytes));
  assert.deepEqual(ranges(), [undefined]);
  assert.deepEqual(events, []);
});

test('waits as long as 429 asks, and tries again', async () => {
  proxy.fault = inTurn(({ reply }) =>
    reply({ status: 429, headers: { 'retry-after': '1' }, body: 'slow down' }),
  );
  assert.ok((await read()).equals(layer.bytes));
  assert.equal(events.length, 1);
  assert.equal(events[0]?.waitMs, 1000);
  assert.match(events[0]?.message ?? '', /got 429 Too Many Requests \(slow down\)/);
});

test('ends clearly where 429 asks to wait for hours', async () => {
  const date = new Date(Date.now() + 5 * 3_600_000).toUTCString();
  proxy.fault = inTurn(({ reply }) => reply({ status: 429, headers: { 'retry-after': date } }));
  await assert.rejects(read(), {
    code: 'registry',
    message: /asks to wait 5 h, at most 60 s are waited/,
  });
});

test('survives 500, 502, 503 and a dropped connection in a row', async () => {
  const fail =
    (status: number): Fault =>
    ({ reply }) =>
      reply({ status, body: '<html><title>Bad\nday</title>' });
  proxy.fault = inTurn(fail(500), fail(502), ({ drop }) => drop(), fail(503));
  assert.ok((await read()).equals(layer.bytes));
  assert.equal(events.length, 4);
});

test('gives up after five tries, and names the registry’s own words', async () => {
  const body = JSON.stringify({ errors: [{ code: 'UNAVAILABLE', message: 'storage is down' }] });
  proxy.fault = (exchange) => (isBlob(exchange) ? exchange.reply({ status: 503, body }) : false);
  await assert.rejects(read(), {
    code: 'registry',
    message: `reading docker://${proxy.host}/x:x: GET http://${proxy.host}/v2/x/blobs/${digest}: got 503 Service Unavailable (UNAVAILABLE: storage is down), want 200, 5 times in a row`,
  });
});

test('goes on by range where the connection broke', async () => {
  proxy.fault = inTurn(cutAt(700_000), cutAt(500_000));
  assert.ok((await read()).equals(layer.bytes));
  const [first, second, third] = ranges();
  assert.equal(first, undefined);
  assert.match(second ?? '', /^bytes=[1-9]\d*-$/);
  assert.match(third ?? '', /^bytes=[1-9]\d*-$/);
  assert.notEqual(second, third);
});

test('progress counts: a line that breaks more often than tries are allowed', async () => {
  proxy.fault = inTurn(...Array.from({ length: 12 }, () => cutAt(150_000)));
  assert.ok((await read()).equals(layer.bytes));
  assert.ok(ranges().length >= 8, `${ranges().length} requests`);
});

test('skips what it has where the server ignores the range', async () => {
  proxy.fault = inTurn(cutAt(900_000), async ({ fetch, reply }) =>
    reply(await fetch({ range: undefined })),
  );
  assert.ok((await read()).equals(layer.bytes));
});

for (const status of [416, 501, 400]) {
  test(`asks for the whole blob again where ranges are answered ${status}`, async () => {
    proxy.fault = inTurn(cutAt(900_000), ({ reply }) => reply({ status }));
    assert.ok((await read()).equals(layer.bytes));
    assert.deepEqual(ranges().map(Boolean), [false, true, false]);
  });
}

test('does not believe a 206 for another range', async () => {
  proxy.fault = inTurn(cutAt(900_000), async ({ fetch, reply }) => {
    const answer = await fetch({ range: 'bytes=1999990-' });
    return reply(answer);
  });
  assert.ok((await read()).equals(layer.bytes));
});

test('a stalled body is resumed', async () => {
  proxy.fault = inTurn(async ({ fetch, response }) => {
    const { status, headers, body } = await fetch();
    response.writeHead(status, headers);
    response.write(body.subarray(0, 100_000));
  });
  assert.ok((await read()).equals(layer.bytes));
  assert.match(events[0]?.message ?? '', /timeout/i);
});

test('a slow body is none that stalls', async () => {
  proxy.fault = inTurn(async ({ fetch, response }) => {
    const { status, headers, body } = await fetch();
    response.writeHead(status, headers);
    for (let at = 0; at < body.length; at += 250_000) {
      response.write(body.subarray(at, at + 250_000));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    response.end();
  });
  assert.ok((await read()).equals(layer.bytes));
  assert.deepEqual(events, []);
});

test('a slow reader is no stalled body', async () => {
  const source = await openRemote({ host: proxy.host, repository: 'x', tag: 'x' }, options);
  const blob = await source.blob(layer.descriptor);
  const parts: Uint8Array[] = [];
  for await (const chunk of blob.stream()) {
    if (parts.length === 0) await new Promise((resolve) => setTimeout(resolve, 1500));
    parts.push(chunk);
  }
  assert.ok(Buffer.concat(parts).equals(layer.bytes));
  assert.deepEqual(events, []);
  await source.close();
});

/** Answers on the bare socket, since no server library sends a wrong length. */
const withLength =
  (length: number): Fault =>
  async ({ fetch, request }) => {
    const { body } = await fetch();
    request.socket.end(
      Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`), body]),
    );
  };

test('a Content-Length that is too small or too large', async () => {
  proxy.fault = inTurn(withLength(size - 500_000), withLength(size));
  assert.ok((await read()).equals(layer.bytes));
  proxy.fault = inTurn(withLength(size + 5));
  assert.ok((await read()).equals(layer.bytes));
});

test('too many bytes, and too few for good, are errors', async () => {
  const lie =
    (edit: (body: Buffer) => Buffer): Fault =>
    async (exchange) => {
      if (!isBlob(exchange)) return false;
      const { body } = await exchange.fetch({ range: undefined });
      return exchange.reply({ status: 200, body: edit(body) });
    };
  proxy.fault = lie((body) => Buffer.concat([body, Buffer.from('more')]));
  await assert.rejects(read(), { code: 'size-mismatch' });
  proxy.fault = lie((body) => body.subarray(0, 1_999_999));
  await assert.rejects(read(), {
    code: 'network',
    message: /ended early: got 1999999 bytes, want 2000000/,
  });
  proxy.fault = lie((body) => Buffer.concat([Buffer.from('x'), body.subarray(1)]));
  await assert.rejects(read(), { code: 'digest-mismatch' });
});

test('a blob that never ends is cut off', async () => {
  let sent = 0;
  proxy.fault = inTurn(({ response }) => {
    const more = (): void => {
      sent += 65536;
      if (!response.destroyed) response.write(noise(65536, 'endless'), more);
    };
    more();
  });
  await assert.rejects(read(), { code: 'size-mismatch' });
  assert.ok(sent < 20 * size, `${sent} bytes`);
});

const encoded =
  (edit: (answer: Answer) => Answer['headers']): Fault =>
  async ({ fetch, reply }) => {
    const answer = await fetch();
    const body = gzipSync(answer.body);
    reply({ status: 200, headers: edit({ ...answer, body }), body });
  };

test('a proxy that compresses is undone, by its length or without one', async () => {
  proxy.fault = inTurn(
    encoded(({ body }) => ({ 'content-encoding': 'gzip', 'content-length': String(body.length) })),
  );
  assert.ok((await read()).equals(layer.bytes));
  proxy.fault = inTurn(encoded(() => ({ 'content-encoding': 'gzip' })));
  assert.ok((await read()).equals(layer.bytes));
});

test('Content-Encoding that only says what the blob is leaves it as it is', async () => {
  const label: Fault = async ({ fetch, reply }) => {
    const answer = await fetch();
    return reply({ ...answer, headers: { ...answer.headers, 'content-encoding': 'gzip' } });
  };
  proxy.fault = inTurn(label);
  assert.ok((await read(gzipped)).equals(gzipped.bytes));
  proxy.fault = inTurn(async ({ fetch, response }) => {
    const { body } = await fetch();
    response.writeHead(200, { 'content-encoding': 'gzip' });
    response.write(body.subarray(0, 10));
    response.end(body.subarray(10));
  });
  assert.ok((await read(gzipped)).equals(gzipped.bytes));
});

test('a compressed transfer that breaks is begun anew', async () => {
  const body = gzipSync(layer.bytes);
  proxy.fault = inTurn(
    ({ response, drop }) => {
      response.writeHead(200, {
        'content-encoding': 'gzip',
        'content-length': String(body.length),
      });
      response.write(body.subarray(0, 600_000), () => setTimeout(drop, 30));
    },
    ({ reply }) => reply({ status: 200, headers: { 'content-encoding': 'gzip' }, body }),
  );
  assert.ok((await read()).equals(layer.bytes));
  assert.deepEqual(ranges(), [undefined, undefined]);
});

test('follows redirects to another host without credentials, with the range', async () => {
  const toStore: Fault = (exchange) =>
    isBlob(exchange)
      ? exchange.reply({
          status: 307,
          headers: {
            location: `http://localhost:${store.port}${exchange.path}?X-Signature=s3cret`,
          },
        })
      : false;
  proxy.fault = toStore;
  const serve =
    (fault?: Fault): Fault =>
    async (exchange) => {
      const fetch = (): Promise<Answer> => exchange.fetch({ authorization: BASIC });
      if (fault) return fault({ ...exchange, fetch } as Exchange);
      return exchange.reply(await fetch());
    };
  const steps = [serve(cutAt(500_000)), serve()];
  store.fault = (exchange) => steps.shift()?.(exchange);
  assert.ok((await read()).equals(layer.bytes));
  assert.deepEqual(
    store.seen.map(({ headers }) => headers.authorization),
    [undefined, undefined],
  );
  assert.match(store.seen[1]?.headers.range ?? '', /^bytes=\d+-$/);
  assert.doesNotMatch(events[0]?.message ?? '', /s3cret/);
});

for (const realm of ['', 'token'])
  test(`does not hand its credentials to a host that asks for them: ${realm || 'basic'}`, async () => {
    proxy.fault = inTurn(({ reply, path }) =>
      reply({ status: 302, headers: { location: `http://localhost:${store.port}${path}` } }),
    );
    const url = `http://localhost:${store.port}/${realm}`;
    const challenge = realm ? `Bearer realm="${url}",service="give"` : 'Basic realm="give"';
    store.fault = ({ reply, path }) =>
      path.startsWith('/token')
        ? reply({ status: 200, body: '{"token":"stolen"}' })
        : reply({ status: 401, headers: { 'www-authenticate': challenge } });
    await assert.rejects(read(), { code: 'auth' });
    assert.deepEqual(
      store.seen.map(({ path, headers }) => [path, headers.authorization]),
      [[`/v2/x/blobs/${digest}`, undefined]],
    );
  });

for (const location of [
  'http://169.254.169.254/latest/',
  'http://10.0.0.1/x',
  'file:///etc/passwd',
  'http://[',
])
  test(`refuses to be sent on to ${location}`, async () => {
    proxy.fault = inTurn(({ reply }) => reply({ status: 302, headers: { location } }));
    await assert.rejects(read(), { code: location === 'http://[' ? 'registry' : 'network' });
    assert.deepEqual(events, []);
  });

test('a redirect in circles ends', async () => {
  proxy.fault = (exchange) =>
    isBlob(exchange)
      ? exchange.reply({ status: 302, headers: { location: exchange.path } })
      : false;
  await assert.rejects(read(), { code: 'registry', message: /more than 8 redirects/ });
});

test('missing and forbidden blobs are told apart', async () => {
  const missing = documentOf(noise(9, 'missing'), MEDIA.layer);
  await assert.rejects(read(missing), { code: 'not-found', message: /BLOB_UNKNOWN/ });
  proxy.fault = inTurn(({ reply }) =>
    reply({
      status: 403,
      headers: { 'content-type': 'text/html' },
      body: '<html><title>Blocked by policy</title>…',
    }),
  );
  await assert.rejects(read(), {
    code: 'auth',
    message: /got 403 Forbidden \(Blocked by policy\)/,
  });
});

test('a foreign layer is read from its urls once the registry failed, by the proxy of the environment', async () => {
  const foreign = documentOf(noise(5000, 'foreign'), MEDIA.layer);
  const urls = ['https://127.0.0.1/x', 'not a url', 'http://layers.example/win.tar?sig=s3cret'];
  store.fault = ({ path, reply }) =>
    path.startsWith('http://layers.example/')
      ? reply({ status: 200, body: foreign.bytes as Buffer })
      : reply({ status: 500 });
  const document = { ...foreign, descriptor: { ...foreign.descriptor, urls } };
  const env = { HTTP_PROXY: `http://u:p@${store.host}` };
  assert.ok((await read(document, { env, insecure: true })).equals(foreign.bytes));
  assert.equal(store.seen.length, 1);
  assert.equal(store.seen[0]?.headers.authorization, undefined);
  assert.equal(
    store.seen[0]?.headers['proxy-authorization'],
    `Basic ${Buffer.from('u:p').toString('base64')}`,
  );
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['notice'],
  );
  assert.doesNotMatch(events[0]?.message ?? '', /s3cret/);
  // Plain http is not borne without --insecure, and an address inside the network never.
  await assert.rejects(read(document, { env }), { code: 'not-found' });
});

test('the manifest: other bytes, other type, compressed, too large', async () => {
  const manifest =
    (edit: (answer: Answer) => Partial<Answer>): Fault =>
    async (exchange) => {
      if (!exchange.path.includes('/manifests/')) return false;
      const answer = await exchange.fetch();
      if (answer.status !== 200) return exchange.reply(answer);
      return exchange.reply({ ...answer, ...edit(answer) });
    };
  const open = async (): Promise<Document> => {
    const source = await openRemote({ host: proxy.host, repository: 'x', tag: 'x' }, options);
    await source.close();
    return source.root;
  };
  const forged = Buffer.from(sample.root.bytes.toReversed());
  proxy.fault = manifest(() => ({ body: forged }));
  await assert.rejects(open(), { code: 'digest-mismatch' });
  proxy.fault = manifest(({ body, headers }) => {
    const packed = gzipSync(body);
    return {
      body: packed,
      headers: { ...headers, 'content-encoding': 'gzip', 'content-length': String(packed.length) },
    };
  });
  assert.deepEqual(await open(), sample.root);
  proxy.fault = manifest(({ headers }) => ({
    headers: { ...headers, 'content-type': 'text/plain; charset=utf-8' },
  }));
  assert.deepEqual(await open(), sample.root);
  proxy.fault = manifest(() => ({ headers: {}, body: Buffer.alloc((8 << 20) + 1, 0x20) }));
  await assert.rejects(open(), { code: 'limit' });
  const bare = jsonDocument({ schemaVersion: 2, manifests: [] }, MEDIA.index);
  proxy.fault = manifest(() => ({ headers: {}, body: bare.bytes as Buffer }));
  assert.deepEqual(await open(), bare);
});

test('the manifest: a connection that breaks or stalls in the midst of it', async () => {
  const faults: Fault[] = [cutAt(40), ({ response }) => response.writeHead(200).write('{')];
  proxy.fault = (exchange) =>
    exchange.path.includes('/manifests/') && exchange.headers.authorization
      ? (faults.shift() ?? (() => false))(exchange)
      : false;
  const source = await openRemote({ host: proxy.host, repository: 'x', tag: 'x' }, options);
  await source.close();
  assert.deepEqual(source.root, sample.root);
  assert.equal(events.length, 2);
});

test('reads four blobs at a time, the others in order', async () => {
  let open = 0;
  let most = 0;
  proxy.fault = async (exchange) => {
    if (!isBlob(exchange) || !exchange.headers.authorization) return false;
    most = Math.max(most, ++open);
    const answer = await exchange.fetch();
    await new Promise((resolve) => setTimeout(resolve, 30));
    open--;
    return exchange.reply(answer);
  };
  const source = await openRemote({ host: proxy.host, repository: 'x', tag: 'x' }, options);
  const reads = Array.from({ length: 10 }, async () => {
    const blob = await source.blob(gzipped.descriptor);
    return (await readBlob(blob, gzipped.descriptor, 1e9, 'layer')).length;
  });
  assert.deepEqual(await Promise.all(reads), Array(10).fill(gzipped.descriptor.size));
  assert.equal(most, 4);
  await source.close();
});

test('a reader that leaves early gives its place back', async () => {
  const source = await openRemote({ host: proxy.host, repository: 'x', tag: 'x' }, options);
  const blob = await source.blob(layer.descriptor);
  for (let i = 0; i < 9; i++) for await (const _ of blob.stream()) break;
  const interrupted = blob.stream(AbortSignal.abort());
  await assert.rejects(interrupted[Symbol.asyncIterator]().next(), { code: 'interrupted' });
  await source.close();
});

test.run();
