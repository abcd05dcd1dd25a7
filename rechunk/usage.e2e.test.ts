// needs: python3
/** Options and references that make no sense, and databases that are damaged: one clear error, or a note. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import type { ErrorCode } from '../registry/errors.ts';
import { writeLayout } from '../test-images/build.ts';
import { runCli, runJson } from '../test-images/cli.ts';
import { dir, file, type Member, packMembers } from '../test-images/member.ts';
import { expectTrouble } from '../test-images/trouble.ts';
import type { Verification } from './verify.ts';

const usage = suite('usage');
const work = mkdtempSync('/var/tmp/rechunk-usage-');
const layout = join(work, 'source');
const source = `oci:${layout}:latest`;
const absent = join(work, 'absent');
const map = join(work, 'map');

usage.before(async () => {
  await writeLayout(layout, [
    { layers: [{ tar: await packMembers([file('a')]) }] },
    { tag: 'other', layers: [{ tar: await packMembers([file('b')]) }] },
  ]);
  writeFileSync(map, 'only-a-glob\n');
});

usage.after(() => rmSync(work, { recursive: true, force: true }));

/** Arguments after `build SOURCE DESTINATION`, and what the error must say. */
const OPTIONS: readonly (readonly [readonly string[], RegExp, ErrorCode?])[] = [
  [['--bogus'], /unknown option '--bogus'/],
  [['--max-layer', '3'], /unknown option '--max-layer'.*\n.*--max-layers/],
  [['surplus'], /too many arguments .*'build'.* 2 .* 3/],
  [['--max-layers', '0'], /--max-layers: got '0', want a whole number from 1 to \d+/],
  [['--max-layers', 'many'], /--max-layers: got 'many', want a whole number/],
  [['--max-layer-size', '5 parsecs'], /--max-layer-size: got '5 parsecs', want a size such as/],
  [
    ['--compression', 'lz4'],
    /--compression <kind>' argument 'lz4' is invalid.*zstd, zstd:chunked, gzip, none/,
  ],
  [['--compression-level', '23'], /--compression-level: got '23', want .* from 1 to 22/],
  [['--compression', 'gzip', '--compression-level', '10'], /got '10', want .* from 1 to 9/],
  [['--threads', '-1'], /--threads: got '-1', want a whole number from 1/],
  [['--retries', '1.5'], /--retries: got '1.5', want a whole number from 0/],
  [['--mtime', 'yesterday'], /--mtime: got 'yesterday', want seconds since 1970 or a date/],
  [['--mtime', 'clamp'], /--mtime clamp: SOURCE_DATE_EPOCH is not set/],
  [['--dir-mtime', 'now'], /--dir-mtime <how>' argument 'now' is invalid.*zero, keep/],
  [['--created', '01/02/2026'], /--created: got '01\/02\/2026', want /],
  [['--label', 'nonsense'], /--label: got 'nonsense', want KEY=VALUE, or KEY- to remove it/],
  [['--annotation', '=value'], /--annotation: got '=value', want KEY=VALUE/],
  [['--tag', 'a/b'], /--tag: got 'a\/b', want letters/],
  [['--platform', 'riscv'], /is for linux\/amd64, want linux\/riscv/, 'platform'],
  [['--platform', 'linux/s390x'], /is for linux\/amd64, want linux\/s390x/, 'platform'],
  [['--map', join(work, 'no-map')], /reading the map .*no-map.*ENOENT/, 'io'],
  [['--map', map], /reading map .*map: line 1 /],
];

for (const [args, says, code = 'usage'] of OPTIONS) {
  usage(`build … ${args.map((arg) => arg.replace(work, '')).join(' ')}`, async () => {
    const env = { SOURCE_DATE_EPOCH: '' };
    const all = ['build', source, `oci:${absent}:latest`, ...args];
    await expectTrouble(all, { code, says, absent }, { env });
  });
}

const REFERENCES: readonly (readonly [string, string, RegExp, ErrorCode])[] = [
  [
    `oci:${layout}:gone`,
    `oci:${absent}`,
    /no image is named 'gone'; it holds latest, other/,
    'not-found',
  ],
  [
    `oci:${layout}`,
    `oci:${absent}`,
    /holds 2 images, so one must be named .*: latest, other/,
    'reference',
  ],
  [
    'oci:/nowhere',
    `oci:${absent}`,
    /reading oci:\/nowhere: there is no file oci-layout/,
    'not-found',
  ],
  [
    'oci-archive:/nowhere.tar',
    `oci:${absent}`,
    /reading oci-archive:\/nowhere.tar.*ENOENT/,
    'not-found',
  ],
  [
    'docker-archive:/dev/null',
    `oci:${absent}`,
    /\/dev\/null: nothing came: want an archive/,
    'unsupported',
  ],
  ['rootfs:/nowhere', `oci:${absent}`, /rootfs:\/nowhere/, 'not-found'],
  ['registry.invalid/UPPER', `oci:${absent}`, /registry.invalid\/UPPER/, 'reference'],
  [source, 'rootfs:/nowhere', /writing to rootfs:\/nowhere: it can only be read/, 'reference'],
  [source, '-', /writing to -: it can only be read/, 'reference'],
  [source, `oci:${absent}:a b`, /a b/, 'reference'],
];

for (const [from, to, says, code] of REFERENCES) {
  usage(`build ${from.replace(work, '')} ${to.replace(work, '')}`, async () => {
    await expectTrouble(['build', from, to], { code, says, absent });
  });
}

usage('an unknown command, and none', async () => {
  const { status, stdout } = await runCli(['biuld', '--json']);
  assert.equal(status, 2);
  assert.match(
    stdout,
    /"code":"usage","message":"unknown command 'biuld'\\n\(Did you mean build\?\)"/,
  );
  assert.equal((await runCli([])).status, 2);
  assert.equal((await runCli(['--help'])).status, 0);
});

usage('without --json an error is on stderr alone; RECHUNK_JSON counts as --json', async () => {
  const args = ['build', 'oci:/nowhere', `oci:${absent}`];
  const plain = await runCli(args);
  assert.deepEqual([plain.status, plain.stdout], [2, '']);
  const [error, advice, ...rest] = plain.stderr.split('\n');
  assert.match(`${error}`, /^rechunk: reading oci:\/nowhere: /);
  assert.match(`${advice}`, /^ {2}check the name/);
  assert.deepEqual(rest, ['']);
  const json = await runCli(args, { env: { RECHUNK_JSON: '1' } });
  assert.match(json.stdout, /^\{"error":\{"code":"not-found",/);
});

const DATABASES: readonly (readonly [string, readonly Member[]])[] = [
  [
    'rpm',
    [dir('var/lib/rpm'), file('var/lib/rpm/rpmdb.sqlite', 'SQLite format 3\0'.padEnd(4096, 'x'))],
  ],
  ['dpkg', [dir('var/lib/dpkg'), file('var/lib/dpkg/status', 'neither here\nnor there\n')]],
  ['apk', [dir('lib/apk/db'), file('lib/apk/db/installed', 'neither here\nnor there\n')]],
];

for (const [name, members] of DATABASES) {
  usage(`a damaged ${name} database is a note, and with --strict an error`, async () => {
    const image = join(work, name);
    await writeLayout(image, [{ layers: [{ tar: await packMembers(members) }] }]);
    const [from, to] = [`oci:${image}:latest`, `oci:${image}-out:latest`];
    const trouble = {
      code: 'database',
      says: new RegExp(name, 'i'),
      absent: `${image}-out`,
    } as const;
    await expectTrouble(['build', from, to, '--strict'], trouble);
    const { status, stderr } = await runCli(['build', from, to]);
    assert.equal(status, 0, stderr);
    assert.match(stderr, new RegExp(`^note: ${name}: .*; its packages are not told apart$`, 'm'));
    assert.deepEqual((await runJson<Verification>(['verify', from, to])).differences, []);
  });
}

usage.run();
