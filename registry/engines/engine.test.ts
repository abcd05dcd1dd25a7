import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { complaintOf, findEngine } from './engine.ts';

const test = suite('tools of engines');
const bin = await mkdtemp(join(tmpdir(), 'rechunk-engine-'));
test.after(() => rm(bin, { recursive: true }));

test('a complaint is told without warnings and progress, on one line', () => {
  for (const [said, want] of [
    ['time="t" level=fatal msg="no \\"x\\" here"\n', 'no "x" here'],
    ['time="t" level=warning msg="odd"\nError: reading: gone\n', 'Error: reading: gone'],
    ['Getting image source signatures\nCopying blob a\nError: full\nError: full\n', 'Error: full'],
    ['a\nb\nc\n', 'b; c'],
    ['', ''],
  ] as const)
    assert.equal(complaintOf(said), want);
});

test('what a tool says decides the code and what can be done', async () => {
  for (const [said, code, message] of [
    ['Error: localhost/x: image not known', 'not-found', /^skopeo: Error: localhost\/x/],
    ['mkdir /s/mounts: permission denied', 'engine', /run it as that user/],
    [
      'permission denied while trying to connect to the Docker daemon socket',
      'engine',
      /group docker$/,
    ],
    ['Cannot connect to the Docker daemon at unix:///d.sock', 'engine', /DOCKER_HOST$/],
    ['write /x: no space left on device', 'engine', /--temp-dir/],
    ['something else', 'engine', /^skopeo: something else$/],
    ['', 'engine', /^skopeo: ended with 3$/],
  ] as const) {
    const tool = join(bin, 'skopeo');
    await writeFile(tool, `#!/bin/sh\necho "${said}" >&2\nexit 3\n`);
    await chmod(tool, 0o755);
    const env = { PATH: `${bin}:/usr/bin:/bin` };
    const engine = await findEngine(['skopeo', 'podman'], 'do without', { env });
    assert.equal(engine.program, 'skopeo');
    await assert.rejects(engine.run(['copy']), { code, message }, said);
  }
});

test('where none is installed, all are named, and what can be done without', async () => {
  await assert.rejects(findEngine(['one', 'two', 'three'], 'do without', { env: { PATH: bin } }), {
    code: 'engine',
    message: `none of one, two and three is installed (PATH is ${bin}); do without`,
  });
  await assert.rejects(findEngine(['one'], 'do without', { env: {} }), {
    message: 'one is not installed (PATH is not set); do without',
  });
});

test.run();
