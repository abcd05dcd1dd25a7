/**
 * The plan as it travels in an image: which component is in which layer, a short digest of each component's content, in which
 * of the last updates it changed, and a fingerprint of each layer, in a config label. It is bound to the layers that it
 * describes, so that an image built on top of ours, which inherits the label, still gives the plan of the layers below, and
 * an image with other layers gives none.
 *
 * Text, so that no compressor's version changes a config: `1 BINDING.LAYERS OBSERVED LAYER|LAYER|…`; a layer is
 * `FINGERPRINT;COMPONENT,COMPONENT,…` sorted by id (none in a layer of directories only), a component `SHARED:REST=DIGEST~CHANGES`, where SHARED is how many
 * characters (base 36) the id has in common with the one before, and CHANGES is base 36 and left out where it is 0.
 */
import { createHash } from 'node:crypto';
import type { Digest } from '../registry/oci.ts';
import { DIGEST_DIGITS, FINGERPRINT_DIGITS } from './fingerprint.ts';

/** The config label that holds the plan. */
export const PLAN_LABEL = 'dev.rechunk.plan';
/** Bytes that the label may have; an image of 3,000 components takes about 60,000. */
export const RECORD_LIMIT: number = 96 << 10;
/** Updates that a record looks back on: a bit each, in what bitwise operators take. */
export const OBSERVED_LIMIT = 30;
/** Most layers of a plan that is read: more than any image that runs has, and few enough for the planner to compare all pairs. */
export const LAYERS_LIMIT = 999;
/**
 * Longest id that is read, escaped: a path of PATH_MAX bytes, all escaped, with room for the rest. Below 16,384 characters, since
 * V8 gives all longer strings of one length the same hash.
 */
const ID_LIMIT = 16_000;
/** Characters of all ids together that are read: what shared starts of a hostile record would grow to is far more. */
const IDS_LIMIT: number = 64 << 20;
const VERSION = '1';
const BINDING_DIGITS = 16;

/** What an image's own record says of its layers, lowest first. */
export interface PlanRecord {
  /** How many updates the components' changes look back on, at most {@link OBSERVED_LIMIT}. */
  readonly observed: number;
  readonly layers: readonly RecordedLayer[];
}

/** One recorded layer. */
export interface RecordedLayer {
  /** As {@link fingerprintLayer} gives it; '' where it is not known. */
  readonly fingerprint: string;
  /** By component id. */
  readonly components: ReadonlyMap<string, RecordedComponent>;
}

/** One recorded component. */
export interface RecordedComponent {
  /** As {@link digestComponent} gives it; '' where there was no room for it. */
  readonly digest: string;
  /** The observed updates in which it changed: bit 0 is the last one, bit 1 the one before. */
  readonly changes: number;
}

function bind(diffIds: readonly string[]): string {
  return createHash('sha256').update(diffIds.join('\n')).digest('hex').slice(0, BINDING_DIGITS);
}

/** Ids hold any characters; all but printable ASCII, and the separators, are written in hex: `%` and two digits, or `%u` and four where they are no bytes. */
export function escapeId(id: string): string {
  return id.replace(/[^!-}]|[%,|=]/g, (char) => {
    const code = char.charCodeAt(0);
    const hex = code.toString(16);
    return code > 0xff ? `%u${hex.padStart(4, '0')}` : `%${hex.padStart(2, '0')}`;
  });
}

/** The id that {@link escapeId} wrote. */
export function unescapeId(text: string): string {
  return text.replace(/%(?:u([0-9a-f]{4})|([0-9a-f]{2}))/g, (_, word?: string, byte?: string) =>
    String.fromCharCode(Number.parseInt(word ?? byte ?? '', 16)),
  );
}

function formatLayer(layer: RecordedLayer, digests: 'with' | 'without'): string {
  let before = '';
  const components = [...layer.components]
    .map(([id, component]) => [escapeId(id), component] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const list = components.map(([id, { digest, changes }]) => {
    let shared = 0;
    while (shared < before.length && before[shared] === id[shared]) shared++;
    // An escape is never cut in two.
    while (shared > 0 && /%(?:.?|u.{0,3})$/.test(id.slice(0, shared))) shared--;
    before = id;
    const content = digests === 'with' ? `=${digest}` : '';
    const changed = changes > 0 ? `~${changes.toString(36)}` : '';
    return `${shared.toString(36)}:${id.slice(shared)}${content}${changed}`;
  });
  return `${layer.fingerprint};${list.join(',')}`;
}

/**
 * The text for `record`, whose layers have `diffIds`; digests are left out (`isWhole` false) where it would get longer than
 * `limit` characters. Undefined where even that is too long.
 */
export function formatRecord(
  record: PlanRecord,
  diffIds: readonly Digest[],
  limit: number = RECORD_LIMIT,
): { readonly text: string; readonly isWhole: boolean } | undefined {
  for (const digests of ['with', 'without'] as const) {
    const layers = record.layers.map((layer) => formatLayer(layer, digests)).join('|');
    const text = `${VERSION} ${bind(diffIds)}.${diffIds.length} ${record.observed} ${layers}`;
    if (text.length <= limit) return { text, isWhole: digests === 'with' };
  }
  return undefined;
}

/** Whether every component of the record has its digest. */
export function isPrecise(record: PlanRecord): boolean {
  return record.layers.every(({ components }) =>
    [...components.values()].every(({ digest }) => digest !== ''),
  );
}

/** The record in a text of at most `limit` characters, if it is whole and describes the lowest of `diffIds`; undefined for anything else. */
export function parseRecord(
  text: string,
  diffIds: readonly string[],
  limit: number = RECORD_LIMIT,
): PlanRecord | undefined {
  const match = /^1 ([0-9a-f]{16})\.(\d{1,3}) (\d{1,2}) (.*)$/s.exec(text);
  if (!match || text.length > limit) return undefined;
  const [, binding, count = '', observed = '', body = ''] = match;
  if (Number(count) > diffIds.length || bind(diffIds.slice(0, Number(count))) !== binding)
    return undefined;
  if (Number(observed) > OBSERVED_LIMIT) return undefined;
  const bounds: Bounds = { observed: Number(observed), idsLeft: IDS_LIMIT };
  const layers = body === '' ? [] : body.split('|').map((layer) => parseLayer(layer, bounds));
  if (layers.length !== Number(count)) return undefined;
  const whole = layers.filter((layer): layer is RecordedLayer => layer !== undefined);
  const ids = whole.flatMap(({ components }) => [...components.keys()]);
  const isSound = whole.length === layers.length && new Set(ids).size === ids.length;
  return isSound ? { observed: Number(observed), layers: whole } : undefined;
}

const FINGERPRINT = new RegExp(`^([0-9a-f]{${FINGERPRINT_DIGITS}}|);`);
const COMPONENT = new RegExp(
  `^([0-9a-z]{1,3}):([!-}]*?)(?:=([\\w-]{${DIGEST_DIGITS}}|))?(?:~([0-9a-z]{1,6}))?$`,
);

/** What a record may hold. */
interface Bounds {
  readonly observed: number;
  /** Characters that ids may still have. */
  idsLeft: number;
}

function parseLayer(text: string, bounds: Bounds): RecordedLayer | undefined {
  const head = FINGERPRINT.exec(text);
  if (!head) return undefined;
  const components = new Map<string, RecordedComponent>();
  const list = text.slice(head[0].length);
  let before = '';
  for (const entry of list === '' ? [] : list.split(',')) {
    const match = COMPONENT.exec(entry);
    if (!match) return undefined;
    const [, shared = '', rest = '', digest = '', changed = '0'] = match;
    const length = Number.parseInt(shared, 36);
    const changes = Number.parseInt(changed, 36);
    if (length > before.length || changes >= 2 ** bounds.observed) return undefined;
    before = before.slice(0, length) + rest;
    bounds.idsLeft -= before.length;
    if (before.length > ID_LIMIT || bounds.idsLeft < 0) return undefined;
    components.set(unescapeId(before), { digest, changes });
  }
  return { fingerprint: head[1] ?? '', components };
}
