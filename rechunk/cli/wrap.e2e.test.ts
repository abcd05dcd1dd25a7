// needs: root, unshare, nsenter, setpriv, buildah, podman, skopeo, docker-registry
/** Builds that are wrapped: what comes through, and what is left of those that fail or are stopped. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import { type Builder, openBuilder } from '../../test-images/builders.ts';
import { type CliOptions, type CliResult, runCli } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import { type Registry, startRegistry } from '../../test-images/registry.ts';
import { expectTrouble } from '../../test-images/trouble.ts';
import type { BuildResult } from '../rechunk.ts';

const wrap = suite('wrap');
const dir = mkdtempSync('/var/tmp/rechunk-wrap-test-');
const temp = join(dir, 'temp');
const packages = fileURLToPath(new URL('../../test-images/packages/', import.meta.url));
/** Longest time between a signal and the end of the run, ms. */
const END_LIMIT_MS = 20_000;
let registry: Registry;
let builder: Builder;

wrap.before(async () => {
  registry = await startRegistry();
  builder = await openBuilder('bookworm', join(dir, 'b'), registry.host);
  const archive = readFileSync(`${packages}apk/alpine-3.11.5-docker.tar.gz`);
  writeFileSync(join(dir, 'alpine.tar'), gunzipSync(archive));
  const alpine = `docker-archive:${join(dir, 'alpine.tar')}`;
  const to = `docker://${registry.host}/alpine:latest`;
  await command('skopeo', ['copy', '--quiet', '--dest-tls-verify=false', alpine, to]);
});

wrap.after(async () => {
  await builder?.close();
  await registry?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** A new context whose Containerfile has these instructions over Alpine. */
function contextOf(...instructions: readonly string[]): string {
  const context = mkdtempSync(join(builder.dir, 'context-'));
  const lines = [`FROM ${registry.host}/alpine`, ...instructions, ''];
  writeFileSync(join(context, 'Containerfile'), lines.join('\n'));
  return context;
}

/** Wraps a build by this machine's engine, without anything before it. */
function run(
  args: readonly string[],
  build: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  const env = { ...builder.env, STORAGE_OPTS: '', ...options.env };
  return runCli(['wrap', '--temp-dir', temp, ...args, '--', ...build], { ...options, env });
}

function assertNothingLeft(destination: string): void {
  assert.deepEqual(readdirSync(temp), []);
  assert.ok(!existsSync(destination), `${destination} is there`);
}

let count = 0;
const newPath = (): string => join(dir, `out-${count++}`);

for (const engine of ['buildah', 'podman']) {
  wrap(
    `${engine}: the build’s output comes through, its tags are left out, the result is there`,
    async () => {
      const [context, out] = [contextOf('RUN echo hello >/greeting', 'LABEL a=b'), newPath()];
      const build = [engine, 'build', '-t', 'localhost/untagged', context];
      const plain = await run([`oci:${out}:x`], build);
      assert.equal(plain.status, 0, plain.stderr);
      assert.match(plain.stdout + plain.stderr, /STEP 2\/3: RUN echo hello/);
      assert.match(plain.stderr, /^note: the build’s tags \(localhost\/untagged\) are not made$/m);
      assert.match(plain.stdout, /^sha256:[0-9a-f]{64}\n$/m);
      assert.deepEqual(readdirSync(temp), []);
      const json = await run([`oci:${out}:x`, '--json'], build);
      const result = JSON.parse(json.stdout) as BuildResult;
      assert.equal(result.destination, `oci:${out}:x`);
      assert.match(json.stderr, /STEP 2\/3: RUN echo hello/);
      const images = await builder.run(`${engine} images`, context);
      assert.doesNotMatch(images, /untagged/);
    },
  );

  wrap(`${engine}: a build that fails gives its own status and leaves nothing`, async () => {
    const [context, out] = [contextOf('RUN exit 7'), newPath()];
    const alone = `${engine} build . >/dev/null 2>&1 || echo $?`;
    const status = Number(await builder.run(alone, context));
    assert.ok(status > 0);
    const failed = await run([`oci:${out}:x`], [engine, 'build', context]);
    assert.equal(failed.status, status, failed.stderr);
    const says = `rechunk: ${engine} ended with status ${status}: nothing was stored\n`;
    assert.ok(failed.stderr.includes(says), failed.stderr);
    assertNothingLeft(out);
    const { stdout } = await run([`oci:${out}:x`, '--json'], [engine, 'build', context]);
    const { error } = JSON.parse(stdout);
    assert.deepEqual([error.code, error.details], ['build', { status }]);
  });
}

wrap('a prefix before the engine is run as it is', async () => {
  const [context, out] = [contextOf('LABEL a=b'), newPath()];
  const build = [...builder.words, 'buildah', 'build', context];
  const { status, stderr } = await runCli([
    ...['wrap', `oci:${out}:x`, '--temp-dir', join(builder.dir, 'tmp', 'own'), '--', ...build],
  ]);
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(join(builder.dir, 'tmp', 'own')), []);
});

wrap(
  'the image of a build for another platform is taken, though this machine is none',
  async () => {
    const [context, out] = [contextOf('LABEL a=b'), newPath()];
    const build = ['buildah', 'build', '--platform', 'linux/amd64', context];
    const { status, stdout, stderr } = await run([`oci:${out}:x`], build);
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^linux\/amd64: /m);
  },
);

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  wrap(`${signal} reaches the build, and nothing is left`, async () => {
    const [seconds, out] = [newSleep(), newPath()];
    const build = ['buildah', 'build', contextOf(`RUN exec sleep ${seconds}`)];
    let sentAt = 0;
    const stop = async (pid: number): Promise<void> => {
      await until(() => isSleeping(seconds));
      sentAt = performance.now();
      process.kill(pid, signal);
    };
    const { status, stderr } = await run([`oci:${out}:x`], build, { onStart: stop });
    assert.ok(performance.now() - sentAt < END_LIMIT_MS);
    assert.equal(status, 2, stderr);
    assert.match(stderr, new RegExp(`rechunk: stopped by ${signal}\n`));
    assertNothingLeft(out);
    await until(() => !isSleeping(seconds));
  });
}

wrap('a build that takes no signals of ours, as sudo’s, is waited for', async () => {
  const [seconds, out] = [`3.${newSleep()}`, newPath()];
  const nobody = ['setpriv', '--reuid=65534', '--clear-groups'];
  const build = [...nobody, 'sh', '-c', `sleep ${seconds}; echo built >&2`, 'buildah', 'build'];
  const stop = async (pid: number): Promise<void> => {
    await until(() => isSleeping(seconds));
    process.kill(pid, 'SIGTERM');
  };
  const under = ['setpriv', '--inh-caps=-kill', '--bounding-set=-kill'];
  const { status, stderr } = await run([`oci:${out}:x`], build, { under, onStart: stop });
  assert.equal(status, 2, stderr);
  assert.match(stderr, /^built\nrechunk: stopped by SIGTERM\n.*\n$/m);
  assertNothingLeft(out);
});

/** Seconds that nobody else sleeps for. */
function newSleep(): number {
  return 1_000_000 + process.pid * 10 + count;
}

/** Whether a process `sleep SECONDS` runs. */
function isSleeping(seconds: number | string): boolean {
  return readdirSync('/proc').some((name) => {
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8') === `sleep\0${seconds}\0`;
    } catch {
      return false;
    }
  });
}

async function until(isTrue: () => boolean): Promise<void> {
  for (const end = performance.now() + END_LIMIT_MS; !isTrue(); await sleep(50))
    assert.ok(performance.now() < end, 'it takes too long');
}

wrap('what makes no sense is told before the build runs', async () => {
  const context = contextOf('RUN touch /ran');
  const build = ['buildah', 'build', context];
  const absent = newPath();
  const cases: readonly (readonly [readonly string[], readonly string[], string, RegExp])[] = [
    [[], build, 'usage', /got no destination, and the build has 0 tags/],
    [[], [...build, '-t', 'a', '-t', 'b'], 'usage', /the build has 2 tags/],
    [['oci:a', 'oci:b'], build, 'usage', /before --: got 'oci:a oci:b', want one destination/],
    [[`oci:${absent}`, '--max-layers', '0'], build, 'usage', /--max-layers: got '0'/],
    [['rootfs:/x'], build, 'reference', /writing to rootfs:\/x: it can only be read/],
    [['127.0.0.1:1/x:y', '--retries', '0'], build, 'network', /127\.0\.0\.1:1/],
    [
      [`oci:${absent}`, '--temp-dir', process.execPath],
      build,
      'io',
      /making a directory for temporary files in .* \(--temp-dir names another\): /,
    ],
    [[`oci:${absent}`, '--summary-file', '/nowhere/x'], build, 'not-found', /writing the summary/],
    [[`oci:${absent}`, '--digest-file', '/nowhere/x'], build, 'not-found', /writing the digest to/],
    [
      [`oci:${absent}`, '--previous', 'oci:/nowhere:x'],
      build,
      'not-found',
      /reading oci:\/nowhere/,
    ],
    [[`oci:${absent}`, '--base', 'oci:/nowhere:x'], build, 'not-found', /reading oci:\/nowhere/],
    [
      [`oci:${absent}`],
      ['/nowhere/buildah', 'build', '.'],
      'not-found',
      /running \/nowhere\/buildah: there is no such program/,
    ],
  ];
  for (const [args, words, code, says] of cases) {
    const { status, stdout, stderr } = await run([...args, '--json'], words);
    assert.equal(status, 2, stderr);
    const { error } = JSON.parse(stdout);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, says);
    assert.doesNotMatch(stderr, /STEP/);
    if (existsSync(temp)) assert.deepEqual(readdirSync(temp), []);
    assert.ok(!existsSync(absent));
  }
});

wrap('without -- there is no build', async () => {
  await expectTrouble(['wrap', 'oci:x'], {
    code: 'usage',
    says: /after --: got nothing/,
    absent: 'x',
  });
});

mkdirSync(temp);
wrap.run();
