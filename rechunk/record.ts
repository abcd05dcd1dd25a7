/**
 * The plan as it travels in an image: which component is in which layer, and a short digest of each component's content, in a
 * config label. It is bound to the layers that it describes, so that an image built on top of ours, which inherits the label,
 * still gives the plan of the layers below, and an image with other layers gives none.
 *
 * Text, so that no compressor's version changes a config: `1 BINDING LAYER|LAYER|…`; a layer is a list of `SHARED:REST=DIGEST`,
 * separated by commas, sorted by id, where SHARED is how many characters (base 36) the id has in common with the one before.
 */
import { createHash } from 'node:crypto';
import type { Digest } from '../registry/oci.ts';
import type { Component } from './components.ts';

/** The config label that holds the plan. */
export const PLAN_LABEL = 'dev.rechunk.plan';
/** Bytes that the label may have; an image of 3,000 components takes about 60,000. */
export const RECORD_LIMIT: number = 96 << 10;
const VERSION = '1';
/** Hex digits of a component's digest: 48 bits, to tell "changed" from "as it was", not to prove anything. */
const DIGEST_DIGITS = 12;
const BINDING_DIGITS = 16;

/** What an image's own record says of its layers, lowest first. */
export interface PlanRecord {
  readonly layers: readonly RecordedLayer[];
}

/** One recorded layer: its components and their digests, '' where there was no room for them. */
export type RecordedLayer = ReadonlyMap<string, string>;

/** A short digest of a component: every name's metadata and content, as they are written. */
export function digestComponent(component: Component): string {
  const hash = createHash('sha256');
  for (const { path, inode } of component.entries) {
    const { type, mode, uid, gid, mtime, size, target, devMajor, devMinor, sha256 } = inode;
    const xattrs = [...inode.xattrs].map(([name, value]) => [
      name,
      Buffer.from(value).toString('hex'),
    ]);
    const fields = [
      path,
      type,
      mode,
      uid,
      gid,
      mtime.toString(),
      size,
      target,
      devMajor,
      devMinor,
      sha256,
      xattrs,
    ];
    hash.update(`${JSON.stringify(fields)}\n`, 'latin1');
  }
  return hash.digest('hex').slice(0, DIGEST_DIGITS);
}

function bind(diffIds: readonly string[]): string {
  return createHash('sha256').update(diffIds.join('\n')).digest('hex').slice(0, BINDING_DIGITS);
}

/** Ids hold any bytes; everything but printable ASCII and the separators is written as `%XX`. */
export function escapeId(id: string): string {
  return id.replace(
    /[^!-~]|[%,|=]/g,
    (char) => `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** The id that {@link escapeId} wrote. */
export function unescapeId(text: string): string {
  return text.replace(/%([0-9a-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function formatLayer(layer: RecordedLayer, digests: 'with' | 'without'): string {
  let before = '';
  const ids = [...layer.keys()]
    .map((id) => [escapeId(id), layer.get(id) ?? ''] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return ids
    .map(([id, digest]) => {
      let shared = 0;
      while (shared < before.length && before[shared] === id[shared]) shared++;
      // An escape is never cut in two.
      while (shared > 0 && /%.?$/.test(id.slice(0, shared))) shared--;
      before = id;
      return `${shared.toString(36)}:${id.slice(shared)}${digests === 'with' ? `=${digest}` : ''}`;
    })
    .join(',');
}

/**
 * The label's text for `record`, whose layers have `diffIds`; digests are left out where it would get too long. Undefined where
 * even that is.
 */
export function formatRecord(record: PlanRecord, diffIds: readonly Digest[]): string | undefined {
  for (const digests of ['with', 'without'] as const) {
    const layers = record.layers.map((layer) => formatLayer(layer, digests)).join('|');
    const text = `${VERSION} ${bind(diffIds)}.${diffIds.length} ${layers}`;
    if (text.length <= RECORD_LIMIT) return text;
  }
  return undefined;
}

/** The record in a label, if it is whole and describes the lowest of `diffIds`; undefined for anything else. */
export function parseRecord(text: string, diffIds: readonly string[]): PlanRecord | undefined {
  const match = /^1 ([0-9a-f]{16})\.(\d{1,4}) (.*)$/s.exec(text);
  if (!match || text.length > RECORD_LIMIT) return undefined;
  const [, binding, count = '', body = ''] = match;
  if (Number(count) > diffIds.length || bind(diffIds.slice(0, Number(count))) !== binding)
    return undefined;
  const layers = body === '' ? [] : body.split('|').map(parseLayer);
  if (layers.length !== Number(count)) return undefined;
  const whole = layers.filter((layer): layer is RecordedLayer => layer !== undefined);
  const ids = whole.flatMap((layer) => [...layer.keys()]);
  const isSound = whole.length === layers.length && new Set(ids).size === ids.length;
  return isSound ? { layers: whole } : undefined;
}

function parseLayer(text: string): RecordedLayer | undefined {
  const layer = new Map<string, string>();
  let before = '';
  for (const entry of text.split(',')) {
    const match = /^([0-9a-z]{1,3}):([!-~]*?)(?:=([0-9a-f]{12}|))?$/.exec(entry);
    if (!match) return undefined;
    const [, shared = '', rest = '', digest = ''] = match;
    const length = Number.parseInt(shared, 36);
    if (length > before.length) return undefined;
    before = before.slice(0, length) + rest;
    layer.set(unescapeId(before), digest);
  }
  return layer;
}
