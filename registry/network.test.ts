import assert from 'node:assert/strict';
import { test } from 'uvu';
import { checkTarget, isLoopback, proxyOf } from './network.ts';
import type { Environment } from './program.ts';

const LOOPBACK: [string, boolean][] = [
  ['localhost', true],
  ['localhost:5000', true],
  ['a.localhost', true],
  ['127.0.0.1', true],
  ['127.8.9.1:5000', true],
  ['[::1]:5000', true],
  ['[::ffff:127.0.0.1]', true],
  ['localhost.example.com', false],
  ['127.0.0.1.example.com', false],
  ['10.0.0.1', false],
  ['ghcr.io', false],
];

for (const [host, want] of LOOPBACK) {
  test(`${host} is ${want ? '' : 'not '}this machine`, () => assert.equal(isLoopback(host), want));
}

/** From, to, whether it is allowed when secure, and when insecure. */
const TARGETS: [string, string, boolean, boolean][] = [
  ['https://ghcr.io/v2/', 'https://pkg-containers.githubusercontent.com/x', true, true],
  ['https://ghcr.io/v2/', 'http://pkg-containers.githubusercontent.com/x', false, true],
  ['http://reg.example/', 'http://cdn.example/', true, true],
  ['https://ghcr.io/', 'file:///etc/passwd', false, false],
  ['https://ghcr.io/', 'ftp://ghcr.io/', false, false],
  ['https://ghcr.io/', 'https://127.0.0.1/', false, false],
  ['https://ghcr.io/', 'https://localhost/', false, false],
  ['https://ghcr.io/', 'https://2130706433/', false, false],
  ['https://ghcr.io/', 'https://0x7f.1/', false, false],
  ['https://ghcr.io/', 'https://[::ffff:127.0.0.1]/', false, false],
  ['https://ghcr.io/', 'https://[::1]/', false, false],
  ['https://ghcr.io/', 'https://[::]/', false, false],
  ['https://ghcr.io/', 'https://0.0.0.0/', false, false],
  ['https://ghcr.io/', 'https://10.1.2.3/', false, false],
  ['https://ghcr.io/', 'https://172.31.0.1/', false, false],
  ['https://ghcr.io/', 'https://192.168.1.1/', false, false],
  ['https://ghcr.io/', 'https://[fd00::1]/', false, false],
  ['https://ghcr.io/', 'http://169.254.169.254/latest/meta-data/', false, false],
  ['https://ghcr.io/', 'https://[fe80::1]/', false, false],
  ['https://172.32.0.1/', 'https://8.8.8.8/', true, true],
  ['http://127.0.0.1:5000/', 'http://127.0.0.1:6000/', true, true],
  ['http://127.0.0.1:5000/', 'http://localhost:6000/', true, true],
  ['http://127.0.0.1:5000/', 'http://10.0.0.1/', false, false],
  ['http://127.0.0.1:5000/', 'http://169.254.169.254/', false, false],
  ['https://10.0.0.5/', 'https://10.0.0.6/', true, true],
  ['https://10.0.0.5/', 'https://127.0.0.1/', false, false],
];

for (const [from, to, secure, insecure] of TARGETS) {
  test(`${from} ${secure ? 'may' : 'may not'} send us on to ${to}`, () => {
    const check = (allowed: boolean, lax: boolean): void => {
      const run = (): void => checkTarget(new URL(from), new URL(to), lax);
      if (allowed) run();
      else assert.throws(run, { code: 'network' });
    };
    check(secure, false);
    check(insecure, true);
  });
}

const PROXIES: [string, Environment, string | undefined][] = [
  ['https://ghcr.io/', {}, undefined],
  ['https://ghcr.io/', { HTTPS_PROXY: 'http://p:3128' }, 'http://p:3128'],
  ['https://ghcr.io/', { https_proxy: 'p:3128', HTTPS_PROXY: 'http://q' }, 'http://p:3128'],
  ['https://ghcr.io/', { HTTP_PROXY: 'http://p:3128' }, undefined],
  ['http://reg.example/', { HTTP_PROXY: 'http://p:3128' }, 'http://p:3128'],
  ['http://127.0.0.1:5000/', { HTTP_PROXY: 'http://p:3128' }, undefined],
  ['https://ghcr.io/', { HTTPS_PROXY: 'http://p', NO_PROXY: '*' }, undefined],
  ['https://ghcr.io/', { HTTPS_PROXY: 'http://p', NO_PROXY: 'x.org, ghcr.io' }, undefined],
  ['https://a.ghcr.io/', { HTTPS_PROXY: 'http://p', NO_PROXY: '.ghcr.io' }, undefined],
  ['https://notghcr.io/', { HTTPS_PROXY: 'http://p', NO_PROXY: 'ghcr.io' }, 'http://p'],
  ['https://ghcr.io/', { HTTPS_PROXY: 'http://p', NO_PROXY: 'ghcr.io:5000' }, 'http://p'],
  ['https://ghcr.io:5000/', { HTTPS_PROXY: 'http://p', no_proxy: 'GHCR.io:5000' }, undefined],
  ['https://10.1.2.3/', { HTTPS_PROXY: 'http://p', NO_PROXY: '10.0.0.0/8' }, undefined],
  ['https://11.1.2.3/', { HTTPS_PROXY: 'http://p', NO_PROXY: '10.0.0.0/8' }, 'http://p'],
  ['https://11.1.2.3/', { HTTPS_PROXY: 'http://p', NO_PROXY: '10.0.0.0/99' }, 'http://p'],
  ['https://[fd00::1]/', { HTTPS_PROXY: 'http://p', NO_PROXY: 'fd00::1' }, undefined],
];

for (const [url, env, want] of PROXIES) {
  test(`${url} goes ${want ? `by ${want}` : 'directly'} with ${JSON.stringify(env)}`, () => {
    assert.equal(proxyOf(new URL(url), env), want);
  });
}

test.run();
