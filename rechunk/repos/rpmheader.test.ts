import * as assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import { RechunkError } from '../../registry/errors.ts';
import {
  encodeHeader,
  type HeaderTag,
  type PackageSpec,
  packageHeader,
} from '../../test-images/packages/rpm/header.ts';
import { specsOfTar } from '../../test-images/trees.ts';
import { parseHeader, parsePackage, TAG } from './rpmheader.ts';
import { readTable } from './sqlite.ts';

const SEED = 20261121;
const packages = new URL('../../test-images/packages/rpm/', import.meta.url);
const read = (name: string): Buffer => readFileSync(new URL(name, packages));

/** What rpm said of one package; see the README beside the data. */
interface Facts {
  readonly name: string;
  readonly epoch: number | null;
  readonly version: string;
  readonly release: string;
  readonly arch: string | null;
  readonly sourcerpm: string | null;
  readonly buildtime: number;
  readonly installtime: number;
  readonly size: number;
  readonly nfiles: number;
  readonly nchangelog: number;
  readonly filedigestalgo: number | null;
  readonly hnum: number;
  readonly filelist_sha256: string;
  readonly nghost: number;
  readonly nconfig: number;
  readonly filesizes_sum: number;
  readonly changelog_newest: number | null;
  readonly changelog_oldest: number | null;
  readonly files?: readonly Readonly<Record<string, string | number>>[];
  readonly changelog_times?: readonly number[];
}

const CONFIG = 1;
const GHOST = 64;

/** The facts of a header, as rpm's own query gives them. */
function factsOf(hnum: number, blob: Buffer, wanted: Facts): Facts {
  const header = parseHeader(blob);
  const parsed = parsePackage(blob);
  const number = (tag: number): number | null => header.numbers(tag)?.[0] ?? null;
  const text = (tag: number): string | null => header.strings(tag)?.[0] ?? null;
  const flags = header.numbers(TAG.fileFlags) ?? [];
  const times = parsed.changelogTimes;
  const list = Buffer.from(parsed.files.map(({ path }) => path).join('\n'), 'latin1');
  const utf8 = (value: string | undefined): string =>
    Buffer.from(value ?? '', 'latin1').toString('utf8');
  const files = parsed.files.map((file, i) => ({
    path: utf8(file.path),
    size: file.size ?? 0,
    mode: (header.numbers(TAG.fileModes)?.[i] ?? 0).toString(8),
    flags: flags[i] ?? 0,
    state: header.numbers(TAG.fileStates)?.[i] ?? 0,
    digest: file.digest?.hex ?? '',
    linkto: utf8(file.target),
    user: header.strings(TAG.fileUserName)?.[i] ?? '',
    group: header.strings(TAG.fileGroupName)?.[i] ?? '',
    mtime: header.numbers(TAG.fileMtimes)?.[i] ?? 0,
    inode: header.numbers(TAG.fileInodes)?.[i] ?? 0,
  }));
  return {
    name: parsed.name,
    epoch: number(TAG.epoch),
    version: text(TAG.version) ?? '',
    release: text(TAG.release) ?? '',
    arch: parsed.arch ?? null,
    sourcerpm: text(TAG.sourceRpm),
    buildtime: parsed.buildTime ?? 0,
    installtime: number(TAG.installTime) ?? 0,
    size: number(TAG.longSize) ?? number(TAG.size) ?? 0,
    nfiles: parsed.files.length,
    nchangelog: times.length,
    filedigestalgo: number(TAG.fileDigestAlgo),
    hnum,
    filelist_sha256: createHash('sha256').update(list).digest('hex'),
    nghost: parsed.files.filter(({ ghost }) => ghost).length,
    nconfig: flags.filter((flag) => (flag & CONFIG) !== 0).length,
    filesizes_sum: parsed.files.reduce((sum, { size }) => sum + (size ?? 0), 0),
    changelog_newest: times.length > 0 ? Math.max(...times) : null,
    changelog_oldest: times.length > 0 ? Math.min(...times) : null,
    ...(wanted.files && { files }),
    ...(wanted.changelog_times && { changelog_times: times }),
  };
}

function checkFacts(database: Buffer, expected: string): void {
  const { packages } = JSON.parse(read(expected).toString()) as { packages: Facts[] };
  const byNumber = new Map(packages.map((facts) => [facts.hnum, facts]));
  const found = [...readTable({ database }, 'Packages')].map(({ rowid, values }) =>
    factsOf(rowid, values[1] as Buffer, byNumber.get(rowid) as Facts),
  );
  const wanted = packages.sort((a, b) => a.hnum - b.hnum);
  assert.deepEqual(found, wanted);
}

test('agrees with rpm on every package of Mariner 2', () => {
  checkFacts(gunzipSync(read('mariner2-sqlite/rpmdb.sqlite.gz')), 'mariner2-sqlite/expected.json');
});

test('agrees with rpm on every package of the lab root', async () => {
  const specs = await specsOfTar(read('lab-root-sqlite/root.tar.gz'));
  const database = specs.find(({ path }) => path.endsWith('/rpmdb.sqlite'))?.content;
  checkFacts(database as Buffer, 'lab-root-sqlite/expected.json');
});

/** A package and its files from the text that `rpm --queryformat` printed. */
function* queryformatPackages(): Generator<PackageSpec> {
  let spec: PackageSpec | undefined;
  for (const line of gunzipSync(read('fedora43-queryformat/fedora.qf.gz'))
    .toString('latin1')
    .split('\n')) {
    const [kind, ...f] = line.split('\t') as [string, ...string[]];
    const field = (i: number): string => f[i] ?? '';
    if (kind === '@@PKG@@') {
      if (spec) yield spec;
      spec = {
        name: field(0),
        version: field(1),
        release: field(2),
        ...(field(3) !== '(none)' && { epoch: Number(field(3)) }),
        arch: field(4),
        buildTime: Number(field(7)),
        installTime: Number(field(8)),
        sourceRpm: field(9),
        digestAlgorithm: Number(field(10)),
        changelogTimes: [],
        files: [],
      };
    } else if (kind === '@@FILE@@' && spec) {
      const file = {
        path: field(0),
        size: Number(field(1)),
        mode: Number(field(2)),
        mtime: Number(field(3)),
        digest: field(4),
        flags: Number(field(5)),
        target: field(8),
      };
      spec = { ...spec, files: [...(spec.files ?? []), file] };
    } else if (kind === '@@CL@@' && spec) {
      spec = { ...spec, changelogTimes: [...(spec.changelogTimes ?? []), Number(field(0))] };
    }
  }
  if (spec) yield spec;
}

test('headers made of real metadata of Fedora 43 parse to the same', () => {
  const specs = [...queryformatPackages()];
  assert.equal(specs.length, 10);
  assert.equal(
    specs.reduce((sum, { files }) => sum + (files?.length ?? 0), 0),
    1513,
  );
  for (const spec of specs) {
    const types = new Map([
      [0o10, 'file'],
      [0o4, 'dir'],
      [0o12, 'symlink'],
    ]);
    assert.deepEqual(parsePackage(packageHeader(spec)), {
      name: spec.name,
      version: `${spec.epoch === undefined ? '' : `${spec.epoch}:`}${spec.version}-${spec.release}`,
      arch: spec.arch,
      source: spec.sourceRpm?.split('-').slice(0, -2).join('-'),
      buildTime: spec.buildTime,
      changelogTimes: spec.changelogTimes,
      files: spec.files?.map(({ path, size, mode = 0, digest, flags = 0, target }) => ({
        path,
        type: types.get(mode >> 12),
        size,
        ...(digest && { digest: { algorithm: 'sha256', hex: digest } }),
        ...(target && { target }),
        ghost: (flags & GHOST) !== 0,
        installed: true,
      })),
    });
  }
});

const TYPES = ['char', 'int8', 'int16', 'int32', 'int64'] as const;
const LIMITS = { char: 0xff, int8: 0xff, int16: 0xffff, int32: 0xffffffff, int64: 2 ** 53 - 1 };

test('gives back the values of any header, of a tag that stands twice the last', () => {
  const strings = fc.array(
    fc.string({ unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)) }),
    { minLength: 1, maxLength: 5 },
  );
  const numbers = fc.constantFrom(...TYPES).chain((type) =>
    fc.record({
      tag: fc.integer({ min: 1000, max: 1010 }),
      type: fc.constant(type),
      values: fc.array(fc.integer({ min: 0, max: LIMITS[type] }), { minLength: 1, maxLength: 9 }),
    }),
  );
  const texts = fc.record({
    tag: fc.integer({ min: 2000, max: 2010 }),
    type: fc.constantFrom('strings' as const, 'i18n' as const),
    values: strings,
  });
  const tags = fc.array(fc.oneof(numbers, texts), { maxLength: 20 });
  const property = fc.property(tags, tags, (region: HeaderTag[], added: HeaderTag[]) => {
    const header = parseHeader(encodeHeader(region, added));
    const wanted = new Map([...region, ...added].map(({ tag, values }) => [tag, values]));
    assert.deepEqual(header.tags, new Set(wanted.keys()));
    for (const [tag, values] of wanted) {
      const found = tag < 2000 ? header.numbers(tag) : header.strings(tag);
      assert.deepEqual(found, values);
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 500 });
});

const algorithms = [
  [1, 'md5', 32],
  [2, 'sha1', 40],
  [8, 'sha256', 64],
  [9, 'sha384', 96],
  [10, 'sha512', 128],
] as const;
for (const [number, algorithm, digits] of algorithms) {
  test(`knows digests of algorithm ${number} as ${algorithm}`, () => {
    const files = [{ path: '/a', digest: 'AB'.repeat(digits / 2) }];
    const { files: found } = parsePackage(
      packageHeader({ name: 'a', digestAlgorithm: number, files }),
    );
    assert.deepEqual(found[0]?.digest, { algorithm, hex: 'ab'.repeat(digits / 2) });
  });
}

test('takes MD5 where no algorithm is named, and no digest of an unknown one or another length', () => {
  const digest = 'ab'.repeat(16);
  const digestOf = (spec: Partial<PackageSpec>): unknown =>
    parsePackage(packageHeader({ name: 'a', files: [{ path: '/a', digest }], ...spec })).files[0]
      ?.digest;
  assert.deepEqual(digestOf({}), { algorithm: 'md5', hex: digest });
  assert.equal(digestOf({ digestAlgorithm: 12 }), undefined);
  assert.equal(digestOf({ digestAlgorithm: 8 }), undefined);
});

test('reads 64-bit sizes, old file names, and names that are not UTF-8', () => {
  const files = [{ path: '/usr/caf\xe9', size: 5_000_000_000 }];
  const long = parsePackage(packageHeader({ name: 'a', files, longSizes: 'yes' }));
  assert.deepEqual(long.files, [
    { path: '/usr/caf\xe9', type: 'file', size: 5_000_000_000, ghost: false, installed: true },
  ]);
  const old = parsePackage(
    packageHeader({ name: 'a', files: [{ path: '/b/c' }], oldNames: 'yes' }),
  );
  assert.deepEqual(
    old.files.map(({ path }) => path),
    ['/b/c'],
  );
});

const sources = [
  ['demo-libs', 'demo-1.2.3-4.src.rpm', 'demo'],
  ['libstdc++', 'gcc-11-2.nosrc.rpm', 'gcc'],
  ['a', 'java-1.8.0-openjdk-1.8-1.src.rpm', 'java-1.8.0-openjdk'],
  ['gpg-pubkey', '(none)', 'gpg-pubkey'],
  ['gpg-pubkey', undefined, 'gpg-pubkey'],
  ['odd', 'odd.src.rpm', 'odd'],
] as const;
for (const [name, sourceRpm, source] of sources) {
  test(`the source of ${name} by '${sourceRpm}' is ${source}`, () => {
    const spec = sourceRpm === undefined ? { name } : { name, sourceRpm };
    assert.equal(parsePackage(packageHeader(spec)).source, source);
  });
}

test('only files in the normal state are installed', () => {
  const files = [0, 1, 2, 3, 4, 255].map((state) => ({ path: `/${state}`, state }));
  assert.deepEqual(
    parsePackage(packageHeader({ name: 'a', files })).files.map(({ installed }) => installed),
    [true, false, false, false, false, false],
  );
});

test('the files of a source package are not installed ones', () => {
  const source: HeaderTag[] = [
    { tag: TAG.name, type: 'string', values: ['a'] },
    { tag: TAG.oldFileNames, type: 'strings', values: ['a.spec'] },
    { tag: TAG.sourcePackage, type: 'int32', values: [1] },
  ];
  assert.deepEqual(parsePackage(encodeHeader(source)).files, []);
});

const int32 = (tag: number, ...values: number[]): HeaderTag => ({ tag, type: 'int32', values });
const strings = (tag: number, ...values: string[]): HeaderTag => ({ tag, type: 'strings', values });
const name = strings(TAG.name, 'a');
const damages: readonly [string, Buffer, RegExp][] = [
  ['is cut off in its first bytes', Buffer.alloc(7), /it has 7 bytes/],
  ['claims more tags than it holds', Buffer.from('0000ffff00000000', 'hex'), /do not fit/],
  ['claims more tags than rpm allows', Buffer.from('0001000000000000', 'hex'), /do not fit/],
  [
    'has more tags than rpm allows, all there',
    Buffer.concat([Buffer.from('0001000000000000', 'hex'), Buffer.alloc(65536 * 16)]),
    /do not fit/,
  ],
  ['names no package', encodeHeader([int32(1006, 1)]), /names no package/],
  ['has a number as its name', encodeHeader([int32(1000, 1)]), /has type 4, strings are wanted/],
  ['has a text as build time', encodeHeader([name, strings(1006, 'x')]), /numbers are wanted/],
  [
    'lists a file in no directory',
    encodeHeader([name, int32(1116, 3), strings(1117, 'f'), strings(1118, '/')]),
    /file 1 of 1 has no usable directory/,
  ],
  [
    'lists a relative path',
    encodeHeader([name, int32(1116, 0), strings(1117, 'f'), strings(1118, 'usr/')]),
    /lists a file 'usr\/f'/,
  ],
  [
    'lists a path with ..',
    encodeHeader([name, int32(1116, 0), strings(1117, 'f'), strings(1118, '/usr/../')]),
    /lists a file '\/usr\/..\/f'/,
  ],
  [
    'lists a path that is too long',
    encodeHeader([
      name,
      int32(1116, 0),
      strings(1117, 'f'),
      strings(1118, `/${'x'.repeat(5000)}/`),
    ]),
    /no usable directory/,
  ],
  [
    'has two sizes for one file',
    encodeHeader([name, strings(1027, '/f'), int32(1028, 1, 2)]),
    /tag 1028 has 2 values for 1 files/,
  ],
];
for (const [what, blob, message] of damages) {
  test(`refuses a header that ${what}`, () => {
    assert.throws(() => parsePackage(blob), { code: 'database', message });
  });
}

test('damage gives a database error or a package, never anything else', () => {
  const specs = [...queryformatPackages()].filter(({ files }) => (files?.length ?? 0) < 80);
  const blobs = specs.map(packageHeader);
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 8 });
  let errors = 0;
  const property = fc.property(fc.constantFrom(...blobs), damage, fc.nat(), (blob, hits, cut) => {
    const size = cut % 5 === 0 ? cut % blob.length : blob.length;
    for (const reach of [blob.length, 1000]) {
      const hurt = Buffer.from(blob.subarray(0, size));
      for (const [at, value] of hits) if (size > 0) hurt[at % Math.min(reach, size)] = value;
      try {
        parsePackage(hurt);
      } catch (error) {
        assert.ok(error instanceof RechunkError && error.code === 'database', String(error));
        errors++;
      }
    }
  });
  fc.assert(property, { seed: SEED, numRuns: 4000 });
  assert.ok(errors > 500, `only ${errors} of the damaged headers were noticed`);
});

test.run();
