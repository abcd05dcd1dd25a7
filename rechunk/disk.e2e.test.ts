// needs: root, python3, mount, umount
/** Disks that are full or read-only, and destinations that hold something already. */
import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import { type BuiltImage, writeLayout } from '../test-images/build.ts';
import { runCli, runJson } from '../test-images/cli.ts';
import { command } from '../test-images/command.ts';
import { editBlob, flipBit } from '../test-images/damage.ts';
import { file, packMembers } from '../test-images/member.ts';
import { noise } from '../test-images/sample.ts';
import { expectTrouble } from '../test-images/trouble.ts';

/** Bytes of noise in each of the image's files; a small disk holds one of three. */
const NOISE_SIZE = 1_000_000;
const SMALL_DISK = 'size=2m';

const disk = suite('disk');
const work = mkdtempSync('/var/tmp/rechunk-disk-');
const layout = join(work, 'source');
const source = `oci:${layout}:latest`;
const mounted: string[] = [];
let image: BuiltImage;

disk.before(async () => {
  const files = ['a', 'b', 'c'].map((name) =>
    file(name, noise(NOISE_SIZE, name).toString('latin1')),
  );
  const layers = await Promise.all(files.map(async (each) => ({ tar: await packMembers([each]) })));
  [image] = (await writeLayout(layout, [{ layers }])) as [BuiltImage];
});

disk.after(async () => {
  for (const path of mounted) await command('umount', ['-l', path]);
  rmSync(work, { recursive: true, force: true });
});

/** A file system of its own, in memory. */
async function mountDisk(options: string): Promise<string> {
  const path = mkdtempSync(join(work, 'disk-'));
  await command('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]);
  mounted.push(path);
  return path;
}

/** Every file below a directory with its content, to compare later. */
function contentsOf(directory: string): Record<string, string> {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [path, readFileSync(path).toString('latin1')];
    }),
  );
}

const FULL = /ENOSPC|no space left/;

for (const [name, referenceOf] of [
  ['layout', (path: string) => `oci:${path}/image:latest`],
  ['OCI archive', (path: string) => `oci-archive:${path}/image.tar`],
  ['docker archive', (path: string) => `docker-archive:${path}/image.tar`],
] as const) {
  disk(`a full disk under a new ${name}`, async () => {
    const path = await mountDisk(SMALL_DISK);
    await expectTrouble(['build', source, referenceOf(path)], { code: 'io', says: FULL });
    assert.deepEqual(readdirSync(path), []);
  });

  disk(`a read-only disk under a new ${name}`, async () => {
    const path = await mountDisk('ro');
    const trouble = { code: 'io', says: new RegExp(`${path}.*(EROFS|read-only)`) } as const;
    await expectTrouble(['build', source, referenceOf(path)], trouble);
  });
}

disk('an existing layout on a read-only disk', async () => {
  const path = await mountDisk('size=20m');
  cpSync(layout, join(path, 'images'), { recursive: true });
  await command('mount', ['-o', 'remount,ro', path]);
  const says = new RegExp(`writing to oci:${path}/images:new: EROFS`);
  await expectTrouble(['build', source, `oci:${path}/images:new`], { code: 'io', says });
});

disk('a full disk under the temporary directory', async () => {
  const tempDir = await mountDisk(SMALL_DISK);
  const absent = join(work, 'full-temp');
  const says = /reading layer \d .*: writing a temporary file: ENOSPC/;
  const trouble = { code: 'io', says, absent, tempDir } as const;
  await expectTrouble(['build', source, `oci:${absent}:latest`], trouble);
});

disk('a read-only temporary directory', async () => {
  const tempDir = await mountDisk('ro');
  const absent = join(work, 'read-only-temp');
  const says = new RegExp(`temporary file in ${tempDir}: EROFS`);
  await expectTrouble(['build', source, `oci:${absent}:latest`], {
    code: 'io',
    says,
    absent,
    tempDir,
  });
});

disk('a temporary directory that is not there', async () => {
  const gone = join(work, 'gone');
  const { status, stderr } = await runCli(['build', source, `oci:${gone}-out`, '--temp-dir', gone]);
  assert.equal(status, 2);
  assert.match(stderr, new RegExp(`^rechunk: .*${gone}.*ENOENT`, 'm'));
  assert.ok(!readdirSync(work).includes('gone-out'));
});

disk('an existing layout keeps its tags when a run fails, and when one succeeds', async () => {
  const path = await mountDisk('size=5m');
  const target = join(path, 'images');
  cpSync(layout, target, { recursive: true });
  const before = contentsOf(target);
  await expectTrouble(['build', source, `oci:${target}:new`], { code: 'io', says: FULL });
  assert.deepEqual(contentsOf(target), before);
  const damaged = join(work, 'damaged');
  cpSync(layout, damaged, { recursive: true });
  const [layer] = image.layers;
  editBlob(damaged, layer?.digest ?? '', (bytes) => flipBit(bytes, -1));
  const says = /layer 1 /;
  await expectTrouble(['build', `oci:${damaged}:latest`, `oci:${target}:new`], {
    code: 'compression',
    says,
  });
  assert.deepEqual(contentsOf(target), before);
  await command('mount', ['-o', 'remount,size=20m', path]);
  await runJson(['build', source, `oci:${target}:new`, '--tag', 'newer']);
  await runJson(['verify', `oci:${target}:latest`, `oci:${target}:newer`]);
  const { manifests } = JSON.parse(readFileSync(join(target, 'index.json'), 'utf8')) as {
    manifests: { annotations: Record<string, string> }[];
  };
  const names = manifests.map(
    ({ annotations }) => annotations['org.opencontainers.image.ref.name'],
  );
  assert.deepEqual(names, ['latest', 'new', 'newer']);
});

disk('a directory with other things in it is no destination', async () => {
  const target = join(work, 'documents');
  mkdirSync(target);
  writeFileSync(join(target, 'letter'), 'dear reader');
  const says = new RegExp(`${target} holds other files, and no OCI layout`);
  await expectTrouble(['build', source, `oci:${target}:latest`], { code: 'exists', says });
  assert.deepEqual(readdirSync(target), ['letter']);
});

disk('a digest file that cannot be written', async () => {
  const digestFile = join(work, 'absent', 'digest');
  const trouble = { code: 'not-found', says: new RegExp(`digest.*${digestFile}.*ENOENT`) } as const;
  const args = ['build', source, `oci:${work}/digest:latest`, '--digest-file', digestFile];
  await expectTrouble(args, trouble);
});

disk.run();
