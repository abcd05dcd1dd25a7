// needs: root, python3
/** Damaged and hostile images, and options that make no sense: a clear error, exit status 2, and nothing left behind. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, rmSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import type { ErrorCode } from '../registry/errors.ts';
import { type BuiltImage, writeLayout } from '../test-images/build.ts';
import { runJson } from '../test-images/cli.ts';
import {
  blobFile,
  editBlob,
  editConfig,
  editIndex,
  editManifest,
  flipBit,
  replaceConfig,
  replaceLayer,
  replaceManifest,
} from '../test-images/damage.ts';
import { dir, file, link, type Member, packMembers, symlink } from '../test-images/member.ts';
import { noise } from '../test-images/sample.ts';
import { expectTrouble } from '../test-images/trouble.ts';
import type { BuildResult } from './rechunk.ts';

const work = mkdtempSync('/var/tmp/rechunk-trouble-');
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

/** Bytes of noise in each layer, as base64: what compresses a little, and nowhere by much. */
const NOISE_SIZE = 300_000;
/** Where in a stored layer damage is done: far from its headers. */
const MIDDLE = 150_000;
const D = 'sha256:[0-9a-f]{64}';

const KINDS = ['gzip', 'zstd', 'none'] as const;
const tars = await Promise.all(
  KINDS.map((kind) => packMembers([file(kind, noise(NOISE_SIZE, kind).toString('base64'))])),
);
const layers = KINDS.map((compression, i) => ({ tar: tars[i] as Buffer, compression }));
const sound = join(work, 'sound');
const [soundImage] = (await writeLayout(sound, [{ layers }])) as [BuiltImage];
const [gzip, zstd, none] = soundImage.layers.map(({ digest }) => digest) as [
  string,
  string,
  string,
];

/** What is done to a copy of a sound layout with a gzip, a zstd and an uncompressed layer. */
type Damage = readonly [
  name: string,
  code: ErrorCode,
  says: RegExp,
  damage: (layout: string) => void,
];

const cut = (bytes: Buffer): Buffer => bytes.subarray(0, -1000);
const overwrite = (bytes: Buffer): Buffer => Buffer.from(bytes).fill(0xff, MIDDLE);
const flip = (bytes: Buffer): Buffer => flipBit(bytes, MIDDLE);
const drop = (layout: string, digest: string): void => unlinkSync(blobFile(layout, digest));
const lie = (layout: string, number: number, by: number): void =>
  editManifest(layout, (manifest) => {
    const layer = manifest.layers[number];
    if (layer) manifest.layers[number] = { ...layer, size: layer.size + by };
  });

const DAMAGES: readonly Damage[] = [
  [
    'a changed byte in an uncompressed layer',
    'digest-mismatch',
    new RegExp(`layer 3 .* of oci:.*: got digest ${D}, want ${none}`),
    (layout) => editBlob(layout, none, flip),
  ],
  [
    'a changed last byte of a gzip layer',
    'compression',
    /layer 1 /,
    (layout) => editBlob(layout, gzip, (bytes) => flipBit(bytes, -1)),
  ],
  ...[gzip, zstd, none].map(
    (digest, i): Damage => [
      `a truncated blob (${KINDS[i]})`,
      'size-mismatch',
      new RegExp(`${digest} has \\d+ bytes, want \\d+`),
      (layout) => editBlob(layout, digest, cut),
    ],
  ),
  [
    'a missing layer',
    'not-found',
    new RegExp(`layer 2 .*${zstd}.* is missing`),
    (layout) => drop(layout, zstd),
  ],
  [
    'a missing config',
    'not-found',
    new RegExp(`${soundImage.config.digest}.* is missing`),
    (layout) => drop(layout, soundImage.config.digest),
  ],
  [
    'a missing manifest',
    'not-found',
    new RegExp(`${soundImage.manifest.digest}.* is missing`),
    (layout) => drop(layout, soundImage.manifest.digest),
  ],
  [
    'broken gzip in the midst',
    'compression',
    /layer 1 .*decompressing: /,
    (layout) =>
      replaceLayer(layout, 0, (bytes) => Buffer.from(bytes).fill(0xff, MIDDLE, MIDDLE + 1000)),
  ],
  [
    'broken gzip at the end',
    'compression',
    /layer 1 .*decompressing: incorrect data check/,
    (layout) => replaceLayer(layout, 0, (bytes) => flipBit(bytes, -5)),
  ],
  [
    'gzip that ends early',
    'compression',
    /layer 1 .*decompressing: unexpected end of file/,
    (layout) => replaceLayer(layout, 0, cut),
  ],
  [
    'bytes after the end of gzip',
    'compression',
    /layer 1 .*decompressing: /,
    (layout) => replaceLayer(layout, 0, (bytes) => Buffer.concat([bytes, Buffer.from('more')])),
  ],
  [
    'broken zstd in the midst',
    'compression',
    /layer 2 .*decompressing/,
    (layout) => replaceLayer(layout, 1, overwrite),
  ],
  [
    'zstd that ends early',
    'compression',
    /layer 2 .*decompressing/,
    (layout) => replaceLayer(layout, 1, cut),
  ],
  [
    'bytes after the end of zstd',
    'compression',
    /layer 2 .*decompressing/,
    (layout) => replaceLayer(layout, 1, (bytes) => Buffer.concat([bytes, Buffer.from('more')])),
  ],
  [
    'a layer compressed with xz',
    'unsupported',
    /layer 1 .*compressed with xz, want gzip, zstd or none/,
    (layout) =>
      replaceLayer(layout, 0, () => Buffer.from('\xfd7zXZ\0\0\x04\xe6\xd6\xb4F', 'latin1')),
  ],
  [
    'a wrong diffID',
    'digest-mismatch',
    new RegExp(`layer 2 .*diffID ${soundImage.diffIds[1]}, the image config promises sha256:0{64}`),
    (layout) =>
      editConfig(layout, ({ rootfs }) => {
        rootfs.diff_ids[1] = `sha256:${'0'.repeat(64)}`;
      }),
  ],
  [
    'another layer than the config means',
    'digest-mismatch',
    /layer \d .*has diffID .*, the image config promises /,
    (layout) => editManifest(layout, ({ layers }) => void layers.reverse()),
  ],
  [
    'a tar that ends early',
    'tar',
    /layer 3 /,
    (layout) => replaceLayer(layout, 2, (bytes) => bytes.subarray(0, MIDDLE)),
  ],
  [
    'a layer that is no tar',
    'tar',
    /layer 3 .*byte|offset|header/,
    (layout) => replaceLayer(layout, 2, () => Buffer.alloc(2048, 'no tar ')),
  ],
  [
    'a layer size that is too small',
    'size-mismatch',
    new RegExp(`layer 1 .*${gzip} has \\d+ bytes, want \\d+`),
    (layout) => lie(layout, 0, -1),
  ],
  [
    'a layer size that is too large',
    'size-mismatch',
    new RegExp(`layer 2 .*${zstd} has \\d+ bytes, want \\d+`),
    (layout) => lie(layout, 1, 1),
  ],
  [
    'a layer size beyond all bounds',
    'size-mismatch',
    /layer 3 .* has \d+ bytes, want \d+/,
    (layout) => lie(layout, 2, 2 ** 50),
  ],
  [
    'a layer size below zero',
    'manifest',
    /size.*-1/,
    (layout) => lie(layout, 2, -1 - (soundImage.layers[2]?.size ?? 0)),
  ],
  [
    'a manifest size that is too small',
    'size-mismatch',
    /manifest.* has \d+ bytes, want \d+/,
    (layout) => editIndex(layout, (entry) => ({ ...entry, size: entry.size - 1 })),
  ],
  [
    'a config size that is too large',
    'size-mismatch',
    /config.* has \d+ bytes, want \d+/,
    (layout) =>
      editManifest(layout, (manifest) => {
        manifest.config = { ...manifest.config, size: manifest.config.size + 1 };
      }),
  ],
  [
    'a changed config',
    'digest-mismatch',
    new RegExp(`config.*got digest ${D}, want ${soundImage.config.digest}`),
    (layout) => editBlob(layout, soundImage.config.digest, (bytes) => flipBit(bytes, 20)),
  ],
  [
    'a manifest that is no JSON',
    'manifest',
    /manifest .*of oci:.*JSON/,
    (layout) => replaceManifest(layout, () => Buffer.from('<html>not found</html>')),
  ],
  [
    'a manifest of another shape',
    'manifest',
    /layers/,
    (layout) =>
      editManifest(layout, (manifest) => void Object.assign(manifest, { layers: 'many' })),
  ],
  [
    'a layer digest that would lead out of the layout',
    'manifest',
    /digest.*\.\.\/\.\.\/etc\/passwd/,
    (layout) =>
      editManifest(layout, ({ layers: [first] }) => {
        if (first) Object.assign(first, { digest: 'sha256:../../etc/passwd' });
      }),
  ],
  [
    'a config that is no JSON',
    'manifest',
    /config .*of oci:.*JSON/,
    (layout) => replaceConfig(layout, (bytes) => bytes.subarray(0, -1)),
  ],
  [
    'a config with fewer diffIDs than layers',
    'manifest',
    /3 layers.*2|2 .*3 layers/,
    (layout) => editConfig(layout, ({ rootfs }) => void rootfs.diff_ids.pop()),
  ],
];

for (const [name, code, says, damage] of DAMAGES) {
  test(`refuses ${name}`, async () => {
    const layout = mkdtempSync(join(work, 'damaged-'));
    cpSync(sound, layout, { recursive: true });
    damage(layout);
    const absent = `${layout}-out`;
    const trouble = { code, says, absent };
    await expectTrouble(['build', `oci:${layout}:latest`, `oci:${absent}:latest`], trouble);
  });
}

const HOSTILE: readonly (readonly [string, ErrorCode, RegExp, readonly Member[]])[] = [
  ['../escape', 'path', /layer 1 .*\.\.\/escape/, [file('../escape')]],
  ['a/../../escape', 'path', /layer 1 .*a\/\.\.\/\.\.\/escape/, [dir('a'), file('a/../../escape')]],
  ['/../escape', 'path', /layer 1 .*\/\.\.\/escape/, [file('/../escape')]],
  [
    'a hard link to ../escape',
    'path',
    /layer 1 .*\.\.\/escape/,
    [file('a'), link('b', '../escape')],
  ],
  [
    'a hard link to nothing',
    'tar',
    /layer 1 .*\/b is a hard link to \/etc\/shadow, which does not exist/,
    [link('b', '/etc/shadow')],
  ],
  ['a file below a file', 'tar', /layer 1 .*\/a\/b lies below a file/, [file('a'), file('a/b')]],
  [
    'a file below a loop of symlinks',
    'tar',
    /layer 1 .*\/a\/f lies below a loop of symlinks/,
    [symlink('a', 'b'), symlink('b', 'a'), file('a/f')],
  ],
];

for (const [name, code, says, members] of HOSTILE) {
  test(`refuses an archive with ${name}`, async () => {
    const layout = mkdtempSync(join(work, 'hostile-'));
    await writeLayout(layout, [{ layers: [{ tar: await packMembers(members) }] }]);
    const absent = `${layout}-out`;
    const trouble = { code, says, absent };
    await expectTrouble(['build', `oci:${layout}:latest`, `oci:${absent}:latest`], trouble);
  });
}

test('absolute names and symlinks that lead out stay within the image', async () => {
  const layout = join(work, 'absolute');
  const members = [file('/etc/absolute'), symlink('out', '../../../..'), file('out/var/inside')];
  await writeLayout(layout, [{ layers: [{ tar: await packMembers(members) }] }]);
  const from = `oci:${layout}:latest`;
  const built = await runJson<BuildResult>(['build', from, `oci:${layout}-out:latest`, '--verify']);
  assert.equal(built.images[0]?.verified, true);
  assert.ok(!existsSync('/etc/absolute') && !existsSync('/var/inside'));
});

test.run();
