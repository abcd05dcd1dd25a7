import assert from 'node:assert/strict';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import { besideBuild, destinationOf, parseBuildCommand, withOptions } from './buildcommand.ts';

const parse = (text: string): ReturnType<typeof parseBuildCommand> =>
  parseBuildCommand(text.split(' ').filter(Boolean));

/** A command, what it becomes with `ADDED`, and its tags. */
const COMMANDS: readonly (readonly [string, string, readonly string[]])[] = [
  ['buildah build .', 'buildah build ADDED .', []],
  ['buildah bud -f F .', 'buildah bud ADDED -f F .', []],
  ['podman build -t a .', 'podman build ADDED .', ['a']],
  [
    'podman image build --tag=a -tb -t=c . -t d',
    'podman image build ADDED .',
    ['a', 'b', 'c', 'd'],
  ],
  ['docker build . --tag a', 'docker build ADDED .', ['a']],
  ['docker buildx build --load -t a .', 'docker buildx build ADDED .', ['a']],
  ['docker -H unix:///x buildx build .', 'docker -H unix:///x buildx build ADDED .', []],
  ['docker buildx --builder b build .', 'docker buildx --builder b build ADDED .', []],
  [
    'sudo -E /usr/bin/buildah --root /r build .',
    'sudo -E /usr/bin/buildah --root /r build ADDED .',
    [],
  ],
  [
    'buildah build --target t --platform linux/arm64 .',
    'buildah build ADDED --target t --platform linux/arm64 .',
    [],
  ],
  ['buildah build --timestamp 0 .', 'buildah build ADDED --timestamp 0 .', []],
];

for (const [text, want, tags] of COMMANDS) {
  test(`'${text}' keeps all but its tags`, () => {
    const command = parse(text);
    assert.equal(withOptions(command, ['ADDED']).join(' '), want);
    assert.deepEqual(command.tags, tags);
  });
}

test('another command of the engine is run as the build is', () => {
  for (const text of ['buildx build .', 'buildx --builder b build .', 'image build .']) {
    const command = parse(`sudo docker -H x ${text}`);
    const want = ['sudo', 'docker', '-H', 'x', 'save', 'y'];
    assert.deepEqual(besideBuild(command, ['save', 'y']), want);
  }
});

test('platforms are those of the build', () => {
  const { platforms } = parse('docker buildx build --platform linux/amd64,linux/arm64 .');
  assert.deepEqual(platforms, ['linux/amd64', 'linux/arm64']);
});

const DESTINATIONS: readonly (readonly [string, string])[] = [
  ['buildah build -t app .', 'containers-storage:localhost/app:latest'],
  ['buildah build -t team/app:1 .', 'containers-storage:localhost/team/app:1'],
  ['podman build -t localhost/app .', 'containers-storage:localhost/app:latest'],
  ['podman build -t host:5000/app:1 .', 'containers-storage:host:5000/app:1'],
  ['buildah --root /r build -t app .', 'containers-storage:[/r]localhost/app:latest'],
  [
    'buildah --root /r --runroot=/n --storage-driver vfs build -t app .',
    'containers-storage:[vfs@/r+/n]localhost/app:latest',
  ],
  [
    'buildah --root r --runroot=n build -t app .',
    `containers-storage:[${process.cwd()}/r+${process.cwd()}/n]localhost/app:latest`,
  ],
  ['docker build -t app .', 'docker-daemon:app:latest'],
  ['docker buildx build --push -t r.example/app:1 .', 'docker://r.example/app:1'],
];

for (const [text, want] of DESTINATIONS) {
  test(`the result of '${text}' goes to ${want}`, () => {
    const command = parse(text);
    assert.equal(destinationOf(command, command.tags[0] ?? ''), want);
  });
}

for (const text of ['sudo buildah build -t a .', 'docker -H tcp://x build -t a .']) {
  test(`the result of '${text}' may belong into another store`, () => {
    assert.throws(() => destinationOf(parse(text), 'a'), /may mean another store than rechunk’s/);
  });
}

test('what variables are set to is not told', () => {
  const command = parse('env KEY=secret buildah build -t a .');
  assert.throws(() => destinationOf(command, 'a'), /no destination, and 'env KEY=…' may mean/);
});

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ['', /^after --: got nothing, want buildah build, podman build/],
  ['env KEY=secret make', /^after --: got 'env KEY=… make', want/],
  ['make image', /^after --: got 'make image', want buildah build/],
  ['buildah images', /^after --: got 'buildah images', want/],
  ['buildah build -o dir .', /^-o of the build cannot be used with wrap: the result goes to DEST/],
  ['docker build -otype=local,dest=x .', /^-o of the build cannot be used/],
  ['docker build --iidfile f .', /^--iidfile of the build cannot be used with wrap: it would desc/],
  ['docker buildx build --output=type=tar .', /^--output of the build cannot/],
  ['podman build --manifest m .', /^--manifest of the build cannot/],
  [
    'buildah build --platform linux/amd64,linux/arm64 .',
    /^--platform: got linux\/amd64, linux\/arm64, want one/,
  ],
  ['buildah build . -t', /^-t of the build: its value is missing/],
];

for (const [text, says] of REFUSED) {
  test(`'${text}' is refused`, () => {
    assert.throws(
      () => parse(text),
      (error) =>
        error instanceof RechunkError && error.code === 'usage' && says.test(error.message),
    );
  });
}

test.run();
