// needs: skopeo, podman, buildah, root
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import { runCli, runJson } from '../test-images/cli.ts';
import { output } from '../test-images/command.ts';
import type { BuildResult } from './rechunk.ts';

const test = suite('from engine to engine');
const root = await mkdtemp('/var/tmp/rechunk-engines-');
const temp = join(root, 'tmp');
await mkdir(temp);
await writeFile(
  join(root, 'storage.conf'),
  `[storage]\ndriver = "vfs"\ngraphroot = "${root}/storage"\nrunroot = "${root}/run"\n`,
);
const env = { CONTAINERS_STORAGE_CONF: join(root, 'storage.conf'), TMPDIR: temp };
const run = (program: string, ...parameters: string[]): Promise<string> =>
  output(program, parameters, { env });
test.after(() => rm(root, { recursive: true, force: true, maxRetries: 3 }));

/** Builds an image of three directories that are components of their own. */
async function build(name: string, content: string): Promise<void> {
  const context = join(root, 'context');
  for (const [part, text] of [
    ['a', 'a'.repeat(200_000)],
    ['b', content.repeat(1000)],
    ['c', 'c'.repeat(300_000)],
  ] as const) {
    await mkdir(join(context, 'opt', part), { recursive: true });
    await writeFile(join(context, 'opt', part, 'file'), text);
  }
  await writeFile(
    join(context, 'Containerfile'),
    'FROM scratch\nCOPY opt /opt\nLABEL kind=test\nENV A=b\nCMD ["/opt/a/file"]\n',
  );
  await run('buildah', 'build', '-q', '--timestamp', '1000000000', '-t', name, context);
}

/** A user that owns nothing. */
const NOBODY = 65_534;
const MAP = join(root, 'map');
await writeFile(MAP, '/opt/a/ a\n/opt/b/ b\n/opt/c/ c\n');

test('an image that buildah built is rechunked in its storage, proved, and is podman’s under its digest', async () => {
  await build('localhost/built:1', 'one');
  const target = 'containers-storage:localhost/app:1';
  const parameters = ['build', 'containers-storage:localhost/built:1', target, '--map', MAP];
  const built = await runJson<BuildResult>([...parameters, '--verify', '--tag', 'latest'], { env });
  assert.equal(built.images[0]?.verified, true);
  assert.equal(built.images[0]?.layers.length, 3);
  for (const tag of ['1', 'latest']) {
    const [inspected] = JSON.parse(await run('podman', 'image', 'inspect', `localhost/app:${tag}`));
    assert.equal(inspected.Digest, built.digest);
    assert.equal(inspected.Labels.kind, 'test');
    assert.deepEqual(inspected.Config.Cmd, ['/opt/a/file']);
  }
  const same = await runCli(['verify', 'containers-storage:localhost/built:1', target], { env });
  assert.equal(same.status, 0, same.stderr);
  assert.deepEqual(await readdir(temp), []);
});

test('the next build continues the plan of what the storage has, and hands over only what changed', async () => {
  await build('localhost/built:2', 'two');
  const target = 'containers-storage:localhost/app:1';
  const parameters = ['build', 'containers-storage:localhost/built:2', target, '--map', MAP];
  const built = await runJson<BuildResult>([...parameters, '--verify'], { env });
  assert.deepEqual(
    built.images[0]?.layers.map(({ reused, components }) => [reused, ...components]).sort(),
    [
      [false, 'user:b'],
      [true, 'user:a'],
      [true, 'user:c'],
    ],
  );
  const [inspected] = JSON.parse(await run('podman', 'image', 'inspect', 'localhost/app:1'));
  assert.equal(inspected.Digest, built.digest);
  assert.deepEqual(await readdir(temp), []);
});

test('a dry run and a refused destination leave storage and disk as they were', async () => {
  const before = await run('podman', 'images', '-aq');
  const from = 'containers-storage:localhost/built:2';
  const dry = await runCli(['build', from, 'containers-storage:localhost/dry:1', '--dry-run'], {
    env,
  });
  assert.equal(dry.status, 0, dry.stderr);
  const refused = await runCli(
    ['build', from, 'containers-storage:localhost/dry:1', '--compression', 'gzip'],
    { env },
  );
  assert.equal(refused.status, 2);
  assert.match(
    refused.stderr,
    /--compression gzip: containers-storage:localhost\/dry:1 holds only none/,
  );
  assert.equal(await run('podman', 'images', '-aq'), before);
  assert.deepEqual(await readdir(temp), []);
});

test('stopped by a signal at any moment, it leaves nothing; killed, the next run clears up', async () => {
  await build('localhost/big:1', 'x'.repeat(20_000));
  const parameters = [
    'build',
    'containers-storage:localhost/big:1',
    'containers-storage:localhost/stopped:1',
  ];
  for (const wait of [200, 500, 800, 1100]) {
    const { status } = await runCli(parameters, {
      env,
      onStart: (pid) => setTimeout(() => process.kill(pid, 'SIGTERM'), wait),
    });
    if (status === 0) continue;
    assert.deepEqual(await readdir(temp), [], `after ${wait} ms`);
    const listed = await run('podman', 'images', '--format', '{{.Repository}}');
    assert.ok(!listed.includes('stopped'), listed);
  }
  await runCli(parameters, {
    env,
    onStart: (pid) => setTimeout(() => process.kill(pid, 'SIGKILL'), 900),
  });
  const whole = await runCli(parameters, { env });
  assert.equal(whole.status, 0, whole.stderr);
  assert.deepEqual(await readdir(temp), []);
  assert.ok(existsSync(join(root, 'storage')));
});

test('somebody else’s storage is refused with what can be done', async () => {
  const home = join(root, 'home');
  await mkdir(home);
  await chown(home, NOBODY, NOBODY);
  await chmod(root, 0o711);
  const under = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
  const image = `containers-storage:[vfs@${root}/storage+${root}/run]localhost/app:1`;
  const { status, stderr } = await runCli(['inspect', image], {
    env: { HOME: home, TMPDIR: home, XDG_RUNTIME_DIR: home },
    cwd: '/',
    under,
  });
  assert.equal(status, 2);
  assert.match(
    stderr,
    /permission denied; the storage belongs to another user.*run it as that user/,
  );
});

test.run();
