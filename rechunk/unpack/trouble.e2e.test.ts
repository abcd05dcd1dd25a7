// needs: root, getfattr, python3, mount, umount, setpriv
/** Unpacking that fails, is stopped or killed: a clear error, and nothing is left. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import { writeLayout } from '../../test-images/build.ts';
import { runCli, runJson } from '../../test-images/cli.ts';
import { command } from '../../test-images/command.ts';
import { editBlob, flipBit } from '../../test-images/damage.ts';
import { dir, file, link, packMembers, whiteout } from '../../test-images/member.ts';
import { noise } from '../../test-images/sample.ts';
import { writeSynthetic } from '../../test-images/synthetic.ts';
import { expectTrouble } from '../../test-images/trouble.ts';
import type { UnpackedImage } from './unpack.ts';

/** Takes a second or more to write. */
const SYNTHETIC = { files: 8000, bytes: 60_000_000, layers: 3, compression: 'none' } as const;
/** Longest time between a signal and the end of the run, ms; well below 1000 on an idle machine. */
const END_LIMIT_MS = 4000;

const trouble = suite('unpack trouble');
const work = mkdtempSync('/var/tmp/rechunk-unpack-trouble-');
const layout = join(work, 'source');
const source = `oci:${layout}:latest`;
const large = join(work, 'large');
const mounted: string[] = [];
let count = 0;

trouble.before(async () => {
  const content = noise(3_000_000, 'a').toString('latin1');
  const tar = await packMembers([dir('d', { mode: 0o555 }), file('d/a', content)]);
  await writeLayout(layout, [{ layers: [{ tar }] }]);
  await writeSynthetic(large, SYNTHETIC);
});

trouble.after(async () => {
  for (const path of mounted) await command('umount', ['-l', path]);
  rmSync(work, { recursive: true, force: true });
});

/** A directory of its own, and a place in it that is not there. */
function newPlace(): { parent: string; out: string } {
  const parent = join(work, `place-${count++}`);
  mkdirSync(parent);
  return { parent, out: join(parent, 'out') };
}

trouble(
  'a directory that holds something, a file and a place below a file are refused',
  async () => {
    const { parent, out } = newPlace();
    mkdirSync(join(out, 'kept'), { recursive: true });
    await expectTrouble(['unpack', source, out], {
      code: 'exists',
      says: /is not empty: it has kept/,
    });
    assert.deepEqual(readdirSync(parent), ['out']);
    writeFileSync(join(parent, 'file'), '');
    const file = join(parent, 'file');
    await expectTrouble(['unpack', source, file], { code: 'exists', says: /is no directory/ });
    await expectTrouble(['unpack', source, join(file, 'a')], {
      code: 'exists',
      says: /is no directory/,
    });
  },
);

trouble('an empty directory is taken, and keeps its mode', async () => {
  const { out } = newPlace();
  mkdirSync(out, { mode: 0o700 });
  await runJson(['unpack', source, out]);
  assert.deepEqual(readdirSync(out), ['000', '001']);
  assert.equal(statSync(out).mode & 0o7777, 0o700);
});

trouble('parents are made, and taken back where it fails', async () => {
  const { parent, out } = newPlace();
  const bad = join(work, `damaged-${count++}`);
  const [image] = await writeLayout(bad, [{ layers: [{ tar: await packMembers([file('a')]) }] }]);
  editBlob(bad, image?.layers[0]?.digest ?? '', (bytes) => flipBit(bytes, 20));
  const deep = join(out, 'a/b');
  await expectTrouble(['unpack', `oci:${bad}:latest`, deep], {
    code: 'compression',
    says: /layer 1/,
    absent: out,
  });
  assert.deepEqual(readdirSync(parent), []);
  await runJson(['unpack', source, deep]);
  assert.deepEqual(readdirSync(parent), ['out']);
});

trouble('a layer that no runtime could unpack leaves nothing of those below it', async () => {
  const { parent, out } = newPlace();
  const bad = join(work, `bad-${count++}`);
  const layers = [[file('a')], [link('b', 'none')]].map((members) => packMembers(members));
  const tars = (await Promise.all(layers)).map((tar) => ({ tar }));
  await writeLayout(bad, [{ layers: tars }]);
  const says = /layer 2 .*\/b is a hard link to \/none, which does not exist/;
  await expectTrouble(['unpack', `oci:${bad}:latest`, out], { code: 'tar', says });
  assert.deepEqual(readdirSync(parent), []);
});

/** A disk of its own, in memory. */
async function mountDisk(options: string): Promise<string> {
  const path = mkdtempSync(join(work, 'disk-'));
  await command('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]);
  mounted.push(path);
  return path;
}

trouble('a full disk is told of in the words of tar', async () => {
  const path = await mountDisk('size=2m');
  const says = /layer 1 .*d\/a: .*no space left/i;
  await expectTrouble(['unpack', source, join(path, 'out')], { code: 'io', says });
  assert.deepEqual(readdirSync(path), []);
});

trouble('a file system that holds no deletions is told of', async () => {
  const disk = await mountDisk('size=20m');
  for (const name of ['lower', 'upper', 'work', 'root']) mkdirSync(join(disk, name));
  const options = 'lowerdir=lower,upperdir=upper,workdir=work';
  await command('mount', ['-t', 'overlay', 'overlay', '-o', options, 'root'], { cwd: disk });
  mounted.unshift(join(disk, 'root'));
  const deleting = join(work, 'deleting');
  const tars = [[file('a')], [whiteout('a')]].map((members) => packMembers(members));
  await writeLayout(deleting, [{ layers: (await Promise.all(tars)).map((tar) => ({ tar })) }]);
  const says = /layer 2 .*a: Cannot mknod: .*unpack to another one/;
  const args = ['unpack', `oci:${deleting}:latest`, join(disk, 'root/out')];
  await expectTrouble(args, { code: 'io', says });
  assert.deepEqual(readdirSync(join(disk, 'root')), []);
});

trouble('a disk without inodes left is told of in the words of tar', async () => {
  const path = await mountDisk('nr_inodes=50');
  const says = /No space left on device/;
  await expectTrouble(['unpack', `oci:${large}:latest`, join(path, 'out')], { code: 'io', says });
  assert.deepEqual(readdirSync(path), []);
});

trouble('a read-only disk and a mount point are told of', async () => {
  const readOnly = await mountDisk('ro');
  const says = /EROFS|read-only/;
  await expectTrouble(['unpack', source, join(readOnly, 'out')], { code: 'io', says });
  const path = await mountDisk('size=20m');
  await expectTrouble(['unpack', source, path], { code: 'exists', says: /is a mount point/ });
  assert.deepEqual(readdirSync(path), []);
});

trouble('without GNU tar nothing is begun', async () => {
  const { parent, out } = newPlace();
  const bin = join(parent, 'bin');
  mkdirSync(bin);
  symlinkSync(process.execPath, join(bin, 'node'));
  const want = { code: 'unsupported', says: /GNU tar is needed/, absent: out } as const;
  await expectTrouble(['unpack', source, out], want, { env: { PATH: bin } });
  writeFileSync(join(bin, 'tar'), '#!/bin/sh\necho "tar (busybox) 1.35"\n', { mode: 0o755 });
  await expectTrouble(['unpack', source, out], want, { env: { PATH: bin } });
});

trouble(
  'a place that a user may not write to, and marks that it may not set, are told of',
  async () => {
    const { parent, out } = newPlace();
    chmodSync(work, 0o755);
    const temp = mkdtempSync(join(work, 'temp-'));
    chmodSync(temp, 0o777);
    const under = ['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups'];
    const as = { code: 'io', says: /EACCES/, absent: out, tempDir: temp } as const;
    await expectTrouble(['unpack', source, out], as, { under });
    chmodSync(parent, 0o777);
    const marks = {
      code: 'unsupported',
      says: /namespace trusted are for root/,
      tempDir: temp,
    } as const;
    await expectTrouble(['unpack', source, out, '--mark-implied', 'trusted'], marks, { under });
    assert.deepEqual(readdirSync(parent), []);
  },
);

/** Sends `signal` once a layer is being written beside `out`; gives the moment when it did, ms. */
function killWhenWriting(
  parent: string,
  signal: NodeJS.Signals,
): { onStart: (pid: number) => void; sentAt: () => number } {
  let at = Number.NaN;
  const isWriting = (): boolean => {
    const [name] = existsSync(parent) ? readdirSync(parent) : [];
    const data = join(parent, name ?? '', 'tree/001/data');
    return name !== undefined && existsSync(data) && readdirSync(data).length > 2;
  };
  const kill = async (pid: number): Promise<void> => {
    while (!isWriting()) await sleep(2);
    at = performance.now();
    process.kill(pid, signal);
  };
  return { onStart: (pid) => void kill(pid), sentAt: () => at };
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  trouble(
    `${signal} while layers are written ends the run at once, and takes all back`,
    async () => {
      const { parent, out } = newPlace();
      const { onStart, sentAt } = killWhenWriting(parent, signal);
      const want = { code: 'interrupted', says: new RegExp(`stopped by ${signal}`) } as const;
      await expectTrouble(['unpack', `oci:${large}:latest`, out], want, { onStart });
      assert.ok(performance.now() - sentAt() < END_LIMIT_MS, `${performance.now() - sentAt()} ms`);
      assert.deepEqual(readdirSync(parent), []);
    },
  );
}

trouble(
  'SIGKILL while layers are written leaves no image, and the next run cleans up',
  async () => {
    const { parent, out } = newPlace();
    const temp = mkdtempSync(join(work, 'temp-'));
    const { onStart } = killWhenWriting(parent, 'SIGKILL');
    const args = ['unpack', `oci:${large}:latest`, out, '--temp-dir', temp];
    const { status } = await runCli(args, { onStart });
    assert.equal(status, null);
    assert.ok(!existsSync(out));
    assert.deepEqual(readdirSync(temp), []);
    const { layers } = await runJson<UnpackedImage>(args);
    assert.deepEqual(readdirSync(parent), ['out']);
    assert.deepEqual(
      layers.map(({ directory }) => directory),
      readdirSync(out),
    );
  },
);

trouble.run();
