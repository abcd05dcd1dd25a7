/** Digests of paths, against the library's. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'uvu';
import { digestPath } from './pathdigest.ts';

const wanted = (path: string): string => hash('sha256', Buffer.from(path, 'latin1'));

test('a path of any length has the digest that the library gives, all bytes included', () => {
  const bytes = Array.from({ length: 256 }, (_, i) => String.fromCharCode((i * 7) % 256)).join('');
  for (let length = 0; length <= bytes.length; length++) {
    const path = bytes.slice(bytes.length - length);
    const into = Buffer.alloc(32);
    digestPath(path, into);
    assert.equal(into.toString('hex'), wanted(path), `${length} bytes`);
  }
});

test('a digest goes where it is asked to go, and touches nothing else', () => {
  for (const path of ['usr/lib/os-release', 'x'.repeat(200)]) {
    const into = Buffer.alloc(96, 0xaa);
    digestPath(path, into, 32);
    const rest = 'aa'.repeat(32);
    assert.equal(into.toString('hex'), `${rest}${wanted(path)}${rest}`);
  }
});

test.run();
