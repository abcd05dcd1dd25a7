// needs: python3
/** `rechunk lint` on images that are odd in every way that it knows. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import { writeLayout } from '../../test-images/build.ts';
import { jsonHere, runHere } from '../../test-images/cli.ts';
import { dir, file, link, type Member, packMembers, symlink } from '../../test-images/member.ts';
import type { LintReport } from './lint.ts';

const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/tmp', 'rechunk-lint-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

/** Writes an image with `layers`, lowest first, and names it. */
async function imageOf(tag: string, ...layers: Member[][]): Promise<string> {
  const tars = await Promise.all(layers.map((members) => packMembers(members)));
  await writeLayout(join(directory, tag), [{ tag, layers: tars.map((tar) => ({ tar })) }]);
  return `oci:${join(directory, tag)}:${tag}`;
}

const base = [
  dir('srv', { mode: 0o2770, uid: 5, gid: 6 }),
  file('srv/old'),
  symlink('lib', 'srv'),
  dir('usr'),
];

async function lintJson(image: string, ...more: string[]): Promise<LintReport> {
  const { status, stdout, stderr } = await runHere(['lint', image, '--json', ...more]);
  assert.ok(status === 0 || status === 1, stderr);
  const report = JSON.parse(stdout) as LintReport;
  assert.equal(status, report.isWrong ? 1 : 0);
  return report;
}

test('a whole image has no findings, and every runtime shows it as meant', async () => {
  const { status, stdout } = await runHere(['lint', await imageOf('whole', base)]);
  assert.equal(status, 0);
  assert.match(stdout, /^as meant: podman-overlay, .*composefs-rs/);
});

test('of a sparse layer it says what each runtime makes of the directory, one line each', async () => {
  const image = await imageOf('sparse', base, [file('srv/new')]);
  const { status, stdout } = await runHere(['lint', image]);
  assert.equal(status, 1);
  const [first = ''] = stdout.split('\n');
  assert.match(first, /^implied-parent \/srv in layer 2: /);
  assert.match(first, /podman-overlay.*: mode 0755 for 2770, owner 0:0 for 5:6, time when it was/);
  assert.match(stdout, /^as meant: .*umoci.*composefs-rs/m);
  for (const line of stdout.trimEnd().split('\n')) assert.match(line, /^\S.*: \S/);
});

test('--runtimes asks only those that matter, and their verdict alone is the exit status', async () => {
  const image = await imageOf('chosen', base, [file('srv/new')]);
  const { status, stdout } = await runHere(['lint', image, '--runtimes', 'umoci,composefs-rs']);
  assert.equal(status, 0, stdout);
  assert.equal(
    stdout,
    'implied-parent: 1 path that every runtime shows as meant (--all lists all)\nas meant: umoci, composefs-rs\n',
  );
  const bad = await runHere(['lint', image, '--runtimes', 'lxc']);
  assert.equal(bad.status, 2);
  assert.match(bad.stderr, /got 'lxc', want .*podman-overlay/);
});

test('every oddity has its stable code, its layers and its effects in JSON', async () => {
  const image = await imageOf(
    'odd',
    base,
    [dir('srv', { mode: 0o700 }), file('lib/x'), link('hard', 'srv/old')],
    [file('late/x'), dir('late', { xattrs: { 'trusted.overlay.opaque': 'y' } })],
    [file('twice'), file('twice', 'again')],
    [dir('srv', { xattrs: { 'user.overlay.dirmeta_delegate': 'y' } }), file('a/b/c/d'), dir('a/b')],
  );
  const { findings, runtimes } = await lintJson(image);
  const told = findings.map(({ code, at, layers }) => `${code} ${at} ${layers.join()}`);
  assert.deepEqual(told, [
    'implied-parent /lib 2',
    'partial-chain /a 5',
    'partial-chain /a/b/c 5',
    'late-parent /a/b 5',
    'late-parent /late 3',
    'symlinked-ancestor /lib 2',
    'directory-disagreement /srv 1,2',
    'overlay-xattr /late 3',
    'delegate-marker /srv 5',
    'duplicate-path /twice 4',
    'lower-hard-link /hard 2',
  ]);
  const hard = findings.find(({ code }) => code === 'lower-hard-link');
  const refusing = hard?.effects.find(({ refuses }) => refuses);
  assert.ok(refusing?.runtimes.includes('podman-overlay'), JSON.stringify(hard));
  assert.equal(runtimes.find(({ id }) => id === 'podman-overlay')?.verdict, 'refused');
});

test('a rechunked image is as meant everywhere, or --runtimes says where it is not', async () => {
  const image = await imageOf('input', base, [file('srv/new')]);
  const full = `oci:${directory}/full:x`;
  await jsonHere(['build', image, full]);
  assert.equal((await lintJson(full)).isWrong, false);
  const shared = `oci:${directory}/shared:x`;
  await jsonHere(['build', image, shared, '--parents', 'shared']);
  const { runtimes } = await lintJson(shared);
  const wrong = runtimes.filter(({ verdict }) => verdict !== 'right').map(({ id }) => id);
  assert.deepEqual(wrong, ['ostree', 'composefs-rs']);
  const both = `oci:${directory}/both:x`;
  await jsonHere(['build', image, both, '--parents', 'shared', '--skeleton', 'both']);
  assert.equal((await lintJson(both)).isWrong, false);
});

test.run();
