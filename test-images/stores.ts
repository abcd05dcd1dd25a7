/** Stores of images as they are found: layouts, distribution's directory, a server that says what it is told to. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import type { Document } from '../registry/image.ts';
import { ANNOTATION, type Descriptor, type Digest, MEDIA } from '../registry/oci.ts';
import { jsonDocument, type Sample } from './sample.ts';

/** All documents of an image. */
export const documentsOf = ({ root, config, layers }: Sample): Document[] => [
  root,
  config,
  ...layers,
];
/** Bytes of an image, documents and layers. */
export const sizeOf = (image: Sample): number =>
  documentsOf(image).reduce((sum, { bytes }) => sum + bytes.length, 0);
/** An entry of index.json under a name. */
export const named = ({ root }: Sample, name: string): Descriptor => ({
  ...root.descriptor,
  annotations: { [ANNOTATION.refName]: name },
});
/** The tag of what is attached to an image: cosign’s with an end, the stand-in for its referrers without. */
export const tagFor = ({ root }: Sample, end = ''): string =>
  `${root.descriptor.digest.replace(':', '-')}${end}`;
/** An index. */
export const indexOf = (...manifests: Descriptor[]): Document =>
  jsonDocument({ schemaVersion: 2, mediaType: MEDIA.index, manifests }, MEDIA.index);

/** Where a blob of a layout lies. */
export const fileOf = (directory: string, { descriptor }: Document): string =>
  join(directory, 'blobs', descriptor.digest.replace(':', '/'));

/** Writes an OCI layout. */
export function writeLayout(
  directory: string,
  documents: readonly Document[],
  entries: readonly Descriptor[],
): void {
  mkdirSync(join(directory, 'blobs', 'sha256'), { recursive: true });
  for (const one of documents) writeFileSync(fileOf(directory, one), one.bytes);
  writeFileSync(join(directory, 'index.json'), indexOf(...entries).bytes);
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion": "1.0.0"}');
}

/** Writes a repository as CNCF distribution's filesystem driver does: blobs, links to revisions and layers, tags by name. */
export function writeDistribution(
  directory: string,
  name: string,
  documents: readonly Document[],
  tags: Readonly<Record<string, Digest>>,
): void {
  const root = join(directory, 'docker', 'registry', 'v2');
  const own = join(root, 'repositories', name);
  const write = (path: string, content: Uint8Array | string): void => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  };
  for (const { bytes, descriptor } of documents) {
    const { digest, mediaType } = descriptor;
    const [algorithm = '', hex = ''] = digest.split(':');
    write(join(root, 'blobs', algorithm, hex.slice(0, 2), hex, 'data'), bytes);
    const kind = /manifest|index/.test(mediaType) ? '_manifests/revisions' : '_layers';
    write(join(own, kind, algorithm, hex, 'link'), digest);
  }
  for (const [tag, digest] of Object.entries(tags))
    write(join(own, '_manifests', 'tags', tag, 'current', 'link'), digest);
}

/** Answers by path; what is not there is 404. */
export type Answers = Readonly<
  Record<string, string | readonly string[] | Document | ((response: ServerResponse) => void)>
>;

/** Runs `work` with a server that gives `answers`; gives the paths that were asked for. */
export async function serving(
  answers: Answers,
  work: (host: string, asked: string[]) => Promise<void>,
): Promise<void> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace(/\?.*/, '');
    asked.push(`${request.method} ${path}`);
    const answer = path === '/v2/' ? '{}' : answers[path];
    if (answer === undefined) response.writeHead(404).end('{}');
    else if (typeof answer === 'function') answer(response);
    else if (typeof answer === 'string') response.end(answer);
    else if ('bytes' in answer) {
      const { mediaType, digest, size } = answer.descriptor;
      response.writeHead(200, {
        'content-type': mediaType,
        'docker-content-digest': digest,
        'content-length': size,
      });
      response.end(request.method === 'HEAD' ? undefined : answer.bytes);
    } else response.end(JSON.stringify({ tags: answer, repositories: answer }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await work(`127.0.0.1:${(server.address() as AddressInfo).port}`, asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Answers for images in `repository`, the documents by digest. */
export function hold(repository: string, documents: readonly Document[]): Record<string, Document> {
  return Object.fromEntries(
    documents.map((one) => {
      const isManifest = [MEDIA.manifest, MEDIA.index].includes(one.descriptor.mediaType as never);
      return [
        `/v2/${repository}/${isManifest ? 'manifests' : 'blobs'}/${one.descriptor.digest}`,
        one,
      ];
    }),
  );
}
