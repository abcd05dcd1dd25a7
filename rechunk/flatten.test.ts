import assert from 'node:assert/strict';
import { test } from 'uvu';
import { RechunkError } from '../registry/errors.ts';
import { NO_XATTRS } from '../registry/tar.ts';
import { type Line, layers } from '../test-images/layers.ts';
import type { IndexedEntry } from './batch.ts';
import { flatten } from './flatten.ts';
import type { LayerIndex } from './upper.ts';

/** A flattened tree as lines: `path type` with the origin of files. */
function show(all: LayerIndex[]): string[] {
  return flatten(all)
    .entries.slice(1)
    .map(({ path, inode }) => {
      const suffix = {
        dir: '/',
        symlink: ` -> ${inode.target}`,
        file: ` ${inode.sha256}`,
      } as Record<string, string>;
      return `${path}${suffix[inode.type] ?? ` ${inode.type}`}`;
    });
}

const base = ['d/', 'd/a', 'd/b', 'f', 'r/', 'r/z', 'ln -> r'];

const cases: readonly (readonly [string, readonly string[], readonly string[], RegExp?])[] = [
  [
    'a whiteout before its replacement hides the lower file only',
    ['.wh.f', 'f'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f 1.1', 'ln -> r', 'r/', 'r/z 0.5'],
    /deletes and makes/,
  ],
  [
    'a whiteout after its replacement hides the lower file only',
    ['f', '.wh.f'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f 1.0', 'ln -> r', 'r/', 'r/z 0.5'],
    /deletes and makes/,
  ],
  [
    'a whiteout of a directory that the layer makes again hides its lower children',
    ['.wh.d', 'd/', 'd/c'],
    ['d/', 'd/c 1.2', 'f 0.3', 'ln -> r', 'r/', 'r/z 0.5'],
    /deletes and makes/,
  ],
  [
    'an opaque marker before the children keeps them',
    ['d/.wh..wh..opq', 'd/c'],
    ['d/', 'd/c 1.1', 'f 0.3', 'ln -> r', 'r/', 'r/z 0.5'],
  ],
  [
    'an opaque marker after the children keeps them',
    ['d/', 'd/c', 'd/.wh..wh..opq'],
    ['d/', 'd/c 1.1', 'f 0.3', 'ln -> r', 'r/', 'r/z 0.5'],
  ],
  [
    'a file replaces a directory and all below it',
    ['d'],
    ['d 1.0', 'f 0.3', 'ln -> r', 'r/', 'r/z 0.5'],
  ],
  ['a symlink replaces a directory', ['d -> r'], ['d -> r', 'f 0.3', 'ln -> r', 'r/', 'r/z 0.5']],
  [
    'a directory replaces a file',
    ['f/', 'f/x'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f/', 'f/x 1.1', 'ln -> r', 'r/', 'r/z 0.5'],
  ],
  [
    'an entry below a lower symlink replaces the symlink',
    ['ln/x'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f 0.3', 'ln/', 'ln/x 1.0', 'r/', 'r/z 0.5'],
    /symlink of a lower layer/,
  ],
  [
    'a whiteout below a lower symlink replaces it by an empty directory',
    ['ln/.wh.z'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f 0.3', 'ln/', 'r/', 'r/z 0.5'],
    /symlink of a lower layer/,
  ],
  [
    'an entry below a symlink of its own layer follows it',
    ['s -> r', 's/x'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f 0.3', 'ln -> r', 'r/', 'r/x 1.1', 'r/z 0.5', 's -> r'],
    /symlink of its own layer/,
  ],
  [
    'an absolute symlink stays within the image',
    ['s -> /r', 'q/', 'q/t -> ../../../r', 's/x', 'q/t/y'],
    [
      'd/',
      'd/a 0.1',
      'd/b 0.2',
      'f 0.3',
      'ln -> r',
      'q/',
      'q/t -> ../../../r',
      'r/',
      'r/x 1.3',
      'r/y 1.4',
      'r/z 0.5',
      's -> /r',
    ],
    /symlink of its own layer/,
  ],
  [
    'a whiteout of a directory and of its child hides both',
    ['.wh.d', 'd/.wh.a'],
    ['f 0.3', 'ln -> r', 'r/', 'r/z 0.5'],
  ],
  [
    'the last of two entries counts',
    ['f', 'f'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f 1.1', 'ln -> r', 'r/', 'r/z 0.5'],
    /lists a path twice/,
  ],
  [
    'a device 0:0 deletes',
    ['f!'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'ln -> r', 'r/', 'r/z 0.5'],
    /character device 0:0/,
  ],
  [
    'aufs bookkeeping is no content',
    ['.wh..wh.aufs', '.wh..wh.plnk/', 'd/.wh..wh.orph'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f 0.3', 'ln -> r', 'r/', 'r/z 0.5'],
  ],
  [
    'a root entry changes the root and nothing else',
    ['./'],
    ['d/', 'd/a 0.1', 'd/b 0.2', 'f 0.3', 'ln -> r', 'r/', 'r/z 0.5'],
  ],
];

for (const [name, upper, want, warning] of cases) {
  test(name, () => {
    const all = layers(base, [...upper]);
    assert.deepEqual(show(all), want);
    const { warnings } = flatten(all);
    if (warning) assert.match(warnings.join('\n'), warning);
    else assert.deepEqual(warnings, []);
  });
}

test('hard links of one layer share an inode, and replacing one name leaves the others', () => {
  const { entries } = flatten(layers(['a', 'b => a', 'c => b'], ['b']));
  const inodes = Object.fromEntries(entries.map(({ path, inode }) => [path, inode]));
  assert.equal(inodes['a'], inodes['c']);
  assert.notEqual(inodes['a'], inodes['b']);
  assert.equal(inodes['b']?.sha256, '1.0');
});

test('what the last entry of a hard-link group states counts for the group, as in Docker and podman', () => {
  const { entries, warnings } = flatten(
    layers(['a', ['b => a', { mode: 0o600, uid: 3, mtime: 9n }]]),
  );
  const inodes = entries.slice(1).map(({ inode }) => [inode.mode, inode.uid, inode.mtime]);
  assert.deepEqual(inodes, [
    [0o600, 3, 9n],
    [0o600, 3, 9n],
  ]);
  assert.match(warnings.join(), /states other metadata/);
});

test('xattrs that only a hard-link entry states are set on the file, and those that it does not state stay', () => {
  const xattrs = (...names: string[]): Partial<IndexedEntry> => ({
    xattrs: new Map(names.map((name) => [name.slice(0, -1), Buffer.from(name.slice(-1))])),
  });
  const { entries, warnings } = flatten(
    layers([
      ['f', xattrs('user.a1', 'user.b1')],
      ['g => f', xattrs('user.b2', 'user.c1', 'user.overlay.x1')],
      'h => f',
      ['same => f', xattrs('user.a1')],
    ]),
  );
  const [, f, ...others] = entries;
  assert.ok(others.every(({ inode }) => inode === f?.inode));
  assert.deepEqual(
    [...(f?.inode.xattrs ?? [])].map(([name, value]) => `${name}=${Buffer.from(value)}`),
    ['user.a=1', 'user.b=2', 'user.c=1'],
  );
  assert.match(warnings.join('\n'), /states other metadata.*: \/g$/m);
});

test('a hard link names its file through symlinks of its own layer, as the kernel finds it', () => {
  const { entries } = flatten(layers(['usr/lib/f', 'lib -> usr/lib', 'g => lib/f']));
  const inodes = new Map(entries.map(({ path, inode }) => [path as string, inode]));
  assert.ok(inodes.get('g'));
  assert.equal(inodes.get('g'), inodes.get('usr/lib/f'));
});

test('a hard link to a lower file shares its inode as it was before the layer, with a warning', () => {
  const { entries, warnings } = flatten(layers(['a'], ['h => a', 'a']));
  const inodes = Object.fromEntries(entries.map(({ path, inode }) => [path, inode]));
  assert.equal(inodes['h']?.sha256, '0.0');
  assert.equal(inodes['a']?.sha256, '1.1');
  assert.match(warnings.join('\n'), /hard link names a file of a lower layer/);
});

test('a directory entry replaces all attributes; an implied directory keeps the lower ones', () => {
  const xattrs = new Map([['user.x', Buffer.from('1')]]);
  const lower: [string, Partial<IndexedEntry>][] = [
    ['d/', { mode: 0o700, uid: 7, xattrs, mtime: 5n }],
  ];
  const find = (all: LayerIndex[]) => flatten(all).entries.find(({ path }) => path === 'd')?.inode;
  const implied = find(layers(lower, ['d/x']));
  assert.deepEqual(
    [implied?.mode, implied?.uid, implied?.mtime, implied?.xattrs.size],
    [0o700, 7, 5n, 1],
  );
  const replaced = find(layers(lower, ['d/', 'd/x']));
  assert.deepEqual(
    [replaced?.mode, replaced?.uid, replaced?.mtime, replaced?.xattrs.size],
    [0o755, 0, 0n, 0],
  );
});

test('a file in place of a directory of its own layer replaces what lies there, with a warning', () => {
  for (const first of [['d/x'], ['d/', 'd/x']]) {
    const all = layers([...first, 'd']);
    assert.deepEqual(show(all), [`d 0.${first.length}`]);
    assert.match(flatten(all).warnings.join('\n'), /lists a path twice.*\/d/);
  }
  assert.deepEqual(
    flatten(layers(['d/x', 'd/'])).warnings.filter((w) => /twice/.test(w)),
    [],
  );
});

test('a directory that no layer defines is told of', () => {
  const { entries, warnings } = flatten(layers(['x/y']));
  assert.deepEqual(
    entries.map(({ path, inode }) => [path, inode.layer]),
    [
      ['', -1],
      ['x', -1],
      ['x/y', 0],
    ],
  );
  assert.match(warnings.join('\n'), /no layer defines a directory.*\/x$/);
});

test('overlay xattrs are dropped and counted, live, escaped and in both namespaces', () => {
  const value = Buffer.from('y');
  const names = [
    'trusted.overlay.opaque',
    'user.overlay.origin',
    'trusted.overlay.overlay.opaque',
    'user.keep',
    'trusted.keep',
  ];
  const xattrs = new Map(names.map((name) => [name, value]));
  const { entries, droppedXattrs, warnings } = flatten(layers([['d/', { xattrs }]]));
  assert.deepEqual([...(entries[1]?.inode.xattrs.keys() ?? [])], ['user.keep', 'trusted.keep']);
  assert.equal(droppedXattrs, 3);
  assert.match(warnings.join('\n'), /trusted\.overlay\.opaque on \/d/);
});

const marker = new Map([['trusted.overlay.dirmeta_delegate', Buffer.from('y')]]);
const userMarker = new Map([['user.overlay.dirmeta_delegate', Buffer.from('y')]]);
const dir = (mode: number, xattrs = NO_XATTRS): Line => ['d/', { mode, xattrs }];

const delegations: readonly (readonly [string, readonly (readonly Line[])[], number])[] = [
  ['the nearest lower unmarked one counts', [[dir(0o700)], [dir(0o711)], [dir(1, marker)]], 0o711],
  ['in either namespace', [[dir(0o711)], [dir(1, userMarker)], [dir(2, marker)]], 0o711],
  ['where none is unmarked, the topmost', [[dir(1, marker)], [dir(2, marker)], ['d/x']], 2],
  ['an unmarked one above counts', [[dir(1, marker)], [dir(0o711)], ['d/x']], 0o711],
  ['a later entry of the same layer unmarks it', [[dir(1)], [dir(2, marker), dir(3)]], 3],
  ['nothing hidden by a whiteout counts', [[dir(0o711)], ['.wh.d'], [dir(1, marker)]], 1],
  ['nothing behind a file counts', [[dir(0o711)], ['d'], [dir(1, marker)]], 1],
  ['its own opaque marker ends the search', [[dir(0o711)], [dir(1, marker), 'd/.wh..wh..opq']], 1],
  ['an opaque marker in its parent hides it', [[dir(0o711)], ['.wh..wh..opq', dir(1, marker)]], 1],
];

for (const [name, lines, mode] of delegations) {
  test(`of directories that are marked to delegate: ${name}`, () => {
    const { entries, droppedXattrs } = flatten(layers(...lines.map((one) => [...one])));
    const found = entries.find(({ path }) => path === 'd')?.inode;
    assert.equal(found?.mode, mode);
    assert.equal(found?.xattrs.size, 0);
    assert.equal(droppedXattrs, 0);
  });
}

test('a delegation that changes what kernels show today is told of, one that changes nothing is not', () => {
  const told = (mode: number): string =>
    flatten(layers([dir(0o711)], [dir(mode, marker)])).warnings.join('\n');
  assert.match(told(0o700), /delegates the metadata of a directory.*: \/d$/);
  assert.equal(told(0o711), '');
  const covered = flatten(layers([dir(0o711)], [dir(0o700, marker)], [dir(0o755)]));
  assert.deepEqual(covered.warnings, []);
});

test('a directory that a layer defines and a later one implies is known to be shadowed', () => {
  const shadowed = (...lines: Line[][]): string[] =>
    flatten(layers(...lines))
      .entries.filter(({ inode }) => inode.isShadowed)
      .map(({ path }) => path);
  assert.deepEqual(shadowed(['d/', 'd/e/'], ['d/e/x']), ['d', 'd/e']);
  assert.deepEqual(shadowed(['d/', 'd/e/'], ['d/e/x'], ['d/e/']), ['d']);
  assert.deepEqual(shadowed(['d/', 'd/e/'], ['d/e/x'], ['.wh.d', 'd/']), []);
  assert.deepEqual(shadowed(['d/x']), []);
  assert.deepEqual(shadowed([dir(0o711)], [dir(0o700, marker)]), ['d']);
  assert.deepEqual(shadowed([dir(0o711)], [dir(0o711, marker)]), []);
  assert.deepEqual(shadowed([dir(0o711)], [dir(0o711, marker)], ['d/x']), ['d']);
});

test('a marker on what is no directory, or with another value, is dropped like any overlay xattr', () => {
  const xattrs = new Map([['trusted.overlay.dirmeta_delegate', Buffer.from('n')]]);
  assert.equal(flatten(layers([['f', { xattrs: marker }]])).droppedXattrs, 1);
  assert.equal(flatten(layers([dir(0o700)], [dir(0o711, xattrs)])).entries[1]?.inode.mode, 0o711);
});

const broken: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['an entry below a file', ['f', 'f/x'], /layer 0: entry \/f\/x lies below a file/],
  ['a hard link to nothing', ['h => nowhere'], /hard link to \/nowhere, which does not exist/],
  ['a hard link to a directory', ['d/', 'h => d'], /hard link to the directory \/d/],
  ['a loop of symlinks', ['a -> b', 'b -> a', 'a/x'], /loop of symlinks/],
  ['a whiteout of nothing', ['.wh.'], /whiteout of nothing/],
  ['a root that is no directory', ['.'], /root must be a directory/],
];

for (const [name, lines, message] of broken) {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => flatten(layers([...lines])),
      (error: unknown) =>
        error instanceof RechunkError && error.code === 'tar' && message.test(error.message),
    );
  });
}

test('entries come in canonical order: parents first, siblings bytewise', () => {
  const paths = flatten(
    layers(['b', 'a-b', 'a/', 'a/z', 'a/b/', 'a/b/c', 'a.b', '\xff', 'Z']),
  ).entries.map(({ path }) => path);
  assert.deepEqual(paths, ['', 'Z', 'a', 'a/b', 'a/b/c', 'a/z', 'a-b', 'a.b', 'b', '\xff']);
});

test.run();
