/**
 * The form of a report as a schema, from which `report.schema.json` is made (`schema.test.ts`). Titles are the interfaces of `report.ts`,
 * whose comments become the descriptions; the compiler holds each schema to its interface.
 */
import * as v from 'valibot';
import type { Digest } from '../oci.ts';
import type * as r from './report.ts';

/** A schema for values of type `T`. */
type Of<T> = v.GenericSchema<T, T>;

const named = <const E extends v.ObjectEntries>(title: string, entries: E) =>
  v.pipe(v.object(entries), v.title(title));
const listOf = <S extends v.GenericSchema>(schema: S) => v.pipe(v.array(schema), v.readonly());

const text: Of<string> = v.string();
const size: Of<number> = v.pipe(v.number(), v.integer(), v.minValue(0));
const index: Of<number> = v.pipe(v.number(), v.integer(), v.minValue(0));
const share: Of<number> = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
const amount: Of<number> = v.pipe(v.number(), v.minValue(0));
const indexes = listOf(index);
const texts = listOf(text);
const digest = v.pipe(
  v.string(),
  v.regex(/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/),
) as unknown as Of<Digest>;

const bytes = named('Bytes', { compressed: size, uncompressed: v.exactOptional(size) });
const shares = { total: bytes, shared: bytes, unique: bytes };
const sized = { digest, size };

const headline = named('Headline', {
  ...{ repositories: size, tags: size, images: size, blobs: size },
  ...{ logical: bytes, stored: bytes, layers: bytes },
  ...{ uniqueFiles: v.exactOptional(bytes), rechunked: v.exactOptional(bytes) },
});
const repository = named('RepositoryReport', {
  ...{ name: text, store: index, tags: indexes, logical: bytes, ...shares },
  sharedWith: listOf(v.object({ repository: index, bytes: size })),
  links: v.exactOptional(v.object({ layers: size, stale: size })),
});
const image = named('ImageReport', {
  ...{ digest, platform: text, layers: indexes, size: bytes, manifestSize: size },
});
const attached = named('AttachedReport', {
  ...{ digest, type: text, by: v.picklist(['referrers', 'tag', 'index']), size },
});
const tag = named('TagReport', {
  ...{ repository: index, tag: text, digest, created: v.exactOptional(text) },
  ...{ platforms: texts, images: listOf(image), attached: v.exactOptional(listOf(attached)) },
  ...{ total: bytes, sharedInRepository: bytes, sharedAcross: bytes, unique: bytes },
});
const layer = named('LayerReport', {
  ...{ digest, diffId: v.exactOptional(digest), mediaType: text, size },
  ...{ uncompressed: v.exactOptional(size), tags: indexes, stores: indexes },
  createdBy: v.exactOptional(text),
});
const cause = named('Cause', {
  component: text,
  why: v.picklist(['changed', 'added', 'moved', 'metadata', 'rebuilt']),
  ...{ bytes: size, files: v.exactOptional(size), detail: v.exactOptional(text) },
});
const update = named('UpdateReport', {
  ...{ repository: index, platform: text, from: index, to: index },
  layers: v.object({ kept: size, new: size }),
  ...{ bytes: size, chainBytes: size, total: size },
  floor: v.exactOptional(size),
  causes: v.exactOptional(listOf(cause)),
});
const matrix = named('Matrix', {
  ...{ repository: index, platform: text, tags: indexes, bytes: listOf(listOf(size)) },
  floor: v.exactOptional(listOf(listOf(size))),
});
const recompressed = named('Recompressed', {
  ...{ diffId: digest, store: index, wasted: size },
  blobs: listOf(v.object({ ...sized, mediaType: text })),
});
const retarred = named('Retarred', { layers: indexes, files: size, wasted: size });
const unreferenced = named('Unreferenced', {
  ...{ store: index, unknown: v.exactOptional(text), blobs: listOf(named('Sized', sized)) },
  ...{ bytes: size, copies: v.exactOptional(size) },
  uploads: v.exactOptional(v.object({ count: size, bytes: size })),
  untagged: listOf(v.object({ ...sized, repository: text, bytes: size })),
  untaggedBytes: size,
  dangling: listOf(v.object({ ...sized, repository: text, subject: digest })),
});
const deletion = named('Deletion', { patterns: texts, tags: indexes, freed: bytes, blobs: size });
const node = named('NodeReport', {
  ...{ holds: indexes, platform: text, mbit: v.exactOptional(amount) },
  pulls: listOf(
    v.object({ tag: index, bytes: size, layers: size, seconds: v.exactOptional(amount) }),
  ),
});
const limit = named('LimitReport', {
  ...{ tag: index, platform: v.exactOptional(text), rule: text, found: size, limit: size },
  ...{ consumers: texts, text },
});
const files = named('FilesReport', {
  ...{ contents: size, references: size, bytes: size, uniqueBytes: size },
  duplicates: listOf(
    v.object({ ...sized, copies: size, layers: indexes, wasted: size, paths: texts }),
  ),
  lorenz: listOf(v.object({ contents: share, wasted: share })),
  byCopies: listOf(v.object({ copies: size, contents: size, bytes: size })),
  metadataOnly: listOf(
    v.object({
      ...{ repository: index, platform: text, from: index, to: index, files: size, bytes: size },
      unchanged: v.object({ files: size, bytes: size }),
    }),
  ),
});
const nowAndThen = v.object({ now: amount, then: amount });
const whatIf = named('WhatIf', {
  ...{ tags: size, maxLayers: size, storage: nowAndThen },
  compression: v.exactOptional(v.string()),
  updates: listOf(
    v.object({
      ...{ repository: index, platform: text, from: index, to: index },
      ...nowAndThen.entries,
    }),
  ),
  ...{ mean: nowAndThen, p95: nowAndThen, firstMigration: size },
});
const threshold = named('Threshold', {
  ...{ name: text, limit: amount, found: v.exactOptional(amount), crossed: v.boolean() },
  where: v.exactOptional(text),
});
const skipped = named('Skipped', { name: text, why: text });

/** A whole report, of which nothing but what stands here is promised to those who read it. */
export const reportSchema: v.GenericSchema<unknown, r.Report> = named('Report', {
  ...{ version: v.literal(1), depth: v.picklist(['manifests', 'files']), targets: texts },
  ...{ generated: v.exactOptional(text), stores: texts, headline },
  ...{ repositories: listOf(repository), tags: listOf(tag), layers: listOf(layer) },
  ...{ updates: listOf(update), matrices: listOf(matrix), recompressed: listOf(recompressed) },
  ...{ retarred: v.exactOptional(listOf(retarred)), unreferenced: listOf(unreferenced) },
  ...{ deletion: v.exactOptional(deletion), node: v.exactOptional(node) },
  ...{ limits: v.exactOptional(listOf(limit)), files: v.exactOptional(files) },
  ...{ whatIf: v.exactOptional(whatIf), thresholds: v.exactOptional(listOf(threshold)) },
  skipped: v.exactOptional(listOf(skipped)),
});
