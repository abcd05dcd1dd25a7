/** A client that is closed while requests wait, and what HEAD does to its connections. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createRawServer } from 'node:net';
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

/** `HEAD`, so often, then a `GET`, one after the other; gives the statuses, and the body of the last. */
async function headAndGet(port: number, times: number): Promise<[number[], string]> {
  const client = new RegistryClient(`127.0.0.1:${port}`, 'a', { env: {}, retryDelayMs: 1 });
  const request = { to: '/v2/a/manifests/1', scopes: [], want: [200] } as const;
  const statuses: number[] = [];
  for (let i = 0; i < times; i++) {
    const response = await client.request({ ...request, method: 'HEAD' });
    await response.discard();
    statuses.push(response.status);
  }
  const body = await (await client.request({ ...request, method: 'GET' })).bytes(100);
  await client.close();
  return [statuses, body.toString()];
}

test('a connection serves one HEAD after the other', async () => {
  let connections = 0;
  const server = createServer((_, response) => response.end('whole'));
  server.on('connection', () => connections++).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const outcome = await headAndGet((server.address() as AddressInfo).port, 5);
  assert.deepEqual(outcome, [[200, 200, 200, 200, 200], 'whole']);
  // Others find out that there is no https, and that this is a registry.
  assert.ok(connections <= 3, `${connections} connections`);
  server.close();
});

test('a server that sends a body with HEAD harms no other request', async () => {
  const server = createRawServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      if (!/^(GET|HEAD) /.test(data.toString('latin1'))) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const outcome = await headAndGet((server.address() as AddressInfo).port, 3);
  assert.deepEqual(outcome, [[200, 200, 200], 'whole']);
  server.close();
});

test.run();
