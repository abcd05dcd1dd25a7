/**
 * Makes RPM header blobs and SQLite databases of them, for tests: the layout that rpm 4.18 writes (lib/header.c), with
 * its immutable region and the tags that installing adds after it.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Type numbers of header values, and the bytes to which integers are aligned. */
const TYPES = {
  char: { number: 1, width: 1 },
  int8: { number: 2, width: 1 },
  int16: { number: 3, width: 2 },
  int32: { number: 4, width: 4 },
  int64: { number: 5, width: 8 },
  string: { number: 6, width: 1 },
  bin: { number: 7, width: 1 },
  strings: { number: 8, width: 1 },
  i18n: { number: 9, width: 1 },
} as const;

/** A tag with its values; strings have one char a byte. */
export interface HeaderTag {
  readonly tag: number;
  readonly type: keyof typeof TYPES;
  readonly values: readonly (number | bigint | string)[];
}

const REGION_IMMUTABLE = 63;
const ENTRY_SIZE = 16;

function encodeValue(type: HeaderTag['type'], value: number | bigint | string): Buffer {
  if (typeof value === 'string') return Buffer.from(`${value}\0`, 'latin1');
  const { width } = TYPES[type];
  const bytes = Buffer.alloc(width);
  if (width === 8) bytes.writeBigUInt64BE(BigInt(value));
  else bytes.writeUIntBE(Number(value), 0, width);
  return bytes;
}

function entryBytes(tag: number, type: number, offset: number, count: number): Buffer {
  const bytes = Buffer.alloc(ENTRY_SIZE);
  bytes.writeUInt32BE(tag, 0);
  bytes.writeUInt32BE(type, 4);
  bytes.writeInt32BE(offset, 8);
  bytes.writeUInt32BE(count, 12);
  return bytes;
}

/** A header blob with `tags` in a region and `added` after it, as rpm stores an installed package. */
export function encodeHeader(tags: readonly HeaderTag[], added: readonly HeaderTag[] = []): Buffer {
  const index: Buffer[] = [];
  const data: Buffer[] = [];
  let size = 0;
  const append = (bytes: Buffer): void => {
    data.push(bytes);
    size += bytes.length;
  };
  const put = ({ tag, type, values }: HeaderTag): void => {
    const { number, width } = TYPES[type];
    append(Buffer.alloc((width - (size % width)) % width));
    index.push(entryBytes(tag, number, size, values.length));
    for (const value of values) append(encodeValue(type, value));
  };
  tags.forEach(put);
  const trailer = -(tags.length + 1) * ENTRY_SIZE;
  const region = entryBytes(REGION_IMMUTABLE, TYPES.bin.number, size, ENTRY_SIZE);
  append(entryBytes(REGION_IMMUTABLE, TYPES.bin.number, trailer, ENTRY_SIZE));
  added.forEach(put);
  const intro = Buffer.alloc(8);
  intro.writeUInt32BE(index.length + 1, 0);
  intro.writeUInt32BE(size, 4);
  return Buffer.concat([intro, region, ...index, ...data]);
}

/** A file of {@link PackageSpec}; mode is st_mode, default a regular file 0644. */
export interface PackageFile {
  readonly path: string;
  readonly size?: number;
  readonly mode?: number;
  readonly mtime?: number;
  readonly digest?: string;
  readonly flags?: number;
  readonly target?: string;
  /** Of FILESTATES, default 0. */
  readonly state?: number;
}

/** What {@link packageHeader} puts into a header. */
export interface PackageSpec {
  readonly name: string;
  readonly version?: string;
  readonly release?: string;
  readonly epoch?: number;
  readonly arch?: string;
  readonly sourceRpm?: string;
  readonly buildTime?: number;
  readonly installTime?: number;
  readonly digestAlgorithm?: number;
  readonly changelogTimes?: readonly number[];
  readonly files?: readonly PackageFile[];
  /** Sizes as LONGFILESIZES only, as packages of rpm 6 have them. */
  readonly longSizes?: 'yes';
  /** Paths as OLDFILENAMES. */
  readonly oldNames?: 'yes';
}

function fileTags(spec: PackageSpec): HeaderTag[] {
  const files = spec.files ?? [];
  if (files.length === 0) return [];
  const split = files.map(({ path }) => {
    const at = path.lastIndexOf('/') + 1;
    return { directory: path.slice(0, at), name: path.slice(at) };
  });
  const directories = [...new Set(split.map(({ directory }) => directory))];
  const indexes = split.map(({ directory }) => directories.indexOf(directory));
  const names: HeaderTag[] = spec.oldNames
    ? [{ tag: 1027, type: 'strings', values: files.map(({ path }) => path) }]
    : [
        { tag: 1116, type: 'int32', values: indexes },
        { tag: 1117, type: 'strings', values: split.map(({ name }) => name) },
        { tag: 1118, type: 'strings', values: directories },
      ];
  const sizes = files.map(({ size }) => size ?? 0);
  return [
    spec.longSizes
      ? { tag: 5008, type: 'int64', values: sizes }
      : { tag: 1028, type: 'int32', values: sizes },
    { tag: 1030, type: 'int16', values: files.map(({ mode }) => mode ?? 0o100644) },
    { tag: 1034, type: 'int32', values: files.map(({ mtime }) => mtime ?? 0) },
    { tag: 1035, type: 'strings', values: files.map(({ digest }) => digest ?? '') },
    { tag: 1036, type: 'strings', values: files.map(({ target }) => target ?? '') },
    { tag: 1037, type: 'int32', values: files.map(({ flags }) => flags ?? 0) },
    ...names,
  ];
}

/** The header of an installed package, as the database stores it. */
export function packageHeader(spec: PackageSpec): Buffer {
  const text = (tag: number, value: string | undefined): HeaderTag[] =>
    value === undefined ? [] : [{ tag, type: 'string', values: [value] }];
  const number = (tag: number, value: number | undefined): HeaderTag[] =>
    value === undefined ? [] : [{ tag, type: 'int32', values: [value] }];
  const times = spec.changelogTimes ?? [];
  const states = spec.files?.map(({ state }) => state ?? 0) ?? [];
  return encodeHeader(
    [
      ...text(1000, spec.name),
      ...text(1001, spec.version ?? '1'),
      ...text(1002, spec.release ?? '1'),
      ...number(1003, spec.epoch),
      ...number(1006, spec.buildTime),
      ...text(1022, spec.arch),
      ...text(1044, spec.sourceRpm),
      ...(times.length > 0 ? [{ tag: 1080, type: 'int32', values: times } as const] : []),
      ...number(5011, spec.digestAlgorithm),
      ...fileTags(spec),
    ],
    [
      ...number(1008, spec.installTime),
      ...(states.length > 0 ? [{ tag: 1029, type: 'char', values: states } as const] : []),
    ],
  );
}

/** An rpmdb.sqlite with these header blobs, in this order. */
export function sqliteDatabase(blobs: readonly Buffer[]): Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'rechunk-rpmdb-'));
  try {
    const path = join(directory, 'rpmdb.sqlite');
    const database = new DatabaseSync(path);
    database.exec(
      'CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)',
    );
    const insert = database.prepare('INSERT INTO Packages (blob) VALUES (?)');
    for (const blob of blobs) insert.run(blob);
    database.close();
    return readFileSync(path);
  } finally {
    rmSync(directory, { recursive: true });
  }
}
