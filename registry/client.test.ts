/** A client that is closed while requests wait. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'uvu';
import { RegistryClient } from './client.ts';

test('nothing is sent again once a client is closed', async () => {
  let requests = 0;
  const server = createServer((_, response) => {
    requests++;
    response.writeHead(503).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = new RegistryClient(`127.0.0.1:${port}`, 'a', { env: {}, retryDelayMs: 200 });
  const outcome = client
    .request({ method: 'GET', to: '/v2/a/tags/list', scopes: [], want: [200] })
    .catch((error) => error.code);
  await once(server, 'request');
  const before = performance.now();
  await client.close();
  assert.equal(await outcome, 'interrupted');
  assert.ok(performance.now() - before < 150);
  const sent = requests;
  await new Promise((resolve) => setTimeout(resolve, 600));
  assert.equal(requests, sent);
  server.close();
});

test.run();
