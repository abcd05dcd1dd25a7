// needs: openssl
/** What is said of a registry whose certificate nobody vouches for. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import { listRepositories } from './lists.ts';

test('a certificate of one’s own is told of with the options that serve, and they do', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'rechunk-trust-'));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost'];
  const names = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  execFileSync('openssl', [...made, ...names, '-keyout', key, '-out', cert], { stdio: 'pipe' });
  const pair = { key: readFileSync(key), cert: readFileSync(cert) };
  const server = createServer(pair, (_, response) => response.end('{"repositories":["a"]}'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await assert.rejects(
      listRepositories(host, { retries: 0 }),
      /self-signed certificate \(DEPTH_ZERO_SELF_SIGNED_CERT\); name its authority with --cert-file, or trust anything with --insecure$/,
    );
    assert.deepEqual(await listRepositories(host, { caFile: cert }), ['a']);
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(directory, { recursive: true });
  }
});

test.run();
