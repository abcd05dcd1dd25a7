/**
 * Damages OCI layouts on purpose, as disks, networks, broken builders and attackers do. What states digests is rewritten
 * where an edit says so, so that each kind of damage reaches the check that is meant for it.
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuiltDescriptor } from './build.ts';

/** A manifest as plain JSON. */
export interface PlainManifest {
  config: BuiltDescriptor;
  layers: BuiltDescriptor[];
  [field: string]: unknown;
}

/** A config as plain JSON. */
export interface PlainConfig {
  rootfs: { diff_ids: string[] };
  [field: string]: unknown;
}

/** The file of a blob. */
export function blobFile(layout: string, digest: string): string {
  return join(layout, 'blobs', 'sha256', digest.slice('sha256:'.length));
}

/** Changes a blob where it lies: nothing that names it is told. */
export function editBlob(layout: string, digest: string, edit: (bytes: Buffer) => Buffer): void {
  const path = blobFile(layout, digest);
  writeFileSync(path, edit(readFileSync(path)));
}

/** The same bytes with one bit of byte `at` turned; from the end where negative. */
export function flipBit(bytes: Buffer, at: number): Buffer {
  const flipped = Buffer.from(bytes);
  const index = at < 0 ? bytes.length + at : at;
  flipped[index] = (flipped[index] ?? 0) ^ 1;
  return flipped;
}

/** Stores bytes under their true digest. */
export function putBlob(layout: string, bytes: Buffer): Pick<BuiltDescriptor, 'digest' | 'size'> {
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  writeFileSync(blobFile(layout, digest), bytes);
  return { digest, size: bytes.length };
}

interface PlainIndex {
  manifests: BuiltDescriptor[];
}

function readIndex(layout: string): PlainIndex {
  return JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as PlainIndex;
}

/** Changes what the index says of its first manifest. */
export function editIndex(layout: string, edit: (first: BuiltDescriptor) => BuiltDescriptor): void {
  const index = readIndex(layout);
  index.manifests = index.manifests.map((entry, i) => (i === 0 ? edit(entry) : entry));
  writeFileSync(join(layout, 'index.json'), JSON.stringify(index));
}

/** Replaces the bytes of the first manifest; the index states the new digest and size. */
export function replaceManifest(layout: string, edit: (bytes: Buffer) => Buffer): void {
  editIndex(layout, (entry) => {
    const bytes = edit(readFileSync(blobFile(layout, entry.digest)));
    return { ...entry, ...putBlob(layout, bytes) };
  });
}

/** Changes the first manifest; the index states the new digest and size. */
export function editManifest(layout: string, edit: (manifest: PlainManifest) => void): void {
  replaceManifest(layout, (bytes) => {
    const manifest = JSON.parse(bytes.toString()) as PlainManifest;
    edit(manifest);
    return Buffer.from(JSON.stringify(manifest));
  });
}

/** Replaces the bytes of the config; all digests above it are right. */
export function replaceConfig(layout: string, edit: (bytes: Buffer) => Buffer): void {
  editManifest(layout, (manifest) => {
    const bytes = edit(readFileSync(blobFile(layout, manifest.config.digest)));
    manifest.config = { ...manifest.config, ...putBlob(layout, bytes) };
  });
}

/** Changes the config; all digests above it are right. */
export function editConfig(layout: string, edit: (config: PlainConfig) => void): void {
  replaceConfig(layout, (bytes) => {
    const config = JSON.parse(bytes.toString()) as PlainConfig;
    edit(config);
    return Buffer.from(JSON.stringify(config));
  });
}

/** Replaces the stored bytes of a layer; the manifest states their digest and size, the config the diffID as it was. */
export function replaceLayer(
  layout: string,
  number: number,
  edit: (bytes: Buffer) => Buffer,
): void {
  editManifest(layout, (manifest) => {
    const layer = manifest.layers[number] as BuiltDescriptor;
    const bytes = edit(readFileSync(blobFile(layout, layer.digest)));
    manifest.layers[number] = { ...layer, ...putBlob(layout, bytes) };
  });
}
