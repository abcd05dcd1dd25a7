import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import { bundledPackages, licenceComment } from './licences.ts';

const root = mkdtempSync(join(tmpdir(), 'rechunk-licences-'));
process.once('exit', () => rmSync(root, { recursive: true, force: true }));

/** Files of packages below `root`, by path. */
const FILES: Readonly<Record<string, string>> = {
  'a/package.json': '{ "name": "a", "version": "1.2.3", "license": "MIT" }',
  'a/LICENSE': 'terms of a\n',
  'a/lib/index.js': '',
  'a/lib/other/copying.txt': 'terms of a part of a',
  'a/lib/other/part.js': '',
  'a/test/LICENSE': 'terms of what is not bundled',
  '@b/c/package.json': '{ "name": "@b/c", "version": "2.0.0", "license": "ISC" }',
  '@b/c/License.md': 'terms of a',
  '@b/c/node_modules/d/package.json': '{ "name": "d", "version": "3.0.0", "license": "GPL-3.0" }',
  '@b/c/node_modules/d/LICENSE': 'terms of d',
  'undici/package.json': '{ "name": "undici", "version": "4.0.0", "license": "MIT" }',
  'undici/LICENSE': '*/ ends a comment',
  'bare/package.json': '{ "name": "bare", "version": "5.0.0", "license": "MIT" }',
};
for (const [path, text] of Object.entries(FILES)) {
  mkdirSync(dirname(join(root, 'node_modules', path)), { recursive: true });
  writeFileSync(join(root, 'node_modules', path), text);
}
const bundle = (...files: string[]): ReturnType<typeof bundledPackages> =>
  bundledPackages(
    root,
    files.map((file) => `node_modules/${file}`),
  );

test('packages are named with the licences of the files that are used', () => {
  assert.deepEqual(bundle('a/lib/index.js', '@b/c/index.js'), [
    { name: '@b/c 2.0.0', licence: 'ISC', texts: ['terms of a'] },
    { name: 'a 1.2.3', licence: 'MIT', texts: ['terms of a'] },
  ]);
  const [{ texts } = { texts: [] }] = bundle('a/lib/other/part.js', 'a/lib/index.js');
  assert.deepEqual(texts, ['terms of a', 'terms of a part of a']);
  assert.deepEqual(bundledPackages(root, ['rechunk/own.ts']), []);
});

test('a package without a text, or with a licence that asks for more, is refused', () => {
  assert.throws(() => bundle('bare/index.js'), /^Error: licence of bare 5.0.0: there is no text$/);
  assert.throws(
    () => bundle('@b/c/node_modules/d/index.js'),
    /^Error: licence of d 3.0.0: got 'GPL-3.0', want one of 0BSD, Apache-2.0, /,
  );
});

test('the comment has each text once, and ends where it shall', () => {
  const comment = licenceComment(bundle('a/lib/index.js', '@b/c/x.js', 'undici/index.js'));
  assert.equal(comment.indexOf('*/'), comment.length - 3);
  assert.match(comment, /^\/\*\n@b\/c 2.0.0: ISC\na 1.2.3: MIT\nundici 4.0.0: MIT\n\n====/);
  assert.equal(comment.split('terms of a').length, 2);
  assert.match(comment, /==== @b\/c 2.0.0, a 1.2.3\n\nterms of a\n/);
  assert.match(comment, /==== undici 4.0.0\n\nllhttp .*Fedor Indutny/);
});

test.run();
