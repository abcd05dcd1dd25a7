import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import { type Credentials, findCredentials } from './credentials.ts';

const test = suite('credentials');
const root = mkdtempSync(join(tmpdir(), 'test-credentials-'));
process.on('exit', () => rmSync(root, { recursive: true, force: true }));
let count = 0;

/** A directory of its own with `files`, JSON by name. */
function place(files: Readonly<Record<string, unknown>>): string {
  const directory = join(root, String(count++));
  mkdirSync(directory);
  for (const [name, content] of Object.entries(files)) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    if (name.startsWith('bin/')) chmodSync(path, 0o755);
  }
  return directory;
}

const auth = (user: string, password: string): { auth: string } => ({
  auth: Buffer.from(`${user}:${password}`).toString('base64'),
});

async function find(
  file: unknown,
  host: string,
  repository = 'a/b/c',
): Promise<Omit<Credentials, 'origin'> | undefined> {
  const authFile = join(place({ 'auth.json': file }), 'auth.json');
  const found = await findCredentials(host, repository, { env: {}, authFile });
  if (!found) return undefined;
  const { origin, ...rest } = found;
  assert.equal(origin, `'${authFile}'`);
  return rest;
}

const LOOKUPS: [
  string,
  Record<string, unknown>,
  string,
  string,
  Omit<Credentials, 'origin'> | undefined,
][] = [
  ['a host', { 'r.io': auth('u', 'p') }, 'r.io', 'x', { username: 'u', password: 'p' }],
  [
    'a password with colons',
    { 'r.io': auth('u', 'a:b:') },
    'r.io',
    'x',
    { username: 'u', password: 'a:b:' },
  ],
  [
    'a password padded with NUL',
    { 'r.io': auth('u', 'p\0\0') },
    'r.io',
    'x',
    { username: 'u', password: 'p' },
  ],
  [
    'a host with a port',
    { 'r.io:5000': auth('u', 'p') },
    'r.io:5000',
    'x',
    { username: 'u', password: 'p' },
  ],
  ['not another port', { 'r.io:5000': auth('u', 'p') }, 'r.io', 'x', undefined],
  ['not a host that only begins so', { 'r.io': auth('u', 'p') }, 'r.io.evil', 'x', undefined],
  [
    'https://host',
    { 'https://r.io': auth('u', 'p') },
    'r.io',
    'x',
    { username: 'u', password: 'p' },
  ],
  [
    'https://host/v1/',
    { 'https://r.io/v1/': auth('u', 'p') },
    'r.io',
    'x',
    { username: 'u', password: 'p' },
  ],
  [
    'http://host/v2',
    { 'http://r.io/v2': auth('u', 'p') },
    'r.io',
    'x',
    { username: 'u', password: 'p' },
  ],
  [
    'Docker Hub by its old name',
    { 'https://index.docker.io/v1/': auth('u', 'p') },
    'docker.io',
    'library/x',
    { username: 'u', password: 'p' },
  ],
  [
    'Docker Hub by podman’s name',
    { 'docker.io': auth('u', 'p') },
    'registry-1.docker.io',
    'x',
    { username: 'u', password: 'p' },
  ],
  [
    'the longest namespace',
    { 'r.io': auth('u', '0'), 'r.io/a': auth('u', '1'), 'r.io/a/b': auth('u', '2') },
    'r.io',
    'a/b/c',
    { username: 'u', password: '2' },
  ],
  ['not a namespace beside', { 'r.io/a/bb': auth('u', '1') }, 'r.io', 'a/b/c', undefined],
  [
    'a whole repository',
    { 'r.io/a/b/c': auth('u', '3'), 'r.io/a/b': auth('u', '2') },
    'r.io',
    'a/b/c',
    { username: 'u', password: '3' },
  ],
  [
    'an entry that only marks a helper',
    { 'r.io/a': {}, 'r.io': auth('u', 'p') },
    'r.io',
    'a/b',
    { username: 'u', password: 'p' },
  ],
  ['a null entry', { 'r.io': null }, 'r.io', 'x', undefined],
  [
    'separate fields',
    { 'r.io': { username: 'u', password: 'p' } },
    'r.io',
    'x',
    { username: 'u', password: 'p' },
  ],
  [
    'an identity token',
    { 'r.io': { ...auth('u', ''), identitytoken: 'tok' } },
    'r.io',
    'x',
    { identityToken: 'tok' },
  ],
  ['a registry token', { 'r.io': { registrytoken: 'tok' } }, 'r.io', 'x', { registryToken: 'tok' }],
];

for (const [name, auths, host, repository, want] of LOOKUPS) {
  test(`finds ${name}`, async () =>
    assert.deepEqual(await find({ auths }, host, repository), want));
}

test('says which file is damaged, without its content', async () => {
  await assert.rejects(find('{"auths": secret', 'r.io'), (error: Error & { code: string }) => {
    assert.equal(error.code, 'auth');
    assert.match(error.message, /auth\.json': not JSON$/);
    return true;
  });
  await assert.rejects(find({ auths: { 'r.io': { auth: 7 } } }, 'r.io'), { code: 'auth' });
  await assert.rejects(
    find({ auths: { 'r.io': { auth: 'c2VjcmV0' } } }, 'r.io'),
    (error: Error) => {
      assert.doesNotMatch(error.message, /secret|c2VjcmV0/);
      return true;
    },
  );
});

test('the file that the user names must be there, and is the only one', async () => {
  const home = place({ '.docker/config.json': { auths: { 'r.io': auth('home', 'p') } } });
  const env = { HOME: home };
  await assert.rejects(findCredentials('r.io', 'x', { env, authFile: join(home, 'none.json') }), {
    code: 'auth',
  });
  const authFile = join(place({ 'a.json': { auths: {} } }), 'a.json');
  assert.equal(await findCredentials('r.io', 'x', { env, authFile }), undefined);
});

test('searches the places in order', async () => {
  const users = (user: string): object => ({ auths: { 'r.io': auth(user, 'p') } });
  const directory = place({
    'registry.json': users('registry-auth-file'),
    'docker/config.json': users('docker-config'),
    'run/containers/auth.json': users('runtime'),
    'config/containers/auth.json': users('config-home'),
    'home/.config/containers/auth.json': users('home-config'),
    'home/.docker/config.json': users('home-docker'),
    'home/.dockercfg': { 'r.io': auth('dockercfg', 'p') },
    'empty/.dockercfg': { 'r.io': auth('dockercfg', 'p') },
  });
  const env: Record<string, string> = {
    REGISTRY_AUTH_FILE: join(directory, 'registry.json'),
    DOCKER_AUTH_CONFIG: JSON.stringify(users('inline')),
    DOCKER_CONFIG: join(directory, 'docker'),
    XDG_RUNTIME_DIR: join(directory, 'run'),
    XDG_CONFIG_HOME: join(directory, 'config'),
    HOME: join(directory, 'home'),
  };
  const order: string[] = [];
  for (const name of [...Object.keys(env), 'home-docker']) {
    order.push((await findCredentials('r.io', 'x', { env }))?.username ?? 'none');
    if (name !== 'HOME') delete env[name];
    else rmSync(join(directory, 'home/.config'), { recursive: true });
  }
  const places = ['registry-auth-file', 'inline', 'docker-config', 'runtime', 'config-home'];
  assert.deepEqual(order, [...places, 'home-config', 'home-docker']);
  const old = { HOME: join(directory, 'empty'), XDG_RUNTIME_DIR: root };
  assert.equal((await findCredentials('r.io', 'x', { env: old }))?.username, 'dockercfg');
});

const HELPER = `#!/bin/sh
read server
case "$1 $server" in
  'get r.io') echo '{"ServerURL":"r.io","Username":"helped","Secret":"s"}' ;;
  'get t.io') echo '{"ServerURL":"t.io","Username":"<token>","Secret":"refresh"}' ;;
  'get https://index.docker.io/v1/') echo '{"Username":"hub","Secret":"s"}' ;;
  'get broken.io') echo 'keychain is locked' >&2; exit 1 ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
`;

test('asks credential helpers', async () => {
  const directory = place({
    'bin/docker-credential-own': HELPER,
    'all.json': { credsStore: 'own', auths: { 'f.io': auth('file', 'p') } },
    'some.json': {
      credHelpers: { 'r.io': 'own' },
      auths: { 'r.io': auth('file', 'p'), 't.io': auth('file', 'p') },
    },
    'missing.json': { credHelpers: { 'r.io': 'gone' } },
    'desktop.json': { credsStore: 'desktop', auths: { 'r.io': auth('file', 'p') } },
    'evil.json': { credsStore: '../../bin/own' },
  });
  const env = { PATH: `${join(directory, 'bin')}:/usr/bin:/bin` };
  const notices: string[] = [];
  const ask = async (file: string, host: string): Promise<unknown> => {
    const authFile = join(directory, file);
    const onNotice = (message: string): void => void notices.push(message);
    const found = await findCredentials(host, 'x', { env, authFile, onNotice });
    return found && (found.identityToken ?? found.username);
  };
  assert.equal(await ask('all.json', 'r.io'), 'helped');
  assert.equal(await ask('all.json', 't.io'), 'refresh');
  assert.equal(await ask('all.json', 'docker.io'), 'hub');
  assert.equal(await ask('all.json', 'f.io'), 'file');
  assert.equal(await ask('all.json', 'none.io'), undefined);
  assert.equal(await ask('some.json', 'r.io'), 'helped');
  assert.equal(await ask('some.json', 't.io'), 'file');
  await assert.rejects(ask('all.json', 'broken.io'), {
    code: 'auth',
    message: /keychain is locked/,
  });
  await assert.rejects(ask('missing.json', 'r.io'), { code: 'auth', message: /not in PATH/ });
  await assert.rejects(ask('evil.json', 'r.io'), { code: 'auth', message: /want letters/ });
  assert.deepEqual(notices, []);
  assert.equal(await ask('desktop.json', 'r.io'), 'file');
  assert.equal(notices.length, 1);
});

test.run();
