/**
 * Layers as the index has them: entries as an archive could list them, the content and digests that were kept of them. With these an image
 * is put together without reading a layer.
 */
import type { Digest } from '../../oci.ts';
import { joinPath, nameOf, type Path, parentOf, parseShown } from '../../path.ts';
import { type EntryType, NO_XATTRS, type TarEntry, type Xattrs } from '../../tar.ts';
import { type Cell, literal, type Row } from './engine.ts';
import { idOf } from './ids.ts';
import type { KeptExtent } from './kept.ts';
import type { IndexReader } from './reader.ts';

/** An entry and its content's sha256, lower-case hex; '' unless a regular file. It is in no archive: its offset is 0. */
export interface IndexedEntry extends TarEntry {
  readonly sha256: string;
}

/** A layer of an index. */
export interface IndexedLayer {
  /** What of the content is there. */
  readonly kept: KeptExtent;
  /**
   * One for each path and marker, in order of the paths, links behind what they name. Directories that the layer implies are not among
   * them; deletions are, as whiteouts.
   */
  readonly entries: readonly IndexedEntry[];
}

/** Further digests of a content, lower-case hex. */
export interface KnownDigests {
  readonly md5: string;
  readonly sha1: string;
}

const WHITEOUT_PREFIX = '.wh.';
const OPAQUE_NAME = '.wh..wh..opq';
const NS_PER_SECOND = 1_000_000_000n;
const DEVICE_SHIFT = 2 ** 32;

const listOf = (texts: Iterable<string>): string => [...texts].map(literal).join(', ');

/** What layers' rows are chosen by. */
const ofLayers = (diffIds: Iterable<Digest>): string =>
  `layer_id IN (SELECT layer_id FROM layers WHERE diff_id IN (${listOf(diffIds)}))`;

/** How many entries each of these layers has; of those that are in the index. */
export async function countEntries(
  reader: IndexReader,
  diffIds: readonly Digest[],
): Promise<Map<Digest, number>> {
  if (diffIds.length === 0) return new Map();
  const rows = await reader.sql(
    `SELECT diff_id, entries FROM layers WHERE diff_id IN (${listOf(diffIds)})`,
  );
  return new Map(rows.map((row) => [row['diff_id'] as Digest, Number(row['entries'])]));
}

/** Those of these layers that are in the index, with all their entries. */
export async function recallLayers(
  reader: IndexReader,
  diffIds: readonly Digest[],
): Promise<Map<Digest, IndexedLayer>> {
  if (diffIds.length === 0) return new Map();
  const found = await reader.sql(
    `SELECT layer_id, diff_id, kept FROM layers WHERE diff_id IN (${listOf(diffIds)})`,
  );
  const xattrs = await recallXattrs(reader, diffIds);
  const rows = await reader.sql(entriesOf(diffIds));
  const byLayer = Map.groupBy(rows, (row) => row['layer_id']);
  return new Map(
    found.map((row) => {
      const own = byLayer.get(row['layer_id'] as Cell) ?? [];
      const entries = own.map((one) => entryOf(one, xattrs));
      return [row['diff_id'] as Digest, { kept: row['kept'] as KeptExtent, entries }];
    }),
  );
}

/** Paths and contents may have rows in several parts, always the same one. */
const entriesOf = (diffIds: Iterable<Digest>): string => `
  WITH own AS (SELECT * FROM entries WHERE ${ofLayers(diffIds)} AND NOT superseded AND kind <> 'implied'),
  named AS (
    SELECT path_id, any_value(path) AS path FROM paths
    WHERE path_id IN (SELECT path_id FROM own UNION SELECT link_id FROM own) GROUP BY path_id
  ),
  held AS (
    SELECT file_id, any_value(digest) AS digest FROM files
    WHERE file_id IN (SELECT file_id FROM own WHERE kind = 'file') GROUP BY file_id
  )
  SELECT e.layer_id, e.kind, p.path, t.path AS link, h.digest, e.size, e.mode, e.uid, e.gid, e.mtime, e.mtime_ns, e.device, e.xattrs_id
  FROM own e
  JOIN named p ON p.path_id = e.path_id
  LEFT JOIN named t ON t.path_id = e.link_id
  LEFT JOIN held h ON h.file_id = e.file_id AND e.kind = 'file'
  ORDER BY e.kind = 'link', p.path`;

async function recallXattrs(
  reader: IndexReader,
  diffIds: Iterable<Digest>,
): Promise<Map<Cell, Xattrs>> {
  const rows = await reader.sql(
    `SELECT DISTINCT xattrs_id, name, value FROM xattrs
     WHERE xattrs_id IN (SELECT xattrs_id FROM entries WHERE ${ofLayers(diffIds)}) ORDER BY name`,
  );
  const sets = Map.groupBy(rows, (row) => row['xattrs_id'] as Cell);
  return new Map(
    [...sets].map(([id, set]) => {
      const pairs = set.map(
        ({ name, value }) =>
          [parseShown(name as string), Buffer.from(value as string, 'hex')] as const,
      );
      return [id, new Map(pairs.sort(([a], [b]) => (a < b ? -1 : 1)))];
    }),
  );
}

function entryOf(row: Row, xattrSets: ReadonlyMap<Cell, Xattrs>): IndexedEntry {
  const { kind, path, link, digest, size, mode, uid, gid, mtime, mtime_ns, device } = row;
  const number = Number(device ?? 0);
  const marker = markerOf(kind as string, parseShown(path as string) as Path);
  return {
    type: marker ? 'file' : (kind as EntryType),
    path: marker ?? (parseShown(path as string) as Path),
    mode: Number(mode),
    uid: Number(uid),
    gid: Number(gid),
    mtime: BigInt(mtime as number) * NS_PER_SECOND + BigInt(mtime_ns as number),
    size: kind === 'file' ? Number(size) : 0,
    link: parseShown((link as string | null) ?? ''),
    devMajor: Math.floor(number / DEVICE_SHIFT),
    devMinor: number % DEVICE_SHIFT,
    xattrs: xattrSets.get(row['xattrs_id'] as Cell) ?? NO_XATTRS,
    offset: 0,
    sha256: (digest as string | null) ?? '',
  };
}

/** The path of a marker in an archive; undefined for what is none. */
function markerOf(kind: string, path: Path): Path | undefined {
  if (kind === 'opaque') return joinPath(path, OPAQUE_NAME);
  if (kind !== 'whiteout') return undefined;
  return joinPath(parentOf(path), `${WHITEOUT_PREFIX}${nameOf(path)}`);
}

/** Contents by sha256, lower-case hex; those that were kept. */
export async function recallDocuments(
  reader: IndexReader,
  digests: readonly string[],
): Promise<Map<string, Buffer>> {
  if (digests.length === 0) return new Map();
  const ids = digests.map((hex) => idOf(Buffer.from(hex, 'hex')));
  const rows = await reader.sql(
    `SELECT f.digest, any_value(d.content) AS content FROM documents d JOIN files f ON f.file_id = d.file_id
     WHERE d.file_id IN (${ids.join(', ')}) GROUP BY f.digest`,
  );
  return new Map(
    rows.map(({ digest, content }) => [digest as string, Buffer.from(content as string, 'hex')]),
  );
}

/** Further digests of what these layers hold, by sha256, lower-case hex; those that were kept. */
export async function recallDigests(
  reader: IndexReader,
  diffIds: readonly Digest[],
): Promise<Map<string, KnownDigests>> {
  if (diffIds.length === 0) return new Map();
  const rows = await reader.sql(
    `SELECT f.digest, any_value(d.md5) AS md5, any_value(d.sha1) AS sha1
     FROM digests d JOIN files f ON f.file_id = d.file_id
     WHERE d.file_id IN (SELECT file_id FROM entries WHERE ${ofLayers(diffIds)}) GROUP BY f.digest`,
  );
  return new Map(
    rows.map(({ digest, md5, sha1 }) => [
      digest as string,
      { md5: md5 as string, sha1: sha1 as string },
    ]),
  );
}
