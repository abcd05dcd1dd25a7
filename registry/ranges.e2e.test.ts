// needs: docker-registry
/** Several ranges of a blob by one request, from a real registry and from what stands before some. */
import assert from 'node:assert/strict';
import { suite } from 'uvu';
import { type Answer, type Exchange, type FaultProxy, startProxy } from '../test-images/proxy.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { documentOf, noise } from '../test-images/sample.ts';
import type { Destination } from './image.ts';
import { MEDIA } from './oci.ts';
import { createRemote } from './remote.ts';

const test = suite('ranges');
const SIZE = 100_000;
const RANGES = [
  { offset: 90_000, size: 5000 },
  { offset: 95_008, size: 100 },
];
const ASKED = 'bytes=90000-90511,95008-95107';
const blob = documentOf(noise(SIZE, 'ranges'), MEDIA.layerZstd);

let registry: Registry;
let proxy: FaultProxy;
/** Another host, where a registry may keep its blobs. */
let store: FaultProxy;
let destination: Destination;

test.before(async () => {
  registry = await startRegistry();
  proxy = await startProxy(registry.host);
  store = await startProxy(registry.host);
  const options = { env: {}, retryDelayMs: 10 };
  destination = await createRemote({ host: proxy.host, repository: 'ranges' }, options);
  const stream = async function* () {
    yield blob.bytes;
  };
  await destination.putBlob(blob.descriptor, { stream });
});
test.before.each(() => {
  proxy.fault = () => false;
});
test.after(async () => {
  await destination.close();
  await Promise.all([proxy.stop(), store.stop(), registry.stop()]);
});

const ask = (): Promise<string | undefined> | undefined =>
  destination.refusesRanges?.(blob.descriptor, RANGES);

/** Changes what the registry answers to a request for ranges. */
function answer(change: (exchange: Exchange) => Promise<Answer>): void {
  proxy.fault = async (exchange) =>
    exchange.headers.range === ASKED && exchange.reply(await change(exchange));
}

test('a registry that serves several ranges is told by its answer', async () => {
  assert.equal(await ask(), undefined);
});

test('ranges are asked for where a registry sends its clients', async () => {
  proxy.fault = ({ method, path, reply }) =>
    method === 'GET' &&
    reply({ status: 307, headers: { location: `http://${store.host}${path}` } });
  assert.equal(await ask(), undefined);
  assert.equal(store.seen.at(-1)?.headers.range, ASKED);
});

test('one that sends the whole, or the first range alone, does not serve them', async () => {
  answer(({ fetch }) => fetch({ range: undefined }));
  assert.match((await ask()) ?? '', /sends the whole/);
  answer(({ fetch }) => fetch({ range: 'bytes=90000-90511' }));
  assert.match((await ask()) ?? '', /sends application\/octet-stream, want multipart/);
});

for (const status of [400, 416, 501]) {
  test(`one that answers ${status} does not serve them`, async () => {
    answer(async () => ({ status, headers: {}, body: Buffer.alloc(0) }));
    assert.match((await ask()) ?? '', new RegExp(`answers ${status}`));
  });
}

test('one that sends other parts does not serve them', async () => {
  for (const range of ['bytes=90000-90511,95008-95106', 'bytes=1-2,95008-95107,3-4']) {
    answer(({ fetch }) => fetch({ range }));
    assert.match((await ask()) ?? '', /sends others/);
  }
});

test('an answer without end is not read to its end', async () => {
  answer(async ({ fetch }) => {
    const { body, ...rest } = await fetch();
    return {
      ...rest,
      body: Buffer.concat([body, Buffer.alloc(1 << 20)]),
      headers: { ...rest.headers, 'content-length': undefined },
    };
  });
  assert.match((await ask()) ?? '', /sends others/);
});

test('a registry that is in trouble is asked again', async () => {
  let troubles = 2;
  answer(async ({ fetch }) =>
    troubles-- > 0 ? { status: 503, headers: {}, body: Buffer.alloc(0) } : fetch(),
  );
  assert.equal(await ask(), undefined);
});

test.run();
