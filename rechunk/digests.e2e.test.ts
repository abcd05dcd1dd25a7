// needs: root, python3
/**
 * The same input gives the same digest: on every Node that is supported, with any number of threads, time zone, locale, umask
 * and temporary directory; and the same as the last release did, unless a golden was changed on purpose.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { CASES, type Case, writeCase } from '../test-images/cases.ts';
import { type CliOptions, jsonHere, runJson } from '../test-images/cli.ts';
import { output } from '../test-images/command.ts';
import { nodeProgram } from '../test-images/node.ts';
import type { BuildResult } from './rechunk.ts';

const COMPRESSIONS = ['zstd', 'gzip', 'none'] as const;
type Digests = Record<string, string>;

/** A fixed image that lies in the repository: an archive by `docker save`. */
const ALPINE = fileURLToPath(
  new URL('../test-images/packages/apk/alpine-3.11.5-docker.tar.gz', import.meta.url),
);
const GOLDEN = fileURLToPath(
  new URL('../test-images/golden/alpine-3.11.5-digests.json', import.meta.url),
);
/** Versions besides the one that runs the test: the oldest that is supported, and those before and after. */
const NODES = ['22.19.0', '24.21.0', '26'] as const;

const digests = suite('digests');
const work = mkdtempSync('/var/tmp/rechunk-digests-');
const everything = `oci:${join(work, 'everything')}:latest`;
const alpine = `docker-archive:${ALPINE}`;
const known = new Map<string, Digests>();

digests.before(async () => {
  const hostile = CASES.find(({ name }) => name === 'one of everything') as Case;
  await writeCase(join(work, 'everything'), hostile);
  for (const image of [everything, alpine]) known.set(image, await digestsOf(image, [], {}));
});

digests.after(() => rmSync(work, { recursive: true, force: true }));

/** The manifest digest of the rechunked `image` for each compression; with `options` by a process of its own. */
async function digestsOf(
  image: string,
  args: readonly string[],
  options?: CliOptions,
): Promise<Digests> {
  const found: Digests = {};
  const out = mkdtempSync(join(work, 'out-'));
  for (const compression of COMPRESSIONS) {
    const to = `oci:${out}:${compression}`;
    const flags = ['--platform', 'linux/amd64', '--compression', compression, ...args];
    const build = ['build', image, to, ...flags];
    const { digest } = await (options
      ? runJson<BuildResult>(build, options)
      : jsonHere<BuildResult>(build));
    found[compression] = digest;
  }
  rmSync(out, { recursive: true });
  return found;
}

async function expectSame(args: readonly string[], options?: CliOptions): Promise<void> {
  const found = await Promise.all(
    [...known.keys()].map((image) => digestsOf(image, args, options)),
  );
  assert.deepEqual(found, [...known.values()]);
}

digests('a second run gives the same digests, also within another process', () => expectSame([]));

for (const threads of ['1', '2', '7']) {
  digests(`${threads} threads give the same digests`, () => expectSame(['--threads', threads]));
}

digests('time zone, locale, umask, user name and temporary directory do not matter', async () => {
  const temp = join(work, 'another temporary directory');
  mkdirSync(temp);
  const env = {
    TZ: 'Asia/Tokyo',
    LC_ALL: 'tr_TR.UTF-8',
    LANG: 'tr_TR.UTF-8',
    HOME: temp,
    USER: 'another',
    UV_THREADPOOL_SIZE: '1',
  };
  const under = ['sh', '-c', 'umask 077; exec "$@"', 'sh'];
  await expectSame(['--temp-dir', temp], { env, under });
});

for (const version of NODES) {
  digests(`Node ${version} gives the same digests`, async () => {
    const node = await nodeProgram(version, work);
    const found = await output(node, ['--version']);
    assert.ok(found.startsWith(`v${version}`), `got ${found}, want ${version}`);
    await expectSame([], { node });
  });
}

digests('a fixed image gives the digests that it always gave', () => {
  const found = `${JSON.stringify(known.get(alpine), null, 2)}\n`;
  if (process.env['RECHUNK_WRITE_GOLDENS'] === '1') writeFileSync(GOLDEN, found);
  assert.equal(found, readFileSync(GOLDEN, 'utf8'));
});

digests.run();
