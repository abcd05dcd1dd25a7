import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import { digestSources } from './sources.ts';

const root = mkdtempSync(join(tmpdir(), 'rechunk-sources-'));
process.once('exit', () => rmSync(root, { recursive: true, force: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

test('every source decides the digest, and no test does', () => {
  write('package.json', '{}');
  const digests = [digestSources(root)];
  const changes = ['plugin/a.ts', 'rechunk/planner/a.ts', 'registry/a.ts', 'package.json'];
  for (const path of changes) {
    write(path, 'changed');
    digests.push(digestSources(root));
  }
  renameSync(join(root, 'registry/a.ts'), join(root, 'registry/b.ts'));
  digests.push(digestSources(root));
  assert.equal(new Set(digests).size, changes.length + 2);
  for (const path of ['rechunk/a.test.ts', 'rechunk/a.e2e.test.ts', 'bench/a.ts', 'rechunk/a.md'])
    write(path, 'changed');
  assert.equal(digestSources(root), digests.at(-1));
});

test.run();
