// needs: docker-registry, skopeo, openssl, htpasswd
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'uvu';
import { startRegistry } from './registry.ts';

test('serves the registry API, logs requests, and leaves nothing behind', async () => {
  const registry = await startRegistry();
  const response = await fetch(`http://${registry.host}/v2/`, {
    headers: { 'user-agent': 'probe/1' },
  });
  assert.equal(response.status, 200);
  await response.text();
  await fetch(`http://${registry.host}/v2/none/tags/list?n=1`);
  while (registry.accessLog().length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(registry.accessLog()[0], {
    method: 'GET',
    path: '/v2/',
    status: 200,
    bytes: 2,
    userAgent: 'probe/1',
  });
  assert.equal(registry.accessLog()[1]?.path, '/v2/none/tags/list?n=1');
  await registry.stop();
  await registry.stop();
  assert.equal(existsSync(registry.storage), false);
  await assert.rejects(fetch(`http://${registry.host}/v2/`));
});

test('asks for the password where accounts are given', async () => {
  const registry = await startRegistry({ users: { ann: 'a:b ü' } });
  const status = async (password: string): Promise<number> => {
    const authorization = `Basic ${Buffer.from(`ann:${password}`).toString('base64')}`;
    return (await fetch(`http://${registry.host}/v2/`, { headers: { authorization } })).status;
  };
  assert.equal((await fetch(`http://${registry.host}/v2/`)).status, 401);
  assert.equal(await status('wrong'), 401);
  assert.equal(await status('a:b ü'), 200);
  await registry.stop();
});

test.run();
