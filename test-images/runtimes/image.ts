/** The one image of an OCI layout, in the forms that runtimes take; blobs stay as they are where the form allows it. */
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { command } from '../command.ts';

/** The name that the image has in every form. */
export const NAME = 'test.invalid/image:latest';

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(path, 'utf8'));
}

function blobPath(layout: string, { digest }: Blob): string {
  return join(layout, 'blobs', ...digest.split(':'));
}

async function manifestOf(layout: string): Promise<Blob> {
  const { manifests } = await readJson(join(layout, 'index.json'));
  const [manifest, ...more] = manifests as readonly Blob[];
  if (!manifest || more.length > 0) throw new Error(`${layout}: want one image`);
  return manifest;
}

/** The layers' descriptors, lowest first. */
async function layersOf(layout: string): Promise<readonly Blob[]> {
  const manifest = await readJson(blobPath(layout, await manifestOf(layout)));
  return manifest['layers'] as readonly Blob[];
}

/** The layers' tars, uncompressed, lowest first. */
export async function layerTars(layout: string): Promise<readonly Buffer[]> {
  const layers = await layersOf(layout);
  return Promise.all(
    layers.map(async (layer) => {
      const bytes = await readFile(blobPath(layout, layer));
      if (layer.mediaType.endsWith('+zstd')) return zstdDecompressSync(bytes);
      return layer.mediaType.endsWith('gzip') ? gunzipSync(bytes) : bytes;
    }),
  );
}

/** An archive of the layout with the image under `NAME`, written to `file`, for podman and containerd. */
export async function ociArchive(layout: string, file: string): Promise<void> {
  const staged = `${file}.d`;
  await mkdir(staged, { recursive: true });
  const annotations = { 'org.opencontainers.image.ref.name': NAME };
  const manifests = [{ ...(await manifestOf(layout)), annotations }];
  await writeFile(`${staged}/index.json`, JSON.stringify({ schemaVersion: 2, manifests }));
  await writeFile(`${staged}/oci-layout`, JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await symlink(resolve(layout, 'blobs'), `${staged}/blobs`);
  await command('tar', ['-chf', file, '-C', staged, 'oci-layout', 'index.json', 'blobs']);
  await rm(staged, { recursive: true });
}

/** An archive as `docker save` writes it, with uncompressed layers, for dockerd. */
export async function dockerArchive(layout: string, file: string): Promise<void> {
  await ociArchive(layout, `${file}.oci`);
  // skopeo writes no archive over another.
  await rm(file, { force: true });
  const parameters = ['copy', '-q', '--insecure-policy'];
  await command('skopeo', [
    ...parameters,
    `oci-archive:${file}.oci`,
    `docker-archive:${file}:${NAME}`,
  ]);
  await rm(`${file}.oci`);
}

/** A layout with gzip layers at `dir` and the image's tag there, for umoci 0.4, which reads no zstd. */
export async function gzipLayout(layout: string, dir: string): Promise<string> {
  await ociArchive(layout, `${dir}.tar`);
  const parameters = ['copy', '-q', '--insecure-policy'];
  await command('skopeo', [
    ...parameters,
    '--dest-decompress',
    `oci-archive:${dir}.tar`,
    `dir:${dir}.plain`,
  ]);
  await command('skopeo', [...parameters, `dir:${dir}.plain`, `oci:${dir}:image`]);
  await rm(`${dir}.plain`, { recursive: true });
  await rm(`${dir}.tar`);
  return `${dir}:image`;
}
