// needs: root, skopeo, umoci, podman, getfattr, python3
/**
 * Would anybody notice? Building and verifying share reader, flattening and writer, so a mistake in one of them could hide
 * from `verify`. Here each is broken on purpose in a copy of the source, and the oracle, which shares no code with the
 * product, must tell exactly what was lost between the image that podman unpacks and the result that GNU tar unpacks.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import { writeLayout } from '../test-images/build.ts';
import { command } from '../test-images/command.ts';
import {
  dir,
  file,
  link,
  opaque,
  packMembers,
  special,
  symlink,
  whiteout,
} from '../test-images/member.ts';
import { compareTrees } from '../test-images/oracle.ts';
import { type Unpacked, unpackWith } from '../test-images/runtime.ts';

/** Content of more than one tar block. */
const LONG = 'long '.repeat(200);
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const LOWER = [
  dir('d'),
  file('d/kept'),
  file('deleted'),
  dir('empty', { mode: 0o700 }),
  dir('gone'),
  file('gone/file'),
  dir('hidden'),
  file('hidden/old'),
  file('linked/a', 'linked'),
  link('linked/b', 'linked/a'),
  file('long', LONG),
  special('block', 'loop', [7, 300]),
  file('owned', 'owned', { uid: 300000, gid: 42 }),
  file('setuid', 'setuid', { mode: 0o4755 }),
  file('swap/1', 'one'),
  file('swap/2', 'two'),
  symlink('symlink', 'long'),
  file('time', 'time', { mtime: '1600000000.123456789' }),
  file('twin/a', 'twin'),
  file('twin/b', 'twin'),
  file('xattr', 'xattr', { xattrs: { 'user.binary': '\0\xff' } }),
];
const UPPER = [
  dir('d', { mode: 0o711 }),
  whiteout('deleted'),
  whiteout('gone'),
  dir('hidden'),
  opaque('hidden'),
  file('hidden/new'),
];

/** A mistake: in which file, what stands there, what is put in its place, and all that the oracle must say of it. */
type Mutation = readonly [
  name: string,
  path: string,
  from: string,
  to: string,
  differences: readonly string[],
];

const MUTATIONS: readonly Mutation[] = [
  [
    'a lost xattr',
    'registry/tarentry.ts',
    '    xattrs,\n    offset,',
    '    xattrs: NO_XATTRS,\n    offset,',
    ['/"xattr": xattrs "user.binary=0x00ff" became ""'],
  ],
  [
    'an xattr that is taken for text',
    'registry/pax.ts',
    'copyBytes(body, equals + 1, end)',
    "Buffer.from(Buffer.from(copyBytes(body, equals + 1, end)).toString('utf8'))",
    ['/"xattr": xattrs "user.binary=0x00ff" became "user.binary=0x00efbfbd"'],
  ],
  [
    'a time off by a nanosecond',
    'registry/tarentry.ts',
    "mtime: mtimeOf(block, at, fields?.get('mtime')),",
    "mtime: mtimeOf(block, at, fields?.get('mtime')) + (fields?.has('mtime') ? 1n : 0n),",
    ['/"time": mtime "1600000000123456789" became "1600000000123456790"'],
  ],
  [
    'a lost setuid bit',
    'registry/tarentry.ts',
    'mode: modeOf(block, at, pax, xattrs),',
    'mode: modeOf(block, at, pax, xattrs) & 0o1777,',
    ['/"setuid": mode "4755" became "755"'],
  ],
  [
    'an owner cut to 16 bits',
    'rechunk/layer.ts',
    'const { mode, uid, gid, mtime, devMajor, devMinor, xattrs } = inode;',
    'const { mode, gid, mtime, devMajor, devMinor, xattrs } = inode;\n  const uid = inode.uid & 0xffff;',
    ['/"owned": uid "300000" became "37856"'],
  ],
  [
    'a group taken for the user',
    'rechunk/layer.ts',
    'const shared = { path, mode, uid, gid, mtime, xattrs };',
    'const shared = { path, mode, uid, gid: gid && uid, mtime, xattrs };',
    ['/"loop": gid "5" became "1"', '/"owned": gid "42" became "300000"'],
  ],
  [
    'a device number cut to 8 bits',
    'registry/tarwriter.ts',
    'putNumber(block, at, FIELD.devMinor, entry.devMinor);',
    'putNumber(block, at, FIELD.devMinor, entry.devMinor & 0xff);',
    ['/"loop": device "7:12c" became "7:2c"'],
  ],
  [
    'a skipped whiteout',
    'rechunk/upper.ts',
    'directory.whiteouts.add(name);',
    '',
    [
      '/"deleted": only in the second',
      '/"gone": only in the second',
      '/"gone/file": only in the second',
    ],
  ],
  [
    'a skipped opaque marker',
    'rechunk/upper.ts',
    'directory.opaque = true;',
    '',
    ['/"hidden/old": only in the second'],
  ],
  [
    'a directory that loses its children where a layer states it again',
    'rechunk/flatten.ts',
    'if (known?.children && child.children) {',
    'if (known?.children && child.children && child.implied) {',
    ['/"d/kept": only in the first'],
  ],
  [
    'a directory that keeps its old attributes',
    'rechunk/flatten.ts',
    'if (!upper.implied) define(lower, upper);',
    'if (!upper.implied) lower.implied = false;',
    ['/"d": mode "711" became "755"'],
  ],
  [
    'a torn hard-link group',
    'rechunk/upper.ts',
    'if (own && !own.implied) return this.#share(entry, own);',
    'if (own && !own.implied) return { ...this.#share(entry, own) };',
    ['/"linked/a": links "linked/b" became ""', '/"linked/b": links "linked/a" became ""'],
  ],
  [
    'equal files merged into a hard-link group',
    'rechunk/upper.ts',
    '    children.set(name, overlay.size > 0 ? { inode, overlay } : { inode });',
    '    const twin = [...children.values()].find((node) => node.inode.sha256 && node.inode.sha256 === inode.sha256);\n    children.set(name, { inode: twin?.inode ?? inode });',
    ['/"twin/a": links "" became "twin/b"', '/"twin/b": links "" became "twin/a"'],
  ],
  [
    'a lost symlink',
    'rechunk/upper.ts',
    '    children.set(name, overlay.size > 0 ? { inode, overlay } : { inode });',
    "    if (inode.type !== 'symlink') children.set(name, { inode });",
    ['/"symlink": only in the first'],
  ],
  [
    'a lost empty directory',
    'rechunk/stack.ts',
    'members.flatMap((one) => one.entries);',
    "members.flatMap((one) => one.entries).filter(({ inode }) => inode.type !== 'dir');",
    ['/"empty": only in the first'],
  ],
  [
    'truncated content',
    'rechunk/upper.ts',
    'size: entry.size,',
    'size: Math.min(entry.size, 512),',
    [
      '/"long": size "1000" became "512"',
      `/"long": sha256 "${sha256(LONG)}" became "${sha256(LONG.slice(0, 512))}"`,
    ],
  ],
  [
    'the content of two files of one size swapped',
    'rechunk/layer.ts',
    'maker.body(body, inode.size)',
    "maker.body(tree.get(path.replace(/^swap\\/[12]$/, (name) => (name === 'swap/1' ? 'swap/2' : 'swap/1')) as typeof path)?.body ?? body, inode.size)",
    [
      `/"swap/1": sha256 "${sha256('one')}" became "${sha256('two')}"`,
      `/"swap/2": sha256 "${sha256('two')}" became "${sha256('one')}"`,
    ],
  ],
];

const LOOSELY = { root: 'ignore', dirMtimes: 'ignore' } as const;
const ROOT = fileURLToPath(new URL('..', import.meta.url));

const mutations = suite('mutations');
const work = mkdtempSync('/var/tmp/rechunk-mutations-');
const image = `oci:${join(work, 'image')}:latest`;
let original: Unpacked;

mutations.before(async () => {
  copySource();
  const layers = await Promise.all(
    [LOWER, UPPER].map(async (members) => ({ tar: await packMembers(members) })),
  );
  await writeLayout(join(work, 'image'), [{ layers }]);
  original = await unpackWith('podman-overlay', image, join(work, 'original'));
});

mutations.after(async () => {
  await original?.close();
  rmSync(work, { recursive: true, force: true });
});

/** A copy of the source, in which one file at a time is another: what Node compiled of the rest is taken again. */
const copy = join(work, 'source');

function copySource(): void {
  for (const name of ['package.json', 'registry', 'rechunk']) {
    const filter = (source: string): boolean => !/\.test\.ts$/.test(source);
    cpSync(join(ROOT, name), join(copy, name), { recursive: true, filter });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
}

/** Gives what `work` gives while the copy has this mistake. */
async function withMutation<T>([, path, from, to]: Mutation, work: () => Promise<T>): Promise<T> {
  const place = join(copy, path);
  const text = readFileSync(place, 'utf8');
  const count = text.split(from).length - 1;
  assert.equal(count, 1, `${path} has '${from}' ${count} times, want once`);
  writeFileSync(
    place,
    text.replace(from, () => to),
  );
  try {
    return await work();
  } finally {
    writeFileSync(place, text);
  }
}

/** What the oracle says of the image `name` that the copy makes, against what the runtime made of the original. */
async function differencesOf(name: string): Promise<string[]> {
  const out = join(work, name);
  const entry = join(copy, 'rechunk/cli/entry.cjs');
  const args = ['build', image, `oci:${out}:latest`, '--quiet'];
  const env = { NODE_COMPILE_CACHE: join(work, 'compiled') };
  const node = ['--disable-warning=ExperimentalWarning', entry];
  await command(process.execPath, [...node, ...args], { env });
  const result = await unpackWith('skopeo+tar', `oci:${out}:latest`, `${out}-unpacked`);
  try {
    return await compareTrees(original.root, result.root, LOOSELY);
  } finally {
    await result.close();
  }
}

const UNCHANGED: Mutation = [
  'nothing',
  'package.json',
  '"name": "rechunk"',
  '"name": "rechunk"',
  [],
];

for (const [i, mutation] of [UNCHANGED, ...MUTATIONS].entries()) {
  mutations(`the oracle tells of ${mutation[0]}`, async () => {
    const differences = await withMutation(mutation, () => differencesOf(`out-${i}`));
    assert.deepEqual(differences, mutation[4]);
  });
}

mutations('umoci unpacks the same original as podman', async () => {
  const other = await unpackWith('umoci', image, join(work, 'umoci'));
  try {
    assert.deepEqual(await compareTrees(original.root, other.root, LOOSELY), []);
  } finally {
    await other.close();
  }
});

mutations.run();
