// needs: docker-registry, skopeo, openssl, htpasswd
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, randomUUID, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { startProxy } from '../test-images/proxy.ts';
import { type Registry, startRegistry } from '../test-images/registry.ts';
import { type Sample, sampleImage } from '../test-images/sample.ts';
import { listTags } from './lists.ts';
import { createRemote, openRemote, type RemoteOptions } from './remote.ts';

const test = suite('auth');
const directory = mkdtempSync(join(tmpdir(), 'test-auth-'));
const running: { stop(): Promise<unknown> }[] = [];
const options: RemoteOptions = { env: {}, retryDelayMs: 10 };

test.after(async () => {
  await Promise.all(running.map((one) => one.stop()));
  rmSync(directory, { recursive: true });
});

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
}

const SUBJECT = ['-newkey', 'rsa:2048', '-nodes', '-days', '2'];

async function push(
  reference: { host: string; repository: string },
  sample: Sample,
  extra: object,
): Promise<void> {
  const destination = await createRemote(reference, { ...options, ...extra });
  for (const { descriptor, bytes } of [...sample.layers, sample.config])
    await destination.putBytes(descriptor, bytes);
  await destination.commit(sample.root, []);
  await destination.close();
}

async function pull(
  reference: { host: string; repository: string },
  extra: object,
): Promise<string> {
  const source = await openRemote(reference, { ...options, ...extra });
  await source.close();
  return source.root.descriptor.digest;
}

// Basic

test('Basic: the file that skopeo login writes, by namespace too', async () => {
  const registry = await startRegistry({ users: { ann: 'p:w ö' } });
  running.push(registry);
  const authFile = join(directory, 'skopeo.json');
  const login = [
    'login',
    '--tls-verify=false',
    '--authfile',
    authFile,
    '-u',
    'ann',
    '--password-stdin',
  ];
  execFileSync('skopeo', [...login, registry.host], { input: 'p:w ö', stdio: 'pipe' });
  const sample = sampleImage({ seed: 'basic' });
  const reference = { host: registry.host, repository: 'basic/image' };
  await push(reference, sample, { authFile });
  assert.equal(
    await pull(reference, { env: { REGISTRY_AUTH_FILE: authFile } }),
    sample.root.descriptor.digest,
  );
  const { auths } = JSON.parse(readFileSync(authFile, 'utf8'));
  const namespaced = join(directory, 'namespaced.json');
  const wrong = { auth: Buffer.from('ann:wrong').toString('base64') };
  writeFileSync(
    namespaced,
    JSON.stringify({
      auths: { [registry.host]: wrong, [`${registry.host}/basic`]: auths[registry.host] },
    }),
  );
  assert.equal(await pull(reference, { authFile: namespaced }), sample.root.descriptor.digest);
  await assert.rejects(pull({ ...reference, repository: 'other' }, { authFile: namespaced }), {
    code: 'auth',
    message: `reading docker://${registry.host}/other:latest: GET http://${registry.host}/v2/other/manifests/latest: got 401 Unauthorized (UNAUTHORIZED: authentication required), want 200; with the credentials of ann from '${namespaced}'`,
  });
  assert.deepEqual(await listTags(reference, { ...options, authFile }), ['latest']);
});

// Bearer

/** What a token server was asked, and what it is to do. */
interface TokenServer {
  readonly realm: string;
  readonly seen: { method: string; query: URLSearchParams; authorization: string | undefined }[];
  /** Seconds that tokens live, by the token itself and as told. */
  lifeS: number;
  toldLifeS: number | undefined;
  /** Grants fewer rights than asked for. */
  filter: (actions: string[], name: string) => string[];
  answer: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  stop(): Promise<unknown>;
}

const base64url = (value: object): string =>
  Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token that the registry accepts: a JWT signed with the key whose certificate it trusts. */
function makeToken(access: object[], lifeS: number): string {
  const der = execFileSync('openssl', ['x509', '-in', 'token.crt', '-outform', 'der'], {
    cwd: directory,
  });
  const nowS = Math.floor(Date.now() / 1000);
  const header = { typ: 'JWT', alg: 'RS256', x5c: [der.toString('base64')] };
  const claims = {
    iss: 'tester',
    sub: 'ann',
    aud: 'registry',
    exp: nowS + lifeS,
    nbf: nowS - 5,
    iat: nowS,
    jti: randomUUID(),
    access,
  };
  const text = `${base64url(header)}.${base64url(claims)}`;
  const key = createPrivateKey(readFileSync(join(directory, 'token.key')));
  return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
}

async function startTokenServer(): Promise<TokenServer> {
  const tokens: TokenServer = {
    realm: '',
    seen: [],
    lifeS: 300,
    toldLifeS: undefined,
    filter: (actions) => actions,
    answer: undefined,
    stop: () => new Promise((resolve) => server.close(resolve)),
  };
  const grant = (scopes: string[]): object[] =>
    scopes.map((scope) => {
      const [type = '', name = '', actions = ''] = scope.split(':');
      return { type, name, actions: tokens.filter(actions.split(','), name) };
    });
  const server: Server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const form = new URLSearchParams(Buffer.concat(parts).toString());
    const query =
      request.method === 'POST' ? form : new URL(request.url ?? '', 'http://x').searchParams;
    const { authorization } = request.headers;
    tokens.seen.push({ method: request.method ?? '', query, authorization });
    if (tokens.answer?.(request, response)) return;
    const allowed =
      request.method === 'POST'
        ? query.get('refresh_token') === 'refresh'
        : authorization === BASIC;
    if (!allowed) {
      response.writeHead(401, { 'content-type': 'application/json' });
      return response.end('{"errors":[{"code":"DENIED","message":"who are you"}]}');
    }
    const token = makeToken(
      grant(query.getAll('scope').flatMap((scope) => scope.split(' '))),
      tokens.lifeS,
    );
    const name = request.method === 'POST' ? 'access_token' : 'token';
    return response.end(JSON.stringify({ [name]: token, expires_in: tokens.toldLifeS }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(tokens, {
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
  });
}

const USER = { username: 'ann', password: 'secret' };
const BASIC = `Basic ${Buffer.from('ann:secret').toString('base64')}`;
const bearer = { credentials: USER };
let tokens: TokenServer;
let secured: Registry;
const image = sampleImage({ seed: 'bearer' });

test('Bearer: pushes and pulls with a real registry that checks the tokens', async () => {
  openssl(
    'req',
    '-x509',
    '-keyout',
    'token.key',
    '-out',
    'token.crt',
    '-subj',
    '/CN=tokens',
    ...SUBJECT,
  );
  tokens = await startTokenServer();
  const rootCertificates = join(directory, 'token.crt');
  secured = await startRegistry({
    token: { realm: tokens.realm, service: 'registry', issuer: 'tester', rootCertificates },
  });
  running.push(tokens, secured);
  const reference = { host: secured.host, repository: 'a/b' };
  await push(reference, image, bearer);
  // One token for the whole push, asked for in full, and one to take back the session that checks the right to write.
  assert.deepEqual(
    tokens.seen.map(({ query }) => query.getAll('scope')),
    [['repository:a/b:pull,push'], ['repository:a/b:pull,push', 'repository:a/b:delete']],
  );
  assert.deepEqual([...(tokens.seen[0]?.query ?? [])].sort(), [
    ['account', 'ann'],
    ['client_id', 'rechunk'],
    ['scope', 'repository:a/b:pull,push'],
    ['service', 'registry'],
  ]);
  assert.equal(tokens.seen[0]?.authorization, BASIC);
  assert.equal(await pull(reference, bearer), image.root.descriptor.digest);
  assert.deepEqual(tokens.seen[2]?.query.getAll('scope'), ['repository:a/b:pull']);
});

test('Bearer: a mount asks for both repositories', async () => {
  const [layer] = image.layers;
  if (!layer) throw new Error('no layer');
  const mountFrom = [{ host: secured.host, repository: 'a/b' }];
  const destination = await createRemote(
    { host: secured.host, repository: 'c' },
    { ...options, ...bearer, mountFrom },
  );
  assert.equal(await destination.has(layer.descriptor), true);
  assert.deepEqual(tokens.seen.at(-1)?.query.getAll('scope'), [
    'repository:c:pull,push',
    'repository:a/b:pull',
  ]);
  await destination.close();
});

test('Bearer: wrong password, no password, and no right are told apart', async () => {
  const reference = { host: secured.host, repository: 'a/b' };
  const where = `asking for a token: GET ${tokens.realm}`;
  await assert.rejects(pull(reference, { credentials: { ...USER, password: 'no' } }), {
    code: 'auth',
    message: `reading docker://${secured.host}/a/b:latest: ${where}?service=registry&scope=repository:a/b:pull&account=ann&client_id=…: got 401 Unauthorized (DENIED: who are you), want 200; with the credentials of ann`,
  });
  await assert.rejects(pull(reference, {}), {
    code: 'auth',
    message: /no credentials for .* were found$/,
  });
  tokens.filter = (actions) => actions.filter((action) => action === 'pull');
  await assert.rejects(push(reference, image, bearer), {
    code: 'auth',
    message: /got 401 Unauthorized \(UNAUTHORIZED/,
  });
  assert.equal(await pull(reference, bearer), image.root.descriptor.digest);
  tokens.filter = (actions) => actions;
});

test('Bearer: tokens that the registry never takes end in an error, not in a loop', async () => {
  const before = tokens.seen.length;
  // The registry leaves a minute of grace: the token must be older than that.
  tokens.lifeS = -120;
  await assert.rejects(pull({ host: secured.host, repository: 'a/b' }, bearer), { code: 'auth' });
  assert.equal(tokens.seen.length - before, 1);
  tokens.lifeS = 300;
});

test('Bearer: a token that the registry forgot is fetched anew', async () => {
  const proxy = await startProxy(secured.host);
  running.push(proxy);
  const source = await openRemote(
    { host: proxy.host, repository: 'a/b' },
    { ...options, ...bearer },
  );
  const before = tokens.seen.length;
  // The registry has forgotten the token: one 401, one new token, no error.
  let refuse = true;
  proxy.fault = ({ reply }) => {
    if (!refuse) return false;
    refuse = false;
    const challenge = `Bearer realm="${tokens.realm}",service="registry",scope="repository:a/b:pull",error="invalid_token"`;
    return reply({ status: 401, headers: { 'www-authenticate': challenge } });
  };
  await source.document(image.config.descriptor);
  assert.equal(tokens.seen.length, before + 1);
  await source.close();
});

test('Bearer: 403 with insufficient_scope adds the scope, first', async () => {
  const proxy = await startProxy(secured.host);
  running.push(proxy);
  const source = await openRemote(
    { host: proxy.host, repository: 'a/b' },
    { ...options, ...bearer },
  );
  let refuse = true;
  proxy.fault = ({ reply }) => {
    if (!refuse) return false;
    refuse = false;
    const challenge = `Bearer realm="${tokens.realm}",service="registry",scope="repository:base:pull",error="insufficient_scope"`;
    return reply({ status: 403, headers: { 'www-authenticate': challenge } });
  };
  await source.document(image.config.descriptor);
  assert.deepEqual(tokens.seen.at(-1)?.query.getAll('scope'), [
    'repository:base:pull',
    'repository:a/b:pull',
  ]);
  await source.close();
});

test('Bearer: an identity token is exchanged by POST', async () => {
  const reference = { host: secured.host, repository: 'a/b' };
  const credentials = { identityToken: 'refresh' };
  assert.equal(await pull(reference, { credentials }), image.root.descriptor.digest);
  const { method, query, authorization } = tokens.seen.at(-1) ?? {};
  assert.deepEqual([method, authorization], ['POST', undefined]);
  assert.deepEqual([...(query ?? [])].sort(), [
    ['client_id', 'rechunk'],
    ['grant_type', 'refresh_token'],
    ['refresh_token', 'refresh'],
    ['scope', 'repository:a/b:pull'],
    ['service', 'registry'],
  ]);
  await assert.rejects(pull(reference, { credentials: { identityToken: 'stale' } }), {
    code: 'auth',
  });
});

test('Bearer: an identity token where the server knows no POST', async () => {
  tokens.answer = (request, response) => {
    if (request.method === 'POST') response.writeHead(405).end();
    return request.method === 'POST';
  };
  const credentials = { identityToken: 'secret', username: 'ann' };
  assert.equal(
    await pull({ host: secured.host, repository: 'a/b' }, { credentials }),
    image.root.descriptor.digest,
  );
  tokens.answer = undefined;
});

test('Bearer: a registry token is used as it is', async () => {
  const registryToken = makeToken([{ type: 'repository', name: 'a/b', actions: ['pull'] }], 300);
  const before = tokens.seen.length;
  const reference = { host: secured.host, repository: 'a/b' };
  assert.equal(
    await pull(reference, { credentials: { registryToken } }),
    image.root.descriptor.digest,
  );
  assert.equal(tokens.seen.length, before);
});

test('Bearer: a token server that fails is tried again; nonsense is named', async () => {
  const reference = { host: secured.host, repository: 'a/b' };
  const faults = [503, 429];
  tokens.answer = (_, response) => {
    const status = faults.shift();
    if (status) response.writeHead(status, { 'retry-after': '0' }).end();
    return status !== undefined;
  };
  assert.equal(await pull(reference, bearer), image.root.descriptor.digest);
  for (const [body, message] of [
    ['<html>', /is not JSON, want a token$/],
    ['{}', /holds no token$/],
    ['{"token":"a\\nb"}', /holds no token$/],
    [`{"token":"${'x'.repeat(70_000)}"}`, /more than 65536 bytes/],
  ] as const) {
    tokens.answer = (_, response) => Boolean(response.end(body));
    await assert.rejects(pull(reference, bearer), { message });
  }
  tokens.answer = undefined;
});

test('Bearer: credentials go to no token server that the registry must not name', async () => {
  const proxy = await startProxy(secured.host);
  running.push(proxy);
  for (const realm of ['http://169.254.169.254/token', 'http://10.0.0.1/token', 'gopher://x', '']) {
    proxy.fault = ({ path, reply }) =>
      path === '/v2/'
        ? false
        : reply({
            status: 401,
            headers: { 'www-authenticate': `Bearer realm="${realm}",service="x"` },
          });
    // An empty realm is the registry itself, which answers with no token.
    await assert.rejects(
      pull({ host: proxy.host, repository: 'a/b' }, bearer),
      (error: { code: string }) => /^(network|auth)$/.test(error.code),
    );
  }
});

// TLS

test('TLS: a certificate of an own authority, by file; without it and with insecure', async () => {
  openssl(
    'req',
    '-x509',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-subj',
    '/CN=Test CA',
    '-addext',
    'basicConstraints=critical,CA:TRUE',
    ...SUBJECT,
  );
  openssl(
    'req',
    '-keyout',
    'host.key',
    '-out',
    'host.csr',
    '-subj',
    '/CN=registry',
    ...SUBJECT.slice(0, 3),
  );
  writeFileSync(join(directory, 'names'), 'subjectAltName=IP:127.0.0.1,DNS:registry.example');
  openssl(
    'x509',
    '-req',
    '-in',
    'host.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'names',
    '-out',
    'host.crt',
  );
  const registry = await startRegistry({
    tls: { certificate: join(directory, 'host.crt'), key: join(directory, 'host.key') },
  });
  running.push(registry);
  const sample = sampleImage({ seed: 'tls' });
  const caFile = join(directory, 'ca.crt');
  const reference = { host: registry.host, repository: 'tls' };
  await push(reference, sample, { caFile });
  assert.equal(await pull(reference, { insecure: true }), sample.root.descriptor.digest);
  await assert.rejects(pull(reference, {}), { code: 'network', message: /certificate|issuer/i });
  // The name in the certificate counts.
  const port = registry.host.split(':')[1];
  await assert.rejects(pull({ ...reference, host: `localhost:${port}` }, { caFile }), {
    code: 'network',
    message: /localhost/,
  });
  await assert.rejects(pull(reference, { caFile: join(directory, 'none.crt') }), {
    code: 'not-found',
    message: /none\.crt/,
  });
  await assert.rejects(pull(reference, { caFile: join(directory, 'ca.key') }), {
    code: 'usage',
    message: /no PEM certificate/,
  });
});

test('proxies: https by CONNECT with the own authority, http by full URL; NO_PROXY', async () => {
  const registry = running.at(-1) as Registry;
  const asked: string[] = [];
  const proxy = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(404).end();
  });
  proxy.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    const upstream = connect(Number(registry.host.split(':')[1]), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.pipe(socket).pipe(upstream);
    });
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const reference = { host: 'registry.example', repository: 'tls' };
  const caFile = join(directory, 'ca.crt');
  const digest = await pull(reference, { caFile, env: { HTTPS_PROXY: url } });
  assert.match(digest, /^sha256:/);
  assert.deepEqual(asked, ['CONNECT registry.example:443']);
  const env = { HTTPS_PROXY: url, NO_PROXY: '.example' };
  await assert.rejects(pull(reference, { caFile, env, retries: 0 }), { code: 'network' });
  assert.equal(asked.length, 1);
  proxy.closeAllConnections();
  await new Promise((resolve) => proxy.close(resolve));
});

test('plain http beyond this machine only when insecure is allowed', async () => {
  const asked: string[] = [];
  const proxy = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(404).end();
  });
  proxy.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    socket.on('error', () => {});
    // Answers as a server that speaks plain http on that port.
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const env = { HTTPS_PROXY: url, HTTP_PROXY: url };
  const reference = { host: 'plain.example', repository: 'x' };
  await assert.rejects(pull(reference, { env, retries: 0 }), { code: 'network' });
  assert.deepEqual(asked, ['CONNECT plain.example:443']);
  asked.length = 0;
  await assert.rejects(pull(reference, { env, retries: 0, insecure: true }), { code: 'not-found' });
  assert.deepEqual(asked.slice(-2), [
    'GET http://plain.example/v2/',
    'GET http://plain.example/v2/x/manifests/latest',
  ]);
  proxy.closeAllConnections();
  await new Promise((resolve) => proxy.close(resolve));
});

test.run();
